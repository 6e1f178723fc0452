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
 * Nothing is allocated for a packet. Neighbours: `compile-rules.ts` (makes it), `linear.ts` (says the same more slowly).
 */
import { type CompiledIndex, DimensionIndex } from './dimension-index.ts';
import type { PacketValues } from './packet-values.ts';

/** Rules as they were compiled: nothing but numbers and typed arrays. */
export interface CompiledRules {
  readonly ruleCount: number;
  readonly boxCount: number;
  /** Rule of each box. */
  readonly ruleOf: Int32Array;
  /** All rows of all indexes. */
  readonly rows: Int32Array;
  /** Where the row of all boxes begins, for rules none of which asks for anything. */
  readonly allAt: number;
  readonly summaryWords: number;
  readonly indexes: readonly CompiledIndex[];
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

  /** For packets that are read into `packet`. */
  constructor(compiled: CompiledRules, packet: PacketValues) {
    this.packet = packet;
    this.ruleCount = compiled.ruleCount;
    this.boxCount = compiled.boxCount;
    this.ruleOf = compiled.ruleOf;
    this.rows = compiled.rows;
    this.summaryWords = compiled.summaryWords;
    this.indexes = compiled.indexes.map((index) => new DimensionIndex(index));
    this.rough = this.indexes.filter(({ isRough }) => isRough);
    this.rowAt = new Int32Array(Math.max(1, this.indexes.length)).fill(compiled.allAt);
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
