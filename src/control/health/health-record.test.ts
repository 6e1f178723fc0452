import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HealthRecord, WINDOW_PROBES } from './health-record.ts';

/** `+` an answer after 10 ms, `-` none. Returns the state after each. */
function play(record: HealthRecord, outcomes: string): string[] {
  return [...outcomes].map((outcome) => {
    const before = record.state;
    const changed = outcome === '+' ? record.answered(10) : record.unanswered();
    assert.equal(changed, record.state !== before);
    return record.state;
  });
}

test('nothing is known of a tunnel whose other end never answers', () => {
  const record = new HealthRecord();
  assert.deepEqual(new Set(play(record, '-'.repeat(300))), new Set(['unknown']));
  assert.equal(record.rttMs, null);
  assert.equal(record.lossRatio, 1);
  assert.deepEqual(play(record, '+'), ['healthy'], 'what was lost before the first answer does not count');
  assert.equal(record.lossRatio, 0);
  assert.deepEqual([record.sent, record.lost], [301, 300]);
});

test('three in a row are down, two answers in a row are up again', () => {
  const record = new HealthRecord();
  assert.deepEqual(play(record, '+--+'), ['healthy', 'healthy', 'degraded', 'degraded']);
  assert.deepEqual(play(record, '---'), ['degraded', 'degraded', 'down']);
  assert.deepEqual(play(record, '+-+'), ['down', 'down', 'down']);
  assert.deepEqual(play(record, '+'), ['degraded']);
});

test('after an outage it has to answer for a while, however long it was', () => {
  const record = new HealthRecord();
  play(record, '+---------------');
  assert.equal(record.state, 'down');
  assert.deepEqual(new Set(play(record, '++').slice(1)), new Set(['degraded']));
  assert.equal(play(record, '+'.repeat(27)).at(-1), 'degraded');
  assert.deepEqual(play(record, '+'), ['healthy']);
  play(record, '---++');
  assert.equal(
    play(record, `${'+'.repeat(20)}-${'+'.repeat(29)}`).at(-1),
    'degraded',
    'one lost begins anew',
  );
  assert.deepEqual(play(record, '+'), ['healthy']);
});

test('one lost probe is nothing, two are a loss until they have left the window', () => {
  const record = new HealthRecord();
  assert.deepEqual(play(record, '+-'), ['healthy', 'healthy']);
  assert.deepEqual(play(record, '+-'), ['healthy', 'degraded']);
  assert.equal(record.lossRatio, 0.5);
  assert.equal(play(record, '+'.repeat(WINDOW_PROBES - 3)).at(-1), 'degraded');
  assert.equal(record.lossRatio, 2 / WINDOW_PROBES);
  assert.deepEqual(play(record, '+'), ['healthy']);
  assert.equal(record.lossRatio, 1 / WINDOW_PROBES);
});

test('the round-trip time follows slowly', () => {
  const record = new HealthRecord();
  record.answered(8);
  assert.equal(record.rttMs, 8);
  record.answered(16);
  assert.equal(record.rttMs, 9);
});
