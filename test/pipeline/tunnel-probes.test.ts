/** Test packets through tunnels: the reply counts by whatever port it comes, and nothing else counts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PORT_FOREIGN, PORT_UNEXPECTED } from '../../src/flow/counters.ts';
import { PROBE_NO_SOURCE, PROBE_TIMEOUT_MS } from '../../src/pipeline/tunnel-probes.ts';
import { DROP } from '../../src/plugin/drop-reasons.ts';
import { parseAddress } from '../../src/wire/address.ts';
import { TCP_ACK, TCP_SYN } from '../../src/wire/packet.ts';
import { type Delivered, MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';

const OPTIONS: MemoryGatewayOptions = {
  sites: [
    {
      name: 'paris',
      prefixes: ['10.0.1.0/24'],
      tunnels: [
        { name: 'paris-1', addresses: ['169.254.240.0', 'fd00:a::'] },
        { name: 'paris-2', addresses: ['169.254.240.2'], priority: 200 },
      ],
    },
    { name: 'lyon', prefixes: ['10.0.1.0/24'], tunnels: [{ name: 'lyon-1', addresses: ['10.0.9.1'] }] },
  ],
  egress: [{ name: 'internet', pools: [{ address: '198.51.100.1' }] }],
};

class Probing {
  readonly gateway = new MemoryGateway(OPTIONS);
  readonly answers: { id: number; port: string }[] = [];

  constructor() {
    this.gateway.assembly.probes.setOnAnswer((id, index) => {
      this.answers.push({ id, port: this.gateway.plan.ports.find((port) => port.index === index)!.name });
    });
  }

  probe(id: number, port: string, target: string): { result: number; sent: Delivered[] } {
    const { assembly, plan, nowMs } = this.gateway;
    const { index } = plan.ports.find(({ name }) => name === port)!;
    const result = assembly.probes.send(id, index, parseAddress(target)!, assembly.ports, nowMs);
    return { result, sent: this.gateway.run() };
  }
}

/** The reply of a host that the request reached. */
function reply({ packet, view }: Delivered): Uint8Array {
  const answer = packet.slice();
  const [at, size] = view.family === 4 ? [12, 4] : [8, 16];
  answer.set(packet.subarray(at, at + size), at + size);
  answer.set(packet.subarray(at + size, at + 2 * size), at);
  const type = view.l4Offset;
  answer[type] = view.family === 4 ? 0 : 129;
  // The checksum takes up what the type lost: RFC 1624.
  const before = (packet[type]! << 8) | packet[type + 1]!;
  const after = (answer[type]! << 8) | answer[type + 1]!;
  let sum = 0xffff - ((packet[type + 2]! << 8) | packet[type + 3]!) + (0xffff - before) + after;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  answer[type + 2] = (0xffff - sum) >>> 8;
  answer[type + 3] = (0xffff - sum) & 0xff;
  return answer;
}

describe('tunnel probes', () => {
  for (const [tunnel, source, target] of [
    ['paris-1', '169.254.240.0', '169.254.240.1'],
    ['paris-1', 'fd00:a::', 'fd00:a::1'],
    ['paris-1', '169.254.240.0', '10.0.1.7'],
    ['lyon-1', '10.0.9.1', '10.0.1.7'],
  ] as const) {
    it(`from ${source} to ${target}: leaves by its tunnel, and its reply is recognised there`, () => {
      const probing = new Probing();
      const { result, sent } = probing.probe(7, tunnel, target);
      assert.equal(result, 0);
      assert.equal(sent.length, 1);
      assert.deepEqual([sent[0]!.port, sent[0]!.source, sent[0]!.destination], [tunnel, source, target]);
      assert.deepEqual(probing.gateway.sendBytes(tunnel, reply(sent[0]!)), []);
      assert.deepEqual(probing.answers, [{ id: 7, port: tunnel }]);
      // Once.
      probing.gateway.sendBytes(tunnel, reply(sent[0]!));
      assert.equal(probing.answers.length, 1);
      assert.equal(probing.gateway.flows, 0);
    });
  }

  it('a reply by another tunnel is told as that', () => {
    const probing = new Probing();
    for (const [id, back] of [
      [1, 'paris-2'],
      [2, 'lyon-1'],
      [3, 'internet'],
    ] as const) {
      const [sent] = probing.probe(id, 'paris-1', '169.254.240.1').sent;
      probing.gateway.sendBytes(back, reply(sent!));
      assert.deepEqual(probing.answers.pop(), { id, port: back });
    }
  });

  it('a guessed or damaged reply, or one that is too late, counts for nothing', () => {
    const probing = new Probing();
    const { gateway } = probing;
    const [sent] = probing.probe(1, 'paris-1', '10.0.1.7').sent;
    const right = reply(sent!);
    const { l4Offset } = sent!.view;
    for (const [what, at] of [
      ['source', 15],
      ['identifier', l4Offset + 4],
      ['sequence', l4Offset + 7],
      ['cookie', l4Offset + 8],
      ['checksum', l4Offset + 2],
    ] as const) {
      const wrong = right.slice();
      wrong[at] = wrong[at]! ^ 1;
      gateway.sendBytes('paris-1', wrong);
      assert.deepEqual(probing.answers, [], what);
    }
    gateway.sendBytes('paris-1', right);
    assert.equal(probing.answers.length, 1);

    const [late] = probing.probe(2, 'paris-1', '10.0.1.7').sent;
    gateway.pass(PROBE_TIMEOUT_MS + 1);
    assert.equal(gateway.assembly.probes.waiting, 0);
    gateway.sendBytes('paris-1', reply(late!));
    assert.equal(probing.answers.length, 1);
  });

  it('what cannot be sent says why', () => {
    const probing = new Probing();
    assert.equal(probing.probe(1, 'lyon-1', 'fd00:a::1').result, PROBE_NO_SOURCE);
    const { assembly, plan } = probing.gateway;
    assembly.ports.setUp(plan.ports.find(({ name }) => name === 'lyon-1')!.index, false);
    assert.equal(probing.probe(1, 'lyon-1', '10.0.9.2').result, DROP.port_down);
    assert.equal(assembly.probes.waiting, 0);
  });
});

describe('strays', () => {
  const tcp = (source: string, destination: string, flags: number) => ({
    source,
    destination,
    transport: {
      kind: 'tcp' as const,
      sourcePort: 5000,
      destinationPort: 443,
      flags,
      sequence: 1,
      acknowledgment: 1,
    },
  });

  it('a reply that nothing expects, and one that a flow of another site expects elsewhere', () => {
    const gateway = new MemoryGateway(OPTIONS);
    const { strays } = gateway.assembly;
    gateway.send('paris-1', tcp('10.0.1.7', '203.0.113.9', TCP_SYN));
    const words = gateway.assembly.ports.wordOf;
    const indexOf = (name: string) => gateway.plan.ports.find((port) => port.name === name)!.index;

    gateway.send('lyon-1', tcp('10.0.1.7', '203.0.113.9', TCP_ACK));
    gateway.pass(1000);
    gateway.send('lyon-1', tcp('10.0.1.8', '203.0.113.9', TCP_ACK));
    assert.deepEqual(
      strays
        .last()
        .map(({ kind, portWord, source, flow, expectedPortWord }) => [
          kind,
          portWord,
          source,
          flow > 0,
          expectedPortWord,
        ]),
      [
        ['foreign_tunnel', words[indexOf('lyon-1')], '10.0.1.7', true, words[indexOf('paris-1')]],
        ['unexpected_reply', words[indexOf('lyon-1')], '10.0.1.8', false, 0],
      ],
    );
    assert.deepEqual([strays.unexpected, strays.foreign], [2, 1]);
    // The same for metrics, by tunnel, in memory that outlives the process.
    const { counters } = gateway.assembly;
    const counted = (name: string, counter: number) => counters.port(indexOf(name), counter);
    assert.deepEqual([counted('lyon-1', PORT_UNEXPECTED), counted('lyon-1', PORT_FOREIGN)], [2, 1]);
    assert.deepEqual([counted('paris-1', PORT_UNEXPECTED), counted('paris-1', PORT_FOREIGN)], [0, 0]);
    assert.equal(gateway.drops('lyon-1').no_flow, 2);
  });

  it('is bounded in work and memory, and passes over what the internet sends unasked', () => {
    const gateway = new MemoryGateway(OPTIONS);
    const { strays } = gateway.assembly;
    let told = 0;
    strays.setOnStray(() => told++);
    gateway.send('internet', tcp('203.0.113.9', '198.51.100.1', TCP_ACK));
    assert.equal(strays.unexpected, 0);
    for (let i = 0; i < 100; i++) gateway.send('lyon-1', tcp('10.0.1.7', '203.0.113.9', TCP_ACK));
    assert.deepEqual([strays.unexpected, told], [100, 1]);
    for (let i = 0; i < 300; i++) {
      gateway.pass(1000);
      gateway.send('lyon-1', tcp('10.0.1.7', '203.0.113.9', TCP_ACK));
    }
    assert.deepEqual([strays.unexpected, told, strays.last().length], [400, 301, 128]);
  });
});
