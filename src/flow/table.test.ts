import assert from 'node:assert/strict';
import { test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import fc from 'fast-check';
import { FrameMemory } from '../wire/frame.ts';
import { IPV4, IPV6, PacketView, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import { FlowMemory, type FlowMemoryOptions, flowMemoryBytes } from './flow-memory.ts';
import {
  FLOW_LIVE,
  FlowKey,
  KEY_META,
  KEY_SRC0,
  keyMeta,
  ORIGINATOR,
  RECORD_WORDS,
  REPLY,
  SHARED_ID,
  SHARED_LAST_ORIGINATOR,
  SHARED_LAST_SEEN,
  SHARED_STATE,
  SHARED_TRANSLATION,
} from './layout.ts';
import { nextLiveRecord, readKey } from './record.ts';
import { CREATE_FULL, CREATE_TAKEN, FlowTable } from './table.ts';
import {
  TIMEOUT_CLASSES,
  TIMEOUT_ICMP,
  TIMEOUT_TCP_ESTABLISHED,
  TIMEOUT_UDP_ANSWERED,
  TIMEOUT_UDP_NEW,
} from './timeouts.ts';

const LIVE_UDP = FLOW_LIVE | (TIMEOUT_UDP_NEW << 8);

function makeMemory(capacity: number, hashSeed: readonly [number, number] = [1, 2]): FlowMemory {
  const options: FlowMemoryOptions = {
    capacity,
    translationBytes: 0,
    heldTupleBytes: 0,
    bootId: '6e0f1c52-8a2b-4f0d-9c3e-7d5b1a2f4e60',
    hashSeed,
  };
  return FlowMemory.create(new ArrayBuffer(flowMemoryBytes(options)), options);
}

/** A key of few possible values: `host` and `port` choose it. IPv6 keys differ in one word each. */
function makeKey(
  space: number,
  family: number,
  host: number,
  port: number,
  protocol = PROTOCOL_UDP,
): FlowKey {
  const key = new FlowKey();
  key.meta = keyMeta(space, protocol, family);
  key.ports = port | (53 << 16);
  if (family === IPV4) {
    key.src3 = 0x0a000000 | host;
    key.dst3 = 0x08080808;
  } else {
    key.src0 = host & 1;
    key.src1 = (host >> 1) & 1;
    key.src2 = (host >> 2) & 1;
    key.src3 = -1;
    key.dst0 = (host >> 3) & 1;
    key.dst3 = 1;
  }
  return key;
}

function reversed(key: FlowKey, space: number): FlowKey {
  const reply = new FlowKey();
  reply.src0 = key.dst0;
  reply.src1 = key.dst1;
  reply.src2 = key.dst2;
  reply.src3 = key.dst3;
  reply.dst0 = key.src0;
  reply.dst1 = key.src1;
  reply.dst2 = key.src2;
  reply.dst3 = key.src3;
  reply.ports = (key.ports >>> 16) | (key.ports << 16);
  reply.meta = keyMeta(space, (key.meta >>> 8) & 0xff, key.meta & 0xff);
  return reply;
}

function viewOf(key: FlowKey): PacketView {
  const view = new PacketView(new FrameMemory(new ArrayBuffer(64)));
  view.src0 = key.src0;
  view.src1 = key.src1;
  view.src2 = key.src2;
  view.src3 = key.src3;
  view.dst0 = key.dst0;
  view.dst1 = key.dst1;
  view.dst2 = key.dst2;
  view.dst3 = key.dst3;
  view.ports = key.ports;
  view.family = key.meta & 0xff;
  view.protocol = (key.meta >>> 8) & 0xff;
  return view;
}

function addFlow(table: FlowTable, key: FlowKey, state = LIVE_UDP, responderSpace = 9): number {
  const record = table.create(key, reversed(key, responderSpace));
  assert.ok(record >= 0, `create answered ${record}`);
  table.commit(record, state);
  return record;
}

test('a flow is found in both directions, in its own spaces only', () => {
  for (const family of [IPV4, IPV6]) {
    const table = new FlowTable(makeMemory(4));
    const key = makeKey(1, family, 5, 1000);
    const record = addFlow(table, key);
    const reply = reversed(key, 9);
    assert.equal(table.find(viewOf(key), 1), record * 2 + ORIGINATOR);
    assert.equal(table.find(viewOf(reply), 9), record * 2 + REPLY);
    assert.equal(table.find(viewOf(key), 2), -1);
    assert.equal(table.find(viewOf(key), 9), -1);
    assert.equal(table.find(viewOf(reply), 1), -1);
    assert.equal(table.findKey(reply), record * 2 + REPLY);
    const other = viewOf(key);
    other.protocol = PROTOCOL_TCP;
    assert.equal(table.find(other, 1), -1);
  }
});

test('spaces up to 65535 and equal tuples of two sites are kept apart', () => {
  const table = new FlowTable(makeMemory(4));
  const one = addFlow(table, makeKey(65535, IPV4, 1, 7), LIVE_UDP, 3);
  const other = addFlow(table, makeKey(32768, IPV4, 1, 7), LIVE_UDP, 4);
  const view = viewOf(makeKey(1, IPV4, 1, 7));
  assert.equal(table.find(view, 65535), one * 2);
  assert.equal(table.find(view, 32768), other * 2);
});

test('every word of an IPv6 key counts', () => {
  const table = new FlowTable(makeMemory(4));
  const key = makeKey(1, IPV6, 3, 9);
  addFlow(table, key);
  for (const name of ['src0', 'src1', 'src2', 'src3', 'dst0', 'dst1', 'dst2', 'dst3', 'ports'] as const) {
    const view = viewOf(key);
    view[name] ^= 0x01000000;
    assert.equal(table.find(view, 1), -1, name);
  }
});

test('an ICMP error finds the flow of the packet that it quotes, in the direction it travels', () => {
  for (const family of [IPV4, IPV6]) {
    const table = new FlowTable(makeMemory(4));
    const key = makeKey(1, family, 5, 1000);
    const record = addFlow(table, key);
    // The originator's packet was sent into space 9 looking like the reply's key, reversed.
    const sent = viewOf(reversed(reversed(key, 9), 9));
    assert.equal(table.findReversed(sent, 9), record * 2 + REPLY);
    assert.equal(table.findReversed(sent, 1), -1);
    // The reply's packet was sent into space 1; an error about it comes from the originator's side.
    const answer = viewOf(reversed(key, 1));
    assert.equal(table.findReversed(answer, 1), record * 2 + ORIGINATOR);
  }
});

test('an error that quotes an echo request finds it by the identifier', () => {
  const table = new FlowTable(makeMemory(4));
  const key = makeKey(1, IPV4, 5, 0, PROTOCOL_ICMP);
  key.ports = 0x1234;
  const record = addFlow(table, key);
  const request = viewOf(key);
  assert.equal(table.findReversed(request, 9), record * 2 + REPLY);
  const answer = viewOf(reversed(key, 1));
  assert.equal(answer.ports, 0x12340000);
  assert.equal(table.findReversed(answer, 1), record * 2 + ORIGINATOR);
});

test('a key is given to one flow only, in whichever direction', () => {
  const table = new FlowTable(makeMemory(4));
  const key = makeKey(1, IPV4, 5, 1000);
  addFlow(table, key);
  assert.equal(table.create(key, makeKey(2, IPV4, 6, 1)), CREATE_TAKEN);
  assert.equal(table.create(makeKey(2, IPV4, 6, 1), key), CREATE_TAKEN);
  assert.equal(table.create(reversed(key, 9), makeKey(2, IPV4, 6, 1)), CREATE_TAKEN);
  const same = makeKey(3, IPV4, 1, 1);
  assert.equal(table.create(same, same), CREATE_TAKEN);
  assert.equal(table.live, 1);
  assert.deepEqual(table.verify(), []);
});

test('a full table refuses, and the record freed first is used first', () => {
  const table = new FlowTable(makeMemory(4));
  const records = [1, 2, 3, 4].map((host) => addFlow(table, makeKey(1, IPV4, host, 1)));
  assert.equal(table.create(makeKey(1, IPV4, 5, 1), makeKey(2, IPV4, 5, 1)), CREATE_FULL);
  const freed = [records[2]!, records[0]!, records[3]!];
  for (const record of freed) table.remove(record);
  assert.deepEqual(
    [6, 7, 8].map((host) => addFlow(table, makeKey(1, IPV4, host, 1))),
    freed,
  );
  assert.deepEqual(table.verify(), []);
});

test('a new record carries nothing of the flow before it', () => {
  const table = new FlowTable(makeMemory(1));
  const record = addFlow(table, makeKey(1, IPV6, 15, 1));
  const firstId = table.words[SHARED_ID]!;
  for (let word = 10; word < RECORD_WORDS; word++) {
    if (word < 16 || word > SHARED_ID) table.words[word] = -1;
  }
  table.remove(record);
  assert.equal(table.create(makeKey(1, IPV4, 1, 1), makeKey(2, IPV4, 2, 2)), record);
  const left = [...table.words].map((word, at) => [at, word]).filter(([, word]) => word !== 0);
  assert.deepEqual(
    left.map(([at]) => at),
    [3, 7, 8, 9, 19, 23, 24, 25, SHARED_ID],
  );
  assert.equal(table.words[SHARED_ID], firstId + 1);
});

test('removing a free record does nothing', () => {
  const table = new FlowTable(makeMemory(3));
  const record = addFlow(table, makeKey(1, IPV4, 1, 1));
  table.remove(record);
  table.remove(record);
  table.remove(2);
  assert.equal(table.live, 0);
  assert.deepEqual(table.verify(), []);
});

test('ids count up across restarts and pass over 0', () => {
  const memory = makeMemory(2);
  memory.newestFlowId = -2;
  const table = new FlowTable(memory);
  const key = makeKey(1, IPV4, 1, 1);
  table.remove(addFlow(table, key));
  assert.equal(memory.newestFlowId, -1);
  const again = new FlowTable(memory);
  const record = addFlow(again, key);
  assert.equal(again.words[record * RECORD_WORDS + SHARED_ID], 1);
});

test('a process killed before commit leaves a free record', () => {
  const memory = makeMemory(4);
  const table = new FlowTable(memory);
  const kept = addFlow(table, makeKey(1, IPV4, 1, 1));
  const lost = makeKey(1, IPV4, 2, 1);
  assert.ok(table.create(lost, reversed(lost, 9)) >= 0);
  assert.equal(table.live, 2);
  const next = new FlowTable(memory);
  assert.equal(next.live, 1);
  assert.equal(next.restored, 1);
  assert.equal(next.discarded, 0);
  assert.equal(next.find(viewOf(lost), 1), -1);
  assert.equal(next.find(viewOf(makeKey(1, IPV4, 1, 1)), 1), kept * 2);
  assert.deepEqual(next.verify(), []);
});

test('records that cannot be are cleared at start', () => {
  const damages: [string, (words: Int32Array) => void][] = [
    ['family', (words) => words.set([keyMeta(1, PROTOCOL_UDP, 5)], KEY_META)],
    ['families differ', (words) => words.set([keyMeta(9, PROTOCOL_UDP, IPV6)], 16 + KEY_META)],
    ['protocols differ', (words) => words.set([keyMeta(9, PROTOCOL_TCP, IPV4)], 16 + KEY_META)],
    ['no space', (words) => words.set([keyMeta(0, PROTOCOL_UDP, IPV4)], KEY_META)],
    ['IPv4 with more words', (words) => words.set([1], KEY_SRC0)],
    ['no id', (words) => words.set([0], SHARED_ID)],
    ['unknown state', (words) => words.set([2], SHARED_STATE)],
    ['unknown class', (words) => words.set([FLOW_LIVE | (TIMEOUT_CLASSES << 8)], SHARED_STATE)],
    ['equal keys', (words) => words.copyWithin(16, 0, 10)],
  ];
  for (const [name, damage] of damages) {
    const memory = makeMemory(2);
    addFlow(new FlowTable(memory), makeKey(1, IPV4, 1, 1));
    damage(memory.records);
    const table = new FlowTable(memory);
    assert.equal(table.live, 0, name);
    assert.equal(table.discarded, 1, name);
    assert.equal(memory.records[SHARED_STATE], 0, name);
    assert.deepEqual(table.verify(), [], name);
  }
});

test('of two records with one key the later flow is kept', () => {
  for (const laterFirst of [false, true]) {
    const memory = makeMemory(3);
    const table = new FlowTable(memory);
    const key = makeKey(1, IPV4, 1, 1);
    const records = [addFlow(table, makeKey(1, IPV4, 7, 1)), addFlow(table, makeKey(1, IPV4, 8, 1))];
    const [loser, winner] = laterFirst ? [records[1]!, records[0]!] : [records[0]!, records[1]!];
    for (const record of records) {
      const base = record * RECORD_WORDS;
      memory.records[base + 3] = key.src3;
      memory.records[base + 16 + 7] = key.src3;
      memory.records[base + SHARED_ID] = record === winner ? -0x80000000 : 0x7fffffff;
    }
    const next = new FlowTable(memory);
    assert.equal(next.findKey(key), winner * 2);
    assert.equal(next.live, 1);
    assert.equal(next.discarded, 1);
    assert.equal(memory.records[loser * RECORD_WORDS + SHARED_STATE], 0);
    assert.equal(memory.newestFlowId, -0x80000000);
    assert.deepEqual(next.verify(), []);
  }
});

test('random use agrees with a map, across removals, sweeps of keys and restarts', () => {
  const keyArbitrary = fc.record({
    space: fc.integer({ min: 1, max: 2 }),
    family: fc.constantFrom(IPV4, IPV6),
    host: fc.integer({ min: 0, max: 15 }),
    port: fc.integer({ min: 1, max: 2 }),
  });
  const stepArbitrary = fc.oneof(
    { weight: 8, arbitrary: fc.record({ do: fc.constant('add' as const), key: keyArbitrary }) },
    { weight: 6, arbitrary: fc.record({ do: fc.constant('remove' as const), key: keyArbitrary }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('abandon' as const), key: keyArbitrary }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('kill' as const), key: keyArbitrary }) },
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 24 }),
      fc.tuple(fc.integer(), fc.integer()),
      fc.array(stepArbitrary, { minLength: 1, maxLength: 120 }),
      (capacity, seed, steps) => {
        const memory = makeMemory(capacity, seed);
        let table = new FlowTable(memory);
        const model = new Map<string, number>();
        for (const step of steps) {
          const key = makeKey(step.key.space, step.key.family, step.key.host, step.key.port);
          const name = JSON.stringify(key);
          if (step.do === 'add') {
            const record = table.create(key, reversed(key, step.key.space + 10));
            if (model.size === capacity) assert.equal(record, CREATE_FULL);
            else if (model.has(name)) assert.equal(record, CREATE_TAKEN);
            else {
              assert.ok(record >= 0);
              assert.ok(![...model.values()].includes(record));
              table.commit(record, LIVE_UDP);
              model.set(name, record);
            }
          } else if (step.do === 'remove') {
            const ref = table.findKey(key);
            assert.equal(ref, model.has(name) ? model.get(name)! * 2 : -1);
            if (ref >= 0) table.remove(ref >> 1);
            model.delete(name);
          } else if (step.do === 'abandon') {
            const record = table.create(key, reversed(key, step.key.space + 10));
            if (record >= 0) {
              assert.equal(table.find(viewOf(key), step.key.space), record * 2);
              table.remove(record);
            }
          } else {
            table.create(key, reversed(key, step.key.space + 10));
            table = new FlowTable(memory);
            assert.equal(table.discarded, 0);
          }
          assert.equal(table.live, model.size);
        }
        assert.deepEqual(table.verify(), []);
        for (const [name, record] of model) {
          const key = Object.assign(new FlowKey(), JSON.parse(name)) as FlowKey;
          assert.equal(table.find(viewOf(key), key.meta >>> 16), record * 2 + ORIGINATOR);
          const reply = reversed(key, (key.meta >>> 16) + 10);
          assert.equal(table.find(viewOf(reply), reply.meta >>> 16), record * 2 + REPLY);
        }
      },
    ),
    { seed: 20260101, numRuns: 400 },
  );
});

test('a table that is filled and emptied many times keeps its index', () => {
  const table = new FlowTable(makeMemory(300, [-7, 0x12345678]));
  const live: number[] = [];
  let random = 1;
  for (let step = 0; step < 20_000; step++) {
    random = (Math.imul(random, 1103515245) + 12345) | 0;
    if (live.length === 300 || (live.length > 0 && (random >>> 16) % 2 === 0)) {
      const [record] = live.splice((random >>> 8) % live.length, 1);
      table.remove(record!);
    } else {
      const key = makeKey(1 + (step & 1), IPV4, step & 0xffffff, 1);
      live.push(addFlow(table, key));
    }
    if (step % 2000 === 0) assert.deepEqual(table.verify(), []);
  }
  assert.deepEqual(table.verify(), []);
  assert.equal(table.live, live.length);
});

function addSeen(table: FlowTable, host: number, timeoutClass: number, seenMs: number): number {
  const record = addFlow(table, makeKey(1, IPV4, host, 1), FLOW_LIVE | (timeoutClass << 8));
  table.words[record * RECORD_WORDS + SHARED_LAST_SEEN] = seenMs;
  table.words[record * RECORD_WORDS + SHARED_LAST_ORIGINATOR] = seenMs;
  return record;
}

function expired(table: FlowTable, nowMs: number, records = table.capacity): number[] {
  const found: number[] = [];
  table.sweep(nowMs, records, (record) => found.push(record));
  return found;
}

test('a sweep reports flows that were idle for their class, also across the wrap of time', () => {
  for (const nowMs of [0, 60_000, 0x7fffffff, -0x80000000, -0x80000000 + 10_000]) {
    const table = new FlowTable(makeMemory(10));
    const ago = (ms: number) => (nowMs - ms) | 0;
    const stale = addSeen(table, 1, TIMEOUT_ICMP, ago(60_000));
    addSeen(table, 2, TIMEOUT_ICMP, ago(59_999));
    addSeen(table, 3, TIMEOUT_TCP_ESTABLISHED, ago(7_439_999));
    const old = addSeen(table, 4, TIMEOUT_TCP_ESTABLISHED, ago(7_440_000));
    addSeen(table, 5, TIMEOUT_ICMP, ago(-500));
    const ages = addSeen(table, 6, TIMEOUT_TCP_ESTABLISHED, ago(2_400_000_000));
    assert.deepEqual(expired(table, nowMs), [stale, old, ages]);
  }
});

test('a flow with a translation is refreshed by its originator only, unless it is TCP', () => {
  const table = new FlowTable(makeMemory(10));
  const udp = addSeen(table, 1, TIMEOUT_UDP_ANSWERED, 0);
  const untranslated = addSeen(table, 2, TIMEOUT_UDP_ANSWERED, 0);
  const tcp = addSeen(table, 3, TIMEOUT_TCP_ESTABLISHED, 0);
  for (const record of [udp, untranslated, tcp]) {
    table.words[record * RECORD_WORDS + SHARED_LAST_SEEN] = 7_400_000;
  }
  for (const record of [udp, tcp]) table.words[record * RECORD_WORDS + SHARED_TRANSLATION] = 1;
  assert.deepEqual(expired(table, 7_500_000), [udp]);
});

test('sweeps go round in parts, and flows may be removed meanwhile', () => {
  const table = new FlowTable(makeMemory(10));
  for (let host = 0; host < 6; host++) addSeen(table, host, TIMEOUT_ICMP, 0);
  const seen: number[] = [];
  for (let part = 0; part < 4; part++) {
    table.sweep(100_000, 3, (record) => {
      seen.push(record);
      table.remove(record);
    });
  }
  assert.deepEqual(seen, [0, 1, 2, 3, 4, 5]);
  assert.equal(table.live, 0);
  assert.deepEqual(table.verify(), []);
});

test('idle times shrink as the table fills', () => {
  const table = new FlowTable(makeMemory(10));
  for (let host = 0; host < 6; host++) addSeen(table, host, TIMEOUT_ICMP, 0);
  assert.equal(expired(table, 59_999).length, 0);
  for (let host = 6; host < 10; host++) addSeen(table, host, TIMEOUT_ICMP, 0);
  assert.equal(expired(table, 59_999).length, 10);
  assert.equal(expired(table, 4_999).length, 0);
});

test('flush picks by predicate; listing needs the records only', () => {
  const memory = makeMemory(6);
  const table = new FlowTable(memory);
  for (let host = 0; host < 5; host++) addFlow(table, makeKey(host < 3 ? 1 : 2, IPV4, host, 1));
  const bySpace = (record: number) => table.words[record * RECORD_WORDS + KEY_META]! >>> 16 === 1;
  assert.equal(
    table.flush(bySpace, (record) => table.remove(record)),
    3,
  );
  const key = new FlowKey();
  const hosts: number[] = [];
  for (let record = -1; ; ) {
    record = nextLiveRecord(memory.records, memory.capacity, record);
    if (record < 0) break;
    readKey(memory.records, record, ORIGINATOR, key);
    hosts.push(key.src3 & 0xff);
  }
  assert.deepEqual(hosts, [3, 4]);
  assert.deepEqual(table.verify(), []);
});

test('looking up, making and removing flows allocates nothing', () => {
  v8.setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc') as () => void;
  const table = new FlowTable(makeMemory(64));
  const keys = [makeKey(1, IPV4, 1, 1), makeKey(1, IPV6, 2, 1)];
  const views = keys.map(viewOf);
  const fresh = makeKey(1, IPV4, 3, 1);
  const freshReply = reversed(fresh, 9);
  for (const key of keys) addFlow(table, key);
  const ignore = () => {};
  const run = (times: number) => {
    let found = 0;
    for (let time = 0; time < times; time++) {
      found += table.find(views[time & 1]!, 1) >= 0 ? 1 : 0;
      found += table.findReversed(views[time & 1]!, 9) >= 0 ? 1 : 0;
      const record = table.create(fresh, freshReply);
      table.commit(record, LIVE_UDP);
      table.remove(record);
      if ((time & 63) === 0) table.sweep(0, 16, ignore);
    }
    return found;
  };
  run(50_000);
  collect();
  const before = process.memoryUsage().heapUsed;
  assert.equal(run(100_000), 200_000);
  const grown = process.memoryUsage().heapUsed - before;
  assert.ok(grown < 200_000, `${grown} bytes for 100 000 flows`);
});
