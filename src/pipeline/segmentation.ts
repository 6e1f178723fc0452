/**
 * GSO packets whose segments are too large for the way they go, and may be made smaller.
 *
 * ```
 *   | headers | payload ............................. |     segments of gso_size bytes, cut by the last device
 *
 *   TCP   a smaller gso_size: other segments of the same stream (RFC 9293: their borders mean nothing)
 *   UDP   | headers | data | | headers | data | ...    datagrams as they were sent, each to be fragmented
 * ```
 *
 * Datagrams have borders that must be kept, so they are made here, one copy each: at most one super-packet's bytes.
 * Their checksum stays partial; whoever fragments them completes it.
 *
 * Neighbours: `departure.ts` decides what is too large and what may be cut; `fragmentation.ts` cuts datagrams.
 */
import { DROP } from '../plugin/drop-reasons.ts';
import { writeHalf, writeUint16 } from '../wire/byte-order.ts';
import { pseudoHeaderSum } from '../wire/checksum.ts';
import { FRAME_PREFIX_BYTES, VIRTIO_NET_HEADER_BYTES } from '../wire/frame.ts';
import { writeIpLength } from '../wire/ip-length.ts';
import type { PacketView } from '../wire/packet.ts';
import { UDP_CHECKSUM, UDP_HEADER_BYTES, UDP_LENGTH } from '../wire/udp.ts';
import type { Scratch } from './link/scratch.ts';
import { describeOwnPacket } from './own-packet.ts';

/** Makes the segments of a TCP super-packet small enough for `mtu`. False if its headers alone are too long. */
export function shrinkSegments(view: PacketView, mtu: number): boolean {
  const room = mtu - (view.payloadOffset - view.offset);
  if (room <= 0) return false;
  view.gsoSize = room;
  return true;
}

export class Segmenter {
  private readonly scratch: Scratch;

  /** Takes memory for datagrams from `scratch`, which must be of the memory that the packets lie in. */
  constructor(scratch: Scratch) {
    this.scratch = scratch;
  }

  /**
   * Hands the datagrams of a UDP super-packet to `emit`, in order, in the one view `piece`: each behind a frame's
   * prefix of its own, with the identification and the don't-fragment flag of the whole. `emit` answers 0 or a drop
   * reason, which ends it; make it once, not for every packet. Returns 0, or the reason why not all left.
   */
  segmentDatagrams(view: PacketView, piece: PacketView, emit: (piece: PacketView) => number): number {
    const headerBytes = view.payloadOffset - view.offset;
    for (let start = 0; start < view.payloadLength; start += view.gsoSize) {
      const dataBytes = Math.min(view.gsoSize, view.payloadLength - start);
      const frame = this.scratch.allocate(FRAME_PREFIX_BYTES + headerBytes + dataBytes);
      if (frame < 0) return DROP.memory_full;
      view.bytes.fill(0, frame, frame + VIRTIO_NET_HEADER_BYTES);
      const offset = frame + FRAME_PREFIX_BYTES;
      const from = view.payloadOffset + start;
      view.bytes.copyWithin(offset, view.offset, view.payloadOffset);
      view.bytes.copyWithin(offset + headerBytes, from, from + dataBytes);
      describeOwnPacket(piece, view, offset, headerBytes + dataBytes, offset + view.l4Offset - view.offset);
      finishDatagram(view, piece, dataBytes);
      const reason = emit(piece);
      if (reason !== 0) return reason;
    }
    return 0;
  }
}

/** Writes what is each datagram's own into the headers, and the rest of its view. */
function finishDatagram(view: PacketView, piece: PacketView, dataBytes: number): void {
  const bytes = view.bytes;
  const l4 = piece.l4Offset;
  const udpBytes = UDP_HEADER_BYTES + dataBytes;
  writeIpLength(bytes, piece.offset, piece.length);
  writeUint16(bytes, l4 + UDP_LENGTH, udpBytes);
  writeHalf(bytes, l4 + UDP_CHECKSUM, pseudoHeaderSum(piece, udpBytes));
  piece.ports = view.ports;
  piece.sourcePort = view.sourcePort;
  piece.destinationPort = view.destinationPort;
  piece.identification = view.identification;
  piece.dontFragment = view.dontFragment;
  piece.payloadOffset = l4 + UDP_HEADER_BYTES;
  piece.payloadLength = dataBytes;
  piece.checksumStart = l4;
  piece.checksumOffset = UDP_CHECKSUM;
}
