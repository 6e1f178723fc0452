/**
 * What a flow is doing, in one word: for listings and their filters, not for the packet's way.
 *
 * ```
 *                 originator's FIN          both FINs            both acknowledged
 *  syn_sent ─ syn_received ─ established ─┬─ fin_wait ───┬─ last_ack ─── time_wait
 *                                         └─ close_wait ─┘
 *                 reset, from wherever a valid reset came
 * ```
 *
 * The names are those of RFC 9293 3.3.2, seen from the originator; the record has a state for either endpoint
 * (`flow/tcp-endpoint.ts`), from which they are made. Everything that is not TCP is `unanswered`, then `answered`.
 */
import { PROTOCOL_TCP } from '../wire/packet.ts';
import { FLOW_ANSWERED, KEY_META, ORIGINATOR, REPLY, SHARED_STATE, SHARED_TCP } from './layout.ts';
import {
  REPLY_CLOSED_FIRST,
  STATE_ESTABLISHED,
  STATE_FIN_ACKED,
  STATE_FIN_SENT,
  STATE_NONE,
  STATE_RESET,
  stateOf,
} from './tcp-endpoint.ts';

export const FLOW_STATE_NAMES = [
  'syn_sent',
  'syn_received',
  'established',
  'fin_wait',
  'close_wait',
  'last_ack',
  'time_wait',
  'reset',
  'unanswered',
  'answered',
] as const;

export type FlowStateName = (typeof FLOW_STATE_NAMES)[number];

/** The state of the live record whose words begin at `base`. */
export function flowStateName(words: Int32Array, base: number): FlowStateName {
  if (((words[base + KEY_META]! >>> 8) & 0xff) === PROTOCOL_TCP)
    return tcpStateName(words[base + SHARED_TCP]!);
  return (words[base + SHARED_STATE]! & FLOW_ANSWERED) !== 0 ? 'answered' : 'unanswered';
}

function tcpStateName(tcp: number): FlowStateName {
  const originator = stateOf(tcp, ORIGINATOR);
  const reply = stateOf(tcp, REPLY);
  if (originator === STATE_RESET || reply === STATE_RESET) return 'reset';
  if (reply === STATE_NONE) return 'syn_sent';
  const originatorClosed = originator >= STATE_FIN_SENT;
  const replyClosed = reply >= STATE_FIN_SENT;
  if (originatorClosed && replyClosed) {
    return originator === STATE_FIN_ACKED && reply === STATE_FIN_ACKED ? 'time_wait' : 'last_ack';
  }
  if (originatorClosed) return 'fin_wait';
  if (replyClosed || (tcp & REPLY_CLOSED_FIRST) !== 0) return 'close_wait';
  return originator === STATE_ESTABLISHED && reply === STATE_ESTABLISHED ? 'established' : 'syn_received';
}
