/**
 * Held tuples: which tuples towards private sites still belong to the site that used them last.
 *
 * Flows between sites usually pass untranslated, so two sites may send the same tuple to a third, one after
 * the other. A late reply to the first would then reach the second. When a flow ends, what the responder saw of it is
 * held for its originator's site; until the hold ends, another site's flow with the same tuple is translated.
 *
 * The table is fixed and remembers a hash, not the tuple. It errs to one side only:
 * **a held tuple is never reported free.** A free one may be reported held; that costs a translation that was
 * not needed. 4 entries of 8 bytes make a bucket:
 *
 * ```
 *   31   30 ......... 16   15 ........... 0     31 ................ 0
 *  +----+----------------+-----------------+   +--------------------+
 *  | 1  |  tag, 0: any   |  owner, 0: many |   | end, int32 ms      |
 *  +----+----------------+-----------------+   +--------------------+
 *   mark; all 0: never used
 * ```
 *
 * The seeded hash of the tuple gives bucket and tag. Two owners that meet in one entry make it held for
 * everybody, until the later end. When all entries of a bucket run and none has the tag, one becomes held for
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

const HELD_LAYOUT = 0x48544c31;
const HEADER_LAYOUT = 0;
const HEADER_SEED = 1;
const HEADER_BUCKETS = 2;
const HEADER_WORDS = 16;

const BUCKET_ENTRIES = 4;
const ENTRY_WORDS = 2;
const BUCKET_WORDS = BUCKET_ENTRIES * ENTRY_WORDS;

const USED = 1 << 31;
const TAG_BITS = 0x7fff0000;
const OWNER_BITS = 0xffff;

/** Buckets that one `sweep` looks at. */
const SWEPT_BUCKETS = 1024;

/** Words of a section for at least so many entries. */
export function heldTupleWords(entries: number): number {
  let buckets = 1;
  while (buckets * BUCKET_ENTRIES < entries) buckets *= 2;
  return HEADER_WORDS + buckets * BUCKET_WORDS;
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
    let buckets = 1;
    while (HEADER_WORDS + buckets * 2 * BUCKET_WORDS <= section.length) buckets *= 2;
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
   * Holds a tuple for a site. Call it before the flow's record is freed.
   *
   * @param key the reply direction's key: responder's space, as the responder sees the flow
   * @param ownerSpace space of the originator's site, 1..65535
   * @param holdMs how long late packets may still come
   */
  hold(key: FlowKey, ownerSpace: number, holdMs: number, nowMs: number): void {
    const words = this.words;
    const hash = this.hash(key);
    const tag = tagOf(hash);
    const first = this.bucketAt(hash);
    const until = holdEnd(nowMs, holdMs);
    let free = -1;
    let victim = first;
    let victimRank = -1;
    for (let at = first; at < first + BUCKET_WORDS; at += ENTRY_WORDS) {
      const mark = words[at]!;
      if (mark === 0 || !holdRuns(words[at + 1]!, nowMs)) {
        if (free < 0) free = at;
        continue;
      }
      if ((mark & TAG_BITS) === tag) {
        this.widen(at, tag, ownerSpace, until, nowMs);
        return;
      }
      // What costs least to widen: an entry for any tag, then one of the same owner.
      const rank = ((mark & TAG_BITS) === 0 ? 2 : 0) + ((mark & OWNER_BITS) === ownerSpace ? 1 : 0);
      if (rank > victimRank) {
        victim = at;
        victimRank = rank;
      }
    }
    if (free < 0) {
      this.widen(victim, 0, ownerSpace, until, nowMs);
      return;
    }
    words[free] = 0;
    words[free + 1] = until;
    words[free] = USED | tag | ownerSpace;
  }

  /**
   * Whether another site than this one may still get late packets of this tuple. Never false while a hold of
   * another site runs.
   */
  heldByAnother(key: FlowKey, space: number, nowMs: number): boolean {
    const words = this.words;
    const hash = this.hash(key);
    const tag = tagOf(hash);
    const first = this.bucketAt(hash);
    for (let at = first; at < first + BUCKET_WORDS; at += ENTRY_WORDS) {
      const mark = words[at]!;
      if (mark === 0 || (mark & OWNER_BITS) === space) continue;
      const entryTag = mark & TAG_BITS;
      if ((entryTag === tag || entryTag === 0) && holdRuns(words[at + 1]!, nowMs)) return true;
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
        if (words[at] !== 0 && !holdRuns(words[at + 1]!, nowMs)) words[at] = 0;
      }
      this.swept = (this.swept + 1) & this.mask;
    }
  }

  /** Makes a running entry also hold for this owner, under this tag (its own, or 0 for any). */
  private widen(at: number, tag: number, ownerSpace: number, until: number, nowMs: number): void {
    const words = this.words;
    const owner = words[at]! & OWNER_BITS;
    words[at + 1] = laterHoldEnd(words[at + 1]!, until, nowMs);
    words[at] = USED | tag | (owner === ownerSpace ? owner : 0);
  }

  private bucketAt(hash: number): number {
    return HEADER_WORDS + (hash & this.mask) * BUCKET_WORDS;
  }

  private hash(key: FlowKey): number {
    return hash10(
      this.seed,
      this.multiplier,
      key.src0,
      key.src1,
      key.src2,
      key.src3,
      key.dst0,
      key.dst1,
      key.dst2,
      key.dst3,
      key.ports,
      key.meta,
    );
  }
}

/** Tag of a hash, in place, never 0. Of other bits than the bucket, as far as there are any. */
function tagOf(hash: number): number {
  const tag = finishHash(hash ^ 0x5bd1e995) & TAG_BITS;
  return tag === 0 ? 1 << 16 : tag;
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
