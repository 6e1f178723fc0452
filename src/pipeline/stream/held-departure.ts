/**
 * Makes packets of held segments again and sends them: with their own headers, the bytes that were inspected, and
 * whatever is right at this moment - TTL, translation, the port their flow leaves by.
 *
 * ```
 *   headers as they came | bytes from the pages     number, lengths, FIN and checksums written anew;
 *                                                   an offload's segment size as it came
 * ```
 *
 * Neighbours: `held-segments.ts`, `stream-pages.ts`, `pipeline/departure.ts`.
 */
import type { Counters } from '../../flow/counters.ts';
import { DROP } from '../../plugin/drop-reasons.ts';
import { decode } from '../../wire/decode.ts';
import { FRAME_PREFIX_BYTES, VIRTIO_NET_HEADER_BYTES } from '../../wire/frame.ts';
import { writeIpLength } from '../../wire/ip-length.ts';
import { type PacketView, TCP_ACK, TCP_FIN, TCP_RST } from '../../wire/packet.ts';
import type { Departure } from '../departure.ts';
import type { Scratch } from '../link/scratch.ts';
import { cutTail, resum, setFlags, setSequence } from './segment-surgery.ts';
import { FIN_AT, FINISHED, FIRST_HELD, FLAGS } from './stream-layout.ts';
import type { StreamTable } from './stream-table.ts';

export class HeldDeparture {
  /** The packet that was made last. */
  readonly view: PacketView;
  private readonly scratch: Scratch;
  private readonly table: StreamTable;
  private readonly departure: Departure;
  private readonly counters: Counters;
  private readonly flows: Int32Array;

  /** `view`: one of its own, over the packet memory; `flows`: the words of the flow records. */
  constructor(
    view: PacketView,
    scratch: Scratch,
    table: StreamTable,
    departure: Departure,
    counters: Counters,
    flows: Int32Array,
  ) {
    this.view = view;
    this.scratch = scratch;
    this.table = table;
    this.departure = departure;
    this.counters = counters;
    this.flows = flows;
  }

  /**
   * Sends the first held segment of a block by `egress` (less than 0: there is none), and holds it no more. `port`: by which
   * its sender is told if it does not fit there; less than 0: by none.
   */
  sendFirst(
    at: number,
    record: number,
    direction: number,
    port: number,
    egress: number,
    nowMs: number,
  ): void {
    const { table, view, departure, counters } = this;
    const limit = table.held.fragmentLimit(table.words[at + FIRST_HELD]);
    let reason = this.make(at);
    table.held.shift(at);
    if (reason === 0 && egress < 0) reason = direction === 0 ? DROP.port_down : DROP.no_pin;
    if (reason === 0) {
      reason =
        port < 0
          ? departure.obstacle(view, egress, limit)
          : departure.check(view, port, egress, limit, nowMs);
    }
    const lengthBytes = view.length;
    if (reason === 0)
      reason = departure.leave(view, this.flows, record, direction, port, egress, limit, nowMs);
    if (reason === 0) counters.countOut(egress, lengthBytes);
    else counters.countDrop(Math.max(port, 0), reason);
  }

  /** Makes the packet of the first held segment. Returns 0 or a drop reason. */
  make(at: number): number {
    const { table, view } = this;
    const { words, held } = table;
    const one = words[at + FIRST_HELD];
    const headerBytes = held.headerBytes(one);
    const start = held.start(one);
    const end = held.end(one);
    const hasFin = (words[at + FLAGS] & FINISHED) !== 0 && end === ((words[at + FIN_AT] + 1) | 0);
    const dataBytes = (end - start - (hasFin ? 1 : 0)) | 0;
    const frame = this.scratch.allocate(FRAME_PREFIX_BYTES + headerBytes + dataBytes);
    if (frame < 0) return DROP.memory_full;
    const bytes = view.bytes;
    bytes.fill(0, frame, frame + VIRTIO_NET_HEADER_BYTES);
    const offset = frame + FRAME_PREFIX_BYTES;
    const length = headerBytes + dataBytes;
    bytes.copyWithin(offset, held.headerOffset(one), held.headerOffset(one) + headerBytes);
    if (dataBytes > 0) table.pages.read(at, start, dataBytes, offset + headerBytes);
    writeIpLength(bytes, offset, length);
    const code = decode(view, offset, length);
    if (code !== 0) return code;
    setSequence(view, start);
    setFlags(view, hasFin ? view.tcpFlags | TCP_FIN : view.tcpFlags & ~TCP_FIN);
    view.gsoType = held.gsoType(one);
    view.gsoSize = held.gsoSize(one);
    resum(view);
    return 0;
  }
}

/** Makes of a segment the reset that its receiver expects if it has had everything before `sequence` (RFC 9293 3.5.2). */
export function turnIntoReset(view: PacketView, sequence: number): void {
  cutTail(view, 0);
  setSequence(view, sequence);
  setFlags(view, TCP_RST | TCP_ACK);
  resum(view);
}
