/** As a service: what systemd is told, and the guard before there is a gateway or even a network. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { DaemonHost } from '../../test/support/daemon-host.ts';
import { eventually } from '../../test/support/patience.ts';
import { ServiceNotifier } from './runtime/service-notifier.ts';

/** Listens as systemd does, and prints every message as a line of JSON. */
const LISTENER = `
import json, socket, sys
name = sys.argv[1]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind('\\0' + name[1:] if name.startswith('@') else name)
print('null', flush=True)
while True:
    print(json.dumps(listener.recv(65536).decode()), flush=True)
`;

/** Messages to a socket of this name, as they come. */
async function listen(t: TestContext, name: string): Promise<string[]> {
  const listener = spawn('python3', ['-c', LISTENER, name], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => listener.kill('SIGKILL'));
  const lines = createInterface({ input: listener.stdout });
  await once(lines, 'line');
  const messages: string[] = [];
  lines.on('line', (line) => messages.push(JSON.parse(line)));
  return messages;
}

test('messages reach a socket with a file and one without', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-notify-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const names = [join(directory, 'notify'), `@homeward-test-${process.pid}`];
  for (const name of names) {
    const messages = await listen(t, name);
    const environment: NodeJS.ProcessEnv = {
      NOTIFY_SOCKET: name,
      WATCHDOG_USEC: '20000',
      WATCHDOG_PID: `${process.pid}`,
    };
    const notifier = new ServiceNotifier(environment, (error) => assert.fail(error));
    assert.deepEqual(environment, {});
    notifier.status('one\ntwo');
    notifier.ready('up');
    await eventually('three signs of life', async () => messages.length >= 5);
    notifier.close();
    assert.deepEqual(messages.slice(0, 5), [
      'STATUS=one two',
      'READY=1\nSTATUS=up',
      'WATCHDOG=1',
      'WATCHDOG=1',
      'WATCHDOG=1',
    ]);
  }
});

test('without systemd nothing is said; a socket that nobody listens on is told once', () => {
  let failures = 0;
  const silent = new ServiceNotifier({ WATCHDOG_USEC: '1000' }, () => failures++);
  silent.ready('up');
  silent.close();
  assert.equal(failures, 0);
  const deaf = new ServiceNotifier({ NOTIFY_SOCKET: '/nowhere/notify' }, () => failures++);
  deaf.ready('up');
  deaf.stopping('down');
  assert.equal(failures, 1);
});

test('a gateway says that it is up, that it is alive, and that it ends', async (t) => {
  const host = new DaemonHost(t);
  const name = join(host.directory, 'notify');
  const messages = await listen(t, name);
  Object.assign(host.environment, { NOTIFY_SOCKET: name, WATCHDOG_USEC: '200000' });
  const daemon = host.start();
  await eventually('it is ready and alive', async () => messages.includes('WATCHDOG=1'));
  assert.equal(messages[0], 'READY=1\nSTATUS=gateway gw1');
  // Ready means ready.
  assert.equal((await host.status()).dataPlane.state, 'forwarding');
  await host.end(daemon, 'SIGTERM');
  await eventually('it says that it ends', async () =>
    messages.some((message) => message.startsWith('STOPPING=1\n')),
  );
});

test('the guard stands before there is a network, through a failed start, and until down', async (t) => {
  const host = new DaemonHost(t);
  const before = host.picture();
  const guard = (): string => host.namespace.exec('nft', ['list', 'ruleset']);
  // As at boot: nothing but the loopback.
  host.namespace.ip('link del up0', 'link del ic0');
  const bare = host.picture();
  assert.deepEqual(await host.run('guard', host.configPath), { guard: true });
  const early = guard();
  assert.match(early, /iifname "ic0" goto device_/);
  assert.match(early, /iifname { "ic0", "tun-dc" } drop/);
  assert.match(early, /oifname { "ic0", "tun-dc" } drop/);
  assert.deepEqual(await host.run('guard', host.configPath), { guard: true }, 'twice is as good as once');
  assert.equal(guard(), early);

  // A start that fails leaves the host as it was: guarded.
  const { code } = await host.run('run', host.configPath, '--strict');
  assert.equal(code, 'config_invalid');
  assert.equal(guard(), early);

  // The network comes, and then the gateway.
  host.namespace.ip(
    'link add up0 type veth peer name up1',
    'link add ic0 type veth peer name ic1',
    'address add 192.0.2.1/24 dev up0',
    'link set up0 up',
    'link set up1 up',
    'link set ic1 up',
    'route add default via 192.0.2.254',
  );
  const daemon = host.start();
  await host.forwarding();
  assert.match(guard(), /device "ic0" .*policy drop/);
  const full = guard();
  assert.deepEqual(await host.run('guard', host.configPath), { guard: false }, 'a gateway has its own');
  assert.equal(guard(), full);
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
  assert.doesNotMatch(guard(), /homeward/);

  // Without a start, down takes it away too.
  host.namespace.ip('link del up0', 'link del ic0');
  await host.run('guard', host.configPath);
  assert.deepEqual(await host.run('take-down'), { found: true });
  assert.equal(host.picture(), bare);
  assert.deepEqual(host.files(), []);
  assert.notEqual(before, bare);
});

test('a configuration that is broken leaves no guard and no files', async (t) => {
  const host = new DaemonHost(t);
  const before = host.picture();
  const { code } = await host.run('guard', join(host.directory, 'nowhere.yaml'));
  assert.equal(code, 'config_invalid');
  assert.equal(host.picture(), before);
  assert.deepEqual(host.files(), []);
});
