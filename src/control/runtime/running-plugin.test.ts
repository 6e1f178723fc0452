/** A data plane that a plugin brings to a stand, or down: the failure names the plugin. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { memoryPlan } from '../../../test/support/memory-gateway.ts';
import { inOwnNamespace } from '../../../test/support/own-namespace.ts';
import { eventually } from '../../../test/support/patience.ts';
import { planPlugin } from '../../../test/support/plugins.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { findDataPlane, killProcess } from './data-plane-process.ts';
import { runningPlugin } from './running-plugin.ts';
import { openRuntimeDirectory } from './runtime-directory.ts';
import { Supervisor } from './supervisor.ts';

/** Two sites, each the host itself behind a TUN device. */
function plan(does: string): Plan {
  const basic = memoryPlan({
    sites: [
      { name: 'stuck0', prefixes: ['10.9.0.0/24'] },
      { name: 'stuck1', prefixes: ['10.8.0.0/24'] },
    ],
  });
  return {
    ...basic,
    devices: basic.devices.map((device) => ({ ...device, kind: 'tun' })),
    plugins: [
      planPlugin('test/fixtures/stuck-plugin/manifest.json', { does }, { name: 'stuck' }),
      planPlugin('plugins/return-routing/manifest.json'),
    ],
  };
}

if (inOwnNamespace(import.meta.url)) {
  for (const [does, expected] of [
    ['sleeps', 'the data plane was silent for 1000 ms, in plugin stuck (flowSetup)'],
    ['crashes', 'the data plane ended with SIGSEGV, in plugin stuck (flowSetup)'],
  ] as const) {
    test(`a plugin that ${does} is named`, async (t) => {
      const directory = mkdtempSync('/dev/shm/homeward-test-');
      const runtime = openRuntimeDirectory({ HOMEWARD_RUNTIME_DIR: directory });
      const supervisor = new Supervisor(runtime);
      t.after(async () => {
        await supervisor.stop();
        const left = findDataPlane(runtime);
        if (left !== undefined) await killProcess(left);
        rmSync(directory, { recursive: true });
      });
      const failures: string[] = [];
      supervisor.on('failure', (reason) => failures.push(reason));
      await supervisor.start();
      await supervisor.apply(plan(does));
      assert.equal(runningPlugin(runtime.flowMemoryPath), undefined);
      for (const command of ['addr add 10.9.0.1/24 dev stuck0', 'link set stuck0 up', 'link set stuck1 up'])
        execFileSync('ip', command.split(' '));
      execFileSync('ip', ['route', 'add', '10.8.0.0/24', 'dev', 'stuck0']);
      const socket = createSocket('udp4');
      t.after(() => socket.close());
      await eventually(
        'the data plane has failed',
        () => {
          if (failures.length === 0) socket.send('first packet', 5000, '10.8.0.5');
          return failures.length > 0;
        },
        10_000,
      );
      assert.equal(failures[0], expected);
      assert.equal(supervisor.report.lastFailure, expected);
    });
  }

  test('what is no flow memory names nothing', (t) => {
    const directory = mkdtempSync('/dev/shm/homeward-test-');
    t.after(() => rmSync(directory, { recursive: true }));
    assert.equal(runningPlugin(join(directory, 'none')), undefined);
    for (const [name, bytes] of [
      ['short', 100],
      ['noise', 8192],
    ] as const) {
      writeFileSync(join(directory, name), new Uint8Array(bytes).fill(0xff));
      assert.equal(runningPlugin(join(directory, name)), undefined);
    }
  });
}
