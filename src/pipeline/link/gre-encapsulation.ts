/**
 * Puts a packet into GRE: RFC 2784, RFC 2890; over IPv6 RFC 7676.
 *
 * ```
 *   frame                                                           packet.offset
 *   | virtio | Ethernet, or gap | outer IPv4 / IPv6 | GRE, 4..16     | inner packet, not moved
 * ```
 *
 * The headers are written into the free room in front of the packet. The outer DSCP and ECN are the inner ones
 * (RFC 2983, uniform on this side; RFC 6040, normal mode), the TTL is the tunnel's. Outer IPv4 packets have DF
 * set: routers on the way report a small MTU instead of cutting (`path-mtu.ts`). On a path below what IPv4 hosts
 * must accept they are asked to cut instead, and packets carry fresh identifications.
 *
 * A partial transport checksum stays partial, the device completes it deep inside; except under a GRE checksum,
 * which must cover the real one. A GSO packet gets one set of headers; the device layer cuts it
 * (`FRAME_SEGMENT_GRE`), counts identification and sequence number up from segment to segment and computes the
 * GRE checksum of each, so both counters move on here by the number of segments.
 *
 * Neighbours: `link-output.ts`, `gre-fragmentation.ts` (cuts what comes out of here), `gre-tunnel.ts`, `wire/gre.ts`.
 */
import { completeChecksum } from '../../wire/checksum.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import { FRAME_PREFIX_BYTES, type FrameMemory } from '../../wire/frame.ts';
import { fillGreChecksum, GreHeader, writeGre } from '../../wire/gre.ts';
import { IPV4_DONT_FRAGMENT, IPV4_HEADER_BYTES, writeIpv4Header } from '../../wire/ipv4.ts';
import {
  IPV6_DESTINATION,
  IPV6_HEADER_BYTES,
  IPV6_SOURCE,
  writeIpv6Address,
  writeIpv6Start,
} from '../../wire/ipv6.ts';
import {
  GSO_ECN,
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  IPV4,
  PacketView,
  PROTOCOL_GRE,
} from '../../wire/packet.ts';
import type { Identifications } from '../identification.ts';
import { clearOwnPacket } from '../own-packet.ts';
import { segmentsOf } from '../segments.ts';
import type { GreTunnel } from './gre-tunnel.ts';

export class GreEncapsulation {
  private readonly memory: FrameMemory;
  private readonly identifications: Identifications;
  private readonly header = new GreHeader();
  /** Scratch for {@link describeOuter}. */
  private readonly outer: PacketView;

  constructor(memory: FrameMemory, identifications: Identifications) {
    this.memory = memory;
    this.identifications = identifications;
    this.outer = new PacketView(memory, true);
  }

  /**
   * Writes the outer IP header and the GRE header in front of `packet`. Returns the offset of the frame, or -1
   * for a GSO packet of a kind that nobody can cut. The frame's own prefix is the caller's to write.
   */
  encapsulate(tunnel: GreTunnel, packet: PacketView): number {
    if (!canBeCut(packet)) return -1;
    const segments = segmentsOf(packet);
    const memory = this.memory;
    const gre = (packet.offset - tunnel.greBytes) | 0;
    const greLength = (packet.length + tunnel.greBytes) | 0;
    const header = this.header;
    header.protocolType = packet.family === IPV4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
    header.hasChecksum = tunnel.hasChecksum;
    header.hasKey = tunnel.hasKey;
    header.hasSequence = tunnel.hasSequence;
    header.key = tunnel.key;
    header.sequence = tunnel.sent.next;
    writeGre(memory.bytes, gre, header);
    if (tunnel.hasChecksum !== 0 && packet.gsoType === GSO_NONE) {
      completeChecksum(packet);
      fillGreChecksum(memory, gre, greLength);
    }
    const outer = this.writeOuter(tunnel, packet, gre, greLength);
    if (tunnel.hasSequence !== 0) tunnel.sent.advance(segments);
    tunnel.identification = (tunnel.identification + segments) & 0xffff;
    return (outer - FRAME_PREFIX_BYTES) | 0;
  }

  /** Returns the offset of the outer IP header. A GSO packet's length fields are those of the whole, modulo 2^16. */
  private writeOuter(tunnel: GreTunnel, packet: PacketView, gre: number, greLength: number): number {
    const bytes = this.memory.bytes;
    const local = tunnel.local;
    const remote = tunnel.remote;
    if (tunnel.family === IPV4) {
      const outer = (gre - IPV4_HEADER_BYTES) | 0;
      const mayBeCut = tunnel.pathMtu.mayBeCut !== 0;
      writeIpv4Header(
        bytes,
        outer,
        greLength + IPV4_HEADER_BYTES,
        PROTOCOL_GRE,
        local[3],
        remote[3],
        tunnel.ttl,
        packet.trafficClass,
        mayBeCut ? this.freshIdentification(tunnel, packet, outer) : tunnel.identification,
        mayBeCut ? 0 : IPV4_DONT_FRAGMENT,
      );
      return outer;
    }
    const outer = (gre - IPV6_HEADER_BYTES) | 0;
    const label = flowLabel(packet);
    writeIpv6Start(bytes, outer, greLength, PROTOCOL_GRE, tunnel.ttl, packet.trafficClass, label);
    writeIpv6Address(bytes, outer + IPV6_SOURCE, local[0], local[1], local[2], local[3]);
    writeIpv6Address(bytes, outer + IPV6_DESTINATION, remote[0], remote[1], remote[2], remote[3]);
    return outer;
  }

  private freshIdentification(tunnel: GreTunnel, packet: PacketView, offset: number): number {
    const outer = this.outer;
    describeOuter(outer, tunnel, packet, offset);
    outer.gsoType = packet.gsoType;
    outer.gsoSize = packet.gsoSize;
    outer.payloadLength = packet.payloadLength;
    return this.identifications.next(outer);
  }
}

/** Fills `outer` for the outer packet at `offset` that was written in front of `packet`: one that may be cut. */
export function describeOuter(
  outer: PacketView,
  tunnel: GreTunnel,
  packet: PacketView,
  offset: number,
): void {
  const { local, remote } = tunnel;
  outer.family = tunnel.family;
  outer.protocol = PROTOCOL_GRE;
  outer.ttl = tunnel.ttl;
  outer.trafficClass = packet.trafficClass;
  outer.src0 = local[0];
  outer.src1 = local[1];
  outer.src2 = local[2];
  outer.src3 = local[3];
  outer.dst0 = remote[0];
  outer.dst1 = remote[1];
  outer.dst2 = remote[2];
  outer.dst3 = remote[3];
  const gre = (packet.offset - tunnel.greBytes) | 0;
  clearOwnPacket(outer, offset, (packet.offset + packet.length - offset) | 0, gre);
  outer.dontFragment = 0;
}

/** Whether the device layer can cut the packet, or need not. */
function canBeCut(packet: PacketView): boolean {
  const type = packet.gsoType & ~GSO_ECN;
  if (packet.gsoType === GSO_NONE) return true;
  return (type === GSO_TCPV4 || type === GSO_TCPV6 || type === GSO_UDP_L4) && packet.gsoSize > 0;
}

/** A label that is the same for all packets of a flow, so that routers may spread flows (RFC 6438). */
function flowLabel(packet: PacketView): number {
  let hash = packet.dst3 ^ packet.src3 ^ packet.ports ^ packet.protocol;
  hash = Math.imul(hash ^ (hash >>> 15), 0x9e3779b1);
  return (hash >>> 12) & 0xfffff;
}
