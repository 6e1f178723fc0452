/**
 * What neighbours send: ARP packets and neighbour discovery, checked, learnt from, and answered
 * (RFC 826, RFC 5227; RFC 4861, 7.1 and 7.2.3 to 7.2.5).
 *
 * Answers are given only where we are the host on the link (`LinkDevice.isHost`); on an uplink the host's own
 * stack answers, and we listen for what concerns neighbours that we asked for. Nobody is believed who claims
 * one of our own addresses, or whose MAC is ours, a group's or none. The rest of the checks are those of
 * `wire/arp.ts` and `wire/ndp.ts`.
 *
 * Neighbours: `neighbors.ts` (what is done with it).
 */
import {
  ARP_BYTES,
  ARP_REPLY,
  ARP_REQUEST,
  ARP_SENDER_MAC,
  arpOperation,
  arpSenderAddress,
  arpTargetAddress,
  isValidArp,
  writeArp,
} from '../../wire/arp.ts';
import { readHalf, readWord } from '../../wire/byte-order.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import {
  FRAME_PREFIX_BYTES,
  type FrameList,
  type FrameMemory,
  VIRTIO_NET_HEADER_BYTES,
} from '../../wire/frame.ts';
import { ICMPV6_NEIGHBOR_SOLICITATION } from '../../wire/icmpv6.ts';
import {
  NDP_OK,
  NDP_OTHER,
  NDP_OVERRIDE,
  NDP_PACKET_BYTES,
  NDP_SOLICITED,
  NdpMessage,
  parseNdp,
  writeMulticastMac,
  writeNeighborAdvertisement,
} from '../../wire/ndp.ts';
import { IPV4, IPV6 } from '../../wire/packet.ts';
import { writeLinkHeader, writeOwnPrefix } from './ethernet-header.ts';
import type { LinkDevice } from './link-device.ts';
import type { Neighbors } from './neighbors.ts';
import type { Scratch } from './scratch.ts';

/** Last word of ff02::1, wire order. */
const ALL_NODES = 0x01000000;

export class NeighborInput {
  private readonly memory: FrameMemory;
  private readonly bytes: Uint8Array;
  private readonly tx: FrameList;
  private readonly scratch: Scratch;
  private readonly neighbors: Neighbors;
  private readonly message = new NdpMessage();

  constructor(memory: FrameMemory, tx: FrameList, scratch: Scratch, neighbors: Neighbors) {
    this.memory = memory;
    this.bytes = memory.bytes;
    this.tx = tx;
    this.scratch = scratch;
    this.neighbors = neighbors;
  }

  /**
   * Takes the ARP packet behind a frame's link header.
   *
   * @param mayAnswer whether the link's own port is in use
   * @param toUs whether the frame was sent to our MAC alone
   */
  receiveArp(
    device: LinkDevice,
    frame: number,
    lengthBytes: number,
    mayAnswer: boolean,
    toUs: boolean,
    nowMs: number,
  ): void {
    const bytes = this.bytes;
    const offset = (frame + FRAME_PREFIX_BYTES) | 0;
    if (!isValidArp(bytes, offset, lengthBytes)) return;
    const senderMac = (offset + ARP_SENDER_MAC) | 0;
    if (!isNeighborMac(bytes, senderMac, device)) return;
    const sender = arpSenderAddress(bytes, offset);
    const target = arpTargetAddress(bytes, offset);
    if (sender !== 0 && device.isOwn(IPV4, 0, 0, 0, sender)) return;
    const head = readHalf(bytes, senderMac);
    const tail = readWord(bytes, senderMac + 2);
    if (arpOperation(bytes, offset) !== ARP_REQUEST) {
      const isAnswer = toUs && (target === device.sourceIpv4 || device.isOwn(IPV4, 0, 0, 0, target));
      this.neighbors.heardAnswer(device, 0, 0, 0, sender, head, tail, true, isAnswer, true, nowMs);
      return;
    }
    const isForUs = device.isAnswered(IPV4, 0, 0, 0, target);
    if (sender !== 0) {
      const mayInsert = isForUs && mayAnswer && device.mayLearn(IPV4, 0, 0, 0, sender);
      this.neighbors.heardAsking(device, 0, 0, 0, sender, head, tail, mayInsert, nowMs);
    }
    if (isForUs && mayAnswer) this.answerArp(device, senderMac, sender, target, head, tail);
  }

  /**
   * Takes the IPv6 packet behind a frame's link header if it is neighbour or router discovery, right or wrong.
   * Returns whether it was: it must then go no further. Parameters as of {@link receiveArp}.
   */
  receiveNdp(
    device: LinkDevice,
    frame: number,
    lengthBytes: number,
    mayAnswer: boolean,
    toUs: boolean,
    nowMs: number,
  ): boolean {
    const message = this.message;
    const offset = (frame + FRAME_PREFIX_BYTES) | 0;
    const result = parseNdp(this.memory, offset, lengthBytes, message);
    if (result !== NDP_OK) return result !== NDP_OTHER;
    // The frame's own source says where to answer, and the option, if there is one, who the neighbour is.
    const macAt = message.macOffset === 0 ? (frame + VIRTIO_NET_HEADER_BYTES + 6) | 0 : message.macOffset;
    if (!isNeighborMac(this.bytes, macAt, device)) return true;
    if (message.type === ICMPV6_NEIGHBOR_SOLICITATION)
      this.heardSolicitation(device, macAt, mayAnswer, nowMs);
    else this.heardAdvertisement(device, macAt, toUs, nowMs);
    return true;
  }

  private heardSolicitation(device: LinkDevice, macAt: number, mayAnswer: boolean, nowMs: number): void {
    const { src0, src1, src2, src3, target0, target1, target2, target3 } = this.message;
    const isForUs = device.isAnswered(IPV6, target0, target1, target2, target3);
    const isSpecified = (src0 | src1 | src2 | src3) !== 0;
    if (isSpecified && device.isOwn(IPV6, src0, src1, src2, src3)) return;
    const head = readHalf(this.bytes, macAt);
    const tail = readWord(this.bytes, macAt + 2);
    if (isSpecified && this.message.macOffset !== 0) {
      const mayInsert = isForUs && mayAnswer && device.mayLearn(IPV6, src0, src1, src2, src3);
      this.neighbors.heardAsking(device, src0, src1, src2, src3, head, tail, mayInsert, nowMs);
    }
    if (isForUs && mayAnswer) this.answerSolicitation(device, isSpecified, head, tail);
  }

  private heardAdvertisement(device: LinkDevice, macAt: number, toUs: boolean, nowMs: number): void {
    const { target0, target1, target2, target3, flags, macOffset } = this.message;
    if (device.isOwn(IPV6, target0, target1, target2, target3)) return;
    this.neighbors.heardAnswer(
      device,
      target0,
      target1,
      target2,
      target3,
      readHalf(this.bytes, macAt),
      readWord(this.bytes, macAt + 2),
      macOffset !== 0,
      toUs && (flags & NDP_SOLICITED) !== 0,
      (flags & NDP_OVERRIDE) !== 0,
      nowMs,
    );
  }

  private answerArp(
    device: LinkDevice,
    senderMac: number,
    sender: number,
    target: number,
    head: number,
    tail: number,
  ): void {
    const lengthBytes = FRAME_PREFIX_BYTES + ARP_BYTES;
    const frame = this.scratch.allocate(lengthBytes);
    if (frame < 0) return;
    const bytes = this.bytes;
    writeOwnPrefix(this.memory.words, frame);
    writeLinkHeader(this.memory.words, frame, head, tail, device, ETHERTYPE_ARP);
    const at = frame + FRAME_PREFIX_BYTES;
    writeArp(bytes, at, ARP_REPLY, device.mac, 0, target, bytes, senderMac, sender);
    this.tx.push(frame, lengthBytes, device.index, 0);
  }

  private answerSolicitation(device: LinkDevice, isSpecified: boolean, head: number, tail: number): void {
    const lengthBytes = FRAME_PREFIX_BYTES + NDP_PACKET_BYTES;
    const frame = this.scratch.allocate(lengthBytes);
    if (frame < 0) return;
    writeOwnPrefix(this.memory.words, frame);
    writeLinkHeader(this.memory.words, frame, head, tail, device, ETHERTYPE_IPV6);
    // Whoever only asks whether the address is free has none yet: the answer is for everybody.
    if (!isSpecified) writeMulticastMac(this.bytes, frame + VIRTIO_NET_HEADER_BYTES, ALL_NODES);
    writeNeighborAdvertisement(this.memory, frame + FRAME_PREFIX_BYTES, this.message, device.mac, 0);
    this.tx.push(frame, lengthBytes, device.index, 0);
  }
}

/** Whether the MAC at `at` can be a neighbour's: one station's, not ours, not zero. */
function isNeighborMac(bytes: Uint8Array, at: number, device: LinkDevice): boolean {
  const head = readHalf(bytes, at);
  const tail = readWord(bytes, at + 2);
  if ((head & 1) !== 0 || (head | tail) === 0) return false;
  return head !== device.macHead || tail !== device.macTail;
}
