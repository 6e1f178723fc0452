/** Overlaps of address plans, and addresses that no plan declares. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MemoryGateway } from '../../../test/support/memory-gateway.ts';
import { udp } from '../../../test/support/packets.ts';
import { FlowMemory } from '../../flow/flow-memory.ts';
import { formatPrefix, type Prefix, prefixContains, prefixOf } from '../../wire/address.ts';
import { swap32 } from '../../wire/byte-order.ts';
import { parseConfig } from '../config/load.ts';
import { canonicalSet, divide, relationOf, sharedPrefixes } from './address-sets.ts';
import { auditConfig } from './audit.ts';
import { findUndeclared } from './undeclared.ts';

interface Site {
  readonly name: string;
  readonly prefixes: readonly string[];
  readonly extra?: string;
}

function config(sites: readonly Site[], routes: readonly [prefix: string, via: string][] = []) {
  const lines = sites.map(
    ({ name, prefixes, extra = '' }, at) =>
      `  - { name: ${name}, prefixes: [${prefixes.map((text) => `"${text}"`).join(', ')}], tunnels: [ { name: t-${name}, type: device, device: d${at}${extra} } ] }`,
  );
  const text = [
    'version: 1',
    'sites:',
    ...lines,
    'egress:',
    '  - { name: internet, type: internet, device: up0 }',
    'routes:',
    '  - { prefix: 0.0.0.0/0, via: internet }',
    ...routes.map(([prefix, via]) => `  - { prefix: "${prefix}", via: ${via} }`),
  ].join('\n');
  return parseConfig(text, 'test.yaml');
}

describe('the overlap audit', () => {
  it('has nothing to say of disjoint sites', () => {
    const report = auditConfig(
      config([
        { name: 'a', prefixes: ['10.0.1.0/24'] },
        { name: 'b', prefixes: ['10.0.2.0/24', 'fd00::/64'] },
      ]),
    );
    assert.deepEqual(report, {
      sites: 2,
      prefixes: 3,
      overlaps: [],
      relations: [],
      omittedRelations: 0,
      redundant: [],
      overridden: [],
      undeclared: null,
    });
  });

  it('tells equal prefixes: ambiguous towards, safe from', () => {
    const report = auditConfig(
      config([
        { name: 'a', prefixes: ['10.0.1.0/24'] },
        { name: 'b', prefixes: ['10.0.1.0/24'], extra: ', automatic_return_routing: false' },
      ]),
    );
    assert.deepEqual(report.overlaps, [
      {
        prefix: '10.0.1.0/24',
        sites: [
          { site: 'a', declares: '10.0.1.0/24', relation: 'equal', routedReplies: [] },
          { site: 'b', declares: '10.0.1.0/24', relation: 'equal', routedReplies: ['t-b'] },
        ],
        verdict: 'ambiguous',
        towards: [{ to: null, reason: 'ambiguous_destination', route: null, parts: ['10.0.1.0/24'] }],
        text:
          '10.0.1.0/24 belongs to a and b. Flows from there are safe: replies go back by the tunnel that the flow came in by. ' +
          'Replies to flows from t-b are routed, but never out of the site. ' +
          'New flows there from elsewhere are ambiguous and dropped, unless a route names one of the sites.',
      },
    ]);
    assert.deepEqual(
      report.relations.map(({ relation, sites, others, shared }) => [relation, sites, others, shared]),
      [['equal', ['a', 'b'], [], ['10.0.1.0/24']]],
    );
  });

  it('tells contained prefixes, and what a route settles', () => {
    const sites = [
      { name: 'a', prefixes: ['10.0.0.0/16'] },
      { name: 'b', prefixes: ['10.0.1.0/24', '10.0.2.0/24'] },
    ];
    const report = auditConfig(
      config(sites, [
        ['10.0.1.0/24', 'b'],
        ['10.0.2.128/25', 'a'],
      ]),
    );
    assert.deepEqual(
      report.overlaps.map(({ prefix, verdict, sites: declaring }) => [
        prefix,
        verdict,
        declaring.map(({ site, relation, declares }) => `${site} ${relation} ${declares}`),
      ]),
      [
        ['10.0.1.0/24', 'routed', ['b equal 10.0.1.0/24', 'a contains 10.0.0.0/16']],
        ['10.0.2.0/24', 'mixed', ['b equal 10.0.2.0/24', 'a contains 10.0.0.0/16']],
      ],
    );
    assert.deepEqual(report.overlaps[1]!.towards, [
      { to: null, reason: 'ambiguous_destination', route: null, parts: ['10.0.2.0/25'] },
      { to: 'a', reason: null, route: '10.0.2.128/25', parts: ['10.0.2.128/25'] },
    ]);
    assert.deepEqual(
      report.relations.map(({ relation, sites: outer, others, shared }) => [relation, outer, others, shared]),
      [['contains', ['a'], ['b'], ['10.0.1.0/24', '10.0.2.0/24']]],
    );
  });

  it('tells sites that share a part', () => {
    const report = auditConfig(
      config([
        { name: 'a', prefixes: ['10.0.1.0/24', '10.0.3.0/24'] },
        { name: 'b', prefixes: ['10.0.0.0/23', '10.9.0.0/16'] },
        { name: 'c', prefixes: ['10.0.1.0/24', '10.0.3.0/25', '10.0.3.128/25'] },
      ]),
    );
    assert.deepEqual(
      report.relations.map(({ relation, sites, others, shared }) => [relation, sites, others, shared]),
      [
        ['equal', ['a', 'c'], [], ['10.0.1.0/24', '10.0.3.0/24']],
        ['partial', ['a', 'c'], ['b'], ['10.0.1.0/24']],
      ],
    );
  });

  it('tells prefixes that a site declares twice, and routes that take addresses away', () => {
    const report = auditConfig(
      config(
        [
          { name: 'a', prefixes: ['10.0.0.0/16', '10.0.7.0/24'] },
          { name: 'b', prefixes: ['10.5.0.0/16'] },
        ],
        [['10.0.9.0/24', 'b']],
      ),
    );
    assert.deepEqual(report.redundant, [
      {
        site: 'a',
        prefix: '10.0.7.0/24',
        within: '10.0.0.0/16',
        text: 'a declares 10.0.7.0/24 though it declares 10.0.0.0/16, which has it already.',
      },
    ]);
    assert.deepEqual(report.overridden, [
      {
        site: 'a',
        prefix: '10.0.0.0/16',
        route: '10.0.9.0/24',
        via: 'b',
        text: 'The route 10.0.9.0/24 leads addresses of a (10.0.0.0/16) to b.',
      },
    ]);
    assert.deepEqual(report.overlaps, []);
  });

  it('takes hundreds of sites with the same plan as one group', () => {
    const sites = Array.from({ length: 300 }, (_, at) => ({ name: `s${at}`, prefixes: ['192.168.0.0/16'] }));
    const report = auditConfig(config([...sites, { name: 'hq', prefixes: ['192.168.7.0/24'] }]));
    assert.equal(report.relations.length, 2);
    assert.equal(report.overlaps.length, 2);
    assert.match(report.overlaps[0]!.text, /belongs to s0, s1, s2 and 297 more\./);
  });
});

const prefix: fc.Arbitrary<Prefix> = fc
  .tuple(fc.integer({ min: 0, max: 31 }), fc.integer({ min: 27, max: 32 }))
  .map(([host, length]) =>
    prefixOf({ family: 4, words: Int32Array.of(0, 0, 0, swap32(0x0a000000 | host)) }, length),
  );
const set = fc.array(prefix, { minLength: 1, maxLength: 6 });
const has = (prefixes: readonly Prefix[], host: number): boolean =>
  prefixes.some((one) =>
    prefixContains(one, { family: 4, words: Int32Array.of(0, 0, 0, swap32(0x0a000000 | host)) }),
  );
const hosts = Array.from({ length: 32 }, (_, host) => host);

it('audits a thousand sites', () => {
  const sites = Array.from({ length: 1000 }, (_, at) => ({
    name: `s${at}`,
    prefixes: ['192.168.0.0/24', `10.${at >> 7}.${(at & 127) * 2}.0/23`, `fd00:${at.toString(16)}::/32`],
  }));
  const report = auditConfig(config([...sites, { name: 'hq', prefixes: ['10.0.0.0/8', '192.168.0.0/16'] }]));
  assert.deepEqual(
    [report.overlaps.length, report.relations.length, report.omittedRelations],
    [1001, 1000, (1000 * 999) / 2 + 1000 - 1000],
  );
});

describe('sets of addresses', () => {
  it('agree with counting the addresses one by one', () => {
    fc.assert(
      fc.property(set, set, (one, other) => {
        const a = canonicalSet(one);
        const b = canonicalSet(other);
        for (const host of hosts) {
          assert.equal(has(a, host), has(one, host));
          assert.equal(has(sharedPrefixes(a, b), host), has(one, host) && has(other, host));
        }
        const inA = hosts.filter((host) => has(one, host));
        const inB = hosts.filter((host) => has(other, host));
        const shared = inA.filter((host) => inB.includes(host)).length;
        const expected =
          shared === 0
            ? 'disjoint'
            : inA.length === inB.length && shared === inA.length
              ? 'equal'
              : shared === inB.length
                ? 'contains'
                : shared === inA.length
                  ? 'contained'
                  : 'partial';
        assert.equal(relationOf(a, b), expected);
        // Equal sets have one form.
        if (expected === 'equal') assert.deepEqual(a.map(formatPrefix), b.map(formatPrefix));
      }),
      { seed: 20_251, numRuns: 400 },
    );
  });

  it('divide along borders into parts that no border cuts', () => {
    fc.assert(
      fc.property(prefix, set, (whole, borders) => {
        const parts = divide(whole, borders);
        for (const host of hosts) {
          assert.equal(parts.filter((part) => has([part], host)).length, has([whole], host) ? 1 : 0);
        }
        for (const part of parts) {
          for (const border of borders) {
            const inside = hosts.filter((host) => has([part], host));
            const cut = inside.filter((host) => has([border], host)).length;
            assert.ok(cut === 0 || cut === inside.length);
          }
        }
      }),
      { seed: 20_252, numRuns: 200 },
    );
  });
});

it('finds addresses in traffic that the site does not declare', async () => {
  const gateway = new MemoryGateway({
    sites: [
      { name: 'paris', prefixes: ['10.0.1.0/24'] },
      { name: 'lyon', prefixes: ['10.0.2.0/24'] },
      { name: 'dc', prefixes: ['10.50.0.0/16'] },
    ],
    egress: [{ name: 'internet', pools: [{ address: '192.0.2.1' }] }],
    routes: [{ prefix: '10.60.0.0/16', via: 'dc' }],
  });
  const to = '198.51.100.9 53';
  gateway.send('paris', udp('10.0.1.2 1', to));
  gateway.send('paris', udp('10.0.9.9 1', to));
  gateway.send('paris', udp('10.0.9.9 2', to));
  gateway.send('lyon', udp('10.0.1.3 1', to));
  gateway.send('dc', udp('10.60.0.1 1', to));
  assert.equal(gateway.flows, 5);
  const opened = FlowMemory.open(gateway.buffer);
  assert.ok(opened.usable);
  const report = await findUndeclared(gateway.plan, opened.memory);
  assert.deepEqual([report.flows, report.omittedFlows], [5, 0]);
  assert.deepEqual(report.addresses, [
    {
      site: 'paris',
      tunnel: 'paris',
      address: '10.0.9.9',
      declaredBy: [],
      flows: 2,
      packets: 2,
      text: '10.0.9.9 begins flows (2 now) in paris, by paris: no site declares it.',
    },
    {
      site: 'lyon',
      tunnel: 'lyon',
      address: '10.0.1.3',
      declaredBy: ['paris'],
      flows: 1,
      packets: 1,
      text: '10.0.1.3 begins flows (1 now) in lyon, by lyon: paris declares it, lyon does not.',
    },
  ]);
});
