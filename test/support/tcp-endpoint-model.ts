/**
 * A TCP endpoint for tests: opens, sends its bytes within the window it is offered, repeats, acknowledges,
 * probes, closes. It keeps no data that arrives out of order, knows no time and no congestion: the test calls
 * {@link TcpEndpoint.next} when it may send. Everything is counted from the first sequence number, so nothing
 * wraps inside.
 */
import type { Segment } from './tcp-segments.ts';

/** A segment with, beside its fields on the wire, where it lies counted from the first numbers. */
export interface WireSegment extends Segment {
  readonly offset: number;
  readonly acknowledged: number;
  /** Behind the last of what it carries, SYN and FIN included. */
  readonly end: number;
}

export interface TcpEndpointOptions {
  readonly first: number;
  readonly peerFirst: number;
  readonly bytes: number;
  readonly bufferBytes: number;
  readonly maxSegmentBytes: number;
  readonly scale: number | undefined;
  readonly opens: boolean;
  /** An integer from 0 up to, but not including, its argument. */
  readonly random: (below: number) => number;
}

export class TcpEndpoint {
  private readonly options: TcpEndpointOptions;
  /** Number of the FIN: behind the SYN (0) and all bytes. */
  private readonly finAt: number;
  private unacknowledged = 0;
  private sendNext = 0;
  /** Behind the highest number ever sent; `sendNext` goes back when much is repeated. */
  private sent = 0;
  /** Behind the last number that the peer has allowed. */
  private sendEdge = 1;
  /** Next number expected of the peer; 0 until its SYN has come. */
  private received = 0;
  private peerFinished = false;
  /** Bytes received that the application has not taken. */
  private unread = 0;
  /** Behind the last number that we have allowed: may not move back. */
  private offeredEdge = 0;
  private peerScale: number | undefined;

  constructor(options: TcpEndpointOptions) {
    this.options = options;
    this.finAt = 1 + options.bytes;
  }

  /** Everything sent is acknowledged, and the peer's FIN has come. */
  get done(): boolean {
    return this.peerFinished && this.unacknowledged > this.finAt;
  }

  /** Whether a segment to this endpoint ended more than a window before what it has received. */
  isOldDuplicate(segment: WireSegment): boolean {
    return segment.end < this.received - this.options.bufferBytes;
  }

  describe(): string {
    return `una ${this.unacknowledged} nxt ${this.sendNext} edge ${this.sendEdge} fin ${this.finAt} rcv ${this.received}`;
  }

  /** Something to send, if there is anything: new data, a repetition, a probe, a keep-alive, an ACK. */
  next(): WireSegment | undefined {
    const { random, opens, maxSegmentBytes } = this.options;
    if (this.done || (this.received === 0 && !opens)) return undefined;
    this.read();
    if (this.unacknowledged === 0) {
      this.sendNext = Math.max(this.sendNext, 1);
      return this.make(0, 1);
    }
    if (this.received === 0) return undefined;
    const inFlight = this.sendNext - this.unacknowledged;
    if (inFlight > 0 && random(3) === 0) {
      const length = 1 + random(Math.min(inFlight, maxSegmentBytes));
      if (random(2) === 0) this.sendNext = this.unacknowledged + length;
      return this.make(this.unacknowledged, length);
    }
    const left = Math.min(this.finAt + 1, this.sendEdge) - this.sendNext;
    if (left > 0) {
      const offset = this.sendNext;
      const length = Math.min(left, 1 + random(maxSegmentBytes));
      this.sendNext += length;
      return this.make(offset, length);
    }
    if (inFlight === 0 && this.sendNext < this.finAt && random(2) === 0) {
      // The window is closed: one byte beyond it, or nothing in front of it.
      this.sendNext++;
      return this.make(this.sendNext - 1, 1);
    }
    return random(4) === 0 ? this.make(this.unacknowledged - 1, 0) : this.make(this.sent, 0);
  }

  /** Takes a segment; returns the answer, if it calls for one. */
  receive(segment: WireSegment): WireSegment | undefined {
    const isSyn = segment.flags.includes('S');
    if (isSyn && this.received === 0) {
      this.received = 1;
      this.peerScale = segment.scale;
    }
    if (this.received === 0) return undefined;
    if (segment.flags.includes('A')) this.takeAcknowledgment(segment, isSyn);
    if (segment.end === segment.offset) {
      // Nothing to acknowledge, unless it is a keep-alive.
      return segment.offset < this.received ? this.make(this.sent, 0) : undefined;
    }
    if (this.unacknowledged === 0) return undefined;
    const room = this.received + this.options.bufferBytes - this.unread;
    if (segment.offset <= this.received && segment.end > this.received) {
      const taken = Math.min(segment.end, room);
      if (taken > this.received) {
        this.unread += taken - this.received;
        this.received = taken;
        if (taken === segment.end && segment.flags.includes('F')) this.peerFinished = true;
      }
    }
    this.read();
    return this.options.random(2) === 0 || this.done ? this.make(this.sent, 0) : undefined;
  }

  private takeAcknowledgment(segment: WireSegment, isSyn: boolean): void {
    this.unacknowledged = Math.max(this.unacknowledged, Math.min(segment.acknowledged, this.sent));
    this.sendNext = Math.max(this.sendNext, this.unacknowledged);
    const scaled = !isSyn && this.peerScale !== undefined && this.options.scale !== undefined;
    const window = segment.window! * 2 ** (scaled ? this.peerScale! : 0);
    this.sendEdge = Math.max(this.sendEdge, segment.acknowledged + window);
  }

  /** The application takes some of what has arrived. */
  private read(): void {
    this.unread -= this.options.random(this.unread + 1);
  }

  /** A segment of `length` numbers from `offset`, SYN and FIN counted. */
  private make(offset: number, length: number): WireSegment {
    const { first, peerFirst, bufferBytes, scale } = this.options;
    this.sent = Math.max(this.sent, offset + length);
    const isSyn = offset === 0 && length > 0;
    const isFin = offset + length > this.finAt && length > 0;
    const acknowledges = this.received > 0;
    const shift = !isSyn && scale !== undefined && this.peerScale !== undefined ? scale : 0;
    const wanted = Math.max(this.received + bufferBytes - this.unread, this.offeredEdge) - this.received;
    // Rounded up, lest the edge move back.
    const window = Math.min(65535, Math.ceil(wanted / 2 ** shift));
    this.offeredEdge = Math.max(this.offeredEdge, this.received + window * 2 ** shift);
    return {
      flags: `${isSyn ? 'S' : ''}${isFin ? 'F' : ''}${acknowledges ? 'A' : ''}`,
      sequence: first + offset,
      acknowledgment: acknowledges ? peerFirst + this.received : 0,
      lengthBytes: length - (isSyn ? 1 : 0) - (isFin ? 1 : 0),
      window,
      ...(isSyn && scale !== undefined && (!acknowledges || this.peerScale !== undefined) ? { scale } : {}),
      offset,
      acknowledged: this.received,
      end: offset + length,
    };
  }
}
