/**
 * Where new flows go: one table for sites and egress chooses the site or egress; priority, then equal cost by the
 * five-tuple, choose among that site's tunnels; replies follow the pin.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PENALTY_DEGRADED, PENALTY_DOWN } from '../../src/pipeline/port-table.ts';
import { TCP_ACK, TCP_SYN } from '../../src/wire/packet.ts';
import {
  type Delivered,
  MemoryGateway,
  type MemoryGatewayOptions,
  returnRouting,
} from '../support/memory-gateway.ts';
import { tcp, text, udp } from '../support/packets.ts';

const OPTIONS: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
    { name: 'lyon', prefixes: ['10.0.1.0/24', '172.16.9.0/24'] },
    {
      name: 'branch',
      prefixes: ['10.0.7.0/24', 'fd00:7::/64'],
      tunnels: [
        { name: 'branch-a', priority: 10 },
        { name: 'branch-b', priority: 10 },
        { name: 'branch-c', priority: 20 },
      ],
    },
    { name: 'dc', prefixes: ['10.50.0.0/16', 'fd00:50::/48'] },
  ],
  egress: [{ name: 'internet', pools: [{ address: '192.0.2.1' }, { address: '2001:db8::1' }] }],
  routes: [
    { prefix: '10.60.0.0/16', via: 'dc' },
    { prefix: '10.60.7.0/24', via: 'branch' },
    { prefix: '198.51.100.0/24', via: 'dc' },
  ],
  maxFlows: 8192,
};

function down(gateway: MemoryGateway, name: string, isUp = false): void {
  gateway.assembly.ports.setUp(gateway.plan.ports.find((port) => port.name === name)!.index, isUp);
}

/** Ports by which one flow from each of these packets leaves, with how many. */
function shares(sent: readonly Delivered[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { port } of sent) counts[port] = (counts[port] ?? 0) + 1;
  return counts;
}

describe('the longest prefix chooses the site or egress', () => {
  const cases: [destination: string, port: string][] = [
    ['10.60.1.1', 'dc'],
    ['10.60.7.1', 'branch-'],
    ['198.51.100.9', 'dc'],
    ['198.51.101.9', 'internet'],
    ['172.16.9.9', 'lyon'],
    ['fd00:50::9', 'dc'],
    ['2001:db8:9::9', 'internet'],
  ];
  for (const [destination, port] of cases) {
    it(`${destination}: ${port}`, () => {
      const gateway = new MemoryGateway(OPTIONS);
      const source = destination.includes(':') ? 'fd00:1::9' : '10.0.1.9';
      const [sent] = gateway.send('paris', udp(`${source} 1000`, `${destination} 53`));
      assert.ok(sent?.port.startsWith(port), sent?.port);
    });
  }
});

describe('among the tunnels of a site', () => {
  const KINDS: [what: string, packet: (at: number) => [from: string, to: string]][] = [
    ['source ports', (at) => [`10.50.0.9 ${20_000 + at}`, '10.0.7.9 443']],
    ['destination ports', (at) => ['10.50.0.9 20000', `10.0.7.9 ${20_000 + at}`]],
    ['sources', (at) => [`10.50.${at >> 8}.${at & 255} 20000`, '10.0.7.9 443']],
    ['destinations', (at) => ['10.50.0.9 20000', `10.0.7.${at & 255} ${443 + (at >> 8)}`]],
    ['IPv6 source ports', (at) => [`fd00:50::9 ${20_000 + at}`, 'fd00:7::9 443']],
    ['IPv6 sources, by their network', (at) => [`fd00:50:0:${at.toString(16)}::9 20000`, 'fd00:7::9 443']],
  ];
  const FLOWS = 512;
  for (const [what, packet] of KINDS) {
    it(`flows that differ by their ${what} only are shared evenly`, () => {
      const gateway = new MemoryGateway(OPTIONS);
      const sent = Array.from({ length: FLOWS }, (_, at) => gateway.send('dc', udp(...packet(at)))).flat();
      const { 'branch-a': a = 0, 'branch-b': b = 0, ...others } = shares(sent);
      assert.deepEqual(others, {});
      assert.equal(a + b, FLOWS);
      // Five standard deviations of a fair coin.
      assert.ok(Math.abs(a - b) < 5 * Math.sqrt(FLOWS), `${a} and ${b}`);
    });
  }

  it('the protocol counts too', () => {
    const gateway = new MemoryGateway(OPTIONS);
    const differing = Array.from({ length: 64 }, (_, at) => {
      const ends: [string, string] = [`10.50.0.9 ${30_000 + at}`, '10.0.7.9 443'];
      const [one] = gateway.send('dc', udp(...ends));
      const [other] = gateway.send('dc', tcp(...ends, TCP_SYN, { sequence: 1 }));
      return one!.port !== other!.port;
    }).filter(Boolean).length;
    assert.ok(differing > 8 && differing < 56, String(differing));
  });

  it('a flow stays with its tunnel, and another is chosen while that is down; the next priority last', () => {
    const gateway = new MemoryGateway(OPTIONS);
    const ends: [string, string] = ['10.50.0.9 20000', '10.0.7.9 443'];
    const leaves = (): string | undefined => gateway.send('dc', udp(...ends))[0]?.port;
    const first = leaves()!;
    const second = first === 'branch-a' ? 'branch-b' : 'branch-a';
    for (let packet = 0; packet < 5; packet++) assert.equal(leaves(), first);
    down(gateway, first);
    assert.equal(leaves(), second);
    down(gateway, first, true);
    // It has moved, and stays: packets of a flow keep their order.
    assert.equal(leaves(), second);
    down(gateway, first);
    down(gateway, second);
    assert.equal(leaves(), 'branch-c');
    down(gateway, 'branch-c');
    assert.equal(leaves(), undefined);
    assert.deepEqual(gateway.drops('dc'), { port_down: 1 });
  });
});

describe('tunnels whose health checks fail', () => {
  const ends: [string, string] = ['10.50.0.9 20000', '10.0.7.9 443'];
  const penalise = (gateway: MemoryGateway, penalties: Record<string, number>): void =>
    gateway.assembly.penalise(new Map(Object.entries(penalties)));

  it('flows that are routed into one take another, and stay there', () => {
    const gateway = new MemoryGateway(OPTIONS);
    const leaves = (): string | undefined => gateway.send('dc', udp(...ends))[0]?.port;
    const first = leaves()!;
    const second = first === 'branch-a' ? 'branch-b' : 'branch-a';
    penalise(gateway, { [first]: PENALTY_DEGRADED });
    assert.equal(leaves(), first, 'packets are lost there, not all of them: what flows, flows on');
    penalise(gateway, { [first]: PENALTY_DOWN });
    assert.equal(leaves(), second);
    penalise(gateway, {});
    assert.equal(leaves(), second);
    penalise(gateway, { 'branch-a': PENALTY_DOWN, 'branch-b': PENALTY_DOWN, 'branch-c': PENALTY_DOWN });
    assert.equal(leaves(), second, 'none is better');
  });

  it('a penalty outlives a new plan', () => {
    const gateway = new MemoryGateway(OPTIONS);
    penalise(gateway, { 'branch-a': PENALTY_DOWN, 'branch-b': PENALTY_DOWN });
    gateway.assembly.apply(gateway.plan, [returnRouting()], gateway.nowMs);
    assert.equal(gateway.send('dc', udp(...ends))[0]?.port, 'branch-c');
  });

  it('a pinned reply goes to its pin and to no other tunnel', () => {
    const gateway = new MemoryGateway(OPTIONS);
    gateway.send('branch-a', udp('10.0.7.9 5000', '10.50.0.9 53'));
    penalise(gateway, { 'branch-a': PENALTY_DOWN });
    const reply = (): string | undefined => gateway.send('dc', udp('10.50.0.9 53', '10.0.7.9 5000'))[0]?.port;
    assert.equal(reply(), 'branch-a');
    gateway.send('branch-b', udp('10.0.7.9 5000', '10.50.0.9 53'));
    assert.equal(reply(), 'branch-b', 'the originator has come by another one');
  });
});

describe('private access', () => {
  /** A flow from one end to another and the answer to it: by which ports both leave. */
  function conversation(
    gateway: MemoryGateway,
    ingress: string,
    from: string,
    to: string,
  ): [out: string | undefined, back: string | undefined] {
    const [sent] = gateway.send(ingress, tcp(from, to, TCP_SYN, { sequence: 100 }));
    // Refused: the sender is told.
    if (sent === undefined || sent.port === ingress) return [undefined, undefined];
    assert.deepEqual([sent.source, sent.destination], [from.split(' ')[0], to.split(' ')[0]]);
    const fields = { sequence: 900, acknowledgment: 101 };
    const seen = `${sent.source} ${sent.sourcePort}`;
    const [answer] = gateway.send(sent.port, tcp(to, seen, TCP_SYN | TCP_ACK, fields));
    return [sent.port, answer?.port];
  }

  it('between sites that do not overlap, and to the data centre: replies go to the pin', () => {
    const gateway = new MemoryGateway(OPTIONS);
    assert.deepEqual(conversation(gateway, 'paris', '10.0.1.9 1', '172.16.9.9 22'), ['lyon', 'paris']);
    assert.deepEqual(conversation(gateway, 'paris', '10.0.1.9 1', '10.50.0.9 22'), ['dc', 'paris']);
    assert.deepEqual(conversation(gateway, 'lyon', '10.0.1.9 2', '10.50.0.9 22'), ['dc', 'lyon']);
    // By the tunnel that the flow came in by, which is not the one that a route would choose.
    assert.deepEqual(conversation(gateway, 'branch-c', '10.0.7.9 1', '10.50.0.9 22'), ['dc', 'branch-c']);
  });

  it('two sites with the same addresses, and one tuple, at the same moment', () => {
    const gateway = new MemoryGateway(OPTIONS);
    const ends: [string, string] = ['10.0.1.9 5000', '10.50.0.9 53'];
    const sent = ['paris', 'lyon'].map((site) => gateway.send(site, udp(...ends, site))[0]!);
    assert.deepEqual(
      sent.map(({ port, payload }) => [port, text(payload)]),
      [
        ['dc', 'paris'],
        ['dc', 'lyon'],
      ],
    );
    const back = sent.map(({ sourcePort }) => gateway.send('dc', udp(ends[1], `10.0.1.9 ${sourcePort}`))[0]!);
    assert.deepEqual(
      back.map(({ port, destinationPort }) => [port, destinationPort]),
      [
        ['paris', 5000],
        ['lyon', 5000],
      ],
    );
  });

  it('from the data centre by route: to whoever alone has the address, and to nobody else', () => {
    const gateway = new MemoryGateway(OPTIONS);
    const [out, back] = conversation(gateway, 'dc', '10.50.0.9 1', '10.0.7.9 22');
    assert.match(out!, /^branch-[ab]$/);
    assert.equal(back, 'dc');
    assert.deepEqual(conversation(gateway, 'dc', '10.50.0.9 1', '172.16.9.9 22'), ['lyon', 'dc']);
    assert.deepEqual(conversation(gateway, 'dc', '10.50.0.9 1', '10.0.1.9 22'), [undefined, undefined]);
    assert.equal(gateway.drops('dc').ambiguous_destination, 1);
  });

  it('an answer that comes by another tunnel of the responder is of the same flow', () => {
    const gateway = new MemoryGateway(OPTIONS);
    const [sent] = gateway.send('dc', udp('10.50.0.9 7', '10.0.7.9 7'));
    assert.match(sent!.port, /^branch-[ab]$/);
    const [answer] = gateway.send('branch-c', udp('10.0.7.9 7', '10.50.0.9 7'));
    assert.equal(answer?.port, 'dc');
    assert.equal(gateway.flows, 1);
  });
});
