/**
 * One line of values cut where the answer to "which boxes?" changes, and the pieces put together again into groups that
 * fit into a given memory.
 *
 * ```
 *  sets      A     |-----------------------|
 *            B              |------|
 *            C                          |--------|
 *  pieces    |  A  |   A    |  AB  | A |AC |  C  |  -       exact: a row of bits for each different answer
 *  groups    |      A            |AB     |ABC       | C |   union of the answers of some neighbours
 * ```
 *
 * N boxes may cut a line 2N times, and a row has N bits: what is exact grows with N squared. A group's row has the
 * boxes of all its pieces, so some that do not hold the value at hand; but never more than the `slack` that begin or
 * end within the group. So the memory is bounded, and so is the number of candidates that are looked at in vain.
 */
import { randomFillSync } from 'node:crypto';
import type { Ranges } from './ranges.ts';

/** Which rows the groups of a line have. */
export interface Groups<T> {
  /** Where each group begins, ascending; the first is the line's beginning. */
  readonly starts: T[];
  /** Row number of each group. */
  readonly rows: number[];
  /** Different rows. */
  rowCount: number;
}

/** Is told the sets of every row, in the order of their numbers; those that ended within it stand in the second. */
export type RowWriter = (sets: Iterable<number>, ended: Iterable<number>) => void;

/** All edges of sets on a line, ascending; an edge is where a set begins, or where it has just ended. */
export class Edges<T> {
  private readonly at: readonly T[];
  /** Set of each edge; of one that has ended, the complement (`~set`). */
  private readonly sets: Int32Array;
  private readonly min: T;
  private readonly weights: readonly number[];
  /** Boxes that begin or end at all edges together. */
  readonly weight: number;

  /**
   * `ranges` of each set; `behind` gives the value behind another one, or undefined at the end of the line.
   * `weights`: boxes that ask for each set.
   */
  constructor(
    min: T,
    behind: (value: T) => T | undefined,
    ranges: readonly Ranges<T>[],
    weights: readonly number[],
  ) {
    this.min = min;
    this.weights = weights;
    const at: T[] = [];
    const sets: number[] = [];
    let weight = 0;
    ranges.forEach((of, set) => {
      for (let i = 0; i < of.length; i += 2) {
        at.push(of[i]!);
        sets.push(set);
        const end = behind(of[i + 1]!);
        weight += 2 * weights[set]!;
        if (end === undefined) continue;
        at.push(end);
        sets.push(~set);
      }
    });
    this.weight = weight;
    const order = ascending(at);
    this.at = Array.from(order, (edge) => at[edge]!);
    this.sets = Int32Array.from(order, (edge) => sets[edge]!);
  }

  /**
   * Groups with at most `slack` boxes beginning or ending within each; 0: pieces. Undefined as soon as there are more
   * than `mostRows` different rows.
   */
  group(slack: number, mostRows: number, writeRow?: RowWriter): Groups<T> | undefined {
    const { at, sets, weights } = this;
    const groups = new GroupsBuilder<T>(weights.length, writeRow);
    const end = sets.length;
    let edge = 0;
    // What begins at the line's beginning belongs to the first group from its start.
    while (edge < end && at[edge] === this.min) groups.edge(sets[edge++]!);
    groups.open(this.min);
    let within = 0;
    while (edge < end) {
      const from = edge;
      const here = at[edge]!;
      let weight = 0;
      while (edge < end && at[edge] === here) {
        const set = sets[edge++]!;
        weight += weights[set < 0 ? ~set : set]!;
      }
      const opens = within + weight > slack;
      if (opens) groups.close();
      for (let i = from; i < edge; i++) groups.edge(sets[i]!);
      if (opens) groups.open(here);
      within = opens ? 0 : within + weight;
      if (groups.result.rowCount > mostRows) return undefined;
    }
    groups.close();
    return groups.result.rowCount > mostRows ? undefined : groups.result;
  }
}

/** So many edges have room beside a value of 33 bits in a number. */
const MOST_PACKED = 2 ** 20;

/** The places of values in their ascending order. */
function ascending<T>(values: readonly T[]): ArrayLike<number> & Iterable<number> {
  if (typeof values[0] !== 'number' || values.length > MOST_PACKED) {
    return values
      .map((_, index) => index)
      .sort((a, b) => (values[a]! < values[b]! ? -1 : values[a]! > values[b]! ? 1 : 0));
  }
  // Numbers alone, and so without a call for every comparison.
  const packed = Float64Array.from(values, (value, index) => (value as number) * MOST_PACKED + index).sort();
  return Int32Array.from(packed, (value) => value % MOST_PACKED);
}

const KEY_WORDS = 3;

/** Keeps which sets hold at the place at hand, and in the group at hand. */
class GroupsBuilder<T> {
  readonly result: Groups<T> = { starts: [], rows: [], rowCount: 0 };
  private readonly active = new Set<number>();
  /** Sets that ended within the open group. */
  private readonly gone = new Set<number>();
  private isOpen = false;
  private readonly writeRow: RowWriter | undefined;
  /** Three words for each set. */
  private readonly keys: Int32Array;
  /** Exclusive or of the keys of all sets of the group: equal sets have equal signatures. */
  private readonly signature: [number, number, number] = [0, 0, 0];
  /** Rows by the first part of their signatures, and the last part by row. */
  private readonly known = new Map<number, number>();
  private readonly highs: number[] = [];

  constructor(sets: number, writeRow: RowWriter | undefined) {
    this.writeRow = writeRow;
    // From outside: the words of a small generator depend on each other, and so would signatures. Of independent words
    // those of different sets are equal once in 2^85 times, whoever has chosen the sets.
    this.keys = randomFillSync(new Int32Array(sets * KEY_WORDS));
  }

  /** `set` begins, or, if it is the complement of one, has ended. */
  edge(edge: number): void {
    const set = edge < 0 ? ~edge : edge;
    if (edge >= 0) {
      this.active.add(set);
      // It may have ended within this group already: then it counts.
      if (!this.gone.delete(set)) this.toggle(set);
    } else {
      this.active.delete(set);
      if (this.isOpen) this.gone.add(set);
      else this.toggle(set);
    }
  }

  open(start: T): void {
    this.isOpen = true;
    this.result.starts.push(start);
  }

  close(): void {
    const [low, middle, high] = this.signature;
    const key = (low >>> 0) * 2 ** 21 + (middle & 0x1fffff);
    let row = this.known.get(key);
    // Others with the same key, should there ever be any, have rows of their own.
    if (row === undefined || this.highs[row] !== high) {
      row = this.result.rowCount++;
      this.known.set(key, row);
      this.highs.push(high);
      this.writeRow?.(this.active, this.gone);
    }
    this.result.rows.push(row);
    for (const set of this.gone) this.toggle(set);
    this.gone.clear();
    this.isOpen = false;
  }

  private toggle(set: number): void {
    const { signature, keys } = this;
    const at = set * KEY_WORDS;
    signature[0] ^= keys[at]!;
    signature[1] ^= keys[at + 1]!;
    signature[2] ^= keys[at + 2]!;
  }
}
