/** A host that lacks what the configuration names: those ports are down, the others run, and they come up by themselves. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { CONFIG, DaemonHost } from '../../test/support/daemon-host.ts';
import { NetworkNamespace } from '../../test/support/network-namespace.ts';
import { eventually } from '../../test/support/patience.ts';

async function states(host: DaemonHost): Promise<Record<string, string>> {
  const { tunnels, egresses } = await host.status();
  return Object.fromEntries([...tunnels, ...egresses].map(({ name, state }) => [name, state]));
}

/** Waits until these ports, and no others, are down. */
async function untilDown(host: DaemonHost, ...names: string[]): Promise<void> {
  let now: Record<string, string> = {};
  await eventually(`down are ${names.join(', ') || 'none'}`, async () => {
    now = await states(host);
    return Object.entries(now).every(([name, state]) => state === (names.includes(name) ? 'down' : 'up'));
  }).catch((error: Error) => {
    throw new Error(`${error.message}: ${JSON.stringify(now)}`);
  });
}

async function problems(host: DaemonHost): Promise<string> {
  return (await host.status()).problems.join('\n');
}

/** Warnings and worse, as they were logged. */
function logOf(daemon: ReturnType<DaemonHost['start']>): string[] {
  const lines: string[] = [];
  let rest = '';
  daemon.stderr.on('data', (data: Buffer) => {
    const parts = (rest + data.toString()).split('\n');
    rest = parts.pop()!;
    for (const part of parts) {
      const { level, msg } = JSON.parse(part) as { level: number; msg: string };
      if (level >= 40) lines.push(msg);
    }
  });
  return lines;
}

test('a start without a device, an address and a default route: what is there runs, the rest comes by itself', async (t) => {
  const host = new DaemonHost(t);
  host.answer();
  const before = host.picture();
  host.namespace.ip('link del ic0', 'route del default', 'address del 192.0.2.1/24 dev up0');
  const daemon = host.start();
  const log = logOf(daemon);
  await host.forwarding();
  await untilDown(host, 'lyon-ic', 'lyon-gre', 'internet');
  const told = [
    /lyon-ic\.device: ic0 does not exist/,
    /lyon-gre\.local: 192\.0\.2\.1 is not an address of this host/,
    /internet\.(next_hop|addresses): auto finds no/,
  ];
  for (const line of told) {
    assert.match(await problems(host), line);
    assert.equal(log.filter((logged) => line.test(logged)).length >= 1, true, `${line} in ${log.join('\n')}`);
  }

  host.namespace.ip('address add 192.0.2.1/24 dev up0');
  await untilDown(host, 'lyon-ic', 'internet');
  host.namespace.ip('route add default via 192.0.2.254');
  await untilDown(host, 'lyon-ic');
  host.namespace.ip('link add ic0 type veth peer name ic1');
  host.answer();
  await untilDown(host);
  assert.equal(await problems(host), '');
  // However often the host has changed.
  assert.equal(
    log.filter((line) => /lyon-ic\.device: ic0 does not exist/.test(line)).length,
    1,
    log.join('\n'),
  );

  // And away again, one after the other.
  host.namespace.ip('link del ic0');
  await untilDown(host, 'lyon-ic');
  host.namespace.ip('route del default');
  await untilDown(host, 'lyon-ic', 'internet');
  host.namespace.ip('route add default via 192.0.2.254', 'link add ic0 type veth peer name ic1');
  host.answer();
  await untilDown(host);
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
  assert.equal(host.picture().replaceAll(/^net.*\n/gm, ''), before.replaceAll(/^net.*\n/gm, ''));
});

test('a device may be named like something else, and be missing', async (t) => {
  const host = new DaemonHost(t);
  writeFileSync(host.configPath, CONFIG.replaceAll('ic0', 'constructor'));
  host.answer();
  const daemon = host.start();
  await host.forwarding();
  await untilDown(host, 'lyon-ic');
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
});

test('with strictness, what the host lacks refuses the start, and nothing is done', async (t) => {
  const host = new DaemonHost(t);
  host.namespace.ip('link del ic0', 'route del default');
  const before = host.picture();
  const answer = await host.run('run', host.configPath, '--strict');
  assert.equal(answer.code, 'config_invalid', JSON.stringify(answer));
  const [device, route, ...others] = String(answer.message).split('\n');
  assert.match(device!, /lyon-ic\.device: ic0 does not exist/);
  assert.match(route!, /internet\.next_hop: auto finds no default route by up0/);
  assert.deepEqual(others, []);
  assert.equal(host.picture(), before);
  assert.equal(existsSync(host.runtimeDirectory), false);
  assert.deepEqual(host.processes(), []);
});

test('a mistake that is made while the gateway runs takes its own port down, until it is put right', async (t) => {
  const host = new DaemonHost(t);
  host.answer();
  const daemon = host.start();
  await host.forwarding();
  host.namespace.ip('address add 172.20.0.1/30 dev ic0');
  await untilDown(host, 'lyon-ic');
  assert.match(await problems(host), /the host has the address 172\.20\.0\.1\/30 on ic0/);
  // Others are followed meanwhile.
  host.namespace.ip('route del default');
  await untilDown(host, 'lyon-ic', 'internet');
  host.namespace.ip('route add default via 192.0.2.254', 'address del 172.20.0.1/30 dev ic0');
  await untilDown(host);
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
});

test('a link without carrier: its ports are down, with the reason, and up again with it', async (t) => {
  const host = new DaemonHost(t);
  const far = host.answer();
  const daemon = host.start();
  await host.forwarding();
  const { planGeneration } = await host.status();
  far.ip('link set up1 down');
  await untilDown(host, 'internet', 'lyon-gre');
  await eventually('the reason is told', async () => /up0 has no carrier/.test(await problems(host)));
  far.ip('link set up1 up');
  await untilDown(host);
  await eventually('the reason is gone', async () => (await problems(host)) === '');
  far.ip('link set ic1 down');
  await untilDown(host, 'lyon-ic');
  far.ip('link set ic1 up');
  await untilDown(host);
  assert.equal((await host.status()).planGeneration, planGeneration);
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
});

test('the host never has a packet of a device that appears', async (t) => {
  const host = new DaemonHost(t);
  host.answer();
  const site = new NetworkNamespace();
  t.after(() => site.remove());
  host.namespace.ip('link del ic0');
  const daemon = host.start();
  await host.forwarding();
  host.namespace.nft(`
    table inet observer {
      counter arrived { }
      counter passed { }
      chain in { type filter hook prerouting priority -500; iifname "ic0" udp dport 9 counter name arrived
      }
      chain after { type filter hook prerouting priority -400; iifname "ic0" udp dport 9 counter name passed
      }
    }
  `);
  const packets = (counter: string): number => {
    const listed = host.namespace.exec('nft', ['list', 'counter', 'inet', 'observer', counter]);
    return Number(/packets (\d+)/.exec(listed)![1]);
  };
  // Control stands still while the device appears: what it would do later is not done.
  daemon.kill('SIGSTOP');
  host.namespace.ip(
    `link add ic0 address 02:00:00:00:00:01 type veth peer name ic1 netns ${site.name}`,
    'link set ic0 up',
  );
  site.ip(
    'address add 172.20.0.2/30 dev ic1',
    'link set ic1 up',
    'route add default via 172.20.0.1',
    'neigh replace 172.20.0.1 lladdr 02:00:00:00:00:01 dev ic1 nud permanent',
  );
  const send = `
    const socket = require('node:dgram').createSocket('udp4');
    let sent = 0;
    for (const address of ['192.0.2.1', '198.51.100.7', '172.20.0.1'])
      socket.send('x', 9, address, () => ++sent === 3 && socket.close());
  `;
  site.exec(process.execPath, ['-e', send]);
  await eventually('the datagrams have arrived', () => packets('arrived') === 3);
  assert.equal(packets('passed'), 0);
  daemon.kill('SIGCONT');
  await untilDown(host);
  host.namespace.exec('nft', ['delete', 'table', 'inet', 'observer']);
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
});
