/**
 * First-in-first-out lists of slots, linked through typed arrays: any number of lists over one range of slot
 * numbers, a slot in at most one of them. Append, remove and first are O(1) and allocate nothing.
 *
 * Neighbours: `hold-wheel.ts` and `translation-heap.ts` (free ports, held ports of a site).
 */

const NONE = -1;

export class SlotLists {
  private heads: Int32Array;
  private tails: Int32Array;
  private readonly next: Int32Array;
  private readonly previous: Int32Array;
  /** List that a slot is in, or -1. */
  private readonly membership: Int32Array;

  /** Empty lists 0 to `lists` - 1 for slots 0 to `slots` - 1. */
  constructor(lists: number, slots: number) {
    this.heads = new Int32Array(lists).fill(NONE);
    this.tails = new Int32Array(lists).fill(NONE);
    this.next = new Int32Array(slots).fill(NONE);
    this.previous = new Int32Array(slots).fill(NONE);
    this.membership = new Int32Array(slots).fill(NONE);
  }

  /** Makes room for lists 0 to `lists` - 1. Allocates if there is none. */
  reserve(lists: number): void {
    if (lists <= this.heads.length) return;
    const heads = new Int32Array(lists * 2).fill(NONE);
    const tails = new Int32Array(lists * 2).fill(NONE);
    heads.set(this.heads);
    tails.set(this.tails);
    this.heads = heads;
    this.tails = tails;
  }

  /** The slot that is longest in this list, or -1. */
  first(list: number): number {
    return this.heads[list]!;
  }

  /** The slot behind this one in its list, or -1. */
  after(slot: number): number {
    return this.next[slot]!;
  }

  /** Puts a slot that is in no list at the end of this one. */
  append(list: number, slot: number): void {
    const tail = this.tails[list]!;
    this.previous[slot] = tail;
    this.next[slot] = NONE;
    this.membership[slot] = list;
    if (tail < 0) this.heads[list] = slot;
    else this.next[tail] = slot;
    this.tails[list] = slot;
  }

  /** Takes a slot out of whatever list it is in; does nothing if it is in none. */
  remove(slot: number): void {
    const list = this.membership[slot]!;
    if (list < 0) return;
    const previous = this.previous[slot]!;
    const next = this.next[slot]!;
    if (previous < 0) this.heads[list] = next;
    else this.next[previous] = next;
    if (next < 0) this.tails[list] = previous;
    else this.previous[next] = previous;
    this.membership[slot] = NONE;
  }
}
