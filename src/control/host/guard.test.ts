/** The guard and the host's own sockets: what the host may still do, and what it may not. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { INTERCONNECT, UPLINK } from '../../../test/fixtures/classifier-cases.ts';
import { linesOf, NetworkNamespace } from '../../../test/support/network-namespace.ts';
import type { HostSetup, TunDevice } from '../compile/host-setup.ts';
import { guardChanges, guardRules, removeGuardRules } from './guard-rules.ts';

const TUN: TunDevice = {
  role: 'tun',
  index: 3,
  name: 'tun0',
  mtu: 1500,
  tunnel: 'dc',
  present: true,
};
const SETUP: HostSetup = { devices: [UPLINK, INTERCONNECT, TUN] };

/** Connects by TCP from a port; prints `connected` or the error's code. */
const CONNECT = `
  const [host, port, localPort] = process.argv.slice(1);
  const socket = require('node:net').connect({ host, port: +port, localPort: +localPort });
  socket.setTimeout(1000, () => socket.destroy({ code: 'TIMEOUT' }));
  socket.on('connect', () => { console.log('connected'); socket.destroy(); });
  socket.on('error', ({ code }) => console.log(code));
`;
/** Listens on TCP ports for good. */
const LISTEN = `
  const ports = process.argv.slice(1).map(Number);
  let open = 0;
  for (const port of ports) require('node:net').createServer((socket) => socket.end()).listen(port, '::', () => {
    if (++open === ports.length) console.log('ready');
  });
`;

let gateway: NetworkNamespace;
let peer: NetworkNamespace;
let site: NetworkNamespace;

before(async () => {
  gateway = new NetworkNamespace();
  peer = new NetworkNamespace();
  site = new NetworkNamespace();
  gateway.ip(
    'link set lo up',
    `link add up0 type veth peer name up0 netns ${peer.name}`,
    `link add ic0 type veth peer name ic0 netns ${site.name}`,
    'address add 192.0.2.1/24 dev up0',
    'address add 2001:db8::1/64 dev up0 nodad',
    'address add 172.20.0.1/30 dev ic0',
    'link set up0 up',
    'link set ic0 up',
  );
  peer.ip(
    'address add 192.0.2.9/24 dev up0',
    'address add 2001:db8::9/64 dev up0 nodad',
    'link set up0 up',
    'route add default via 192.0.2.1',
  );
  site.ip('address add 172.20.0.2/30 dev ic0', 'link set ic0 up', 'route add default via 172.20.0.1');
  gateway.exec('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
  for (const [namespace, ports] of [
    [gateway, [22, 8443, 45000]],
    [peer, [80]],
  ] as const) {
    const listener = namespace.spawn(process.execPath, ['-e', LISTEN, ...ports.map(String)]);
    await linesOf(listener).next();
  }
});

after(async () => {
  for (const namespace of [gateway, peer, site]) await namespace?.remove();
});

async function connect(from: NetworkNamespace, host: string, port: number, localPort = 0): Promise<string> {
  const { stdout } = await from.attempt(process.execPath, [
    '-e',
    CONNECT,
    host,
    String(port),
    String(localPort),
  ]);
  return stdout.trim();
}

async function ping(from: NetworkNamespace, to: string, identifier: number): Promise<boolean> {
  const { status } = await from.attempt('ping', ['-c1', '-W1', '-e', String(identifier), to]);
  return status === 0;
}

test('without the guard all of this works', async () => {
  gateway.nft(removeGuardRules());
  assert.equal(await connect(peer, '192.0.2.1', 45000), 'connected');
  assert.equal(await connect(gateway, '192.0.2.9', 80, 45001), 'connected');
  assert.equal(await ping(gateway, '192.0.2.9', 45000), true);
  assert.equal(await ping(site, '172.20.0.1', 1), true);
  assert.equal(await ping(site, '192.0.2.9', 1), true);
});

test("the host's services answer, ports that are ours do not", async () => {
  gateway.nft(guardRules(SETUP, new Set(['up0', 'ic0']), 'test'));
  assert.deepEqual(
    await Promise.all([
      connect(peer, '192.0.2.1', 22),
      connect(peer, '2001:db8::1', 22),
      connect(peer, '192.0.2.1', 45000),
      connect(peer, '2001:db8::1', 45000),
      connect(peer, '192.0.2.1', 8443),
      connect(peer, '2001:db8::1', 8443),
    ]),
    ['connected', 'connected', 'TIMEOUT', 'TIMEOUT', 'TIMEOUT', 'connected'],
  );
  assert.equal(await ping(peer, '192.0.2.1', 45000), true, 'the host answers ping whatever the identifier');
});

test('the host sends nothing from ports and identifiers that are ours', async () => {
  gateway.nft(guardRules(SETUP, new Set(['up0', 'ic0']), 'test'));
  assert.equal(await connect(gateway, '192.0.2.9', 80, 30001), 'connected');
  assert.equal(await connect(gateway, '192.0.2.9', 80, 45002), 'ECONNREFUSED');
  assert.equal(await connect(gateway, '2001:db8::9', 80, 45003), 'ECONNREFUSED');
  assert.equal(await ping(gateway, '192.0.2.9', 1234), true);
  assert.equal(await ping(gateway, '192.0.2.9', 45000), false);
  assert.equal(await connect(gateway, '192.0.2.1', 22, 45004), 'connected', 'to itself it may');
});

test("nor does the host's own address translation", async () => {
  gateway.nft(guardRules(SETUP, new Set(['up0']), 'test'));
  // Somebody behind the host, translated by it into our ports.
  const behind = new NetworkNamespace();
  try {
    gateway.ip(
      `link add lan0 type veth peer name lan0 netns ${behind.name}`,
      'address add 10.99.0.1/24 dev lan0',
      'link set lan0 up',
    );
    behind.ip('address add 10.99.0.2/24 dev lan0', 'link set lan0 up', 'route add default via 10.99.0.1');
    const translate = (ports: string) =>
      `add table ip lan\ndelete table ip lan\ntable ip lan {
        chain post { type nat hook postrouting priority 100;
          ip saddr 10.99.0.0/24 oifname "up0" meta l4proto tcp masquerade to :${ports}
        }
      }`;
    gateway.nft(translate('30000-30100'));
    assert.equal(await connect(behind, '192.0.2.9', 80), 'connected');
    gateway.nft(translate('46000-46100'));
    assert.equal(await connect(behind, '192.0.2.9', 80), 'TIMEOUT');
  } finally {
    await behind.remove();
  }
});

test('the host neither answers a site nor forwards for it, with or without the hook on its device', async () => {
  for (const present of [['up0', 'ic0'], []]) {
    gateway.nft(guardRules(SETUP, new Set(present), 'test'));
    assert.deepEqual(
      await Promise.all([
        ping(site, '172.20.0.1', 1),
        ping(site, '192.0.2.9', 1),
        ping(gateway, '172.20.0.2', 1),
        connect(peer, '172.20.0.2', 80),
      ]),
      [false, false, false, 'TIMEOUT'],
    );
  }
});

test('a TUN of ours is for the host itself: nothing is forwarded there', async () => {
  gateway.nft(guardRules(SETUP, new Set(['up0', 'ic0']), 'test'));
  const end = gateway.spawn(process.execPath, [
    join(import.meta.dirname, '../../../test/support/frame-end.ts'),
    '[{"name":"tun0","kind":"tun"}]',
  ]);
  const lines = linesOf(end);
  await lines.next();
  gateway.ip('link set tun0 addrgenmode none up', 'route add 10.50.0.0/16 dev tun0');
  assert.equal(await ping(peer, '10.50.0.1', 77), false);
  assert.equal(await ping(gateway, '10.50.0.1', 78), false, 'nobody answers there');
  const received: Buffer[] = [];
  while (received.at(-1)?.[9] !== 1) {
    received.push(Buffer.from((JSON.parse((await lines.next()).value) as { frame: string }).frame, 'hex'));
  }
  // Before it there may be the host's IPv6 group reports.
  const pings = received.filter((packet) => packet[0]! >> 4 === 4);
  assert.deepEqual(
    pings.map((packet) => packet.readUInt16BE(24)),
    [78],
    "the first one is the host's own",
  );
  end.kill();
  await once(end, 'exit');
});

test('while the guard is replaced another one stands', async () => {
  const present = new Set(['up0', 'ic0']);
  const tables = (): string[] =>
    gateway
      .exec('nft', ['list', 'tables'])
      .split('\n')
      .filter((line) => line.includes('homeward'));
  gateway.nft(removeGuardRules());
  assert.deepEqual(tables(), []);
  const [standIn, replace, remove] = guardChanges(SETUP, present, 'test');
  gateway.nft(standIn!);
  assert.deepEqual(tables(), [
    'table netdev homeward_stand_in',
    'table inet homeward_stand_in',
    'table arp homeward_stand_in',
  ]);
  assert.equal(await connect(peer, '192.0.2.1', 45000), 'TIMEOUT', 'it does all that the guard does');
  assert.equal(await connect(peer, '192.0.2.1', 22), 'connected');
  gateway.nft(replace!);
  assert.equal(tables().length, 6);
  gateway.nft(remove!);
  assert.deepEqual(tables(), ['table netdev homeward', 'table inet homeward', 'table arp homeward']);
  // A change that was cut short.
  gateway.nft(standIn!);
  gateway.nft(removeGuardRules());
  assert.deepEqual(tables(), []);
});

test('a name that is none is refused, and removing twice is no error', () => {
  for (const name of ['eth*', 'a"b', 'a b', '']) {
    assert.throws(() => guardRules({ devices: [{ ...INTERCONNECT, name }] }, new Set(), 'x'), /cannot name/);
  }
  gateway.nft(removeGuardRules());
  gateway.nft(removeGuardRules());
  assert.equal(gateway.exec('nft', ['list', 'tables']).includes('homeward'), false);
});
