/**
 * The value sets of one dimension, each of them once: thousands of rules may ask for the same prefixes.
 *
 * For the time of compiling; `set-membership.ts` has what is asked for packets.
 */
import type { AddressValues, Test } from './condition.ts';
import { sortablePart } from './packet-values.ts';
import { sameRanges } from './ranges.ts';
import { type CompiledSets, PAIR6 } from './set-membership.ts';

export class ValueSets {
  /** One of `condition.ts`. */
  readonly dimension: number;
  /** Sets by number. */
  readonly tests: Test[] = [];
  /** Boxes that ask for each set, ascending. */
  readonly boxesOf: number[][] = [];
  /** Boxes that ask for any of them. */
  boxCount = 0;
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
    this.boxCount++;
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

/** Sets in typed arrays. */
export function compileSets(dimension: number, tests: readonly Test[]): CompiledSets {
  const first = [0];
  const first6 = [0];
  const numbers: number[] = [];
  for (const test of tests) {
    if (test.kind === 'number') for (const value of test.values) numbers.push(value);
    else for (const value of test.values.ipv4) numbers.push(sortablePart(value));
    first.push(numbers.length >> 1);
    first6.push(first6.at(-1)! + (test.kind === 'number' ? 0 : test.values.ipv6.length >> 1));
  }
  const pairs6 = new Int32Array(first6.at(-1)! * PAIR6);
  let at = 0;
  for (const test of tests) {
    if (test.kind === 'number') continue;
    for (const address of test.values.ipv6) {
      writeSortable6(pairs6, at, address);
      at += PAIR6 / 2;
    }
  }
  return {
    dimension,
    first: Int32Array.from(first),
    pairs: Int32Array.from(numbers),
    first6: Int32Array.from(first6),
    pairs6,
  };
}
