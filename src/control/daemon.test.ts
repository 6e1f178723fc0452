/** The control process with the real data plane, in a namespace: it does not end with either's death. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DaemonHost, isRunning } from '../../test/support/daemon-host.ts';
import { eventually } from '../../test/support/patience.ts';

test('a whole life: start, crashes of either process, restart, down', async (t) => {
  const host = new DaemonHost(t);
  host.answer();
  const before = host.picture();

  const first = host.start();
  await host.forwarding();
  const started = await eventually('next hops have answered', async () => {
    const status = await host.status();
    return status.tunnels.some(({ state }) => state === 'connecting') ? undefined : status;
  });
  assert.deepEqual(
    started.tunnels.map(({ name, site, type, state }) => [name, site, type, state]),
    [
      ['lyon-ic', 'lyon', 'interconnect', 'up'],
      ['lyon-gre', 'lyon', 'gre', 'up'],
      ['dc-tun', 'dc', 'device', 'up'],
    ],
  );
  assert.match(host.picture(), /^ic0 NOARP,UP/m);
  assert.match(host.picture(), /^tun-dc NOARP,UP $/m);
  assert.equal(host.sysctl('net.ipv6.conf.ic0.disable_ipv6'), '1');
  assert.equal(host.sysctl('net.ipv4.ip_local_reserved_ports'), '8080,61000-65535');
  assert.match(host.namespace.exec('nft', ['list', 'tables']), /netdev homeward\n.*inet homeward/);

  // The data plane is killed: it comes back with its plan.
  process.kill(started.dataPlane.pid!, 'SIGKILL');
  const again = await eventually('the data plane is back', async () => {
    const status = await host.status();
    return status.dataPlane.restarts === 1 && status.dataPlane.state === 'forwarding' ? status : undefined;
  });
  assert.notEqual(again.dataPlane.pid, started.dataPlane.pid);

  // Control is killed: the data plane goes on, and the next control adopts it.
  await host.end(first, 'SIGKILL');
  assert.ok(isRunning(again.dataPlane.pid!));
  const second = host.start();
  const adopted = await host.forwarding();
  assert.equal(adopted.dataPlane.pid, again.dataPlane.pid);
  assert.equal(adopted.dataPlane.restarts, 0);
  assert.equal(adopted.planGeneration, started.planGeneration);

  // SIGTERM: nothing is forwarded, but everything stays in place.
  const guard = host.namespace.exec('nft', ['list', 'table', 'inet', 'homeward']);
  assert.equal(await host.end(second, 'SIGTERM'), 0);
  assert.equal(isRunning(adopted.dataPlane.pid!), false);
  assert.equal(host.namespace.exec('nft', ['list', 'table', 'inet', 'homeward']), guard);
  assert.match(host.picture(), /^tun-dc NOARP,UP/m);
  assert.ok(existsSync(join(host.runtimeDirectory, 'identities.json')));

  // The next start takes that over; down leaves nothing.
  const third = host.start();
  const status = await host.forwarding();
  const ended = new Promise((resolve) => third.once('close', resolve));
  await host.api.down();
  assert.equal(await ended, 0);
  assert.equal(isRunning(status.dataPlane.pid!), false);
  assert.equal(host.picture(), before);
  assert.deepEqual(host.files(), []);
  assert.equal(existsSync(host.runtimeDirectory), false);
});

test('a secret in its environment stays there: neither the data plane nor a tool gets it', async (t) => {
  const host = new DaemonHost(t);
  Object.assign(host.environment, { LYON_SECRET: 'only control knows' });
  const daemon = host.start();
  const { dataPlane } = await host.forwarding();
  const environ = (pid: number): string => {
    try {
      return readFileSync(`/proc/${pid}/environ`, 'latin1');
    } catch {
      return '';
    }
  };
  assert.match(environ(dataPlane.pid!), /(^|\0)PATH=/);
  assert.doesNotMatch(environ(dataPlane.pid!), /only control knows/);
  // A process is its parent's image for a moment, until it becomes the tool.
  await eventually('no other process has it', () => {
    const holders = host.namespace.pids().filter((pid) => environ(pid).includes('only control knows'));
    return holders.length === 1 && holders[0] === daemon.pid;
  });
});
