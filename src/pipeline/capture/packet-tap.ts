/**
 * The tap: where captures look at the pipeline. While there is none, {@link PacketTap.active} is 0, and that is all
 * a packet notices: one comparison where it leaves. Whoever feeds the pipeline compares once for a burst.
 *
 * ```
 *  begin ─► link layer ─┬─ dropped there ──────────────────────► endAtLink
 *                       └─ arrived ─► pipeline ─► sent ... sent ─► end
 * ```
 *
 * What is sent outside of a received packet's way (probes) is a sighting by itself. Frames that wait for a neighbour
 * count as sent; what the link layer sends for itself (ARP, neighbour discovery, outer headers) is not seen here.
 *
 * Neighbours: `pipeline.ts`, `link/link-layer.ts` (call), `capture-session.ts`. Nothing is allocated per packet.
 */
import { RECORD_WORDS, SHARED_ID } from '../../flow/layout.ts';
import type { FlowTable } from '../../flow/table.ts';
import { decode } from '../../wire/decode.ts';
import { FRAME_PREFIX_BYTES, type FrameMemory, VIRTIO_NET_HEADER_BYTES } from '../../wire/frame.ts';
import { ICMP_ERROR, PacketView } from '../../wire/packet.ts';
import type { PortTable } from '../port-table.ts';
import { RECORD_RECEIVED, RECORD_SENT } from './capture-ring.ts';
import type { CaptureSession } from './capture-session.ts';

/** More captures at a time are refused. */
export const MAX_CAPTURES = 4;

const FLAG_NEEDS_CHECKSUM = 1;

export class PacketTap {
  /** 0 while nobody captures. */
  active = 0;
  private readonly memory: FrameMemory;
  private readonly table: FlowTable;
  /** For looking up what was sent, which the pipeline's own view no longer describes. */
  private readonly view: PacketView;
  private ports: PortTable;
  private sessions: readonly CaptureSession[] = [];
  private seconds = 0;
  private microseconds = 0;
  /** Counts received packets, and those sent on nobody's account. */
  private packetNumber = 0;
  /** Whether a received packet is on its way. */
  private isInPacket = false;
  private isInLink = false;
  /** Of a frame that the link layer drops: why, and on whose account. */
  private linkReason = 0;
  private linkPort = 0;
  /** Flow of the packet at hand, 0 if it is not known. */
  private flowId = 0;

  constructor(memory: FrameMemory, table: FlowTable, ports: PortTable) {
    this.memory = memory;
    this.table = table;
    this.view = new PacketView(memory);
    this.ports = ports;
  }

  setPorts(ports: PortTable): void {
    this.ports = ports;
  }

  /** Sets who captures. */
  setSessions(sessions: readonly CaptureSession[]): void {
    this.sessions = sessions;
    this.active = sessions.length === 0 ? 0 : 1;
  }

  /** Time of all packets from now on, since 1970. */
  setTime(seconds: number, microseconds: number): void {
    this.seconds = seconds;
    this.microseconds = microseconds;
  }

  /** A frame has been received. */
  begin(): void {
    this.isInLink = true;
    this.linkReason = 0;
    this.startSighting();
  }

  /** The link layer drops: the frame at hand, or an older one that waited, which is not seen again. */
  linkDropped(port: number, reason: number): void {
    if (!this.isInLink) return;
    this.linkPort = port < 0 ? 0 : port;
    this.linkReason = reason;
  }

  /** The link layer has kept the frame for itself, or dropped it. */
  endAtLink(frameOffset: number, frameBytes: number, device: number): void {
    this.isInLink = false;
    const reason = this.linkReason;
    if (reason === 0) return;
    const link = (frameOffset + VIRTIO_NET_HEADER_BYTES) | 0;
    const packet = (frameOffset + FRAME_PREFIX_BYTES) | 0;
    const lengthBytes = frameBytes > FRAME_PREFIX_BYTES ? frameBytes - FRAME_PREFIX_BYTES : 0;
    for (let i = 0; i < this.sessions.length; i++) {
      const session = this.sessions[i]!;
      if (session.wantsFrames) session.seeFrame(this.linkPort, device, reason, link, packet, lengthBytes);
    }
    this.finish(reason);
  }

  /**
   * A port has received a packet.
   *
   * @param view decoded from it, if `code` is 0
   * @param availableBytes at `packetOffset`
   * @param frameOffset where its virtio-net header is
   */
  arrived(
    port: number,
    view: PacketView,
    code: number,
    packetOffset: number,
    availableBytes: number,
    frameOffset: number,
  ): void {
    this.isInLink = false;
    this.isInPacket = true;
    if (code === 0) this.flowId = this.flowOfReceived(view, this.ports.spaceOfArrived(port, view));
    const { words } = this.memory;
    const word0 = words[frameOffset >> 2]!;
    const gsoType = (word0 >>> 8) & 0xff;
    const gso = gsoType === 0 ? 0 : (gsoType << 16) | (words[(frameOffset + 4) >> 2]! & 0xffff);
    const isPartial = (word0 & FLAG_NEEDS_CHECKSUM) !== 0;
    const lengthBytes = code === 0 ? view.length : availableBytes;
    for (let i = 0; i < this.sessions.length; i++) {
      this.sessions[i]!.see(RECORD_RECEIVED, port, packetOffset, lengthBytes, gso, isPartial, true);
    }
  }

  /** A port sends a packet. */
  sent(port: number, packet: PacketView): void {
    const isAlone = !this.isInPacket;
    if (isAlone) this.startSighting();
    if (this.flowId === 0) this.flowId = this.flowOfSent(port, packet);
    const gso = packet.gsoType === 0 ? 0 : (packet.gsoType << 16) | packet.gsoSize;
    const isPartial = packet.checksumStart !== 0;
    for (let i = 0; i < this.sessions.length; i++) {
      this.sessions[i]!.see(RECORD_SENT, port, packet.offset, packet.length, gso, isPartial, false);
    }
    if (isAlone) this.finish(0);
  }

  /** The pipeline has done with the packet; `reason` for which it was dropped, 0 or less if it was not. */
  end(reason: number): void {
    this.finish(reason > 0 ? reason : 0);
  }

  private startSighting(): void {
    this.packetNumber = (this.packetNumber + 1) | 0;
    this.flowId = 0;
    for (let i = 0; i < this.sessions.length; i++) this.sessions[i]!.begin();
  }

  private finish(reason: number): void {
    this.isInPacket = false;
    for (let i = 0; i < this.sessions.length; i++) {
      this.sessions[i]!.end(reason, this.flowId, this.packetNumber, this.seconds, this.microseconds);
    }
  }

  /** Id of the flow that a packet of a space belongs to now, 0 if there is none yet. */
  private flowOfReceived(view: PacketView, space: number): number {
    const isError = view.icmpKind === ICMP_ERROR;
    const reference = isError ? this.table.findReversed(view.quoted!, space) : this.table.find(view, space);
    return reference < 0 ? 0 : this.idOf(reference);
  }

  /** The same of a packet as it was sent into a port's space: turned round, it is what will come back. */
  private flowOfSent(port: number, packet: PacketView): number {
    if (decode(this.view, packet.offset, packet.length) !== 0) return 0;
    if (this.view.icmpKind === ICMP_ERROR) return 0;
    const { family, dst0, dst1, dst2, dst3 } = this.view;
    const space = this.ports.spaceAt(port, family, dst0, dst1, dst2, dst3);
    const reference = this.table.findReversed(this.view, space);
    return reference < 0 ? 0 : this.idOf(reference);
  }

  private idOf(reference: number): number {
    return this.table.words[(reference >> 1) * RECORD_WORDS + SHARED_ID]!;
  }
}
