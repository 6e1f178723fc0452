/**
 * Whoever only looks changes nothing: two gateways in memory get the same random packets at the same times. Of one of
 * them it is asked all the time what would become of packets, addresses and flows, it is captured, and its tunnels are
 * tested; of the other one nothing. They send the same packets, and their flow memories stay equal, byte by byte.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { PLUGIN_TIME_MS } from '../../src/flow/counters.ts';
import { RECORD_WORDS, SHARED_ID } from '../../src/flow/layout.ts';
import {
  CHUNK_SLOTS,
  firstSlotAt,
  SLOT_WORDS,
  translationChunks,
} from '../../src/flow/translation-layout.ts';
import {
  CaptureRingReader,
  CaptureRingWriter,
  captureRingBytes,
  formatCaptureRing,
} from '../../src/pipeline/capture/capture-ring.ts';
import { CaptureSession } from '../../src/pipeline/capture/capture-session.ts';
import { NO_FILTER } from '../../src/pipeline/capture/filter-program.ts';
import type { Explanation, Question } from '../../src/pipeline/explain/explanation.ts';
import { DROP } from '../../src/plugin/drop-reasons.ts';
import { parseAddress } from '../../src/wire/address.ts';
import { buildPacket } from '../../src/wire/build.ts';
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../src/wire/packet.ts';
import { type Delivered, MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { withDataCenterOnLink } from '../support/on-link-plan.ts';
import { echo, echoIdentifier, tcp, udp } from '../support/packets.ts';
import { seededRandom } from '../support/plain-packets.ts';

const SEED = 0x0b5e_2026;
const STEPS = 3000;
const EXTERNAL = '192.0.2.1';

const OPTIONS: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24'], tunnels: [{ name: 'paris', addresses: ['169.254.1.0'] }] },
    {
      name: 'lyon',
      prefixes: ['10.0.1.0/24'],
      tunnels: [
        { name: 'lyon-a', addresses: ['172.20.0.1'] },
        { name: 'lyon-b', addresses: ['172.20.0.5'] },
      ],
    },
    { name: 'nice', prefixes: ['10.0.2.0/24'] },
    { name: 'datacenter', prefixes: ['10.50.0.0/16'] },
  ],
  egress: [
    { name: 'internet', pools: [{ address: EXTERNAL, portMin: 2048, portMax: 2053, quotaPerSite: 3 }] },
  ],
  // So few that ports and records run out, are held and used again.
  maxFlows: 96,
  flowTable: { createRatePerTunnel: 60, createRatePerSource: 20 },
};
const TUNNELS = ['paris', 'lyon-a', 'lyon-b', 'nice'];
const HOSTS: Readonly<Record<string, readonly string[]>> = {
  paris: ['10.0.1.2', '10.0.1.3'],
  'lyon-a': ['10.0.1.2', '10.0.1.3'],
  'lyon-b': ['10.0.1.2', '10.0.1.3'],
  nice: ['10.0.2.2', '10.0.2.130'],
};
const SERVERS = [
  '203.0.113.10',
  '203.0.113.11',
  '10.0.2.2',
  '10.0.2.2',
  '10.50.0.9',
  '10.50.0.10',
  '10.99.0.1',
];

class Choice {
  readonly #random = seededRandom(SEED);

  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

function makeGateway(): MemoryGateway {
  const gateway = new MemoryGateway(OPTIONS);
  gateway.reconfigure(OPTIONS, withDataCenterOnLink);
  return gateway;
}

function portOf(gateway: MemoryGateway, name: string): number {
  return gateway.plan.ports.find((port) => port.name === name)!.index;
}

/** A packet that a site begins something with, or goes on with. */
function fromSite(choice: Choice, tunnel: string): Uint8Array {
  const from = `${choice.of(HOSTS[tunnel]!)} ${4000 + choice.below(12)}`;
  const to = `${choice.of(SERVERS)} ${choice.of([53, 80])}`;
  switch (choice.below(6)) {
    case 0:
    case 1:
      return buildPacket(udp(from, to, 'x'.repeat(choice.below(200))));
    case 2:
      return buildPacket(echo(from.split(' ')[0]!, to.split(' ')[0]!, 8, choice.below(12)));
    default:
      return buildPacket(
        tcp(from, to, choice.of([TCP_SYN, TCP_SYN, TCP_SYN, TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST]), {
          sequence: 1000 + choice.below(3),
          acknowledgment: 501,
        }),
      );
  }
}

/** What a server answers to a packet that has reached it. */
function answerTo(choice: Choice, { view, packet, ...it }: Delivered): Uint8Array | undefined {
  const [from, to] = [`${it.destination} ${it.destinationPort}`, `${it.source} ${it.sourcePort}`];
  if (view.protocol === 17) return buildPacket(udp(from, to));
  if (view.protocol === 1) {
    return buildPacket(echo(it.destination, it.source, 0, echoIdentifier(packet)));
  }
  if (view.protocol !== 6) return undefined;
  const flags = choice.of([
    TCP_SYN | TCP_ACK,
    TCP_SYN | TCP_ACK,
    TCP_ACK,
    TCP_FIN | TCP_ACK,
    TCP_RST | TCP_ACK,
  ]);
  return buildPacket(tcp(from, to, flags, { sequence: 500, acknowledgment: view.sequence + 1 }));
}

function questionOf(choice: Choice, gateway: MemoryGateway): Question {
  const { table } = gateway.assembly.state;
  switch (choice.below(6)) {
    case 0:
      return { kind: 'route', address: choice.of(SERVERS), port: portOf(gateway, choice.of(TUNNELS)) };
    case 1: {
      const flow = table.words[choice.below(table.capacity) * RECORD_WORDS + SHARED_ID]!;
      return { kind: 'flow', flow };
    }
    default: {
      const tunnel = choice.of([...TUNNELS, 'internet']);
      const outside = tunnel === 'internet';
      return {
        kind: 'packet',
        port: portOf(gateway, tunnel),
        source: outside ? '203.0.113.10' : choice.of(HOSTS[tunnel]!),
        destination: outside ? EXTERNAL : choice.of(SERVERS),
        protocol: choice.of([1, 6, 17, 47]),
        sourcePort: 4000 + choice.below(12),
        destinationPort: outside ? 2048 + choice.below(6) : choice.of([53, 80]),
      };
    }
  }
}

/** Everything that is in use of a flow memory; of translation the first chunk, which has all ports of the pool. */
function content(gateway: MemoryGateway): Buffer[] {
  const { table, translation, held } = gateway.assembly.state;
  const chunks = translationChunks(translation.words.length);
  const slots = firstSlotAt(chunks) + CHUNK_SLOTS * SLOT_WORDS;
  const { words } = held as unknown as { words: Int32Array };
  // How long plugins took is measured, and no two runs take equally long.
  const { counters } = gateway.assembly;
  counters.addPlugin(0, PLUGIN_TIME_MS, -counters.plugin(0, PLUGIN_TIME_MS));
  const { values } = counters as unknown as { values: Float64Array };
  return [table.words, translation.words.subarray(0, slots), words, values].map(
    ({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength),
  );
}
const PARTS = ['records', 'translation', 'held tuples', 'counters'];

/** What is known of neighbours. */
function neighbors(gateway: MemoryGateway): unknown {
  const { table } = (gateway.assembly.link as unknown as { neighbors: { table: Record<string, unknown> } })
    .neighbors;
  return ['state', 'device', 'word3', 'timerAt', 'requests', 'queueCount'].map((name) => table[name]);
}

/** Somebody who looks at a gateway all the time. */
class Observer {
  readonly #gateway: MemoryGateway;
  readonly #choice: Choice;
  #reader: CaptureRingReader | undefined;
  #probes = 0;
  captured = 0;
  answered = 0;
  readonly explained = new Map<string, number>();

  constructor(gateway: MemoryGateway, choice: Choice) {
    this.#gateway = gateway;
    this.#choice = choice;
    gateway.assembly.probes.setOnAnswer(() => {
      this.answered++;
    });
  }

  look(): void {
    const { assembly, nowMs } = this.#gateway;
    for (let asked = this.#choice.below(4); asked > 0; asked--) {
      const question = questionOf(this.#choice, this.#gateway);
      const explanation: Explanation | undefined = assembly.explain(question, nowMs);
      const verdict = explanation === undefined ? 'unknown' : (explanation.reason ?? explanation.verdict);
      this.explained.set(verdict, (this.explained.get(verdict) ?? 0) + 1);
    }
    if (this.#choice.below(20) === 0) this.#capture();
    if (this.#choice.below(10) === 0) this.#probe();
  }

  /** Captures everything from now on, or nothing. Nobody reads: the ring is full soon. */
  #capture(): void {
    const { assembly, io } = this.#gateway;
    const ring = new ArrayBuffer(captureRingBytes(1 << 16));
    formatCaptureRing(ring);
    while (this.#reader?.read() !== undefined) this.captured++;
    this.#reader = new CaptureRingReader(ring);
    const selection = {
      ports: null,
      dropped: this.#choice.of([null, [DROP.no_flow]]),
      flow: 0,
      filter: NO_FILTER,
      snapBytes: 96,
      exact: this.#choice.below(2) === 0,
    };
    const session = new CaptureSession(io.memory, new CaptureRingWriter(ring), selection);
    assembly.tap.setTime(1_700_000_000, 0);
    assembly.tap.setSessions(this.#choice.below(3) === 0 ? [] : [session]);
  }

  /** Tests a tunnel; some time later the reply comes, or never. */
  #probe(): void {
    const { assembly, nowMs } = this.#gateway;
    const tunnel = this.#choice.of(['paris', 'lyon-a', 'lyon-b']);
    const target = parseAddress(this.#choice.of(['10.0.1.2', '10.0.1.77']))!;
    const port = portOf(this.#gateway, tunnel);
    assert.equal(assembly.probes.send(1 + this.#probes, port, target, assembly.ports, nowMs), 0);
    const sent = this.#gateway.run();
    assert.deepEqual([sent.length, sent[0]?.port], [1, tunnel]);
    this.#probes++;
    // Every other one is never answered.
    if (this.#choice.below(2) === 0) return;
    const reply = sent[0]!.packet.slice();
    reply.set(sent[0]!.packet.subarray(12, 16), 16);
    reply.set(sent[0]!.packet.subarray(16, 20), 12);
    // A request becomes a reply, which the checksum takes up (RFC 1624).
    const sum = ((reply[22]! << 8) | reply[23]!) + 0x0800;
    reply[20] = 0;
    reply[22] = (sum + (sum >>> 16)) >>> 8;
    reply[23] = sum + (sum >>> 16);
    assert.deepEqual(this.#gateway.sendBytes(tunnel, reply), []);
  }
}

it('explanations, captures and tests of tunnels change nothing', () => {
  const choice = new Choice();
  const [observed, left] = [makeGateway(), makeGateway()];
  const observer = new Observer(observed, new Choice());
  const reached: Delivered[] = [];
  const compare = (what: string): void => {
    const [one, other] = [content(observed), content(left)];
    one.forEach((part, at) => {
      if (part.equals(other[at]!)) return;
      const first = part.findIndex((byte, i) => byte !== other[at]![i]);
      assert.fail(`${what}: ${PARTS[at]} differ from byte ${first} on`);
    });
    assert.deepEqual(neighbors(observed), neighbors(left), what);
  };
  for (let step = 0; step < STEPS; step++) {
    const what = `step ${step}`;
    observer.look();
    compare(`${what}, after looking`);
    if (choice.below(8) === 0) {
      const ms = choice.of([1, 50, 500, 500, 2000, 30_000, 130_000, 300_000]);
      const isSwept = choice.below(3) !== 0;
      for (const gateway of [observed, left]) {
        if (isSwept) gateway.pass(ms);
        else gateway.nowMs += ms;
      }
    }
    const reply = reached.length > 0 && choice.below(3) === 0 ? choice.of(reached) : undefined;
    const port = reply === undefined ? choice.of(TUNNELS) : reply.port;
    const packet = reply === undefined ? fromSite(choice, port) : answerTo(choice, reply);
    if (packet === undefined || port === 'datacenter') continue;
    const [one, other] = [observed.sendBytes(port, packet), left.sendBytes(port, packet)];
    assert.deepEqual(
      one.map((sent) => [sent.port, sent.packet]),
      other.map((sent) => [sent.port, sent.packet]),
      what,
    );
    reached.push(...one.filter((sent) => !TUNNELS.includes(sent.port) || sent.port === 'nice'));
    if (reached.length > 60) reached.splice(0, 20);
  }
  compare('at the end');
  assert.ok(observed.buffer.byteLength === left.buffer.byteLength);
  assert.ok(Buffer.from(observed.buffer).equals(Buffer.from(left.buffer)), 'some other part differs');
  // A test that reaches little shows little.
  assert.ok(observer.captured > 100, `${observer.captured} packets were captured`);
  assert.ok(observer.answered > 100, `${observer.answered} probes were answered`);
  for (const verdict of ['forward', 'unknown', 'translation_ports', 'translation_quota', 'no_flow']) {
    assert.ok(
      (observer.explained.get(verdict) ?? 0) > 0,
      `${verdict}: ${JSON.stringify([...observer.explained])}`,
    );
  }
});
