/**
 * The compiled rules: which rules match a packet, in their order, in a time that hardly depends on how many there are.
 *
 * A packet's value in each dimension has a row of bits, one for each box; the boxes that hold the packet are the ones
 * whose bits are set in all rows (Lakshman and Stiliadis, SIGCOMM 1998). Rows are compared 32 boxes at a time, and
 * where a summary of one row says that 1024 boxes are not there, these are left out (Baboescu and Varghese,
 * SIGCOMM 2001). The lowest box is the first rule.
 *
 * ```
 *  rules ─► boxes ─┬─► source        row  ░█░░██░█ ...  ┐
 *                  ├─► destination   row  ██░█░█░░ ...  ├ and ─► box 5 ─► holds the packet? ─► rule
 *                  └─► port          row  █░░░░█░█ ...  ┘
 * ```
 *
 * Why this and not a tree or tuple space search: whatever the rules are, however they overlap, a lookup is a search in
 * each dimension and one pass over the rows, and memory is bounded by `dimension-index.ts`; nothing of it can be
 * blown up by the choice of rules, and compiling is one sweep over sorted edges. What grows with the number of rules
 * is the pass: a word for 32 of them.
 *
 * Nothing is allocated for a packet. Neighbours: `linear.ts` says the same more slowly.
 */
import { type Box, boxesOf, TooManyBoxes } from './boxes.ts';
import { type Condition, DIMENSIONS } from './condition.ts';
import { DimensionIndex, ROWS_BYTES, type RowShape, RowStore, rowShape } from './dimension-index.ts';
import type { PacketValues } from './packet-values.ts';
import { rangeCount, ValueSets } from './value-sets.ts';

/** Boxes of all rules. */
export const MAX_BOXES = 65_536;
/** Sets with more ranges have indexes of their own: their edges would leave the others' no memory. */
const LARGE_SET = 32;

/** A rule cannot be compiled. */
export class RuleTooComplex extends Error {
  override readonly name = 'RuleTooComplex';
  /** Place in the list of conditions. */
  readonly rule: number;

  constructor(rule: number, message: string) {
    super(message);
    this.rule = rule;
  }
}

export class Classifier {
  readonly ruleCount: number;
  readonly boxCount: number;
  /** What the compiled rules take, bytes. */
  readonly bytes: number;
  private readonly ruleOf: Int32Array;
  private readonly rows: Int32Array;
  private readonly summaryWords: number;
  private readonly indexes: readonly DimensionIndex[];
  /** Those whose rows have boxes too many. */
  private readonly rough: readonly DimensionIndex[];
  /** Where the row of each index begins, for the packet at hand. */
  private readonly rowAt: Int32Array;
  private readonly packet: PacketValues;
  // Where the search is.
  private summaryAt = 0;
  private summary = 0;
  private wordAt = 0;
  private word = 0;
  private lastRule = -1;

  /**
   * Compiles conditions, in the order of their rules, for packets that are read into `packet`.
   *
   * @throws RuleTooComplex
   */
  constructor(conditions: readonly Condition[], packet: PacketValues, rowsBytes = ROWS_BYTES) {
    this.packet = packet;
    const { boxes, ruleOf } = expandRules(conditions);
    this.ruleCount = conditions.length;
    this.boxCount = boxes.length;
    this.ruleOf = Int32Array.from(ruleOf);
    const shape = rowShape(boxes.length);
    const store = new RowStore(shape, rowsBytes);
    this.indexes = valueSets(boxes)
      .map((sets) => new DimensionIndex(sets, boxesWithout(sets, shape), store))
      // The emptiest rows first: most words are 0 after the first one or two.
      .toSorted((a, b) => b.boxes - a.boxes);
    this.rough = this.indexes.filter(({ isRough }) => isRough);
    // A row of all boxes, for rules none of which asks for anything.
    const all = store.add(boxesWithout(undefined, shape), [], []);
    this.rowAt = new Int32Array(Math.max(1, this.indexes.length)).fill(all);
    this.rows = store.finish();
    this.summaryWords = shape.summaryWords;
    const tables = this.indexes.reduce((sum, index) => sum + index.bytes, 0);
    this.bytes = tables + this.rows.byteLength + this.ruleOf.byteLength;
  }

  /** Begins to look for the rules that match the packet; {@link next} has them. */
  begin(): void {
    const { indexes, rowAt, packet } = this;
    for (let i = 0; i < indexes.length; i++) rowAt[i] = indexes[i]!.find(packet);
    this.summaryAt = -1;
    this.summary = 0;
    this.word = 0;
    this.lastRule = -1;
  }

  /** The next rule that matches, in their order; -1 if there is none any more. */
  next(): number {
    const { rowAt, rows, summaryWords } = this;
    const count = rowAt.length;
    let { summaryAt, summary, wordAt, word } = this;
    for (;;) {
      while (word !== 0) {
        const box = (wordAt << 5) | lowestBit(word);
        word &= word - 1;
        const rule = this.ruleOf[box]!;
        if (rule === this.lastRule || !this.holds(box)) continue;
        this.lastRule = rule;
        this.summaryAt = summaryAt;
        this.summary = summary;
        this.wordAt = wordAt;
        this.word = word;
        return rule;
      }
      while (summary === 0) {
        if (++summaryAt >= summaryWords) {
          this.summaryAt = summaryAt;
          this.summary = 0;
          this.word = 0;
          return -1;
        }
        summary = rows[rowAt[0]! + summaryAt]!;
        for (let i = 1; i < count && summary !== 0; i++) summary &= rows[rowAt[i]! + summaryAt]!;
      }
      wordAt = (summaryAt << 5) | lowestBit(summary);
      summary &= summary - 1;
      const at = summaryWords + wordAt;
      word = rows[rowAt[0]! + at]!;
      for (let i = 1; i < count && word !== 0; i++) word &= rows[rowAt[i]! + at]!;
    }
  }

  /** Whether a box whose bit is set in all rows holds the packet. */
  private holds(box: number): boolean {
    const { rough, packet } = this;
    for (let i = 0; i < rough.length; i++) if (!rough[i]!.holds(box, packet)) return false;
    return true;
  }
}

/** Place of the lowest bit of a word that is not 0. */
function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

/**
 * The boxes of all rules, in their order, and the rule of each.
 *
 * @throws RuleTooComplex
 */
export function expandRules(conditions: readonly Condition[]): {
  readonly boxes: readonly Box[];
  readonly ruleOf: readonly number[];
} {
  const boxes: Box[] = [];
  const ruleOf: number[] = [];
  conditions.forEach((condition, rule) => {
    for (const box of ruleBoxes(condition, rule)) {
      boxes.push(box);
      ruleOf.push(rule);
    }
    if (boxes.length > MAX_BOXES) {
      throw new RuleTooComplex(
        rule,
        `the rules up to this one stand for more than ${MAX_BOXES} combinations of values`,
      );
    }
  });
  return { boxes, ruleOf };
}

function ruleBoxes(condition: Condition, rule: number): Box[] {
  try {
    return boxesOf(condition);
  } catch (error) {
    if (error instanceof TooManyBoxes) throw new RuleTooComplex(rule, error.message);
    throw error;
  }
}

/** What boxes ask for, by dimension. */
function valueSets(boxes: readonly Box[]): ValueSets[] {
  const small: (ValueSets | undefined)[] = new Array(DIMENSIONS).fill(undefined);
  const large: (ValueSets | undefined)[] = new Array(DIMENSIONS).fill(undefined);
  boxes.forEach((box, number) => {
    for (const test of box) {
      const kind = rangeCount(test) > LARGE_SET ? large : small;
      const sets = kind[test.dimension] ?? new ValueSets(test.dimension);
      kind[test.dimension] = sets;
      sets.add(test, number);
    }
  });
  return [...small, ...large].filter((sets) => sets !== undefined);
}

/** The bits of all boxes that ask for none of these sets. */
function boxesWithout(sets: ValueSets | undefined, { boxes, words }: RowShape): Int32Array {
  const row = new Int32Array(words).fill(-1);
  if ((boxes & 31) !== 0) row[words - 1] = (1 << (boxes & 31)) - 1;
  for (const asking of sets?.boxesOf ?? []) for (const box of asking) row[box >>> 5]! &= ~(1 << (box & 31));
  return row;
}
