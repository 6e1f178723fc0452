/** Translation in a process that is killed between any two stores: what the next one makes of the memory. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PROTOCOL_TCP } from '../wire/packet.ts';
import type { AddressWords, TranslationPool } from './port-pool.ts';
import { Translation } from './translation.ts';
import { translationWords } from './translation-layout.ts';

const EGRESS = 900;
const A: AddressWords = [0, 0, 0, 0x01_02_03_04];
const B: AddressWords = [0, 0, 0, 0x05_06_07_08];

/** Four ports, all of which one site may have. */
function pool(address: AddressWords): TranslationPool {
  return { egress: EGRESS, family: 4, address, portMin: 2000, portMax: 2003, quotaPerSite: 4 };
}

/** A section that notes every store, in order. */
function recorded(memory: Int32Array): { section: Int32Array; stores: [number, number][] } {
  const stores: [number, number][] = [];
  const section = new Proxy(memory, {
    get(target, property) {
      if (property === 'fill') {
        return (value: number, from = 0, to = target.length) => {
          for (let i = from; i < to; i++) stores.push([i, value]);
          return target.fill(value, from, to);
        };
      }
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
    set(target, property, value: number) {
      stores.push([Number(property), value]);
      target[Number(property)] = value;
      return true;
    },
  });
  return { section, stores };
}

/**
 * Runs an operation on what `prepare` left, and calls `check` with the memory as it was after 0, 1, 2, ... of the
 * operation's stores.
 */
function killAnywhere(
  prepared: Int32Array,
  pools: readonly TranslationPool[],
  operation: (translation: Translation) => void,
  check: (memory: Int32Array) => void,
): void {
  const { section, stores } = recorded(prepared.slice());
  const translation = new Translation(section, 5, 0);
  translation.configure(pools, [], 0);
  const memory = section.slice();
  stores.length = 0;
  operation(translation);
  assert.ok(stores.length > 0);
  // Of a long fill, its first and last stores tell enough.
  const step = Math.max(1, Math.floor(stores.length / 200));
  check(memory.slice());
  stores.forEach(([at, value], i) => {
    memory[at] = value;
    if (i % step === 0 || i >= stores.length - 8) check(memory.slice());
  });
}

const SMALL = [pool(A)];
const tcp = (translation: Translation, space: number, host: number, now: number, address = 0) =>
  translation.acquire(EGRESS, space, 4, 0, 0, 0, host, 5000 + address, PROTOCOL_TCP, now);

/** External ports that a site can get at `now`, in a process started on this memory at `startMs`. */
function portsFor(
  memory: Int32Array,
  pools: readonly TranslationPool[],
  space: number,
  startMs: number,
  now = startMs,
): Set<number> {
  const translation = new Translation(memory.slice(), 5, startMs);
  translation.configure(pools, [], startMs);
  translation.settle(240_000, 240_000, 240_000, startMs);
  const ports = new Set<number>();
  for (let host = 100; ; host++) {
    const slot = tcp(translation, space, host, now);
    if (slot < 0) return ports;
    const external = translation.externalPort(slot);
    assert.ok(!ports.has(external), 'exclusive');
    ports.add(external);
  }
}

/** A memory in which site 1 has one live mapping (host 1) and one held until 240 s (host 2), times from 0. */
function prepared(): { memory: Int32Array; live: number; held: number; livePort: number; heldPort: number } {
  const memory = new Int32Array(translationWords(2));
  const translation = new Translation(memory, 5, 0);
  translation.configure(SMALL, [], 0);
  const live = tcp(translation, 1, 1, 0);
  translation.retain(live);
  const held = tcp(translation, 1, 2, 0);
  translation.retain(held);
  translation.release(held, 240_000, 0);
  const livePort = translation.externalPort(live);
  const heldPort = translation.externalPort(held);
  return { memory, live, held, livePort, heldPort };
}

test('killed between any two stores: site 2 never gets what site 1 has or had', () => {
  const { memory, live, held, livePort, heldPort } = prepared();
  const operations: Record<string, (translation: Translation) => void> = {
    'a new mapping': (translation) => tcp(translation, 1, 3, 1000),
    'the same endpoint again': (translation) => tcp(translation, 1, 2, 1000),
    'a release': (translation) => {
      translation.adopt(live, 1, 0, 0, 0, 1, 5000, PROTOCOL_TCP);
      translation.release(live, 240_000, 1000);
    },
    'a held port to another endpoint of the site': (translation) => {
      for (let host = 10; host < 12; host++) tcp(translation, 1, host, 1000);
      assert.equal(tcp(translation, 1, 12, 1000), held);
    },
    'a new address': (translation) => {
      translation.configure([pool(B), pool(A)], [], 1000);
    },
  };
  for (const [name, operation] of Object.entries(operations)) {
    killAnywhere(memory, SMALL, operation, (after) => {
      const ports = portsFor(after, SMALL, 2, 2000);
      assert.ok(!ports.has(livePort), `${name}: live`);
      assert.ok(!ports.has(heldPort), `${name}: held`);
      assert.ok(ports.size <= 2);
      assert.equal(portsFor(after, SMALL, 2, 2000, 500_000).size, 4, `${name}: nothing is lost for ever`);
    });
  }
});

test('killed while a port goes to the next site: neither a hold nor a mapping is invented', () => {
  const { memory, livePort, heldPort } = prepared();
  killAnywhere(
    memory,
    SMALL,
    (translation) => {
      translation.adopt(prepared().live, 1, 0, 0, 0, 1, 5000, PROTOCOL_TCP);
      for (let host = 10; host < 13; host++) assert.ok(tcp(translation, 2, host, 300_000) >= 0);
    },
    (after) => {
      // Whatever site 2 has got is held for it; the rest is free for site 3.
      const ports = portsFor(after, SMALL, 3, 300_001);
      assert.ok(!ports.has(livePort));
      const own = portsFor(after, SMALL, 2, 300_001);
      assert.ok(own.has(heldPort) && own.size === 3);
    },
  );
});

test('killed while a chunk changes its address: no port of either is lost or shared', () => {
  const memory = new Int32Array(translationWords(1));
  const translation = new Translation(memory, 5, 0);
  translation.configure([pool(A)], [], 0);
  const slot = tcp(translation, 1, 1, 0);
  translation.release(slot, 10_000, 0);
  killAnywhere(
    memory,
    [pool(A)],
    (subject) => {
      subject.configure([pool(B)], [], 20_000);
      assert.ok(tcp(subject, 2, 1, 20_000) >= 0);
    },
    (after) => {
      const ports = portsFor(after, [pool(B)], 3, 20_001);
      assert.ok(ports.size === 4 || ports.size === 3);
    },
  );
});
