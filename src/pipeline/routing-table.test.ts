import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DROP_REASON_NAMES } from '../plugin/drop-reasons.ts';
import { parseAddress } from '../wire/address.ts';
import type { Plan } from './plan.ts';
import { RoutingTable } from './routing-table.ts';

const PARIS = 1;
const LYON = 2;
const DATACENTER = 3;
const BERLIN = 4;
const INTERNET = 9;

function tableOf(prefixes: Record<number, string[]>, routes: [string, number, number?][]): RoutingTable {
  const plan = {
    spaces: [PARIS, LYON, DATACENTER, BERLIN, INTERNET].map((id) => ({
      id,
      name: `space${id}`,
      kind: id === INTERNET ? 'egress' : 'site',
      prefixes: prefixes[id] ?? [],
    })),
    routes: routes.map(([prefix, via, priority]) => ({ prefix, via, priority: priority ?? 100 })),
    ports: [],
  } as unknown as Plan;
  return new RoutingTable(plan);
}

function route(table: RoutingTable, sender: number, destination: string): string | number {
  const address = parseAddress(destination)!;
  const [w0, w1, w2, w3] = address.words;
  const space = table.lookup(address.family, w0, w1, w2, w3, sender);
  return space === 0 ? DROP_REASON_NAMES[table.reason] : space;
}

describe('routing table', () => {
  const table = tableOf(
    {
      [PARIS]: ['10.0.1.0/24', 'fd00:1::/64', '10.9.0.0/16'],
      [LYON]: ['10.0.1.0/24', 'fd00:1::/64', '172.16.4.0/24'],
      [BERLIN]: ['10.9.1.0/24'],
      [DATACENTER]: ['10.50.0.0/16', 'fd00:50::/48'],
    },
    [
      ['10.60.0.0/16', DATACENTER],
      ['0.0.0.0/0', INTERNET],
      ['::/0', INTERNET],
    ],
  );

  const cases: [sender: number, destination: string, expected: string | number, why: string][] = [
    [PARIS, '203.0.113.10', INTERNET, 'the default route'],
    [PARIS, '2001:db8:113::10', INTERNET, 'the default route, IPv6'],
    [PARIS, '10.50.3.4', DATACENTER, 'declared by one other site'],
    [PARIS, 'fd00:50:0:1::1', DATACENTER, 'declared, IPv6'],
    [PARIS, '10.60.1.1', DATACENTER, 'a configured route'],
    [PARIS, '10.0.1.20', 'own_site_destination', "the sender's own prefix, though lyon has it too"],
    [LYON, 'fd00:1::20', 'own_site_destination', "the sender's own prefix, IPv6"],
    [DATACENTER, '10.0.1.20', 'ambiguous_destination', 'declared by two sites'],
    [DATACENTER, 'fd00:1::20', 'ambiguous_destination', 'declared by two sites, IPv6'],
    [DATACENTER, '10.9.1.1', 'ambiguous_destination', 'declared by two sites at different lengths'],
    [DATACENTER, '10.9.2.1', PARIS, 'only the shorter prefix has it'],
    [LYON, '10.9.1.1', 'ambiguous_destination', 'ambiguous for a third site too'],
    [PARIS, '10.9.1.1', 'own_site_destination', 'a more specific prefix of another site does not matter'],
    [DATACENTER, '172.16.4.9', LYON, 'declared by one site'],
    [PARIS, '192.168.7.1', 'private_destination', 'undeclared private space'],
    [PARIS, '100.64.0.1', 'private_destination', 'shared address space'],
    [PARIS, 'fd77::1', 'private_destination', 'undeclared unique local'],
  ];
  for (const [sender, destination, expected, why] of cases) {
    it(`from ${sender} to ${destination}: ${expected} (${why})`, () => {
      assert.equal(route(table, sender, destination), expected);
    });
  }

  it('lets a route name one of two sites', () => {
    const named = tableOf({ [PARIS]: ['10.0.1.0/24'], [LYON]: ['10.0.1.0/24'] }, [['10.0.1.0/24', LYON]]);
    assert.equal(route(named, DATACENTER, '10.0.1.20'), LYON);
    assert.equal(route(named, PARIS, '10.0.1.20'), 'own_site_destination');
  });

  it('does not take a route to a third site for naming one of two', () => {
    const other = tableOf({ [PARIS]: ['10.0.1.0/24'], [LYON]: ['10.0.1.0/24'] }, [
      ['0.0.0.0/0', DATACENTER],
      ['10.0.1.0/25', INTERNET],
    ]);
    assert.equal(route(other, BERLIN, '10.0.1.20'), 'ambiguous_destination');
  });

  it('sends private destinations to an egress only by a private route', () => {
    const lab = tableOf({}, [
      ['10.0.0.0/8', INTERNET],
      ['0.0.0.0/0', INTERNET],
    ]);
    assert.equal(route(lab, PARIS, '10.1.1.1'), INTERNET);
    assert.equal(route(lab, PARIS, '192.168.1.1'), 'private_destination');
  });

  it('prefers a longer route over a declared prefix, and the lower priority among equal routes', () => {
    const routes = tableOf({ [DATACENTER]: ['10.50.0.0/16'] }, [
      ['10.50.3.0/24', LYON],
      ['10.70.0.0/16', LYON, 200],
      ['10.70.0.0/16', BERLIN, 100],
    ]);
    assert.equal(route(routes, PARIS, '10.50.3.1'), LYON);
    assert.equal(route(routes, PARIS, '10.50.4.1'), DATACENTER);
    assert.equal(route(routes, PARIS, '10.70.0.1'), BERLIN);
    assert.equal(route(routes, PARIS, '10.80.0.1'), 'no_route');
  });

  it('refuses a route back into the sender', () => {
    const back = tableOf({}, [['10.0.0.0/8', PARIS]]);
    assert.equal(route(back, PARIS, '10.3.3.3'), 'own_site_destination');
  });

  it('knows the sender among a hundred sites that declare the same prefix, also where a route names one', () => {
    const spaces = Array.from({ length: 100 }, (_, i) => ({
      id: i + 1,
      name: `s${i + 1}`,
      kind: 'site',
      prefixes: ['10.0.1.0/24'],
    }));
    const plan = { spaces, routes: [{ prefix: '10.0.1.0/24', via: 7, priority: 100 }], ports: [] };
    const many = new RoutingTable(plan as unknown as Plan);
    for (let id = 1; id <= 100; id++) assert.equal(route(many, id, '10.0.1.20'), 'own_site_destination');
    assert.equal(route(many, 500, '10.0.1.20'), 7);
  });

  it('is right also where the numbers of look-ups begin anew', () => {
    const sites = { [PARIS]: ['10.0.1.0/24'], [LYON]: ['10.0.1.0/24'], [BERLIN]: ['10.7.0.0/16'] };
    const worn = tableOf(sites, [['0.0.0.0/0', INTERNET]]);
    assert.equal(route(worn, DATACENTER, '10.0.1.10'), 'ambiguous_destination');
    // As after 2^31 look-ups: the next one has the number of the first.
    const { v4 } = worn as unknown as { v4: { walkNumber: number } };
    v4.walkNumber = 0x7fff_ffff;
    assert.equal(route(worn, DATACENTER, '10.0.1.10'), 'ambiguous_destination');
    assert.equal(route(worn, BERLIN, '203.0.113.1'), INTERNET);
  });
});
