/**
 * Compiles conditions for the classifier: rules to boxes, and boxes to an index for each dimension.
 *
 * It may take seconds, for tens of thousands of rules on a slow machine; so it has no place on the packet's way.
 * Neighbours: `classifier.ts` (what comes out), `boxes.ts`, `compile-index.ts`, `compile-policy.ts` (the caller).
 */
import { type Box, boxesOf, TooManyBoxes } from './boxes.ts';
import type { CompiledRules } from './classifier.ts';
import { compileIndex, ROWS_BYTES, type RowShape, RowStore, rowShape } from './compile-index.ts';
import { type Condition, DIMENSIONS } from './condition.ts';
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

/** Rules as boxes. */
export interface ExpandedRules {
  readonly ruleCount: number;
  /** In the order of their rules. */
  readonly boxes: readonly Box[];
  /** Rule of each box. */
  readonly ruleOf: readonly number[];
}

/** Compiles rules for the classifier. */
export function compileRules(
  { ruleCount, boxes, ruleOf }: ExpandedRules,
  rowsBytes = ROWS_BYTES,
): CompiledRules {
  const shape = rowShape(boxes.length);
  const store = new RowStore(shape, rowsBytes);
  const indexes = valueSets(boxes)
    // The emptiest rows first: most words are 0 after the first one or two.
    .toSorted((a, b) => b.boxCount - a.boxCount)
    .map((sets) => compileIndex(sets, boxesWithout(sets, shape), store));
  const allAt = store.add(boxesWithout(undefined, shape), [], []);
  return {
    ruleCount,
    boxCount: boxes.length,
    ruleOf: Int32Array.from(ruleOf),
    rows: store.finish(),
    allAt,
    summaryWords: shape.summaryWords,
    indexes,
  };
}

/**
 * The boxes of all rules, which have these conditions.
 *
 * @throws RuleTooComplex
 */
export function expandRules(conditions: readonly Condition[]): ExpandedRules {
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
  return { ruleCount: conditions.length, boxes, ruleOf };
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
