/**
 * Timing wheel of held slots: which hold ends next, for holds of any length, in O(1).
 *
 * ```
 *  bucket   0      1     ...     cursor            ...              8191
 *         +------+------+------+--------+------+------+------+------+------+
 *         |      |      |      | oldest |      |  1024 ms each      |      |   8389 s a turn
 *         +------+------+------+--------+------+------+------+------+------+
 * ```
 *
 * A slot lies in the bucket of the 1024 ms in which its hold ends; a bucket is emptied when those are over,
 * so a hold lasts up to one second longer than asked for. A hold longer than a turn lies in the last bucket of
 * the turn and is put in again from there. Whether a hold has ended is always asked of the slot itself, so that
 * a wheel that stood still for long is late and never early.
 *
 * Neighbours: `slot-lists.ts` (the buckets), `translation.ts`.
 */
import { holdRuns } from './hold-time.ts';
import type { SlotLists } from './slot-lists.ts';
import { SLOT_UNTIL, SLOT_WORDS } from './translation-layout.ts';

const TICK_SHIFT = 10;
/** Lists that a wheel takes of its {@link SlotLists}, from number 0. */
export const WHEEL_LISTS = 8192;

export class HoldWheel {
  private readonly words: Int32Array;
  private readonly firstSlotAt: number;
  private readonly lists: SlotLists;
  /** Tick whose bucket is emptied next: `nowMs >> 10`, so 22 bits, signed. */
  private cursor: number;

  constructor(words: Int32Array, firstSlotAt: number, lists: SlotLists, nowMs: number) {
    this.words = words;
    this.firstSlotAt = firstSlotAt;
    this.lists = lists;
    this.cursor = nowMs >> TICK_SHIFT;
  }

  /** Puts a held slot in, which is in no list, by the end of its hold. */
  add(slot: number): void {
    const tick = this.words[this.firstSlotAt + slot * SLOT_WORDS + SLOT_UNTIL]! >> TICK_SHIFT;
    let ahead = tickDifference(tick, this.cursor);
    if (ahead < 0) ahead = 0;
    else if (ahead >= WHEEL_LISTS) ahead = WHEEL_LISTS - 1;
    this.lists.append((this.cursor + ahead) & (WHEEL_LISTS - 1), slot);
  }

  /** Takes out and returns a slot whose hold has ended, the oldest first (to one tick), or -1. */
  takeEnded(nowMs: number): number {
    const now = nowMs >> TICK_SHIFT;
    for (;;) {
      const behind = tickDifference(now, this.cursor);
      if (behind <= 0) return -1;
      // After a long stand-still every bucket is visited once, not once a tick.
      if (behind > WHEEL_LISTS) this.cursor = tickDifference(now, WHEEL_LISTS);
      const slot = this.lists.first(this.cursor & (WHEEL_LISTS - 1));
      if (slot < 0) {
        this.cursor = tickDifference(this.cursor, -1);
        continue;
      }
      this.lists.remove(slot);
      const until = this.words[this.firstSlotAt + slot * SLOT_WORDS + SLOT_UNTIL]!;
      if (!holdRuns(until, nowMs)) return slot;
      this.add(slot);
    }
  }

  /** What {@link takeEnded} would give until it gives nothing, in that order; they stay. Allocates. */
  ended(nowMs: number): number[] {
    const now = nowMs >> TICK_SHIFT;
    const slots: number[] = [];
    const behind = Math.min(tickDifference(now, this.cursor), WHEEL_LISTS);
    for (let back = behind; back > 0; back--) {
      const bucket = tickDifference(now, back) & (WHEEL_LISTS - 1);
      for (let slot = this.lists.first(bucket); slot >= 0; slot = this.lists.after(slot)) {
        const until = this.words[this.firstSlotAt + slot * SLOT_WORDS + SLOT_UNTIL]!;
        if (!holdRuns(until, nowMs)) slots.push(slot);
      }
    }
    return slots;
  }
}

/** `a - b` of ticks, which wrap at 22 bits. */
function tickDifference(a: number, b: number): number {
  return ((a - b) << TICK_SHIFT) >> TICK_SHIFT;
}
