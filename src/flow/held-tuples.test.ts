/** Held tuples: never a false "free", few false "held", through merging, time, restarts and half-written entries. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { seededRandom } from '../../test/support/plain-packets.ts';
import { carryHeldTuples, HeldTuples, heldTupleWords, MAX_HELD_MS, proposePort } from './held-tuples.ts';
import { FlowKey, keyMeta } from './layout.ts';

function keyOf(number: number): FlowKey {
  const key = new FlowKey();
  key.src3 = number;
  key.dst3 = 0x0a000001;
  key.ports = 0x50005000;
  key.meta = keyMeta(3, 6, 4);
  return key;
}

test('held for others and not for the owner, until the hold ends', () => {
  const held = new HeldTuples(new Int32Array(heldTupleWords(64)), 1);
  const key = keyOf(1);
  assert.equal(held.heldByAnother(key, 2, 0), false);
  held.hold(key, 1, 1, 240_000, 0);
  assert.equal(held.heldByAnother(key, 1, 0), false);
  assert.equal(held.heldByAnother(key, 2, 0), true);
  assert.equal(held.heldByAnother(key, 2, 239_999), true);
  // Ends are kept in ticks of 4096 ms: a hold lasts up to one longer than asked for.
  assert.equal(held.heldByAnother(key, 2, 244_095), false);
});

test('a tuple of two owners is held for everybody until the later end', () => {
  for (const [first, second] of [
    [1000, 9000],
    [9000, 1000],
  ] as const) {
    const held = new HeldTuples(new Int32Array(heldTupleWords(64)), 1);
    held.hold(keyOf(1), 1, 1, first, 0);
    held.hold(keyOf(1), 2, 2, second, 0);
    for (const space of [1, 2, 3]) {
      assert.equal(held.heldByAnother(keyOf(1), space, 8999), true);
      assert.equal(held.heldByAnother(keyOf(1), space, 13_095), false);
    }
  }
});

test('only what the sender itself has sent counts', () => {
  const held = new HeldTuples(new Int32Array(heldTupleWords(64)), 1);
  const key = keyOf(1);
  held.hold(key, 1, 1, 1000, 0);
  const reversed = keyOf(1);
  reversed.src3 = key.dst3;
  reversed.dst3 = key.src3;
  assert.equal(held.heldByAnother(reversed, 2, 0), false, 'the other direction');
  key.meta = keyMeta(7, 6, 4);
  assert.equal(held.heldByAnother(key, 2, 0), false, 'the same tuple in another space');
  held.hold(key, 2, 2, 1000, 0);
  assert.equal(held.heldByAnother(key, 2, 0), false);
  key.meta = keyMeta(3, 6, 4);
  assert.equal(held.heldByAnother(key, 1, 0), false, 'each space has a peer of its own');
  key.meta = keyMeta(3, 17, 4);
  assert.equal(held.heldByAnother(key, 2, 0), false, 'another protocol');
});

test('every word of the key tells tuples apart', () => {
  const held = new HeldTuples(new Int32Array(heldTupleWords(4096)), 1);
  const key = keyOf(1);
  held.hold(key, 1, 1, 1000, 0);
  for (const word of Object.keys(key) as (keyof FlowKey)[]) {
    const other = keyOf(1);
    other[word] = (other[word] + 1) | 0;
    assert.equal(held.heldByAnother(other, 2, 0), false, word);
  }
  assert.equal(held.heldByAnother(keyOf(1), 2, 0), true);
});

const step = fc.record({
  kind: fc.nat({ max: 9 }),
  key: fc.nat({ max: 40 }),
  space: fc.integer({ min: 1, max: 4 }),
  amount: fc.nat({ max: 5 }),
});
const AMOUNTS_MS = [0, 1, 1000, 240_000, 7_440_000, MAX_HELD_MS];

test('never a false "free": a small table against a plain model', () => {
  let running = 0;
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 10, maxLength: 150 }),
      fc.constantFrom(0, 0x7fff_ffff - 300_000, -2000),
      fc.constantFrom(4, 16),
      (steps, offset, entries) => {
        let memory = new Int32Array(heldTupleWords(entries));
        let held = new HeldTuples(memory, 11);
        const model = new Map<string, number>();
        let passed = 0;
        for (const { kind, key, space, amount } of steps) {
          const now = (offset + passed) | 0;
          if (kind < 6) {
            held.hold(keyOf(key), space, space, AMOUNTS_MS[amount]!, now);
            const name = `${key} ${space}`;
            model.set(name, Math.max(model.get(name) ?? 0, passed + AMOUNTS_MS[amount]!));
          } else if (kind < 8) {
            passed += AMOUNTS_MS[amount]!;
          } else if (kind === 8) {
            held.sweep(now);
          } else {
            memory = memory.slice();
            held = new HeldTuples(memory, 12);
          }
          for (const [name, until] of model) {
            if (until <= passed) continue;
            running++;
            const [heldKey, owner] = name.split(' ').map(Number);
            for (let other = 1; other <= 4; other++) {
              if (other === owner) continue;
              assert.equal(held.heldByAnother(keyOf(heldKey!), other, (offset + passed) | 0), true, name);
            }
          }
        }
      },
    ),
    { seed: 4711, numRuns: 300 },
  );
  assert.ok(running > 10_000);
});

test('never a false "free": thousands of holds over days, restarts, growth and the wrap of the ticks', () => {
  let asked = 0;
  let heldAtAll = 0;
  for (const [seed, entries, keys] of [
    [1, 64, 400],
    [2, 512, 900],
    [3, 2048, 1500],
  ] as const) {
    const random = seededRandom(seed);
    const below = (limit: number): number => Math.floor(random() * limit);
    let memory = new Int32Array(heldTupleWords(entries));
    let held = new HeldTuples(memory, seed);
    // Not far from where int32 milliseconds wrap.
    let now = 0x7fff_ffff - 20_000_000;
    let passed = 0;
    /** When the last hold of a peer ends, by key and peer. */
    const model = new Map<number, number>();
    for (let step = 0; step < 12_000; step++) {
      const kind = below(20);
      if (kind < 12) {
        const [key, peer] = [below(keys), 1 + below(4)];
        const holdMs = [0, 1, 4096, 240_000, 300_000, 7_440_000, MAX_HELD_MS][below(7)]!;
        held.hold(keyOf(key), peer, 1 + below(3), holdMs, now | 0);
        model.set(key * 8 + peer, Math.max(model.get(key * 8 + peer) ?? 0, passed + holdMs));
      } else if (kind < 17) {
        const ms = [1, 100, 4095, 4096, 60_000, 600_000][below(6)]!;
        passed += ms;
        now += ms;
      } else if (kind === 17) {
        held.sweep(now | 0);
      } else if (kind === 18) {
        // A restart; now and then into a larger memory.
        if (below(300) === 0 && memory.length < heldTupleWords(entries * 4)) {
          const larger = new Int32Array(heldTupleWords(entries * 4));
          carryHeldTuples(memory, larger);
          memory = larger;
        }
        held = new HeldTuples(memory, 99);
      } else {
        for (let i = 0; i < 20; i++) {
          const [key, other] = [below(keys), 1 + below(5)];
          const isHeld = [1, 2, 3, 4].some(
            (peer) => peer !== other && (model.get(key * 8 + peer) ?? 0) > passed,
          );
          asked++;
          if (isHeld) heldAtAll++;
          const answer = held.heldByAnother(keyOf(key), other, now | 0);
          assert.ok(answer || !isHeld, `seed ${seed}, step ${step}: key ${key} is free for ${other}`);
        }
      }
    }
    assert.ok(passed > 4 * 4096 * 4096, `${passed} ms: the ticks have wrapped several times`);
    // Everything ends: nothing stays for ever, and nobody is counted for what is gone.
    // Longer than an end that was missed by the sweeps, as after many restarts, looks like one in the future.
    for (const end = now + 2 * MAX_HELD_MS; now < end; now += 60_000) held.sweep(now | 0);
    assert.deepEqual(
      [1, 2, 3].map((site) => held.entriesOf(site)),
      [0, 0, 0],
    );
  }
  assert.ok(heldAtAll > 1500 && asked > 30_000, `${heldAtAll} of ${asked} were held`);
});

test('few false "held": a table half full answers others free', () => {
  const held = new HeldTuples(new Int32Array(heldTupleWords(8192)), 3);
  for (let i = 0; i < 4096; i++) held.hold(keyOf(i), 1, 1, 240_000, 0);
  let wrong = 0;
  for (let i = 0; i < 10_000; i++) if (held.heldByAnother(keyOf(100_000 + i), 2, 1)) wrong++;
  assert.ok(wrong < 1500, `${wrong} of 10000`);
  for (let i = 0; i < 10_000; i++) assert.equal(held.heldByAnother(keyOf(100_000 + i), 2, 244_095), false);
});

test('an end in the past never comes back as one in the future, if it is swept', () => {
  const held = new HeldTuples(new Int32Array(heldTupleWords(4)), 3);
  held.hold(keyOf(1), 1, 1, 1000, 0);
  const minute = 60_000;
  for (let passed = minute; passed < 6 * 60 * minute; passed += minute) {
    held.sweep(passed);
    assert.equal(held.heldByAnother(keyOf(1), 2, passed), false);
  }
  assert.equal(held.entriesOf(1), 0);
});

test('holds run across the wrap of the clock', () => {
  const held = new HeldTuples(new Int32Array(heldTupleWords(4)), 3);
  const last = 0x7fff_ffff;
  held.hold(keyOf(1), 1, 1, 240_000, last - 1000);
  assert.equal(held.heldByAnother(keyOf(1), 2, (last + 238_000) | 0), true);
  assert.equal(held.heldByAnother(keyOf(1), 2, (last + 244_000) | 0), false);
});

test('sites divide the table, and each keeps its part; entries are counted anew after a restart', () => {
  const memory = new Int32Array(heldTupleWords(512));
  const held = new HeldTuples(memory, 3);
  held.configure([1, 2, 3]);
  let key = 0;
  const fill = (site: number, peer: number): number => {
    while (held.hasRoom(site)) held.hold(keyOf(key++), peer, site, 240_000, 0);
    return held.entriesOf(site);
  };
  // 1024 entries, three quarters of them divided: 128 for each of three sites, 384 for who comes first.
  assert.deepEqual([fill(1, 9), fill(2, 9), fill(3, 9)], [512, 128, 128]);
  for (let i = 0; i < key; i++) assert.equal(held.heldByAnother(keyOf(i), 8, 0), true);
  let wrong = 0;
  for (let i = 0; i < 10_000; i++) if (held.heldByAnother(keyOf(1_000_000 + i), 8, 0)) wrong++;
  assert.ok(wrong <= 1, `${wrong} false holds in 10000: no entry has had to be widened`);
  const next = new HeldTuples(memory, 4);
  next.configure([1, 2, 3]);
  assert.deepEqual(
    [1, 2, 3].map((site) => next.entriesOf(site)),
    [512, 128, 128],
  );
  assert.equal(next.hasRoom(1), false);
  for (let sweeps = 0; sweeps < 2; sweeps++) next.sweep(250_000);
  assert.deepEqual(
    [1, 2, 3].map((site) => next.entriesOf(site)),
    [0, 0, 0],
  );
  assert.equal(next.hasRoom(1), true);
});

test('a tuple that is used again takes no more room', () => {
  const held = new HeldTuples(new Int32Array(heldTupleWords(64)), 3);
  for (let round = 0; round < 100; round++) held.hold(keyOf(round % 5), 2, 1, 240_000, round * 1000);
  assert.equal(held.entriesOf(1), 5);
});

test('a section keeps its seed, and one of another size begins anew', () => {
  const memory = new Int32Array(heldTupleWords(64));
  new HeldTuples(memory, 1).hold(keyOf(1), 1, 1, 1000, 0);
  assert.equal(new HeldTuples(memory, 2).heldByAnother(keyOf(1), 2, 0), true);
  const larger = new Int32Array(heldTupleWords(128));
  larger.set(memory);
  assert.equal(new HeldTuples(larger, 2).heldByAnother(keyOf(1), 2, 0), false);
  assert.throws(() => new HeldTuples(new Int32Array(16), 1), RangeError);
});

test('killed between any two stores of a hold, the others still stand', () => {
  const memory = new Int32Array(heldTupleWords(2));
  const before = new HeldTuples(memory, 5);
  // One ended, three running: the next four go to the free entry and into the others.
  before.hold(keyOf(0), 1, 1, 10, 0);
  for (const key of [1, 2, 3]) before.hold(keyOf(key), key, key, 100_000, 0);
  const stores: [number, number][] = [];
  const section = new Proxy(memory.slice(), {
    get: (target, property) => Reflect.get(target, property, target) as unknown,
    set(target, property, value: number) {
      stores.push([Number(property), value]);
      target[Number(property)] = value;
      return true;
    },
  });
  const subject = new HeldTuples(section, 5);
  for (const key of [4, 5, 6, 7, 1]) subject.hold(keyOf(key), 4, 4, 200_000, 1000);
  assert.ok(stores.length >= 10);
  for (let killed = 0; killed <= stores.length; killed++) {
    const after = memory.slice();
    for (const [at, value] of stores.slice(0, killed)) after[at] = value;
    const next = new HeldTuples(after, 6);
    for (const key of [1, 2, 3]) assert.equal(next.heldByAnother(keyOf(key), 9, 99_999), true);
  }
});

test('proposed ports are all of 1024..65535 once, in an order of the seed', () => {
  for (const seed of [0, 1, -5, 0x7fff_ffff]) {
    const seen = new Uint8Array(65_536);
    for (let attempt = 0; attempt < 64_512; attempt++) {
      const port = proposePort(seed, attempt);
      assert.ok(Number.isInteger(port) && port >= 1024 && port <= 65_535);
      seen[port] = 1;
    }
    assert.equal(
      seen.reduce((sum, one) => sum + one, 0),
      64_512,
    );
  }
  const first = (seed: number) => [0, 1, 2, 3].map((attempt) => proposePort(seed, attempt));
  assert.deepEqual(first(1), first(1));
  assert.notDeepEqual(first(1), first(2));
});

test('hold and heldByAnother allocate nothing', () => {
  const held = new HeldTuples(new Int32Array(heldTupleWords(1024)), 3);
  const key = keyOf(0);
  let found = 0;
  const run = (rounds: number) => {
    for (let i = 0; i < rounds; i++) {
      key.src3 = i & 8191;
      held.hold(key, 1 + (i & 3), 1 + (i & 3), 5000, i);
      if (held.heldByAnother(key, 2, i)) found++;
    }
  };
  run(200_000);
  const before = process.memoryUsage().heapUsed;
  run(100_000);
  const grown = process.memoryUsage().heapUsed - before;
  assert.ok(grown < 200_000, `${grown} bytes in 100000 rounds`);
  assert.ok(found > 0);
});
