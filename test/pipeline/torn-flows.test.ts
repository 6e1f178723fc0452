/**
 * A data plane that is killed between any two stores: flows begin, end, move and give their ports to others, and after
 * every single store of that another gateway starts on the flow memory as it is then. Whatever it finds, a late reply
 * to a site reaches that site or nobody, though another site takes every port and tuple that it can get.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FlowMemory } from '../../src/flow/flow-memory.ts';
import {
  DIRECTION_EGRESS,
  DIRECTION_WORDS,
  FlowKey,
  ORIGINATOR,
  RECORD_WORDS,
  REPLY,
  SHARED_TRANSLATION,
} from '../../src/flow/layout.ts';
import { readKey } from '../../src/flow/record.ts';
import { portIndex } from '../../src/pipeline/port-table.ts';
import { buildPacket, type PacketSpec } from '../../src/wire/build.ts';
import { swap16 } from '../../src/wire/byte-order.ts';
import { TCP_ACK, TCP_RST, TCP_SYN } from '../../src/wire/packet.ts';
import { type Delivered, MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { tcp, udp } from '../support/packets.ts';

const EXTERNAL = '198.51.100.1';
const SERVER = '203.0.113.10 53';
const PRIVATE = '10.50.0.9 53';
const HOST = '10.0.1.2';

const OPTIONS: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24'], tunnels: [{ name: 'paris' }, { name: 'paris-b' }] },
    { name: 'lyon', prefixes: ['10.0.1.0/24'] },
    { name: 'nice', prefixes: ['10.0.1.0/24'] },
    { name: 'dc', prefixes: ['10.50.0.0/16'] },
  ],
  egress: [
    {
      name: 'internet',
      pools: [{ address: EXTERNAL, portMin: 2048, portMax: 2053, quotaPerSite: 5 }],
      portForwards: [
        { protocol: 'udp', address: EXTERNAL, port: 8443, to: { site: 'paris', address: HOST, port: 443 } },
      ],
    },
  ],
  routes: [{ prefix: '10.0.1.0/24', via: 'paris' }],
  maxFlows: 32,
  translationChunks: 2,
};

/** The arrays of a flow memory whose stores count; counters are nobody's promise. */
const SECTIONS = ['records', 'recordFloats', 'translation', 'heldTuples', 'header'] as const;
type Section = (typeof SECTIONS)[number];
type Sections = Record<Section, Int32Array | Float64Array>;

interface Store {
  readonly section: Section;
  readonly at: number;
  readonly value: number;
}

/** A flow memory that notes every store, in order. */
function noting(memory: FlowMemory, stores: Store[]): FlowMemory {
  const watched = (section: Section): PropertyDescriptor => {
    const array = (memory as unknown as Sections)[section];
    const note = (at: number, value: number): void => {
      if (array[at] !== value) stores.push({ section, at, value });
      array[at] = value;
    };
    const value = new Proxy(array, {
      get(target, property) {
        if (property === 'fill') {
          return (filled: number, from = 0, to = target.length) => {
            for (let at = from; at < to; at++) note(at, filled);
          };
        }
        const found: unknown = Reflect.get(target, property, target);
        return typeof found === 'function' ? found.bind(target) : found;
      },
      set(_, property, stored: number) {
        note(Number(property), stored);
        return true;
      },
    });
    return { value };
  };
  return Object.create(
    memory,
    Object.fromEntries(SECTIONS.map((section) => [section, watched(section)])),
  ) as FlowMemory;
}

/** What a server answers to a packet that reached it. */
function replyTo({ source, sourcePort, destination, destinationPort, view }: Delivered): PacketSpec {
  const [from, to] = [`${destination} ${destinationPort}`, `${source} ${sourcePort}`];
  if (view.protocol === 17) return udp(from, to, 'late');
  return tcp(from, to, TCP_SYN | TCP_ACK, { sequence: 500, acknowledgment: view.sequence + 1 });
}

/** A flow that was, or is: where late replies of it come from, what they look like, and who may get them. */
interface Past {
  readonly port: string;
  readonly reply: Uint8Array;
  readonly site: string;
  /** Stores there had been when its first packet left: before that, nobody could answer it. */
  readonly since: number;
}

class Story {
  readonly gateway: MemoryGateway;
  readonly past: Past[] = [];
  readonly #stores: readonly Store[];

  constructor(gateway: MemoryGateway, stores: readonly Store[] = []) {
    this.gateway = gateway;
    this.#stores = stores;
  }

  /** Sends a first packet, and remembers the flow. */
  begin(tunnel: string, spec: PacketSpec): Delivered {
    const sent = this.gateway.send(tunnel, spec);
    assert.equal(sent.length, 1, JSON.stringify(this.gateway.drops(tunnel)));
    const [reached] = sent as [Delivered];
    this.past.push({
      port: reached.port,
      reply: buildPacket(replyTo(reached)),
      site: siteOf(tunnel),
      since: this.#stores.length,
    });
    return reached;
  }

  reply(reached: Delivered): void {
    assert.equal(this.gateway.send(reached.port, replyTo(reached)).length, 1);
  }
}

function siteOf(tunnel: string): string {
  return tunnel.split('-')[0]!;
}

/** Flows of two sites with the same tuples, some of which have ended. */
function begun(): Story {
  const story = new Story(new MemoryGateway(OPTIONS));
  const { gateway } = story;
  for (const site of ['paris', 'lyon']) {
    story.begin(site, udp(`${HOST} 3999`, SERVER));
    story.begin(site, udp(`${HOST} 3999`, PRIVATE));
  }
  // These are held for two minutes more.
  gateway.pass(125_000);
  gateway.pass(2000);
  assert.equal(gateway.flows, 0);
  for (const site of ['paris', 'lyon']) {
    story.begin(site, udp(`${HOST} 4000`, SERVER));
    story.reply(story.begin(site, tcp(`${HOST} 4001`, SERVER, TCP_SYN, { sequence: 100 })));
    story.begin(site, udp(`${HOST} 4000`, PRIVATE));
  }
  gateway.pass(1000);
  return story;
}

/** What the gateway does while it is killed. */
const EVENTS: Readonly<Record<string, (story: Story) => void>> = {
  'a flow to the internet begins': (story) => {
    story.begin('lyon', udp(`${HOST} 4010`, SERVER));
  },
  'a flow begins that has its former port again': (story) => {
    story.begin('paris', udp(`${HOST} 3999`, '203.0.113.11 53'));
  },
  'a flow between sites begins, which must be translated': (story) => {
    story.begin('lyon', udp(`${HOST} 3999`, PRIVATE));
    story.begin('lyon', tcp(`${HOST} 4011`, PRIVATE, TCP_SYN));
  },
  'a flow comes in by a port forward': ({ gateway }) => {
    const [reached] = gateway.send('internet', udp('203.0.113.77 999', `${EXTERNAL} 8443`));
    assert.equal(siteOf(reached!.port), 'paris');
  },
  'a flow between two hosts of a site goes by its external address': ({ gateway }) => {
    const [reached] = gateway.send('paris', udp('10.0.1.3 4000', `${EXTERNAL} 8443`));
    assert.equal(siteOf(reached!.port), 'paris');
  },
  'a tuple is used anew': (story) => {
    story.gateway.send('paris', tcp(`${HOST} 4001`, SERVER, TCP_RST, { sequence: 101 }));
    story.begin('paris', tcp(`${HOST} 4001`, SERVER, TCP_SYN, { sequence: 90_000 }));
  },
  'an originator comes by its other tunnel': ({ gateway }) => {
    assert.equal(gateway.send('paris-b', udp(`${HOST} 4000`, SERVER)).length, 1);
  },
  'flows time out': ({ gateway }) => {
    gateway.pass(121_000);
    gateway.pass(2000);
  },
  'flows are ended by command': ({ gateway }) => {
    gateway.assembly.flush(() => true, gateway.nowMs);
  },
  'all flows of a tunnel end, because it is another one': ({ gateway }) => {
    gateway.reconfigure(OPTIONS, (plan) => ({
      ...plan,
      ports: plan.ports.map((port) => (port.name === 'paris' ? { ...port, generation: 2 } : port)),
    }));
  },
  'an external address is replaced, and comes back': ({ gateway }) => {
    const pools = [{ address: '198.51.100.2', portMin: 2048, portMax: 2053, quotaPerSite: 5 }];
    gateway.reconfigure({ ...OPTIONS, egress: [{ name: 'internet', pools }] });
    gateway.reconfigure(OPTIONS);
  },
};

/** A gateway that starts on this memory has nothing in it that belongs to two, or goes to the wrong one. */
function checkState({ assembly, plan }: MemoryGateway): void {
  const { table, translation } = assembly.state;
  assert.deepEqual(table.verify(), []);
  const spaceOf = (word: number): number | undefined =>
    plan.ports.find(({ index }) => index === portIndex(word))?.space;
  const owners = new Map<number, string>();
  const [key, replyKey] = [new FlowKey(), new FlowKey()];
  for (let record = table.next(-1); record >= 0; record = table.next(record)) {
    const base = record * RECORD_WORDS;
    readKey(table.words, record, ORIGINATOR, key);
    readKey(table.words, record, REPLY, replyKey);
    const pin = table.words[base + REPLY * DIRECTION_WORDS + DIRECTION_EGRESS]!;
    assert.equal(spaceOf(pin), key.meta >>> 16, 'the pin is a tunnel of its site');
    assert.equal(spaceOf(table.words[base + DIRECTION_EGRESS]!), replyKey.meta >>> 16);
    const slot = table.words[base + SHARED_TRANSLATION]! - 1;
    if (slot < 0) continue;
    const endpoint = `${key.meta >>> 16} ${key.src3} ${key.ports & 0xffff}`;
    assert.equal(owners.get(slot) ?? endpoint, endpoint, 'one owner of an external port');
    owners.set(slot, endpoint);
    assert.equal(translation.siteSpace(slot), key.meta >>> 16);
    assert.equal(translation.words[translation.externalAddressAt(slot) + 3], replyKey.dst3);
    assert.equal(translation.externalPort(slot), swap16(replyKey.ports >>> 16));
  }
}

/** Another site takes what it can get; then everything comes that may still be on its way to others. */
function checkReplies(gateway: MemoryGateway, past: readonly Past[]): void {
  for (let i = 0; i < 8; i++) gateway.send('nice', udp(`${HOST} ${5000 + i}`, SERVER));
  for (let i = 0; i < 8; i++) gateway.send('nice', tcp(`${HOST} ${5000 + i}`, SERVER, TCP_SYN));
  for (const port of [3999, 4000]) gateway.send('nice', udp(`${HOST} ${port}`, PRIVATE));
  gateway.send('nice', tcp(`${HOST} 4011`, PRIVATE, TCP_SYN));
  for (const { port, reply, site } of past) {
    for (const delivered of gateway.sendBytes(port, reply)) {
      // An answer of the gateway to the server itself is none to a site.
      if (delivered.port !== port)
        assert.equal(
          siteOf(delivered.port),
          site,
          `a reply to ${delivered.destination} ${delivered.destinationPort}`,
        );
    }
  }
}

describe('a data plane that is killed between any two stores, while', () => {
  for (const [what, happens] of Object.entries(EVENTS)) {
    it(what, () => {
      const { gateway: before, past } = begun();
      const stores: Store[] = [];
      const watched = new MemoryGateway({
        ...OPTIONS,
        memory: before.buffer.slice(0),
        nowMs: before.nowMs,
        watchMemory: (memory) => noting(memory, stores),
      });
      const memory = watched.buffer.slice(0);
      stores.length = 0;
      const story = new Story(watched, stores);
      happens(story);
      assert.ok(stores.length > 0);
      const found = FlowMemory.open(memory);
      assert.ok(found.usable);
      const sections = found.memory as unknown as Sections;
      for (let killed = 0; killed <= stores.length; killed++) {
        if (killed > 0) {
          const { section, at, value } = stores[killed - 1]!;
          sections[section][at] = value;
        }
        try {
          found.memory.lastAliveMs = watched.nowMs;
          const next = new MemoryGateway({ ...OPTIONS, memory: memory.slice(0), nowMs: watched.nowMs });
          checkState(next);
          checkReplies(next, [...past, ...story.past.filter(({ since }) => since <= killed)]);
          checkState(next);
        } catch (error) {
          const last = JSON.stringify(stores.slice(Math.max(0, killed - 3), killed));
          (error as Error).message +=
            `\nkilled after ${killed} of ${stores.length} stores, the last of them ${last}`;
          throw error;
        }
      }
    });
  }
});
