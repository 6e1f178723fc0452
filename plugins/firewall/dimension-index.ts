/**
 * For one dimension: from a packet's value to a row of bits, one bit for each box that the value may be in.
 *
 * ```
 *  number   table[value] ──────────────────────────────────────────► row
 *  IPv4     table[top bits] ─► binary search among the starts there ─► row
 *  IPv6     binary search among all starts ─────────────────────────► row
 *
 *  row      | summary: bit i says that word i is not 0 | a bit for each box |
 * ```
 *
 * Boxes that do not ask for this dimension are in every row. Where exact rows would take more than their share of
 * memory, groups of neighbours have one (`segments.ts`), and whether a box holds the value is asked of its set.
 * Neighbours: `classifier.ts` (puts the rows together).
 */
import { DESTINATION, LINES, type Test } from './condition.ts';
import { type PacketValues, sortablePart } from './packet-values.ts';
import { IPV4_LINE, IPV6_LINE, type Line, type Ranges } from './ranges.ts';
import { Edges, type Groups } from './segments.ts';
import { compare6, SetMembership, type ValueSets, writeSortable6 } from './value-sets.ts';

/** Memory for the rows of one family of one index, unless a test wants to see less. */
export const ROWS_BYTES = 1024 * 1024;
/** But so many rows at least. */
const LEAST_ROWS = 256;
const LEAST_SLACK = 8;
/** An IPv4 table has at most so many bits of the address. */
const MOST_TOP_BITS = 16;

/** How many words of summary and of bits a row has. */
export interface RowShape {
  readonly boxes: number;
  readonly words: number;
  readonly summaryWords: number;
}

export function rowShape(boxes: number): RowShape {
  const words = (boxes + 31) >>> 5;
  return { boxes, words, summaryWords: (words + 31) >>> 5 };
}

/** Where rows are written: all rows of all indexes one behind the other. */
export class RowStore {
  readonly shape: RowShape;
  /** Rows that one line may have. */
  readonly mostRows: number;
  private words = new Int32Array(1024);
  private used = 0;

  constructor(shape: RowShape, bytesEach: number) {
    this.shape = shape;
    this.mostRows = Math.max(LEAST_ROWS, Math.floor(bytesEach / (this.rowWords * 4)));
  }

  get rowWords(): number {
    return this.shape.words + this.shape.summaryWords;
  }

  /** Makes a row of `base`, which is as long, and of the boxes of some sets; returns where it begins. */
  add(base: Int32Array, sets: readonly Iterable<number>[], boxesOf: readonly (readonly number[])[]): number {
    const { rowWords } = this;
    const { words: wordCount, summaryWords } = this.shape;
    if (this.used + rowWords > this.words.length) {
      const larger = new Int32Array(Math.max(this.words.length * 2, this.used + rowWords));
      larger.set(this.words);
      this.words = larger;
    }
    const at = this.used;
    this.used += rowWords;
    const { words } = this;
    const first = at + summaryWords;
    words.set(base, first);
    for (const some of sets) {
      for (const set of some) {
        const boxes = boxesOf[set]!;
        for (let i = 0; i < boxes.length; i++) words[first + (boxes[i]! >>> 5)]! |= 1 << (boxes[i]! & 31);
      }
    }
    for (let word = 0; word < wordCount; word++) {
      if (words[first + word] !== 0) words[at + (word >>> 5)]! |= 1 << (word & 31);
    }
    return at;
  }

  /** All rows; nothing can be added any more. */
  finish(): Int32Array {
    this.words = this.words.slice(0, this.used);
    return this.words;
  }
}

export class DimensionIndex {
  readonly dimension: number;
  /** Whether a row may have boxes that do not hold the value. */
  readonly isRough: boolean;
  /** Boxes that ask for this dimension. */
  readonly boxes: number;
  private readonly membership: SetMembership;
  /** Rough ones: set of each box, -1 for none. */
  private readonly setOf: Int32Array;
  private readonly isAddress: boolean;
  /** Numbers: row by value. IPv4: first start by top bits. */
  private readonly table: Int32Array;
  private readonly shift: number;
  private readonly starts: Int32Array;
  private readonly rows: Int32Array;
  private readonly starts6: Int32Array;
  private readonly rows6: Int32Array;

  constructor(sets: ValueSets, base: Int32Array, store: RowStore) {
    const { dimension, tests, boxesOf } = sets;
    this.dimension = dimension;
    this.isAddress = dimension <= DESTINATION;
    this.membership = new SetMembership(dimension, tests);
    this.boxes = boxesOf.reduce((sum, { length }) => sum + length, 0);
    const line = LINES[dimension] ?? IPV4_LINE;
    const main = new Rows(line, tests.map(ranges), boxesOf, base, store);
    this.rows = main.rows;
    this.starts6 = new Int32Array(0);
    this.rows6 = new Int32Array(0);
    if (!this.isAddress) {
      this.isRough = main.isRough;
      this.shift = 0;
      this.starts = new Int32Array(0);
      this.table = valueTable(main, line.max);
      this.setOf = setsByBox(this.isRough, boxesOf, store.shape.boxes);
      return;
    }
    const other = new Rows(IPV6_LINE, tests.map(ranges6), boxesOf, base, store);
    this.isRough = main.isRough || other.isRough;
    this.starts = Int32Array.from(main.starts, sortablePart);
    const bits = Math.min(MOST_TOP_BITS, Math.max(0, 32 - Math.clz32(main.starts.length >> 2)));
    this.shift = 32 - bits;
    this.table = topBitsTable(main.starts, bits);
    this.starts6 = new Int32Array(other.starts.length * 4);
    other.starts.forEach((start, index) => {
      writeSortable6(this.starts6, index * 4, start);
    });
    this.rows6 = other.rows;
    this.setOf = setsByBox(this.isRough, boxesOf, store.shape.boxes);
  }

  get bytes(): number {
    const { table, starts, rows, starts6, rows6, membership, setOf } = this;
    const tables = table.byteLength + starts.byteLength + rows.byteLength;
    return tables + starts6.byteLength + rows6.byteLength + setOf.byteLength + membership.bytes;
  }

  /** Where the row of the packet's value begins. */
  find(packet: PacketValues): number {
    if (!this.isAddress) return this.table[packet.numbers[this.dimension]!]!;
    const at = this.dimension << 2;
    return packet.family === 4 ? this.find4(packet.addresses[at + 3]!) : this.find6(packet.addresses, at);
  }

  /** Whether a box of the packet's row holds the packet's value; asked of rough ones only. */
  holds(box: number, packet: PacketValues): boolean {
    const set = this.setOf[box]!;
    return set < 0 || this.membership.has(set, packet);
  }

  private find4(address: number): number {
    const { starts, table } = this;
    // `>>> 32` would be `>>> 0`.
    const top = this.shift === 32 ? 0 : (address ^ (1 << 31)) >>> this.shift;
    // The last start that is not behind the address: among those of its top bits, or the one in front of them.
    let low = table[top]!;
    let high = table[top + 1]!;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (starts[middle]! <= address) low = middle + 1;
      else high = middle;
    }
    return this.rows[low - 1]!;
  }

  private find6(words: Int32Array, at: number): number {
    const { starts6 } = this;
    let low = 1;
    let high = this.rows6.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compare6(starts6, middle << 2, words, at) <= 0) low = middle + 1;
      else high = middle;
    }
    return this.rows6[low - 1]!;
  }
}

function setsByBox(isRough: boolean, boxesOf: readonly (readonly number[])[], boxes: number): Int32Array {
  const setOf = new Int32Array(isRough ? boxes : 0).fill(-1);
  if (isRough) {
    boxesOf.forEach((asking, set) => {
      for (const box of asking) setOf[box] = set;
    });
  }
  return setOf;
}

function ranges(test: Test): Ranges<number> {
  return test.kind === 'number' ? test.values : test.values.ipv4;
}

function ranges6(test: Test): Ranges<bigint> {
  return test.kind === 'number' ? [] : test.values.ipv6;
}

/** The rows of one line. */
class Rows<T> {
  readonly starts: readonly T[];
  /** Where the row of each start begins. */
  readonly rows: Int32Array;
  readonly isRough: boolean;

  constructor(
    line: Line<T>,
    of: readonly Ranges<T>[],
    boxesOf: readonly (readonly number[])[],
    base: Int32Array,
    store: RowStore,
  ) {
    const edges = new Edges<T>(
      line.min,
      (value) => (value === line.max ? undefined : line.next(value)),
      of,
      boxesOf.map(({ length }) => length),
    );
    const { mostRows } = store;
    let slack = 0;
    // Groups are about as many as the weight of all edges over the slack: below half of that there is nothing to try.
    const least = Math.max(LEAST_SLACK, 2 ** Math.floor(Math.log2(edges.weight / mostRows / 2)));
    while (edges.group(slack, mostRows) === undefined) slack = slack === 0 ? least : slack * 2;
    const places: number[] = [];
    const groups = edges.group(slack, mostRows, (sets, ended) => {
      places.push(store.add(base, [sets, ended], boxesOf));
    }) as Groups<T>;
    this.isRough = slack > 0;
    this.starts = groups.starts;
    this.rows = Int32Array.from(groups.rows, (row) => places[row]!);
  }
}

/** Rows by value, of a line of numbers. */
function valueTable({ starts, rows }: Rows<number>, max: number): Int32Array {
  const table = new Int32Array(max + 1);
  starts.forEach((start, index) => {
    table.fill(rows[index]!, start, starts[index + 1] ?? max + 1);
  });
  return table;
}

/** By the top bits of an address: the first start with these bits; one more at the end. */
function topBitsTable(starts: readonly number[], bits: number): Int32Array {
  const table = new Int32Array(2 ** bits + 1);
  const size = 2 ** (32 - bits);
  let at = 0;
  for (let top = 0; top < table.length; top++) {
    while (at < starts.length && starts[at]! < top * size) at++;
    table[top] = at;
  }
  return table;
}
