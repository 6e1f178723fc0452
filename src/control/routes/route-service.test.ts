/** The routing table as operators see it: every entry, and whether it is used. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import {
  MemoryGateway,
  type MemoryGatewayOptions,
  memoryPlan,
} from '../../../test/support/memory-gateway.ts';
import type { RequestError } from '../request-error.ts';
import { RouteService, routeEntries } from './route-service.ts';

const OPTIONS: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24', '10.9.0.0/16', 'fd00:1::/64'] },
    { name: 'lyon', prefixes: ['10.0.1.0/24', '10.9.4.0/22'] },
    { name: 'nice', prefixes: ['10.0.3.0/24'] },
    { name: 'cannes', prefixes: ['10.0.3.0/24', '10.8.0.0/24', '10.8.1.0/24'] },
    { name: 'dc', prefixes: ['10.8.0.0/23'], tunnels: [{ name: 'dc-2', priority: 200 }, { name: 'dc-1' }] },
  ],
  egress: [
    { name: 'first', pools: [{ address: '192.0.2.1' }] },
    { name: 'second', pools: [{ address: '198.51.100.1' }] },
  ],
  routes: [
    { prefix: '10.0.3.0/24', via: 'nice' },
    { prefix: '0.0.0.0/0', via: 'second', priority: 200 },
  ],
};

it('lists every entry, by address, and says whether it is used', () => {
  const lines = routeEntries(memoryPlan(OPTIONS)).map(
    ({ prefix, via, kind, priority, state }) => `${prefix} ${via} ${kind} ${priority ?? '-'} ${state}`,
  );
  assert.deepEqual(lines, [
    '0.0.0.0/0 first route 100 active',
    '0.0.0.0/0 second route 200 unused',
    '10.0.1.0/24 paris declared - ambiguous',
    '10.0.1.0/24 lyon declared - ambiguous',
    // Named by a route.
    '10.0.3.0/24 nice declared - active',
    '10.0.3.0/24 cannes declared - unused',
    '10.0.3.0/24 nice route 100 active',
    // Longer entries have all of it.
    '10.8.0.0/23 dc declared - unused',
    '10.8.0.0/24 cannes declared - ambiguous',
    '10.8.1.0/24 cannes declared - ambiguous',
    '10.9.0.0/16 paris declared - active',
    '10.9.4.0/22 lyon declared - ambiguous',
    '::/0 first route 100 active',
    'fd00:1::/64 paris declared - active',
  ]);
});

it('names the ports that lead there, the preferred first', () => {
  const entry = routeEntries(memoryPlan(OPTIONS)).find(({ via }) => via === 'dc');
  assert.deepEqual(entry?.ports, ['dc-1', 'dc-2']);
});

it('lists the table of a thousand sites with the same addresses', () => {
  const sites = Array.from({ length: 1000 }, (_, at) => ({
    name: `s${at}`,
    prefixes: ['192.168.0.0/16', `10.${at >> 8}.${at & 255}.0/24`, `fd00:${at.toString(16)}::/32`],
  }));
  const plan = memoryPlan({ sites, egress: [{ name: 'internet', pools: [{ address: '192.0.2.1' }] }] });
  const entries = routeEntries(plan);
  assert.equal(entries.length, 3002);
  const states = Map.groupBy(entries, ({ state }) => state);
  assert.deepEqual([states.get('ambiguous')?.length, states.get('active')?.length], [1000, 2002]);
});

it('tests an address: from a tunnel, and for anybody', async () => {
  const gateway = new MemoryGateway(OPTIONS);
  const routes = new RouteService({
    plan: () => gateway.plan,
    explain: async (question) => gateway.assembly.explain(question, gateway.nowMs) ?? null,
  });
  const cases: [address: string, from: string | undefined, to: string | null, text: string][] = [
    [
      '10.0.1.9',
      'nice',
      null,
      '10.0.1.9 is ambiguous: paris and lyon declare it, and no route names one of them. Routing never chooses between sites.',
    ],
    [
      '10.0.1.9',
      'paris',
      null,
      '10.0.1.9 is inside site paris itself, where the packet comes from: it never leads to another site.',
    ],
    [
      '10.0.3.9',
      undefined,
      'nice',
      'nice and cannes declare 10.0.3.9; the route 10.0.3.0/24 names site nice.',
    ],
    [
      '10.9.9.9',
      'nice',
      'paris',
      '10.9.9.9 leads to site paris, which declares 10.9.0.0/16; no route is as long.',
    ],
    [
      '203.0.113.9',
      'nice',
      'first',
      '203.0.113.9 leads to egress first, by the longest route that has it, 0.0.0.0/0.',
    ],
    [
      '10.77.0.1',
      'nice',
      null,
      '10.77.0.1 is private and no site declares it: the route 0.0.0.0/0 to egress first does not take it, because private addresses never fall to the internet.',
    ],
    ['192.0.2.1', 'nice', null, "192.0.2.1 is one of the gateway's own addresses: no route is asked."],
  ];
  for (const [address, from, to, text] of cases) {
    const explanation = await routes.test(address, from);
    assert.deepEqual([explanation.to, explanation.steps[0]!.text], [to, text]);
    assert.equal(explanation.verdict, to === null ? 'drop' : 'forward');
  }
  await assert.rejects(
    routes.test('10.0.1', undefined),
    (error) => (error as RequestError).code === 'bad_address',
  );
  await assert.rejects(
    routes.test('10.0.1.1', 'nobody'),
    (error) => (error as RequestError).code === 'unknown_name',
  );
});
