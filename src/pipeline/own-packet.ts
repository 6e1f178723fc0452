/**
 * Packets that we build ourselves: their view - what `decode` would say, without reading again - and IP header.
 *
 * Neighbours: `fragmentation.ts`, `icmp-errors.ts`, `tcp-reset.ts`, `stream/duplicate-acks.ts`.
 */
import { IPV4_DONT_FRAGMENT, IPV4_HEADER_BYTES, writeIpv4Header } from '../wire/ipv4.ts';
import {
  IPV6_DESTINATION,
  IPV6_HEADER_BYTES,
  IPV6_SOURCE,
  writeIpv6Address,
  writeIpv6Start,
} from '../wire/ipv6.ts';
import { GSO_NONE, ICMP_NONE, IPV4, type PacketView, PROTOCOL_TCP } from '../wire/packet.ts';

const TTL = 64;

/**
 * Fills `own` for a packet at `offset` that has family, protocol, traffic class, TTL and addresses of `like`.
 * Everything that only a transport protocol or a fragment has is set to none; the payload is everything behind
 * `l4Offset`.
 */
export function describeOwnPacket(
  own: PacketView,
  like: PacketView,
  offset: number,
  length: number,
  l4Offset: number,
): void {
  own.src0 = like.src0;
  own.src1 = like.src1;
  own.src2 = like.src2;
  own.src3 = like.src3;
  own.dst0 = like.dst0;
  own.dst1 = like.dst1;
  own.dst2 = like.dst2;
  own.dst3 = like.dst3;
  own.family = like.family;
  own.protocol = like.protocol;
  own.ttl = like.ttl;
  own.trafficClass = like.trafficClass;
  clearOwnPacket(own, offset, length, l4Offset);
}

/**
 * Fills `answer` for a TCP segment at `offset`, with no data and a header of `tcpBytes`, from the destination of `to` to its
 * source. Numbers and flags are left to the caller.
 */
export function describeTcpAnswer(
  answer: PacketView,
  to: PacketView,
  offset: number,
  tcpBytes: number,
): void {
  const l4Offset = offset + ipHeaderBytes(to);
  answer.family = to.family;
  answer.protocol = PROTOCOL_TCP;
  answer.ttl = TTL;
  answer.trafficClass = 0;
  answer.src0 = to.dst0;
  answer.src1 = to.dst1;
  answer.src2 = to.dst2;
  answer.src3 = to.dst3;
  answer.dst0 = to.src0;
  answer.dst1 = to.src1;
  answer.dst2 = to.src2;
  answer.dst3 = to.src3;
  clearOwnPacket(answer, offset, l4Offset + tcpBytes - offset, l4Offset);
  answer.payloadOffset = l4Offset + tcpBytes;
  answer.payloadLength = 0;
  // The halves change places; each keeps its bytes.
  answer.ports = (to.ports >>> 16) | (to.ports << 16);
  answer.sourcePort = to.destinationPort;
  answer.destinationPort = to.sourcePort;
}

/** Bytes of the IP header of an own packet that answers this one. */
export function ipHeaderBytes({ family }: PacketView): number {
  return family === IPV4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
}

/** As {@link describeOwnPacket}, for a packet of which family, protocol, traffic class, TTL and addresses stand in `own` already. */
export function clearOwnPacket(own: PacketView, offset: number, length: number, l4Offset: number): void {
  own.offset = offset;
  own.length = length;
  own.l4Offset = l4Offset;
  own.ports = 0;
  own.sourcePort = 0;
  own.destinationPort = 0;
  own.fragment = 0;
  own.fragmentOffset = 0;
  own.moreFragments = 0;
  own.identification = 0;
  own.fragmentHeaderOffset = 0;
  own.dontFragment = 1;
  own.tcpFlags = 0;
  own.sequence = 0;
  own.acknowledgment = 0;
  own.window = 0;
  own.payloadOffset = l4Offset;
  own.payloadLength = offset + length - l4Offset;
  own.icmpType = 0;
  own.icmpCode = 0;
  own.icmpKind = ICMP_NONE;
  own.gsoType = GSO_NONE;
  own.gsoSize = 0;
  own.checksumStart = 0;
  own.checksumOffset = 0;
}

/** Writes the IP header that the view describes: no options, no extension headers, never to be fragmented. */
export function writeOwnHeader(own: PacketView): void {
  const bytes = own.bytes;
  const at = own.offset;
  if (own.family === IPV4) {
    // Identification 0 is right for a packet that is never cut (RFC 6864, 4.1).
    writeIpv4Header(
      bytes,
      at,
      own.length,
      own.protocol,
      own.src3,
      own.dst3,
      own.ttl,
      own.trafficClass,
      0,
      IPV4_DONT_FRAGMENT,
    );
    return;
  }
  writeIpv6Start(bytes, at, own.length - IPV6_HEADER_BYTES, own.protocol, own.ttl, own.trafficClass, 0);
  writeIpv6Address(bytes, at + IPV6_SOURCE, own.src0, own.src1, own.src2, own.src3);
  writeIpv6Address(bytes, at + IPV6_DESTINATION, own.dst0, own.dst1, own.dst2, own.dst3);
}
