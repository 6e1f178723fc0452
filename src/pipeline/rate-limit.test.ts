import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../../test/support/plain-packets.ts';
import { TokenBuckets } from './rate-limit.ts';

describe('token buckets', () => {
  it('start full, empty one token at a time, and fill at their rate', () => {
    const buckets = new TokenBuckets(2, 10, 3);
    for (let count = 0; count < 3; count++) assert.ok(buckets.take(1, 0));
    assert.ok(!buckets.take(1, 0));
    assert.ok(!buckets.take(1, 99));
    assert.ok(buckets.take(1, 100));
    assert.ok(!buckets.take(1, 100));
    // The other bucket is untouched.
    for (let count = 0; count < 3; count++) assert.ok(buckets.take(0, 100));
  });

  it('peek takes nothing', () => {
    const buckets = new TokenBuckets(1, 1, 1);
    for (let count = 0; count < 5; count++) assert.ok(buckets.peek(0, 0));
    assert.ok(buckets.take(0, 0));
    assert.ok(!buckets.peek(0, 0));
  });

  it('never keep more than the burst', () => {
    const buckets = new TokenBuckets(1, 1000, 5);
    for (let count = 0; count < 5; count++) assert.ok(buckets.take(0, 0));
    let taken = 0;
    while (buckets.take(0, 3_600_000)) taken++;
    assert.equal(taken, 5);
  });

  it('never keep more than the burst, also when nearly full', () => {
    const buckets = new TokenBuckets(1, 1000, 5);
    assert.ok(buckets.take(0, 0));
    let taken = 0;
    while (buckets.take(0, 3)) taken++;
    assert.equal(taken, 5);
  });

  it('go on across the wrap of time, and after a month of silence', () => {
    const buckets = new TokenBuckets(1, 1000, 1);
    assert.ok(buckets.take(0, 0x7fffffff));
    assert.ok(!buckets.take(0, 0x7fffffff));
    assert.ok(buckets.take(0, 0x80000000 | 0));
    assert.ok(buckets.take(0, 0x7fffffff));
    assert.ok(buckets.take(0, (0x80000000 + 3_000_000) | 0));
    const monthMs = (0x80000000 + 30 * 86_400_000) | 0;
    assert.ok(buckets.take(0, monthMs));
    assert.ok(!buckets.take(0, monthMs));
  });

  it('grant, over any time, no more than burst plus rate, and nearly that', () => {
    const random = seededRandom(8);
    const buckets = new TokenBuckets(1, 37, 11);
    let granted = 0;
    let nowMs = 0;
    while (nowMs < 100_000) {
      if (buckets.take(0, nowMs)) granted++;
      nowMs += Math.floor(random() * 20);
    }
    const most = 11 + (37 * nowMs) / 1000;
    assert.ok(granted <= most && granted > most - 3, `${granted} of ${most}`);
  });

  it('do not overflow at the largest size', () => {
    const buckets = new TokenBuckets(1, 1_000_000, 1_000_000);
    for (let count = 0; count < 1000; count++) assert.ok(buckets.take(0, 0));
    assert.ok(buckets.take(0, 999));
    assert.ok(buckets.take(0, 1001));
  });

  it('are full again for a new owner', () => {
    const buckets = new TokenBuckets(1, 1, 2);
    assert.ok(buckets.take(0, 0) && buckets.take(0, 0));
    buckets.reset(0, 0);
    assert.ok(buckets.take(0, 0) && buckets.take(0, 0) && !buckets.take(0, 0));
  });

  it('refuse sizes that do not fit an int32', () => {
    for (const [rate, burst] of [
      [0, 1],
      [1, 0],
      [1_000_001, 1],
      [1, 1_000_001],
      [Number.NaN, 1],
    ] as const) {
      assert.throws(() => new TokenBuckets(1, rate, burst), RangeError);
    }
  });
});
