/**
 * Rates of new flows: token buckets in a table of fixed size, four to a place.
 *
 * ```
 *  bucket   key, low | key, high | debt | reckoned at | full at        five int32, times in ms since boot
 * ```
 *
 * A bucket owes for the flows that it has let through: `perMs` of its rate for each, and earns `flows` a millisecond
 * (a rate is `flows` in `perMs`). A bucket that owes nothing is as good as none, and its place is free. If all four
 * buckets of a place still owe, the one that is free soonest is forgotten: it owes the least of them, and a sender that
 * is beyond its limit never does. So the table fails open, by at most one burst of a sender that was within its limit;
 * to refuse whoever finds no place would let strangers lock everybody out.
 */
import type { Rate } from './limit-options.ts';

const WAYS = 4;
const BUCKET_WORDS = 5;
const LOW = 0;
const HIGH = 1;
const DEBT = 2;
const RECKONED_MS = 3;
const FULL_MS = 4;
/** Of what is longer ago nothing is known: a bucket earns for so long at most. */
const MAX_ELAPSED_MS = 0x3fffffff;

export class RateLimits {
  private readonly words: Int32Array;
  private readonly mask: number;

  /** `places` is a power of two. */
  constructor(places: number) {
    this.words = new Int32Array(places * WAYS * BUCKET_WORDS);
    this.mask = places - 1;
  }

  get bytes(): number {
    return this.words.byteLength;
  }

  /** Whether another flow is within the rate; `charges`: and takes it, if so. */
  take(low: number, high: number, rate: Rate, nowMs: number, charges: boolean): boolean {
    const { words } = this;
    const first = (low & this.mask) * WAYS * BUCKET_WORDS;
    const at = this.find(first, low, high);
    const capacity = Math.imul(rate.burst, rate.perMs);
    const debt = at < 0 ? 0 : this.debtOf(at, rate, capacity, nowMs);
    if (debt + rate.perMs > capacity) return false;
    if (!charges) return true;
    const place = at < 0 ? this.soonest(first, nowMs) : at;
    const owed = debt + rate.perMs;
    words[place + LOW] = low;
    words[place + HIGH] = high;
    words[place + DEBT] = owed;
    words[place + RECKONED_MS] = nowMs;
    words[place + FULL_MS] = nowMs + Math.ceil(owed / rate.flows);
    return true;
  }

  private find(first: number, low: number, high: number): number {
    const { words } = this;
    for (let way = 0; way < WAYS; way++) {
      const at = first + way * BUCKET_WORDS;
      if (words[at + LOW] === low && words[at + HIGH] === high) return at;
    }
    return -1;
  }

  /** What a bucket owes now. */
  private debtOf(at: number, rate: Rate, capacity: number, nowMs: number): number {
    const { words } = this;
    const elapsedMs = (nowMs - words[at + RECKONED_MS]!) | 0;
    const debt = Math.min(words[at + DEBT]!, capacity);
    // Negative: 24 days ago. Else, what it takes to earn everything is below MAX_ELAPSED_MS.
    if (elapsedMs < 0 || elapsedMs > MAX_ELAPSED_MS) return 0;
    const earnsAllMs = Math.ceil(debt / rate.flows);
    return elapsedMs >= earnsAllMs ? 0 : debt - Math.imul(elapsedMs, rate.flows);
  }

  /** A bucket that owes nothing any more, or else the one that will the soonest. */
  private soonest(first: number, nowMs: number): number {
    const { words } = this;
    let best = first;
    let bestMs = 0x7fffffff;
    for (let way = 0; way < WAYS; way++) {
      const at = first + way * BUCKET_WORDS;
      const leftMs = words[at + HIGH] === 0 ? 0 : (words[at + FULL_MS]! - nowMs) | 0;
      if (leftMs <= 0) return at;
      if (leftMs < bestMs) {
        best = at;
        bestMs = leftMs;
      }
    }
    return best;
  }
}
