/**
 * Layout of a flow record: 192 bytes, three cache lines, in the mapped flow memory.
 *
 * ```
 *  line 0   originator direction: key, egress, checksum deltas, counters
 *  line 1   reply direction: the same
 *  line 2   shared: state, times, TCP windows, translation, pin
 * ```
 *
 * A packet that hits touches the line of its direction and line 2. A record is valid by itself: everything is
 * written first, {@link SHARED_STATE} last, so that a process killed in between leaves a free record. The index
 * (hash -> record) is not stored; it is rebuilt from the records at start (`flow/table.ts`).
 *
 * A direction's key is what a packet of that direction looks like **when it arrives**: originator's key is in
 * the originator's address space and untranslated; the reply's key is in the responder's address space, as the
 * responder sees the flow. Translation needs no fields of its own: a packet leaves with the other direction's
 * key, reversed. See docs/architecture.md.
 */

export const RECORD_WORDS = 48;
export const RECORD_BYTES = RECORD_WORDS * 4;
/** Words of one direction's line. Direction 0 is the originator's, 1 the reply's. */
export const DIRECTION_WORDS = 16;

export const ORIGINATOR = 0;
export const REPLY = 1;

/** Words 0-3 of a direction's line: source address, wire order; IPv4 in the last, the others 0. */
export const KEY_SRC0 = 0;
export const KEY_SRC1 = 1;
export const KEY_SRC2 = 2;
export const KEY_SRC3 = 3;
/** Words 4-7: destination address. */
export const KEY_DST0 = 4;
export const KEY_DST1 = 5;
export const KEY_DST2 = 6;
export const KEY_DST3 = 7;
/** Word 8: source port (low half) and destination port (high half), wire order, as `PacketView.ports`. */
export const KEY_PORTS = 8;
/** Word 9: `space << 16 | protocol << 8 | family`, see {@link keyMeta}. */
export const KEY_META = 9;
/**
 * Word 10: what translation of this direction adds to checksums, ones' complement: low half for addresses
 * only (network header, partial checksums), high half for addresses and ports. Both 0: nothing is translated.
 */
export const DIRECTION_DELTAS = 10;
/** Word 11: where packets of this direction leave: a port word (`generation << 16 | index`). Of the reply: the pin. */
export const DIRECTION_EGRESS = 11;
/** Words 12-13, a float64: packets seen in this direction. */
export const DIRECTION_PACKETS = 12;
/** Words 14-15, a float64: bytes (IP length) seen in this direction. */
export const DIRECTION_BYTES = 14;

/** Word 32: 0 free; else bits 0-7 {@link FlowState}, 8-15 time-out class, 16-31 flags `FLOW_...`. Written last. */
export const SHARED_STATE = 32;
/** Word 33: flow id, counts up for every flow created (0 is never used). */
export const SHARED_ID = 33;
/** Word 34: created, seconds since boot. */
export const SHARED_CREATED = 34;
/** Word 35: last packet in either direction, milliseconds since boot as int32 (wraps; compare by difference). */
export const SHARED_LAST_SEEN = 35;
/** Word 36: last packet of the originator (RFC 4787 REQ-6: only these refresh a mapping). */
export const SHARED_LAST_ORIGINATOR = 36;
/** Word 37: where the originator's packets come in by now: a port word. */
export const SHARED_INGRESS = 37;
/** Word 38: translation slot + 1 (`flow/translation.ts`), 0 for none. */
export const SHARED_TRANSLATION = 38;
/** Word 39: low half: plugins that still want packets, a bit each; high half: index + 1 of the plugin that decided. */
export const SHARED_PLUGINS = 39;
/** Word 40: TCP: low byte originator's state, next byte reply's state, then both window scales and flags (`flow/tcp.ts`). */
export const SHARED_TCP = 40;
/** Words 41-43: TCP, originator's direction: highest sequence sent, highest acknowledged, largest window. */
export const SHARED_TCP_ORIGINATOR = 41;
/** Words 44-46: the same for the reply. */
export const SHARED_TCP_REPLY = 44;
/** Word 47: generation of the plan the flow was judged under. */
export const SHARED_PLAN = 47;

/** Record states (low byte of {@link SHARED_STATE}); 0 is free. */
export const FLOW_LIVE = 1;

/** The originator must be seen, from the pinned site, before replies pass (after a restart that could not vouch for it). */
export const FLOW_UNVOUCHED = 1 << 16;
/** A packet of the reply direction has been seen. */
export const FLOW_ANSWERED = 1 << 17;
/** `automatic_return_routing: false`: replies are routed, within the originator's site. */
export const FLOW_ROUTED_REPLY = 1 << 18;
/** Plugins read a byte stream of the flow (`pipeline/stream/`). */
export const FLOW_STREAMS = 1 << 19;
/** Plugins that want packets get them as they were on the wire (`pipeline/wire-packets.ts`). */
export const FLOW_WIRE_PACKETS = 1 << 20;

/** A plugin has diverted the flow: its responder is a proxy (`pipeline/diversions.ts`). */
export const FLOW_DIVERTED = 1 << 21;

/** Meta word of a key: `space << 16 | protocol << 8 | family`. */
export function keyMeta(space: number, protocol: number, family: number): number {
  return (space << 16) | (protocol << 8) | family;
}

/** One direction's key outside a record: what a flow is looked up or created by. Wire order, as in `PacketView`. */
export class FlowKey {
  src0 = 0;
  src1 = 0;
  src2 = 0;
  src3 = 0;
  dst0 = 0;
  dst1 = 0;
  dst2 = 0;
  dst3 = 0;
  ports = 0;
  meta = 0;
}
