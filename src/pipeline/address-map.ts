/**
 * Numbers by address: a table that is built once, from a plan, and asked for packets. Open addressing, at most half
 * full. The hash needs no secret: only the configuration chooses the keys, and so how they cluster.
 *
 * Neighbours: `gateway-addresses.ts`, `port-forwards.ts`.
 */
import { finishHash, mixWord } from '../flow/hash.ts';
import type { Address } from '../wire/address.ts';

/** Words of an entry: family, address (4, wire order), detail, value + 1 (0: empty). */
const ENTRY_WORDS = 7;
const DETAIL = 5;
const VALUE = 6;
const MULTIPLIER = 0x9e3779b1;

export interface AddressEntry {
  readonly address: Address;
  /** What else the key is made of, an int32. */
  readonly detail: number;
  /** 0 or more. */
  readonly value: number;
}

export class AddressMap {
  private readonly cells: Int32Array;
  private readonly mask: number;

  /** Of entries with the same key, the first counts. */
  constructor(entries: readonly AddressEntry[]) {
    let size = 4;
    while (size < entries.length * 2) size *= 2;
    this.cells = new Int32Array(size * ENTRY_WORDS);
    this.mask = size - 1;
    for (const { address, detail, value } of entries) {
      const [word0, word1, word2, word3] = address.words;
      const at = this.place(address.family, word0, word1, word2, word3, detail);
      if (this.cells[at + VALUE] === 0) {
        this.cells.set([address.family, ...address.words, detail, value + 1], at);
      }
    }
  }

  /** The value of an address (wire-order words; IPv4 in `word3`, the others 0) and detail, or -1. */
  get(family: number, word0: number, word1: number, word2: number, word3: number, detail: number): number {
    return this.cells[this.place(family, word0, word1, word2, word3, detail) + VALUE] - 1;
  }

  /** Where the entry of this key begins, or an empty one where it would. */
  private place(
    family: number,
    word0: number,
    word1: number,
    word2: number,
    word3: number,
    detail: number,
  ): number {
    const cells = this.cells;
    let hash = mixWord(word3, family ^ detail, MULTIPLIER);
    if ((word0 | word1 | word2) !== 0) {
      hash = mixWord(mixWord(mixWord(hash, word0, MULTIPLIER), word1, MULTIPLIER), word2, MULTIPLIER);
    }
    for (let number = finishHash(hash) & this.mask; ; number = (number + 1) & this.mask) {
      const at = number * ENTRY_WORDS;
      if (
        cells[at + VALUE] === 0 ||
        (cells[at + 4] === word3 &&
          cells[at] === family &&
          cells[at + DETAIL] === detail &&
          cells[at + 1] === word0 &&
          cells[at + 2] === word1 &&
          cells[at + 3] === word2)
      ) {
        return at;
      }
    }
  }
}
