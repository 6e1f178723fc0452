import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { memoryPlan } from '../../test/support/memory-gateway.ts';
import { COUNTER, Counters, PLUGIN_TIME_MS } from '../flow/counters.ts';
import { RECORD_WORDS } from '../flow/layout.ts';
import type { Plan } from '../pipeline/plan.ts';
import { openFlowMemory } from './flow-memory-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'homeward-flow-memory-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'flow-memory');

function plan(maxFlows: number, pools: number): Plan {
  const addresses = Array.from({ length: pools }, (_, i) => ({ address: `198.51.100.${i + 1}` }));
  return memoryPlan({ sites: [], egress: [{ name: 'internet', pools: addresses }], maxFlows });
}

it('counters that cannot be are set to 0', () => {
  const warnings: string[] = [];
  const open = () => openFlowMemory(path, plan(1024, 1), 1000, (text) => warnings.push(text));
  rmSync(path, { force: true });
  const wrong = [Number.NaN, Number.POSITIVE_INFINITY, -1, 2 ** 53];
  open().counters.set([...wrong, 7], 1);
  assert.deepEqual([...open().counters.subarray(0, 7)], [0, 0, 0, 0, 0, 7, 0]);
  assert.match(warnings.join(), /^4 of \d+ counters in the flow memory were damaged and begin anew$/);
  rmSync(path);
});

it('times in the counters, which are fractions, outlive the data plane', () => {
  const warnings: string[] = [];
  const open = () => openFlowMemory(path, plan(1024, 1), 1000, (text) => warnings.push(text));
  const counters = new Counters(open().counters);
  counters.add(COUNTER.busy_ms, 12.345);
  counters.addPlugin(0, PLUGIN_TIME_MS, 0.032);
  const found = new Counters(open().counters);
  assert.deepEqual(
    [found.global(COUNTER.busy_ms), found.plugin(0, PLUGIN_TIME_MS), warnings],
    [12.345, 0.032, []],
  );
  rmSync(path);
});

it('is found again, carried over when the plan asks for more, and made anew when it is worthless', () => {
  const warnings: string[] = [];
  const open = (maxFlows: number, pools: number) =>
    openFlowMemory(path, plan(maxFlows, pools), 1000, (text) => warnings.push(text));

  open(1024, 1).newestFlowId = 77;
  const inode = statSync(path).ino;
  const again = open(1024, 1);
  assert.deepEqual([again.newestFlowId, statSync(path).ino], [77, inode]);

  // One more external address.
  const roomier = open(1024, 2);
  assert.equal(roomier.newestFlowId, 77);
  assert.ok(roomier.translation.length > again.translation.length);
  assert.notEqual(statSync(path).ino, inode);
  assert.equal(existsSync(`${path}.next`), false);
  // Without it again: what may be held there is kept.
  assert.equal(open(1024, 1).translation.length, roomier.translation.length);
  assert.equal(open(2048, 1).records.length, 2048 * RECORD_WORDS);
  assert.equal(open(2048, 1).newestFlowId, 77);
  assert.deepEqual(warnings, []);

  for (const rubbish of [new Uint8Array(0), new Uint8Array(100), new Uint8Array(100_000)]) {
    writeFileSync(path, rubbish);
    assert.equal(open(1024, 1).newestFlowId, 0);
  }
  assert.deepEqual(warnings.map((text) => String(text).split(': ')[1]).slice(0, 2), [
    '0 bytes hold no header',
    '100 bytes hold no header',
  ]);
  assert.match(
    warnings[2],
    /^the flow memory found cannot be used and is made anew: the magic number is missing/,
  );
});
