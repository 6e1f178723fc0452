/** Ports for which the host lacks something: what they keep, what the guard knows of them, and that others do not care. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXAMPLE_CONFIG, EXAMPLE_FACTS } from '../../../test/fixtures/example-gateway.ts';
import { compile, example, withLink, withoutLink } from '../../../test/support/compile-example.ts';
import type { PlanEgressPort } from '../../pipeline/plan.ts';
import { formatProblem } from '../config/errors.ts';
import type { HostFacts } from '../facts.ts';
import { Identities } from '../identities.ts';
import type { Compilation } from './compile.ts';

const NO_ROUTES: HostFacts = { ...EXAMPLE_FACTS, defaultRoutes: [] };

function internet({ plan }: Compilation): PlanEgressPort {
  return plan.ports.find(({ name }) => name === 'internet') as PlanEgressPort;
}

function identitiesOf({ plan }: Compilation): unknown[] {
  return [
    plan.ports.map(({ name, index, generation }) => [name, index, generation]),
    plan.spaces.map(({ name, id }) => [name, id]),
  ];
}

test('a device that is not there: the guard names it, the plan has it not, and everything keeps its number', () => {
  const identities = new Identities();
  const missing = compile(EXAMPLE_CONFIG, withoutLink('eth1.20'), identities);
  assert.deepEqual(
    missing.plan.devices.map(({ name, index }) => [name, index]),
    [
      ['wg0', 1],
      ['eth0', 2],
    ],
  );
  assert.deepEqual(missing.host.devices[0], {
    index: 0,
    role: 'exclusive',
    kind: 'ethernet',
    name: 'eth1.20',
    ifindex: 0,
    mtu: 0,
    tunnel: 'lyon-ic',
    present: false,
  });
  const there = compile(EXAMPLE_CONFIG, EXAMPLE_FACTS, identities, { known: missing.known });
  assert.deepEqual(there.problems, []);
  assert.deepEqual(identitiesOf(there), identitiesOf(missing));
  assert.deepEqual({ ...there.plan, generation: 1 }, compile(EXAMPLE_CONFIG).plan);
  const gone = compile(EXAMPLE_CONFIG, withoutLink('eth1.20'), identities, { known: there.known });
  assert.deepEqual({ ...gone.plan, generation: 1 }, missing.plan);
});

test('an uplink that lacks something keeps what it had: addresses in the plan, their ports in the guard', () => {
  const first = compile(EXAMPLE_CONFIG);
  const eth0 = { ...EXAMPLE_FACTS.links.eth0!, addresses: [] };
  const lacks: [string, HostFacts][] = [
    ['routes', NO_ROUTES],
    ['addresses', { ...EXAMPLE_FACTS, links: { ...EXAMPLE_FACTS.links, eth0 } }],
    ['the device', withoutLink('eth0')],
  ];
  for (const [what, facts] of lacks) {
    const down = compile(EXAMPLE_CONFIG, facts, new Identities(), { known: first.known });
    assert.equal(internet(down).link.device, -1, what);
    assert.deepEqual(internet(down).pools, internet(first).pools, what);
    assert.deepEqual(internet(down).portForwards, internet(first).portForwards, what);
    const [before] = first.host.devices.filter(({ name }) => name === 'eth0');
    const [uplink] = down.host.devices.filter(({ name }) => name === 'eth0');
    assert.ok(before?.role === 'shared' && uplink?.role === 'shared');
    assert.equal(uplink.present, what !== 'the device');
    assert.deepEqual(uplink.sharedAddresses, before.sharedAddresses, what);
    assert.deepEqual(uplink.portForwards, before.portForwards, what);
    assert.deepEqual(uplink.gre, before.gre, what);
    // Twice without it is no other than once.
    const still = compile(EXAMPLE_CONFIG, facts, new Identities(), { known: down.known });
    assert.deepEqual(still.plan, down.plan, what);
  }
});

test('of another configuration nothing is kept', () => {
  const first = compile(EXAMPLE_CONFIG);
  const changed = example(['addresses: auto', 'site_quota: 10%']);
  const down = compile(changed, withoutLink('eth0'), new Identities(), { known: first.known });
  assert.deepEqual(internet(down).pools, []);
});

test('without a default route at the first start, the addresses are known all the same', () => {
  const down = compile(EXAMPLE_CONFIG, NO_ROUTES);
  assert.equal(internet(down).link.device, -1);
  assert.deepEqual(internet(down).pools, internet(compile(EXAMPLE_CONFIG)).pools);
});

test('an uplink that was never seen: what the configuration alone says is guarded', () => {
  const text = example(
    ['addresses: auto', 'addresses: [203.0.113.7, 192.0.2.1]'],
    ['ipv6: source', 'ipv6: none'],
    ['prefixes: [10.50.0.0/16]', 'prefixes: [10.50.0.0/16, "2001:db8:50::/48"]'],
  );
  const lo = { ...EXAMPLE_FACTS.links.lo! };
  const own = { address: '192.0.2.1', prefixLength: 32, scope: 'global', transient: false } as const;
  const links = { ...withoutLink('eth0').links, lo: { ...lo, addresses: [...lo.addresses, own] } };
  const { host } = compile(text, { ...EXAMPLE_FACTS, links });
  assert.deepEqual(
    host.devices.find(({ name }) => name === 'eth0'),
    {
      index: 2,
      role: 'shared',
      kind: 'ip',
      name: 'eth0',
      mtu: 0,
      ifindex: 0,
      present: false,
      gre: [],
      poolAddresses: ['203.0.113.7'],
      sharedAddresses: [],
      portForwards: [],
      untranslatedPrefixes: ['2001:db8:50::/48'],
    },
  );
});

test('a disabled tunnel may lack what it likes', () => {
  const text = example(['name: lyon-ic,', 'name: lyon-ic, enabled: false,']);
  assert.deepEqual(compile(text, withoutLink('eth1.20')).problems, []);
});

test('no carrier, or an uplink that is down: told, and the plan stays as it is', () => {
  const silent: [HostFacts, string[]][] = [
    [
      withLink('eth1.20', { carrier: false }),
      [
        '21:54: sites.lyon.tunnels.lyon-ic.device: eth1.20 has no carrier; look at its cable, or at its other end',
      ],
    ],
    [
      withLink('eth0', { carrier: false }),
      [
        '10:17: sites.paris.tunnels.paris-gre.remote: 198.51.100.10 is reached by eth0, which has no carrier',
        '29:13: egress.internet.device: eth0 has no carrier; look at its cable, or at its other end',
      ],
    ],
    [
      withLink('eth0', { up: false }),
      ['29:13: egress.internet.device: eth0 is down; set it up (ip link set eth0 up)'],
    ],
  ];
  for (const [facts, lines] of silent) {
    const { plan, problems } = compile(EXAMPLE_CONFIG, facts, new Identities(), { tolerate: 'nothing' });
    assert.deepEqual(
      problems.map(formatProblem),
      lines.map((line) => `homeward.yaml:${line}`),
    );
    assert.deepEqual(plan, compile(EXAMPLE_CONFIG).plan);
  }
});

test('a device becomes a port of a bridge while the gateway runs: its port is down, the others stay up', () => {
  const facts = withLink('eth1.20', { partOf: { kind: 'bridge', name: 'br0' } });
  const { plan, host, problems } = compile(EXAMPLE_CONFIG, facts, new Identities(), {
    tolerate: 'everything',
  });
  assert.equal(problems.length, 1);
  assert.deepEqual(
    plan.ports.map(({ link }) => link.device),
    [2, -1, 1, 2],
  );
  assert.equal(host.devices.find(({ name }) => name === 'eth1.20')?.present, false);
});
