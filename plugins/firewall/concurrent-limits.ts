/**
 * How many flows of whom live at the same time: a table of counts by key, with open addressing.
 *
 * Every flow that counts has its key in the state that the flow memory keeps for it, so that its end finds the count
 * again. There are never more counts than flows, and the table has room for those of all flows. Should it be full all
 * the same, whoever has no count yet is refused.
 *
 * The counts are this process's, as is the state of flows; flows know in which `epoch` they were counted. Those of
 * another epoch do not count, and their ends count nothing down. Changed code goes on with counts and epoch; after any
 * start of the data plane flows from before count no more.
 */

const ENTRY_WORDS = 3;
const LOW = 0;
const HIGH = 1;
const COUNT = 2;

/** What is handed on. */
export interface ConcurrentState {
  readonly epoch: number;
  /** Key and count, flat. */
  readonly entries: readonly number[];
}

export class ConcurrentLimits {
  private words = new Int32Array(0);
  private mask = 0;
  private used = 0;
  /** Not 0. */
  epoch: number;

  constructor(epoch: number) {
    this.epoch = epoch | 1;
  }

  get bytes(): number {
    return this.words.byteLength;
  }

  /** Makes room for as many counts as flows may live; never less than there was. */
  reserve(flows: number): void {
    let size = 64;
    while (size < flows * 2) size *= 2;
    if (size * ENTRY_WORDS <= this.words.length) return;
    const before = this.words;
    this.words = new Int32Array(size * ENTRY_WORDS);
    this.mask = size - 1;
    this.used = 0;
    for (let at = 0; at < before.length; at += ENTRY_WORDS) {
      if (before[at + COUNT]! > 0) this.add(before[at + LOW]!, before[at + HIGH]!, before[at + COUNT]!);
    }
  }

  /** Living flows of a key; -1 if it has no count and there is no room for one. */
  count(low: number, high: number): number {
    const at = this.find(low, high);
    if (at < 0) return -1;
    const count = this.words[at + COUNT]!;
    return count === 0 && !this.hasRoom ? -1 : count;
  }

  /** Counts more flows of a key. */
  add(low: number, high: number, flows: number): void {
    const at = this.find(low, high);
    if (at < 0 || (this.words[at + COUNT] === 0 && !this.hasRoom)) return;
    if (this.words[at + COUNT] === 0) this.used++;
    this.words[at + LOW] = low;
    this.words[at + HIGH] = high;
    this.words[at + COUNT]! += flows;
  }

  /** A flow of a key has ended. */
  remove(low: number, high: number): void {
    const at = this.find(low, high);
    if (at < 0 || this.words[at + COUNT] === 0) return;
    this.words[at + COUNT]!--;
    if (this.words[at + COUNT] === 0) this.close(at);
  }

  export(): ConcurrentState {
    const entries: number[] = [];
    for (let at = 0; at < this.words.length; at += ENTRY_WORDS) {
      if (this.words[at + COUNT]! > 0) entries.push(...this.words.subarray(at, at + ENTRY_WORDS));
    }
    return { epoch: this.epoch, entries };
  }

  /** Goes on with what another instance has exported. */
  import({ epoch, entries }: ConcurrentState): void {
    this.epoch = epoch;
    this.words.fill(0);
    this.used = 0;
    this.reserve(entries.length / ENTRY_WORDS);
    for (let i = 0; i < entries.length; i += ENTRY_WORDS) {
      this.add(entries[i]!, entries[i + 1]!, entries[i + 2]!);
    }
  }

  /** A quarter stays free, so that searches end soon. */
  private get hasRoom(): boolean {
    return this.used * 4 < (this.mask + 1) * 3;
  }

  /** Where a key's count is or would be; -1 without memory. */
  private find(low: number, high: number): number {
    const { words, mask } = this;
    if (words.length === 0) return -1;
    for (let slot = low & mask; ; slot = (slot + 1) & mask) {
      const at = slot * ENTRY_WORDS;
      if (words[at + COUNT] === 0 || (words[at + LOW] === low && words[at + HIGH] === high)) return at;
    }
  }

  /** Frees an entry, and moves those behind it to where they are found without it. */
  private close(at: number): void {
    const { words, mask } = this;
    this.used--;
    let hole = at / ENTRY_WORDS;
    for (let slot = (hole + 1) & mask; ; slot = (slot + 1) & mask) {
      const from = slot * ENTRY_WORDS;
      if (words[from + COUNT] === 0) break;
      const home = words[from + LOW]! & mask;
      // It may move if its home is not between the hole and where it is.
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      words.copyWithin(hole * ENTRY_WORDS, from, from + ENTRY_WORDS);
      words[from + COUNT] = 0;
      hole = slot;
    }
    words[hole * ENTRY_WORDS + COUNT] = 0;
  }
}
