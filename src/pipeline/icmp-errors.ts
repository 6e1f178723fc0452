/**
 * ICMP and ICMPv6 errors of our own, about a packet as it arrived.
 *
 * ```
 *  | IP header: gateway -> sender | type, code, checksum, MTU or 0 | the packet, as much of it as fits |
 *     20 or 40 bytes                 8 bytes                          IPv4: 548, IPv6: 1232 bytes
 * ```
 *
 * - Length: IPv4 576 bytes in all (RFC 1812, 4.3.2.3), IPv6 1280 (RFC 4443, 2.4 c).
 * - Never about an ICMP error or a redirect, a fragment other than the first, nor about a packet from or to an
 *   address that is not one host's (RFC 1122, 3.2.2; RFC 1812, 4.3.2.7; RFC 4443, 2.4 e).
 * - About a GSO packet: the quote is its first segment, as it would have been on the wire. A checksum that was
 *   partial is completed in the quote.
 * - From: the gateway's address there; without one, IPv4's 192.0.0.8 (RFC 7600), and for IPv6 no error at all.
 * - Limits: a bucket for each port, and within it one for each receiver, so that nobody uses up the errors of
 *   another site, nor one sender all those of its own (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f).
 *
 * Neighbours: `rate-limit.ts`, `own-packet.ts`, `tcp-reset.ts` (the other way to refuse).
 */
import { isProxy } from '../plugin/diversion-addresses.ts';
import { writeHalf, writeUint16 } from '../wire/byte-order.ts';
import {
  addSums,
  checksumOf,
  fillTransportChecksum,
  pseudoHeaderSum,
  sumMemory,
  transportChecksumOffset,
} from '../wire/checksum.ts';
import { FRAME_PREFIX_BYTES, VIRTIO_NET_HEADER_BYTES } from '../wire/frame.ts';
import {
  ICMP_FRAGMENTATION_NEEDED,
  ICMP_HEADER_BYTES,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  ICMP_UNREACHABLE_ADMIN,
  ICMP_UNREACHABLE_HOST,
  ICMP_UNREACHABLE_NET,
  ICMP_UNREACHABLE_PORT,
  writeIcmpHeader,
} from '../wire/icmp.ts';
import {
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACHABLE,
  ICMPV6_UNREACHABLE_ADDRESS,
  ICMPV6_UNREACHABLE_ADMIN,
  ICMPV6_UNREACHABLE_NO_ROUTE,
  ICMPV6_UNREACHABLE_PORT,
} from '../wire/icmpv6.ts';
import { fillIpv4Checksum, IPV4_HEADER_BYTES, IPV4_TOTAL_LENGTH } from '../wire/ipv4.ts';
import { IPV6_HEADER_BYTES, IPV6_MINIMUM_MTU, IPV6_PAYLOAD_LENGTH } from '../wire/ipv6.ts';
import {
  GSO_NONE,
  ICMP_ERROR,
  ICMP_NONE,
  ICMP_QUERY,
  IPV4,
  IPV6,
  type PacketView,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP_FIN,
  TCP_PSH,
} from '../wire/packet.ts';
import { TCP_FLAGS } from '../wire/tcp.ts';
import { UDP_LENGTH } from '../wire/udp.ts';
import { KeyedHash } from './keyed-hash.ts';
import type { Scratch } from './link/scratch.ts';
import { clearOwnPacket, writeOwnHeader } from './own-packet.ts';
import { MAX_PORTS } from './port-table.ts';
import { TokenBuckets } from './rate-limit.ts';

/** What is wrong with the packet: TTL or hop limit has run out. */
export const ERROR_TTL_EXPIRED = 0;
/** It exceeds the MTU of the way it would take; `mtu` is told. */
export const ERROR_TOO_BIG = 1;
/** Policy forbids it. */
export const ERROR_ADMINISTRATIVELY_PROHIBITED = 2;
/** The receiver or the next hop does not answer. */
export const ERROR_HOST_UNREACHABLE = 3;
/** There is no route. */
export const ERROR_NET_UNREACHABLE = 4;
/** Nobody listens there. */
export const ERROR_PORT_UNREACHABLE = 5;

const IPV4_TYPES = [
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  ICMP_UNREACHABLE,
  ICMP_UNREACHABLE,
  ICMP_UNREACHABLE,
  ICMP_UNREACHABLE,
];
const IPV4_CODES = [
  0,
  ICMP_FRAGMENTATION_NEEDED,
  ICMP_UNREACHABLE_ADMIN,
  ICMP_UNREACHABLE_HOST,
  ICMP_UNREACHABLE_NET,
  ICMP_UNREACHABLE_PORT,
];
const IPV6_TYPES = [
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_UNREACHABLE,
  ICMPV6_UNREACHABLE,
  ICMPV6_UNREACHABLE,
  ICMPV6_UNREACHABLE,
];
const IPV6_CODES = [
  0,
  0,
  ICMPV6_UNREACHABLE_ADMIN,
  ICMPV6_UNREACHABLE_ADDRESS,
  ICMPV6_UNREACHABLE_NO_ROUTE,
  ICMPV6_UNREACHABLE_PORT,
];

/** Longest error, IP header included. */
const IPV4_MAX_BYTES = 576;
const TTL = 64;
/** Precedence "internetwork control" (RFC 1812, 4.3.2.5). */
const IPV4_TRAFFIC_CLASS = 0xc0;
/** 192.0.0.8 in wire order. */
const IPV4_DUMMY_SOURCE = 0x080000c0;

const PORT_RATE_PER_SECOND = 1000;
const PORT_BURST = 200;
const RECEIVER_RATE_PER_SECOND = 20;
const RECEIVER_BURST = 20;
/** Receivers whose buckets are kept, all ports together; of two that meet in one the later takes it over. */
const RECEIVERS = 4096;

export class IcmpErrors {
  private readonly scratch: Scratch;
  private readonly hash: KeyedHash;
  private readonly portBuckets: TokenBuckets;
  private readonly receiverBuckets: TokenBuckets;
  /** Who has the bucket: port and the hash's other bits. */
  private readonly receivers: Int32Array;

  /** Builds errors in `scratch`. The key: two random int32 words, secret, drawn anew at every start. */
  constructor(scratch: Scratch, key0: number, key1: number) {
    this.scratch = scratch;
    this.hash = new KeyedHash(key0, key1);
    this.portBuckets = new TokenBuckets(MAX_PORTS, PORT_RATE_PER_SECOND, PORT_BURST);
    this.receiverBuckets = new TokenBuckets(RECEIVERS, RECEIVER_RATE_PER_SECOND, RECEIVER_BURST);
    this.receivers = new Int32Array(RECEIVERS);
  }

  /**
   * Builds the error of that `kind` (`ERROR_...`) about `offending`, which came in by `port` and has not been
   * changed since, and fills `reply` with its view. `mtu` counts for {@link ERROR_TOO_BIG} only. `source`: the
   * gateway's address, four words in wire order as in a view; all 0 for none.
   *
   * Returns false, and builds nothing, where no error may be sent: see above; or no scratch memory is left.
   */
  build(
    offending: PacketView,
    kind: number,
    mtu: number,
    source: Int32Array,
    reply: PacketView,
    port: number,
    nowMs: number,
  ): boolean {
    if (!mayBeAnswered(offending)) return false;
    const ipv4 = offending.family === IPV4;
    if (!ipv4 && (source[0] | source[1] | source[2] | source[3]) === 0) return false;
    if (!this.admit(offending, port, nowMs)) return false;

    const headerBytes = ipv4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
    const maxQuoteBytes = (ipv4 ? IPV4_MAX_BYTES : IPV6_MINIMUM_MTU) - headerBytes - ICMP_HEADER_BYTES;
    const wireBytes =
      offending.gsoType === GSO_NONE ? offending.length : firstSegmentEnd(offending) - offending.offset;
    const quoteBytes = Math.min(wireBytes, maxQuoteBytes);
    const length = headerBytes + ICMP_HEADER_BYTES + quoteBytes;
    const frame = this.scratch.allocate(FRAME_PREFIX_BYTES + length);
    if (frame < 0) return false;
    const bytes = reply.bytes;
    const offset = frame + FRAME_PREFIX_BYTES;
    const l4Offset = offset + headerBytes;
    const quote = l4Offset + ICMP_HEADER_BYTES;
    bytes.fill(0, frame, frame + VIRTIO_NET_HEADER_BYTES);
    bytes.copyWithin(quote, offending.offset, offending.offset + quoteBytes);
    if (offending.gsoType !== GSO_NONE || offending.checksumStart !== 0) {
      restoreSegment(offending, quote, quoteBytes, wireBytes);
    }

    reply.family = offending.family;
    reply.protocol = ipv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
    reply.ttl = TTL;
    reply.trafficClass = ipv4 ? IPV4_TRAFFIC_CLASS : 0;
    reply.src0 = source[0];
    reply.src1 = source[1];
    reply.src2 = source[2];
    reply.src3 = ipv4 && source[3] === 0 ? IPV4_DUMMY_SOURCE : source[3];
    reply.dst0 = offending.src0;
    reply.dst1 = offending.src1;
    reply.dst2 = offending.src2;
    reply.dst3 = offending.src3;
    clearOwnPacket(reply, offset, length, l4Offset);
    reply.icmpType = ipv4 ? IPV4_TYPES[kind] : IPV6_TYPES[kind];
    reply.icmpCode = ipv4 ? IPV4_CODES[kind] : IPV6_CODES[kind];
    reply.icmpKind = ICMP_ERROR;
    reply.payloadOffset = quote;
    reply.payloadLength = quoteBytes;
    writeIcmpHeader(bytes, l4Offset, reply.icmpType, reply.icmpCode, kind === ERROR_TOO_BIG ? mtu : 0);
    writeOwnHeader(reply);
    fillTransportChecksum(reply);
    return true;
  }

  /** Takes a token from the port's bucket and one from the receiver's, or none from either. */
  private admit(offending: PacketView, port: number, nowMs: number): boolean {
    const hash = this.hash;
    hash.begin();
    hash.add(port);
    hash.add(offending.src3);
    if (offending.family === IPV6) {
      hash.add(offending.src0);
      hash.add(offending.src1);
      hash.add(offending.src2);
    }
    // All sites' flows have the same proxy behind them: it is one receiver for each client's source.
    if (isProxy(offending.family, offending.src0, offending.src1, offending.src2, offending.src3))
      hash.add(offending.dst3);
    const receiver = hash.finish();
    const bucket = receiver & (RECEIVERS - 1);
    // Never shared: whoever finds another's bucket starts a full one, and the port's bucket bounds them all.
    if (this.receivers[bucket] !== receiver) {
      this.receivers[bucket] = receiver;
      this.receiverBuckets.reset(bucket, nowMs);
    }
    if (!this.portBuckets.peek(port, nowMs)) return false;
    return this.receiverBuckets.take(bucket, nowMs) && this.portBuckets.take(port, nowMs);
  }
}

function mayBeAnswered(view: PacketView): boolean {
  if (view.icmpKind !== ICMP_NONE && view.icmpKind !== ICMP_QUERY) return false;
  if (view.fragmentOffset !== 0) return false;
  if (view.family === IPV4) return isIpv4Host(view.src3) && isIpv4Host(view.dst3);
  return (
    (view.src0 | view.src1 | view.src2 | view.src3) !== 0 &&
    (view.src0 & 0xff) !== 0xff &&
    (view.dst0 & 0xff) !== 0xff
  );
}

/** Not 0/8, loopback, multicast, class E or broadcast. The first byte on the wire is the word's lowest. */
function isIpv4Host(word: number): boolean {
  const first = word & 0xff;
  return first !== 0 && first !== 127 && first < 224;
}

/** Where the first segment of a GSO packet ends in packet memory: the packet's end if it is a single one. */
function firstSegmentEnd(view: PacketView): number {
  return Math.min(view.payloadOffset + view.gsoSize, view.offset + view.length);
}

/**
 * Makes a quote what was, or would have been, on the wire: the first segment's lengths and flags, and a full
 * checksum. `wireBytes`: length of that segment, of which `quoteBytes` are quoted.
 */
function restoreSegment(view: PacketView, quote: number, quoteBytes: number, wireBytes: number): void {
  const bytes = view.bytes;
  const l4 = quote + view.l4Offset - view.offset;
  const transportBytes = wireBytes - (view.l4Offset - view.offset);
  const field = l4 + transportChecksumOffset(view.protocol);
  // Behind very many extension headers the quote may end in front of the transport header.
  if (field < l4 || field + 2 > quote + quoteBytes) return;
  if (wireBytes !== view.length) {
    if (view.family === IPV4) {
      writeUint16(bytes, quote + IPV4_TOTAL_LENGTH, wireBytes);
      fillIpv4Checksum(bytes, quote);
    } else {
      writeUint16(bytes, quote + IPV6_PAYLOAD_LENGTH, wireBytes - IPV6_HEADER_BYTES);
    }
    // What ends the stream belongs to the last segment.
    if (view.protocol === PROTOCOL_TCP) bytes[l4 + TCP_FLAGS] = bytes[l4 + TCP_FLAGS] & ~(TCP_FIN | TCP_PSH);
    else if (view.protocol === PROTOCOL_UDP) writeUint16(bytes, l4 + UDP_LENGTH, transportBytes);
  }
  writeHalf(bytes, field, 0);
  // The rest of the segment is not quoted, but the checksum covers it.
  const quoted = sumMemory(view.memory, l4, quote + quoteBytes - l4);
  const rest = sumMemory(view.memory, view.offset + quoteBytes, wireBytes - quoteBytes);
  const checksum = checksumOf(addSums(addSums(quoted, rest), pseudoHeaderSum(view, transportBytes)));
  writeHalf(bytes, field, checksum === 0 && view.protocol === PROTOCOL_UDP ? 0xffff : checksum);
}
