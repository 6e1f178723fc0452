/**
 * The TCP words of a flow record: what `flow/tcp.ts` knows of each endpoint, and how it is stored.
 *
 * Sequence numbers are int32 and compared by difference:
 *
 * ```
 *  SHARED_TCP   31             27 26 25 24 23       20 19       16 15         8 7          0
 *              +-----------------+--+--+--+-----------+-----------+------------+------------+
 *              |        0        |P |F |S | scale     | scale     | state      | state      |
 *              |                 |  |  |  | reply     | originator| reply      | originator |
 *              +-----------------+--+--+--+-----------+-----------+------------+------------+
 *               P SYN pending  F reply closed first  S see below
 *  three words an endpoint: end, acked, window
 * ```
 *
 * A window scale is stored plus one, 0 if the endpoint offered none; S is set while windows are scaled, which
 * needs both to have offered (RFC 7323 2.2). `end` is one more than the highest sequence number the endpoint has
 * sent; `acked` the highest number its peer has acknowledged, its first sequence number until then; `window` the
 * largest window it has offered, in bytes.
 *
 * Neighbours: `flow/layout.ts` (where the words stand in a record), `flow/tcp.ts` (the rules).
 */

import type { PacketView } from '../wire/packet.ts';
import { ORIGINATOR, REPLY, SHARED_TCP, SHARED_TCP_ORIGINATOR, SHARED_TCP_REPLY } from './layout.ts';

/** States of what an endpoint sends; drawn in `flow/tcp.ts`. */
export const STATE_NONE = 0;
export const STATE_SYN_SENT = 1;
export const STATE_ESTABLISHED = 2;
export const STATE_FIN_SENT = 3;
export const STATE_FIN_ACKED = 4;
export const STATE_RESET = 5;

/** Names of an endpoint's states, by number, for listings. */
export const TCP_STATE_NAMES = ['none', 'syn_sent', 'established', 'fin_sent', 'fin_acked', 'reset'] as const;

const SCALED = 1 << 24;
/** The reply's FIN was seen before the originator's. */
export const REPLY_CLOSED_FIRST = 1 << 25;
/** A SYN of the originator was passed on into the connection, and nothing has shown yet what it led to. */
export const SYN_PENDING = 1 << 26;

/** Offsets in an endpoint's three words. */
export const END = 0;
export const ACKED = 1;
export const WINDOW = 2;

const MAX_SCALE = 14;
const TCP_HEADER_BYTES = 20;
const OPTION_END = 0;
const OPTION_PADDING = 1;
const OPTION_WINDOW_SCALE = 3;
/** An endpoint sends its first SYN, or another in place of it: takes all that is known of it from there. */
export function openEndpoint(words: Int32Array, base: number, direction: number, view: PacketView): void {
  const own = base + wordsOf(direction);
  words[base + SHARED_TCP]! &= ~(0xf << (16 + direction * 4));
  words[own + END] = endOf(view);
  words[own + ACKED] = view.sequence;
  words[own + WINDOW] = 1;
  setState(words, base, direction, STATE_SYN_SENT);
  repeatSyn(words, base, direction, view);
}

/** An endpoint repeats its SYN: perhaps with more data, another window, or a scale that it left out before. */
export function repeatSyn(words: Int32Array, base: number, direction: number, view: PacketView): void {
  const own = base + wordsOf(direction);
  const end = endOf(view);
  if (((end - words[own + END]!) | 0) > 0) words[own + END] = end;
  if (view.window > words[own + WINDOW]!) words[own + WINDOW] = view.window;
  const offered = offeredScale(view) + 1;
  let tcp = words[base + SHARED_TCP]!;
  const shift = 16 + direction * 4;
  if (offered > ((tcp >>> shift) & 0xf)) tcp = (tcp & ~(0xf << shift)) | (offered << shift);
  const both = (tcp & 0xf0000) !== 0 && (tcp & 0xf00000) !== 0;
  words[base + SHARED_TCP] = both ? tcp | SCALED : tcp & ~SCALED;
}

/** An endpoint has sent its FIN. */
export function finSent(words: Int32Array, base: number, direction: number): void {
  const tcp = words[base + SHARED_TCP]!;
  if (stateOf(tcp, direction) >= STATE_FIN_SENT) return;
  setState(words, base, direction, STATE_FIN_SENT);
  if (direction === REPLY && stateOf(tcp, ORIGINATOR) < STATE_FIN_SENT) {
    words[base + SHARED_TCP]! |= REPLY_CLOSED_FIRST;
  }
}

/** The window scale that a SYN's options offer, or -1. Reads no further than the header goes. */
function offeredScale(view: PacketView): number {
  const bytes = view.bytes;
  const headerEnd = view.payloadOffset;
  let at = view.l4Offset + TCP_HEADER_BYTES;
  while (at < headerEnd) {
    const kind = bytes[at]!;
    if (kind === OPTION_END) return -1;
    if (kind === OPTION_PADDING) {
      at++;
      continue;
    }
    if (at + 1 >= headerEnd) return -1;
    const lengthBytes = bytes[at + 1]!;
    if (lengthBytes < 2 || at + lengthBytes > headerEnd) return -1;
    if (kind === OPTION_WINDOW_SCALE && lengthBytes === 3) {
      const scale = bytes[at + 2]!;
      return Math.min(scale, MAX_SCALE);
    }
    at += lengthBytes;
  }
  return -1;
}

/** One more than the last sequence number of a segment; SYN and FIN take one each. */
export function endOf(view: PacketView): number {
  const flags = view.tcpFlags;
  return (view.sequence + view.payloadLength + ((flags >>> 1) & 1) + (flags & 1)) | 0;
}

/** Where an endpoint's three words stand in a record. */
export function wordsOf(direction: number): number {
  return direction === ORIGINATOR ? SHARED_TCP_ORIGINATOR : SHARED_TCP_REPLY;
}

/** An endpoint's state in the state word. */
export function stateOf(tcp: number, direction: number): number {
  return (tcp >>> (direction * 8)) & 0xff;
}

/** Sets one endpoint's state. */
export function setState(words: Int32Array, base: number, direction: number, state: number): void {
  const shift = direction * 8;
  words[base + SHARED_TCP] = (words[base + SHARED_TCP]! & ~(0xff << shift)) | (state << shift);
}

/** Sets both endpoints' states: the connection was reset. */
export function setReset(words: Int32Array, base: number): void {
  words[base + SHARED_TCP] = (words[base + SHARED_TCP]! & ~0xffff) | STATE_RESET | (STATE_RESET << 8);
}

/** By how many bits an endpoint's windows are shifted, SYNs aside. */
export function scaleOf(tcp: number, direction: number): number {
  return (tcp & SCALED) === 0 ? 0 : ((tcp >>> (16 + direction * 4)) & 0xf) - 1;
}

/** Whether both endpoints are done: by FINs that were acknowledged, or by a reset. */
export function isClosed(tcp: number): boolean {
  return stateOf(tcp, ORIGINATOR) >= STATE_FIN_ACKED && stateOf(tcp, REPLY) >= STATE_FIN_ACKED;
}
