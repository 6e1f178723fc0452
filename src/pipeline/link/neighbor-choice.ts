/**
 * Which neighbour a packet goes to: a next hop, or on link the destination itself; and whether that one is known
 * to be silent.
 *
 * ```
 *   GRE port                       -> the tunnel's next hop, of the outer family
 *   Ethernet port, dst on link     -> dst (never a network's or broadcast address)
 *   Ethernet port, else            -> the port's next hop of the packet's family, or no_route
 * ```
 *
 * Neighbours: `link-output.ts` (sends), `neighbors.ts` (the state of each).
 */
import { NEXT_HOP_ASKED, NEXT_HOP_BITS, NEXT_HOP_SILENT } from '../../flow/counters.ts';
import { DROP } from '../../plugin/drop-reasons.ts';
import { IPV4, IPV6, type PacketView } from '../../wire/packet.ts';
import type { LinkDevice } from './link-device.ts';
import type { LinkPort } from './link-port.ts';
import { NEIGHBOR_FAILED, NEIGHBOR_INCOMPLETE } from './neighbor-table.ts';
import type { Neighbors } from './neighbors.ts';

const NONE = -1;

export class NeighborChoice {
  private readonly neighbors: Neighbors;

  constructor(neighbors: Neighbors) {
    this.neighbors = neighbors;
  }

  /** The neighbour that a packet of an Ethernet port goes to, or -DROP. */
  forPacket(port: LinkPort, device: LinkDevice, packet: PacketView, nowMs: number): number {
    const { family, dst0, dst1, dst2, dst3 } = packet;
    const prefix = device.onLink.find(family, dst0, dst1, dst2, dst3);
    if (prefix < 0) return this.nextHop(port, device, family, nowMs);
    if (family === IPV4 && device.onLink.isIpv4Edge(prefix, dst3)) return -DROP.bad_destination;
    return this.neighbors.resolve(device, dst0, dst1, dst2, dst3, nowMs);
  }

  /** The neighbour that is the port's next hop for a family, or -DROP; 0 where a device has no neighbours. */
  nextHop(port: LinkPort, device: LinkDevice, family: number, nowMs: number): number {
    if (device.isEthernet === 0) return 0;
    let word0 = 0;
    let word1 = 0;
    let word2 = 0;
    let word3 = port.nextHopIpv4;
    if (family === IPV6) {
      if (port.hasNextHopIpv6 === 0) return -DROP.no_route;
      const words = port.nextHopIpv6;
      word0 = words[0];
      word1 = words[1];
      word2 = words[2];
      word3 = words[3];
    } else if (port.hasNextHopIpv4 === 0) {
      return -DROP.no_route;
    }
    const hint = port.neighborHint;
    if (this.neighbors.table.matches(hint, device.index, word0, word1, word2, word3)) {
      return this.neighbors.use(hint, nowMs);
    }
    const entry = this.neighbors.resolve(device, word0, word1, word2, word3, nowMs);
    if (entry >= 0) port.neighborHint = entry;
    return entry;
  }

  private askNextHops(port: LinkPort, device: LinkDevice, nowMs: number): void {
    if (port.hasNextHopIpv4 !== 0) this.nextHop(port, device, IPV4, nowMs);
    if (port.hasNextHopIpv6 !== 0) this.nextHop(port, device, IPV6, nowMs);
  }

  /**
   * Asks for the port's next hops again where nothing is known of them, or was not confirmed for long, and says what
   * is wrong with them now: bits as `PORT_NEXT_HOPS` has them.
   */
  watchNextHops(port: LinkPort, device: LinkDevice, nowMs: number): number {
    if (device.isEthernet === 0) return 0;
    this.askNextHops(port, device, nowMs);
    const ipv4 = port.hasNextHopIpv4 === 0 ? 0 : this.nextHopBits(port, device, IPV4);
    const ipv6 = port.hasNextHopIpv6 === 0 ? 0 : this.nextHopBits(port, device, IPV6);
    return ipv4 | (ipv6 << NEXT_HOP_BITS);
  }

  private nextHopBits(port: LinkPort, device: LinkDevice, family: number): number {
    const entry = this.findNextHop(port, device, family);
    if (entry === NONE) return NEXT_HOP_SILENT;
    if (this.neighbors.isUsable(entry)) return 0;
    return this.neighbors.table.state[entry] === NEIGHBOR_INCOMPLETE ? NEXT_HOP_ASKED : NEXT_HOP_SILENT;
  }

  /** Whether the neighbour that a packet to this address would go to has been asked for and does not answer. */
  isSilent(
    port: LinkPort,
    device: LinkDevice,
    family: number,
    dst0: number,
    dst1: number,
    dst2: number,
    dst3: number,
  ): boolean {
    if (device.isEthernet === 0) return false;
    const { table } = this.neighbors;
    const isOnLink = port.tunnel === undefined && device.onLink.find(family, dst0, dst1, dst2, dst3) >= 0;
    const hopFamily = port.tunnel === undefined ? family : port.tunnel.family;
    const entry = isOnLink
      ? table.find(device.index, dst0, dst1, dst2, dst3)
      : this.findNextHop(port, device, hopFamily);
    return entry !== NONE && table.state[entry] === NEIGHBOR_FAILED;
  }

  /** Whether the port has next hops and none of them is known. */
  isUnresolved(port: LinkPort, device: LinkDevice): boolean {
    const hasIpv4 = port.hasNextHopIpv4 !== 0;
    const hasIpv6 = port.hasNextHopIpv6 !== 0;
    if (!hasIpv4 && !hasIpv6) return false;
    return !(hasIpv4 && this.isKnown(port, device, IPV4)) && !(hasIpv6 && this.isKnown(port, device, IPV6));
  }

  private isKnown(port: LinkPort, device: LinkDevice, family: number): boolean {
    const entry = this.findNextHop(port, device, family);
    return entry !== NONE && this.neighbors.isUsable(entry);
  }

  /** The entry of a next hop, if there is one; asks for nothing. */
  private findNextHop(port: LinkPort, device: LinkDevice, family: number): number {
    const { table } = this.neighbors;
    if (family === IPV4) return table.find(device.index, 0, 0, 0, port.nextHopIpv4);
    const words = port.nextHopIpv6;
    return table.find(device.index, words[0], words[1], words[2], words[3]);
  }
}
