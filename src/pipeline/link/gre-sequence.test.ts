import assert from 'node:assert/strict';
import test from 'node:test';
import { GreSequence, SEQUENCE_IDLE_MS, SEQUENCE_JUMP, SEQUENCE_JUMP_PACKETS } from './gre-sequence.ts';

function started(last: number, nowMs = 0): GreSequence {
  const sequence = new GreSequence();
  assert.ok(sequence.accept(last, nowMs), 'the first number is taken, whatever it is');
  return sequence;
}

test('numbers must rise; gaps are no fault', () => {
  const sequence = started(5);
  assert.ok(sequence.accept(6, 1));
  assert.ok(!sequence.accept(6, 1), 'a duplicate');
  assert.ok(!sequence.accept(5, 1), 'an older one');
  assert.ok(sequence.accept(900, 1));
  assert.ok(!sequence.accept(899, 1), 'one that comes late');
  assert.ok(sequence.accept(901, 1));
});

test('numbers wrap', () => {
  const sequence = started(-2);
  assert.ok(sequence.accept(-1, 1));
  assert.ok(sequence.accept(0, 1));
  assert.ok(!sequence.accept(-1, 1));
  const high = started(0x7fffffff);
  assert.ok(high.accept(-0x80000000, 1));
});

test('after silence any number is taken: the sender began again', () => {
  const sequence = started(500);
  assert.ok(!sequence.accept(0, SEQUENCE_IDLE_MS - 1));
  assert.ok(sequence.accept(0, SEQUENCE_IDLE_MS));
  assert.ok(sequence.accept(1, SEQUENCE_IDLE_MS));
});

test('a busy sender that began again is believed after some packets in order', () => {
  const sequence = started(100_000);
  for (let number = 0; number < SEQUENCE_JUMP_PACKETS - 1; number++) {
    assert.ok(!sequence.accept(number, 1), `number ${number}`);
  }
  assert.ok(sequence.accept(SEQUENCE_JUMP_PACKETS - 1, 1));
  assert.ok(sequence.accept(SEQUENCE_JUMP_PACKETS, 1));
});

test('neither one packet replayed nor reordering looks like a new beginning', () => {
  const replayed = started(100_000);
  for (let count = 0; count < 20; count++) assert.ok(!replayed.accept(7, 1));
  const reordered = started(100_000);
  for (let number = 100_000 - SEQUENCE_JUMP + 1; number < 100_000; number++) {
    assert.ok(!reordered.accept(number, 1));
  }
  const interrupted = started(100_000);
  for (let count = 0; count < 20; count++) {
    assert.ok(!interrupted.accept(count, 1));
    assert.ok(interrupted.accept(100_001 + count, 1), 'the newest passes and resets the suspicion');
  }
});
