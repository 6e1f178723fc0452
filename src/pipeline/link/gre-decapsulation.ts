/**
 * Takes a packet out of GRE: RFC 2784, RFC 2890, RFC 6040, and keepalives.
 *
 * ```
 *  outer header ok ─► GRE header ─► tunnel by device, addresses, key ─► checksum ─► sequence ─► keepalive?
 *   (link-layer.ts)   gre_malformed  unknown_tunnel, port_down          gre_checksum gre_sequence   │
 *                                                                                                   v
 *                                    inner packet, in place  <─ ECN (RFC 6040) <─ IPv4 or IPv6?  <──┘
 *                                                               malformed         gre_protocol
 * ```
 *
 * A checksum that is there is verified; one that the tunnel is configured for must be there, and so must a
 * sequence number (as Linux has it). What the kernel or the device layer merged was verified packet by packet
 * before, and the field is that of the first only, so it is not looked at again. Over lines that are no wires (veth,
 * virtio) checksums may come unfinished: there is nothing to verify then, and the inner packet must not inherit it.
 *
 * Keepalives as Cisco's routers send them: inside the tunnel comes a packet from our end to theirs, GRE with
 * protocol type 0. It is sent back as it is, which tells them that both directions work. Nothing else that
 * comes out of a tunnel is ever sent without the pipeline's word.
 *
 * ```
 *   outer IPv4 remote > local | GRE 0x0800 | inner IPv4 local > remote | GRE, protocol type 0
 * ```
 *
 * Neighbours: `outer-header.ts`, `gre-tunnel.ts`, `gre-sequence.ts`, `ecn.ts`.
 */
import { DROP } from '../../plugin/drop-reasons.ts';
import { readHalf } from '../../wire/byte-order.ts';
import { addSums, sumMemory } from '../../wire/checksum.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import type { FrameMemory } from '../../wire/frame.ts';
import { GRE_OK, GreHeader, parseGre, verifyGreChecksum } from '../../wire/gre.ts';
import {
  IPV4_FRAGMENT_OFFSET_MASK,
  IPV4_HEADER_BYTES,
  IPV4_MORE_FRAGMENTS,
  ipv4Destination,
  ipv4Flags,
  ipv4HeaderBytes,
  ipv4Protocol,
  ipv4Source,
  ipv4TotalLength,
  verifyIpv4Checksum,
} from '../../wire/ipv4.ts';
import { IPV6_HEADER_BYTES, ipv6TrafficClass } from '../../wire/ipv6.ts';
import { IPV4, IPV6, PROTOCOL_GRE } from '../../wire/packet.ts';
import { combineEcn, ECN_DROP, setEcn } from './ecn.ts';
import type { GreTunnel } from './gre-tunnel.ts';
import type { OuterHeader } from './outer-header.ts';

/** Answer of {@link GreDecapsulation.open}: a keepalive; what is to be sent back stands at `packetOffset`. */
export const GRE_KEEPALIVE = -1;
/** Keepalives answered per tunnel and second. */
export const KEEPALIVES_PER_SECOND = 10;
const GRE_PROTOCOL_KEEPALIVE = 0;
/** Offset of the checksum in the header, if there is one. */
const GRE_CHECKSUM = 4;

export class GreDecapsulation {
  /** The GRE header last parsed. */
  readonly header = new GreHeader();
  /** The inner packet. */
  packetOffset = 0;
  packetLength = 0;
  private readonly memory: FrameMemory;
  private readonly keepalive = new GreHeader();

  constructor(memory: FrameMemory) {
    this.memory = memory;
  }

  /** Reads the GRE header behind `outer` into `header`. False if it is none that we take. */
  parse(outer: OuterHeader): boolean {
    return parseGre(this.memory.bytes, outer.payloadOffset, outer.payloadLength, this.header) === GRE_OK;
  }

  /**
   * After {@link parse} and when the tunnel is found: checks the packet and leaves the inner one at
   * `packetOffset`, `packetLength`. Returns 0, a DROP number, or {@link GRE_KEEPALIVE}.
   *
   * @param frame the frame the packet came in, whose virtio-net header says what is partial or merged
   * @param checksumBase from where that header's `csum_start` counts
   */
  open(tunnel: GreTunnel, outer: OuterHeader, frame: number, checksumBase: number, nowMs: number): number {
    const header = this.header;
    if (header.hasChecksum !== 0) {
      if (!this.isChecksumRight(outer, frame, checksumBase)) return DROP.gre_checksum;
    } else if (tunnel.hasChecksum !== 0) {
      return DROP.gre_checksum;
    }
    if (tunnel.hasSequence !== 0) {
      if (header.hasSequence === 0 || !tunnel.received.accept(header.sequence, nowMs)) {
        return DROP.gre_sequence;
      }
    }
    this.packetOffset = (outer.payloadOffset + header.headerBytes) | 0;
    this.packetLength = (outer.payloadLength - header.headerBytes) | 0;
    if (header.protocolType === ETHERTYPE_IPV4) {
      if (!this.isInner(IPV4, IPV4_HEADER_BYTES)) return DROP.malformed;
      if (this.isKeepalive(tunnel)) return GRE_KEEPALIVE;
      return this.applyEcn(IPV4, outer.trafficClass);
    }
    if (header.protocolType !== ETHERTYPE_IPV6) return DROP.gre_protocol;
    if (!this.isInner(IPV6, IPV6_HEADER_BYTES)) return DROP.malformed;
    return this.applyEcn(IPV6, outer.trafficClass);
  }

  /** Whether another keepalive of this tunnel may be answered now. */
  mayAnswerKeepalive(tunnel: GreTunnel, nowMs: number): boolean {
    const sinceMs = (nowMs - tunnel.keepaliveSince) | 0;
    if (sinceMs < 0 || sinceMs >= 1000) {
      tunnel.keepaliveSince = nowMs;
      tunnel.keepalives = 0;
    }
    if (tunnel.keepalives >= KEEPALIVES_PER_SECOND) return false;
    tunnel.keepalives++;
    return true;
  }

  private isInner(version: number, headerBytes: number): boolean {
    return this.packetLength >= headerBytes && this.memory.bytes[this.packetOffset] >>> 4 === version;
  }

  private isChecksumRight(outer: OuterHeader, frame: number, checksumBase: number): boolean {
    const memory = this.memory;
    const bytes = memory.bytes;
    const offset = outer.payloadOffset;
    const length = outer.payloadLength;
    if (bytes[frame + 1] !== 0) return true;
    if ((bytes[frame] & 1) === 0) return verifyGreChecksum(memory, offset, length);
    const start = (checksumBase + readHalf(bytes, frame + 6)) | 0;
    const field = (start + readHalf(bytes, frame + 8)) | 0;
    // The sender's kernel left the GRE checksum itself to the device (Linux 5.11): what is inside is complete.
    if (start === offset) {
      if (field !== start + GRE_CHECKSUM) return false;
      bytes[frame] = bytes[frame] & ~1;
      return true;
    }
    // Or the inner transport checksum: once completed, all that it covers would sum up to the complement of what
    // stands in its field now (the pseudo-header's sum).
    if (start < offset || field + 2 > offset + length || ((start - offset) & 1) !== 0) return false;
    const covered = ~readHalf(bytes, field) & 0xffff;
    return addSums(sumMemory(memory, offset, (start - offset) | 0), covered) === 0xffff;
  }

  private applyEcn(family: number, outerTrafficClass: number): number {
    const bytes = this.memory.bytes;
    const offset = this.packetOffset;
    const inner = family === IPV4 ? bytes[offset + 1] : ipv6TrafficClass(bytes, offset);
    const combined = combineEcn(inner, outerTrafficClass);
    if (combined === ECN_DROP) return DROP.malformed;
    if (combined !== (inner & 3)) setEcn(this.memory, offset, family, combined);
    return DROP.none;
  }

  /** Whether the inner IPv4 packet is a keepalive of exactly this tunnel. Trims `packetLength` to it. */
  private isKeepalive(tunnel: GreTunnel): boolean {
    const bytes = this.memory.bytes;
    const offset = this.packetOffset;
    if (ipv4Protocol(bytes, offset) !== PROTOCOL_GRE || tunnel.family !== IPV4) return false;
    if (ipv4Source(bytes, offset) !== tunnel.local[3]) return false;
    if (ipv4Destination(bytes, offset) !== tunnel.remote[3]) return false;
    const length = ipv4TotalLength(bytes, offset);
    if (ipv4HeaderBytes(bytes, offset) !== IPV4_HEADER_BYTES || length > this.packetLength) return false;
    if ((ipv4Flags(bytes, offset) & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET_MASK)) !== 0) return false;
    const keepalive = this.keepalive;
    const greBytes = (length - IPV4_HEADER_BYTES) | 0;
    if (parseGre(bytes, offset + IPV4_HEADER_BYTES, greBytes, keepalive) !== GRE_OK) return false;
    if (keepalive.protocolType !== GRE_PROTOCOL_KEEPALIVE) return false;
    if (keepalive.hasKey !== tunnel.hasKey || keepalive.key !== tunnel.key) return false;
    if (!verifyIpv4Checksum(bytes, offset)) return false;
    this.packetLength = length;
    return true;
  }
}
