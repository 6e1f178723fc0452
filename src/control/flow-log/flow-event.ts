/**
 * One flow event as control reads it out of the ring: words become fields, times become times of day.
 *
 * Neighbours: `flow/flow-event-layout.ts` (the words), `json-lines.ts` and `ipfix/records.ts` (what is made of it).
 */
import {
  EVENT_BYTES_ORIGINATOR,
  EVENT_BYTES_REPLY,
  EVENT_CREATED,
  EVENT_DECIDER,
  EVENT_EGRESS,
  EVENT_END,
  EVENT_FLAGS,
  EVENT_FLOW,
  EVENT_INGRESS,
  EVENT_KIND,
  EVENT_ORIGINATOR_KEY,
  EVENT_PACKETS_ORIGINATOR,
  EVENT_PACKETS_REPLY,
  EVENT_PIN,
  EVENT_REFUSED,
  EVENT_REPLY_KEY,
  EVENT_SUPPRESSED,
  EVENT_TIME,
  EVENT_WORDS,
} from '../../flow/flow-event-layout.ts';
import type { FlowEventRing } from '../../flow/flow-event-ring.ts';
import { FLOW_ANSWERED, KEY_DST0, KEY_META, KEY_PORTS, KEY_SRC0 } from '../../flow/layout.ts';
import { swap16 } from '../../wire/byte-order.ts';
import type { BootClock } from '../boot-clock.ts';
import { type Endpoints, reversed } from '../five-tuple.ts';

/** Addresses as words in wire order (IPv4 in the last), ports in host order; an ICMP query's are its identifier and 0. */
export type EventTuple = Endpoints<Int32Array>;

export interface FlowEvent {
  /** Place in the ring: counts up by one with each event, modulo 2^32. */
  readonly number: number;
  readonly kind: 'start' | 'end' | 'refused';
  /** Of an end, a number of `END`; of a refusal, of `DROP`; else 0. */
  readonly reason: number;
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** When the flow began, to the second; of a beginning, the same as `timeMs`; of a refusal 0. */
  readonly startedMs: number;
  /** 0 for a refusal. */
  readonly flow: number;
  /** 4 or 6. */
  readonly family: number;
  readonly protocol: number;
  /** Address space of the originator, and of the responder (0 for a refusal). */
  readonly fromSpace: number;
  readonly toSpace: number;
  /** Port words; 0 for a refusal, but for the first. */
  readonly ingress: number;
  readonly egress: number;
  readonly pin: number;
  /** Place + 1 of the plugin that decided, 0 if none did. */
  readonly decider: number;
  /** Refusals at this port that were not written since the one before. */
  readonly suppressed: number;
  readonly answered: boolean;
  /** As the originator sends it. */
  readonly original: EventTuple;
  /** As the responder sees it; undefined for a refusal. */
  readonly translated: EventTuple | undefined;
  readonly isTranslated: boolean;
  /** Of an end; else 0. */
  readonly packetsOriginator: number;
  readonly bytesOriginator: number;
  readonly packetsReply: number;
  readonly bytesReply: number;
}

/** Reads the event with this number, which is between the ring's `read` and `written`. */
export function readFlowEvent(
  ring: FlowEventRing,
  number: number,
  clock: Pick<BootClock, 'bootedAtMs' | 'nowMs'>,
): FlowEvent {
  const at = (number & (ring.capacity - 1)) * EVENT_WORDS;
  const words = ring.words.subarray(at, at + EVENT_WORDS);
  const floats = ring.floats.subarray(at / 2, (at + EVENT_WORDS) / 2);
  const kindWord = words[EVENT_KIND]!;
  const code = kindWord & 0xff;
  const kind = code === EVENT_REFUSED ? 'refused' : code === EVENT_END ? 'end' : 'start';
  const meta = words[EVENT_ORIGINATOR_KEY + KEY_META]!;
  const original = tupleAt(words, EVENT_ORIGINATOR_KEY);
  // The reply's key is what the responder sends: the originator's packets look to it the other way round.
  const translated = kind === 'refused' ? undefined : reversed(tupleAt(words, EVENT_REPLY_KEY));
  const ageMs = (clock.nowMs - words[EVENT_TIME]!) | 0;
  const timeMs = clock.bootedAtMs + clock.nowMs - ageMs;
  const createdMs = clock.bootedAtMs + (words[EVENT_CREATED]! >>> 0) * 1000;
  return {
    number: number >>> 0,
    kind,
    reason: kindWord >>> 8,
    timeMs,
    startedMs: kind === 'start' ? timeMs : kind === 'end' ? createdMs : 0,
    flow: words[EVENT_FLOW]! >>> 0,
    family: meta & 0xff,
    protocol: (meta >>> 8) & 0xff,
    fromSpace: meta >>> 16,
    toSpace: words[EVENT_REPLY_KEY + KEY_META]! >>> 16,
    ingress: words[EVENT_INGRESS]!,
    egress: words[EVENT_EGRESS]!,
    pin: words[EVENT_PIN]!,
    decider: words[EVENT_DECIDER]!,
    suppressed: words[EVENT_SUPPRESSED]!,
    answered: (words[EVENT_FLAGS]! & FLOW_ANSWERED) !== 0,
    original,
    translated,
    isTranslated: translated !== undefined && !sameTuple(original, translated),
    packetsOriginator: floats[EVENT_PACKETS_ORIGINATOR / 2]!,
    bytesOriginator: floats[EVENT_BYTES_ORIGINATOR / 2]!,
    packetsReply: floats[EVENT_PACKETS_REPLY / 2]!,
    bytesReply: floats[EVENT_BYTES_REPLY / 2]!,
  };
}

function tupleAt(words: Int32Array, key: number): EventTuple {
  const ports = words[key + KEY_PORTS]!;
  return {
    source: words.slice(key + KEY_SRC0, key + KEY_SRC0 + 4),
    destination: words.slice(key + KEY_DST0, key + KEY_DST0 + 4),
    sourcePort: swap16(ports & 0xffff),
    destinationPort: swap16(ports >>> 16),
  };
}

function sameTuple(one: EventTuple, other: EventTuple): boolean {
  return (
    one.sourcePort === other.sourcePort &&
    one.destinationPort === other.destinationPort &&
    one.source.every((word, at) => word === other.source[at]) &&
    one.destination.every((word, at) => word === other.destination[at])
  );
}
