/**
 * Index of mappings by their internal endpoint: egress, site, address, port and protocol class to slot.
 *
 * Hash chains through a typed array; the key of a slot is read from the section itself, so nothing is stored
 * twice and the index can be rebuilt from valid slots at any time. The hash is seeded, so that senders cannot
 * choose endpoints that fall into one chain.
 *
 * Neighbours: `translation-layout.ts` (where a slot's key stands), `translation.ts`.
 */
import { finishHash, mixWord } from './hash.ts';
import {
  chunkOfSlot,
  classOfSlot,
  DIRECTORY_FAMILY,
  DIRECTORY_PLACE,
  directoryAt,
  SLOT_OWNER,
  SLOT_WORDS,
} from './translation-layout.ts';

const NONE = -1;

export class MappingIndex {
  private readonly words: Int32Array;
  private readonly firstSlotAt: number;
  private readonly seed: number;
  private readonly multiplier: number;
  private readonly heads: Int32Array;
  private readonly next: Int32Array;
  private readonly mask: number;

  /** An empty index over `slots` slots, which begin at word `firstSlotAt` of the section. */
  constructor(words: Int32Array, firstSlotAt: number, slots: number, seed: number) {
    let buckets = 1024;
    while (buckets < slots) buckets *= 2;
    this.words = words;
    this.firstSlotAt = firstSlotAt;
    this.seed = seed | 0;
    this.multiplier = finishHash(seed) | 1;
    this.heads = new Int32Array(buckets).fill(NONE);
    this.next = new Int32Array(slots).fill(NONE);
    this.mask = buckets - 1;
  }

  /**
   * The slot of this internal endpoint, or -1.
   *
   * @param owner space in the high half, port in host order in the low half
   * @param a0 address, wire order, four words `a0` to `a3`
   */
  find(
    egress: number,
    family: number,
    protocolClass: number,
    owner: number,
    a0: number,
    a1: number,
    a2: number,
    a3: number,
  ): number {
    const words = this.words;
    let slot = this.heads[this.bucket(egress, family, protocolClass, owner, a0, a1, a2, a3)]!;
    while (slot >= 0) {
      const at = this.firstSlotAt + slot * SLOT_WORDS;
      if (
        words[at + 3] === a3 &&
        words[at + SLOT_OWNER] === owner &&
        words[at + 2] === a2 &&
        words[at + 1] === a1 &&
        words[at] === a0 &&
        classOfSlot(slot) === protocolClass
      ) {
        const directory = directoryAt(chunkOfSlot(slot));
        if (
          words[directory + DIRECTORY_FAMILY] === family &&
          words[directory + DIRECTORY_PLACE]! >>> 16 === egress
        ) {
          return slot;
        }
      }
      slot = this.next[slot]!;
    }
    return NONE;
  }

  /** Adds a slot by the endpoint that stands in it. It must not be in the index. */
  insert(slot: number): void {
    const bucket = this.bucketOfSlot(slot);
    this.next[slot] = this.heads[bucket]!;
    this.heads[bucket] = slot;
  }

  /** Removes a slot whose endpoint still stands in it; does nothing if it is not in the index. */
  remove(slot: number): void {
    const bucket = this.bucketOfSlot(slot);
    const after = this.next[slot]!;
    let at = this.heads[bucket]!;
    if (at === slot) {
      this.heads[bucket] = after;
      return;
    }
    while (at >= 0) {
      const following = this.next[at]!;
      if (following === slot) {
        this.next[at] = after;
        return;
      }
      at = following;
    }
  }

  private bucketOfSlot(slot: number): number {
    const words = this.words;
    const at = this.firstSlotAt + slot * SLOT_WORDS;
    const directory = directoryAt(chunkOfSlot(slot));
    return this.bucket(
      words[directory + DIRECTORY_PLACE]! >>> 16,
      words[directory + DIRECTORY_FAMILY]!,
      classOfSlot(slot),
      words[at + SLOT_OWNER]!,
      words[at]!,
      words[at + 1]!,
      words[at + 2]!,
      words[at + 3]!,
    );
  }

  private bucket(
    egress: number,
    family: number,
    protocolClass: number,
    owner: number,
    a0: number,
    a1: number,
    a2: number,
    a3: number,
  ): number {
    const multiplier = this.multiplier;
    let hash = mixWord(this.seed, (egress << 8) | (family << 4) | protocolClass, multiplier);
    hash = mixWord(hash, owner, multiplier);
    hash = mixWord(hash, a3, multiplier);
    if (family !== 4) {
      hash = mixWord(hash, a2, multiplier);
      hash = mixWord(hash, a1, multiplier);
      hash = mixWord(hash, a0, multiplier);
    }
    return finishHash(hash) & this.mask;
  }
}
