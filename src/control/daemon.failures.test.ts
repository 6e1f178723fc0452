/** Starts that fail, a second instance, and what is left when both processes are gone. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CONFIG, DaemonHost, isRunning } from '../../test/support/daemon-host.ts';

test('one instance a namespace; leftovers are taken down without a control process', async (t) => {
  const host = new DaemonHost(t);
  const before = host.picture();
  const first = host.start();
  const { dataPlane } = await host.forwarding();

  for (const what of [['run', host.configPath], ['take-down']]) {
    const { code, pid } = await host.run(...what);
    assert.deepEqual([code, pid], ['already_running', first.pid]);
  }
  assert.ok(isRunning(dataPlane.pid!));

  await host.end(first, 'SIGKILL');
  // Even one that does not listen any more.
  process.kill(dataPlane.pid!, 'SIGSTOP');
  assert.deepEqual(await host.run('take-down'), { found: true });
  assert.deepEqual(await host.run('take-down'), { found: false });
  assert.equal(isRunning(dataPlane.pid!), false);
  assert.equal(host.picture(), before);
  assert.deepEqual(host.files(), []);
  assert.equal(existsSync(host.runtimeDirectory), false);
});

const FAILURES: readonly [what: string, code: string, prepare: (host: DaemonHost) => void][] = [
  ['a file of another version', 'config_invalid', (host) => writeFileSync(host.configPath, 'version: 2\n')],
  [
    'the host has an address on an interconnect',
    'config_invalid',
    (host) => host.namespace.ip('address add 172.20.0.1/30 dev ic0'),
  ],
  [
    'an interconnect is a port of a bridge',
    'config_invalid',
    (host) => host.namespace.ip('link add br0 type bridge', 'link set ic0 master br0'),
  ],
  [
    // Found out when everything else is done.
    'no room for the API',
    'api_socket',
    (host) => {
      const path = join(host.directory, 'no-socket');
      writeFileSync(path, '');
      writeFileSync(host.configPath, `${CONFIG}api: { socket: ${path} }\n`);
    },
  ],
];

for (const [what, code, prepare] of FAILURES) {
  test(`a start that fails leaves the host as it was: ${what}`, async (t) => {
    const host = new DaemonHost(t);
    prepare(host);
    const before = host.picture();
    const answer = await host.run('run', host.configPath);
    assert.equal(answer.code, code, JSON.stringify(answer));
    assert.equal(existsSync(host.runtimeDirectory), false);
    assert.equal(host.picture(), before);
    assert.deepEqual(host.processes(), []);
  });
}
