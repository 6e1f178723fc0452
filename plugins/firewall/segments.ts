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
import type { Ranges } from './ranges.ts';

/** Where a set begins (or behind which it ends). */
interface Edge<T> {
  readonly at: T;
  readonly set: number;
  readonly begins: boolean;
}

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

/** All edges of sets on a line, ascending. */
export class Edges<T> {
  private readonly edges: Edge<T>[] = [];
  private readonly min: T;
  private readonly weights: readonly number[];

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
    ranges.forEach((of, set) => {
      for (let i = 0; i < of.length; i += 2) {
        this.edges.push({ at: of[i]!, set, begins: true });
        const end = behind(of[i + 1]!);
        if (end !== undefined) this.edges.push({ at: end, set, begins: false });
      }
    });
    this.edges.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  }

  /**
   * Groups with at most `slack` boxes beginning or ending within each; 0: pieces. Undefined as soon as there are more
   * than `mostRows` different rows.
   */
  group(slack: number, mostRows: number, writeRow?: RowWriter): Groups<T> | undefined {
    const { edges, weights } = this;
    const groups = new GroupsBuilder<T>(weights.length, writeRow);
    const end = edges.length;
    let at = 0;
    // What begins at the line's beginning belongs to the first group from its start.
    while (at < end && edges[at]!.at === this.min) groups.edge(edges[at++]!);
    groups.open(this.min);
    let within = 0;
    while (at < end) {
      const from = at;
      const { at: here } = edges[at]!;
      let weight = 0;
      while (at < end && edges[at]!.at === here) weight += weights[edges[at++]!.set]!;
      const opens = within + weight > slack;
      if (opens) groups.close();
      for (let i = from; i < at; i++) groups.edge(edges[i]!);
      if (opens) groups.open(here);
      within = opens ? 0 : within + weight;
      if (groups.result.rowCount > mostRows) return undefined;
    }
    groups.close();
    return groups.result.rowCount > mostRows ? undefined : groups.result;
  }
}

/** Keeps which sets hold at the place at hand, and in the group at hand. */
class GroupsBuilder<T> {
  readonly result: Groups<T> = { starts: [], rows: [], rowCount: 0 };
  private readonly active = new Set<number>();
  /** Sets that ended within the open group. */
  private readonly gone = new Set<number>();
  private isOpen = false;
  private readonly writeRow: RowWriter | undefined;
  private readonly keys: readonly (readonly [number, number, number])[];
  /** Exclusive or of the keys of all sets of the group: equal sets have equal signatures. */
  private readonly signature: [number, number, number] = [0, 0, 0];
  private readonly known = new Map<string, number>();

  constructor(sets: number, writeRow: RowWriter | undefined) {
    this.writeRow = writeRow;
    let random = 0x2545f491;
    const next = (): number => {
      random ^= random << 13;
      random ^= random >>> 17;
      random ^= random << 5;
      return random;
    };
    this.keys = Array.from({ length: sets }, () => [next(), next(), next()] as const);
  }

  edge({ set, begins }: Edge<T>): void {
    if (begins) {
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
    const key = this.signature.join();
    let row = this.known.get(key);
    if (row === undefined) {
      row = this.result.rowCount++;
      this.known.set(key, row);
      this.writeRow?.(this.active, this.gone);
    }
    this.result.rows.push(row);
    for (const set of this.gone) this.toggle(set);
    this.gone.clear();
    this.isOpen = false;
  }

  private toggle(set: number): void {
    const { signature } = this;
    const [a, b, c] = this.keys[set]!;
    signature[0] ^= a;
    signature[1] ^= b;
    signature[2] ^= c;
  }
}
