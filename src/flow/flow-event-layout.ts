/**
 * Layout of one flow event: 160 bytes, written by the data plane when a flow begins, ends or is refused, and read
 * by control for the flow log.
 *
 * ```
 *  word  0  kind, and the reason of an end or a refusal
 *        1  when, milliseconds since boot as int32
 *        2  flow id, 0 for a refusal
 *        3  when the flow was created, seconds since boot; 0 for a refusal
 *        4  port word by which the originator's packets come in
 *        5  port word by which they leave, 0 for a refusal
 *        6  port word by which replies leave, 0 for a refusal
 *        7  place + 1 of the plugin that decided, 0 if none did
 *        8  generation of the plan it was judged under
 *        9  refusals at this port that were not written since the last one that was
 *    10-17  packets and bytes of the originator, packets and bytes of the reply: four float64
 *       18  flags, as in the record's state word (`FLOW_...`)
 *       19  unused
 *    20-29  the originator's key, as in a flow record (`layout.ts`)
 *    30-39  the reply's key, all 0 for a refusal
 * ```
 *
 * Neighbours: `flow-event-ring.ts` (where events lie), `flow-event-writer.ts`, `control/flow-log/` (the reader).
 */

export const EVENT_WORDS = 40;
export const EVENT_BYTES = EVENT_WORDS * 4;

/** `kind | reason << 8`. */
export const EVENT_KIND = 0;
export const EVENT_TIME = 1;
export const EVENT_FLOW = 2;
export const EVENT_CREATED = 3;
export const EVENT_INGRESS = 4;
export const EVENT_EGRESS = 5;
export const EVENT_PIN = 6;
export const EVENT_DECIDER = 7;
export const EVENT_PLAN = 8;
export const EVENT_SUPPRESSED = 9;
/** float64: element `(word) / 2` of the floats. */
export const EVENT_PACKETS_ORIGINATOR = 10;
export const EVENT_BYTES_ORIGINATOR = 12;
export const EVENT_PACKETS_REPLY = 14;
export const EVENT_BYTES_REPLY = 16;
export const EVENT_FLAGS = 18;
export const EVENT_ORIGINATOR_KEY = 20;
export const EVENT_REPLY_KEY = 30;

/** Kinds of events. */
export const EVENT_START = 1;
export const EVENT_END = 2;
export const EVENT_REFUSED = 3;

/** Why a flow ended. Append only. */
const endReasons = [
  ['none', 'It has not ended.'],
  ['closed', 'TCP: both sides have closed, or one has reset the connection.'],
  ['timed_out', 'No packet came for as long as its idle time-out.'],
  ['flushed', 'An operator ended it.'],
  ['reconfigured', 'Its tunnel, site, external address or port forward is gone or has become another one.'],
  ['policy', 'A plugin ended it.'],
  ['reopened', 'TCP: its originator began a new connection with the same ports.'],
  ['lost_translation', 'After a restart its external port could not be kept.'],
] as const;

export type EndReasonName = (typeof endReasons)[number][0];

/** Names by number. */
export const END_REASON_NAMES: readonly EndReasonName[] = endReasons.map(([name]) => name);
/** One sentence each, by number. */
export const END_REASON_TEXTS: readonly string[] = endReasons.map(([, text]) => text);

/** Numbers by name: `END.closed`. */
export const END = Object.freeze(
  Object.fromEntries(endReasons.map(([name], number) => [name, number])),
) as Readonly<Record<EndReasonName, number>>;
