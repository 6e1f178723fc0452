/**
 * Time-out classes of flows: how long a flow may be idle, and how long its tuple stays held afterwards.
 *
 * A flow's class stands in bits 8-15 of its `SHARED_STATE`; the sweep (`flow/table.ts`) compares the time since
 * the flow was last refreshed with the class's idle time.
 *
 * | class | idle | from |
 * |---|---|---|
 * | TCP opening | 240 s | RFC 5382 REQ-5 (transitory) |
 * | TCP established | 7440 s | RFC 5382 REQ-5 (2 h 4 min) |
 * | TCP closing (a FIN seen), closed (both acknowledged, or reset) | 240 s | RFC 5382 REQ-5, RFC 7857 2.2 |
 * | UDP, other protocols | 120 s, 300 s once answered | RFC 4787 REQ-5 |
 * | ICMP queries | 60 s | RFC 5508 REQ-2 |
 *
 * Stated deviation: when more than 60 % of the table is in use the idle times shrink, linearly, down to a floor
 * of each class when the table is full; a table full of idle flows would refuse new ones. Holding times never
 * shrink: they keep a tuple from another site.
 */
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import { RECORD_WORDS, SHARED_STATE } from './layout.ts';

export const TIMEOUT_TCP_OPENING = 0;
export const TIMEOUT_TCP_ESTABLISHED = 1;
export const TIMEOUT_TCP_CLOSING = 2;
export const TIMEOUT_TCP_CLOSED = 3;
export const TIMEOUT_UDP_NEW = 4;
export const TIMEOUT_UDP_ANSWERED = 5;
export const TIMEOUT_ICMP = 6;
export const TIMEOUT_OTHER_NEW = 7;
export const TIMEOUT_OTHER_ANSWERED = 8;
/** Number of classes; a record with a class from here on is not valid. */
export const TIMEOUT_CLASSES = 9;

/** Names by class, for listings. */
export const TIMEOUT_CLASS_NAMES = [
  'tcp_opening',
  'tcp_established',
  'tcp_closing',
  'tcp_closed',
  'udp_new',
  'udp_answered',
  'icmp',
  'other_new',
  'other_answered',
] as const;

/** How a flow ended: an orderly end (both FINs acknowledged, a valid reset, a reopened tuple). */
export const ENDED_CLOSED = 0;
/** Idle for too long. */
export const ENDED_TIMEOUT = 1;
/** Taken down: by command, by a plugin, or because its tunnel changed. */
export const ENDED_FLUSH = 2;
/** Lost: found unusable after a restart. */
export const ENDED_CRASH = 3;

/** Idle times by class, milliseconds. */
const IDLE_MS: readonly number[] = [
  240_000, 7_440_000, 240_000, 240_000, 120_000, 300_000, 60_000, 120_000, 300_000,
];
/** Idle times of a full table, by class, milliseconds. */
const FLOOR_MS: readonly number[] = [10_000, 120_000, 10_000, 5_000, 10_000, 30_000, 5_000, 10_000, 30_000];
/** Holding times by class, milliseconds: the idle time of the protocol, answered or not. */
const HOLD_MS: readonly number[] = [
  240_000, 7_440_000, 240_000, 240_000, 300_000, 300_000, 60_000, 300_000, 300_000,
];
const CLEAN_CLOSE_HOLD_MS = 240_000;
const SHRINK_FROM_PERMILLE = 600;
const SHRINK_RANGE_PERMILLE = 400;

/** The class that a flow of this protocol starts in. */
export function startTimeoutClass(protocol: number): number {
  if (protocol === PROTOCOL_TCP) return TIMEOUT_TCP_OPENING;
  if (protocol === PROTOCOL_UDP) return TIMEOUT_UDP_NEW;
  if (protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6) return TIMEOUT_ICMP;
  return TIMEOUT_OTHER_NEW;
}

/** The class of a flow that was in `timeoutClass` and has now been answered. TCP's follow `tcpTimeoutClass`. */
export function answeredTimeoutClass(timeoutClass: number): number {
  if (timeoutClass === TIMEOUT_UDP_NEW) return TIMEOUT_UDP_ANSWERED;
  if (timeoutClass === TIMEOUT_OTHER_NEW) return TIMEOUT_OTHER_ANSWERED;
  return timeoutClass;
}

/** The class in a record's state word. */
export function timeoutClassOf(state: number): number {
  return (state >>> 8) & 0xff;
}

/** Changes the class of a live record; one store. `words` are the table's. */
export function setTimeoutClass(words: Int32Array, record: number, timeoutClass: number): void {
  const at = record * RECORD_WORDS + SHARED_STATE;
  words[at] = (words[at]! & ~0xff00) | (timeoutClass << 8);
}

/** True for the TCP classes. */
export function isTcpTimeoutClass(timeoutClass: number): boolean {
  return timeoutClass <= TIMEOUT_TCP_CLOSED;
}

/**
 * Idle time of a class, milliseconds, when `fillPermille` of the table's records are in use.
 */
export function idleTimeoutMs(timeoutClass: number, fillPermille: number): number {
  const idleMs = IDLE_MS[timeoutClass]!;
  if (fillPermille <= SHRINK_FROM_PERMILLE) return idleMs;
  const over = Math.min(fillPermille - SHRINK_FROM_PERMILLE, SHRINK_RANGE_PERMILLE);
  const shrinkPerStepMs = ((idleMs - FLOOR_MS[timeoutClass]!) / SHRINK_RANGE_PERMILLE) | 0;
  return idleMs - shrinkPerStepMs * over;
}

/**
 * How long a flow's tuple is kept from other sites after the flow has ended, milliseconds: 240 s after a clean
 * close, else the protocol's idle time, since the far end may believe in the flow for that long.
 */
export function holdMs(timeoutClass: number, endedHow: number): number {
  return endedHow === ENDED_CLOSED ? CLEAN_CLOSE_HOLD_MS : HOLD_MS[timeoutClass]!;
}
