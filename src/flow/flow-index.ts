/**
 * The index of the flow table: from a key to the record and direction that it belongs to.
 *
 * Open addressing with linear probing over 32-bit slots in the heap, at most half full, so that a lookup
 * usually touches one cache line here and one of the record. Two entries a flow, one for each direction.
 *
 * ```
 *  slot   31                    refBits-1          0
 *        +---------------------+--------------------+
 *        | tag: hash's top bits| record*2+direction | 0: empty
 *        |                     | + 1                |
 *        +---------------------+--------------------+
 *  home position of a key: the low bits of its hash
 * ```
 *
 * The tag spares most comparisons with keys that are not the one sought. An entry is deleted by shifting back
 * those behind it that may move nearer to their home, so there are no tombstones and probes stay short however
 * long the table runs. Nothing here is stored: the index is rebuilt from the records (`flow/table.ts`).
 */
import { IPV4 } from '../wire/packet.ts';
import { hash4, hash10 } from './hash.ts';
import {
  DIRECTION_WORDS,
  KEY_DST0,
  KEY_DST1,
  KEY_DST2,
  KEY_DST3,
  KEY_META,
  KEY_PORTS,
  KEY_SRC0,
  KEY_SRC1,
  KEY_SRC2,
  KEY_SRC3,
  RECORD_WORDS,
} from './layout.ts';

/** Where the key of a ref (`record * 2 + direction`) begins in the records' words. */
export function lineOf(ref: number): number {
  return Math.imul(ref >> 1, RECORD_WORDS) + (ref & 1) * DIRECTION_WORDS;
}

export class FlowIndex {
  /** Slots; a power of two. */
  readonly size: number;
  private readonly slots: Int32Array;
  private readonly words: Int32Array;
  private readonly mask: number;
  private readonly refMask: number;
  private readonly seed: number;
  private readonly multiplier: number;

  /** An empty index for `capacity` records whose words are `words`. */
  constructor(words: Int32Array, capacity: number, seed0: number, seed1: number) {
    let size = 8;
    while (size < capacity * 4) size *= 2;
    this.size = size;
    // Filled, so that its pages are there before the first packet.
    this.slots = new Int32Array(size).fill(0);
    this.words = words;
    this.mask = size - 1;
    this.refMask = (1 << (32 - Math.clz32(capacity * 2))) - 1;
    this.seed = seed0;
    this.multiplier = seed1 | 1;
  }

  /**
   * Ref of a key, or -1. The words are those of {@link FlowKey}; of an IPv4 key the first three of each address are
   * not looked at.
   */
  find(
    src0: number,
    src1: number,
    src2: number,
    src3: number,
    dst0: number,
    dst1: number,
    dst2: number,
    dst3: number,
    ports: number,
    meta: number,
  ): number {
    const slots = this.slots;
    const words = this.words;
    const mask = this.mask;
    const refMask = this.refMask;
    const hash = this.hash(src0, src1, src2, src3, dst0, dst1, dst2, dst3, ports, meta);
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const slot = slots[at]!;
      if (slot === 0) return -1;
      if (((slot ^ hash) & ~refMask) !== 0) continue;
      const ref = (slot & refMask) - 1;
      const line = lineOf(ref);
      if (
        words[line + KEY_SRC3] !== src3 ||
        words[line + KEY_DST3] !== dst3 ||
        words[line + KEY_PORTS] !== ports ||
        words[line + KEY_META] !== meta
      ) {
        continue;
      }
      if ((meta & 0xff) === IPV4) return ref;
      if (
        words[line + KEY_SRC0] === src0 &&
        words[line + KEY_SRC1] === src1 &&
        words[line + KEY_SRC2] === src2 &&
        words[line + KEY_DST0] === dst0 &&
        words[line + KEY_DST1] === dst1 &&
        words[line + KEY_DST2] === dst2
      ) {
        return ref;
      }
    }
  }

  /** Ref of the key that stands at `line` of `words` (a record's line, or a key laid out like one), or -1. */
  findLine(words: Int32Array, line: number): number {
    return this.find(
      words[line + KEY_SRC0]!,
      words[line + KEY_SRC1]!,
      words[line + KEY_SRC2]!,
      words[line + KEY_SRC3]!,
      words[line + KEY_DST0]!,
      words[line + KEY_DST1]!,
      words[line + KEY_DST2]!,
      words[line + KEY_DST3]!,
      words[line + KEY_PORTS]!,
      words[line + KEY_META]!,
    );
  }

  /** Enters a ref under the key that stands in its line. The caller has made sure that the key is new. */
  insert(ref: number): void {
    const slots = this.slots;
    const mask = this.mask;
    const hash = this.hashOf(ref);
    let at = hash & mask;
    while (slots[at] !== 0) at = (at + 1) & mask;
    slots[at] = (hash & ~this.refMask) | (ref + 1);
  }

  /** Takes a ref out; its line must still hold the key. Returns whether it was there. */
  delete(ref: number): boolean {
    const slots = this.slots;
    const mask = this.mask;
    const refMask = this.refMask;
    let hole = this.hashOf(ref) & mask;
    while ((slots[hole]! & refMask) !== ref + 1) {
      if (slots[hole] === 0) return false;
      hole = (hole + 1) & mask;
    }
    for (let at = (hole + 1) & mask; slots[at] !== 0; at = (at + 1) & mask) {
      const slot = slots[at]!;
      const home = this.hashOf((slot & refMask) - 1) & mask;
      // An entry may move into the hole unless its home lies behind the hole.
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        slots[hole] = slot;
        hole = at;
      }
    }
    slots[hole] = 0;
    return true;
  }

  /** Calls back for every entry: for {@link FlowTable.verify}. */
  forEach(onEntry: (ref: number) => void): void {
    for (const slot of this.slots) if (slot !== 0) onEntry((slot & this.refMask) - 1);
  }

  private hashOf(ref: number): number {
    const words = this.words;
    const line = lineOf(ref);
    return this.hash(
      words[line + KEY_SRC0]!,
      words[line + KEY_SRC1]!,
      words[line + KEY_SRC2]!,
      words[line + KEY_SRC3]!,
      words[line + KEY_DST0]!,
      words[line + KEY_DST1]!,
      words[line + KEY_DST2]!,
      words[line + KEY_DST3]!,
      words[line + KEY_PORTS]!,
      words[line + KEY_META]!,
    );
  }

  private hash(
    src0: number,
    src1: number,
    src2: number,
    src3: number,
    dst0: number,
    dst1: number,
    dst2: number,
    dst3: number,
    ports: number,
    meta: number,
  ): number {
    const { seed, multiplier } = this;
    if ((meta & 0xff) === IPV4) return hash4(seed, multiplier, src3, dst3, ports, meta);
    return hash10(seed, multiplier, src0, src1, src2, src3, dst0, dst1, dst2, dst3, ports, meta);
  }
}
