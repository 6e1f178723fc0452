/**
 * Compiles the index of one dimension: the rows of bits, and the tables that lead from values to rows.
 *
 * Neighbours: `dimension-index.ts` (what comes out, drawn there), `segments.ts` (which values share a row),
 * `compile-rules.ts` (all dimensions).
 */
import { DESTINATION, LINES, type Test } from './condition.ts';
import type { CompiledIndex } from './dimension-index.ts';
import { sortablePart } from './packet-values.ts';
import { IPV4_LINE, IPV6_LINE, type Line, type Ranges } from './ranges.ts';
import { Edges, type Groups } from './segments.ts';
import { compileSets, type ValueSets, writeSortable6 } from './value-sets.ts';

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

/** `base`: bits of the boxes that do not ask for this dimension. */
export function compileIndex(sets: ValueSets, base: Int32Array, store: RowStore): CompiledIndex {
  const { dimension, tests, boxesOf } = sets;
  const { boxes } = store.shape;
  const line = LINES[dimension] ?? IPV4_LINE;
  const main = new Rows(line, tests.map(ranges), boxesOf, base, store);
  const compiled = { dimension, sets: compileSets(dimension, tests), rows: main.rows };
  if (dimension > DESTINATION) {
    return {
      ...compiled,
      isRough: main.isRough,
      setOf: setsByBox(main.isRough, boxesOf, boxes),
      table: valueTable(main, line.max),
      shift: 0,
      starts: new Int32Array(0),
      starts6: new Int32Array(0),
      rows6: new Int32Array(0),
    };
  }
  const other = new Rows(IPV6_LINE, tests.map(ranges6), boxesOf, base, store);
  const isRough = main.isRough || other.isRough;
  const bits = Math.min(MOST_TOP_BITS, Math.max(0, 32 - Math.clz32(main.starts.length >> 2)));
  const starts6 = new Int32Array(other.starts.length * 4);
  other.starts.forEach((start, index) => {
    writeSortable6(starts6, index * 4, start);
  });
  return {
    ...compiled,
    isRough,
    setOf: setsByBox(isRough, boxesOf, boxes),
    table: topBitsTable(main.starts, bits),
    shift: 32 - bits,
    starts: Int32Array.from(main.starts, sortablePart),
    starts6,
    rows6: other.rows,
  };
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
