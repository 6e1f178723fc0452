/**
 * Explanations agree with what happens: random first packets at random moments of a whole gateway in memory, explained
 * and then sent.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { DIRECTION_EGRESS, DIRECTION_WORDS, RECORD_WORDS, SHARED_ID } from '../../src/flow/layout.ts';
import {
  CHUNK_SLOTS,
  firstSlotAt,
  SLOT_WORDS,
  translationChunks,
} from '../../src/flow/translation-layout.ts';
import type { Explanation, PacketQuestion } from '../../src/pipeline/explain/explanation.ts';
import { questionPacket } from '../../src/pipeline/explain/question-packet.ts';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import { portIndex } from '../../src/pipeline/port-table.ts';
import {
  PACKET_PASS,
  VERDICT_ACCEPT,
  VERDICT_CONTINUE,
  VERDICT_DIVERT,
  VERDICT_DROP,
  VERDICT_REJECT,
} from '../../src/plugin/contract.ts';
import { type Delivered, MemoryGateway } from '../support/memory-gateway.ts';
import { seededRandom } from '../support/plain-packets.ts';

const SEED = 0x0e_0e_2026;
const GATEWAYS = 4;
const PACKETS = 700;

/** Judges by the destination's port, and counts what it was asked in earnest. */
function judge(): LoadedPlugin & { judged: number } {
  const plugin = {
    name: 'judge',
    phase: 'policy' as const,
    judged: 0,
    half: {
      flowSetup: (
        packet: { destinationPort: number },
        flow: { hypothetical: boolean; wantsPackets: boolean },
      ) => {
        if (!flow.hypothetical) plugin.judged++;
        flow.wantsPackets = packet.destinationPort === 53;
        switch (packet.destinationPort) {
          case 23:
            return VERDICT_DROP;
          case 25:
            return VERDICT_REJECT;
          case 26:
            return VERDICT_DIVERT;
          case 27:
            throw new Error('as tests want it');
          case 443:
            return VERDICT_ACCEPT;
          default:
            return VERDICT_CONTINUE;
        }
      },
      packet: () => PACKET_PASS,
    },
  };
  return plugin;
}

function gatewayOf(plugin: LoadedPlugin): MemoryGateway {
  return new MemoryGateway({
    sites: [
      { name: 'paris', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
      {
        name: 'lyon',
        prefixes: ['10.0.1.0/24', '10.7.0.0/16'],
        tunnels: [
          { name: 'lyon-a', priority: 10 },
          { name: 'lyon-b', priority: 10, automaticReturnRouting: false },
          { name: 'lyon-c', priority: 20, mtu: 600 },
        ],
      },
      { name: 'nice', prefixes: ['10.0.2.0/24', 'fd00:2::/64'], tunnels: [{ name: 'nice', mtu: 576 }] },
      { name: 'dc', prefixes: ['10.50.0.0/16', '10.0.2.128/25', 'fd00:50::/64'] },
    ],
    egress: [
      {
        name: 'internet',
        pools: [{ address: '192.0.2.1', portMin: 2048, portMax: 2059, quotaPerSite: 8 }],
        nat: { ipv4: 'source', ipv6: 'none' },
        portForwards: [
          {
            protocol: 'tcp',
            address: '192.0.2.1',
            port: 8443,
            to: { site: 'lyon', address: '10.0.1.20', port: 443 },
          },
        ],
      },
    ],
    routes: [
      { prefix: '10.60.0.0/16', via: 'dc' },
      { prefix: '10.0.2.192/26', via: 'dc' },
      { prefix: '198.51.100.0/24', via: 'nice' },
    ],
    gatewayAddresses: ['192.0.2.9'],
    policyPlugins: [plugin],
    maxFlows: 256,
    flowTable: {
      perTunnel: 40,
      createRatePerTunnel: 100,
      createRatePerSource: 30,
      otherProtocols: [132, 47],
    },
  });
}

const INSIDE = [
  '10.0.1.2',
  '10.0.1.3',
  '10.0.2.5',
  '10.0.2.130',
  '10.0.9.9',
  '10.50.0.9',
  '192.0.2.9',
  '10.7.0.1',
];
const INSIDE_6 = ['fd00:1::2', 'fd00:2::2', 'fd00:9::9', 'fe80::1'];
const OUTSIDE = ['198.51.100.77', '203.0.113.8', '10.0.1.2'];
const TARGETS = [
  ...[
    '203.0.113.10',
    '10.50.0.9',
    '10.50.0.10',
    '10.0.1.9',
    '10.0.1.1',
    '10.0.2.5',
    '10.0.2.130',
    '10.0.2.200',
  ],
  ...[
    '10.60.1.1',
    '10.7.0.1',
    '10.99.0.1',
    '192.0.2.1',
    '192.0.2.9',
    '198.51.100.5',
    '224.0.0.1',
    '127.0.0.1',
  ],
];
const WORKING = ['203.0.113.10', '203.0.113.11', '10.50.0.9', '10.60.1.1', '192.0.2.1', '10.7.0.1'];
const TARGETS_6 = ['2001:db8:9::9', 'fd00:50::9', 'fd00:2::2', 'fd00:1::1', 'fd99::1', 'ff02::1'];
/** What the sites mostly send from, so that enough flows come about. */
const OWN: Readonly<Record<string, string>> = {
  paris: '10.0.1.2',
  'lyon-a': '10.0.1.3',
  'lyon-b': '10.0.1.3',
  'lyon-c': '10.0.1.3',
  nice: '10.0.2.5',
  dc: '10.50.0.9',
  internet: '198.51.100.77',
};
const PORTS = ['paris', 'paris', 'paris', 'lyon-a', 'lyon-b', 'lyon-c', 'nice', 'dc', 'internet'];

class Choice {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

function questionOf(choice: Choice, gateway: MemoryGateway): PacketQuestion {
  const name = choice.of(PORTS);
  const port = gateway.plan.ports.find((candidate) => candidate.name === name)!.index;
  const outside = name === 'internet';
  const isIpv6 = choice.below(4) === 0 && !outside;
  return {
    kind: 'packet',
    port,
    source:
      !isIpv6 && choice.below(4) !== 0
        ? OWN[name]!
        : choice.of(isIpv6 ? INSIDE_6 : outside ? OUTSIDE : INSIDE),
    destination: outside
      ? '192.0.2.1'
      : choice.of(isIpv6 ? TARGETS_6 : choice.below(3) === 0 ? TARGETS : WORKING),
    protocol: choice.of([6, 6, 17, 17, 17, 6, isIpv6 ? 58 : 1, 132, 47, 89]),
    sourcePort: 1000 + choice.below(40),
    destinationPort: choice.of([80, 80, 80, 80, 53, 443, 443, 23, 25, 26, 27, 8443, 2048 + choice.below(40)]),
    ...(choice.below(5) === 0 ? { bytes: 300 + choice.below(1300) } : {}),
  };
}

/** What a flow memory holds, counters aside; of translation what its one pool of 64 ports takes. */
function contentOf(gateway: MemoryGateway): string {
  const { table, translation, held } = gateway.assembly.state;
  const chunks = translationChunks(translation.words.length);
  const slots = firstSlotAt(chunks) + CHUNK_SLOTS * SLOT_WORDS;
  const { words } = held as unknown as { words: Int32Array };
  return [table.words, translation.words.subarray(0, slots), words]
    .map(({ buffer, byteOffset, byteLength }) =>
      Buffer.from(buffer, byteOffset, byteLength).toString('latin1'),
    )
    .join();
}

function nameOf(gateway: MemoryGateway, index: number): string | undefined {
  return gateway.plan.ports.find((port) => port.index === index)?.name;
}

/** The pin of the newest flow. */
function newestPin(gateway: MemoryGateway): string | undefined {
  const { table } = gateway.assembly.state;
  let newest = -1;
  for (let record = table.next(-1); record >= 0; record = table.next(record)) {
    const id = table.words[record * RECORD_WORDS + SHARED_ID]!;
    if (newest < 0 || id > table.words[newest * RECORD_WORDS + SHARED_ID]!) newest = record;
  }
  const word = table.words[newest * RECORD_WORDS + DIRECTION_WORDS + DIRECTION_EGRESS]!;
  return nameOf(gateway, portIndex(word));
}

function forwarded(
  question: PacketQuestion,
  explanation: Explanation,
  sent: readonly Delivered[],
  flows: number,
  gateway: MemoryGateway,
): void {
  assert.equal(sent.length, 1);
  const [{ port, source, destination, sourcePort, destinationPort }] = sent as [Delivered];
  assert.equal(port, explanation.egress);
  const hasPorts = [6, 17].includes(question.protocol);
  assert.deepEqual(
    { source, sourcePort, destination, destinationPort },
    explanation.translated ?? {
      source: question.source,
      sourcePort: [1, 58].includes(question.protocol) || hasPorts ? question.sourcePort : 0,
      destination: question.destination,
      destinationPort: hasPorts ? question.destinationPort : 0,
    },
  );
  if (explanation.flow === null) {
    assert.equal(gateway.flows, flows + 1);
    assert.equal(newestPin(gateway), explanation.pin);
  } else {
    assert.equal(gateway.flows, flows);
  }
}

it('says what happens, and changes nothing', () => {
  const seen = new Map<string, number>();
  for (let round = 0; round < GATEWAYS; round++) {
    const choice = new Choice(SEED + round);
    const plugin = judge();
    const gateway = gatewayOf(plugin);
    for (let at = 0; at < PACKETS; at++) {
      if (choice.below(40) === 0) gateway.pass(choice.of([1, 1, 1, 100, 100, 1000, 70_000]));
      if (choice.below(25) === 0) gateway.assembly.ports.setUp(1 + choice.below(7), choice.below(6) !== 0);
      const question = questionOf(choice, gateway);
      const name = nameOf(gateway, question.port)!;
      const what = JSON.stringify({ round, at, ...question, name });
      // What ended meanwhile is gone before both.
      gateway.assembly.state.translation.sweep(gateway.nowMs);
      const compared = at % 4 === 0;
      const content = compared ? contentOf(gateway) : '';
      const [flows, judged] = [gateway.flows, plugin.judged];
      const explanation = gateway.assembly.explain(question, gateway.nowMs)!;
      assert.ok(!compared || contentOf(gateway) === content, `something changed: ${what}`);
      assert.equal(plugin.judged, judged, what);
      assert.deepEqual(gateway.assembly.explain(question, gateway.nowMs), explanation, what);
      const dropsBefore = gateway.drops(name);
      const { view, offset, lengthBytes } = questionPacket(question);
      const sent = gateway.sendBytes(name, view.bytes.slice(offset, offset + lengthBytes));
      const reasons = Object.entries(gateway.drops(name)).flatMap(([reason, count]) =>
        count > (dropsBefore[reason] ?? 0) ? [reason] : [],
      );
      const context = `${what}\n${JSON.stringify(explanation, null, 1)}\ndropped: ${reasons}`;
      try {
        const { verdict, reason, steps } = explanation;
        assert.deepEqual(reasons, reason === null ? [] : [reason]);
        assert.equal(
          steps.every(({ passes }) => passes),
          reason === null,
        );
        if (verdict === 'forward') forwarded(question, explanation, sent, flows, gateway);
        else if (verdict === 'answer') assert.deepEqual([sent.length, sent[0]?.port], [1, name]);
        else assert.ok(sent.every(({ port }) => port === name));
        if (verdict === 'reject') assert.equal(reason, 'policy_reject');
        const kind = explanation.flow === null ? (reason ?? verdict) : `flow ${reason ?? verdict}`;
        seen.set(kind, (seen.get(kind) ?? 0) + 1);
      } catch (error) {
        (error as Error).message += `\n${context}`;
        throw error;
      }
    }
  }
  // A test that reaches little shows little.
  for (const kind of [
    'forward',
    'answer',
    'flow forward',
    'bad_source',
    'bad_destination',
    'no_flow',
    'port_down',
    'ambiguous_destination',
    'own_site_destination',
    'private_destination',
    'gateway_destination',
    'local_delivery',
    'forbidden_protocol',
    'policy',
    'policy_reject',
    'plugin_failed',
    'verdict_unsupported',
    'translation_ports',
    'translation_quota',
    'translation_protocol',
    'tunnel_share',
    'source_rate',
    'too_big',
  ]) {
    assert.ok((seen.get(kind) ?? 0) > 0, `${kind} was never reached: ${JSON.stringify([...seen])}`);
  }
});
