/**
 * Super-packets cut into packets as they were, or would be, on the wire: for plugins that ask for these.
 *
 * ```
 *   | headers | payload .................. |    ──>   | headers | gso_size |  | headers | gso_size |  | headers | rest |
 *
 *   TCP    sequence numbers go on; CWR in the first packet only, FIN and PSH in the last (RFC 9293, RFC 3168)
 *   IPv4   identifications go on
 *   all    lengths and checksums of their own, whole: nothing is left to an offload
 * ```
 *
 * Each packet is a copy in scratch memory. Neighbours: `pipeline.ts` (sends each of them the way of any packet),
 * `segmentation.ts` (which cuts only what is too large for where it goes).
 */
import { writeInt32, writeUint16 } from '../wire/byte-order.ts';
import { fillTransportChecksum } from '../wire/checksum.ts';
import { decode } from '../wire/decode.ts';
import { FRAME_PREFIX_BYTES, VIRTIO_NET_HEADER_BYTES } from '../wire/frame.ts';
import { writeIpLength } from '../wire/ip-length.ts';
import { IPV4_IDENTIFICATION } from '../wire/ipv4.ts';
import { IPV4, type PacketView, PROTOCOL_TCP, TCP_CWR, TCP_FIN, TCP_PSH } from '../wire/packet.ts';
import { TCP_FLAGS, TCP_SEQUENCE } from '../wire/tcp.ts';
import { UDP_HEADER_BYTES, UDP_LENGTH } from '../wire/udp.ts';
import type { Scratch } from './link/scratch.ts';

export class WirePackets {
  private readonly scratch: Scratch;
  private offset = 0;
  private headerBytes = 0;
  private l4Bytes = 0;
  private payloadLength = 0;
  private gsoSize = 0;
  private protocol = 0;
  private identification = 0;
  private sequence = 0;
  private flags = 0;
  /** Payload bytes of the packets made so far. */
  private made = 0;

  /** Takes memory for packets from `scratch`. */
  constructor(scratch: Scratch) {
    this.scratch = scratch;
  }

  /** Begins with a super-packet of TCP or UDP; returns how many packets it will be. */
  begin(view: PacketView): number {
    this.offset = view.offset;
    this.headerBytes = view.payloadOffset - view.offset;
    this.l4Bytes = view.l4Offset - view.offset;
    this.payloadLength = view.payloadLength;
    this.gsoSize = view.gsoSize;
    this.protocol = view.protocol;
    this.identification = view.identification;
    this.sequence = view.sequence;
    this.flags = view.tcpFlags;
    this.made = 0;
    return Math.ceil(view.payloadLength / view.gsoSize);
  }

  /** Makes the next packet and puts it into `view`, which may be the super-packet's. False if there is no memory for it. */
  next(view: PacketView): boolean {
    const { headerBytes, made } = this;
    const dataBytes = Math.min(this.gsoSize, this.payloadLength - made);
    const frame = this.scratch.allocate(FRAME_PREFIX_BYTES + headerBytes + dataBytes);
    if (frame < 0) return false;
    const { bytes } = view;
    bytes.fill(0, frame, frame + VIRTIO_NET_HEADER_BYTES);
    const at = frame + FRAME_PREFIX_BYTES;
    const from = this.offset + headerBytes + made;
    bytes.copyWithin(at, this.offset, this.offset + headerBytes);
    bytes.copyWithin(at + headerBytes, from, from + dataBytes);
    const length = headerBytes + dataBytes;
    const l4 = at + this.l4Bytes;
    if (bytes[at] >>> 4 === IPV4)
      writeUint16(bytes, at + IPV4_IDENTIFICATION, this.identification + ((made / this.gsoSize) | 0));
    writeIpLength(bytes, at, length);
    this.made = made + dataBytes;
    if (this.protocol === PROTOCOL_TCP) {
      let flags = this.flags;
      if (made > 0) flags &= ~TCP_CWR;
      if (this.made < this.payloadLength) flags &= ~(TCP_FIN | TCP_PSH);
      bytes[l4 + TCP_FLAGS] = flags;
      writeInt32(bytes, l4 + TCP_SEQUENCE, (this.sequence + made) | 0);
    } else {
      writeUint16(bytes, l4 + UDP_LENGTH, UDP_HEADER_BYTES + dataBytes);
    }
    // It decodes: it has the headers of a packet that did.
    decode(view, at, length);
    fillTransportChecksum(view);
    return true;
  }
}
