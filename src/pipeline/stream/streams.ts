/**
 * TCP streams that plugins read: which bytes a segment may carry on, which are held back, which come too late
 * (RFC 9293 3.10.7.4). One policy for whatever a sender does: **the first copy of a byte that is taken is the one that
 * plugins see, and the only one that is ever delivered.** docs/streams.md has every case.
 *
 * ```
 *  a segment  ──  checksum right?  ──  what is acknowledged already: cut off
 *                                  ──  what is known already: made equal to what is remembered
 *
 *    begins behind NEXT    held back, till what is missing comes, or GAP_MS
 *    ends at NEXT or before    retransmission: passes as far as JUDGED
 *    reaches beyond NEXT    remembered, shown ──┬─ passes: leaves as it is; then what was held behind it
 *                                              ├─ needs more: held back, HOLD_MS at most
 *                                              └─ ends the flow
 * ```
 *
 * Remembered until the receiver acknowledges it: what was delivered, lest a retransmission brings something else to a
 * receiver that did not get the first copy. That is bounded by the window: plugins' streams are offered
 * {@link STREAM_BOUND_BYTES} at most, so a sender never has more under way, and nothing is lost for want of room.
 *
 * Everything that is held back was never acknowledged, so its sender still has it: dropping it loses nothing.
 * Neighbours: `stream-layout.ts` (the words), `stream-readers.ts`, `held-departure.ts`, `pipeline.ts` (calls all).
 */
import { RECORD_WORDS, SHARED_TCP } from '../../flow/layout.ts';
import { endOf, STATE_RESET, STATE_SYN_SENT, scaleOf, stateOf } from '../../flow/tcp-endpoint.ts';
import { FOLLOWS_MORE, FOLLOWS_NO_ROOM } from '../../plugin/contract.ts';
import { DROP } from '../../plugin/drop-reasons.ts';
import { verifyTransportChecksum } from '../../wire/checksum.ts';
import { GSO_NONE, type PacketView, TCP_FIN, TCP_RST, TCP_SYN, TCP_URG } from '../../wire/packet.ts';
import { hasStamp, offersSack, stampOf } from './duplicate-acks.ts';
import { clampWindow, clearUrgent, cutFront, cutTail, resum, setFlags } from './segment-surgery.ts';
import {
  DEAD,
  DONE_AT,
  FIN_AT,
  FINISHED,
  FIRST_HELD,
  FLAGS,
  FROM,
  GAP_SINCE,
  HAS_PEER_STAMP,
  JUDGED,
  LIMIT,
  LOW,
  NEXT,
  OPEN,
  PEER_STAMP,
  PEER_WINDOW,
  PROGRESS,
  READERS,
  RECENT_STAMP,
  START,
  TAKES_SACK,
  UNDECIDED_SINCE,
  UNLIMITED,
  UNREAD,
} from './stream-layout.ts';
import { GATHERED, type ReadFlow, type StreamShow } from './stream-readers.ts';
import type { StreamTable } from './stream-table.ts';

/** The segment leaves, perhaps changed. */
export const TAKEN_LEAVES = 0;
/** The segment is held back, or all of it is held back already: there is nothing to send. */
export const TAKEN_KEPT = -1;
/** The same, because something is missing before it. */
export const TAKEN_EARLY = -3;
/** The flow ends: `StreamShow.reason` says why. */
export const TAKEN_ENDS = -2;

/** What one direction may have under way: sent and not acknowledged, held back included. */
export const STREAM_BOUND_BYTES = 262_144;

export class Streams {
  /** Segments in which a byte was another one than the first copy of it, or behind the FIN. */
  conflicts = 0;
  private readonly table: StreamTable;
  private readonly shows: StreamShow;
  private readonly flows: Int32Array;
  /** Of the segment that is being taken. */
  private isChanged = false;
  private portWord = 0;
  private fragmentLimit = 0;

  /** `flows`: the words of the flow records. */
  constructor(table: StreamTable, shows: StreamShow, flows: Int32Array) {
    this.table = table;
    this.shows = shows;
    this.flows = flows;
  }

  /**
   * Opens the streams of a new flow, whose SYN `view` is. `limits`: what plugins want, 16 words a direction, -1 for
   * everything. Returns 0 or a drop reason.
   */
  open(record: number, space: number, limits: Int32Array, view: PacketView, nowMs: number): number {
    if (!verifyTransportChecksum(view)) return DROP.tcp_checksum;
    const slot = this.table.open(record, space);
    if (slot < 0) return DROP.stream_memory;
    const { words, asked } = this.table;
    asked[record] = 0;
    for (let direction = 0; direction < 2; direction++) {
      const at = this.table.blockOf(slot, direction);
      words[at + PROGRESS] = nowMs;
      for (let i = 0; i < 16; i++) {
        const limit = limits[direction * 16 + i];
        if (limit === 0) continue;
        asked[record] |= 1 << (direction * 16 + i);
        words[at + READERS] |= 1 << i;
        if (limit < 0) words[at + UNLIMITED] |= 1 << i;
        words[at + LIMIT + i] = limit;
      }
      if (words[at + READERS] !== 0) words[at + FLAGS] = 0;
    }
    const at = this.table.blockOf(slot, 0);
    this.begin(at, view);
    this.cutData(view, at);
    return 0;
  }

  /**
   * Takes a segment of `flow` that TCP tracking has passed. Answers one of `TAKEN_...`, or a drop reason; whatever it says, held
   * segments may be releasable now: {@link isReleasable}.
   *
   * @param portWord of the port that it came in by
   * @param fragmentLimit size of the largest fragment it came in, 0 if it came whole
   */
  take(
    view: PacketView,
    slot: number,
    flow: ReadFlow,
    portWord: number,
    fragmentLimit: number,
    nowMs: number,
  ): number {
    const { words } = this.table;
    const direction = flow.direction;
    const base = flow.record * RECORD_WORDS;
    const at = this.table.blockOf(slot, direction);
    const other = this.table.blockOf(slot, direction ^ 1);
    if (this.isLookedAt(view, at, other) && view.gsoType === GSO_NONE && !verifyTransportChecksum(view))
      return DROP.tcp_checksum;
    const flags = words[at + FLAGS];
    const tcp = this.flows[base + SHARED_TCP];
    const isRst = (view.tcpFlags & TCP_RST) !== 0;
    if (!isRst && (words[other + FLAGS] & UNREAD) === 0)
      this.noteReceiver(view, other, scaleOf(tcp, direction));
    if (isRst || (view.tcpFlags & TCP_SYN) !== 0) return this.takeControl(view, slot, at, direction, tcp);
    this.forget(slot, other, view.acknowledgment, nowMs);
    if ((flags & (UNREAD | OPEN)) === UNREAD || isBare(view)) return TAKEN_LEAVES;
    if ((flags & (DEAD | OPEN)) !== OPEN) return DROP.tcp_state;
    if ((flags & UNREAD) !== 0 && ((view.sequence - words[at + DONE_AT]) | 0) >= 0) return TAKEN_LEAVES;
    this.isChanged = false;
    this.portWord = portWord;
    this.fragmentLimit = fragmentLimit;
    const taken =
      (flags & UNREAD) !== 0 ? this.compare(view, at) : this.takeSegment(view, slot, at, flow, nowMs);
    if (taken === TAKEN_LEAVES && this.isChanged) resum(view);
    return taken;
  }

  /**
   * Whether what a segment says counts here, so that it must be as its sender wrote it: anything but bytes that nobody
   * reads, and that acknowledge nothing new.
   */
  private isLookedAt(view: PacketView, at: number, other: number): boolean {
    const { words } = this.table;
    if (view.payloadLength === 0 || (view.tcpFlags & (TCP_SYN | TCP_RST)) !== 0) return true;
    if ((words[other + FLAGS] & OPEN) !== 0 && ((view.acknowledgment - words[other + LOW]) | 0) > 0)
      return true;
    const flags = words[at + FLAGS];
    if ((flags & UNREAD) === 0) return true;
    return (flags & OPEN) !== 0 && ((view.sequence - words[at + DONE_AT]) | 0) < 0;
  }

  /** Whether the first held segment of a block may go. */
  isReleasable(at: number): boolean {
    const held = this.table.words[at + FIRST_HELD];
    return held >= 0 && ((this.table.held.end(held) - this.table.words[at + JUDGED]) | 0) <= 0;
  }

  /** Whether there is nothing left to do for a flow: nobody reads, and all that was read is acknowledged. */
  isFinished(slot: number): boolean {
    return this.isPast(this.table.blockOf(slot, 0)) && this.isPast(this.table.blockOf(slot, 1));
  }

  private isPast(at: number): boolean {
    return (this.table.words[at + FLAGS] & (UNREAD | OPEN | DEAD)) === UNREAD;
  }

  /** Up to where the bytes of a block were delivered; `otherwise` if it has not begun. */
  deliveredTo(at: number, otherwise: number): number {
    const { words } = this.table;
    return (words[at + FLAGS] & OPEN) === 0 ? otherwise : words[at + JUDGED];
  }

  /** What the receiver of a direction acknowledges need not be remembered. */
  private forget(slot: number, at: number, acknowledgment: number, nowMs: number): void {
    const { words, pages } = this.table;
    if ((words[at + FLAGS] & (OPEN | DEAD)) !== OPEN) return;
    let low = acknowledgment;
    // Who acknowledges what was not delivered must not get it unseen.
    if (((low - words[at + JUDGED]) | 0) > 0) low = words[at + JUDGED];
    const first = words[at + FIRST_HELD];
    if (first >= 0 && ((low - this.table.held.start(first)) | 0) > 0) low = this.table.held.start(first);
    if (((low - words[at + LOW]) | 0) <= 0) return;
    words[at + LOW] = low;
    words[at + PROGRESS] = nowMs;
    const space = this.table.spaceOf(slot);
    const isDone = (words[at + FLAGS] & UNREAD) !== 0 && ((low - words[at + DONE_AT]) | 0) >= 0;
    // Nothing is compared any more. These numbers stand still from here on, and all others will be behind them one day.
    if (isDone) words[at + FLAGS] &= ~OPEN;
    // Else the page in which the stream stands would stay, however long nothing comes.
    if (isDone || (low === words[at + NEXT] && words[at + FIRST_HELD] < 0)) pages.clear(at, space);
    else pages.forget(at, space, low);
  }

  /** What the receiver of a direction says of itself; and the window that it offers is made no larger than the bound. */
  private noteReceiver(view: PacketView, at: number, scale: number): void {
    const { words } = this.table;
    // A SYN's is not scaled, and never larger.
    if ((view.tcpFlags & TCP_SYN) !== 0) words[at + PEER_WINDOW] = view.window >>> scale;
    else {
      clampWindow(view, STREAM_BOUND_BYTES >>> scale);
      words[at + PEER_WINDOW] = view.window;
    }
    if (!hasStamp(view)) return;
    words[at + PEER_STAMP] = stampOf();
    words[at + FLAGS] |= HAS_PEER_STAMP;
  }

  /** A SYN or a reset. Neither carries on data: it comes again when the connection is open, or is of no use. */
  private takeControl(view: PacketView, slot: number, at: number, direction: number, tcp: number): number {
    this.cutData(view, at);
    const state = stateOf(tcp, direction);
    if ((view.tcpFlags & TCP_SYN) !== 0 && state === STATE_SYN_SENT) this.begin(at, view);
    if ((view.tcpFlags & TCP_RST) !== 0 && state === STATE_RESET) {
      for (let side = 0; side < 2; side++) {
        this.table.clear(slot, side);
        this.table.words[this.table.blockOf(slot, side) + FLAGS] |= DEAD;
      }
    }
    return TAKEN_LEAVES;
  }

  /** Takes the data off a SYN (RFC 7413) or a reset, if somebody reads this direction. */
  private cutData(view: PacketView, at: number): void {
    if (view.payloadLength === 0 || (this.table.words[at + FLAGS] & (UNREAD | OPEN)) === UNREAD) return;
    cutTail(view, 0);
    resum(view);
  }

  /** The SYN of a direction: says where its bytes begin, unless some have come already. */
  private begin(at: number, view: PacketView): void {
    const { words } = this.table;
    if (words[at + READERS] === 0) return;
    if ((words[at + FLAGS] & OPEN) !== 0 && words[at + NEXT] !== words[at + START]) return;
    if (words[at + FIRST_HELD] >= 0) return;
    const isAgain = (words[at + FLAGS] & OPEN) !== 0;
    const before = words[at + START];
    const start = (view.sequence + 1) | 0;
    words[at + FLAGS] |= OPEN;
    if (offersSack(view)) words[at + FLAGS] |= TAKES_SACK;
    if (hasStamp(view)) words[at + RECENT_STAMP] = stampOf();
    words[at + START] = start;
    words[at + NEXT] = start;
    words[at + JUDGED] = start;
    words[at + LOW] = start;
    for (let i = 0; i < 16; i++) {
      words[at + FROM + i] = start;
      words[at + LIMIT + i] = (words[at + LIMIT + i] + start - (isAgain ? before : 0)) | 0;
    }
  }

  /** A segment of a stream that somebody reads. */
  private takeSegment(view: PacketView, slot: number, at: number, flow: ReadFlow, nowMs: number): number {
    const { words, held, pages } = this.table;
    const space = this.table.spaceOf(slot);
    if ((view.tcpFlags & TCP_URG) !== 0) {
      clearUrgent(view);
      this.isChanged = true;
    }
    if (((endOfData(view) - words[at + LOW] - STREAM_BOUND_BYTES) | 0) > 0) return DROP.stream_memory;
    this.checkFin(view, at);
    if (!this.reconcile(view, at)) return TAKEN_LEAVES;
    const start = view.sequence;
    const dataEnd = endOfData(view);
    const end = endOf(view);
    const next = words[at + NEXT];
    if (((end - next) | 0) <= 0) return this.repeat(view, at, end);
    if (((start - next) | 0) > 0) return this.holdEarly(view, slot, at, nowMs);
    if (hasStamp(view)) words[at + RECENT_STAMP] = stampOf();

    const freshOffset = view.payloadOffset + ((next - start) | 0);
    const mayHold = held.hasRoom(at, space, view, false);
    if (!pages.write(at, space, next, freshOffset, (dataEnd - next) | 0, false)) return DROP.stream_memory;
    this.noteFin(view, at, dataEnd);
    const isBehindHeld = words[at + JUDGED] !== next;
    // Before a plugin is called, which may be ended in that.
    if (!isBehindHeld) words[at + UNDECIDED_SINCE] = nowMs;
    held.cut(at, next, end);
    words[at + NEXT] = end;
    words[at + GAP_SINCE] = nowMs;
    words[at + PROGRESS] = nowMs;
    if (this.shows.show(at, flow, next, freshOffset, mayHold ? FOLLOWS_MORE : FOLLOWS_NO_ROOM) !== 0)
      return TAKEN_ENDS;
    const isUndecided = ((words[at + JUDGED] - end) | 0) < 0;
    // Where there is no place for it the plugins have decided, and it leaves in front of what was held.
    if (!mayHold || !(isBehindHeld || isUndecided)) {
      return this.catchUp(at, flow, nowMs) ? TAKEN_LEAVES : TAKEN_ENDS;
    }
    held.insert(at, space, next, end, view, this.portWord, this.fragmentLimit);
    return this.catchUp(at, flow, nowMs) ? TAKEN_KEPT : TAKEN_ENDS;
  }

  /** Shows what was held back because it came early, as far as nothing is missing before it. */
  private catchUp(at: number, flow: ReadFlow, nowMs: number): boolean {
    const { words, held } = this.table;
    for (let one = this.firstEarly(at); one >= 0; one = held.next(one)) {
      const fresh = words[at + NEXT];
      if (held.start(one) !== fresh || (words[at + FLAGS] & UNREAD) !== 0) return true;
      words[at + NEXT] = held.end(one);
      if (words[at + JUDGED] === fresh) words[at + UNDECIDED_SINCE] = nowMs;
      if (this.shows.show(at, flow, fresh, GATHERED, FOLLOWS_MORE) !== 0) return false;
    }
    return true;
  }

  /** A segment of which all is known: a retransmission. What its receiver may have is delivered again. */
  private repeat(view: PacketView, at: number, end: number): number {
    const judged = this.table.words[at + JUDGED];
    if (((end - judged) | 0) <= 0) return TAKEN_LEAVES;
    const length = (judged - view.sequence) | 0;
    if (length <= 0) return TAKEN_KEPT;
    cutTail(view, length < view.payloadLength ? length : view.payloadLength);
    setFlags(view, view.tcpFlags & ~TCP_FIN);
    this.isChanged = true;
    return TAKEN_LEAVES;
  }

  /** A segment before which something is missing. */
  private holdEarly(view: PacketView, slot: number, at: number, nowMs: number): number {
    const { words, held, pages } = this.table;
    const start = view.sequence;
    const end = endOf(view);
    if (held.covers(at, start, end)) return TAKEN_EARLY;
    const space = this.table.spaceOf(slot);
    if (!held.hasRoom(at, space, view, true)) return DROP.stream_memory;
    if (!pages.write(at, space, start, view.payloadOffset, view.payloadLength, true))
      return DROP.stream_memory;
    this.noteFin(view, at, endOfData(view));
    if (this.firstEarly(at) < 0) words[at + GAP_SINCE] = nowMs;
    held.insert(at, space, start, end, view, this.portWord, this.fragmentLimit);
    return TAKEN_EARLY;
  }

  /** Nobody reads any more, but what was read must not come in another form. */
  private compare(view: PacketView, at: number): number {
    this.reconcile(view, at);
    return TAKEN_LEAVES;
  }

  /**
   * Cuts off what is acknowledged and makes what is known equal to what is remembered. False if no byte and no FIN is
   * left: the segment asks for an acknowledgment, and its receiver will answer.
   */
  private reconcile(view: PacketView, at: number): boolean {
    const { words, held } = this.table;
    const behind = (words[at + LOW] - view.sequence) | 0;
    const isFin = (view.tcpFlags & TCP_FIN) !== 0;
    if (behind > 0 && view.payloadLength > 0) {
      if (behind < view.payloadLength) cutFront(view, behind);
      else if (isFin) cutFront(view, view.payloadLength);
      else cutTail(view, 0);
      this.isChanged = true;
    }
    if (view.payloadLength === 0) return isFin;
    const isRead = (words[at + FLAGS] & UNREAD) === 0;
    let isOther = this.restore(view, at, view.sequence, isRead ? words[at + NEXT] : words[at + DONE_AT]);
    if (isRead) {
      for (let one = this.firstEarly(at); one >= 0; one = held.next(one)) {
        if (this.restore(view, at, held.start(one), held.end(one))) isOther = true;
      }
    }
    if (isOther) this.noteConflict();
    return true;
  }

  /** Makes the bytes from `from` to `to` that the segment has equal to those remembered; whether any was another one. */
  private restore(view: PacketView, at: number, from: number, to: number): boolean {
    const { words, pages } = this.table;
    const start = view.sequence;
    const dataEnd = endOfData(view);
    let last = ((to - dataEnd) | 0) < 0 ? to : dataEnd;
    if ((words[at + FLAGS] & FINISHED) !== 0 && ((last - words[at + FIN_AT]) | 0) > 0)
      last = words[at + FIN_AT];
    const first = ((from - start) | 0) > 0 ? from : start;
    const count = (last - first) | 0;
    return count > 0 && pages.restore(at, first, count, view.payloadOffset + ((first - start) | 0));
  }

  /** The first FIN counts, and no byte behind it; no FIN in front of a byte that has come. */
  private checkFin(view: PacketView, at: number): void {
    const { words } = this.table;
    const isFin = (view.tcpFlags & TCP_FIN) !== 0;
    const dataEnd = endOfData(view);
    if ((words[at + FLAGS] & FINISHED) === 0) {
      if (!isFin) return;
      if (((this.lastEnd(at) - dataEnd) | 0) <= 0) return;
    } else {
      const over = (dataEnd - words[at + FIN_AT]) | 0;
      if (over <= 0 && (!isFin || over === 0)) return;
      if (over > 0) cutTail(view, over < view.payloadLength ? view.payloadLength - over : 0);
    }
    setFlags(view, view.tcpFlags & ~TCP_FIN);
    this.noteConflict();
  }

  /** The segment is taken, and its FIN with it. */
  private noteFin(view: PacketView, at: number, dataEnd: number): void {
    if ((view.tcpFlags & TCP_FIN) === 0) return;
    this.table.words[at + FIN_AT] = dataEnd;
    this.table.words[at + FLAGS] |= FINISHED;
  }

  private noteConflict(): void {
    this.conflicts++;
    this.isChanged = true;
  }

  /** The first held segment before which something is missing, or -1. */
  private firstEarly(at: number): number {
    const { words, held } = this.table;
    const next = words[at + NEXT];
    let one = words[at + FIRST_HELD];
    while (one >= 0 && ((held.start(one) - next) | 0) < 0) one = held.next(one);
    return one;
  }

  /** One more than the last number that has come. */
  private lastEnd(at: number): number {
    const { words, held } = this.table;
    let last = words[at + NEXT];
    for (let one = words[at + FIRST_HELD]; one >= 0; one = held.next(one)) {
      if (((held.end(one) - last) | 0) > 0) last = held.end(one);
    }
    return last;
  }
}

/** Whether a segment is an acknowledgment and no more. */
function isBare(view: PacketView): boolean {
  return view.payloadLength === 0 && (view.tcpFlags & (TCP_FIN | TCP_URG)) === 0;
}

/** One more than the number of the last byte. */
function endOfData(view: PacketView): number {
  return (view.sequence + view.payloadLength) | 0;
}
