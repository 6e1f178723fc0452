/**
 * Neighbour discovery: solicitations and advertisements over Ethernet (RFC 4861 4.3, 4.4, 7.1; RFC 2464).
 *
 * ```
 *  IPv6 header, hop limit 255, no extension headers
 *  +---------------+---------------+-------------------------------+
 *  |  135 or 136   |       0       |           checksum            |  0
 *  |R|S|O|                 reserved (flags: 136 only)              |  4
 *  |                   target address, 16 bytes                    |  8
 *  |  1 or 2       |       1       |   link-layer address, 6 bytes | 24, option
 *  +---------------------------------------------------------------+
 * ```
 *
 * `offset` is that of the IPv6 header, a multiple of 4. Addresses are four words in wire order. Not supported:
 * router discovery, redirects (told apart, never read), secure neighbour discovery.
 */
import { readInt32, readUint16, readWord, writeHalf, writeInt32 } from './byte-order.ts';
import { checksumOf, foldSum, sumMemory } from './checksum.ts';
import { copyMac, MAC_BYTES } from './ethernet.ts';
import type { FrameMemory } from './frame.ts';
import {
  ICMPV6_NEIGHBOR_ADVERTISEMENT,
  ICMPV6_NEIGHBOR_SOLICITATION,
  ICMPV6_REDIRECT,
  ICMPV6_ROUTER_SOLICITATION,
} from './icmpv6.ts';
import { IpAddresses } from './ip-addresses.ts';
import {
  IPV6_DESTINATION,
  IPV6_HEADER_BYTES,
  IPV6_HOP_LIMIT,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_SOURCE,
  writeIpv6Address,
  writeIpv6Start,
} from './ipv6.ts';
import { PROTOCOL_ICMPV6 } from './packet.ts';

/** Length of what {@link writeNeighborSolicitation} and {@link writeNeighborAdvertisement} write, bytes. */
export const NDP_PACKET_BYTES = 72;

/** Field offsets in the ICMPv6 message, bytes. */
const FLAGS = 4;
const TARGET = 8;
const OPTIONS = 24;

const OPTION_SOURCE_LINK_LAYER = 1;
const OPTION_TARGET_LINK_LAYER = 2;
/** In units of 8 bytes: type, length and six bytes of MAC. */
const OPTION_LINK_LAYER_UNITS = 1;
const HOP_LIMIT = 255;

/** Flags of an advertisement, host order. */
export const NDP_ROUTER = 0x80000000 | 0;
export const NDP_SOLICITED = 0x40000000;
export const NDP_OVERRIDE = 0x20000000;

/** ff02::1 and the solicited-node prefix ff02::1:ff00:0, as words in wire order (host order first, swapped here). */
const MULTICAST_LINK_WORD0 = 0x000002ff;
const ALL_NODES_WORD3 = 0x01000000;
const SOLICITED_NODE_WORD2 = 0x01000000;
const SOLICITED_NODE_WORD3 = 0x000000ff;

/** Results of {@link parseNdp}. */
export const NDP_OK = 0;
/** Not neighbour discovery at all: an ordinary packet. */
export const NDP_OTHER = 1;
/** Router discovery or a redirect: not for us, and never forwarded. */
export const NDP_IGNORED = 2;
/** Fails the checks of RFC 4861, 7.1: to be dropped in silence. */
export const NDP_MALFORMED = 3;

/** A solicitation or advertisement, and the addresses of its IPv6 header; reused. */
export class NdpMessage extends IpAddresses {
  /** `ICMPV6_NEIGHBOR_SOLICITATION` or `ICMPV6_NEIGHBOR_ADVERTISEMENT`. */
  type = 0;
  /** Advertisements: `NDP_ROUTER`, `NDP_SOLICITED`, `NDP_OVERRIDE`. */
  flags = 0;
  target0 = 0;
  target1 = 0;
  target2 = 0;
  target3 = 0;
  /** Offset in packet memory of the MAC in the link-layer address option; 0: no such option. */
  macOffset = 0;
}

/** Whether word 0 of an IPv6 address begins a multicast address. */
function isMulticastWord(word0: number): boolean {
  return (word0 & 0xff) === 0xff;
}

/**
 * Reads and checks the IPv6 packet at `offset` into `message`. One of `NDP_...`; `message` is of use only with
 * `NDP_OK`. A packet whose ICMPv6 message stands behind extension headers is `NDP_OTHER`.
 */
export function parseNdp(
  memory: FrameMemory,
  offset: number,
  availableBytes: number,
  message: NdpMessage,
): number {
  const bytes = memory.bytes;
  if (availableBytes < IPV6_HEADER_BYTES + 8 || bytes[offset] >>> 4 !== 6) return NDP_OTHER;
  if (bytes[offset + IPV6_NEXT_HEADER] !== PROTOCOL_ICMPV6) return NDP_OTHER;
  const icmp = (offset + IPV6_HEADER_BYTES) | 0;
  const type = bytes[icmp];
  if (type < ICMPV6_ROUTER_SOLICITATION || type > ICMPV6_REDIRECT) return NDP_OTHER;
  if (type !== ICMPV6_NEIGHBOR_SOLICITATION && type !== ICMPV6_NEIGHBOR_ADVERTISEMENT) return NDP_IGNORED;

  const lengthBytes = readUint16(bytes, offset + IPV6_PAYLOAD_LENGTH);
  if (lengthBytes < OPTIONS || lengthBytes > availableBytes - IPV6_HEADER_BYTES) return NDP_MALFORMED;
  if (bytes[offset + IPV6_HOP_LIMIT] !== HOP_LIMIT || bytes[icmp + 1] !== 0) return NDP_MALFORMED;
  if (ndpSum(memory, offset, lengthBytes) !== 0xffff) return NDP_MALFORMED;

  message.type = type;
  message.flags = type === ICMPV6_NEIGHBOR_ADVERTISEMENT ? readInt32(bytes, icmp + FLAGS) : 0;
  message.readIpv6Addresses(bytes, offset);
  message.target0 = readWord(bytes, icmp + TARGET);
  message.target1 = readWord(bytes, icmp + TARGET + 4);
  message.target2 = readWord(bytes, icmp + TARGET + 8);
  message.target3 = readWord(bytes, icmp + TARGET + 12);
  message.macOffset = 0;
  if (isMulticastWord(message.target0) || isMulticastWord(message.src0)) return NDP_MALFORMED;

  const wanted = type === ICMPV6_NEIGHBOR_SOLICITATION ? OPTION_SOURCE_LINK_LAYER : OPTION_TARGET_LINK_LAYER;
  const end = (icmp + lengthBytes) | 0;
  let at = (icmp + OPTIONS) | 0;
  while (at < end) {
    if (at + 8 > end) return NDP_MALFORMED;
    const units = bytes[at + 1];
    if (units === 0 || at + (units << 3) > end) return NDP_MALFORMED;
    if (bytes[at] === wanted && units === OPTION_LINK_LAYER_UNITS && message.macOffset === 0) {
      message.macOffset = (at + 2) | 0;
    }
    at = (at + (units << 3)) | 0;
  }

  if (type === ICMPV6_NEIGHBOR_ADVERTISEMENT) {
    // An answer goes to whoever asked; one sent to a group is nobody's answer.
    return isMulticastWord(message.dst0) && (message.flags & NDP_SOLICITED) !== 0 ? NDP_MALFORMED : NDP_OK;
  }
  if ((message.src0 | message.src1 | message.src2 | message.src3) !== 0) return NDP_OK;
  // Duplicate address detection: to the solicited-node address, without the option.
  const isSolicitedNode =
    message.dst0 === MULTICAST_LINK_WORD0 &&
    message.dst1 === 0 &&
    message.dst2 === SOLICITED_NODE_WORD2 &&
    (message.dst3 & 0xff) === SOLICITED_NODE_WORD3;
  return isSolicitedNode && message.macOffset === 0 ? NDP_OK : NDP_MALFORMED;
}

/** Sum of pseudo-header and message: 0xffff if the checksum in it is right. */
function ndpSum(memory: FrameMemory, offset: number, lengthBytes: number): number {
  return foldSum(
    sumMemory(memory, offset + IPV6_SOURCE, 32) +
      sumMemory(memory, offset + IPV6_HEADER_BYTES, lengthBytes) +
      ((lengthBytes & 0xff) << 8) +
      (lengthBytes >>> 8) +
      (PROTOCOL_ICMPV6 << 8),
  );
}

/** Writes everything but the addresses and the flags. */
function writeMessage(
  bytes: Uint8Array,
  offset: number,
  type: number,
  flags: number,
  option: number,
  mac: Uint8Array,
  macAt: number,
): void {
  writeIpv6Start(bytes, offset, NDP_PACKET_BYTES - IPV6_HEADER_BYTES, PROTOCOL_ICMPV6, HOP_LIMIT, 0, 0);
  const icmp = (offset + IPV6_HEADER_BYTES) | 0;
  writeInt32(bytes, icmp, type << 24);
  writeInt32(bytes, icmp + FLAGS, flags);
  bytes[icmp + OPTIONS] = option;
  bytes[icmp + OPTIONS + 1] = OPTION_LINK_LAYER_UNITS;
  copyMac(bytes, icmp + OPTIONS + 2, mac, macAt);
}

function fillMessageChecksum(memory: FrameMemory, offset: number): void {
  const checksum = checksumOf(ndpSum(memory, offset, NDP_PACKET_BYTES - IPV6_HEADER_BYTES));
  writeHalf(memory.bytes, offset + IPV6_HEADER_BYTES + 2, checksum);
}

/**
 * Writes a solicitation for `target`, {@link NDP_PACKET_BYTES} long, at `offset`.
 *
 * @param source four words, wire order: an own address on the link
 * @param target four words, wire order: the address to resolve
 * @param mac array that holds our MAC at `macAt`
 * @param isUnicast true: to the target itself (is it still there?), false: to its solicited-node address
 */
export function writeNeighborSolicitation(
  memory: FrameMemory,
  offset: number,
  source: Int32Array,
  target: Int32Array,
  mac: Uint8Array,
  macAt: number,
  isUnicast: boolean,
): void {
  const bytes = memory.bytes;
  writeMessage(bytes, offset, ICMPV6_NEIGHBOR_SOLICITATION, 0, OPTION_SOURCE_LINK_LAYER, mac, macAt);
  writeIpv6Address(bytes, offset + IPV6_SOURCE, source[0], source[1], source[2], source[3]);
  if (isUnicast) {
    writeIpv6Address(bytes, offset + IPV6_DESTINATION, target[0], target[1], target[2], target[3]);
  } else {
    writeIpv6Address(
      bytes,
      offset + IPV6_DESTINATION,
      MULTICAST_LINK_WORD0,
      0,
      SOLICITED_NODE_WORD2,
      solicitedNodeWord3(target[3]),
    );
  }
  const targetAt = offset + IPV6_HEADER_BYTES + TARGET;
  writeIpv6Address(bytes, targetAt, target[0], target[1], target[2], target[3]);
  fillMessageChecksum(memory, offset);
}

/**
 * Writes the answer to `solicitation`, {@link NDP_PACKET_BYTES} long, at `offset` (which may be where the
 * solicitation stands): from the target to the asker, solicited; to all nodes, unsolicited, if the asker has no
 * address yet (RFC 4861, 7.2.4). Router and override flags are set.
 *
 * @param mac array that holds our MAC at `macAt`
 */
export function writeNeighborAdvertisement(
  memory: FrameMemory,
  offset: number,
  solicitation: NdpMessage,
  mac: Uint8Array,
  macAt: number,
): void {
  const bytes = memory.bytes;
  const { src0, src1, src2, src3, target0, target1, target2, target3 } = solicitation;
  const isUnspecified = (src0 | src1 | src2 | src3) === 0;
  const flags = NDP_ROUTER | NDP_OVERRIDE | (isUnspecified ? 0 : NDP_SOLICITED);
  writeMessage(bytes, offset, ICMPV6_NEIGHBOR_ADVERTISEMENT, flags, OPTION_TARGET_LINK_LAYER, mac, macAt);
  writeIpv6Address(bytes, offset + IPV6_SOURCE, target0, target1, target2, target3);
  if (isUnspecified) {
    writeIpv6Address(bytes, offset + IPV6_DESTINATION, MULTICAST_LINK_WORD0, 0, 0, ALL_NODES_WORD3);
  } else {
    writeIpv6Address(bytes, offset + IPV6_DESTINATION, src0, src1, src2, src3);
  }
  const targetAt = offset + IPV6_HEADER_BYTES + TARGET;
  writeIpv6Address(bytes, targetAt, target0, target1, target2, target3);
  fillMessageChecksum(memory, offset);
}

/** Word 3 (wire order) of the solicited-node address of an address with this word 3. */
export function solicitedNodeWord3(word3: number): number {
  return (word3 & ~0xff) | SOLICITED_NODE_WORD3;
}

/** Writes the Ethernet group address of the IPv6 multicast address with this word 3 (33:33 and its last 32 bits). */
export function writeMulticastMac(bytes: Uint8Array, at: number, word3: number): void {
  bytes[at] = 0x33;
  bytes[at + 1] = 0x33;
  for (let index = 0; index < MAC_BYTES - 2; index++) bytes[at + 2 + index] = word3 >>> (index << 3);
}
