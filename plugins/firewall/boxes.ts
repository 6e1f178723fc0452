/**
 * Conditions as boxes: a box is a set of values for some of the dimensions, and holds all packets that have one of
 * these values in each of them. A condition is the union of its boxes (its disjunctive normal form).
 *
 * Boxes are what the classifier can bound the work for. A condition may have exponentially many, so their number is
 * bounded, and a rule beyond the bound is refused by name. Boxes that differ in one dimension only become one, so
 * that the long lists that people write (`a or b or c`) stay a single box.
 */
import {
  type Condition,
  isImpossible,
  isTrivial,
  narrowed,
  negated,
  sameTest,
  type Test,
  widened,
} from './condition.ts';

/** Tests in the order of their dimensions, at most one for each; none: every packet. */
export type Box = readonly Test[];

/** Boxes of one rule: more come from lists of combinations, which are better written as several rules. */
export const MAX_BOXES_PER_RULE = 256;

/** A rule has too many boxes. */
export class TooManyBoxes extends Error {
  override readonly name = 'TooManyBoxes';

  constructor() {
    super(
      `the condition stands for more than ${MAX_BOXES_PER_RULE} combinations of values; write it as several rules`,
    );
  }
}

/**
 * The boxes of a condition.
 *
 * @throws TooManyBoxes
 */
export function boxesOf(condition: Condition): Box[] {
  return expand(condition, false);
}

function expand(condition: Condition, isNegated: boolean): Box[] {
  switch (condition.kind) {
    case 'not':
      return expand(condition.of, !isNegated);
    case 'and':
    case 'or': {
      const parts = condition.of.map((part) => expand(part, isNegated));
      return (condition.kind === 'and') === isNegated ? sum(parts) : product(parts);
    }
    default: {
      const test = isNegated ? negated(condition) : condition;
      if (isImpossible(test)) return [];
      return [isTrivial(test) ? [] : [test]];
    }
  }
}

function sum(parts: readonly Box[][]): Box[] {
  return merged(parts.flat());
}

function product(parts: readonly Box[][]): Box[] {
  let result: Box[] = [[]];
  for (const part of parts) {
    if (result.length === 1 && part.length === 1) {
      const box = meet(result[0]!, part[0]!);
      if (box === undefined) return [];
      result = [box];
      continue;
    }
    if (result.length * part.length > 16 * MAX_BOXES_PER_RULE) throw new TooManyBoxes();
    const next: Box[] = [];
    for (const a of result) {
      for (const b of part) {
        const box = meet(a, b);
        if (box !== undefined) next.push(box);
      }
    }
    result = merged(next);
  }
  return result;
}

/** What is in both boxes; undefined for nothing. */
function meet(a: Box, b: Box): Box | undefined {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  const result: Test[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    const order = (a[i]?.dimension ?? Infinity) - (b[j]?.dimension ?? Infinity);
    if (order < 0) result.push(a[i++]!);
    else if (order > 0) result.push(b[j++]!);
    else {
      const test = sameTest(a[i]!, b[j]!) ? a[i]! : narrowed(a[i]!, b[j]!);
      if (isImpossible(test)) return undefined;
      result.push(test);
      i++;
      j++;
    }
  }
  return result;
}

/** The same packets in fewer boxes. */
function merged(boxes: Box[]): Box[] {
  if (boxes.length > 16 * MAX_BOXES_PER_RULE) throw new TooManyBoxes();
  const result: Box[] = [];
  for (const box of boxes) {
    let merging = box;
    for (let i = 0; i < result.length; ) {
      const joint = join(result[i]!, merging);
      if (joint === undefined) i++;
      else {
        // The joint box may meet another one now.
        merging = joint;
        result.splice(i, 1);
        i = 0;
      }
    }
    result.push(merging);
    if (result.length > MAX_BOXES_PER_RULE) throw new TooManyBoxes();
  }
  return result;
}

/** One box for both, if there is one: they have the same dimensions and differ in one of them. */
function join(a: Box, b: Box): Box | undefined {
  if (a.length === 0 || b.length === 0) return [];
  if (a.length !== b.length) return undefined;
  let differs = -1;
  for (let i = 0; i < a.length; i++) {
    if (a[i]!.dimension !== b[i]!.dimension) return undefined;
    if (sameTest(a[i]!, b[i]!)) continue;
    if (differs >= 0) return undefined;
    differs = i;
  }
  if (differs < 0) return a;
  const test = widened(a[differs]!, b[differs]!);
  return isTrivial(test) ? a.toSpliced(differs, 1) : a.with(differs, test);
}
