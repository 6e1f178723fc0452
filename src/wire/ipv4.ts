/**
 * The IPv4 header (RFC 791).
 *
 * ```
 *   0                   1                   2                   3
 *  +-------+-------+---------------+-------------------------------+
 *  |  4    |  IHL  | DSCP      ECN |         total length          |  0
 *  +-------+-------+---------------+-----+-------------------------+
 *  |        identification         |-|D|M|    fragment offset / 8  |  4
 *  +---------------+---------------+-----+-------------------------+
 *  |      TTL      |   protocol    |        header checksum        |  8
 *  +---------------+---------------+-------------------------------+
 *  |                        source address                         | 12
 *  |                      destination address                      | 16
 *  |                  options, padded to 4 bytes                   | 20
 *  +---------------------------------------------------------------+
 * ```
 *
 * Getters and setters take the offset of the header in `bytes` and check nothing: `wire/decode.ts` does.
 * Addresses are words in wire order, everything else is in host order. Not supported: interpretation of options
 * other than to refuse source routes.
 */
import { readUint16, readWord, writeHalf, writeUint16, writeWord } from './byte-order.ts';
import { adjustChecksum, checksumOf, sumBytes } from './checksum.ts';

export const IPV4_HEADER_BYTES = 20;
export const IPV4_MAX_HEADER_BYTES = 60;

/** Field offsets, bytes. */
export const IPV4_TRAFFIC_CLASS = 1;
export const IPV4_TOTAL_LENGTH = 2;
export const IPV4_IDENTIFICATION = 4;
export const IPV4_FLAGS = 6;
export const IPV4_TTL = 8;
export const IPV4_PROTOCOL = 9;
export const IPV4_CHECKSUM = 10;
export const IPV4_SOURCE = 12;
export const IPV4_DESTINATION = 16;
export const IPV4_OPTIONS = 20;

/** Bits of the 16-bit flags and fragment offset field, host order. */
export const IPV4_DONT_FRAGMENT = 0x4000;
export const IPV4_MORE_FRAGMENTS = 0x2000;
export const IPV4_FRAGMENT_OFFSET_MASK = 0x1fff;

/** Option types (copied flag, class and number in one byte). */
export const IPV4_OPTION_END = 0;
export const IPV4_OPTION_NOP = 1;
export const IPV4_OPTION_LSRR = 131;
export const IPV4_OPTION_SSRR = 137;
/** Set in an option's type if every fragment carries it, not only the first. */
export const IPV4_OPTION_COPIED = 0x80;

/** Results of {@link checkIpv4Options}. */
export const IPV4_OPTIONS_OK = 0;
/** An option's length runs beyond the header or is below 2. */
export const IPV4_OPTIONS_MALFORMED = 1;
/** Loose or strict source route. */
export const IPV4_OPTIONS_SOURCE_ROUTE = 2;

/** Length of the header, options included, bytes. */
export function ipv4HeaderBytes(bytes: Uint8Array, offset: number): number {
  return (bytes[offset] & 0x0f) << 2;
}

/** Length of the packet, bytes. */
export function ipv4TotalLength(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + IPV4_TOTAL_LENGTH);
}

/** Flags and fragment offset as one 16-bit field. */
export function ipv4Flags(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + IPV4_FLAGS);
}

export function ipv4Identification(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + IPV4_IDENTIFICATION);
}

export function ipv4Protocol(bytes: Uint8Array, offset: number): number {
  return bytes[offset + IPV4_PROTOCOL];
}

/** Source address, wire order. */
export function ipv4Source(bytes: Uint8Array, offset: number): number {
  return readWord(bytes, offset + IPV4_SOURCE);
}

/** Destination address, wire order. */
export function ipv4Destination(bytes: Uint8Array, offset: number): number {
  return readWord(bytes, offset + IPV4_DESTINATION);
}

/** Computes the header checksum from nothing and stores it. */
export function fillIpv4Checksum(bytes: Uint8Array, offset: number): void {
  writeHalf(bytes, offset + IPV4_CHECKSUM, 0);
  writeHalf(
    bytes,
    offset + IPV4_CHECKSUM,
    checksumOf(sumBytes(bytes, offset, ipv4HeaderBytes(bytes, offset))),
  );
}

/** Whether the header checksum is right. */
export function verifyIpv4Checksum(bytes: Uint8Array, offset: number): boolean {
  return sumBytes(bytes, offset, ipv4HeaderBytes(bytes, offset)) === 0xffff;
}

/** Applies a delta (`wire/checksum.ts`) to the header checksum. */
export function adjustIpv4Checksum(bytes: Uint8Array, offset: number, delta: number): void {
  const at = offset + IPV4_CHECKSUM;
  writeHalf(bytes, at, adjustChecksum(bytes[at] | (bytes[at + 1] << 8), delta));
}

/**
 * Writes a 20-byte header with its checksum at `offset`.
 *
 * @param flags flags and fragment offset (in units of 8 bytes) as one 16-bit field, host order
 * @param source wire order
 * @param destination wire order
 */
export function writeIpv4Header(
  bytes: Uint8Array,
  offset: number,
  totalLength: number,
  protocol: number,
  source: number,
  destination: number,
  ttl: number,
  trafficClass: number,
  identification: number,
  flags: number,
): void {
  bytes[offset] = 0x45;
  bytes[offset + IPV4_TRAFFIC_CLASS] = trafficClass;
  writeUint16(bytes, offset + IPV4_TOTAL_LENGTH, totalLength);
  writeUint16(bytes, offset + IPV4_IDENTIFICATION, identification);
  writeUint16(bytes, offset + IPV4_FLAGS, flags);
  bytes[offset + IPV4_TTL] = ttl;
  bytes[offset + IPV4_PROTOCOL] = protocol;
  writeWord(bytes, offset + IPV4_SOURCE, source);
  writeWord(bytes, offset + IPV4_DESTINATION, destination);
  fillIpv4Checksum(bytes, offset);
}

/** Walks the options of a header of `headerBytes` (20..60). One of `IPV4_OPTIONS_...`. */
export function checkIpv4Options(bytes: Uint8Array, offset: number, headerBytes: number): number {
  const end = (offset + headerBytes) | 0;
  let at = (offset + IPV4_OPTIONS) | 0;
  while (at < end) {
    const type = bytes[at];
    if (type === IPV4_OPTION_END) return IPV4_OPTIONS_OK;
    if (type === IPV4_OPTION_NOP) {
      at = (at + 1) | 0;
      continue;
    }
    if (at + 2 > end) return IPV4_OPTIONS_MALFORMED;
    const length = bytes[at + 1];
    if (length < 2 || at + length > end) return IPV4_OPTIONS_MALFORMED;
    if (type === IPV4_OPTION_LSRR || type === IPV4_OPTION_SSRR) return IPV4_OPTIONS_SOURCE_ROUTE;
    at = (at + length) | 0;
  }
  return IPV4_OPTIONS_OK;
}
