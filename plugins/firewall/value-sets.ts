/**
 * The value sets of one dimension, each of them once: thousands of rules may ask for the same prefixes.
 *
 * A set is kept as sorted ranges in typed arrays, so that "is this value in that set" can be answered for a packet
 * without allocating. IPv4 addresses and numbers are pairs of int32, IPv6 addresses pairs of four words; all of
 * them sortable as int32 (`packet-values.ts`).
 */
import { type AddressValues, DESTINATION, type Test } from './condition.ts';
import { type PacketValues, sortablePart } from './packet-values.ts';
import { sameRanges } from './ranges.ts';

/** Words of a pair of IPv6 addresses. */
const PAIR6 = 8;

export class ValueSets {
  /** One of `condition.ts`. */
  readonly dimension: number;
  /** Sets by number. */
  readonly tests: Test[] = [];
  /** Boxes that ask for each set, ascending. */
  readonly boxesOf: number[][] = [];
  private readonly byHash = new Map<number, number[]>();

  constructor(dimension: number) {
    this.dimension = dimension;
  }

  /** A box asks for this set; its number. */
  add(test: Test, box: number): number {
    const hash = hashOf(test);
    const candidates = this.byHash.get(hash);
    let number = candidates?.find((candidate) => isSame(this.tests[candidate]!, test));
    if (number === undefined) {
      number = this.tests.length;
      this.tests.push(test);
      this.boxesOf.push([]);
      if (candidates === undefined) this.byHash.set(hash, [number]);
      else candidates.push(number);
    }
    this.boxesOf[number]!.push(box);
    return number;
  }
}

function isSame(a: Test, b: Test): boolean {
  if (a.kind === 'number') return sameRanges(a.values, b.values as readonly number[]);
  const other = b.values as AddressValues;
  if (a.values === other) return true;
  return sameRanges(a.values.ipv4, other.ipv4) && sameRanges(a.values.ipv6, other.ipv6);
}

/** Of large sets not all values are looked at: equal ones are few. */
function hashOf(test: Test): number {
  const mix = (state: number, value: number): number => Math.imul(state ^ value, 0x9e3779b1) ^ (state >>> 15);
  const numbers = test.kind === 'number' ? test.values : test.values.ipv4;
  let state = mix(1, numbers.length);
  for (let i = 0; i < numbers.length && i < 16; i++) state = mix(state, numbers[i]! | 0);
  if (test.kind === 'number') return state;
  const { ipv6 } = test.values;
  state = mix(state, ipv6.length);
  for (let i = 0; i < ipv6.length && i < 16; i++) {
    state = mix(state, Number(BigInt.asIntN(32, ipv6[i]! >> 64n)));
    state = mix(state, Number(BigInt.asIntN(32, ipv6[i]!)));
  }
  return state;
}

/** Number of ranges of a test. */
export function rangeCount(test: Test): number {
  if (test.kind === 'number') return test.values.length >> 1;
  return (test.values.ipv4.length + test.values.ipv6.length) >> 1;
}

/** Four sortable words of an IPv6 address. */
export function writeSortable6(words: Int32Array, at: number, address: bigint): void {
  words[at] = sortablePart(Number(address >> 96n));
  words[at + 1] = sortablePart(Number((address >> 64n) & 0xffffffffn));
  words[at + 2] = sortablePart(Number((address >> 32n) & 0xffffffffn));
  words[at + 3] = sortablePart(Number(address & 0xffffffffn));
}

/** Whether values are in sets, for a packet. */
export class SetMembership {
  private readonly dimension: number;
  /** Where the ranges of a set begin, in pairs; one more at the end. */
  private readonly first: Int32Array;
  private readonly pairs: Int32Array;
  private readonly first6: Int32Array;
  private readonly pairs6: Int32Array;

  constructor(dimension: number, tests: readonly Test[]) {
    this.dimension = dimension;
    const first = [0];
    const first6 = [0];
    const numbers: number[] = [];
    for (const test of tests) {
      if (test.kind === 'number') for (const value of test.values) numbers.push(value);
      else for (const value of test.values.ipv4) numbers.push(sortablePart(value));
      first.push(numbers.length >> 1);
      first6.push(first6.at(-1)! + (test.kind === 'number' ? 0 : test.values.ipv6.length >> 1));
    }
    this.first = Int32Array.from(first);
    this.pairs = Int32Array.from(numbers);
    this.first6 = Int32Array.from(first6);
    this.pairs6 = new Int32Array(first6.at(-1)! * PAIR6);
    let at = 0;
    for (const test of tests) {
      if (test.kind === 'number') continue;
      for (const address of test.values.ipv6) {
        writeSortable6(this.pairs6, at, address);
        at += PAIR6 / 2;
      }
    }
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
