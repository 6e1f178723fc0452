import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogLimiter } from './log-limiter.ts';

function count(limiter: LogLimiter, source: string, lines: number, nowMs: number): number {
  let passed = 0;
  for (let i = 0; i < lines; i++) if (limiter.allow(source, nowMs) >= 0) passed++;
  return passed;
}

test('a source writes some lines at once, a few later, and the others as if it were not there', () => {
  const limiter = new LogLimiter();
  assert.equal(count(limiter, 'noisy', 1000, 5), 20);
  assert.equal(count(limiter, 'quiet', 3, 6), 3);
  assert.equal(count(limiter, 'noisy', 1000, 2900), 0);
  assert.equal(limiter.allow('noisy', 3005), 1980);
  assert.equal(limiter.allow('noisy', 3006), -1);
  assert.equal(count(limiter, 'noisy', 1000, 10 * 60_000), 20);
});

test('time may wrap, and sources may be without number', () => {
  const limiter = new LogLimiter();
  const before = 0x7ffffff0 | 0;
  assert.equal(count(limiter, 'a', 30, before), 20);
  assert.equal(count(limiter, 'a', 30, (before + 6000) | 0), 2);
  let passed = 0;
  for (let i = 0; i < 5000; i++) passed += count(limiter, `source ${i}`, 1, 0);
  assert.ok(passed < 1100, `${passed} lines of 5000 sources`);
});

test('many sources that write little are all heard, new ones too', () => {
  const limiter = new LogLimiter();
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 1000; i++) {
      assert.equal(limiter.allow(`source ${round} ${i}`, round * 10_000), 0);
    }
  }
});
