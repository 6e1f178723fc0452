/**
 * Answers to ping at the gateway's own addresses: the request is turned into the reply where it lies.
 *
 * ```
 *  request  A -> gateway, type 8 / 128, identifier, sequence, data
 *  reply    gateway -> A, type 0 / 129, the same                       TTL 64
 * ```
 *
 * Checksums are changed, not computed: a request that was damaged on its way becomes a reply that still shows it.
 * (RFC 792; RFC 1122, 3.2.2.6; RFC 4443, 4.2.) IPv4 options stay as they are; source routes never come this far.
 *
 * Neighbours: `rate-limit.ts`; the caller knows the addresses and sends the reply by the port the request came in.
 */
import { readHalf, writeHalf, writeWord } from '../wire/byte-order.ts';
import { adjustChecksum, checksumDelta } from '../wire/checksum.ts';
import { ICMP_CHECKSUM, ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, ICMP_TYPE } from '../wire/icmp.ts';
import { ICMPV6_ECHO_REPLY, ICMPV6_ECHO_REQUEST } from '../wire/icmpv6.ts';
import { fillIpv4Checksum, IPV4_DESTINATION, IPV4_SOURCE, IPV4_TTL } from '../wire/ipv4.ts';
import { IPV6_DESTINATION, IPV6_HOP_LIMIT, IPV6_SOURCE, writeIpv6Address } from '../wire/ipv6.ts';
import { ICMP_QUERY, IPV4, type PacketView } from '../wire/packet.ts';
import { MAX_PORTS } from './port-table.ts';
import { TokenBuckets } from './rate-limit.ts';

const TTL = 64;
const RATE_PER_SECOND = 1000;
const BURST = 1000;

export class EchoResponder {
  private readonly buckets = new TokenBuckets(MAX_PORTS, RATE_PER_SECOND, BURST);

  /**
   * Turns `view`, an echo request that came in by `port` and is addressed to the gateway there, into its reply:
   * the packet and the view. Returns false, and changes nothing, if it is no whole echo request, or the port has
   * had its share of replies.
   */
  respond(view: PacketView, port: number, nowMs: number): boolean {
    const ipv4 = view.family === IPV4;
    if (view.icmpKind !== ICMP_QUERY || view.fragment !== 0) return false;
    if (view.icmpType !== (ipv4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST)) return false;
    if (!this.buckets.take(port, nowMs)) return false;

    const bytes = view.bytes;
    const source0 = view.src0;
    const source1 = view.src1;
    const source2 = view.src2;
    const source3 = view.src3;
    view.src0 = view.dst0;
    view.src1 = view.dst1;
    view.src2 = view.dst2;
    view.src3 = view.dst3;
    view.dst0 = source0;
    view.dst1 = source1;
    view.dst2 = source2;
    view.dst3 = source3;
    view.ttl = TTL;
    if (ipv4) {
      writeWord(bytes, view.offset + IPV4_SOURCE, view.src3);
      writeWord(bytes, view.offset + IPV4_DESTINATION, view.dst3);
      bytes[view.offset + IPV4_TTL] = TTL;
      fillIpv4Checksum(bytes, view.offset);
    } else {
      writeIpv6Address(bytes, view.offset + IPV6_SOURCE, view.src0, view.src1, view.src2, view.src3);
      writeIpv6Address(bytes, view.offset + IPV6_DESTINATION, view.dst0, view.dst1, view.dst2, view.dst3);
      bytes[view.offset + IPV6_HOP_LIMIT] = TTL;
    }

    const type = ipv4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;
    // Swapped addresses add up to the same. A partial checksum holds the pseudo-header alone, not the type.
    if (view.checksumStart === 0) {
      const at = view.l4Offset + ICMP_CHECKSUM;
      writeHalf(bytes, at, adjustChecksum(readHalf(bytes, at), checksumDelta(view.icmpType, type)));
    }
    bytes[view.l4Offset + ICMP_TYPE] = type;
    view.icmpType = type;
    // The identifier stands as source port of a request and as destination port of a reply.
    view.ports = view.ports << 16;
    view.destinationPort = view.sourcePort;
    view.sourcePort = 0;
    return true;
  }
}
