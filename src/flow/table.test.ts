import assert from 'node:assert/strict';
import { test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import fc from 'fast-check';
import { addFlow, LIVE_UDP, makeKey, makeMemory, reversed, viewOf } from '../../test/support/table-flows.ts';
import { IPV4, IPV6, PROTOCOL_ICMP, PROTOCOL_TCP } from '../wire/packet.ts';
import { FlowKey, KEY_META, ORIGINATOR, RECORD_WORDS, REPLY, SHARED_ID } from './layout.ts';
import { nextLiveRecord, readKey } from './record.ts';
import { CREATE_FULL, CREATE_TAKEN, FlowTable } from './table.ts';

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

test('a slot that leads to another key is passed over, whichever word differs', () => {
  // Keys that differ in one word never have the same hash; that they share a tag is too rare to wait for.
  for (const family of [IPV4, IPV6]) {
    const memory = makeMemory(1);
    const table = new FlowTable(memory);
    const key = makeKey(1, family, 5, 1);
    addFlow(table, key);
    const words = family === IPV4 ? [3, 7, 8, 9] : [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    for (const word of words) {
      memory.records[word]! ^= 1;
      assert.equal(table.findKey(key), -1, `word ${word} of family ${family}`);
      memory.records[word]! ^= 1;
      assert.equal(table.findKey(key), 0);
    }
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
