import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { COUNTERS_BYTES, Counters } from '../../flow/counters.ts';
import { SentSequence } from './sent-sequence.ts';

const ENDS = [4, 0, 0, 0, 1, 0, 0, 0, 2, 1, 7];
const OTHER_ENDS = [4, 0, 0, 0, 1, 0, 0, 0, 2, 1, 8];

function memory(): Counters {
  return new Counters(new Float64Array(COUNTERS_BYTES / 8));
}

test('a number goes on where the process before left off, whatever it was', () => {
  const property = fc.property(fc.integer(), fc.integer({ min: 1, max: 200 }), (start, packets) => {
    const counters = memory();
    new SentSequence(counters, 5, ENDS, start).advance(packets);
    assert.equal(new SentSequence(counters, 5, ENDS, undefined).next, (start + packets) | 0);
  });
  fc.assert(property, { seed: 11, numRuns: 200 });
});

test('numbers of other ends, of another port, or of nobody are not taken over', () => {
  const counters = memory();
  new SentSequence(counters, 5, ENDS, undefined).advance(1000);
  assert.equal(new SentSequence(counters, 5, OTHER_ENDS, undefined).next, 0);
  assert.equal(new SentSequence(counters, 6, ENDS, undefined).next, 0);
  assert.equal(new SentSequence(memory(), 5, ENDS, undefined).next, 0);
  assert.equal(new SentSequence(undefined, 5, ENDS, undefined).next, 0);
  assert.equal(new SentSequence(counters, 5, ENDS, undefined).next, 1000, 'asking changes nothing');
});

test('what is damaged is no number', () => {
  const counters = memory();
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -1, 2 ** 60]) {
    counters.values.fill(value);
    assert.equal(new SentSequence(counters, 5, ENDS, undefined).next, 0);
  }
});
