/**
 * The packet that an ICMP error quotes (RFC 792, RFC 1812 4.3.2.3, RFC 4443 2.4).
 *
 * A quote is cut anywhere behind the first 8 bytes of its transport header, its total length may say more than is
 * there, and its header checksum may be the one from before the TTL was lowered: none of that is an error. What
 * must stand is enough to find its flow: addresses, protocol, ports or identifier, and TCP's sequence number.
 *
 * Neighbour: `wire/decode-transport.ts`, which finds the quote. Here is no recursion: a quoted error has no quote.
 */
import { readUint16, swap16, swap32 } from './byte-order.ts';
import { DECODE_MALFORMED, DECODE_OK } from './decode-code.ts';
import { walkExtensionHeaders } from './decode-ipv6-chain.ts';
import { icmpKindOf, isIcmpReply } from './icmp.ts';
import { ICMPV6_ECHO_REPLY, icmpv6KindOf } from './icmpv6.ts';
import {
  IPV4_DONT_FRAGMENT,
  IPV4_FLAGS,
  IPV4_FRAGMENT_OFFSET_MASK,
  IPV4_HEADER_BYTES,
  IPV4_IDENTIFICATION,
  IPV4_MORE_FRAGMENTS,
  IPV4_PROTOCOL,
  IPV4_TOTAL_LENGTH,
  IPV4_TRAFFIC_CLASS,
  IPV4_TTL,
} from './ipv4.ts';
import {
  IPV6_HEADER_BYTES,
  IPV6_HOP_LIMIT,
  IPV6_NEXT_HEADER,
  ipv6PayloadLength,
  ipv6TrafficClass,
} from './ipv6.ts';
import {
  GSO_NONE,
  ICMP_NONE,
  ICMP_QUERY,
  IPV4,
  IPV6,
  type PacketView,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from './packet.ts';
import { TCP_HEADER_BYTES } from './tcp.ts';
import { UDP_HEADER_BYTES } from './udp.ts';

/** What every sender of an error quotes at least of the transport header. */
const QUOTED_TRANSPORT_BYTES = 8;

/**
 * Decodes the quote at `offset` (a multiple of 4), of which `availableBytes` are there, into `quote`. All fields
 * are set; `length` is never more than `availableBytes`; what the cut took away is 0.
 *
 * @param family of the error that quotes: a quote of the other family is malformed
 * @returns `DECODE_OK` or `DECODE_MALFORMED`
 */
export function decodeQuoted(
  quote: PacketView,
  family: number,
  offset: number,
  availableBytes: number,
): number {
  quote.offset = offset;
  quote.family = family;
  quote.gsoType = GSO_NONE;
  quote.gsoSize = 0;
  quote.checksumStart = 0;
  quote.checksumOffset = 0;
  quote.ports = 0;
  quote.sourcePort = 0;
  quote.destinationPort = 0;
  quote.tcpFlags = 0;
  quote.sequence = 0;
  quote.acknowledgment = 0;
  quote.window = 0;
  quote.icmpType = 0;
  quote.icmpCode = 0;
  quote.icmpKind = ICMP_NONE;
  if (family === IPV4) return decodeQuotedIpv4(quote, offset, availableBytes);
  return decodeQuotedIpv6(quote, offset, availableBytes);
}

function decodeQuotedIpv4(quote: PacketView, offset: number, availableBytes: number): number {
  const bytes = quote.bytes;
  const words = quote.words;
  if (availableBytes < IPV4_HEADER_BYTES || bytes[offset] >>> 4 !== IPV4) return DECODE_MALFORMED;
  const headerBytes = (bytes[offset] & 0x0f) << 2;
  const totalLength = readUint16(bytes, offset + IPV4_TOTAL_LENGTH);
  if (headerBytes < IPV4_HEADER_BYTES || headerBytes > availableBytes || headerBytes > totalLength) {
    return DECODE_MALFORMED;
  }
  const flags = readUint16(bytes, offset + IPV4_FLAGS);
  quote.length = Math.min(totalLength, availableBytes);
  quote.protocol = bytes[offset + IPV4_PROTOCOL];
  quote.l4Offset = (offset + headerBytes) | 0;
  quote.ttl = bytes[offset + IPV4_TTL];
  quote.trafficClass = bytes[offset + IPV4_TRAFFIC_CLASS];
  quote.src0 = 0;
  quote.src1 = 0;
  quote.src2 = 0;
  quote.src3 = words[(offset + 12) >> 2];
  quote.dst0 = 0;
  quote.dst1 = 0;
  quote.dst2 = 0;
  quote.dst3 = words[(offset + 16) >> 2];
  quote.fragmentOffset = (flags & IPV4_FRAGMENT_OFFSET_MASK) << 3;
  quote.moreFragments = (flags & IPV4_MORE_FRAGMENTS) !== 0 ? 1 : 0;
  quote.fragment = (flags & (IPV4_FRAGMENT_OFFSET_MASK | IPV4_MORE_FRAGMENTS)) !== 0 ? 1 : 0;
  quote.identification = readUint16(bytes, offset + IPV4_IDENTIFICATION);
  quote.fragmentHeaderOffset = 0;
  quote.dontFragment = (flags & IPV4_DONT_FRAGMENT) !== 0 ? 1 : 0;
  return decodeQuotedTransport(quote);
}

function decodeQuotedIpv6(quote: PacketView, offset: number, availableBytes: number): number {
  const bytes = quote.bytes;
  const words = quote.words;
  if (availableBytes < IPV6_HEADER_BYTES || bytes[offset] >>> 4 !== IPV6) return DECODE_MALFORMED;
  const totalLength = (IPV6_HEADER_BYTES + ipv6PayloadLength(bytes, offset)) | 0;
  quote.length = Math.min(totalLength, availableBytes);
  quote.ttl = bytes[offset + IPV6_HOP_LIMIT];
  quote.trafficClass = ipv6TrafficClass(bytes, offset);
  const at = offset >> 2;
  quote.src0 = words[at + 2];
  quote.src1 = words[at + 3];
  quote.src2 = words[at + 4];
  quote.src3 = words[at + 5];
  quote.dst0 = words[at + 6];
  quote.dst1 = words[at + 7];
  quote.dst2 = words[at + 8];
  quote.dst3 = words[at + 9];
  quote.dontFragment = 1;
  const code = walkExtensionHeaders(
    quote,
    bytes[offset + IPV6_NEXT_HEADER],
    (offset + IPV6_HEADER_BYTES) | 0,
    (offset + quote.length) | 0,
  );
  // We forward no source routes, so nobody can quote one of ours.
  return code === DECODE_OK ? decodeQuotedTransport(quote) : DECODE_MALFORMED;
}

function decodeQuotedTransport(quote: PacketView): number {
  const l4 = quote.l4Offset;
  const protocol = quote.protocol;
  const l4Bytes = (quote.offset + quote.length - l4) | 0;
  quote.payloadOffset = l4;
  quote.payloadLength = l4Bytes;
  if (quote.fragmentOffset !== 0) return DECODE_OK;

  const isTcp = protocol === PROTOCOL_TCP;
  const isIcmp = protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6;
  if (!isTcp && !isIcmp && protocol !== PROTOCOL_UDP) return DECODE_OK;
  if (l4Bytes < QUOTED_TRANSPORT_BYTES) return DECODE_MALFORMED;
  if (isIcmp) return decodeQuotedIcmp(quote, protocol === PROTOCOL_ICMP);

  const words = quote.words;
  const at = l4 >> 2;
  setQuotedPorts(quote, words[at]);
  let headerBytes = UDP_HEADER_BYTES;
  if (isTcp) {
    quote.sequence = swap32(words[at + 1]);
    headerBytes = l4Bytes;
    if (l4Bytes >= TCP_HEADER_BYTES) {
      const word = words[at + 3];
      quote.acknowledgment = swap32(words[at + 2]);
      quote.tcpFlags = (word >>> 8) & 0xff;
      quote.window = swap16(word >>> 16);
      const declared = (word & 0xf0) >>> 2;
      if (declared < TCP_HEADER_BYTES) return DECODE_MALFORMED;
      headerBytes = Math.min(declared, l4Bytes);
    }
  }
  quote.payloadOffset = (l4 + headerBytes) | 0;
  quote.payloadLength = (l4Bytes - headerBytes) | 0;
  return DECODE_OK;
}

function decodeQuotedIcmp(quote: PacketView, isIcmpv4: boolean): number {
  const isIpv4 = quote.family === IPV4;
  if (isIcmpv4 !== isIpv4) return DECODE_MALFORMED;
  const l4 = quote.l4Offset;
  const type = quote.bytes[l4];
  const code = quote.bytes[l4 + 1];
  quote.icmpType = type;
  quote.icmpCode = code;
  quote.icmpKind = isIpv4 ? icmpKindOf(type, code) : icmpv6KindOf(type, code);
  quote.payloadOffset = (l4 + QUOTED_TRANSPORT_BYTES) | 0;
  quote.payloadLength = (quote.payloadLength - QUOTED_TRANSPORT_BYTES) | 0;
  if (quote.icmpKind === ICMP_QUERY) {
    const identifier = quote.words[(l4 + 4) >> 2] & 0xffff;
    const isReply = isIpv4 ? isIcmpReply(type) : type === ICMPV6_ECHO_REPLY;
    setQuotedPorts(quote, isReply ? identifier << 16 : identifier);
  }
  return DECODE_OK;
}

function setQuotedPorts(quote: PacketView, ports: number): void {
  quote.ports = ports;
  quote.sourcePort = swap16(ports);
  quote.destinationPort = swap16(ports >>> 16);
}
