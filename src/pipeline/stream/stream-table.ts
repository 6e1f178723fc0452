/**
 * Which flows have streams that plugins read, and the memory of all of them: a fixed number of flows, of pages and of
 * held segments.
 *
 * ```
 *   flow record ──> slot ──┬─> block of the originator's bytes ──> pages, held segments
 *                          └─> block of the reply's bytes      ──> pages, held segments
 * ```
 *
 * A flow without a slot has no streams, or has lost them: the slots are memory of the process and do not outlive it, as the
 * flow record does. Neighbours: `stream-layout.ts`, `stream-pages.ts`, `held-segments.ts`, `streams.ts`.
 */
import { SiteShares } from '../../flow/site-shares.ts';
import type { FrameMemory } from '../../wire/frame.ts';
import { HELD_HEADER_BYTES, HeldSegments } from './held-segments.ts';
import {
  FIRST_HELD,
  FIRST_PAGE,
  FROM,
  HELD,
  LAST_PAGE,
  LIMIT,
  PAGES,
  READERS,
  STREAM_WORDS,
  UNLIMITED,
  UNREAD,
} from './stream-layout.ts';
import { STREAM_PAGE_BYTES, StreamPages } from './stream-pages.ts';

/** Flows that may have streams at once: the blocks take memory only where they are used. */
const MAX_FLOWS = 262_144;
/** Share of the memory for the headers of held segments. */
const HEADER_SHARE = 1 / 16;
/** The least that works: one stream at its bound. */
export const MIN_STREAM_BYTES = 1024 * 1024;

export class StreamTable {
  /** Two blocks of {@link STREAM_WORDS} a slot. */
  readonly words: Int32Array;
  readonly pages: StreamPages;
  readonly held: HeldSegments;
  /**
   * By record: who has asked for the bytes of a flow, and may have read all that it needs: bit i for the plugin at place i
   * and the originator's bytes, bit 16 + i for the reply's. Stays when the slot is given back; whoever ends the flow clears it.
   */
  readonly asked: Int32Array;
  /** Slots there are. */
  readonly capacity: number;
  /** Slots in use. */
  flows = 0;
  /** Slots that the last `sweep` looked at. */
  lookedAt = 0;
  /** Whose slots they are. */
  private readonly shares = new SiteShares();
  private readonly slots: Int32Array;
  private readonly records: Int32Array;
  private readonly spaces: Int32Array;
  private readonly free: Int32Array;
  private swept = 0;

  /**
   * @param flows how many flow records there are
   * @param poolOffset where `poolBytes` of packet memory begin that are for streams; a multiple of 16
   * @throws RangeError if they are fewer than {@link MIN_STREAM_BYTES}
   */
  constructor(memory: FrameMemory, flows: number, poolOffset: number, poolBytes: number) {
    if (poolBytes < MIN_STREAM_BYTES) {
      throw new RangeError(`streams need ${MIN_STREAM_BYTES} bytes of packet memory, not ${poolBytes}`);
    }
    this.capacity = Math.min(flows, MAX_FLOWS);
    this.words = new Int32Array(this.capacity * 2 * STREAM_WORDS);
    const pageBytes = Math.floor((poolBytes * (1 - HEADER_SHARE)) / STREAM_PAGE_BYTES) * STREAM_PAGE_BYTES;
    this.pages = new StreamPages(memory, this.words, poolOffset, pageBytes);
    const places = Math.floor((poolBytes - pageBytes) / HELD_HEADER_BYTES);
    this.held = new HeldSegments(memory, this.words, poolOffset + pageBytes, places);
    this.slots = new Int32Array(flows);
    this.asked = new Int32Array(flows);
    this.records = new Int32Array(this.capacity).fill(-1);
    this.spaces = new Int32Array(this.capacity);
    this.free = new Int32Array(this.capacity);
    for (let slot = 0; slot < this.capacity; slot++) this.free[slot] = slot;
    this.divide([]);
  }

  /** Divides slots, pages and places for held segments among the spaces of these sites. */
  divide(sites: readonly number[]): void {
    this.shares.configure(this.capacity, sites);
    this.pages.shares.configure(this.pages.capacity, sites);
    this.held.shares.configure(this.held.capacity, sites);
  }

  /** The slot of a flow, or -1. */
  slotOf(record: number): number {
    return this.slots[record] - 1;
  }

  /** The flow of a slot, or -1. */
  recordOf(slot: number): number {
    return this.records[slot];
  }

  /** The space whose pages a slot's streams take. */
  spaceOf(slot: number): number {
    return this.spaces[slot];
  }

  /** Where the block of a direction begins in `words`. */
  blockOf(slot: number, direction: number): number {
    return (slot * 2 + direction) * STREAM_WORDS;
  }

  /** A slot for a flow, its blocks empty and without readers; -1 if there is none. */
  open(record: number, space: number): number {
    if (!this.shares.mayTake(space)) return -1;
    const slot = this.free[this.flows];
    this.flows++;
    this.shares.add(space, 1);
    this.slots[record] = slot + 1;
    this.records[slot] = record;
    this.spaces[slot] = space;
    for (let direction = 0; direction < 2; direction++) {
      const at = this.blockOf(slot, direction);
      this.words.fill(0, at, at + STREAM_WORDS);
      this.words[at] = UNREAD;
      this.words[at + FIRST_PAGE] = -1;
      this.words[at + LAST_PAGE] = -1;
      this.words[at + FIRST_HELD] = -1;
    }
    return slot;
  }

  /** Gives back a flow's slot and all that it holds; does nothing for a flow without one. */
  close(record: number): void {
    const slot = this.slots[record] - 1;
    if (slot < 0) return;
    this.clear(slot, 0);
    this.clear(slot, 1);
    this.slots[record] = 0;
    this.records[slot] = -1;
    this.shares.add(this.spaces[slot], -1);
    this.flows--;
    this.free[this.flows] = slot;
  }

  /** Gives back what one direction holds. */
  clear(slot: number, direction: number): void {
    const at = this.blockOf(slot, direction);
    while (this.words[at + HELD] > 0) this.held.shift(at);
    if (this.words[at + PAGES] > 0) this.pages.clear(at, this.spaces[slot]);
  }

  /** The next slot in use of `count` that are looked at from where the last call stopped, or -1. */
  sweep(count: number): number {
    for (let i = 0; i < count; i++) {
      const slot = this.swept;
      this.swept = slot + 1 === this.capacity ? 0 : slot + 1;
      if (this.records[slot] >= 0) {
        this.lookedAt = i + 1;
        return slot;
      }
    }
    this.lookedAt = count;
    return -1;
  }

  /**
   * Plugins stand at other places of the chain: `places[i]` is the new one of who stood at `i`, -1 if it reads no streams
   * any more.
   */
  renumber(places: readonly number[]): void {
    const { words, asked } = this;
    for (let record = 0; record < asked.length; record++) {
      if (asked[record] !== 0) asked[record] = renumberAsked(asked[record], places);
    }
    for (let slot = 0; slot < this.capacity; slot++) {
      if (this.records[slot] < 0) continue;
      for (let direction = 0; direction < 2; direction++)
        renumberBlock(words, this.blockOf(slot, direction), places);
    }
  }
}

function renumberAsked(asked: number, places: readonly number[]): number {
  let renumbered = 0;
  for (let i = 0; i < 16; i++) {
    const place = places[i] ?? -1;
    if (place >= 0) renumbered |= ((asked >>> i) & 0x10001) << place;
  }
  return renumbered;
}

function renumberBlock(words: Int32Array, at: number, places: readonly number[]): void {
  const from = words.slice(at + FROM, at + FROM + 16);
  const limit = words.slice(at + LIMIT, at + LIMIT + 16);
  let readers = 0;
  let unlimited = 0;
  for (let i = 0; i < 16; i++) {
    const place = places[i] ?? -1;
    if ((words[at + READERS] & (1 << i)) === 0 || place < 0) continue;
    readers |= 1 << place;
    if ((words[at + UNLIMITED] & (1 << i)) !== 0) unlimited |= 1 << place;
    words[at + FROM + place] = from[i];
    words[at + LIMIT + place] = limit[i];
  }
  words[at + READERS] = readers;
  words[at + UNLIMITED] = unlimited;
}
