/**
 * The bytes of streams, in a fixed number of pages of packet memory: what was inspected and not acknowledged, and what
 * is held back.
 *
 * A byte lies where its sequence number says, so nothing has to be moved when segments overlap, and segments of
 * one byte share a page:
 *
 * ```
 *   sequence number   31                11 10          0
 *                    +--------------------+-------------+
 *                    | number of the page | place in it |      numbers wrap with the sequence number
 *                    +--------------------+-------------+
 *   stream: FIRST_PAGE ─> page 41 ─> page 42 ─> page 44 <─ LAST_PAGE        (nothing has come for 43)
 * ```
 *
 * Which bytes of a page were written is the caller's knowledge. A space (a site or an egress) gets at most half of the
 * pages, and no page that another site is owed (`flow/site-shares.ts`); what came out of order gets half of that. So nobody takes the room that others need to go on: what came out of order can be sent again.
 *
 * Neighbours: `stream-layout.ts` (the words), `stream-table.ts`, `streams.ts`.
 */
import { SiteShares } from '../../flow/site-shares.ts';
import type { FrameMemory } from '../../wire/frame.ts';
import { FIRST_PAGE, LAST_PAGE, PAGES } from './stream-layout.ts';

const PAGE_SHIFT = 11;
/** Bytes of a page. */
export const STREAM_PAGE_BYTES = 1 << PAGE_SHIFT;
const PLACE_MASK = STREAM_PAGE_BYTES - 1;
const NUMBER_MASK = (1 << (32 - PAGE_SHIFT)) - 1;
/** Numbers above half are behind: see {@link isBefore}. */
const HALF = (NUMBER_MASK + 1) >>> 1;

export class StreamPages {
  readonly capacity: number;
  /** Pages in use. */
  used = 0;
  private readonly bytes: Uint8Array;
  private readonly words: Int32Array;
  private readonly poolOffset: number;
  private readonly next: Int32Array;
  private readonly numbers: Int32Array;
  private readonly free: Int32Array;
  /** Whose pages they are. */
  readonly shares = new SiteShares();

  /**
   * @param words the streams' blocks, whose lists of pages are kept here
   * @param poolOffset where the pages begin in packet memory
   */
  constructor(memory: FrameMemory, words: Int32Array, poolOffset: number, poolBytes: number) {
    this.bytes = memory.bytes;
    this.words = words;
    this.poolOffset = poolOffset;
    this.capacity = Math.floor(poolBytes / STREAM_PAGE_BYTES);
    this.next = new Int32Array(this.capacity);
    this.numbers = new Int32Array(this.capacity);
    this.free = new Int32Array(this.capacity);
    for (let page = 0; page < this.capacity; page++) this.free[page] = page;
    this.shares.configure(this.capacity, []);
  }

  /** Pages that a space has. */
  usedBy(space: number): number {
    return this.shares.usedBy(space);
  }

  /**
   * Copies `length` bytes of packet memory from `offset` to their places. False, with nothing of it to be relied upon, if
   * there is no room; `isEarly`: they came out of order, for which there is less of it.
   */
  write(at: number, space: number, seq: number, offset: number, length: number, isEarly: boolean): boolean {
    let from = offset;
    let to = seq;
    let left = length;
    while (left > 0) {
      const page = this.take(at, space, (to >>> PAGE_SHIFT) & NUMBER_MASK, isEarly);
      if (page < 0) return false;
      const place = to & PLACE_MASK;
      const room = STREAM_PAGE_BYTES - place;
      const count = left < room ? left : room;
      this.bytes.copyWithin(this.poolOffset + (page << PAGE_SHIFT) + place, from, from + count);
      from = (from + count) | 0;
      to = (to + count) | 0;
      left -= count;
    }
    return true;
  }

  /** Copies bytes that were written to `offset` in packet memory; zeros for pages that are not there. */
  read(at: number, seq: number, length: number, offset: number): void {
    let to = offset;
    let from = seq;
    let left = length;
    while (left > 0) {
      const page = this.find(at, (from >>> PAGE_SHIFT) & NUMBER_MASK);
      const place = from & PLACE_MASK;
      const room = STREAM_PAGE_BYTES - place;
      const count = left < room ? left : room;
      const start = this.poolOffset + (page << PAGE_SHIFT) + place;
      // Nobody asks for what was not written. Should it be, then never for another stream's bytes.
      if (page >= 0) this.bytes.copyWithin(to, start, start + count);
      else this.bytes.fill(0, to, to + count);
      to = (to + count) | 0;
      from = (from + count) | 0;
      left -= count;
    }
  }

  /** Makes bytes of packet memory equal to those that were written. Returns whether any was another one. */
  restore(at: number, seq: number, length: number, offset: number): boolean {
    const bytes = this.bytes;
    let isOther = false;
    let page = -1;
    for (let i = 0; i < length; i++) {
      const from = (seq + i) | 0;
      const place = from & PLACE_MASK;
      if (page < 0 || place === 0) page = this.find(at, (from >>> PAGE_SHIFT) & NUMBER_MASK);
      // As in `read`: never another stream's.
      const byte = page < 0 ? 0 : bytes[this.poolOffset + (page << PAGE_SHIFT) + place];
      if (bytes[offset + i] === byte) continue;
      bytes[offset + i] = byte;
      isOther = true;
    }
    return isOther;
  }

  /** Gives back the pages of which every byte is before `seq`. */
  forget(at: number, space: number, seq: number): void {
    const words = this.words;
    const number = (seq >>> PAGE_SHIFT) & NUMBER_MASK;
    let page = words[at + FIRST_PAGE];
    while (page >= 0 && isBefore(this.numbers[page], number)) {
      const next = this.next[page];
      this.give(at, space, page);
      page = next;
    }
    words[at + FIRST_PAGE] = page;
    if (page < 0) words[at + LAST_PAGE] = -1;
  }

  /** Gives back the pages of which every byte is at `seq` or behind. */
  forgetFrom(at: number, space: number, seq: number): void {
    const words = this.words;
    const number = ((seq + PLACE_MASK) >>> PAGE_SHIFT) & NUMBER_MASK;
    let last = -1;
    let page = words[at + FIRST_PAGE];
    while (page >= 0 && isBefore(this.numbers[page], number)) {
      last = page;
      page = this.next[page];
    }
    while (page >= 0) {
      const next = this.next[page];
      this.give(at, space, page);
      page = next;
    }
    if (last >= 0) this.next[last] = -1;
    else words[at + FIRST_PAGE] = -1;
    words[at + LAST_PAGE] = last;
  }

  /** Gives back all pages of a stream. */
  clear(at: number, space: number): void {
    let page = this.words[at + FIRST_PAGE];
    while (page >= 0) {
      const next = this.next[page];
      this.give(at, space, page);
      page = next;
    }
    this.words[at + FIRST_PAGE] = -1;
    this.words[at + LAST_PAGE] = -1;
  }

  private give(at: number, space: number, page: number): void {
    this.used--;
    this.free[this.used] = page;
    this.words[at + PAGES]--;
    this.shares.add(space, -1);
  }

  /** The page of this number, which must be there. */
  private find(at: number, number: number): number {
    let page = this.words[at + FIRST_PAGE];
    while (page >= 0 && this.numbers[page] !== number) page = this.next[page];
    return page;
  }

  /** The page of this number, a new one if need be, or -1. */
  private take(at: number, space: number, number: number, isEarly: boolean): number {
    const words = this.words;
    const { numbers, next } = this;
    const last = words[at + LAST_PAGE];
    if (last >= 0 && numbers[last] === number) return last;
    let before = last;
    if (last >= 0 && isBefore(number, numbers[last])) {
      before = -1;
      let page = words[at + FIRST_PAGE];
      while (isBefore(numbers[page], number)) {
        before = page;
        page = next[page];
      }
      if (numbers[page] === number) return page;
    }
    const most = isEarly ? this.capacity >>> 2 : this.capacity >>> 1;
    if (this.usedBy(space) >= most || !this.shares.mayTake(space)) return -1;
    const page = this.free[this.used];
    this.used++;
    this.shares.add(space, 1);
    words[at + PAGES]++;
    numbers[page] = number;
    if (before < 0) {
      next[page] = words[at + FIRST_PAGE];
      words[at + FIRST_PAGE] = page;
    } else {
      next[page] = next[before];
      next[before] = page;
    }
    if (before === last) words[at + LAST_PAGE] = page;
    return page;
  }
}

/** Whether a page of one number comes before a page of the other: they wrap. */
function isBefore(one: number, other: number): boolean {
  return ((one - other) & NUMBER_MASK) >= HALF;
}
