/**
 * Sending by a port: the prefix, and what the link wants in front of the packet, into the output list.
 *
 * ```
 *   layer-3 device      | virtio | gap      | packet
 *   Ethernet            | virtio | Ethernet | packet                      a neighbour is chosen, and may have to
 *   GRE on either       | virtio | ...      | outer IP | GRE | packet     be waited for (`neighbor-queue.ts`)
 * ```
 *
 * Neighbours: `link-layer.ts` (its face), `neighbor-choice.ts`, `gre-encapsulation.ts`, `gre-fragmentation.ts`.
 */
import { DROP } from '../../plugin/drop-reasons.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import {
  FRAME_PREFIX_BYTES,
  FRAME_SEGMENT_GRE,
  type FrameList,
  type FrameMemory,
  VIRTIO_NET_HEADER_BYTES,
} from '../../wire/frame.ts';
import { GSO_NONE, IPV4, type PacketView } from '../../wire/packet.ts';
import { writeVirtioNetHeader } from '../../wire/virtio-net.ts';
import type { Identifications } from '../identification.ts';
import { writeLinkHeader, writeOwnPrefix } from './ethernet-header.ts';
import { GreEncapsulation } from './gre-encapsulation.ts';
import { GreFragmentation } from './gre-fragmentation.ts';
import type { LinkDevice } from './link-device.ts';
import { LINK_GRE, LINK_IP, type LinkPort } from './link-port.ts';
import type { NeighborChoice } from './neighbor-choice.ts';
import type { Neighbors } from './neighbors.ts';
import type { Scratch } from './scratch.ts';

export class LinkOutput {
  private readonly memory: FrameMemory;
  private readonly tx: FrameList;
  private readonly neighbors: Neighbors;
  private readonly choice: NeighborChoice;
  private readonly encapsulation: GreEncapsulation;
  private readonly fragmentation: GreFragmentation;
  private readonly emitPiece: (piece: PacketView) => number;
  /** Where the pieces of the packet at hand go. */
  private port: LinkPort | undefined = undefined;
  private device: LinkDevice | undefined = undefined;
  private neighbor = 0;

  constructor(
    tx: FrameList,
    scratch: Scratch,
    neighbors: Neighbors,
    choice: NeighborChoice,
    identifications: Identifications,
  ) {
    this.memory = scratch.memory;
    this.tx = tx;
    this.neighbors = neighbors;
    this.choice = choice;
    this.encapsulation = new GreEncapsulation(scratch.memory, identifications);
    this.fragmentation = new GreFragmentation(scratch, this.encapsulation, identifications);
    this.emitPiece = (piece) => this.sendPiece(piece);
  }

  /** Sends a packet by a port that is enabled: see `LinkLayer.send`. */
  send(port: LinkPort, device: LinkDevice, packet: PacketView, nowMs: number): number {
    if (this.tx.count >= this.tx.capacity) return DROP.output_full;
    if (port.kind === LINK_IP) {
      const frame = (packet.offset - FRAME_PREFIX_BYTES) | 0;
      writeVirtioNetHeader(this.memory, frame, packet, packet.offset);
      this.tx.push(frame, packet.length + FRAME_PREFIX_BYTES, device.index, 0);
      return DROP.none;
    }
    if (port.kind === LINK_GRE) return this.sendGre(port, device, packet, nowMs);
    const neighbor = this.choice.forPacket(port, device, packet, nowMs);
    if (neighbor < 0) return -neighbor;
    const frame = (packet.offset - FRAME_PREFIX_BYTES) | 0;
    writeVirtioNetHeader(this.memory, frame, packet, frame + VIRTIO_NET_HEADER_BYTES);
    const end = (packet.offset + packet.length) | 0;
    return this.sendFrame(port, device, neighbor, frame, end, packet.family, 0);
  }

  /** Sends a GRE tunnel's keepalive back: the IPv4 packet at `offset`, as it is. Returns 0 or a DROP number. */
  sendKeepalive(
    port: LinkPort,
    device: LinkDevice,
    offset: number,
    lengthBytes: number,
    nowMs: number,
  ): number {
    const neighbor = this.choice.nextHop(port, device, IPV4, nowMs);
    if (neighbor < 0) return -neighbor;
    const frame = (offset - FRAME_PREFIX_BYTES) | 0;
    writeOwnPrefix(this.memory.words, frame);
    return this.sendFrame(port, device, neighbor, frame, (offset + lengthBytes) | 0, IPV4, 0);
  }

  private sendGre(port: LinkPort, device: LinkDevice, packet: PacketView, nowMs: number): number {
    const tunnel = port.tunnel;
    if (tunnel === undefined) return DROP.port_down;
    const neighbor = this.choice.nextHop(port, device, tunnel.family, nowMs);
    if (neighbor < 0) return -neighbor;
    if (tunnel.pathMtu.isNarrow !== 0 && this.fragmentation.isNeeded(tunnel, packet)) {
      this.port = port;
      this.device = device;
      this.neighbor = neighbor;
      return this.fragmentation.send(tunnel, packet, this.emitPiece);
    }
    const frame = this.encapsulation.encapsulate(tunnel, packet);
    if (frame < 0) return DROP.unsupported_segmentation;
    writeVirtioNetHeader(this.memory, frame, packet, frame + device.checksumBaseBytes);
    const end = (packet.offset + packet.length) | 0;
    const flags = packet.gsoType === GSO_NONE ? 0 : FRAME_SEGMENT_GRE;
    return this.sendFrame(port, device, neighbor, frame, end, tunnel.family, flags);
  }

  /** Sends a fragment of an outer packet; its virtio-net header is written. */
  private sendPiece(piece: PacketView): number {
    const { port, device } = this;
    if (port === undefined || device === undefined) return DROP.port_down;
    const frame = (piece.offset - FRAME_PREFIX_BYTES) | 0;
    const end = (piece.offset + piece.length) | 0;
    return this.sendFrame(port, device, this.neighbor, frame, end, piece.family, 0);
  }

  /** Writes the Ethernet header, if any, and sends the frame, or lets it wait for the neighbour. 0 or a DROP number. */
  private sendFrame(
    port: LinkPort,
    device: LinkDevice,
    neighbor: number,
    frame: number,
    end: number,
    family: number,
    flags: number,
  ): number {
    const length = (end - frame) | 0;
    if (device.isEthernet === 0) {
      return this.tx.push(frame, length, device.index, flags) ? DROP.none : DROP.output_full;
    }
    const table = this.neighbors.table;
    const type = family === IPV4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
    writeLinkHeader(this.memory.words, frame, table.macHead[neighbor], table.macTail[neighbor], device, type);
    if (!this.neighbors.isUsable(neighbor)) return this.neighbors.hold(neighbor, frame, length, flags, port);
    return this.tx.push(frame, length, device.index, flags) ? DROP.none : DROP.output_full;
  }
}
