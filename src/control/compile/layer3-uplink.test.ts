/** Uplinks without a link header (PPP, WireGuard, TUN): the egress, the tunnels over it, and the host's part. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXAMPLE_FACTS } from '../../../test/fixtures/example-gateway.ts';
import { type Change, compile, example, withLink } from '../../../test/support/compile-example.ts';
import type { Plan, PlanEgressPort } from '../../pipeline/plan.ts';
import type { HostFacts, LinkAddressFacts, LinkFacts } from '../facts.ts';
import { Identities } from '../identities.ts';

const ON_PPP: Change = ['device: eth0', 'device: ppp0'];
const NO_FORWARDS: Change = [
  '    port_forwards: [ { protocol: tcp, port: 8443, to: { site: lyon, address: 10.0.1.20, port: 443 } } ]\n',
  '',
];

function address(text: string, prefixLength = 32): LinkAddressFacts {
  const scope = text.startsWith('fe80') ? 'link' : 'global';
  return { address: text, prefixLength, scope, transient: false };
}

/** The example's host with a dialled line, by which everything leaves: no gateway, one address. */
function dialled(change: Partial<LinkFacts> = {}): HostFacts {
  const link = {
    ifindex: 31,
    kind: 'layer3',
    mtu: 1492,
    addresses: [address('203.0.113.5'), address('fe80::5', 128)],
    ...change,
  } as const;
  return {
    ...withLink('ppp0', link),
    defaultRoutes: [{ family: 4, device: 'ppp0', nextHop: null, metric: 0 }],
    routes: [{ local: '192.0.2.1', remote: '198.51.100.10', device: 'ppp0', nextHop: null }],
  };
}

function egressOf(plan: Plan): PlanEgressPort {
  return plan.ports.find((port) => port.role === 'egress')!;
}

test('an egress and a tunnel on a layer-3 interface: no neighbours, the interface’s addresses and MTU', () => {
  const { plan, host } = compile(example(ON_PPP), dialled());
  const device = plan.devices.find(({ name }) => name === 'ppp0')!;
  assert.deepEqual(device, { index: device.index, name: 'ppp0', kind: 'ip', mtu: 1492 });
  const egress = egressOf(plan);
  assert.deepEqual(egress.link, { kind: 'ip', device: device.index });
  assert.equal(egress.mtu, 1492);
  assert.deepEqual(egress.addresses, ['203.0.113.5']);
  assert.deepEqual(egress.pools, [
    { address: '203.0.113.5', portMin: 61000, portMax: 65535, quotaPerSite: 2268 },
  ]);
  const gre = plan.ports.find(({ name }) => name === 'paris-gre')!;
  assert.deepEqual(gre.link, {
    kind: 'gre',
    local: '192.0.2.1',
    remote: '198.51.100.10',
    key: 7,
    checksum: false,
    sequence: false,
    ttl: 64,
    device: device.index,
    sourceAddresses: [],
  });
  assert.equal(gre.mtu, 1492 - 28);
  assert.deepEqual(
    host.devices.find(({ name }) => name === 'ppp0'),
    {
      index: device.index,
      role: 'shared',
      kind: 'ip',
      name: 'ppp0',
      ifindex: 31,
      present: true,
      mtu: 1492,
      gre: [{ local: '192.0.2.1', remote: '198.51.100.10' }],
      poolAddresses: [],
      sharedAddresses: [{ address: '203.0.113.5', ports: { min: 61000, max: 65535 } }],
      portForwards: [{ protocol: 'tcp', address: '203.0.113.5', port: 8443 }],
      untranslatedPrefixes: [],
    },
  );
  assert.ok(plan.gatewayAddresses.includes('203.0.113.5'));
});

test('a TUN device of somebody else is an uplink too', () => {
  const { plan } = compile(example(ON_PPP), dialled({ kind: 'tun' }));
  assert.equal(plan.devices.find(({ name }) => name === 'ppp0')!.kind, 'ip');
});

test('auto asks for no route: with a gateway, without one, or with none at all by this interface', () => {
  const routes = [
    [{ family: 4, device: 'ppp0', nextHop: '203.0.113.1', metric: 0 }],
    [{ family: 4, device: 'ppp0', nextHop: null, metric: 0 }],
    EXAMPLE_FACTS.defaultRoutes,
  ] as const;
  for (const defaultRoutes of routes) {
    const { plan } = compile(example(ON_PPP), { ...dialled(), defaultRoutes });
    assert.equal(egressOf(plan).link.kind, 'ip');
  }
});

test('a pool that is routed to the gateway is wholly ours, and nobody answers for it', () => {
  const pool: Change = ['addresses: auto', 'addresses: [198.51.100.8/31]'];
  const { plan, host } = compile(example(ON_PPP, pool), dialled());
  assert.deepEqual(
    egressOf(plan).pools.map(({ address: text, portMin }) => [text, portMin]),
    [
      ['198.51.100.8', 1024],
      ['198.51.100.9', 1024],
    ],
  );
  const shared = host.devices.find(({ role }) => role === 'shared');
  assert.deepEqual(shared?.role === 'shared' && shared.poolAddresses, ['198.51.100.8', '198.51.100.9']);
});

test('a tunnel may use a layer-3 interface that no egress uses', () => {
  const { plan, host } = compile(example(), { ...dialled(), defaultRoutes: EXAMPLE_FACTS.defaultRoutes });
  const kinds = host.devices.flatMap((device) =>
    device.role === 'shared' ? [[device.name, device.kind, device.gre.length]] : [],
  );
  assert.deepEqual(kinds, [
    ['ppp0', 'ip', 1],
    ['eth0', 'ethernet', 0],
  ]);
  assert.equal(egressOf(plan).link.kind, 'ethernet');
});

test('another address or another interface of the same name: a new plan, the same ports', () => {
  const identities = new Identities();
  const text = example(ON_PPP, NO_FORWARDS);
  const first = compile(text, dialled(), identities).plan;
  const again = dialled({ ifindex: 32, addresses: [address('203.0.113.77')] });
  const second = compile(text, again, identities).plan;
  assert.equal(second.generation, first.generation + 1);
  const numbers = ({ ports }: typeof first) => ports.map(({ index, generation }) => [index, generation]);
  assert.deepEqual(numbers(second), numbers(first));
  assert.deepEqual(egressOf(second).pools[0]!.address, '203.0.113.77');
  assert.equal(compile(text, again, identities).plan.generation, second.generation);
});
