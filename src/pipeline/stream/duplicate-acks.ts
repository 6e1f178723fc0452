/**
 * Duplicate acknowledgments in the receiver's name, for segments that are held back because something is missing before
 * them: the receiver does not see them, so it cannot ask for what is missing (RFC 5681 3.2), and the sender would wait for
 * its time-out.
 *
 * ```
 *   ACK     what the receiver has acknowledged itself: nothing is acknowledged that it may not have
 *   SACK    the numbers that are held, if the sender understands that (RFC 2018: it must still keep them)
 *   window  as the receiver offered it last; time stamps as it would send them (RFC 7323 4.3)
 * ```
 *
 * Neighbours: `streams.ts` (what is held), `pipeline/tcp-reset.ts` (another segment in somebody's name).
 */
import { readInt32, writeInt32 } from '../../wire/byte-order.ts';
import { fillTransportChecksum } from '../../wire/checksum.ts';
import { FRAME_PREFIX_BYTES, VIRTIO_NET_HEADER_BYTES } from '../../wire/frame.ts';
import { PacketView, TCP_ACK } from '../../wire/packet.ts';
import {
  parseTcpOptions,
  TCP_HEADER_BYTES,
  TCP_OPTION_NOP,
  TCP_OPTION_TIMESTAMPS,
  TCP_OPTIONS,
  TcpOptions,
  writeTcpHeader,
} from '../../wire/tcp.ts';
import type { Scratch } from '../link/scratch.ts';
import { describeTcpAnswer, ipHeaderBytes, writeOwnHeader } from '../own-packet.ts';
import {
  FLAGS,
  HAS_PEER_STAMP,
  LOW,
  PEER_STAMP,
  PEER_WINDOW,
  RECENT_STAMP,
  TAKES_SACK,
} from './stream-layout.ts';
import type { StreamTable } from './stream-table.ts';

const TCP_OPTION_SACK = 5;
const STAMP_BYTES = 12;
const SACK_BYTES = 12;
const SACK_BLOCK_BYTES = 8;
/** NOP, NOP, time stamps, as a big-endian word. */
const USUAL_STAMP = (TCP_OPTION_NOP << 24) | (TCP_OPTION_NOP << 16) | (TCP_OPTION_TIMESTAMPS << 8) | 10;

const options = new TcpOptions();

/** Whether a segment has a time stamp; {@link stampOf} is it then. */
export function hasStamp(view: PacketView): boolean {
  const headerBytes = view.payloadOffset - view.l4Offset;
  const at = view.l4Offset + TCP_OPTIONS;
  if (headerBytes < TCP_HEADER_BYTES + 10) return false;
  if (headerBytes >= TCP_HEADER_BYTES + STAMP_BYTES && readInt32(view.bytes, at) === USUAL_STAMP) {
    options.timestampValue = readInt32(view.bytes, at + 4);
    return true;
  }
  return parseTcpOptions(view.bytes, view.l4Offset, headerBytes, options) && options.hasTimestamps === 1;
}

/** The time stamp that {@link hasStamp} found last, int32. */
export function stampOf(): number {
  return options.timestampValue;
}

/** Whether a SYN says that its sender understands selective acknowledgments. */
export function offersSack(view: PacketView): boolean {
  const headerBytes = view.payloadOffset - view.l4Offset;
  return parseTcpOptions(view.bytes, view.l4Offset, headerBytes, options) && options.sackPermitted === 1;
}

export class DuplicateAcks {
  /** What {@link build} has made. */
  readonly reply: PacketView;
  private readonly scratch: Scratch;
  private readonly table: StreamTable;

  constructor(scratch: Scratch, table: StreamTable) {
    this.scratch = scratch;
    this.table = table;
    this.reply = new PacketView(scratch.memory, true);
  }

  /**
   * Builds the acknowledgment that answers `early`, a segment just held back in the block `at`. False without scratch memory,
   * or if nothing is known that it would have to say.
   */
  build(early: PacketView, at: number): boolean {
    const { words } = this.table;
    const { reply } = this;
    const { bytes } = reply;
    const withStamp = hasStamp(early);
    if (withStamp && (words[at + FLAGS] & HAS_PEER_STAMP) === 0) return false;
    const withSack = (words[at + FLAGS] & TAKES_SACK) !== 0;
    const tcpBytes = TCP_HEADER_BYTES + (withStamp ? STAMP_BYTES : 0) + (withSack ? SACK_BYTES : 0);
    const frame = this.scratch.allocate(FRAME_PREFIX_BYTES + ipHeaderBytes(early) + tcpBytes);
    if (frame < 0) return false;
    bytes.fill(0, frame, frame + VIRTIO_NET_HEADER_BYTES);
    describeTcpAnswer(reply, early, frame + FRAME_PREFIX_BYTES, tcpBytes);
    writeOwnHeader(reply);
    const acknowledgment = words[at + LOW];
    reply.sequence = early.acknowledgment;
    reply.acknowledgment = acknowledgment;
    reply.tcpFlags = TCP_ACK;
    writeTcpHeader(
      bytes,
      reply.l4Offset,
      reply.sourcePort,
      reply.destinationPort,
      early.acknowledgment,
      acknowledgment,
      TCP_ACK,
      words[at + PEER_WINDOW],
      tcpBytes,
    );
    let option = reply.l4Offset + TCP_OPTIONS;
    if (withStamp) {
      writeInt32(bytes, option, USUAL_STAMP);
      writeInt32(bytes, option + 4, words[at + PEER_STAMP]);
      writeInt32(bytes, option + 8, words[at + RECENT_STAMP]);
      option += STAMP_BYTES;
    }
    if (withSack) this.writeSack(early.sequence, at, option);
    fillTransportChecksum(reply);
    return true;
  }

  /** The run of held numbers that this one is in: the newest first (RFC 2018 4), and one is enough. */
  private writeSack(number: number, at: number, option: number): void {
    const { held } = this.table;
    const { bytes } = this.reply;
    let start = number;
    let end = number;
    for (let one = held.first(at); one >= 0; one = held.next(one)) {
      if (held.start(one) !== end) {
        if (((end - number) | 0) > 0) break;
        start = held.start(one);
      }
      end = held.end(one);
    }
    bytes[option] = TCP_OPTION_NOP;
    bytes[option + 1] = TCP_OPTION_NOP;
    bytes[option + 2] = TCP_OPTION_SACK;
    bytes[option + 3] = 2 + SACK_BLOCK_BYTES;
    writeInt32(bytes, option + 4, start);
    writeInt32(bytes, option + 8, end);
  }
}
