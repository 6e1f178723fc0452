/** Explanations in their words. That they agree with what happens is shown by test/property/explain.test.ts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MemoryGateway, type MemoryGatewayOptions } from '../../../test/support/memory-gateway.ts';
import { udp } from '../../../test/support/packets.ts';
import { SHARED_ID } from '../../flow/layout.ts';
import { VERDICT_CONTINUE, VERDICT_DROP } from '../../plugin/contract.ts';
import type { LoadedPlugin } from '../plugin-link.ts';
import type { Explanation, PacketQuestion } from './explanation.ts';

const wall: LoadedPlugin = {
  name: 'wall',
  phase: 'policy',
  half: {
    flowSetup: (packet) => {
      if (packet.destinationPort !== 23) return VERDICT_CONTINUE;
      wall.reason = 'rule 3: telnet';
      return VERDICT_DROP;
    },
  },
};

const OPTIONS: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24'] },
    { name: 'lyon', prefixes: ['10.0.1.0/24'], tunnels: [{ name: 'lyon', automaticReturnRouting: false }] },
    {
      name: 'dc',
      prefixes: ['10.50.0.0/16'],
      tunnels: [
        { name: 'dc-a', priority: 10 },
        { name: 'dc-b', priority: 20, mtu: 600 },
      ],
    },
  ],
  egress: [{ name: 'internet', pools: [{ address: '192.0.2.1', portMin: 2048, portMax: 2050 }] }],
  policyPlugins: [wall],
};

function portOf(gateway: MemoryGateway, name: string): number {
  return gateway.plan.ports.find((port) => port.name === name)!.index;
}

function ask(gateway: MemoryGateway, from: string, question: Partial<PacketQuestion>): Explanation {
  const packet: PacketQuestion = {
    kind: 'packet',
    port: portOf(gateway, from),
    source: '10.0.1.9',
    destination: '10.50.0.9',
    protocol: 6,
    sourcePort: 1000,
    destinationPort: 443,
    ...question,
  };
  return gateway.assembly.explain(packet, gateway.nowMs)!;
}

const lines = ({ steps }: Explanation): string[] =>
  steps.map(({ stage, passes, text }) => `${stage}${passes ? '' : '!'}: ${text}`);

describe('a packet', () => {
  it('to the internet: every step', () => {
    const gateway = new MemoryGateway(OPTIONS);
    const explanation = ask(gateway, 'paris', { destination: '203.0.113.9' });
    const port = explanation.translated!.sourcePort;
    assert.deepEqual(lines(explanation), [
      'packet: TCP 10.0.1.9:1000 to 203.0.113.9:443, 40 bytes, comes in by tunnel paris.',
      'space: Its five-tuple means something in the address space of site paris only.',
      'flow: No flow there has it: a new one would begin.',
      'sender: 10.0.1.9 may begin a flow from site paris.',
      'route: 203.0.113.9 leads to egress internet, by the longest route that has it, 0.0.0.0/0.',
      'egress: It leaves by internet, the only port of egress internet.',
      'budget: The table holds 0 of 1024 flows, 0 of paris (no limit). New flows a second: no limit for the tunnel, no limit for the source. There is room.',
      'plugin: wall lets the flow go on.',
      'plugin: return-routing lets the flow go on.',
      'return: Replies are pinned to tunnel paris, by which the flow comes in: no route is asked for them.',
      `translation: It leaves as 192.0.2.1:${port} to 203.0.113.9:443 instead of 10.0.1.9:1000 to 203.0.113.9:443; that external port is given to site paris alone.`,
      'mtu: 40 bytes fit into the 1500 of egress internet.',
    ]);
    assert.deepEqual(
      { ...explanation, steps: [], ports: [] },
      {
        verdict: 'forward',
        reason: null,
        flow: null,
        from: 'paris',
        to: 'internet',
        ingress: 'paris',
        egress: 'internet',
        pin: 'paris',
        translated: {
          source: '192.0.2.1',
          sourcePort: port,
          destination: '203.0.113.9',
          destinationPort: 443,
        },
        ports: [],
        steps: [],
      },
    );
  });

  it('that a plugin refuses: in its own words', () => {
    const explanation = ask(new MemoryGateway(OPTIONS), 'paris', { destinationPort: 23 });
    assert.equal(lines(explanation).at(-1), 'plugin!: wall drops the flow (rule 3: telnet).');
    assert.deepEqual([explanation.verdict, explanation.reason], ['drop', 'policy']);
    // A reason is told once.
    assert.ok(
      lines(ask(new MemoryGateway(OPTIONS), 'paris', {})).includes('plugin: wall lets the flow go on.'),
    );
  });

  it('whose tuple another site has: its new source port', () => {
    const gateway = new MemoryGateway(OPTIONS);
    gateway.send('paris', udp('10.0.1.9 1000', '10.50.0.9 443'));
    const explanation = ask(gateway, 'lyon', { protocol: 17 });
    const port = explanation.translated!.sourcePort;
    assert.notEqual(port, 1000);
    assert.deepEqual(lines(explanation).slice(-3, -1), [
      'return: tunnel lyon has automatic return routing off: replies are routed, within site lyon, by lyon now.',
      `translation: It leaves as 10.0.1.9:${port} to 10.50.0.9:443 instead of 10.0.1.9:1000 to 10.50.0.9:443: another site has, or lately had, that tuple towards dc.`,
    ]);
  });

  it('that is too large for what it would leave by', () => {
    const gateway = new MemoryGateway(OPTIONS);
    gateway.assembly.ports.setUp(portOf(gateway, 'dc-a'), false);
    const explanation = ask(gateway, 'paris', { bytes: 700 });
    assert.deepEqual(
      lines(explanation).filter((line) => /^(egress|mtu)/.test(line)),
      [
        'egress: It leaves by dc-b, whose priority (20) is the best that is up in site dc. dc-a is down.',
        'mtu!: 700 bytes do not fit into the 600 of tunnel dc-b: the sender is told.',
      ],
    );
    assert.equal(explanation.reason, 'too_big');
  });

  it('when external ports are used up', () => {
    const gateway = new MemoryGateway(OPTIONS);
    for (let port = 1; port <= 3; port++) gateway.send('paris', udp(`10.0.1.9 ${port}`, '203.0.113.9 53'));
    const explanation = ask(gateway, 'lyon', { destination: '203.0.113.9', protocol: 17 });
    assert.equal(explanation.steps.at(-1)!.stage, 'translation');
    assert.match(explanation.reason!, /^translation_(ports|quota)$/);
    assert.match(lines(explanation).at(-1)!, /^translation!: For site lyon: /);
  });

  it('to the gateway itself, and from a port that is not there', () => {
    const gateway = new MemoryGateway(OPTIONS);
    assert.equal(ask(gateway, 'paris', { destination: '10.0.1.1', protocol: 1 }).verdict, 'answer');
    assert.equal(ask(gateway, 'paris', { destination: '10.0.1.1' }).reason, 'local_delivery');
    assert.equal(ask(gateway, 'paris', { port: 99 }), undefined);
    assert.throws(() => ask(gateway, 'paris', { source: 'paris' }));
    assert.throws(() => ask(gateway, 'paris', { source: '2001:db8::1' }));
  });
});

describe('a live flow', () => {
  const flowOf = (gateway: MemoryGateway, flow: number): Explanation =>
    gateway.assembly.explain({ kind: 'flow', flow }, gateway.nowMs)!;

  it('both directions, from the record alone', () => {
    const gateway = new MemoryGateway(OPTIONS);
    gateway.send('paris', udp('10.0.1.9 1000', '10.50.0.9 53'));
    const id = gateway.assembly.state.table.words[SHARED_ID]!;
    assert.deepEqual(lines(flowOf(gateway, id)), [
      `flow: Flow ${id} of site paris: UDP 10.0.1.9:1000 to 10.50.0.9:53, unanswered; begun under plan 1. No route is asked any more.`,
      'plugin: No plugin objected to it. None looks at its packets.',
      'egress: Packets of the originator leave by tunnel dc-a, which was chosen when the flow began.',
      'translation: Packets of the originator leave untranslated.',
      'mtu: Up to 1500 bytes leave by dc-a as they are.',
      'return: Packets of the responder are replies: they go to the pin, tunnel paris.',
      'translation: Packets of the responder leave untranslated.',
      'mtu: Up to 1500 bytes leave by paris as they are.',
    ]);
  });

  it('whose pin is down: replies go nowhere else', () => {
    const gateway = new MemoryGateway(OPTIONS);
    gateway.send('paris', udp('10.0.1.9 1000', '10.50.0.9 53'));
    const id = gateway.assembly.state.table.words[SHARED_ID]!;
    gateway.assembly.ports.setUp(portOf(gateway, 'paris'), false);
    gateway.assembly.ports.setUp(portOf(gateway, 'dc-a'), false);
    const explanation = flowOf(gateway, id);
    assert.deepEqual(
      lines(explanation).filter((line) => /^(egress|return)/.test(line)),
      [
        'egress: Packets of the originator leave by tunnel dc-b, because tunnel dc-a is down.',
        'return!: Packets of the responder are dropped: tunnel paris is down or gone, and replies go nowhere else.',
      ],
    );
    assert.deepEqual([explanation.egress, explanation.pin], ['dc-b', null]);
    // Nothing was changed by asking.
    gateway.assembly.ports.setUp(portOf(gateway, 'dc-a'), true);
    assert.equal(flowOf(gateway, id).egress, 'dc-a');
  });

  it('that is not there', () => {
    assert.equal(new MemoryGateway(OPTIONS).assembly.explain({ kind: 'flow', flow: 7 }, 0), undefined);
  });
});
