/** Records read while another thread makes and ends flows in them. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { eventually } from '../../../test/support/patience.ts';
import { mapFile } from '../../device/native.ts';
import { FlowMemory } from '../../flow/flow-memory.ts';
import {
  DIRECTION_WORDS,
  KEY_DST3,
  KEY_PORTS,
  KEY_SRC3,
  RECORD_WORDS,
  SHARED_CREATED,
  SHARED_ID,
  SHARED_LAST_SEEN,
  SHARED_PLAN,
} from '../../flow/layout.ts';
import { MappedFlowMemory, snapshot } from './mapped-flow-memory.ts';

const WHOLE = 5000;
const FLOWS = 100;
const WORDS = [
  KEY_SRC3,
  KEY_DST3,
  KEY_PORTS,
  DIRECTION_WORDS + KEY_SRC3,
  DIRECTION_WORDS + KEY_PORTS,
  SHARED_CREATED,
  SHARED_LAST_SEEN,
  SHARED_PLAN,
];

it('never shows parts of two flows as one', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-torn-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'memory');
  FlowMemory.create(mapFile(path, 1 << 20, { create: true }), {
    capacity: 2,
    translationBytes: 0,
    heldTupleBytes: 0,
    bootId: '00000000-0000-4000-8000-000000000000',
  });
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const writer = new Worker(new URL('../../../test/fixtures/record-writer.ts', import.meta.url), {
    workerData: { path, stop },
  });
  const failed = new Promise<never>((_, reject) => writer.once('error', reject));
  const ended = new Promise((resolve) => writer.once('exit', resolve));
  try {
    const memory = new MappedFlowMemory(path).get()!;
    await Promise.race([failed, eventually('the writer writes', () => memory.newestFlowId > 100)]);
    const copy = new Int32Array(RECORD_WORDS);
    const ids = new Set<number>();
    let refused = 0;
    const deadline = performance.now() + 8000;
    // Fewer flows than that, or none caught while it changed: the other thread had no turn, and nothing was shown.
    for (let whole = 0; whole < WHOLE || ids.size < FLOWS || refused === 0; ) {
      assert.ok(performance.now() < deadline, `${ids.size} flows seen, ${refused} caught while they changed`);
      for (let record = 0; record < memory.capacity; record++) {
        if (!snapshot(memory.records, record, copy)) {
          refused++;
          continue;
        }
        whole++;
        const id = copy[SHARED_ID]!;
        ids.add(id);
        for (const word of WORDS) assert.equal(copy[word], id, `word ${word} of flow ${id}`);
      }
    }
  } finally {
    Atomics.store(stop, 0, 1);
    await ended;
  }
});
