/**
 * The link layer of the pipeline: from frames of a device to IP packets of a port, and back.
 *
 * ```
 *  receive                                                                  send
 *    frame of a device                                                        port, packet
 *      ├─ Ethernet only
 *      │    ├─ not to our MAC, no IP, no ARP ── foreign_frame
 *      │    └─ ARP, neighbour discovery ── neighbor-input.ts
 *      ├─ GRE to a tunnel's own end ── gre-input.ts ──► the tunnel's port ───► GRE, (Ethernet)
 *      ├─ ICMP error about GRE of ours ── gre-input.ts (path MTU)
 *      └─ everything else ──────────────────────────► the device's port ───► (Ethernet)
 *
 * The Ethernet header is written, and a neighbour asked for, where the device is Ethernet; on TUN and layer-3
 * devices the packet leaves as it stands behind the gap.
 * ```
 *
 * No I/O and no clock: frames are in packet memory, the time is an argument, what leaves is in the output list.
 * Which port a packet belongs to is decided by device, outer addresses and key, never by what is inside; GRE to
 * an own end of a tunnel is either that tunnel's or dropped, on whatever device it comes.
 *
 * Neighbours: `link-output.ts` and `neighbor-choice.ts` (sending), `device/io.ts` (frames), the rest of the pipeline
 * (packets), `pipeline/plan.ts`.
 */
import type { Counters } from '../../flow/counters.ts';
import { DROP } from '../../plugin/drop-reasons.ts';
import type { Address } from '../../wire/address.ts';
import { FRAME_PREFIX_BYTES, type FrameList, type FrameMemory } from '../../wire/frame.ts';
import { IPV4_HEADER_BYTES, IPV4_PROTOCOL } from '../../wire/ipv4.ts';
import { IPV6_HEADER_BYTES, IPV6_MINIMUM_MTU, IPV6_NEXT_HEADER } from '../../wire/ipv6.ts';
import {
  IPV4,
  IPV6,
  type PacketView,
  PROTOCOL_DESTINATION_OPTIONS,
  PROTOCOL_FRAGMENT,
  PROTOCOL_GRE,
  PROTOCOL_HOPOPTS,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_ROUTING,
} from '../../wire/packet.ts';
import { Identifications } from '../identification.ts';
import type { Plan } from '../plan.ts';
import { GRE_ANSWER, GRE_NOT_OURS, GreInput, type OuterFragmentHandler } from './gre-input.ts';
import { GreTunnelTable } from './gre-tunnel-table.ts';
import { AddressList, compileDevices, type LinkDevice } from './link-device.ts';
import { LinkOutput } from './link-output.ts';
import { compilePorts, type LinkPort } from './link-port.ts';
import { NeighborChoice } from './neighbor-choice.ts';
import { NeighborInput } from './neighbor-input.ts';
import { Neighbors } from './neighbors.ts';
import type { Scratch } from './scratch.ts';

/** Answer of `receive`: nothing for the pipeline. */
const CONSUMED = -1;
const NONE = -1;
/** EtherTypes as a little-endian load of the frame gives them. */
const WIRE_IPV4 = 0x0008;
const WIRE_IPV6 = 0xdd86;
const WIRE_ARP = 0x0608;
const TICK_MS = 100;

/** What can be said about sending by a port. `unresolved`: its next hop has not answered yet. */
export type LinkPortState = 'absent' | 'disabled' | 'unresolved' | 'ready';

export interface LinkLayerOptions {
  /** Entries of the neighbour table. */
  readonly neighbors?: number;
  /** Frames that may wait for neighbours; about 2 KiB of the scratch memory each. */
  readonly waitingFrames?: number;
  /** Seed of the hash tables. */
  readonly seed?: number;
  /** Where tunnels keep the sequence numbers that they send; without it they are forgotten with this object. */
  readonly counters?: Counters;
  /** For outer packets that may be cut; whoever else fragments must use the same. */
  readonly identifications?: Identifications;
  /** Sees every packet that a port sends. */
  readonly tap?: SentTap;
}

/** Whoever captures what is sent: `capture/packet-tap.ts`. */
export interface SentTap {
  /** 0: nobody; `sent` is not called then. */
  readonly active: number;
  sent(port: number, packet: PacketView): void;
}

const NO_TAP: SentTap = { active: 0, sent: () => {} };

export class LinkLayer {
  /** After `receive` gave a port: where its IP packet stands, bytes. A multiple of 4. */
  packetOffset = 0;
  /** Bytes there; the packet's own header may say less (padding), never more. */
  packetLength = 0;
  /** The frame, that is its virtio-net header. */
  frameOffset = 0;
  /** From where that header's `csum_start` counts: for `readVirtioNetHeader`. */
  checksumBase = 0;
  /** Traffic class of the outer header; -1 for a packet that came in none. */
  outerTrafficClass = -1;

  private readonly bytes: Uint8Array;
  private readonly words: Int32Array;
  private readonly drop: (port: number, reason: number) => void;
  private readonly neighbors: Neighbors;
  private readonly neighborInput: NeighborInput;
  private readonly choice: NeighborChoice;
  private readonly output: LinkOutput;
  private readonly greInput: GreInput;
  private readonly tap: SentTap;
  private readonly counters: Counters | undefined;
  private devices: readonly (LinkDevice | undefined)[] = [];
  private ports: readonly (LinkPort | undefined)[] = [];
  private lastTick = 0;

  /**
   * Cuts room for waiting frames off the scratch memory.
   *
   * @param drop counts what is dropped here; port -1 where no port is known. Not called for what `send` answers.
   */
  constructor(
    memory: FrameMemory,
    tx: FrameList,
    scratch: Scratch,
    drop: (port: number, reason: number) => void,
    options: LinkLayerOptions = {},
  ) {
    const { neighbors = 8192, waitingFrames = 1024, seed = (Math.random() * 0x7fffffff) | 0 } = options;
    const { identifications = new Identifications(seed, ~seed) } = options;
    this.bytes = memory.bytes;
    this.words = memory.words;
    this.drop = drop;
    this.neighbors = new Neighbors(memory, tx, scratch, drop, neighbors, waitingFrames, seed);
    this.neighborInput = new NeighborInput(memory, tx, scratch, this.neighbors);
    this.choice = new NeighborChoice(this.neighbors);
    this.output = new LinkOutput(tx, scratch, this.neighbors, this.choice, identifications);
    this.greInput = new GreInput(memory, drop);
    this.tap = options.tap ?? NO_TAP;
    this.counters = options.counters;
  }

  /**
   * Takes a new plan, between two bursts. Neighbours of links, and counters and path MTUs of tunnels, that did
   * not change are kept. Throws an Error that says what is wrong, and changes nothing, if the plan cannot be.
   */
  configure(plan: Plan, nowMs: number): void {
    const devices = compileDevices(plan);
    const ports = compilePorts(plan, this.ports, this.counters);
    const locals = new Set<string>();
    for (const { link } of plan.ports) if (link.kind === 'gre') locals.add(link.local);
    const tunnels = new GreTunnelTable(ports, new AddressList([...locals]));
    this.neighbors.configure(devices, ports);
    this.devices = devices;
    this.ports = ports;
    this.greInput.tunnels = tunnels;
    for (const { tunnel } of tunnels.ports) if (tunnel?.hasSequence === 1) tunnel.sent.keep();
    this.lastTick = (nowMs - TICK_MS) | 0;
  }

  /**
   * Asks for a port's next hops ahead of its packets (everything behind one waits for the same answer), and says what is
   * wrong with them: see {@link NeighborChoice.watchNextHops}. To be called once a second, and when its device is opened.
   */
  watchNextHops(portIndex: number, nowMs: number): number {
    const port = this.portAt(portIndex);
    const device = port === undefined ? undefined : this.devices[port.device];
    if (port === undefined || device === undefined || port.enabled === 0) return 0;
    return this.choice.watchNextHops(port, device, nowMs);
  }

  /** Sets who reassembles fragments of tunnel packets. While there is nobody they are dropped. */
  set onOuterFragment(handler: OuterFragmentHandler | undefined) {
    this.greInput.onOuterFragment = handler;
  }

  /**
   * Takes a frame. Returns the index of the port whose IP packet now stands at `packetOffset` (see the fields
   * above), or -1 if the frame was for the link layer itself or was dropped and counted.
   */
  receive(frame: number, lengthBytes: number, deviceIndex: number, nowMs: number): number {
    const device = this.devices[deviceIndex];
    if (device === undefined) return this.dropped(NONE, DROP.foreign_frame);
    const available = (lengthBytes - FRAME_PREFIX_BYTES) | 0;
    if (available <= 0) return this.dropped(device.port, DROP.malformed);
    this.checksumBase = (frame + device.checksumBaseBytes) | 0;
    if (device.isEthernet === 0) {
      const version = this.bytes[frame + FRAME_PREFIX_BYTES] >>> 4;
      if (version === IPV4) return this.receiveIpv4(device, frame, available, nowMs);
      if (version === IPV6) return this.receiveIpv6(device, frame, available, nowMs);
      return this.deliver(device, frame, available);
    }
    const words = this.words;
    const head = words[(frame + 8) >> 2] >>> 16;
    const toUs = head === device.macHead && words[(frame + 12) >> 2] === device.macTail;
    const type = words[(frame + 20) >> 2] >>> 16;
    if (!toUs) {
      // Not for us alone: of what is sent to groups, only what neighbours ask.
      const isAsked = (head & 1) !== 0 && (type === WIRE_ARP || type === WIRE_IPV6);
      if (!isAsked) return this.dropped(device.port, DROP.foreign_frame);
    }
    if (type === WIRE_IPV4) {
      if (!this.isVersion(frame, IPV4)) return this.dropped(device.port, DROP.malformed);
      return this.receiveIpv4(device, frame, available, nowMs);
    }
    if (type === WIRE_ARP) {
      const mayAnswer = this.isEnabled(device.port);
      this.neighborInput.receiveArp(device, frame, available, mayAnswer, toUs, nowMs);
      return CONSUMED;
    }
    if (type !== WIRE_IPV6) return this.dropped(device.port, DROP.foreign_frame);
    const mayAnswer = this.isEnabled(device.port);
    if (this.neighborInput.receiveNdp(device, frame, available, mayAnswer, toUs, nowMs)) return CONSUMED;
    if (!toUs) return this.dropped(device.port, DROP.foreign_frame);
    if (!this.isVersion(frame, IPV6)) return this.dropped(device.port, DROP.malformed);
    return this.receiveIpv6(device, frame, available, nowMs);
  }

  /**
   * Sends the packet in `packet` by a port: writes the prefix (and the outer headers of a tunnel) in front of it
   * and appends it to the output list, or keeps a copy until its neighbour has answered. Returns 0, or the DROP
   * number for which it is not sent (not counted here). The packet may be cut to `portMtu` before, not by this;
   * in a tunnel that is too narrow for it, the outer packet is cut.
   *
   * Of the view it needs offset, length, family, destination, trafficClass, payloadOffset, payloadLength, and
   * the GSO and checksum fields; under a GRE checksum a partial checksum is completed in it.
   */
  send(portIndex: number, packet: PacketView, nowMs: number): number {
    const port = this.portAt(portIndex);
    if (port === undefined || port.enabled === 0) return DROP.port_down;
    const device = this.devices[port.device];
    if (device === undefined) return DROP.port_down;
    const reason = this.output.send(port, device, packet, nowMs);
    if (this.tap.active !== 0 && reason === DROP.none) this.tap.sent(portIndex, packet);
    return reason;
  }

  /** Control path: neighbours by a port that are known, who was heard to answer last first. */
  neighborsHeard(portIndex: number, nowMs: number): Address[] {
    const port = this.portAt(portIndex);
    return port === undefined ? [] : this.neighbors.heardOn(port.device, nowMs);
  }

  /** Neighbours of all ports that do not answer: while there is none, `isUnreachable` need not be asked. */
  get failedNeighbors(): number {
    return this.neighbors.failed;
  }

  /**
   * Whether the neighbour that a packet to this address (wire-order words) would go to by a port has been asked for
   * and does not answer. `send` would refuse the packet, but only after it was changed.
   */
  isUnreachable(
    portIndex: number,
    family: number,
    dst0: number,
    dst1: number,
    dst2: number,
    dst3: number,
  ): boolean {
    const port = this.portAt(portIndex);
    const device = port === undefined ? undefined : this.devices[port.device];
    if (port === undefined || device === undefined) return false;
    return this.choice.isSilent(port, device, family, dst0, dst1, dst2, dst3);
  }

  /** Runs timers: retransmissions to neighbours, ageing of path MTUs. To be called with every burst. */
  tick(nowMs: number): void {
    const sinceMs = (nowMs - this.lastTick) | 0;
    if (sinceMs >= 0 && sinceMs < TICK_MS) return;
    this.lastTick = nowMs;
    this.neighbors.tick(nowMs);
    const tunnels = this.greInput.tunnels.ports;
    for (let index = 0; index < tunnels.length; index++) tunnels[index].tunnel?.pathMtu.tick(nowMs);
  }

  /**
   * Largest IP packet that a port carries whole now, bytes: as configured, or what a tunnel's path has left. 0: no
   * port. `send` takes longer ones by tunnels, up to {@link leastMtu}.
   */
  portMtu(portIndex: number): number {
    const port = this.portAt(portIndex);
    if (port === undefined) return 0;
    const tunnel = port.tunnel;
    if (tunnel === undefined) return port.mtu;
    return (tunnel.pathMtu.current - tunnel.overheadBytes) | 0;
  }

  /** Packets of at most so many bytes pass a port whatever its MTU, in outer fragments if need be; 0 for any other link. */
  leastMtu(portIndex: number): number {
    return this.portAt(portIndex)?.tunnel === undefined ? 0 : IPV6_MINIMUM_MTU;
  }

  /** For status: whether packets can leave by a port. */
  portState(portIndex: number): LinkPortState {
    const port = this.portAt(portIndex);
    const device = port === undefined ? undefined : this.devices[port.device];
    if (port === undefined || device === undefined) return 'absent';
    if (port.enabled === 0) return 'disabled';
    return this.choice.isUnresolved(port, device) ? 'unresolved' : 'ready';
  }

  private dropped(port: number, reason: number): number {
    this.drop(port, reason);
    return CONSUMED;
  }

  private portAt(index: number): LinkPort | undefined {
    return index >= 0 && index < this.ports.length ? this.ports[index] : undefined;
  }

  private isEnabled(index: number): boolean {
    const port = this.portAt(index);
    return port !== undefined && port.enabled !== 0;
  }

  /** Hands the packet behind the frame's prefix to the device's own port. */
  private deliver(device: LinkDevice, frame: number, available: number): number {
    if (device.port < 0) return this.dropped(NONE, DROP.foreign_frame);
    if (!this.isEnabled(device.port)) return this.dropped(device.port, DROP.port_down);
    this.frameOffset = frame;
    this.packetOffset = (frame + FRAME_PREFIX_BYTES) | 0;
    this.packetLength = available;
    this.outerTrafficClass = -1;
    return device.port;
  }

  /** Socket filter and guard judge a frame by its EtherType: what contradicts it has not been judged at all. */
  private isVersion(frame: number, version: number): boolean {
    return this.bytes[frame + FRAME_PREFIX_BYTES] >>> 4 === version;
  }

  private receiveIpv4(device: LinkDevice, frame: number, available: number, nowMs: number): number {
    if (this.greInput.tunnels.ports.length > 0 && available >= IPV4_HEADER_BYTES) {
      const protocol = this.bytes[frame + FRAME_PREFIX_BYTES + IPV4_PROTOCOL];
      if (protocol === PROTOCOL_GRE || protocol === PROTOCOL_ICMP) {
        const answer = this.greInput.receive(device, frame, available, protocol, nowMs);
        if (answer !== GRE_NOT_OURS) return this.deliverInner(device, answer, nowMs);
      }
    }
    return this.deliver(device, frame, available);
  }

  private receiveIpv6(device: LinkDevice, frame: number, available: number, nowMs: number): number {
    if (this.greInput.tunnels.ports.length > 0 && available >= IPV6_HEADER_BYTES) {
      const next = this.bytes[frame + FRAME_PREFIX_BYTES + IPV6_NEXT_HEADER];
      if (
        next === PROTOCOL_GRE ||
        next === PROTOCOL_ICMPV6 ||
        next === PROTOCOL_FRAGMENT ||
        next === PROTOCOL_DESTINATION_OPTIONS ||
        next === PROTOCOL_HOPOPTS ||
        next === PROTOCOL_ROUTING
      ) {
        const answer = this.greInput.receive(device, frame, available, next, nowMs);
        if (answer !== GRE_NOT_OURS) return this.deliverInner(device, answer, nowMs);
      }
    }
    return this.deliver(device, frame, available);
  }

  /** Hands out what came out of a tunnel, or sends a keepalive's answer. */
  private deliverInner(device: LinkDevice, answer: number, nowMs: number): number {
    const input = this.greInput;
    if (answer >= 0) {
      this.frameOffset = input.frameOffset;
      this.checksumBase = (input.frameOffset + device.checksumBaseBytes) | 0;
      this.packetOffset = input.packetOffset;
      this.packetLength = input.packetLength;
      this.outerTrafficClass = input.outerTrafficClass;
      return answer;
    }
    const port = input.keepalivePort;
    if (answer !== GRE_ANSWER || port === undefined) return CONSUMED;
    const reason = this.output.sendKeepalive(port, device, input.packetOffset, input.packetLength, nowMs);
    return reason === DROP.none ? CONSUMED : this.dropped(port.index, reason);
  }
}
