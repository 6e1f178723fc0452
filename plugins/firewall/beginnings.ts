/**
 * How a flow began, as far as its record does not tell: what is remembered of its first packet in the state of the flow,
 * and what may have been where that is lost.
 *
 * ```
 *  word 0   | DSCP, 6 | TTL, 8 | length of the IP packet, 17 | 1 |      0: nothing is remembered
 *  word 1   | 0       | ICMP code, 8 | ICMP type, 8 | TCP flags, 8 |
 * ```
 *
 * A live flow that is judged anew is shown by a packet that is made up: addresses, ports and protocol are the flow's, and
 * nothing else is true of it. So the rest is taken from here. Of flows from before the data plane's start, and from before
 * the plugin's, nothing is remembered. Neighbours: `firewall.ts` (judges), `compile-policy.ts` (rules without
 * {@link UNKNOWN}).
 */
import { PROTOCOL_ICMP, PROTOCOL_TCP, TCP_PSH, TCP_SYN, TCP_URG } from '../../src/wire/packet.ts';
import { DSCP, ICMP_CODE, ICMP_TYPE, LENGTH, PROTOCOL, TCP_FLAGS, TTL } from './condition.ts';
import type { PacketValues } from './packet-values.ts';

/** Words that it takes. */
export const BEGINNING_WORDS = 2;

/** Dimensions that may have had any value where nothing is remembered. */
export const UNKNOWN: readonly number[] = [DSCP, LENGTH, TTL];

const KNOWN = 1;
const LENGTH_SHIFT = 1;
const LENGTH_MASK = 0x1ffff;
const TTL_SHIFT = 18;
const DSCP_SHIFT = 26;

/** Writes down what the first packet of a flow was like. */
export function rememberBeginning({ numbers }: PacketValues, state: Int32Array, at: number): void {
  state[at] =
    KNOWN |
    (numbers[LENGTH]! << LENGTH_SHIFT) |
    (numbers[TTL]! << TTL_SHIFT) |
    (numbers[DSCP]! << DSCP_SHIFT);
  state[at + 1] = numbers[TCP_FLAGS]! | (numbers[ICMP_TYPE]! << 8) | (numbers[ICMP_CODE]! << 16);
}

/** Puts it into the values of a packet that is made up. False if nothing is remembered; then nothing has changed. */
export function recallBeginning({ numbers }: PacketValues, state: Int32Array, at: number): boolean {
  const [first, second] = [state[at]!, state[at + 1]!];
  if ((first & KNOWN) === 0) return false;
  numbers[LENGTH] = (first >>> LENGTH_SHIFT) & LENGTH_MASK;
  numbers[TTL] = (first >>> TTL_SHIFT) & 0xff;
  numbers[DSCP] = first >>> DSCP_SHIFT;
  numbers[TCP_FLAGS] = second & 0xff;
  numbers[ICMP_TYPE] = (second >>> 8) & 0xff;
  numbers[ICMP_CODE] = (second >>> 16) & 0xff;
  return true;
}

const ECE = 0x40;
const CWR = 0x80;
/** RFC 3168. */
const HONEST_SYNS = [0, ECE, CWR, ECE | CWR].map((flags) => TCP_SYN | flags);
const SYNS = [0, TCP_PSH, TCP_URG, TCP_PSH | TCP_URG].flatMap((flags) =>
  HONEST_SYNS.map((honest) => honest | flags),
);
/** Echo and timestamp requests; of ICMPv6 only the former begin flows. */
const ICMP_REQUESTS = [8, 13];
const ONE = [0];

/** How many beginnings a flow may have had, beside those that {@link UNKNOWN} makes; `isHonest`: as `drop_invalid` has it. */
export function possibleBeginnings({ numbers }: PacketValues, isHonest: boolean): readonly number[] {
  if (numbers[PROTOCOL] === PROTOCOL_TCP) return isHonest ? HONEST_SYNS : SYNS;
  return numbers[PROTOCOL] === PROTOCOL_ICMP ? ICMP_REQUESTS : ONE;
}

/** Puts one of them into the values of the packet. */
export function assumeBeginning({ numbers }: PacketValues, beginning: number): void {
  if (numbers[PROTOCOL] === PROTOCOL_TCP) numbers[TCP_FLAGS] = beginning;
  else if (numbers[PROTOCOL] === PROTOCOL_ICMP) numbers[ICMP_TYPE] = beginning;
}
