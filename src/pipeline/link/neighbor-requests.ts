/**
 * Asking for neighbours: ARP requests and neighbour solicitations (RFC 826; RFC 4861, 4.3 and 7.2.2).
 *
 * Neighbours: `neighbors.ts` says when, `wire/arp.ts` and `wire/ndp.ts` know the formats.
 */
import { ARP_BYTES, ARP_REQUEST, writeArp } from '../../wire/arp.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import { FRAME_PREFIX_BYTES, type FrameList, type FrameMemory } from '../../wire/frame.ts';
import {
  NDP_PACKET_BYTES,
  solicitedNodeWord3,
  writeMulticastMac,
  writeNeighborSolicitation,
} from '../../wire/ndp.ts';
import { writeLinkHeader, writeOwnPrefix } from './ethernet-header.ts';
import type { LinkDevice } from './link-device.ts';
import type { Scratch } from './scratch.ts';

const BROADCAST_HEAD = 0xffff;
const BROADCAST_TAIL = -1;
const NO_MAC = new Uint8Array(6);
const FE80 = 0x80fe;

export class NeighborRequests {
  private readonly memory: FrameMemory;
  private readonly tx: FrameList;
  private readonly scratch: Scratch;
  private readonly target = new Int32Array(4);

  constructor(memory: FrameMemory, tx: FrameList, scratch: Scratch) {
    this.memory = memory;
    this.tx = tx;
    this.scratch = scratch;
  }

  /** Whether there is an address from which such a neighbour can be asked for. ARP can do without (RFC 5227). */
  canAsk(device: LinkDevice, word0: number, word1: number, word2: number): boolean {
    return (word0 | word1 | word2) === 0 || device.sourceIpv6[0] !== 0 || isLinkLocalAsker(device, word0);
  }

  /**
   * Asks who has an address (wire-order words). `macHead`, `macTail`: the MAC to ask directly whether it is
   * still there, or 0 and 0 to ask everybody. Does nothing when there is no room: a retransmission follows.
   */
  ask(
    device: LinkDevice,
    word0: number,
    word1: number,
    word2: number,
    word3: number,
    macHead: number,
    macTail: number,
  ): void {
    if ((word0 | word1 | word2) === 0) this.askIpv4(device, word3, macHead, macTail);
    else this.askIpv6(device, word0, word1, word2, word3, macHead, macTail);
  }

  private askIpv4(device: LinkDevice, address: number, macHead: number, macTail: number): void {
    const lengthBytes = FRAME_PREFIX_BYTES + ARP_BYTES;
    const frame = this.scratch.allocate(lengthBytes);
    if (frame < 0) return;
    const isUnicast = (macHead | macTail) !== 0;
    const head = isUnicast ? macHead : BROADCAST_HEAD;
    const tail = isUnicast ? macTail : BROADCAST_TAIL;
    writeOwnPrefix(this.memory.words, frame);
    writeLinkHeader(this.memory.words, frame, head, tail, device, ETHERTYPE_ARP);
    const source = device.sourceIpv4;
    const mac = device.mac;
    const at = frame + FRAME_PREFIX_BYTES;
    writeArp(this.memory.bytes, at, ARP_REQUEST, mac, 0, source, NO_MAC, 0, address);
    this.tx.push(frame, lengthBytes, device.index, 0);
  }

  private askIpv6(
    device: LinkDevice,
    word0: number,
    word1: number,
    word2: number,
    word3: number,
    macHead: number,
    macTail: number,
  ): void {
    const lengthBytes = FRAME_PREFIX_BYTES + NDP_PACKET_BYTES;
    const frame = this.scratch.allocate(lengthBytes);
    if (frame < 0) return;
    const isUnicast = (macHead | macTail) !== 0;
    const target = this.target;
    target[0] = word0;
    target[1] = word1;
    target[2] = word2;
    target[3] = word3;
    writeOwnPrefix(this.memory.words, frame);
    writeLinkHeader(this.memory.words, frame, macHead, macTail, device, ETHERTYPE_IPV6);
    if (!isUnicast) writeMulticastMac(this.memory.bytes, frame + 10, solicitedNodeWord3(word3));
    const source = isLinkLocalAsker(device, word0) ? device.linkLocal : device.sourceIpv6;
    const at = frame + FRAME_PREFIX_BYTES;
    writeNeighborSolicitation(this.memory, at, source, target, device.mac, 0, isUnicast);
    this.tx.push(frame, lengthBytes, device.index, 0);
  }
}

/** A link-local neighbour is asked from our link-local address, where we have one. */
function isLinkLocalAsker(device: LinkDevice, word0: number): boolean {
  return device.isHost !== 0 && (word0 & 0xc0ff) === FE80;
}
