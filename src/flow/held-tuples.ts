/**
 * Held tuples: which site late packets with a tuple between private sites are still for.
 *
 * Flows between sites usually pass untranslated, so two sites may send the same tuple to a third, one after
 * the other. A late reply to the first would then reach the second; and so would a late packet of a third's flow to
 * the first. When a flow ends, each of its ends is remembered as a possible sender: until the hold ends, what that
 * site sends with that tuple may be a late packet for its former peer. A flow of another site that would take such
 * packets for its own replies is translated; one whose own first packet may be such a late one is refused.
 *
 * Only the sender's own past counts. What another site has sent with the same tuple says nothing: sites with equal
 * addresses use equal tuples all the time, and none of them may keep the others from it.
 *
 * The table is fixed and remembers a hash, not the tuple. It errs to one side only:
 * **a held tuple is never reported free.** A free one may be reported held; that costs a translation that was
 * not needed, or the first try of a flow. 4 entries of 12 bytes make a bucket:
 *
 * ```
 *   31   30 .......... 0     31 .......... 0     31 ................ 0
 *  +----+---------------+   +----------------+   +--------------------+
 *  | 1  | tag, 0: any   |   | peer's space   |   | end, int32 ms      |
 *  +----+---------------+   +----------------+   +--------------------+
 *   mark; all 0: never used  0: many
 * ```
 *
 * The seeded hash of sender's space and tuple gives bucket and tag. Two peers that meet in one entry make it held
 * for everybody, until the later end. When all entries of a bucket run and none has the tag, one becomes held for
 * any tag: it still says `held`, just for more than it should.
 *
 * A process may be killed between two stores. `hold` is therefore called before the flow's record is freed: what
 * was half written is then written again after the restart. Stores into a running entry only ever widen it.
 *
 * Neighbours: `hold-time.ts`; `pipeline` asks when a flow between sites is set up and tells when one ends.
 */
import { finishHash, hash10 } from './hash.ts';
import { holdEnd, holdRuns, laterHoldEnd } from './hold-time.ts';
import type { FlowKey } from './layout.ts';

const HELD_LAYOUT = 0x48544c34;
const HEADER_LAYOUT = 0;
const HEADER_SEED = 1;
const HEADER_BUCKETS = 2;
const HEADER_WORDS = 16;

/** Words of an entry. */
const MARK = 0;
const PEER = 1;
const UNTIL = 2;
const ENTRY_WORDS = 3;
const BUCKET_ENTRIES = 4;
const BUCKET_WORDS = BUCKET_ENTRIES * ENTRY_WORDS;

const USED = 1 << 31;
const TAG_BITS = 0x7fffffff;
const MANY = 0;

/** Buckets that one `sweep` looks at. */
const SWEPT_BUCKETS = 1024;

/** Words of a section for at least so many entries. */
export function heldTupleWords(entries: number): number {
  let buckets = 1;
  while (buckets * BUCKET_ENTRIES < entries) buckets *= 2;
  return HEADER_WORDS + buckets * BUCKET_WORDS;
}

/**
 * Copies a section into another one that is empty and at least as large. A bucket is chosen by the low bits of a
 * hash, so what was in one may belong into each of those that have its number in their low bits.
 */
export function carryHeldTuples(from: Int32Array, to: Int32Array): void {
  if (from[HEADER_LAYOUT] !== HELD_LAYOUT) return;
  const fromBuckets = from[HEADER_BUCKETS]!;
  const buckets = bucketsOf(to);
  for (let bucket = 0; bucket < buckets; bucket++) {
    const at = HEADER_WORDS + (bucket & (fromBuckets - 1)) * BUCKET_WORDS;
    to.set(from.subarray(at, at + BUCKET_WORDS), HEADER_WORDS + bucket * BUCKET_WORDS);
  }
  to[HEADER_SEED] = from[HEADER_SEED]!;
  to[HEADER_BUCKETS] = buckets;
  to[HEADER_LAYOUT] = HELD_LAYOUT;
}

/** Buckets that a section has room for; a power of two. */
function bucketsOf(section: Int32Array): number {
  let buckets = 1;
  while (HEADER_WORDS + buckets * 2 * BUCKET_WORDS <= section.length) buckets *= 2;
  return buckets;
}

export class HeldTuples {
  private readonly words: Int32Array;
  private readonly seed: number;
  private readonly multiplier: number;
  private readonly mask: number;
  private swept: number;

  /**
   * @param section part of the flow memory: zeros, or what an earlier process left there
   * @param seed random number for a new section; an old one keeps its own
   * @throws RangeError if the section has no room for a bucket
   */
  constructor(section: Int32Array, seed: number) {
    if (section.length < heldTupleWords(1)) throw new RangeError('the held tuples section has no room');
    const buckets = bucketsOf(section);
    if (section[HEADER_LAYOUT] !== HELD_LAYOUT || section[HEADER_BUCKETS] !== buckets) {
      section.fill(0);
      section[HEADER_SEED] = seed | 0;
      section[HEADER_BUCKETS] = buckets;
      section[HEADER_LAYOUT] = HELD_LAYOUT;
    }
    this.words = section;
    this.seed = section[HEADER_SEED]!;
    this.multiplier = finishHash(this.seed) | 1;
    this.mask = buckets - 1;
    this.swept = 0;
  }

  /**
   * Remembers that packets with this key - so from the site whose space is in it - were for the site of `peer`.
   * Call it before the flow's record is freed.
   *
   * @param key a direction's key
   * @param peer space of the other end, 1..65535
   * @param holdMs how long late packets may still come
   */
  hold(key: FlowKey, peer: number, holdMs: number, nowMs: number): void {
    const words = this.words;
    const hash = this.hash(key);
    const tag = tagOf(hash);
    const first = this.bucketAt(hash);
    const until = holdEnd(nowMs, holdMs);
    let free = -1;
    let victim = first;
    let victimRank = -1;
    for (let at = first; at < first + BUCKET_WORDS; at += ENTRY_WORDS) {
      const mark = words[at + MARK]!;
      if (mark === 0 || !holdRuns(words[at + UNTIL]!, nowMs)) {
        if (free < 0) free = at;
        continue;
      }
      if ((mark & TAG_BITS) === tag) {
        this.widen(at, tag, peer, until, nowMs);
        return;
      }
      // What costs least to widen: an entry of the same peer, and best one for any tag.
      const rank = (words[at + PEER] === peer ? 2 : 0) + ((mark & TAG_BITS) === 0 ? 1 : 0);
      if (rank > victimRank) {
        victim = at;
        victimRank = rank;
      }
    }
    if (free < 0) {
      this.widen(victim, 0, peer, until, nowMs);
      return;
    }
    words[free + MARK] = 0;
    words[free + PEER] = peer;
    words[free + UNTIL] = until;
    words[free + MARK] = USED | tag;
  }

  /**
   * Whether late packets with this key - so from the site whose space is in it - may come that are for another
   * site than the one of `otherSpace`. Never false while such a hold runs.
   */
  heldByAnother(key: FlowKey, otherSpace: number, nowMs: number): boolean {
    const words = this.words;
    const hash = this.hash(key);
    const tag = tagOf(hash);
    const first = this.bucketAt(hash);
    for (let at = first; at < first + BUCKET_WORDS; at += ENTRY_WORDS) {
      const mark = words[at + MARK]!;
      if (mark === 0) continue;
      const entryTag = mark & TAG_BITS;
      if (entryTag !== tag && entryTag !== 0) continue;
      // Many are no one's number.
      if (words[at + PEER] !== otherSpace && holdRuns(words[at + UNTIL]!, nowMs)) return true;
    }
    return false;
  }

  /**
   * Clears entries whose holds have ended, in the next part of the table. Called every few seconds: an end in
   * the distant past must not come to look like one in the future when the clock wraps.
   */
  sweep(nowMs: number): void {
    const words = this.words;
    const buckets = Math.min(SWEPT_BUCKETS, this.mask + 1);
    for (let i = 0; i < buckets; i++) {
      const first = HEADER_WORDS + this.swept * BUCKET_WORDS;
      for (let at = first; at < first + BUCKET_WORDS; at += ENTRY_WORDS) {
        if (words[at + MARK] !== 0 && !holdRuns(words[at + UNTIL]!, nowMs)) words[at + MARK] = 0;
      }
      this.swept = (this.swept + 1) & this.mask;
    }
  }

  /** Makes a running entry also hold for this peer, under this tag (its own, or 0 for any). */
  private widen(at: number, tag: number, peer: number, until: number, nowMs: number): void {
    const words = this.words;
    words[at + UNTIL] = laterHoldEnd(words[at + UNTIL]!, until, nowMs);
    if (words[at + PEER] !== peer) words[at + PEER] = MANY;
    words[at + MARK] = USED | tag;
  }

  private bucketAt(hash: number): number {
    return HEADER_WORDS + (hash & this.mask) * BUCKET_WORDS;
  }

  private hash(key: FlowKey): number {
    const { src0, src1, src2, src3, dst0, dst1, dst2, dst3, ports, meta } = key;
    const { seed, multiplier } = this;
    return hash10(seed, multiplier, src0, src1, src2, src3, dst0, dst1, dst2, dst3, ports, meta);
  }
}

/** Tag of a hash, in place, never 0. Of other bits than the bucket, as far as there are any. */
function tagOf(hash: number): number {
  const tag = finishHash(hash ^ 0x5bd1e995) & TAG_BITS;
  return tag === 0 ? 1 : tag;
}

const LOWEST_PROPOSED = 1024;
const PROPOSED_PORTS = 65536 - LOWEST_PROPOSED;

/**
 * Source port or ICMP identifier, host order, to try for a flow whose own collides with another site's. The
 * attempts 0 to 64511 of one seed give every number from 1024 to 65535 once, in an order that depends on the seed.
 *
 * @param seed hash of the flow, seeded
 * @param attempt counts up from 0
 */
export function proposePort(seed: number, attempt: number): number {
  const hash = finishHash(seed);
  const start = (hash >>> 1) % PROPOSED_PORTS;
  // 64512 = 2^10 * 3^2 * 7: a step of 1 modulo 42 shares no factor with it.
  const step = 42 * ((finishHash(hash ^ 0x27d4eb2f) >>> 1) % (PROPOSED_PORTS / 42)) + 1;
  const walked = (Math.imul(attempt % PROPOSED_PORTS, step) >>> 0) % PROPOSED_PORTS;
  return LOWEST_PROPOSED + ((start + walked) % PROPOSED_PORTS);
}
