/** Probes and their answers, with a stub data plane that answers after 20 ms. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { PATIENCE } from '../../../test/support/patience.ts';
import { openRuntimeDirectory } from '../runtime/runtime-directory.ts';
import { Supervisor } from '../runtime/supervisor.ts';
import { Prober } from './prober.ts';

const STUB = join(import.meta.dirname, '../../../test/fixtures/stub-data-plane.ts');

async function startProber(t: TestContext): Promise<{ prober: Prober; supervisor: Supervisor }> {
  const directory = mkdtempSync('/dev/shm/homeward-test-');
  const supervisor = new Supervisor(openRuntimeDirectory({ HOMEWARD_RUNTIME_DIR: directory }), {
    main: STUB,
  });
  t.after(async () => {
    await supervisor.stop();
    rmSync(directory, { recursive: true });
  });
  await supervisor.start();
  return { prober: new Prober(supervisor), supervisor };
}

test('an answer counts that is there in time, however late it is read', async (t) => {
  const { prober } = await startProber(t);
  const { error, answer } = await prober.send('paris', '10.0.0.1', 200);
  assert.equal(error, '');
  // This process stands still, far beyond the time that it would wait; the data plane is another one.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000 * PATIENCE);
  assert.equal((await answer)?.port, 'paris');
});

test('without an answer there is an end to waiting', async (t) => {
  const { prober } = await startProber(t);
  const { answer } = await prober.send('paris', '10.0.0.99', 50);
  assert.equal(await answer, undefined);
});

test('what a former control process has asked is not answered to the next one', async (t) => {
  const { prober: former, supervisor } = await startProber(t);
  const next = new Prober(supervisor);
  const asked = await former.send('paris', '10.0.0.1', 1000);
  const { answer } = await next.send('paris', '10.0.0.99', 200);
  assert.equal((await asked.answer)?.port, 'paris');
  assert.equal(await answer, undefined);
});
