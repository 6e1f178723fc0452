/**
 * One capture in the data plane: which packets it is about, and what of them goes into its ring.
 *
 * A packet is seen several times: as a port received it, and as one or more ports sent it (translated, in fragments,
 * or an error in answer to it). These **sightings** belong together: if one of them is at a chosen port and matches
 * the filter, all are written, so that a translated packet is there before and after. An `exact` capture writes only
 * those that match themselves.
 *
 * ```
 *  begin ─► sighting ... sighting ─► end ──┬─ chosen: committed, with the drop reason and the flow id
 *            (appended to the ring)        └─ not:    taken back
 * ```
 *
 * Neighbours: `packet-tap.ts` (calls), `capture-ring.ts`, `filter-program.ts`. Nothing is allocated per packet.
 */
import type { FrameMemory } from '../../wire/frame.ts';
import {
  type CaptureRingWriter,
  RECORD_DEVICE,
  RECORD_FRAME,
  RECORD_GSO,
  RECORD_PARTIAL_CHECKSUM,
  RECORD_REASON,
} from './capture-ring.ts';
import { FilterMachine, type FilterProgram } from './filter-program.ts';

/** What a capture is about. Plain JSON: it crosses a socket. */
export interface CaptureSelection {
  /** Port indices; null: all. */
  readonly ports: readonly number[] | null;
  /** Drop reasons by number: only packets dropped for one of these; null: dropped or not. */
  readonly dropped: readonly number[] | null;
  /** Only packets of this flow; 0: all. */
  readonly flow: number;
  readonly filter: FilterProgram;
  /** Bytes kept of each packet. */
  readonly snapBytes: number;
  /** Only sightings that are at a chosen port and match the filter themselves. */
  readonly exact: boolean;
}

export class CaptureSession {
  private readonly memory: FrameMemory;
  private readonly ring: CaptureRingWriter;
  private readonly filter: FilterMachine;
  /** 1 where the port is chosen; undefined: all are. */
  private readonly ports: Uint8Array | undefined;
  private readonly reasons: Uint8Array | undefined;
  private readonly flow: number;
  private readonly snapBytes: number;
  private readonly isExact: boolean;
  /** Of the packet at hand: whether a sighting was chosen, and how many found no room. */
  private isChosen = false;
  private missing = 0;
  /** The record of its arrival, -1 if there is none, and its flags: the drop reason goes there. */
  private arrival = -1;
  private arrivalFlags = 0;

  /** @throws RangeError if the selection is not one that a plan can have */
  constructor(memory: FrameMemory, ring: CaptureRingWriter, selection: CaptureSelection) {
    this.memory = memory;
    this.ring = ring;
    this.filter = new FilterMachine(selection.filter);
    this.ports = asSet(selection.ports, 0x10000);
    this.reasons = asSet(selection.dropped, 256);
    this.flow = selection.flow | 0;
    this.snapBytes = Math.max(0, selection.snapBytes | 0);
    this.isExact = selection.exact;
  }

  /** Whether frames that the link layer drops are wanted. */
  get wantsFrames(): boolean {
    return this.reasons !== undefined && this.flow === 0;
  }

  get lease(): number {
    return this.ring.lease;
  }

  begin(): void {
    this.isChosen = false;
    this.missing = 0;
    this.arrival = -1;
  }

  /**
   * A sighting of a packet at `offset` in packet memory (a multiple of 4).
   *
   * @param what `RECORD_RECEIVED` or `RECORD_SENT`
   * @param gso `gso type << 16 | gso size`
   */
  see(
    what: number,
    port: number,
    offset: number,
    lengthBytes: number,
    gso: number,
    partialChecksum: boolean,
    isArrival: boolean,
  ): void {
    const isMatch =
      this.isPort(port) && this.filter.matches(this.memory.bytes, offset, lengthBytes, lengthBytes);
    if (this.isExact && !isMatch) return;
    if (isMatch) this.isChosen = true;
    const kept = lengthBytes < this.snapBytes ? lengthBytes : this.snapBytes;
    const at = this.ring.append((what << 16) | port, this.memory, offset, kept, lengthBytes);
    if (at < 0) {
      this.missing++;
      return;
    }
    const flags = partialChecksum ? RECORD_PARTIAL_CHECKSUM : 0;
    if (isArrival) {
      this.arrival = at;
      this.arrivalFlags = flags;
    }
    if (flags !== 0) this.ring.set(at, RECORD_REASON, flags);
    if (gso !== 0) this.ring.set(at, RECORD_GSO, gso);
  }

  /**
   * A frame that the link layer dropped.
   *
   * @param linkOffset where its link header is
   * @param packetOffset where an IP packet would be; `lengthBytes` count from there
   */
  seeFrame(
    port: number,
    device: number,
    reason: number,
    linkOffset: number,
    packetOffset: number,
    lengthBytes: number,
  ): void {
    if (!this.isPort(port) || !this.isReason(reason)) return;
    if (!this.filter.matches(this.memory.bytes, packetOffset, lengthBytes, lengthBytes)) return;
    const wireBytes = packetOffset - linkOffset + lengthBytes;
    const limit = packetOffset - linkOffset + this.snapBytes;
    const kept = wireBytes < limit ? wireBytes : limit;
    const what = (RECORD_FRAME << 16) | port;
    const at = this.ring.appendBytes(what, this.memory, linkOffset, kept, wireBytes);
    this.isChosen = true;
    if (at < 0) {
      this.missing++;
      return;
    }
    this.ring.set(at, RECORD_DEVICE, device);
    this.ring.set(at, RECORD_REASON, reason);
  }

  /** The packet at hand is done with: `reason` for which it was dropped, 0 if it was not; its flow, 0 if it has none. */
  end(reason: number, flowId: number, packetNumber: number, seconds: number, microseconds: number): void {
    const { ring } = this;
    const isWanted = this.isChosen && this.isReason(reason) && (this.flow === 0 || this.flow === flowId);
    if (!isWanted) {
      if (ring.hasPending) ring.discard();
      return;
    }
    if (this.missing > 0) ring.countLost(this.missing);
    if (reason !== 0 && this.arrival >= 0) ring.set(this.arrival, RECORD_REASON, this.arrivalFlags | reason);
    if (ring.hasPending) ring.commit(flowId, packetNumber, seconds, microseconds);
  }

  /** Nothing will come any more. */
  close(): void {
    this.ring.end();
  }

  private isPort(port: number): boolean {
    return this.ports === undefined || this.ports[port] === 1;
  }

  private isReason(reason: number): boolean {
    return this.reasons === undefined || this.reasons[reason] === 1;
  }
}

function asSet(numbers: readonly number[] | null, size: number): Uint8Array | undefined {
  if (numbers === null) return undefined;
  const set = new Uint8Array(size);
  for (const number of numbers) {
    if (!Number.isInteger(number) || number < 0 || number >= size)
      throw new RangeError(`${number} is too large`);
    set[number] = 1;
  }
  return set;
}
