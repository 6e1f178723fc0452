/**
 * Decoding: one IPv4 or IPv6 packet in packet memory into a view, without throwing or allocating.
 *
 * ```
 *  decode ─┬─ IPv4: length, checksum, options ──────┬─ later fragment: data
 *          └─ IPv6: length, extension headers ──────┴─ transport ─┬─ TCP, UDP: ports, lengths, flags
 *             (decode-ipv6-chain.ts)                  (decode-    ├─ ICMP query: identifier
 *                                                   transport.ts) ├─ ICMP error: the quote (decode-quoted.ts)
 *                                                                 └─ anything else: payload
 * ```
 *
 * Neighbours: `wire/packet.ts` says what every field means; `wire/virtio-net.ts` adds what the virtio-net header
 * says; `pipeline/` counts the codes. Neighbour discovery is taken out before (`pipeline/link/`), so link-local
 * and multicast addresses are refused here.
 *
 * RFC 791, RFC 1812 5.2.2 and 5.3.7, RFC 8200. Not supported: jumbograms, the reading of options, verification of
 * transport checksums (`wire/checksum.ts` does that where it matters).
 */
import { readUint16 } from './byte-order.ts';
import { checkIpv4Addresses, checkIpv6Addresses } from './decode-address.ts';
import { DECODE_BAD_IP_CHECKSUM, DECODE_IP_OPTIONS, DECODE_MALFORMED, DECODE_OK } from './decode-code.ts';
import { walkExtensionHeaders } from './decode-ipv6-chain.ts';
import { decodeTransport, setPortless } from './decode-transport.ts';
import {
  checkIpv4Options,
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT_OFFSET_MASK,
  IPV4_HEADER_BYTES,
  IPV4_MORE_FRAGMENTS,
  IPV4_OPTIONS_OK,
  IPV4_OPTIONS_SOURCE_ROUTE,
} from './ipv4.ts';
import {
  IPV6_HEADER_BYTES,
  IPV6_HOP_LIMIT,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  ipv6TrafficClass,
} from './ipv6.ts';
import { GSO_NONE, IPV4, IPV6, type PacketView } from './packet.ts';

export * from './decode-code.ts';

/**
 * Decodes the packet at `offset` into `view`: every field, the GSO and checksum fields as "none".
 *
 * With `DECODE_OK`, `DECODE_BAD_SOURCE` and `DECODE_BAD_DESTINATION` the view is filled, and everything that it
 * points to lies within the packet. With other codes what it holds is of no use.
 *
 * @param offset of the IP header in packet memory, a multiple of 4
 * @param availableBytes from `offset`, all in packet memory; more than the packet is link padding and ignored
 */
export function decode(view: PacketView, offset: number, availableBytes: number): number {
  if (availableBytes < IPV4_HEADER_BYTES) return DECODE_MALFORMED;
  view.offset = offset;
  view.gsoType = GSO_NONE;
  view.gsoSize = 0;
  view.checksumStart = 0;
  view.checksumOffset = 0;
  const version = view.bytes[offset] >>> 4;
  if (version === IPV4) return decodeIpv4(view, offset, availableBytes);
  if (version === IPV6) return decodeIpv6(view, offset, availableBytes);
  return DECODE_MALFORMED;
}

function decodeIpv4(view: PacketView, offset: number, availableBytes: number): number {
  const words = view.words;
  const at = offset >> 2;
  const word0 = words[at];
  const word1 = words[at + 1];
  const word2 = words[at + 2];
  const source = words[at + 3];
  const destination = words[at + 4];
  const headerBytes = (word0 & 0x0f) << 2;
  const totalLength = ((word0 >>> 8) & 0xff00) | (word0 >>> 24);
  if (headerBytes < IPV4_HEADER_BYTES || totalLength < headerBytes || totalLength > availableBytes) {
    return DECODE_MALFORMED;
  }

  let sum =
    (word0 & 0xffff) +
    (word0 >>> 16) +
    (word1 & 0xffff) +
    (word1 >>> 16) +
    (word2 & 0xffff) +
    (word2 >>> 16) +
    (source & 0xffff) +
    (source >>> 16) +
    (destination & 0xffff) +
    (destination >>> 16);
  for (let index = at + 5; index < at + (headerBytes >> 2); index++) {
    sum = (sum + (words[index] & 0xffff) + (words[index] >>> 16)) | 0;
  }
  // Thirty units at most: two folds suffice, and a right header sums to all ones.
  sum = (sum & 0xffff) + (sum >>> 16);
  if ((sum & 0xffff) + (sum >>> 16) !== 0xffff) return DECODE_BAD_IP_CHECKSUM;

  if (headerBytes !== IPV4_HEADER_BYTES) {
    const options = checkIpv4Options(view.bytes, offset, headerBytes);
    if (options !== IPV4_OPTIONS_OK) {
      return options === IPV4_OPTIONS_SOURCE_ROUTE ? DECODE_IP_OPTIONS : DECODE_MALFORMED;
    }
  }

  const protocol = (word2 >>> 8) & 0xff;
  const l4 = (offset + headerBytes) | 0;
  const l4Bytes = (totalLength - headerBytes) | 0;
  const flags = ((word1 >>> 8) & 0xff00) | (word1 >>> 24);
  view.length = totalLength;
  view.family = IPV4;
  view.protocol = protocol;
  view.l4Offset = l4;
  view.ttl = word2 & 0xff;
  view.trafficClass = (word0 >>> 8) & 0xff;
  view.src0 = 0;
  view.src1 = 0;
  view.src2 = 0;
  view.src3 = source;
  view.dst0 = 0;
  view.dst1 = 0;
  view.dst2 = 0;
  view.dst3 = destination;
  view.fragmentOffset = (flags & IPV4_FRAGMENT_OFFSET_MASK) << 3;
  view.moreFragments = (flags & IPV4_MORE_FRAGMENTS) !== 0 ? 1 : 0;
  view.fragment = (flags & (IPV4_FRAGMENT_OFFSET_MASK | IPV4_MORE_FRAGMENTS)) !== 0 ? 1 : 0;
  view.identification = ((word1 & 0xff) << 8) | ((word1 >>> 8) & 0xff);
  view.fragmentHeaderOffset = 0;
  view.dontFragment = (flags & IPV4_DONT_FRAGMENT) !== 0 ? 1 : 0;

  if (view.fragmentOffset !== 0) {
    setPortless(view, l4, l4Bytes);
  } else {
    const code = decodeTransport(view, protocol, l4, l4Bytes);
    if (code !== DECODE_OK) return code;
  }
  return checkIpv4Addresses(source, destination);
}

function decodeIpv6(view: PacketView, offset: number, availableBytes: number): number {
  if (availableBytes < IPV6_HEADER_BYTES) return DECODE_MALFORMED;
  const bytes = view.bytes;
  const length = (IPV6_HEADER_BYTES + readUint16(bytes, offset + IPV6_PAYLOAD_LENGTH)) | 0;
  if (length > availableBytes) return DECODE_MALFORMED;
  const words = view.words;
  const at = offset >> 2;
  view.length = length;
  view.family = IPV6;
  view.ttl = bytes[offset + IPV6_HOP_LIMIT];
  view.trafficClass = ipv6TrafficClass(bytes, offset);
  view.src0 = words[at + 2];
  view.src1 = words[at + 3];
  view.src2 = words[at + 4];
  view.src3 = words[at + 5];
  view.dst0 = words[at + 6];
  view.dst1 = words[at + 7];
  view.dst2 = words[at + 8];
  view.dst3 = words[at + 9];
  view.dontFragment = 1;

  const end = (offset + length) | 0;
  const next = bytes[offset + IPV6_NEXT_HEADER];
  let code = walkExtensionHeaders(view, next, (offset + IPV6_HEADER_BYTES) | 0, end);
  if (code !== DECODE_OK) return code;
  const l4 = view.l4Offset;
  const l4Bytes = (end - l4) | 0;
  if (view.fragmentOffset !== 0) {
    setPortless(view, l4, l4Bytes);
  } else {
    code = decodeTransport(view, view.protocol, l4, l4Bytes);
    if (code !== DECODE_OK) return code;
  }
  return checkIpv6Addresses(
    view.src0,
    view.src1,
    view.src2,
    view.src3,
    view.dst0,
    view.dst1,
    view.dst2,
    view.dst3,
  );
}
