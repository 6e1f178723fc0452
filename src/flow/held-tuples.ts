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
 * not needed, or the first try of a flow. 4 entries of 8 bytes make a bucket:
 *
 * ```
 *   31 ..... 16 15 ..... 0     31 ....... 12 11 ........ 0
 *  +-----------+-----------+   +-------------+------------+
 *  | cause     | peer      |   | tag, 0: any | end, 4.1 s |
 *  +-----------+-----------+   +-------------+------------+
 *   all 0: free   0: many                     modulo 4.6 h: the past is the half that has been
 * ```
 *
 * The seeded hash of sender's space and tuple gives tag and bucket, and the tag the way from one bucket to another
 * that will do as well: an entry lies in the emptier one, and may move over to make room. Two peers that meet in
 * one entry make it held for everybody, until the later end. Only when no entry of the two buckets has the tag
 * or can give way, one becomes held for any tag: it still says `held`, just for more than it should.
 *
 * How many can there be? Two for every flow without an external port of its own that has ended within the last 4
 * to 124 minutes (`timeouts.ts`), as often as such flows can be made: no table is large enough for every site that
 * wants to fill it. So entries are counted for the site that the flow came from, its cause, and of three quarters
 * of the table, up to which buckets do not run over, half is divided equally among the sites (`site-shares.ts`).
 * Flows of a site that has no room are not forgotten, but stay in the flow table, within the site's share of that,
 * until no late packet can come ({@link HeldTuples.hasRoom}, `pipeline/flow-end.ts`). A tuple that is used again by
 * the same two sites takes no more room.
 *
 * A process may be killed between two stores. `hold` is therefore called before the flow's record is freed: what
 * was half written is then written again after the restart. Stores into a running entry only ever widen it.
 *
 * Neighbours: `flow-holds.ts` tells when a flow between sites ends, `pipeline` asks when one is
 * set up.
 */
import { finishHash, hash10 } from './hash.ts';
import type { FlowKey } from './layout.ts';
import { SiteShares } from './site-shares.ts';

const HELD_LAYOUT = 0x48544c35;
const HEADER_LAYOUT = 0;
const HEADER_SEED = 1;
const HEADER_BUCKETS = 2;
const HEADER_WORDS = 16;

/** Words of an entry. */
const OWNERS = 0;
const TAG_AND_END = 1;
const ENTRY_WORDS = 2;
const BUCKET_ENTRIES = 4;
const BUCKET_WORDS = BUCKET_ENTRIES * ENTRY_WORDS;

const PEER_BITS = 0xffff;
const MANY = 0;
const END_BITS = 0xfff;
const TAG_BITS = ~END_BITS;
const ANY_TAG = 0;
/** Milliseconds of a tick, as a shift. */
const TICK_SHIFT = 12;
/** The longest hold, milliseconds: less than half the ticks there are. Longer ones are cut to it. */
export const MAX_HELD_MS = 2000 << TICK_SHIFT;

/** Entries of a flow: one for each of its ends. */
const ENTRIES_PER_FLOW = 2;
/** The table in quarters, and how many of them are divided among the sites. */
const QUARTERS = 4;
const FILLED_QUARTERS = 3;

/** Buckets that one `sweep` looks at. */
const SWEPT_BUCKETS = 1024;

/** Words of a section for the holds of at least so many flows. */
export function heldTupleWords(flows: number): number {
  let buckets = 1;
  while (buckets * BUCKET_ENTRIES < flows * ENTRIES_PER_FLOW) buckets *= 2;
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
  private readonly shares = new SiteShares();
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
    for (let at = HEADER_WORDS; at < HEADER_WORDS + buckets * BUCKET_WORDS; at += ENTRY_WORDS) {
      if (section[at + OWNERS] !== 0) this.shares.add(section[at + OWNERS]! >>> 16, 1);
    }
    this.configure([]);
  }

  /** Takes the sites that the table is divided among. Not for the packet path. */
  configure(sites: readonly number[]): void {
    const entries = (this.mask + 1) * BUCKET_ENTRIES;
    this.shares.configure(Math.floor((entries * FILLED_QUARTERS) / QUARTERS), sites);
  }

  /**
   * Whether what a flow that came from this space leaves behind may be held. Nobody is kept from it: what has to
   * be held is held. But who can wait, waits.
   */
  hasRoom(cause: number): boolean {
    return this.shares.mayTake(cause);
  }

  /** Entries that are counted for flows that came from this space. */
  entriesOf(cause: number): number {
    return this.shares.usedBy(cause);
  }

  /**
   * Remembers that packets with this key - so from the site whose space is in it - were for the site of `peer`.
   * Call it before the flow's record is freed.
   *
   * @param key a direction's key
   * @param peer space of the other end, 1..65535
   * @param cause space that the flow came from: one of the two
   * @param holdMs how long late packets may still come
   */
  hold(key: FlowKey, peer: number, cause: number, holdMs: number, nowMs: number): void {
    const hash = this.hash(key);
    const tag = tagOf(hash);
    const end = endTick(nowMs, holdMs);
    const first = this.bucketAt(hash);
    const second = this.otherBucketAt(first, tag);
    let found = this.running(first, tag, nowMs);
    if (found < 0) found = this.running(second, tag, nowMs);
    if (found >= 0) {
      this.widen(found, tag, peer, end, nowMs);
      return;
    }
    const emptier = this.roomIn(second, nowMs) > this.roomIn(first, nowMs) ? second : first;
    let free = this.freeIn(emptier, nowMs);
    if (free < 0) free = this.makeRoom(first, nowMs);
    if (free < 0) free = this.makeRoom(second, nowMs);
    if (free < 0) {
      this.widen(this.victimIn(emptier, peer), ANY_TAG, peer, end, nowMs);
      return;
    }
    this.clear(free);
    this.words[free + TAG_AND_END] = tag | end;
    this.words[free + OWNERS] = (cause << 16) | peer;
    this.shares.add(cause, 1);
  }

  /**
   * Whether late packets with this key - so from the site whose space is in it - may come that are for another
   * site than the one of `otherSpace`. Never false while such a hold runs.
   */
  heldByAnother(key: FlowKey, otherSpace: number, nowMs: number): boolean {
    const hash = this.hash(key);
    const tag = tagOf(hash);
    const first = this.bucketAt(hash);
    return (
      this.isHeldIn(first, tag, otherSpace, nowMs) ||
      this.isHeldIn(this.otherBucketAt(first, tag), tag, otherSpace, nowMs)
    );
  }

  /**
   * Clears entries whose holds have ended, in the next part of the table. Called many times a minute: an end in the
   * past must not come to look like one in the future when the ticks wrap.
   */
  sweep(nowMs: number): void {
    const words = this.words;
    const buckets = Math.min(SWEPT_BUCKETS, this.mask + 1);
    for (let i = 0; i < buckets; i++) {
      const first = HEADER_WORDS + this.swept * BUCKET_WORDS;
      for (let at = first; at < first + BUCKET_WORDS; at += ENTRY_WORDS) {
        if (words[at + OWNERS] !== 0 && !runs(words[at + TAG_AND_END]!, nowMs)) this.clear(at);
      }
      this.swept = (this.swept + 1) & this.mask;
    }
  }

  private isHeldIn(first: number, tag: number, otherSpace: number, nowMs: number): boolean {
    const words = this.words;
    for (let at = first; at < first + BUCKET_WORDS; at += ENTRY_WORDS) {
      const owners = words[at + OWNERS]!;
      // Many are no one's number.
      if (owners === 0 || (owners & PEER_BITS) === otherSpace) continue;
      const entry = words[at + TAG_AND_END]!;
      const entryTag = entry & TAG_BITS;
      if ((entryTag === tag || entryTag === ANY_TAG) && runs(entry, nowMs)) return true;
    }
    return false;
  }

  /** The running entry with this tag in a bucket, or -1. */
  private running(first: number, tag: number, nowMs: number): number {
    const words = this.words;
    for (let at = first; at < first + BUCKET_WORDS; at += ENTRY_WORDS) {
      if (words[at + OWNERS] === 0) continue;
      const entry = words[at + TAG_AND_END]!;
      if ((entry & TAG_BITS) === tag && runs(entry, nowMs)) return at;
    }
    return -1;
  }

  /** How many entries of a bucket are free or have ended. */
  private roomIn(first: number, nowMs: number): number {
    const words = this.words;
    let room = 0;
    for (let at = first; at < first + BUCKET_WORDS; at += ENTRY_WORDS) {
      if (words[at + OWNERS] === 0 || !runs(words[at + TAG_AND_END]!, nowMs)) room++;
    }
    return room;
  }

  /** One of them, or -1. */
  private freeIn(first: number, nowMs: number): number {
    const words = this.words;
    for (let at = first; at < first + BUCKET_WORDS; at += ENTRY_WORDS) {
      if (words[at + OWNERS] === 0 || !runs(words[at + TAG_AND_END]!, nowMs)) return at;
    }
    return -1;
  }

  /** Moves an entry of a full bucket to its other one; the place that it leaves, or -1 if none can go. */
  private makeRoom(first: number, nowMs: number): number {
    const words = this.words;
    for (let at = first; at < first + BUCKET_WORDS; at += ENTRY_WORDS) {
      const other = this.otherBucketAt(first, words[at + TAG_AND_END]! & TAG_BITS);
      const free = other === first ? -1 : this.freeIn(other, nowMs);
      if (free < 0) continue;
      this.clear(free);
      words[free + TAG_AND_END] = words[at + TAG_AND_END]!;
      words[free + OWNERS] = words[at + OWNERS]!;
      words[at + OWNERS] = 0;
      return at;
    }
    return -1;
  }

  /** What costs least to widen: an entry of the same peer, and best one for any tag. */
  private victimIn(first: number, peer: number): number {
    const words = this.words;
    let victim = first;
    let victimRank = -1;
    for (let at = first; at < first + BUCKET_WORDS; at += ENTRY_WORDS) {
      const samePeer = (words[at + OWNERS]! & PEER_BITS) === peer;
      const isAny = (words[at + TAG_AND_END]! & TAG_BITS) === ANY_TAG;
      const rank = (samePeer ? 2 : 0) + (isAny ? 1 : 0);
      if (rank <= victimRank) continue;
      victim = at;
      victimRank = rank;
    }
    return victim;
  }

  /** Makes a running entry also hold for this peer, under this tag (its own, or any). */
  private widen(at: number, tag: number, peer: number, end: number, nowMs: number): void {
    const words = this.words;
    const owners = words[at + OWNERS]!;
    if ((owners & PEER_BITS) !== peer) words[at + OWNERS] = (owners & ~PEER_BITS) | MANY;
    words[at + TAG_AND_END] = tag | laterEnd(words[at + TAG_AND_END]!, end, nowMs);
  }

  private clear(at: number): void {
    const owners = this.words[at + OWNERS]!;
    if (owners === 0) return;
    this.words[at + OWNERS] = 0;
    this.shares.add(owners >>> 16, -1);
  }

  private bucketAt(hash: number): number {
    return HEADER_WORDS + (hash & this.mask) * BUCKET_WORDS;
  }

  /** The other bucket that an entry with this tag may lie in: there and back again. For any tag, the same. */
  private otherBucketAt(at: number, tag: number): number {
    const bucket = ((at - HEADER_WORDS) / BUCKET_WORDS) | 0;
    const step = tag === ANY_TAG ? 0 : finishHash(tag);
    return HEADER_WORDS + ((bucket ^ step) & this.mask) * BUCKET_WORDS;
  }

  private hash(key: FlowKey): number {
    const { src0, src1, src2, src3, dst0, dst1, dst2, dst3, ports, meta } = key;
    const { seed, multiplier } = this;
    return hash10(seed, multiplier, src0, src1, src2, src3, dst0, dst1, dst2, dst3, ports, meta);
  }
}

/** Tag of a hash, in place, never {@link ANY_TAG}. Of other bits than the buckets, as far as there are any. */
function tagOf(hash: number): number {
  const tag = finishHash(hash ^ 0x5bd1e995) & TAG_BITS;
  return tag === ANY_TAG ? 1 << TICK_SHIFT : tag;
}

/** The tick in which a hold that begins now ends; it lasts for all of it. */
function endTick(nowMs: number, holdMs: number): number {
  const held = Math.max(0, Math.min(holdMs, MAX_HELD_MS));
  return ((nowMs + held + (1 << TICK_SHIFT) - 1) >> TICK_SHIFT) & END_BITS;
}

/** Ticks until the end in an entry; what is more than half of all is in the past. */
function ticksLeft(entry: number, nowMs: number): number {
  return (entry - (nowMs >> TICK_SHIFT)) & END_BITS;
}

function runs(entry: number, nowMs: number): boolean {
  const left = ticksLeft(entry, nowMs);
  return left > 0 && left <= END_BITS >>> 1;
}

/** The later one of the end in a running entry and of a fresh one. */
function laterEnd(entry: number, end: number, nowMs: number): number {
  return runs(end, nowMs) && ticksLeft(end, nowMs) > ticksLeft(entry, nowMs) ? end : entry & END_BITS;
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
