/** Starts that fail, a second instance, and what is left when both processes are gone. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CONFIG, DaemonHost, isRunning } from '../../test/support/daemon-host.ts';
import { eventually } from '../../test/support/patience.ts';

test('one instance a namespace; leftovers are taken down without a control process', async (t) => {
  const host = new DaemonHost(t);
  const before = host.picture();
  const first = host.start();
  const { dataPlane } = await host.forwarding();

  for (const what of [['run', host.configPath], ['take-down']]) {
    const { code, pid, message } = await host.run(...what);
    assert.deepEqual([code, pid], ['already_running', first.pid], `${what[0]}: ${message}`);
  }
  assert.ok(isRunning(dataPlane.pid!), 'the data plane is left alone');

  await host.end(first, 'SIGKILL');
  // Even one that does not listen any more.
  process.kill(dataPlane.pid!, 'SIGSTOP');
  assert.deepEqual(await host.run('take-down'), { found: true });
  assert.deepEqual(host.processes(), [], 'processes are left');
  assert.equal(host.picture(), before, 'the host is not as it was');
  assert.deepEqual(host.files(), [], 'files are left');
  assert.equal(existsSync(host.runtimeDirectory), false, 'the directory is left');
  assert.deepEqual(await host.run('take-down'), { found: false }, 'something was left to take down');
});

test('one instance a namespace, also with two runtime directories, also while only a data plane is left', async (t) => {
  const host = new DaemonHost(t);
  const first = host.start();
  const { dataPlane } = await host.forwarding();
  const elsewhere = { HOMEWARD_RUNTIME_DIR: join(host.directory, 'elsewhere') };
  const refused = async (pid: number | undefined): Promise<void> => {
    for (const what of [['run', host.configPath], ['take-down']]) {
      const answer = await host.runWith(elsewhere, ...what);
      assert.deepEqual([answer.code, answer.pid], ['already_running', pid], JSON.stringify(answer));
      assert.match(String(answer.message), new RegExp(`process ${pid} .*another HOMEWARD_RUNTIME_DIR`));
      assert.equal(existsSync(elsewhere.HOMEWARD_RUNTIME_DIR), false, 'a directory is left');
    }
  };
  await refused(first.pid);
  await host.end(first, 'SIGKILL');
  await refused(dataPlane.pid!);
  assert.ok(isRunning(dataPlane.pid!), 'the data plane goes on');
  assert.deepEqual(await host.run('take-down'), { found: true });
  assert.deepEqual(await host.runWith(elsewhere, 'take-down'), { found: false });
});

test('a control process that is killed leaves no subscription behind', async (t) => {
  const host = new DaemonHost(t);
  const daemon = host.start();
  const { dataPlane } = await host.forwarding();
  const watching = (): string[] => host.processes().filter((line) => line.includes('monitor'));
  assert.equal(watching().length, 4, watching().join('\n'));
  await host.end(daemon, 'SIGKILL');
  await eventually('they are gone', () => watching().length === 0);
  assert.ok(isRunning(dataPlane.pid!));
});

test('an end that fails midway is answered with what failed, and the process ends all the same', async (t) => {
  const host = new DaemonHost(t);
  const tools = join(host.directory, 'tools');
  const broken = join(host.directory, 'broken');
  mkdirSync(tools);
  writeFileSync(
    join(tools, 'nft'),
    `#!/bin/sh\nPATH=\${PATH#*:}\n[ -e ${broken} ] && { echo out of order >&2; exit 1; }\nexec nft "$@"\n`,
  );
  chmodSync(join(tools, 'nft'), 0o755);
  Object.assign(host.environment, { PATH: `${tools}:${process.env.PATH}` });
  const daemon = host.start();
  await host.forwarding();
  const ended = new Promise<number | null>((resolve) => daemon.once('close', resolve));
  writeFileSync(broken, '');
  await assert.rejects(host.api.down(), /out of order/);
  assert.equal(await ended, 1);
  assert.deepEqual(await host.run('take-down'), { found: true });
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
