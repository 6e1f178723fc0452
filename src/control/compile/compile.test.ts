import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { EXAMPLE_CONFIG, EXAMPLE_FACTS, EXAMPLE_FILE } from '../../../test/fixtures/example-gateway.ts';
import { type Change, compile, example, withLink } from '../../../test/support/compile-example.ts';
import type { PlanEgressPort, PlanPort } from '../../pipeline/plan.ts';
import { formatProblem } from '../config/errors.ts';
import { parseConfig } from '../config/load.ts';
import { Identities } from '../identities.ts';
import { type Compilation, routeQueries } from './compile.ts';
import type { SharedDevice } from './host-setup.ts';

function portOf({ plan }: Compilation, name: string): PlanPort {
  return plan.ports.find((port) => port.name === name)!;
}

function egressOf(compilation: Compilation): PlanEgressPort {
  return portOf(compilation, 'internet') as PlanEgressPort;
}

function uplinkOf({ host }: Compilation): SharedDevice {
  return host.devices.find((device) => device.role === 'shared')!;
}

test('the example gives the whole plan and host set-up', () => {
  const { plan, host, notices } = compile(EXAMPLE_CONFIG);
  const { plugins, ...rest } = plan;
  assert.deepEqual(rest, {
    generation: 1,
    gatewayName: 'gw1',
    spaces: [
      { id: 1, name: 'paris', kind: 'site', prefixes: ['10.0.1.0/24'] },
      { id: 2, name: 'lyon', kind: 'site', prefixes: ['10.0.1.0/24'] },
      { id: 3, name: 'datacenter', kind: 'site', prefixes: ['10.50.0.0/16'] },
      { id: 4, name: 'internet', kind: 'egress', prefixes: [] },
    ],
    devices: [
      { index: 0, name: 'eth1.20', kind: 'ethernet', mtu: 1496, mac: '02:00:00:00:00:05' },
      { index: 1, name: 'wg0', kind: 'ip', mtu: 1420 },
      { index: 2, name: 'eth0', kind: 'ethernet', mtu: 1500, mac: '02:00:00:00:00:02' },
    ],
    ports: [
      {
        index: 1,
        generation: 1,
        name: 'paris-gre',
        space: 1,
        enabled: true,
        mtu: 1472,
        link: {
          kind: 'gre',
          local: '192.0.2.1',
          remote: '198.51.100.10',
          key: 7,
          checksum: false,
          sequence: false,
          ttl: 64,
          device: 2,
          nextHop: '192.0.2.254',
          sourceAddresses: ['192.0.2.1'],
        },
        addresses: ['169.254.240.0', 'fd00:a::'],
        role: 'tunnel',
        tunnelType: 'gre',
        priority: 100,
        automaticReturnRouting: true,
      },
      {
        index: 2,
        generation: 1,
        name: 'lyon-ic',
        space: 2,
        enabled: true,
        mtu: 1496,
        link: {
          kind: 'ethernet',
          device: 0,
          nextHop: { ipv4: '172.20.0.2' },
          onLink: ['172.20.0.0/30'],
          answers: ['172.20.0.1'],
          sourceAddresses: ['172.20.0.1'],
        },
        addresses: ['172.20.0.1'],
        role: 'tunnel',
        tunnelType: 'interconnect',
        priority: 100,
        automaticReturnRouting: true,
      },
      {
        index: 3,
        generation: 1,
        name: 'dc-wg',
        space: 3,
        enabled: true,
        mtu: 1420,
        link: { kind: 'ip', device: 1 },
        addresses: [],
        role: 'tunnel',
        tunnelType: 'device',
        priority: 100,
        automaticReturnRouting: true,
      },
      {
        index: 4,
        generation: 1,
        name: 'internet',
        space: 4,
        enabled: true,
        mtu: 1500,
        link: {
          kind: 'ethernet',
          device: 2,
          nextHop: { ipv4: '192.0.2.254', ipv6: 'fe80::1' },
          onLink: ['192.0.2.0/24', '2001:db8::/64'],
          answers: [],
          sourceAddresses: ['192.0.2.1', 'fe80::ff:fe00:2'],
        },
        addresses: ['192.0.2.1', '2001:db8::1'],
        role: 'egress',
        translation: { ipv4: 'source', ipv6: 'source' },
        pools: [
          { address: '192.0.2.1', portMin: 61000, portMax: 65535, quotaPerSite: 2268 },
          { address: '2001:db8::1', portMin: 61000, portMax: 65535, quotaPerSite: 2268 },
        ],
        portForwards: [
          {
            protocol: 'tcp',
            address: '192.0.2.1',
            port: 8443,
            to: { space: 2, address: '10.0.1.20', port: 443 },
          },
        ],
      },
    ],
    routes: [
      { prefix: '10.60.0.0/16', via: 3, priority: 100 },
      { prefix: '0.0.0.0/0', via: 4, priority: 100 },
      { prefix: '::/0', via: 4, priority: 100 },
    ],
    gatewayAddresses: [
      '192.0.2.1',
      '169.254.240.0',
      'fd00:a::',
      '172.20.0.1',
      '2001:db8::9999',
      '2001:db8::1',
    ],
    flowTable: {
      maxFlows: 262144,
      perTunnel: 65536,
      createRatePerTunnel: 20000,
      createRatePerSource: 500,
      otherProtocols: [],
    },
  });
  const ports = { min: 61000, max: 65535 };
  assert.deepEqual(host, {
    devices: [
      {
        index: 0,
        role: 'exclusive',
        kind: 'ethernet',
        name: 'eth1.20',
        ifindex: 5,
        present: true,
        mtu: 1496,
        tunnel: 'lyon-ic',
      },
      {
        index: 1,
        role: 'exclusive',
        kind: 'ip',
        name: 'wg0',
        ifindex: 7,
        mtu: 1420,
        tunnel: 'dc-wg',
        present: true,
      },
      {
        index: 2,
        role: 'shared',
        kind: 'ethernet',
        name: 'eth0',
        ifindex: 2,
        present: true,
        mtu: 1500,
        gre: [{ local: '192.0.2.1', remote: '198.51.100.10' }],
        poolAddresses: [],
        sharedAddresses: [
          { address: '192.0.2.1', ports },
          { address: '2001:db8::1', ports },
        ],
        portForwards: [{ protocol: 'tcp', address: '192.0.2.1', port: 8443 }],
        untranslatedPrefixes: [],
      },
    ],
  });
  assert.deepEqual(
    plugins.map(({ name, options }) => ({ name, options })),
    [{ name: 'return-routing', options: {} }],
  );
  assert.ok(existsSync(plugins[0]!.manifest), plugins[0]!.manifest);
  assert.deepEqual(notices.map(formatProblem), [
    'homeward.yaml:13:14: sites.paris.tunnels.paris-gre.mtu: 1476 is too large, eth0 (mtu 1500) carries at most ' +
      '1472 inside this tunnel; 1472 is used',
  ]);
});

test('a plan is JSON, and the same for the same input', () => {
  const identities = new Identities();
  const first = compile(EXAMPLE_CONFIG, EXAMPLE_FACTS, identities).plan;
  assert.deepEqual(JSON.parse(JSON.stringify(first)), first);
  assert.deepEqual(compile(EXAMPLE_CONFIG, EXAMPLE_FACTS, identities).plan, first);
  assert.deepEqual(compile(EXAMPLE_CONFIG).plan, first);
});

test('a change counts the generation up; a removed site leaves the numbers of the others alone', () => {
  const identities = new Identities();
  compile(EXAMPLE_CONFIG, EXAMPLE_FACTS, identities);
  const lyon = EXAMPLE_CONFIG.slice(
    EXAMPLE_CONFIG.indexOf('  - name: lyon'),
    EXAMPLE_CONFIG.indexOf('  - name: datacenter'),
  );
  const forward = EXAMPLE_CONFIG.split('\n').find((line) => line.includes('port_forwards'))!;
  const { plan } = compile(example([lyon, ''], [forward, '']), EXAMPLE_FACTS, identities);
  assert.equal(plan.generation, 2);
  assert.deepEqual(
    plan.ports.map(({ name, index, generation, space }) => [name, index, generation, space]),
    [
      ['paris-gre', 1, 1, 1],
      ['dc-wg', 3, 1, 3],
      ['internet', 4, 1, 4],
    ],
  );
});

test('site, endpoints, key and device make the tunnel; everything else may change in place', () => {
  const generationAfter = (name: string, ...changes: Change[]): number => {
    const identities = new Identities();
    compile(EXAMPLE_CONFIG, EXAMPLE_FACTS, identities);
    const routes = EXAMPLE_FACTS.routes.map((route) => ({ ...route, remote: '198.51.100.11' }));
    const facts = {
      ...withLink('wg1', {}),
      routes: [...EXAMPLE_FACTS.routes, ...routes],
    };
    return portOf(compile(example(...changes), facts, identities), name).generation;
  };
  assert.equal(generationAfter('paris-gre', ['key: 7', 'key: 8']), 2);
  assert.equal(generationAfter('paris-gre', ['        key: 7\n', '']), 2);
  assert.equal(generationAfter('paris-gre', ['remote: 198.51.100.10', 'remote: 198.51.100.11']), 2);
  assert.equal(generationAfter('paris-gre', ['name: paris\n', 'name: marseille\n']), 2);
  assert.equal(generationAfter('dc-wg', ['device: wg0', 'device: wg1']), 2);
  assert.equal(generationAfter('paris-gre', ['mtu: 1476', 'mtu: 1400'], ['priority: 100', 'priority: 7']), 1);
});

test('devices of other kinds: a TUN device of our own, an interconnect on link', () => {
  const compilation = compile(
    example(
      ['type: device, device: wg0', 'type: device, driver: tun, device: hw-dc, mtu: 1380'],
      [', next_hop: 172.20.0.2', ''],
    ),
  );
  assert.deepEqual(compilation.plan.devices[1], { index: 1, name: 'hw-dc', kind: 'tun', mtu: 1380 });
  assert.deepEqual(compilation.host.devices[1], {
    index: 1,
    role: 'tun',
    present: true,
    name: 'hw-dc',
    mtu: 1380,
    tunnel: 'dc-wg',
  });
  assert.deepEqual(portOf(compilation, 'lyon-ic').link, {
    kind: 'ethernet',
    device: 0,
    nextHop: {},
    onLink: ['172.20.0.0/30'],
    answers: ['172.20.0.1'],
    sourceAddresses: ['172.20.0.1'],
  });
});

test('the MTU of GRE: 1476, or what the uplink leaves behind the headers', () => {
  const mtuOf = (options: string, mtu: number, facts = withLink('eth0', { mtu })): number =>
    portOf(compile(example(['        mtu: 1476\n', ''], ['        key: 7\n', options]), facts), 'paris-gre')
      .mtu;
  assert.equal(mtuOf('', 1500), 1476);
  assert.equal(mtuOf('        key: 7\n', 1500), 1472);
  assert.equal(mtuOf('        key: 7\n        checksum: true\n        sequence: true\n', 1500), 1464);
  assert.equal(mtuOf('', 1400), 1376);
  assert.equal(mtuOf('', 9000), 1476);
});

test('GRE over IPv6, to a neighbour on the uplink', () => {
  const outer: Change[] = [
    ['local: 192.0.2.1', 'local: 2001:db8::1'],
    ['remote: 198.51.100.10', 'remote: 2001:db8::2'],
    ['        mtu: 1476\n', ''],
  ];
  const routes = [{ local: '2001:db8::1', remote: '2001:db8::2', device: 'eth0', nextHop: null }];
  const port = portOf(compile(example(...outer), { ...EXAMPLE_FACTS, routes }), 'paris-gre');
  assert.equal(port.mtu, 1500 - 40 - 8);
  assert.ok(port.link.kind === 'gre');
  assert.equal(port.link.nextHop, '2001:db8::2');
  assert.equal(port.link.sourceAddresses.length, 1);
});

test('several GRE tunnels and an egress share one device', () => {
  const second = '      - { name: dc-gre, type: gre, local: 192.0.2.1, remote: 198.51.100.10, key: 8 }\n';
  const compilation = compile(example(['egress:\n', `${second}egress:\n`]));
  assert.equal(compilation.plan.devices.length, 3);
  assert.deepEqual(uplinkOf(compilation).gre, [{ local: '192.0.2.1', remote: '198.51.100.10' }]);
});

test('a pool that is routed to the gateway is wholly ours; one in the uplink network is answered for', () => {
  const compilation = compile(
    example(['addresses: auto', 'addresses: [198.51.100.8/31, 192.0.2.7, 192.0.2.1]']),
  );
  const whole = { portMin: 1024, portMax: 65535, quotaPerSite: 32256 };
  assert.deepEqual(egressOf(compilation).pools, [
    { address: '198.51.100.8', ...whole },
    { address: '198.51.100.9', ...whole },
    { address: '192.0.2.7', ...whole },
    { address: '192.0.2.1', portMin: 61000, portMax: 65535, quotaPerSite: 2268 },
  ]);
  const { link } = egressOf(compilation);
  assert.deepEqual(link.kind === 'ethernet' && link.answers, ['192.0.2.7']);
  const uplink = uplinkOf(compilation);
  assert.deepEqual(uplink.poolAddresses, ['198.51.100.8', '198.51.100.9', '192.0.2.7']);
  assert.deepEqual(uplink.sharedAddresses, [{ address: '192.0.2.1', ports: { min: 61000, max: 65535 } }]);
  // The forward is on the first address, which is ours altogether.
  assert.deepEqual(uplink.portForwards, []);
  assert.equal(egressOf(compilation).portForwards[0]!.address, '198.51.100.8');
});

test('reserved ports keep out of the way of the host', () => {
  const reserved = (min: number, max: number, ...changes: Change[]) => {
    const facts = { ...EXAMPLE_FACTS, localPortRange: { min, max } };
    const [pool] = egressOf(compile(example(...changes), facts)).pools;
    return [pool!.portMin, pool!.portMax];
  };
  assert.deepEqual(reserved(32768, 60999), [61000, 65535]);
  assert.deepEqual(reserved(10000, 20000), [61000, 65535]);
  assert.deepEqual(reserved(32768, 62999), [63000, 65535]);
  const explicit: Change = ['next_hop: auto', 'next_hop: auto\n    reserved_ports: 40000-49999'];
  assert.deepEqual(reserved(1024, 65535, explicit), [40000, 49999]);
});

test('the quota is a share of the ports', () => {
  const quota = (text: string): number =>
    egressOf(compile(example(['next_hop: auto', `next_hop: auto\n    site_quota: ${text}`]))).pools[0]!
      .quotaPerSite;
  assert.equal(quota('100%'), 4536);
  assert.equal(quota('0.001%'), 1);
});

test('without translation of a family, its sites are ours as they are', () => {
  const compilation = compile(
    example(
      ['prefixes: [10.50.0.0/16]', 'prefixes: [10.50.0.0/16, "2001:db8:50::/48"]'],
      ['ipv6: source', 'ipv6: none'],
    ),
  );
  const egress = egressOf(compilation);
  assert.deepEqual(
    egress.pools.map(({ address }) => address),
    ['192.0.2.1'],
  );
  assert.deepEqual(egress.addresses, ['192.0.2.1', '2001:db8::1']);
  assert.deepEqual(uplinkOf(compilation).untranslatedPrefixes, ['2001:db8:50::/48']);
});

test('the compiler says what it will ask the routing, each pair once', () => {
  const second = '      - { name: dc-gre, type: gre, local: 192.0.2.1, remote: 198.51.100.10, key: 8 }\n';
  const config = parseConfig(example(['egress:\n', `${second}egress:\n`]), EXAMPLE_FILE);
  assert.deepEqual(routeQueries(config), [{ local: '192.0.2.1', remote: '198.51.100.10' }]);
});

test('sites that swap their names are other address spaces: what is held for them stays theirs', () => {
  const identities = new Identities();
  const spacesOf = (text: string): Map<string, number> =>
    new Map(compile(text, EXAMPLE_FACTS, identities).plan.spaces.map(({ name, id }) => [name, id]));
  const before = spacesOf(EXAMPLE_CONFIG);
  const swapped = EXAMPLE_CONFIG.replace(/paris|lyon/g, (name) => (name === 'paris' ? 'lyon' : 'paris'));
  const after = spacesOf(swapped);
  const former = [...before.values()];
  assert.deepEqual(
    [...after].filter(([, id]) => !former.includes(id)).map(([name]) => name),
    [...after.keys()].filter((name) => name === 'paris' || name === 'lyon'),
  );
});
