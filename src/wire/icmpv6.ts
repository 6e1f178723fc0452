/**
 * The ICMPv6 header (RFC 4443; the length of the quote RFC 4884).
 *
 * ```
 *  +---------------+---------------+-------------------------------+
 *  |     type      |     code      |           checksum            |  0
 *  +---------------+---------------+-------------------------------+
 *  |  echo:               identifier, sequence number              |  4
 *  |  packet too big:     MTU (32 bits)                            |  4
 *  |  unreachable, time exceeded: quote length/8, unused           |  4
 *  |  parameter problem:  pointer                                  |  4
 *  +---------------------------------------------------------------+
 *  |  echo: data       error: the IP packet it is about, its start |  8
 *  +---------------------------------------------------------------+
 * ```
 *
 * The checksum covers the pseudo-header too. Types below 128 are errors. Headers are written with
 * `writeIcmpHeader` (`wire/icmp.ts`): the layout is the same. Neighbour discovery: `wire/ndp.ts`.
 */
import { readInt32 } from './byte-order.ts';
import { ICMP_ERROR, ICMP_OTHER, ICMP_QUERY } from './packet.ts';

export const ICMPV6_HEADER_BYTES = 8;
/** Unreachable and time exceeded: length of the quote in units of 8 bytes, 0 if the sender does not say (RFC 4884). */
export const ICMPV6_QUOTE_LENGTH = 4;
/** Packet too big. */
export const ICMPV6_MTU = 4;

export const ICMPV6_UNREACHABLE = 1;
export const ICMPV6_PACKET_TOO_BIG = 2;
export const ICMPV6_TIME_EXCEEDED = 3;
export const ICMPV6_PARAMETER_PROBLEM = 4;
export const ICMPV6_ECHO_REQUEST = 128;
export const ICMPV6_ECHO_REPLY = 129;
export const ICMPV6_ROUTER_SOLICITATION = 133;
export const ICMPV6_ROUTER_ADVERTISEMENT = 134;
export const ICMPV6_NEIGHBOR_SOLICITATION = 135;
export const ICMPV6_NEIGHBOR_ADVERTISEMENT = 136;
export const ICMPV6_REDIRECT = 137;

/** Codes of {@link ICMPV6_UNREACHABLE}. */
export const ICMPV6_UNREACHABLE_NO_ROUTE = 0;
export const ICMPV6_UNREACHABLE_ADMIN = 1;
export const ICMPV6_UNREACHABLE_ADDRESS = 3;
export const ICMPV6_UNREACHABLE_PORT = 4;

/** What a message is to flow lookup: `ICMP_QUERY`, `ICMP_ERROR` or `ICMP_OTHER`. A query has code 0. */
export function icmpv6KindOf(type: number, code: number): number {
  if (type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER_PROBLEM) return ICMP_ERROR;
  if ((type === ICMPV6_ECHO_REQUEST || type === ICMPV6_ECHO_REPLY) && code === 0) return ICMP_QUERY;
  return ICMP_OTHER;
}

/** The MTU of a packet too big message, bytes, as an int32. */
export function icmpv6Mtu(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + ICMPV6_MTU);
}
