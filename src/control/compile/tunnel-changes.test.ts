/**
 * Tunnels of every type and driver that are disabled, enabled, removed, added again and changed: what becomes of their
 * ports, of their flows, and of what was made for them.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EXAMPLE_FACTS } from '../../../test/fixtures/example-gateway.ts';
import { compile } from '../../../test/support/compile-example.ts';
import type { Plan, PlanPort } from '../../pipeline/plan.ts';
import type { HostFacts } from '../facts.ts';
import { Identities } from '../identities.ts';
import { planEffect } from '../live-change.ts';
import type { Compilation } from './compile.ts';

const IKE = 'ike: { local_id: gw.example, remote_id: paris.example, psk: { env: PSK } }';
/** How each is written, and the same with another end. */
const TUNNELS: readonly (readonly [what: string, keys: string, from: string, to: string])[] = [
  [
    'gre, userspace',
    'type: gre, local: 192.0.2.1, remote: 198.51.100.10, driver: userspace',
    '.100.10',
    '.100.11',
  ],
  ['gre, kernel', 'type: gre, local: 192.0.2.1, remote: 198.51.100.10, driver: kernel', '.100.10', '.100.11'],
  [
    'ipsec, libipsec',
    `type: ipsec, local: 192.0.2.1, remote: 198.51.100.10, driver: libipsec, ${IKE}`,
    '.100.10',
    '.100.11',
  ],
  [
    'ipsec, xfrm',
    `type: ipsec, local: 192.0.2.1, remote: 198.51.100.10, driver: xfrm, ${IKE}`,
    '.100.10',
    '.100.11',
  ],
  [
    'interconnect',
    'type: interconnect, device: eth1.20, interface_address: 172.20.0.1/30',
    'eth1.20',
    'eth1.21',
  ],
  ['device', 'type: device, device: wg0', 'wg0', 'wg1'],
];

const FACTS: HostFacts = {
  ...EXAMPLE_FACTS,
  kernelLinks: {
    gre: { available: true, why: 'the kernel has GRE' },
    ip6gre: { available: true, why: 'the kernel has GRE over IPv6' },
    xfrm: { available: true, why: 'the kernel has XFRM interfaces' },
  },
  routes: ['198.51.100.10', '198.51.100.11'].map((remote) => ({
    local: '192.0.2.1',
    remote,
    device: 'eth0',
    nextHop: '192.0.2.254',
  })),
  links: {
    ...EXAMPLE_FACTS.links,
    'eth1.21': { ...EXAMPLE_FACTS.links['eth1.20']!, ifindex: 91 },
    wg1: { ...EXAMPLE_FACTS.links.wg0!, ifindex: 92 },
  },
  ipsec: {
    drivers: { xfrm: { available: true, why: 'yes' }, libipsec: { available: true, why: 'yes' } },
    credentials: {},
    running: {},
  },
};

const OTHER = '  - { name: lyon, tunnels: [ { name: other, type: device, device: tun9, driver: tun } ] }\n';

function withTunnel(keys: string): string {
  return `version: 1\nsites:\n  - { name: paris, tunnels: [ { name: t1, ${keys} } ] }\n${OTHER}`;
}

const WITHOUT = `version: 1\nsites:\n${OTHER}`;

function portOf(plan: Plan): PlanPort | undefined {
  return plan.ports.find(({ name }) => name === 't1');
}

/** Everything that is done on the host for the tunnel. */
function madeFor({ host, ipsec }: Compilation): unknown[] {
  return [
    ...host.devices.filter((device) => 'tunnel' in device && device.tunnel === 't1'),
    ...host.devices.flatMap((device) => (device.role === 'shared' ? device.gre : [])),
    ...ipsec.filter(({ tunnel }) => tunnel.name === 't1'),
  ];
}

describe('a tunnel that is changed while the gateway runs', () => {
  for (const [what, keys, from, to] of TUNNELS) {
    it(`${what}: its flows end or wait, and nothing is left of it`, () => {
      const identities = new Identities();
      const run = (text: string): Compilation => compile(text, FACTS, identities);
      const first = run(withTunnel(keys));
      assert.deepEqual(first.problems, []);
      assert.ok(madeFor(first).length > 0);
      const { index, generation } = portOf(first.plan)!;

      const disabled = run(withTunnel(`${keys}, enabled: false`));
      const asleep = portOf(disabled.plan)!;
      assert.deepEqual([asleep.enabled, asleep.index, asleep.generation], [false, index, generation]);
      assert.deepEqual(disabled.ipsec, []);
      assert.deepEqual(planEffect(first.plan, disabled.plan).flows, [
        { port: 't1', flows: 'stop', why: 'it is disabled' },
      ]);

      const enabled = run(withTunnel(keys));
      assert.deepEqual({ ...enabled.plan, generation: 0 }, { ...first.plan, generation: 0 });
      assert.deepEqual(madeFor(enabled), madeFor(first));

      const removed = run(WITHOUT);
      assert.equal(portOf(removed.plan), undefined);
      assert.deepEqual(madeFor(removed), []);
      assert.deepEqual(planEffect(first.plan, removed.plan).flows, [
        { port: 't1', flows: 'end', why: 'it is removed' },
      ]);

      const again = portOf(run(withTunnel(keys)).plan)!;
      assert.notDeepEqual(
        [again.index, again.generation],
        [index, generation],
        'no flow of the former one fits',
      );

      const before = run(withTunnel(keys));
      const moved = run(withTunnel(keys.replace(from, to)));
      assert.deepEqual(planEffect(before.plan, moved.plan).flows, [
        { port: 't1', flows: 'end', why: 'its site, its type or its endpoints change' },
      ]);
    });
  }
});
