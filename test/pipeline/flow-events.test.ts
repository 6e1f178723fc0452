/** What the pipeline tells of flows: the beginning and the end of each with its reason, and refusals. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  END,
  END_REASON_NAMES,
  EVENT_BYTES_ORIGINATOR,
  EVENT_BYTES_REPLY,
  EVENT_DECIDER,
  EVENT_END,
  EVENT_FLOW,
  EVENT_INGRESS,
  EVENT_KIND,
  EVENT_ORIGINATOR_KEY,
  EVENT_PACKETS_ORIGINATOR,
  EVENT_PACKETS_REPLY,
  EVENT_PIN,
  EVENT_REFUSED,
  EVENT_REPLY_KEY,
  EVENT_START,
  EVENT_WORDS,
} from '../../src/flow/flow-event-layout.ts';
import { FlowEventRing, flowEventRingBytes } from '../../src/flow/flow-event-ring.ts';
import { FlowEventWriter } from '../../src/flow/flow-event-writer.ts';
import { KEY_DST0, KEY_META, KEY_PORTS, KEY_SRC0 } from '../../src/flow/layout.ts';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import {
  PACKET_DROP_FLOW,
  PACKET_PASS,
  VERDICT_CONTINUE,
  VERDICT_DROP,
  VERDICT_REJECT,
} from '../../src/plugin/contract.ts';
import { siteSource } from '../../src/plugin/diversion-addresses.ts';
import { DROP, DROP_REASON_NAMES } from '../../src/plugin/drop-reasons.ts';
import { swap16 } from '../../src/wire/byte-order.ts';
import { TCP_ACK, TCP_RST, TCP_SYN } from '../../src/wire/packet.ts';
import { MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { tcp, udp } from '../support/packets.ts';

const HOST = '10.0.1.10';
const EXTERNAL = '203.0.113.1';

/** Drops what goes to port 1, rejects what goes to port 2, ends flows to port 3 at their second packet. */
const judge: LoadedPlugin = {
  name: 'judge',
  phase: 'policy',
  half: {
    flowSetup: (packet, flow) => {
      flow.wantsPackets = packet.destinationPort === 3;
      if (packet.destinationPort === 1) return VERDICT_DROP;
      return packet.destinationPort === 2 ? VERDICT_REJECT : VERDICT_CONTINUE;
    },
    packet: (packet) => (packet.payloadLength > 4 ? PACKET_DROP_FLOW : PACKET_PASS),
  },
};

const lab: MemoryGatewayOptions = {
  sites: [
    {
      name: 'paris',
      prefixes: ['10.0.1.0/24'],
      tunnels: [{ name: 'paris-1' }, { name: 'paris-2', priority: 200 }],
    },
    { name: 'lyon', prefixes: ['10.0.1.0/24'] },
  ],
  egress: [{ name: 'internet', pools: [{ address: EXTERNAL }] }],
  policyPlugins: [judge],
};

interface Told {
  readonly at: number;
  readonly kind: number;
  readonly reason: number;
}

/** A gateway that tells into a ring, and what it has told. */
function listen(
  options: MemoryGatewayOptions = lab,
  reasons: readonly number[] = [DROP.policy, DROP.no_route],
) {
  const gateway = new MemoryGateway(options);
  const buffer = new ArrayBuffer(flowEventRingBytes(64));
  const ring = FlowEventRing.create(buffer, 64, '00000000-0000-4000-8000-000000000001');
  gateway.assembly.setEvents(new FlowEventWriter(ring, reasons, 1000));
  const told = (): Told[] => {
    const events: Told[] = [];
    for (; ring.waiting > 0; ring.read = ring.read + 1) {
      const at = (ring.read & (ring.capacity - 1)) * EVENT_WORDS;
      const kind = ring.words[at + EVENT_KIND]!;
      events.push({ at, kind: kind & 0xff, reason: kind >>> 8 });
    }
    return events;
  };
  return { gateway, ring, told };
}

function ends(events: readonly Told[]): string[] {
  return events.filter(({ kind }) => kind === EVENT_END).map(({ reason }) => END_REASON_NAMES[reason]!);
}

describe('events of flows', () => {
  it('begin with the translated tuple, and end with what was counted', () => {
    const { gateway, ring, told } = listen();
    const [sent] = gateway.send('paris-1', udp(`${HOST} 5000`, '198.51.100.7 53', 'question'));
    const [start, ...rest] = told();
    assert.equal(rest.length, 0);
    assert.equal(start!.kind, EVENT_START);
    const words = ring.words.slice(start!.at, start!.at + EVENT_WORDS);
    const reply = EVENT_REPLY_KEY;
    assert.equal(swap16(words[EVENT_ORIGINATOR_KEY + KEY_PORTS]! & 0xffff), 5000);
    assert.equal(swap16(words[reply + KEY_PORTS]! >>> 16), sent!.sourcePort);
    assert.notEqual(words[reply + KEY_DST0 + 3], words[EVENT_ORIGINATOR_KEY + KEY_SRC0 + 3]);
    assert.equal(words[EVENT_INGRESS], (1 << 16) | 1);
    assert.equal(words[EVENT_PIN], (1 << 16) | 1);

    gateway.send('internet', udp('198.51.100.7 53', `${EXTERNAL} ${sent!.sourcePort}`, 'the answer'));
    for (let second = 0; second < 310; second++) gateway.pass(1000);
    const [end] = told();
    assert.deepEqual([end!.kind, end!.reason], [EVENT_END, END.timed_out]);
    const float = (word: number) => ring.floats[(end!.at + word) / 2];
    assert.equal(ring.words[end!.at + EVENT_FLOW], words[EVENT_FLOW]);
    assert.deepEqual(
      [EVENT_PACKETS_ORIGINATOR, EVENT_BYTES_ORIGINATOR, EVENT_PACKETS_REPLY, EVENT_BYTES_REPLY].map(float),
      [1, 28 + 8, 1, 28 + 10],
    );
    assert.equal(gateway.assembly.counters.creations(0), 1);
  });

  it('say why a flow ended', () => {
    const { gateway, told } = listen();
    const open = (port: string, source: string, destinationPort: number, text = 'x') =>
      gateway.send(port, udp(`${HOST} ${source}`, `198.51.100.7 ${destinationPort}`, text));

    open('paris-1', '1000', 53);
    assert.equal(
      gateway.assembly.flush(() => true, gateway.nowMs),
      1,
    );
    assert.deepEqual(ends(told()), ['flushed']);

    open('paris-1', '1001', 3);
    open('paris-1', '1001', 3, 'too long');
    assert.deepEqual(ends(told()), ['policy']);

    open('lyon', '1002', 53);
    gateway.reconfigure(lab, (plan) => ({
      ...plan,
      ports: plan.ports.map((port) => (port.name === 'lyon' ? { ...port, generation: 2 } : port)),
    }));
    assert.deepEqual(ends(told()), ['reconfigured']);

    const server = '198.51.100.7 80';
    const [first] = gateway.send('paris-1', tcp(`${HOST} 1003`, server, TCP_SYN, { sequence: 1000 }));
    const back = `${EXTERNAL} ${first!.sourcePort}` as const;
    const answer = { sequence: 7, acknowledgment: 1001 };
    gateway.send('internet', tcp(server, back, TCP_SYN | TCP_ACK, answer));
    gateway.send('internet', tcp(server, back, TCP_RST, { sequence: 8 }));
    for (let second = 0; second < 300; second++) gateway.pass(1000);
    assert.deepEqual(ends(told()), ['closed']);
  });

  it('tell refusals of the kinds that are asked for, and who decided', () => {
    const { gateway, ring, told } = listen();
    gateway.send('lyon', udp(`${HOST} 1`, '198.51.100.7 1'));
    gateway.send('lyon', udp(`${HOST} 1`, '198.51.100.7 2'));
    gateway.send('lyon', udp(`${HOST} 1`, '192.168.7.7 53'));
    const events = told();
    assert.deepEqual(
      events.map(({ kind, reason }) => [kind, DROP_REASON_NAMES[reason]]),
      [[EVENT_REFUSED, 'policy']],
    );
    assert.equal(ring.words[events[0]!.at + EVENT_DECIDER], 1);
    const { counters } = gateway.assembly;
    for (const reason of [DROP.policy, DROP.policy_reject, DROP.private_destination]) {
      assert.equal(counters.creations(reason), 1, DROP_REASON_NAMES[reason]);
    }
  });

  it('tell refusals of what a proxy sends on as of its site', () => {
    const reader = { ...judge, name: 'reader' };
    const diversions = [{ plugin: 'reader', tcp: 8080 }];
    const { gateway, ring, told } = listen({ ...lab, policyPlugins: [reader], diversions });
    const LYON = 2;
    gateway.send('reader/0', udp(`${siteSource(LYON, 'ipv4')} 5000`, '198.51.100.7 1'));
    const spaces = told().map(({ at }) => ring.words[at + EVENT_ORIGINATOR_KEY + KEY_META]! >>> 16);
    assert.deepEqual(spaces, [LYON]);
  });

  it('are not told while nobody listens', () => {
    const { gateway, told } = listen();
    gateway.assembly.setEvents(undefined);
    gateway.send('paris-1', udp(`${HOST} 5000`, '198.51.100.7 53'));
    gateway.assembly.flush(() => true, gateway.nowMs);
    assert.deepEqual(told(), []);
  });
});
