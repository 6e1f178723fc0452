/**
 * Sets of values as sorted ranges: what a rule asks of a field comes down to these.
 *
 * A set is a flat list `low, high, low, high, ...`, inclusive, ascending, with a gap between neighbours; so two
 * sets of the same values are equal element by element. Ports and the like are numbers, IPv6 addresses bigints.
 * For the time of compiling only: nothing here runs for a packet. Neighbours: `values.ts`, `boxes.ts`.
 */

/** A set of values: `low, high, low, high, ...`. */
export type Ranges<T> = readonly T[];

/** All values that a field can have. */
export interface Line<T> {
  readonly min: T;
  readonly max: T;
  /** The value behind this one; not asked of `max`. */
  next(value: T): T;
  /** The value in front of this one; not asked of `min`. */
  previous(value: T): T;
}

/** Whole numbers from 0. */
export function numberLine(max: number): Line<number> {
  return { min: 0, max, next: (value) => value + 1, previous: (value) => value - 1 };
}

/** IPv6 addresses as numbers. */
export const IPV6_LINE: Line<bigint> = {
  min: 0n,
  max: (1n << 128n) - 1n,
  next: (value) => value + 1n,
  previous: (value) => value - 1n,
};

/** IPv4 addresses as numbers. */
export const IPV4_LINE = numberLine(0xffffffff);

/** All values of a line. */
export function everything<T>(line: Line<T>): Ranges<T> {
  return [line.min, line.max];
}

/** Whether these are all values of a line. */
export function isEverything<T>(line: Line<T>, ranges: Ranges<T>): boolean {
  return ranges.length === 2 && ranges[0] === line.min && ranges[1] === line.max;
}

/** Makes a set of pairs in any order, which may overlap. */
export function rangesOf<T>(line: Line<T>, pairs: readonly (readonly [low: T, high: T])[]): Ranges<T> {
  const sorted = pairs.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const result: T[] = [];
  for (const [low, high] of sorted) {
    const last = result.length - 1;
    if (last > 0 && (low <= result[last]! || low === line.next(result[last]!))) {
      if (high > result[last]!) result[last] = high;
    } else {
      result.push(low, high);
    }
  }
  return result;
}

/** Values of either set. */
export function union<T>(line: Line<T>, a: Ranges<T>, b: Ranges<T>): Ranges<T> {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  return rangesOf(line, [...pairsOf(a), ...pairsOf(b)]);
}

/** Values that are not in the set. */
export function complement<T>(line: Line<T>, ranges: Ranges<T>): Ranges<T> {
  const result: T[] = [];
  let from: T | undefined = line.min as T | undefined;
  for (const [low, high] of pairsOf(ranges)) {
    if (from !== undefined && from! < low) result.push(from, line.previous(low));
    from = high === line.max ? undefined : line.next(high);
  }
  if (from !== undefined) result.push(from, line.max);
  return result;
}

/** Values of both sets. */
export function intersection<T>(a: Ranges<T>, b: Ranges<T>): Ranges<T> {
  const result: T[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const low = a[i]! > b[j]! ? a[i]! : b[j]!;
    const high = a[i + 1]! < b[j + 1]! ? a[i + 1]! : b[j + 1]!;
    if (low <= high) result.push(low, high);
    if (a[i + 1]! < b[j + 1]!) i += 2;
    else j += 2;
  }
  return result;
}

/** Whether a value is in the set. */
export function contains<T>(ranges: Ranges<T>, value: T): boolean {
  let low = 0;
  let high = ranges.length >> 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[2 * middle + 1]! < value) low = middle + 1;
    else high = middle;
  }
  return 2 * low < ranges.length && ranges[2 * low]! <= value;
}

/** Whether two sets have the same values. */
export function sameRanges<T>(a: Ranges<T>, b: Ranges<T>): boolean {
  return a === b || (a.length === b.length && a.every((value, index) => value === b[index]));
}

/** The ranges one by one. */
export function pairsOf<T>(ranges: Ranges<T>): [low: T, high: T][] {
  const pairs: [T, T][] = [];
  for (let at = 0; at < ranges.length; at += 2) pairs.push([ranges[at]!, ranges[at + 1]!]);
  return pairs;
}
