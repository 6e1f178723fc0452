/**
 * The IPv6 header and its extension headers (RFC 8200).
 *
 * ```
 *   0                   1                   2                   3
 *  +-------+---------------+---------------------------------------+
 *  |   6   | traffic class |              flow label               |  0
 *  +-------+---------------+-------+---------------+---------------+
 *  |        payload length         |  next header  |   hop limit   |  4
 *  +-------------------------------+---------------+---------------+
 *  |                    source address, 16 bytes                   |  8
 *  |                 destination address, 16 bytes                 | 24
 *  +---------------------------------------------------------------+
 *
 *  fragment header
 *  +---------------+---------------+-------------------------+---+-+
 *  |  next header  |   reserved    |   fragment offset / 8   |res|M|  0
 *  |                        identification                         |  4
 *  +---------------------------------------------------------------+
 *
 *  hop-by-hop, destination options, routing
 *  +---------------+---------------+---------------+---------------+
 *  |  next header  | length/8 - 1  | (routing type)| (segm. left)  |  0
 *  +---------------+---------------+---------------+---------------+
 * ```
 *
 * Getters and setters take the offset of the header in `bytes` and check nothing: `wire/decode.ts` does.
 * Addresses are four words in wire order, everything else is in host order. Not supported: jumbograms
 * (RFC 2675), interpretation of options.
 */
import { readUint16, writeInt32, writeUint16, writeWord } from './byte-order.ts';

export const IPV6_HEADER_BYTES = 40;
export const IPV6_FRAGMENT_HEADER_BYTES = 8;
/** Every link carries packets of this size whole (RFC 8200, 5). */
export const IPV6_MINIMUM_MTU = 1280;

/** Field offsets, bytes. */
export const IPV6_PAYLOAD_LENGTH = 4;
export const IPV6_NEXT_HEADER = 6;
export const IPV6_HOP_LIMIT = 7;
export const IPV6_SOURCE = 8;
export const IPV6_DESTINATION = 24;

/** Field offsets of extension headers, bytes. */
export const IPV6_EXTENSION_LENGTH = 1;
export const IPV6_ROUTING_TYPE = 2;
export const IPV6_ROUTING_SEGMENTS_LEFT = 3;
export const IPV6_FRAGMENT_OFFSET = 2;
export const IPV6_FRAGMENT_IDENTIFICATION = 4;

/** Bits of the fragment header's 16-bit offset field, host order. The offset in bytes is the field masked. */
export const IPV6_MORE_FRAGMENTS = 0x0001;
export const IPV6_FRAGMENT_OFFSET_MASK = 0xfff8;

export function ipv6TrafficClass(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] & 0x0f) << 4) | (bytes[offset + 1] >>> 4);
}

export function setIpv6TrafficClass(bytes: Uint8Array, offset: number, trafficClass: number): void {
  bytes[offset] = 0x60 | ((trafficClass >>> 4) & 0x0f);
  bytes[offset + 1] = ((trafficClass & 0x0f) << 4) | (bytes[offset + 1] & 0x0f);
}

/** Bytes behind the 40-byte header. */
export function ipv6PayloadLength(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + IPV6_PAYLOAD_LENGTH);
}

export function ipv6NextHeader(bytes: Uint8Array, offset: number): number {
  return bytes[offset + IPV6_NEXT_HEADER];
}

export function ipv6HopLimit(bytes: Uint8Array, offset: number): number {
  return bytes[offset + IPV6_HOP_LIMIT];
}

/** Length of a hop-by-hop, destination options or routing header at `offset`, bytes. */
export function ipv6ExtensionBytes(bytes: Uint8Array, offset: number): number {
  return (bytes[offset + IPV6_EXTENSION_LENGTH] + 1) << 3;
}

/**
 * Writes the first 8 bytes of a header, everything but the addresses.
 *
 * @param flowLabel 20 bits
 */
export function writeIpv6Start(
  bytes: Uint8Array,
  offset: number,
  payloadLength: number,
  nextHeader: number,
  hopLimit: number,
  trafficClass: number,
  flowLabel: number,
): void {
  writeInt32(bytes, offset, 0x60000000 | ((trafficClass & 0xff) << 20) | (flowLabel & 0xfffff));
  writeUint16(bytes, offset + IPV6_PAYLOAD_LENGTH, payloadLength);
  bytes[offset + IPV6_NEXT_HEADER] = nextHeader;
  bytes[offset + IPV6_HOP_LIMIT] = hopLimit;
}

/** Writes one address (four words, wire order) at `at`: `offset + IPV6_SOURCE` or `offset + IPV6_DESTINATION`. */
export function writeIpv6Address(
  bytes: Uint8Array,
  at: number,
  word0: number,
  word1: number,
  word2: number,
  word3: number,
): void {
  writeWord(bytes, at, word0);
  writeWord(bytes, at + 4, word1);
  writeWord(bytes, at + 8, word2);
  writeWord(bytes, at + 12, word3);
}

/**
 * Writes a fragment header.
 *
 * @param fragmentOffset bytes, a multiple of 8
 * @param moreFragments 1 or 0
 * @param identification 32 bits
 */
export function writeIpv6FragmentHeader(
  bytes: Uint8Array,
  offset: number,
  nextHeader: number,
  fragmentOffset: number,
  moreFragments: number,
  identification: number,
): void {
  bytes[offset] = nextHeader;
  bytes[offset + 1] = 0;
  writeUint16(
    bytes,
    offset + IPV6_FRAGMENT_OFFSET,
    (fragmentOffset & IPV6_FRAGMENT_OFFSET_MASK) | moreFragments,
  );
  writeInt32(bytes, offset + IPV6_FRAGMENT_IDENTIFICATION, identification);
}
