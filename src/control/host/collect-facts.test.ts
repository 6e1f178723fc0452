import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { NetworkNamespace } from '../../../test/support/network-namespace.ts';
import type { HostFacts, RouteQuery } from '../facts.ts';

const MODULE = new URL('./collect-facts.ts', import.meta.url).href;

let host: NetworkNamespace;

before(() => {
  host = new NetworkNamespace();
});

after(() => host?.remove());

function collect(queries: readonly RouteQuery[]): HostFacts {
  const program = `
    const { collectFacts } = await import(${JSON.stringify(MODULE)});
    console.log(JSON.stringify(await collectFacts(${JSON.stringify(queries)})));
  `;
  return JSON.parse(host.exec(process.execPath, ['--input-type=module', '-e', program])) as HostFacts;
}

test('a host without anything', () => {
  const facts = collect([{ local: '192.0.2.1', remote: '198.51.100.1' }]);
  assert.deepEqual(Object.keys(facts.links), ['lo']);
  assert.equal(facts.links.lo?.kind, 'loopback');
  assert.deepEqual([facts.defaultRoutes, facts.routes], [[], []]);
});

test('links of every kind, addresses, default routes of both families, and answers for some questions', () => {
  host.ip(
    'link set lo up',
    'link add up0 address 02:00:00:00:00:AB mtu 1400 type veth peer name up1',
    'link set up0 up',
    'link set up1 up',
    'address add 192.0.2.1/24 dev up0',
    'address add 192.0.2.2/32 dev up0',
    'address add 2001:db8::1/64 dev up0 nodad',
    'address add 2001:db8::2/64 dev up0 nodad preferred_lft 0',
    'route add default via 192.0.2.254 metric 50',
    'route add blackhole 203.0.113.0/24',
    'route add 198.51.100.7 via 192.0.2.253 mtu 1300',
    'tuntap add tun0 mode tun vnet_hdr',
    'tuntap add tap0 mode tap vnet_hdr',
  );
  host.exec('ip', ['-6', 'route', 'add', 'default', 'via', '2001:db8::fe', 'dev', 'up0', 'metric', '70']);
  host.exec('sysctl', ['-qw', 'net.ipv4.ip_local_port_range=20000 30000']);
  const facts = collect([
    { local: '192.0.2.1', remote: '203.0.113.5' },
    { local: '192.0.2.1', remote: '198.51.100.1' },
    { local: '192.0.2.1', remote: '198.51.100.7' },
    { local: '192.0.2.99', remote: '198.51.100.1' },
    { local: '192.0.2.2', remote: '192.0.2.9' },
    { local: '2001:db8::1', remote: '2001:db8:1::5' },
  ]);

  const { up0, tun0, tap0 } = facts.links;
  assert.deepEqual([up0?.kind, up0?.mac, up0?.mtu, up0?.up], ['ethernet', '02:00:00:00:00:ab', 1400, true]);
  assert.deepEqual(
    up0?.addresses
      .filter(({ scope }) => scope === 'global')
      .map(({ address, prefixLength, transient }) => [address, prefixLength, transient])
      .toSorted(),
    [
      ['192.0.2.1', 24, false],
      ['192.0.2.2', 32, false],
      ['2001:db8::1', 64, false],
      ['2001:db8::2', 64, true],
    ],
  );
  assert.deepEqual([tun0?.kind, tun0?.mac, tun0?.up, tap0?.kind], ['tun', undefined, false, 'ethernet']);
  assert.deepEqual(facts.defaultRoutes, [
    { family: 4, device: 'up0', nextHop: '192.0.2.254', metric: 50 },
    { family: 6, device: 'up0', nextHop: '2001:db8::fe', metric: 70 },
  ]);
  assert.deepEqual(facts.routes, [
    { local: '192.0.2.1', remote: '198.51.100.1', device: 'up0', nextHop: '192.0.2.254' },
    { local: '192.0.2.1', remote: '198.51.100.7', device: 'up0', nextHop: '192.0.2.253', mtu: 1300 },
    { local: '192.0.2.2', remote: '192.0.2.9', device: 'up0', nextHop: null },
    { local: '2001:db8::1', remote: '2001:db8:1::5', device: 'up0', nextHop: '2001:db8::fe' },
  ]);
  assert.deepEqual(facts.localPortRange, { min: 20000, max: 30000 });
});
