/** Which driver a GRE tunnel gets, and what the kernel's one becomes in the plan and on the host. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXAMPLE_FACTS } from '../../../test/fixtures/example-gateway.ts';
import { type Change, compile, example, withLink } from '../../../test/support/compile-example.ts';
import { ConfigError } from '../config/errors.ts';
import type { HostFacts, LinkFacts } from '../facts.ts';
import { Identities } from '../identities.ts';
import type { ExclusiveDevice } from './host-setup.ts';
import { kernelLinkName } from './kernel-link-name.ts';

const AUTO = 'driver: auto';
const KERNEL: Change = [AUTO, 'driver: kernel'];
const USERSPACE: Change = [AUTO, 'driver: userspace'];
const OVER_IPV6: readonly Change[] = [
  ['local: 192.0.2.1', 'local: "2001:db8::1"'],
  ['remote: 198.51.100.10', 'remote: "2001:db8:51::10"'],
];
const NAME = kernelLinkName('paris-gre', 'gre 192.0.2.1 198.51.100.10 7');

const AVAILABLE: HostFacts['kernelLinks'] = {
  gre: { available: true, why: 'the kernel has GRE' },
  ip6gre: { available: true, why: 'the kernel has GRE over IPv6' },
  xfrm: { available: false, why: 'this kernel has no XFRM interfaces' },
};

/** The example's host with a kernel that has GRE. */
const FACTS: HostFacts = {
  ...EXAMPLE_FACTS,
  kernelLinks: AVAILABLE,
  routes: [
    ...EXAMPLE_FACTS.routes,
    { local: '2001:db8::1', remote: '2001:db8:51::10', device: 'eth0', nextHop: 'fe80::fe' },
  ],
};

function withInterface(name: string, change: Partial<LinkFacts>): HostFacts {
  return { ...FACTS, links: withLink(name, change).links };
}

function driverOf(text: string, facts: HostFacts): string {
  const driver = compile(text, facts).drivers.get('paris-gre')!;
  return `${driver.name}: ${driver.why}`;
}

function madeDevice(text: string, facts: HostFacts): ExclusiveDevice {
  const { host } = compile(text, facts, new Identities(), { tolerate: 'everything' });
  return host.devices.find((device) => device.role === 'exclusive' && device.made !== undefined) as never;
}

function refusal(text: string, facts: HostFacts): string[] {
  try {
    compile(text, facts);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.problems.map(({ text: problem }) => problem);
  }
  return [];
}

test('auto takes the kernel’s where nothing is lost by it, and says why', () => {
  assert.equal(driverOf(example(), FACTS), 'kernel: the kernel has GRE');
  assert.equal(
    driverOf(example(), EXAMPLE_FACTS),
    'userspace: this kernel has no GRE interfaces (module ip_gre)',
  );
  assert.equal(
    driverOf(example(...OVER_IPV6), FACTS),
    'userspace: over IPv6 the kernel does not tell senders when the path carries less',
  );
  assert.equal(
    driverOf(example(), withInterface('mgre0', { takesRest: 'gre' })),
    'userspace: mgre0 takes all GRE that no other interface takes',
  );
  assert.equal(
    driverOf(example(), withInterface('mgre6', { takesRest: 'ip6gre' })),
    'kernel: the kernel has GRE',
  );
  assert.equal(
    driverOf(example(), { ...FACTS, refusedLinks: { [NAME]: 'RTNETLINK answers: File exists' } }),
    `userspace: the kernel does not make ${NAME}: RTNETLINK answers: File exists; it is asked again after pauses of 5 s up to 10 min`,
  );
  assert.equal(driverOf(example(USERSPACE), FACTS), 'userspace: the configuration says so');
  assert.equal(driverOf(example(KERNEL), FACTS), 'kernel: the configuration says so');
  assert.equal(compile(example(), FACTS).drivers.size, 1);
});

test('auto goes round a firewall that may drop GRE, and driver: kernel warns of it', () => {
  const input = { family: 'inet', table: 'filter', name: 'input', hook: 'input', policy: 'drop' };
  const closed: HostFacts = { ...FACTS, hostRules: { chains: [{ ...input, rules: [] }], legacy: [] } };
  const drop = "the host's firewall may drop its GRE (table inet filter, chain input)";
  assert.equal(driverOf(example(), closed), `userspace: ${drop}`);
  assert.deepEqual(
    compile(example(KERNEL, ['mtu: 1476', 'mtu: 1400']), closed).notices.map(({ text }) => text),
    [
      "the host's firewall may drop this tunnel's GRE (table inet filter, chain input); let it pass there between 192.0.2.1 and 198.51.100.10, or write userspace",
    ],
  );
  const accept = [
    { match: { op: '==', left: { meta: { key: 'l4proto' } }, right: 'gre' } },
    { accept: null },
  ];
  const open = { ...FACTS, hostRules: { chains: [{ ...input, rules: [accept] }], legacy: [] } };
  assert.equal(driverOf(example(), open), 'kernel: the kernel has GRE');
  assert.deepEqual(compile(example(KERNEL), open).notices, compile(example(KERNEL), FACTS).notices);
  assert.equal(
    driverOf(example(), { ...FACTS, hostRules: { chains: [], legacy: [4] } }),
    "userspace: the host's firewall may drop its GRE (rules of iptables-legacy, which are not read)",
  );
});

test('the kernel’s interface carries the tunnel, and the uplink’s outer packets are the host’s', () => {
  for (const [facts, ifindex, isUp] of [
    [FACTS, 0, false],
    [withInterface(NAME, { ifindex: 41, up: false }), 41, false],
    [withInterface(NAME, { ifindex: 41 }), 41, true],
  ] as const) {
    const { plan, host } = compile(example(KERNEL), facts);
    const device = plan.devices.find(({ name }) => name === NAME)!;
    assert.equal(device.kind, 'ip');
    const port = plan.ports.find(({ name }) => name === 'paris-gre')!;
    assert.deepEqual(port.link, { kind: 'ip', device: device.index });
    assert.equal(port.mtu, 1472);
    const link = {
      kind: 'gre',
      local: '192.0.2.1',
      remote: '198.51.100.10',
      key: 7,
      checksum: false,
      sequence: false,
      ttl: 64,
    };
    assert.deepEqual(
      host.devices.find(({ name }) => name === NAME),
      {
        role: 'exclusive',
        kind: 'ip',
        index: device.index,
        name: NAME,
        ifindex,
        mtu: 1472,
        tunnel: 'paris-gre',
        present: true,
        made: { link, underlay: 'eth0', requestId: null, isUp },
      },
    );
    const uplink = host.devices.find(({ name }) => name === 'eth0')!;
    assert.ok(uplink.role === 'shared');
    assert.deepEqual(uplink.gre, []);
    assert.ok(plan.gatewayAddresses.includes('192.0.2.1'));
  }
});

test('an interface without a way for its outer packets stays, and gets none', () => {
  const device = madeDevice(example(KERNEL), { ...FACTS, routes: [] });
  assert.equal(device.name, NAME);
  assert.equal(device.made!.underlay, null);
  const { plan } = compile(example(KERNEL), { ...FACTS, routes: [] });
  assert.deepEqual(plan.ports.find(({ name }) => name === 'paris-gre')!.link, { kind: 'ip', device: -1 });
});

test('GRE over IPv6 by the kernel, if the configuration says so', () => {
  const device = madeDevice(example(KERNEL, ...OVER_IPV6), FACTS);
  assert.equal(device.made!.link.kind, 'ip6gre');
  assert.equal(device.mtu, 1452);
});

test('the tunnel is the same with either driver; other ends make it another interface', () => {
  const identities = new Identities();
  const portOf = (text: string) => {
    const { plan } = compile(text, FACTS, identities);
    const { index, generation } = plan.ports.find(({ name }) => name === 'paris-gre')!;
    return { index, generation };
  };
  const userspace = portOf(example(USERSPACE));
  assert.deepEqual(portOf(example(KERNEL)), userspace);
  assert.notDeepEqual(portOf(example(KERNEL, ['key: 7', 'key: 8'])), userspace);
  const other = madeDevice(example(KERNEL, ['key: 7', 'key: 8']), FACTS);
  assert.notEqual(other.name, NAME);
  assert.match(other.name, /^paris-gr-[0-9a-z]{6}$/);
});

test('driver: kernel is refused where it cannot be, with a remedy', () => {
  assert.deepEqual(refusal(example(KERNEL), EXAMPLE_FACTS), [
    'this kernel has no GRE interfaces (module ip_gre); write userspace or auto',
  ]);
  assert.deepEqual(refusal(example(KERNEL), withInterface('mgre0', { takesRest: 'gre' })), [
    'mgre0 takes all GRE that no other interface takes; set it down (ip link set mgre0 down), or write userspace',
  ]);
  assert.deepEqual(
    refusal(example(KERNEL), withInterface(NAME, { kind: 'ethernet', mac: '02:00:00:00:00:09' })),
    [
      `the interface of this tunnel would be ${NAME}, which exists and is no GRE interface; write another name`,
    ],
  );
  assert.deepEqual(refusal(example(KERNEL, ['device: wg0', `device: ${NAME}`]), withInterface(NAME, {})), [
    `the interface of this tunnel would be ${NAME}, which another one uses; write another name`,
  ]);
});

test('what the kernel refuses to make takes this tunnel down, and no other', () => {
  const facts = { ...FACTS, refusedLinks: { [NAME]: 'RTNETLINK answers: File exists' } };
  const { plan, problems } = compile(example(KERNEL), facts);
  assert.deepEqual(
    problems.map(({ text }) => text),
    [
      `the kernel does not make ${NAME}: RTNETLINK answers: File exists; it is asked again after pauses of 5 s up to 10 min; remove other GRE interfaces to 198.51.100.10, or write userspace`,
    ],
  );
  assert.deepEqual(
    plan.ports.flatMap(({ name, link }) => (link.device === -1 ? [name] : [])),
    ['paris-gre'],
  );
});
