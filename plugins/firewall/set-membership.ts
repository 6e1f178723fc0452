/**
 * "Is this value in that set?", for a packet: sets of values of one dimension as sorted ranges in typed arrays.
 *
 * IPv4 addresses and numbers are pairs of int32, IPv6 addresses pairs of four words; all of them sortable as int32
 * (`packet-values.ts`). Nothing is allocated. Neighbours: `value-sets.ts` (makes them), `dimension-index.ts`.
 */
import { DESTINATION } from './condition.ts';
import type { PacketValues } from './packet-values.ts';

/** Words of a pair of IPv6 addresses. */
export const PAIR6 = 8;

/** Sets of one dimension, compiled. */
export interface CompiledSets {
  readonly dimension: number;
  /** Where the ranges of a set begin, in pairs; one more at the end. */
  readonly first: Int32Array;
  readonly pairs: Int32Array;
  /** The same of IPv6 addresses. */
  readonly first6: Int32Array;
  readonly pairs6: Int32Array;
}

export class SetMembership {
  private readonly dimension: number;
  private readonly first: Int32Array;
  private readonly pairs: Int32Array;
  private readonly first6: Int32Array;
  private readonly pairs6: Int32Array;

  constructor({ dimension, first, pairs, first6, pairs6 }: CompiledSets) {
    this.dimension = dimension;
    this.first = first;
    this.pairs = pairs;
    this.first6 = first6;
    this.pairs6 = pairs6;
  }

  get bytes(): number {
    const { first, pairs, first6, pairs6 } = this;
    return first.byteLength + pairs.byteLength + first6.byteLength + pairs6.byteLength;
  }

  /** Whether the packet's value of this dimension is in set number `set`. */
  has(set: number, packet: PacketValues): boolean {
    const { dimension } = this;
    if (dimension > DESTINATION) return this.has1(set, packet.numbers[dimension]!);
    const at = dimension << 2;
    return packet.family === 4
      ? this.has1(set, packet.addresses[at + 3]!)
      : this.has6(set, packet.addresses, at);
  }

  private has1(set: number, value: number): boolean {
    const { pairs } = this;
    let low = this.first[set]!;
    const end = this.first[set + 1]!;
    let high = end;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (pairs[2 * middle + 1]! < value) low = middle + 1;
      else high = middle;
    }
    return low < end && pairs[2 * low]! <= value;
  }

  private has6(set: number, words: Int32Array, at: number): boolean {
    const { pairs6 } = this;
    let low = this.first6[set]!;
    const end = this.first6[set + 1]!;
    let high = end;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compare6(pairs6, middle * PAIR6 + 4, words, at) < 0) low = middle + 1;
      else high = middle;
    }
    return low < end && compare6(pairs6, low * PAIR6, words, at) <= 0;
  }
}

/** Orders two IPv6 addresses in sortable words. */
export function compare6(a: Int32Array, aAt: number, b: Int32Array, bAt: number): number {
  for (let i = 0; i < 4; i++) {
    const x = a[aAt + i]!;
    const y = b[bAt + i]!;
    if (x !== y) return x < y ? -1 : 1;
  }
  return 0;
}
