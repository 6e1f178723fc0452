import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addFlow, makeKey, makeMemory, reversed, viewOf } from '../../test/support/table-flows.ts';
import { IPV4, IPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import {
  FLOW_LIVE,
  KEY_META,
  KEY_SRC0,
  keyMeta,
  RECORD_WORDS,
  SHARED_ID,
  SHARED_LAST_ORIGINATOR,
  SHARED_LAST_SEEN,
  SHARED_STATE,
  SHARED_TRANSLATION,
} from './layout.ts';
import { FlowTable } from './table.ts';
import { TIMEOUT_CLASSES, TIMEOUT_ICMP, TIMEOUT_TCP_ESTABLISHED, TIMEOUT_UDP_ANSWERED } from './timeouts.ts';

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
