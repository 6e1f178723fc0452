/**
 * Received packets that are a tunnel's, or about one: from the outer IP header to the tunnel's port.
 *
 * GRE to an own end of any tunnel goes no other way: it is that tunnel's (by device, both addresses and key),
 * or it is dropped. Fragments of such packets are handed out to be reassembled, if some tunnel has their ends.
 *
 * Neighbours: `link-layer.ts` (asks), `outer-header.ts`, `gre-tunnel-table.ts`, `gre-decapsulation.ts`, `outer-icmp.ts`.
 */
import { DROP } from '../../plugin/drop-reasons.ts';
import { FRAME_PREFIX_BYTES, type FrameMemory } from '../../wire/frame.ts';
import { ipv4TotalLength } from '../../wire/ipv4.ts';
import { IPV6_HEADER_BYTES, ipv6PayloadLength } from '../../wire/ipv6.ts';
import {
  IPV4,
  PROTOCOL_DESTINATION_OPTIONS,
  PROTOCOL_GRE,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
} from '../../wire/packet.ts';
import { writeOwnPrefix } from './ethernet-header.ts';
import { GRE_KEEPALIVE, GreDecapsulation } from './gre-decapsulation.ts';
import { GreTunnelTable } from './gre-tunnel-table.ts';
import { AddressList, type LinkDevice } from './link-device.ts';
import type { LinkPort } from './link-port.ts';
import { OuterHeader } from './outer-header.ts';
import { OuterIcmp } from './outer-icmp.ts';

/** Answers of {@link GreInput.receive} beside a port's index: nothing is left to do; */
export const GRE_CONSUMED = -1;
/** no tunnel's packet: it belongs to the device's own port; */
export const GRE_NOT_OURS = -2;
/** a keepalive: what stands at `packetOffset` is to be sent back by `keepalivePort`. */
export const GRE_ANSWER = -3;

/**
 * Takes one fragment of an outer packet, whose IP header stands at `packetOffset` with `availableBytes` behind it.
 * Returns the offset of the whole packet's IP header (with a frame's prefix and headroom in front, valid until
 * the burst ends), 0 while it waits for more, or -DROP.
 */
export type OuterFragmentHandler = (
  packetOffset: number,
  availableBytes: number,
  device: number,
  nowMs: number,
) => number;

export class GreInput {
  /** Replaced with every plan. */
  tunnels = new GreTunnelTable([], new AddressList([]));
  onOuterFragment: OuterFragmentHandler | undefined = undefined;
  /** The inner packet, and the frame whose virtio-net header speaks of it. */
  packetOffset = 0;
  packetLength = 0;
  frameOffset = 0;
  outerTrafficClass = 0;
  keepalivePort: LinkPort | undefined = undefined;
  private readonly memory: FrameMemory;
  private readonly bytes: Uint8Array;
  private readonly drop: (port: number, reason: number) => void;
  private readonly decapsulation: GreDecapsulation;
  private readonly icmp: OuterIcmp;
  private readonly outer = new OuterHeader();

  constructor(memory: FrameMemory, drop: (port: number, reason: number) => void) {
    this.memory = memory;
    this.bytes = memory.bytes;
    this.drop = drop;
    this.decapsulation = new GreDecapsulation(memory);
    this.icmp = new OuterIcmp(memory);
  }

  /**
   * Takes the IP packet of a frame, on Ethernet of one that was sent to our MAC. `protocol`: what its fixed header says.
   * Returns the index of the tunnel's port, with the inner packet at `packetOffset`, or one of `GRE_...`.
   */
  receive(device: LinkDevice, frame: number, available: number, protocol: number, nowMs: number): number {
    const outer = this.outer;
    const isMerged = this.bytes[frame + 1] !== 0;
    const isIcmp = protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6;
    if (!outer.parse(this.memory, frame + FRAME_PREFIX_BYTES, available, isMerged)) {
      return isIcmp ? GRE_NOT_OURS : this.dropped(device.port, DROP.malformed);
    }
    const { family, dst0, dst1, dst2, dst3 } = outer;
    if (!this.tunnels.isLocal(family, dst0, dst1, dst2, dst3)) return GRE_NOT_OURS;
    if (isIcmp) {
      return this.icmp.receive(this.tunnels, device.index, outer, nowMs) ? GRE_CONSUMED : GRE_NOT_OURS;
    }
    // A fragment may hide the GRE header behind destination options.
    const isGre =
      outer.protocol === PROTOCOL_GRE ||
      (outer.isFragment !== 0 && outer.protocol === PROTOCOL_DESTINATION_OPTIONS);
    if (!isGre) return GRE_NOT_OURS;
    if (outer.isRouted !== 0) return this.dropped(device.port, DROP.unknown_tunnel);
    if (outer.isFragment !== 0) return this.receiveFragment(device, frame, available, nowMs);
    return this.receiveGre(device, frame, nowMs);
  }

  private receiveFragment(device: LinkDevice, frame: number, available: number, nowMs: number): number {
    const outer = this.outer;
    // Strangers get no memory.
    if (this.tunnels.findFrom(device.index, outer) < 0) {
      return this.dropped(device.port, DROP.unknown_tunnel);
    }
    if (this.onOuterFragment === undefined) return this.dropped(device.port, DROP.fragment_limit);
    const whole = this.onOuterFragment(frame + FRAME_PREFIX_BYTES, available, device.index, nowMs);
    if (whole === 0) return GRE_CONSUMED;
    if (whole < 0) return this.dropped(device.port, -whole);
    const bytes = this.bytes;
    const length =
      outer.family === IPV4
        ? ipv4TotalLength(bytes, whole)
        : ipv6PayloadLength(bytes, whole) + IPV6_HEADER_BYTES;
    const wholeFrame = (whole - FRAME_PREFIX_BYTES) | 0;
    writeOwnPrefix(this.memory.words, wholeFrame);
    if (
      !outer.parse(this.memory, whole, length, false) ||
      outer.isFragment !== 0 ||
      outer.protocol !== PROTOCOL_GRE
    ) {
      return this.dropped(device.port, DROP.unknown_tunnel);
    }
    return this.receiveGre(device, wholeFrame, nowMs);
  }

  /** The GRE packet behind the outer header in `outer`. */
  private receiveGre(device: LinkDevice, frame: number, nowMs: number): number {
    const outer = this.outer;
    const decapsulation = this.decapsulation;
    if (!decapsulation.parse(outer)) return this.dropped(device.port, DROP.gre_malformed);
    const { hasKey, key } = decapsulation.header;
    const port = this.tunnels.find(device.index, outer, hasKey, key);
    if (port?.tunnel === undefined) return this.dropped(device.port, DROP.unknown_tunnel);
    if (port.enabled === 0) return this.dropped(port.index, DROP.port_down);
    const checksumBase = (frame + device.checksumBaseBytes) | 0;
    const result = decapsulation.open(port.tunnel, outer, frame, checksumBase, nowMs);
    this.packetOffset = decapsulation.packetOffset;
    this.packetLength = decapsulation.packetLength;
    if (result === GRE_KEEPALIVE) {
      this.keepalivePort = port;
      return decapsulation.mayAnswerKeepalive(port.tunnel, nowMs) ? GRE_ANSWER : GRE_CONSUMED;
    }
    if (result !== DROP.none) return this.dropped(port.index, result);
    this.frameOffset = frame;
    this.outerTrafficClass = outer.trafficClass;
    return port.index;
  }

  private dropped(port: number, reason: number): number {
    this.drop(port, reason);
    return GRE_CONSUMED;
  }
}
