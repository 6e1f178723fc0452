/** A first plan that a plugin interrupts, and that comes again. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { memoryPlan } from '../../test/support/memory-gateway.ts';
import { PATIENCE } from '../../test/support/patience.ts';
import { pluginFolder } from '../../test/support/plugin-folder.ts';
import { planPlugin } from '../../test/support/plugins.ts';
import type { Plan } from '../pipeline/plan.ts';
import { HOOK_FLOW_END } from '../plugin/running-plugin.ts';
import { openFlowMemory } from './flow-memory-file.ts';
import { runInterruptible } from './interruptible.ts';
import { PluginSide } from './plugin-side.ts';

const HANG_MS = 3000 * PATIENCE;

test('a plugin that hangs is ended again where the plan comes again, and stays tripped', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-plugin-side-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const side = new PluginSide({
    control: { connected: false, backlogBytes: 0, send: () => {} },
    runtimeDirectory: directory,
    faults: undefined,
    nowMs: () => 0,
    log: () => {},
  });
  const folder = pluginFolder(t, { manifest: { phase: 'routing' } });
  const probe = { ...planPlugin('.', {}, { name: 'probe' }), manifest: join(folder, 'manifest.json') };
  const plan: Plan = { ...memoryPlan({ sites: [] }), plugins: [probe] };
  /** What a data plane without a pipeline does with a plan; whether the plugin was ended. */
  const hangs = (): boolean => {
    const memory = openFlowMemory(join(directory, 'flows'), plan, 0, () => {});
    const running = side.useMemory(memory);
    assert.equal(side.prepare(plan).length, 1);
    return !runInterruptible(() => {
      running.enter(0, HOOK_FLOW_END);
      const end = performance.now() + HANG_MS;
      while (performance.now() < end);
      running.leave();
    });
  };
  assert.equal(hangs(), true);
  assert.equal(side.recover(undefined, false, { type: 'plan', plan }), 'again');
  assert.equal(hangs(), true, 'its number is the same');
  assert.equal(side.recover(undefined, false, { type: 'plan', plan }), 'again');
  const [loaded] = side.prepare(plan);
  assert.deepEqual(loaded?.standing?.trip, {
    cause: 'timeout',
    message: 'its flowEnd did not return within 200 ms',
  });
  side.refused();
  assert.equal(side.prepare(plan)[0]?.standing?.trip, undefined, 'another plan begins anew');
});
