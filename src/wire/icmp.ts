/**
 * The ICMP header (RFC 792; path MTU RFC 1191; the length of the quote RFC 4884).
 *
 * ```
 *  +---------------+---------------+-------------------------------+
 *  |     type      |     code      |           checksum            |  0
 *  +---------------+---------------+-------------------------------+
 *  |  query:  identifier           |  sequence number              |  4
 *  |  error:  unused, quote length/4, next-hop MTU                 |  4
 *  +---------------------------------------------------------------+
 *  |  query: data      error: the IP packet it is about, its start |  8
 *  +---------------------------------------------------------------+
 * ```
 *
 * The checksum covers the message alone: there is no pseudo-header. Numbers are in host order, the checksum in
 * wire order (`wire/checksum.ts`).
 */
import { readUint16, writeInt32, writeUint16 } from './byte-order.ts';
import { ICMP_ERROR, ICMP_OTHER, ICMP_QUERY } from './packet.ts';

export const ICMP_HEADER_BYTES = 8;

/** Field offsets, bytes. */
export const ICMP_TYPE = 0;
export const ICMP_CODE = 1;
export const ICMP_CHECKSUM = 2;
export const ICMP_IDENTIFIER = 4;
/** Errors: length of the quote in units of 4 bytes, 0 if the sender does not say (RFC 4884). */
export const ICMP_QUOTE_LENGTH = 5;
export const ICMP_SEQUENCE = 6;
/** "Fragmentation needed" only. */
export const ICMP_NEXT_HOP_MTU = 6;

export const ICMP_ECHO_REPLY = 0;
export const ICMP_UNREACHABLE = 3;
export const ICMP_REDIRECT = 5;
export const ICMP_ECHO_REQUEST = 8;
export const ICMP_TIME_EXCEEDED = 11;
export const ICMP_PARAMETER_PROBLEM = 12;
export const ICMP_TIMESTAMP_REQUEST = 13;
export const ICMP_TIMESTAMP_REPLY = 14;

/** Codes of {@link ICMP_UNREACHABLE}. */
export const ICMP_UNREACHABLE_NET = 0;
export const ICMP_UNREACHABLE_HOST = 1;
export const ICMP_UNREACHABLE_PROTOCOL = 2;
export const ICMP_UNREACHABLE_PORT = 3;
export const ICMP_FRAGMENTATION_NEEDED = 4;
export const ICMP_UNREACHABLE_ADMIN = 13;

/** What a message is to flow lookup: `ICMP_QUERY`, `ICMP_ERROR` or `ICMP_OTHER`. A query has code 0. */
export function icmpKindOf(type: number, code: number): number {
  switch (type) {
    case ICMP_ECHO_REQUEST:
    case ICMP_ECHO_REPLY:
    case ICMP_TIMESTAMP_REQUEST:
    case ICMP_TIMESTAMP_REPLY:
      return code === 0 ? ICMP_QUERY : ICMP_OTHER;
    case ICMP_UNREACHABLE:
    case ICMP_TIME_EXCEEDED:
    case ICMP_PARAMETER_PROBLEM:
      return ICMP_ERROR;
    default:
      return ICMP_OTHER;
  }
}

/** Whether a query is a reply: its identifier then stands as destination port. */
export function isIcmpReply(type: number): boolean {
  return type === ICMP_ECHO_REPLY || type === ICMP_TIMESTAMP_REPLY;
}

export function icmpNextHopMtu(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + ICMP_NEXT_HOP_MTU);
}

/** Writes the 8 bytes of a message with checksum 0; `rest` is the second word, host order. */
export function writeIcmpHeader(
  bytes: Uint8Array,
  offset: number,
  type: number,
  code: number,
  rest: number,
): void {
  bytes[offset + ICMP_TYPE] = type;
  bytes[offset + ICMP_CODE] = code;
  writeUint16(bytes, offset + ICMP_CHECKSUM, 0);
  writeInt32(bytes, offset + ICMP_IDENTIFIER, rest);
}
