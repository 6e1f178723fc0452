import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { alone, compare, formatFigures } from './figures.ts';
import { median, medianInterval } from './statistics.ts';

describe('statistics of the benchmarks', () => {
  it('takes the median of odd and even counts, and leaves the values as they are', () => {
    const values = [5, 1, 3];
    assert.equal(median(values), 3);
    assert.deepEqual(values, [5, 1, 3]);
    assert.equal(median([4, 1, 3, 2]), 2.5);
    assert.equal(median([-1, -20, -3]), -3);
  });

  it('gives an interval that holds the median and is as wide as the values are spread', () => {
    const narrow = medianInterval([10, 10.1, 9.9, 10, 10.05, 9.95, 10]);
    const wide = medianInterval([10, 14, 6, 10, 12, 8, 10]);
    for (const { low, median, high } of [narrow, wide]) assert.ok(low <= median && median <= high);
    assert.ok(wide.high - wide.low > 5 * (narrow.high - narrow.low));
    assert.deepEqual(medianInterval([7, 7, 7]), { median: 7, low: 7, high: 7 });
  });

  it('compares round by round, so that what slows a whole round down does not count', () => {
    const samples = {
      group: 'tun',
      name: 'tcp',
      unit: 'Gbit/s',
      byVariant: new Map([
        ['homeward', [9, 4.5, 18]],
        ['c loop', [10, 5, 20]],
      ]),
    };
    const figure = compare(samples, 'c loop', 'ratio', { medianLeast: 0.85, lowLeast: 0.89 });
    assert.deepEqual(figure.interval, { median: 0.9, low: 0.9, high: 0.9 });
    assert.equal(figure.met, true);
    assert.equal(compare(samples, 'c loop', 'ratio', { lowLeast: 0.95 }).met, false);
    assert.equal(compare(samples, 'c loop', 'difference', { medianMost: -1 }).met, true);
  });

  it('says of every bar whether it is met', () => {
    const most = alone({ name: 'hit', value: 61, unit: 'ns', bar: { most: 60 } });
    const least = alone({ name: 'new flows', value: 250_000, unit: 'flows/s', bar: { least: 200_000 } });
    const none = alone({ name: 'hit', value: 61, unit: 'ns', bar: {} });
    assert.deepEqual([most.met, least.met, none.met], [false, true, null]);
    const [, first, second, third] = formatFigures([most, least, none]).split('\n');
    assert.match(first, /<= 60 +NOT MET$/);
    assert.match(second, />= 200000 +met$/);
    assert.doesNotMatch(third, /met/i);
  });
});
