/**
 * What ends by time in streams that plugins read: gaps, bytes held back for a plugin, and, while memory runs short,
 * streams whose receiver acknowledges nothing.
 *
 * ```
 *   held back, something missing before it   GAP_MS       dropped: its sender has it still
 *   held back, a plugin needs more           HOLD_MS      the plugin must decide
 *   nothing delivered or acknowledged        STALLED_MS   the flow ends, if more than 3/4 of the pages are in use
 * ```
 *
 * Neighbours: `streams.ts` (the rules), `pipeline.ts` (what follows for the flow).
 */
import { FOLLOWS_TOO_LATE } from '../../plugin/contract.ts';
import { DROP } from '../../plugin/drop-reasons.ts';
import {
  FIN_AT,
  FINISHED,
  FIRST_HELD,
  FLAGS,
  GAP_SINCE,
  JUDGED,
  LOW,
  NEXT,
  OPEN,
  PAGES,
  PROGRESS,
  UNDECIDED_SINCE,
  UNREAD,
} from './stream-layout.ts';
import { GATHERED, type ReadFlow, type StreamShow } from './stream-readers.ts';
import type { StreamTable } from './stream-table.ts';

/** Long enough for several retransmission time-outs (RFC 6298: 1 s, 2 s, 4 s, ...). */
export const GAP_MS = 30_000;
/** A sender whose window is full will not send more however long it is waited for. */
export const HOLD_MS = 5_000;
/** As long as RFC 9293 (3.8.3) lets a sender try, at least. */
export const STALLED_MS = 120_000;
/** The whole table is looked at once in so many milliseconds. */
const ROUND_MS = 2_000;

/** What the sweep cannot do itself. */
export interface StreamOwner {
  describeFlow(record: number, direction: number): ReadFlow;
  /** Held segments of this direction may go. */
  release(record: number, direction: number, nowMs: number): void;
  /**
   * The flow ends; why is `reason`, a drop reason. `tells`: both ends are told. Called for a direction of which something is
   * held or remembered.
   */
  endStream(record: number, direction: number, reason: number, tells: boolean, nowMs: number): void;
  /** A held segment that came in by the port of this word is dropped. */
  dropHeld(portWord: number, reason: number): void;
}

export class StreamSweep {
  private readonly table: StreamTable;
  private readonly shows: StreamShow;
  private readonly owner: StreamOwner;
  private sweptMs: number;

  constructor(table: StreamTable, shows: StreamShow, owner: StreamOwner, nowMs: number) {
    this.table = table;
    this.shows = shows;
    this.owner = owner;
    this.sweptMs = nowMs;
  }

  /** Looks at as many flows as the time since the last call asks for. */
  sweep(nowMs: number): void {
    const elapsedMs = (nowMs - this.sweptMs) | 0;
    if (elapsedMs <= 0) return;
    this.sweptMs = nowMs;
    const { table } = this;
    if (table.flows === 0) return;
    let left = Math.ceil((table.capacity * Math.min(elapsedMs, ROUND_MS)) / ROUND_MS);
    while (left > 0) {
      const slot = table.sweep(left);
      left -= table.lookedAt;
      if (slot < 0) return;
      if (this.look(slot, 0, nowMs)) this.look(slot, 1, nowMs);
    }
  }

  /** False if the flow has ended. */
  private look(slot: number, direction: number, nowMs: number): boolean {
    const { table, owner } = this;
    const { words } = table;
    const at = table.blockOf(slot, direction);
    const record = table.recordOf(slot);
    if ((words[at + FLAGS] & OPEN) === 0) return true;
    const isUndecided = ((words[at + NEXT] - words[at + JUDGED]) | 0) > 0;
    if (isUndecided && since(words[at + UNDECIDED_SINCE], nowMs) >= HOLD_MS) {
      if (
        this.shows.show(
          at,
          owner.describeFlow(record, direction),
          words[at + NEXT],
          GATHERED,
          FOLLOWS_TOO_LATE,
        ) !== 0
      ) {
        owner.endStream(record, direction, this.shows.reason, this.shows.reset, nowMs);
        return false;
      }
      owner.release(record, direction, nowMs);
      if (table.recordOf(slot) !== record) return false;
    }
    const isReading = (words[at + FLAGS] & UNREAD) === 0;
    if (isReading && words[at + FIRST_HELD] >= 0 && since(words[at + GAP_SINCE], nowMs) >= GAP_MS) {
      this.dropEarly(slot, at);
    }
    if (this.isShort() && words[at + PAGES] > 0 && since(words[at + PROGRESS], nowMs) >= STALLED_MS) {
      owner.endStream(record, direction, DROP.stream_memory, true, nowMs);
      return false;
    }
    return true;
  }

  private dropEarly(slot: number, at: number): void {
    const { table, owner } = this;
    const next = table.words[at + NEXT];
    const space = table.spaceOf(slot);
    table.held.dropFrom(at, next, (portWord) => owner.dropHeld(portWord, DROP.stream_gap));
    // A FIN that was dropped may come elsewhere: nobody has seen it.
    const isFinAhead = ((table.words[at + FIN_AT] - next) | 0) >= 0;
    if (isFinAhead) table.words[at + FLAGS] &= ~FINISHED;
    if (table.words[at + LOW] === next) table.pages.clear(at, space);
    else table.pages.forgetFrom(at, space, next);
  }

  private isShort(): boolean {
    return this.table.pages.used * 4 > this.table.pages.capacity * 3;
  }
}

function since(thenMs: number, nowMs: number): number {
  return (nowMs - thenMs) | 0;
}
