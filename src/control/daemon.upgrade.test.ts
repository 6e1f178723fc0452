/** homeward is upgraded in its place, and control alone is started anew: the data plane of the former version goes on, or gives way. */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CONFIG, DaemonHost, isRunning } from '../../test/support/daemon-host.ts';
import { copyProject } from '../../test/support/lab/mutant.ts';
import { eventually } from '../../test/support/patience.ts';

const FIREWALL = 'plugins: [ { name: firewall, options: { default: accept } } ]\n';

test('a data plane of a former version that refuses what this one compiles gives way to a new one', async (t) => {
  const host = new DaemonHost(t);
  const project = copyProject(join(host.directory, 'project'));
  cpSync(join(import.meta.dirname, '../../test/support'), join(project, 'test/support'), { recursive: true });
  const change = (file: string, from: RegExp, to: string): void => {
    const text = readFileSync(join(project, file), 'utf8');
    assert.match(text, from);
    writeFileSync(join(project, file), text.replace(from, to));
  };
  const program = join(project, 'test/support/daemon-end.ts');
  const start = () =>
    host.namespace.spawn(process.execPath, [program, 'run', host.configPath], host.environment);
  writeFileSync(host.configPath, CONFIG + FIREWALL);
  const first = start();
  const { dataPlane } = await host.forwarding();
  const former = dataPlane.pid!;

  // The same version: what the data plane refuses is refused, and it goes on as it is.
  change('plugins/firewall/prepare.ts', /FORMAT = \d+/, 'FORMAT = 98');
  await host.end(first, 'SIGKILL');
  const second = start();
  assert.equal(await new Promise((resolve) => second.once('close', resolve)), 1);
  assert.ok(isRunning(former), 'the data plane goes on');

  change('package.json', /"version": "[^"]+"/, '"version": "99.0.0"');
  start();
  const now = await eventually('another data plane forwards', async () => {
    const status = await host.status().catch(() => undefined);
    return status?.dataPlane.state === 'forwarding' ? status : undefined;
  });
  assert.notEqual(now.dataPlane.pid, former);
  assert.equal(now.dataPlane.version, '99.0.0');
  assert.equal(isRunning(former), false);
});
