/**
 * The virtio-net header in front of every frame (`struct virtio_net_hdr`; virtio 1.2, 5.1.6).
 *
 * ```
 *   0       1          2          4          6            8             10
 *  +-------+----------+----------+----------+------------+-------------+
 *  | flags | gso_type | hdr_len  | gso_size | csum_start | csum_offset |   little endian
 *  +-------+----------+----------+----------+------------+-------------+
 * ```
 *
 * `csum_start` and `hdr_len` count from where the device says the packet starts, here `checksumBase`: the network
 * header on TUN, the Ethernet header on a packet socket. In the view everything is an offset in packet memory, so
 * a packet crosses from one kind to the other by writing the header anew.
 *
 * Not supported: UFO (`gso_type` 3), partial checksums and GSO of anything but the outermost TCP or UDP of the
 * decoded packet. `hdr_len` of a received header is not believed; nor is DATA_VALID passed on.
 */
import { transportChecksumOffset } from './checksum.ts';
import { DECODE_MALFORMED, DECODE_OK } from './decode-code.ts';
import type { FrameMemory } from './frame.ts';
import {
  GSO_ECN,
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  IPV4,
  IPV6,
  type PacketView,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from './packet.ts';

/** The transport checksum is partial: the device sums from `csum_start` and stores at `csum_offset` behind it. */
const FLAG_NEEDS_CHECKSUM = 1;

/**
 * Reads the header at `frameOffset` (a multiple of 4) into the GSO and checksum fields of `view`, which `decode`
 * filled before. Returns `DECODE_OK`, or `DECODE_MALFORMED` if the header contradicts the packet; the fields then
 * say "none".
 *
 * @param checksumBase offset in packet memory from which `csum_start` counts
 */
export function readVirtioNetHeader(view: PacketView, frameOffset: number, checksumBase: number): number {
  const words = view.words;
  const word0 = words[frameOffset >> 2];
  // Flags and gso_type: the common case on small packets is that there are none.
  if ((word0 & (FLAG_NEEDS_CHECKSUM | 0xff00)) === 0) return DECODE_OK;

  const word1 = words[(frameOffset + 4) >> 2];
  const gsoType = (word0 >>> 8) & 0xff;
  const isPartial = (word0 & FLAG_NEEDS_CHECKSUM) !== 0;
  const protocol = view.protocol;
  if (view.fragment !== 0 || (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP)) {
    return DECODE_MALFORMED;
  }
  const checksumOffset = transportChecksumOffset(protocol);
  if (isPartial) {
    const start = (checksumBase + (word1 >>> 16)) | 0;
    const offset = words[(frameOffset + 8) >> 2] & 0xffff;
    if (start !== view.l4Offset || offset !== checksumOffset) return DECODE_MALFORMED;
  }
  if (gsoType !== GSO_NONE) {
    const gsoSize = word1 & 0xffff;
    if (gsoSize === 0) return DECODE_MALFORMED;
    const kind = gsoType & ~GSO_ECN;
    if (kind === GSO_TCPV4) {
      if (protocol !== PROTOCOL_TCP || view.family !== IPV4) return DECODE_MALFORMED;
    } else if (kind === GSO_TCPV6) {
      if (protocol !== PROTOCOL_TCP || view.family !== IPV6) return DECODE_MALFORMED;
    } else if (gsoType === GSO_UDP_L4) {
      // The kernel takes no UDP segments without a partial checksum back.
      if (protocol !== PROTOCOL_UDP || !isPartial) return DECODE_MALFORMED;
    } else {
      return DECODE_MALFORMED;
    }
    view.gsoType = gsoType;
    view.gsoSize = gsoSize;
  }
  if (isPartial) {
    view.checksumStart = view.l4Offset;
    view.checksumOffset = checksumOffset;
  }
  return DECODE_OK;
}

/**
 * Writes the header at `frameOffset` (a multiple of 4) from the GSO and checksum fields of `view`.
 *
 * @param checksumBase offset in packet memory from which `csum_start` and `hdr_len` count
 */
export function writeVirtioNetHeader(
  memory: FrameMemory,
  frameOffset: number,
  view: PacketView,
  checksumBase: number,
): void {
  const words = memory.words;
  const at = frameOffset >> 2;
  const gsoType = view.gsoType;
  const checksumStart = view.checksumStart;
  const bytes = memory.bytes;
  if ((gsoType | checksumStart) === 0) {
    words[at] = 0;
    words[at + 1] = 0;
    bytes[frameOffset + 8] = 0;
    bytes[frameOffset + 9] = 0;
    return;
  }
  const headerBytes = (view.payloadOffset - checksumBase) | 0;
  words[at] = (checksumStart !== 0 ? FLAG_NEEDS_CHECKSUM : 0) | (gsoType << 8) | (headerBytes << 16);
  words[at + 1] = view.gsoSize | (checksumStart !== 0 ? (checksumStart - checksumBase) << 16 : 0);
  bytes[frameOffset + 8] = view.checksumOffset;
  bytes[frameOffset + 9] = 0;
}
