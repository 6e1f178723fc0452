/**
 * ICMP errors about outer packets of a GRE tunnel: they lower its path MTU and go no further
 * (RFC 792, RFC 1191; RFC 4443, RFC 8201).
 *
 * ```
 *   ICMP error to our end | quoted: outer header, ours to theirs, protocol 47 | quoted: GRE header | ...
 * ```
 *
 * Anyone on the way may send such an error, from any address; what it must know is what we sent. The quote has
 * to show both ends, the GRE flags, and the key, if it is long enough to show it.
 *
 * Neighbours: `link-layer.ts`, `path-mtu.ts`.
 */
import { readUint16, readWord, swap16 } from '../../wire/byte-order.ts';
import { addressWordsSum, addSums, foldSum, sumMemory } from '../../wire/checksum.ts';
import type { FrameMemory } from '../../wire/frame.ts';
import {
  ICMP_FRAGMENTATION_NEEDED,
  ICMP_HEADER_BYTES,
  ICMP_UNREACHABLE,
  icmpKindOf,
  icmpNextHopMtu,
} from '../../wire/icmp.ts';
import { ICMPV6_PACKET_TOO_BIG, icmpv6KindOf, icmpv6Mtu } from '../../wire/icmpv6.ts';
import { IpAddresses } from '../../wire/ip-addresses.ts';
import {
  IPV4_FRAGMENT_OFFSET_MASK,
  IPV4_HEADER_BYTES,
  ipv4Flags,
  ipv4HeaderBytes,
  ipv4Protocol,
  ipv4TotalLength,
} from '../../wire/ipv4.ts';
import { IPV6_HEADER_BYTES, ipv6NextHeader, ipv6PayloadLength } from '../../wire/ipv6.ts';
import { ICMP_ERROR, IPV4, IPV6, PROTOCOL_GRE, PROTOCOL_ICMPV6 } from '../../wire/packet.ts';
import type { GreTunnel } from './gre-tunnel.ts';
import type { GreTunnelTable } from './gre-tunnel-table.ts';
import type { OuterHeader } from './outer-header.ts';

/** Bytes of the GRE header that a quote must show: flags and protocol type. */
const MINIMUM_GRE_QUOTE = 4;

export class OuterIcmp {
  private readonly memory: FrameMemory;
  private readonly quoted = new IpAddresses();

  constructor(memory: FrameMemory) {
    this.memory = memory;
  }

  /**
   * Takes an ICMP or ICMPv6 message if it is an error about a packet of one of the device's tunnels. Returns
   * whether it was.
   */
  receive(tunnels: GreTunnelTable, device: number, outer: OuterHeader, nowMs: number): boolean {
    const bytes = this.memory.bytes;
    const offset = outer.payloadOffset;
    if (outer.isFragment !== 0 || outer.payloadLength < ICMP_HEADER_BYTES) return false;
    const isIpv4 = outer.family === IPV4;
    const type = bytes[offset];
    const code = bytes[offset + 1];
    if ((isIpv4 ? icmpKindOf(type, code) : icmpv6KindOf(type, code)) !== ICMP_ERROR) return false;

    const quote = (offset + ICMP_HEADER_BYTES) | 0;
    const quoteBytes = (outer.payloadLength - ICMP_HEADER_BYTES) | 0;
    const headerBytes = this.quotedHeaderBytes(outer, quote, quoteBytes);
    if (headerBytes === 0 || quoteBytes < headerBytes + MINIMUM_GRE_QUOTE) return false;
    const tunnel = this.find(tunnels, device, outer, quote, headerBytes, quoteBytes);
    if (tunnel === undefined) return false;

    const isTooBig = isIpv4
      ? type === ICMP_UNREACHABLE && code === ICMP_FRAGMENTATION_NEEDED
      : type === ICMPV6_PACKET_TOO_BIG;
    if (isTooBig && this.isChecksumRight(outer)) {
      const said = isIpv4 ? icmpNextHopMtu(bytes, offset) : icmpv6Mtu(bytes, offset);
      const packetBytes = isIpv4
        ? ipv4TotalLength(bytes, quote)
        : ipv6PayloadLength(bytes, quote) + IPV6_HEADER_BYTES;
      tunnel.pathMtu.report(said, packetBytes, nowMs);
    }
    return true;
  }

  /** Length of the quoted header if it is GRE's and shows the first part of a packet, else 0. */
  private quotedHeaderBytes(outer: OuterHeader, quote: number, quoteBytes: number): number {
    const bytes = this.memory.bytes;
    if (outer.family === IPV4) {
      if (quoteBytes < IPV4_HEADER_BYTES || bytes[quote] >>> 4 !== IPV4) return 0;
      if (ipv4Protocol(bytes, quote) !== PROTOCOL_GRE) return 0;
      if ((ipv4Flags(bytes, quote) & IPV4_FRAGMENT_OFFSET_MASK) !== 0) return 0;
      const headerBytes = ipv4HeaderBytes(bytes, quote);
      return headerBytes < IPV4_HEADER_BYTES ? 0 : headerBytes;
    }
    if (quoteBytes < IPV6_HEADER_BYTES || bytes[quote] >>> 4 !== IPV6) return 0;
    return ipv6NextHeader(bytes, quote) === PROTOCOL_GRE ? IPV6_HEADER_BYTES : 0;
  }

  private find(
    tunnels: GreTunnelTable,
    device: number,
    outer: OuterHeader,
    quote: number,
    headerBytes: number,
    quoteBytes: number,
  ): GreTunnel | undefined {
    const bytes = this.memory.bytes;
    const gre = (quote + headerBytes) | 0;
    const greBytes = (quoteBytes - headerBytes) | 0;
    const quoted = this.quoted;
    if (outer.family === IPV4) quoted.readIpv4Addresses(bytes, quote);
    else quoted.readIpv6Addresses(bytes, quote);
    let index = tunnels.findTo(device, quoted);
    for (; index >= 0; index = tunnels.nextBetween[index]) {
      const tunnel = tunnels.ports[index].tunnel!;
      if (isGreHeader(bytes, gre, greBytes, tunnel)) return tunnel;
    }
    return undefined;
  }

  private isChecksumRight(outer: OuterHeader): boolean {
    const length = outer.payloadLength;
    const sum = sumMemory(this.memory, outer.payloadOffset, length);
    if (outer.family === IPV4) return sum === 0xffff;
    const addresses = addSums(
      addressWordsSum(outer.src0, outer.src1, outer.src2, outer.src3),
      addressWordsSum(outer.dst0, outer.dst1, outer.dst2, outer.dst3),
    );
    return foldSum(sum + addresses + swap16(length) + (PROTOCOL_ICMPV6 << 8)) === 0xffff;
  }
}

/** Whether the quoted GRE header is one that the tunnel sends, as far as it is shown: flags, and the key. */
function isGreHeader(bytes: Uint8Array, at: number, shownBytes: number, tunnel: GreTunnel): boolean {
  const template = tunnel.template;
  if (readUint16(bytes, at) !== readUint16(template, 0)) return false;
  const keyAt = MINIMUM_GRE_QUOTE + (tunnel.hasChecksum << 2);
  if (tunnel.hasKey === 0 || shownBytes < keyAt + 4) return true;
  return readWord(bytes, at + keyAt) === readWord(template, keyAt);
}
