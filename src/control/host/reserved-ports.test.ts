import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatPortRanges, mergeRanges, parsePortRanges, subtractRanges } from './reserved-ports.ts';

const range = fc
  .tuple(fc.nat({ max: 60 }), fc.nat({ max: 12 }))
  .map(([min, length]) => ({ min, max: min + length }));
const numbers = (ranges: readonly { min: number; max: number }[]): Set<number> =>
  new Set(ranges.flatMap(({ min, max }) => Array.from({ length: max - min + 1 }, (_, at) => min + at)));

test('merging and subtracting do what they do to sets, and merged ranges are apart', () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 8 }), fc.array(range, { maxLength: 8 }), (some, others) => {
      const merged = mergeRanges(some);
      assert.deepEqual(numbers(merged), new Set([...numbers(some)].sort((a, b) => a - b)));
      for (const [at, { min }] of merged.entries()) {
        if (at > 0) assert.ok(min > merged[at - 1]!.max + 1);
      }
      const taken = numbers(others);
      const left = [...numbers(some)].filter((number) => !taken.has(number));
      assert.deepEqual(numbers(subtractRanges(some, others)), new Set(left));
    }),
    { seed: 4711, numRuns: 300 },
  );
});

test("the kernel's notation", () => {
  assert.deepEqual(parsePortRanges('8080,32768-40000\n'), [
    { min: 8080, max: 8080 },
    { min: 32768, max: 40000 },
  ]);
  assert.deepEqual(parsePortRanges('\n'), []);
  assert.equal(formatPortRanges(parsePortRanges('1,3-4')), '1,3-4');
});
