import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COUNTERS_BYTES } from './counters.ts';
import { FlowIndex } from './flow-index.ts';
import { FlowMemory, type FlowMemoryOptions, flowMemoryBytes, MAX_FLOWS } from './flow-memory.ts';
import { heldTupleWords } from './held-tuples.ts';
import { RECORD_BYTES, RECORD_WORDS } from './layout.ts';
import { CHUNK_SLOTS, translationWords } from './translation-layout.ts';

const BOOT = '6e0f1c52-8a2b-4f0d-9c3e-7d5b1a2f4e60';
const OPTIONS: FlowMemoryOptions = { capacity: 10, translationBytes: 100, heldTupleBytes: 64, bootId: BOOT };

function make(options: FlowMemoryOptions = OPTIONS): { buffer: ArrayBuffer; memory: FlowMemory } {
  const buffer = new ArrayBuffer(flowMemoryBytes(options));
  return { buffer, memory: FlowMemory.create(buffer, options) };
}

function refusal(buffer: ArrayBuffer, expected?: FlowMemoryOptions): string {
  const result = FlowMemory.open(buffer, expected);
  return result.usable ? 'usable' : result.refusal;
}

test('sections are aligned to cache lines, do not overlap and fill the memory', () => {
  const { buffer, memory } = make();
  const sections = [memory.counters, memory.records, memory.translation, memory.heldTuples];
  let end = 4096;
  for (const section of sections) {
    assert.equal(section.byteOffset % 64, 0);
    assert.equal(section.byteOffset, end);
    end = section.byteOffset + section.byteLength;
  }
  assert.equal(end, buffer.byteLength);
  assert.equal(memory.translation.byteLength, 128);
  assert.equal(memory.records.length, 10 * RECORD_WORDS);
  assert.equal(memory.recordFloats.byteOffset, memory.records.byteOffset);
  assert.equal(memory.recordFloats.byteLength, memory.records.byteLength);
});

test('what one opening writes the next one reads', () => {
  const { buffer, memory } = make();
  memory.records[RECORD_WORDS * 9 + 47] = -5;
  memory.lastAliveMs = -2_000_000_000;
  memory.newestFlowId = 77;
  const result = FlowMemory.open(buffer, OPTIONS);
  assert.ok(result.usable);
  assert.equal(result.memory.records[RECORD_WORDS * 9 + 47], -5);
  assert.equal(result.memory.lastAliveMs, -2_000_000_000);
  assert.equal(result.memory.newestFlowId, 77);
  assert.equal(result.memory.hashSeed0, memory.hashSeed0);
  assert.equal(result.memory.hashSeed1, memory.hashSeed1);
});

test('a reader takes the sizes from the file', () => {
  const { buffer } = make();
  const result = FlowMemory.open(buffer);
  assert.ok(result.usable);
  assert.equal(result.memory.capacity, 10);
  assert.equal(result.memory.translation.byteLength, 128);
});

test('opening writes nothing', () => {
  const { buffer } = make();
  const before = Buffer.from(buffer.slice(0));
  FlowMemory.open(buffer, OPTIONS);
  FlowMemory.open(buffer, { ...OPTIONS, capacity: 11 });
  assert.ok(before.equals(Buffer.from(buffer)));
});

test('seeds differ from memory to memory unless they are given', () => {
  assert.notEqual(make().memory.hashSeed0, make().memory.hashSeed0);
  const given = make({ ...OPTIONS, hashSeed: [3, -4] }).memory;
  assert.deepEqual([given.hashSeed0, given.hashSeed1], [3, -4]);
});

test('creating clears whatever was there', () => {
  const { buffer, memory } = make();
  memory.records.fill(-1);
  memory.counters.fill(9);
  const again = FlowMemory.create(buffer, OPTIONS);
  assert.ok(again.records.every((word) => word === 0));
  assert.ok(again.counters.every((value) => value === 0));
});

test('what cannot be used is refused by name', () => {
  const { buffer } = make();
  assert.equal(refusal(new ArrayBuffer(100)), 'truncated');
  assert.equal(refusal(new ArrayBuffer(buffer.byteLength)), 'not_flow_memory');
  assert.equal(refusal(buffer.slice(0, buffer.byteLength - 1)), 'truncated');
  assert.equal(refusal(buffer, { ...OPTIONS, capacity: 11 }), 'other_size');
  assert.equal(refusal(buffer, { ...OPTIONS, translationBytes: 129 }), 'other_size');
  assert.equal(refusal(buffer, { ...OPTIONS, heldTupleBytes: 0 }), 'other_size');
  const otherBoot = '6e0f1c52-8a2b-4f0d-9c3e-7d5b1a2f4e61';
  assert.equal(refusal(buffer, { ...OPTIONS, bootId: otherBoot }), 'other_boot');
  for (const word of [1, 3, 4]) {
    const changed = buffer.slice(0);
    new Int32Array(changed)[word]! += 1;
    assert.equal(refusal(changed, OPTIONS), 'other_layout', `word ${word}`);
  }
  for (const [word, value] of [
    [2, -1],
    [2, 0],
    [2, MAX_FLOWS + 1],
    [5, -64],
    [6, 3],
  ] as const) {
    const changed = buffer.slice(0);
    new Int32Array(changed)[word] = value;
    assert.equal(refusal(changed), 'other_layout', `word ${word} = ${value}`);
  }
  assert.equal(refusal(buffer, OPTIONS), 'usable');
});

test('a memory whose making was interrupted is none', () => {
  const { buffer } = make();
  new Int32Array(buffer)[0] = 0;
  assert.equal(refusal(buffer, OPTIONS), 'not_flow_memory');
});

test('options that cannot be are errors', () => {
  for (const capacity of [0, -1, 1.5, MAX_FLOWS + 1, Number.NaN]) {
    assert.throws(() => flowMemoryBytes({ ...OPTIONS, capacity }), RangeError);
  }
  assert.throws(() => flowMemoryBytes({ ...OPTIONS, translationBytes: -1 }), RangeError);
  assert.throws(() => make({ ...OPTIONS, bootId: 'yesterday' }), RangeError);
  assert.throws(() => FlowMemory.create(new ArrayBuffer(4096), OPTIONS), RangeError);
});

test('a million flows take at most 256 bytes each, all told', () => {
  const capacity = 1_000_000;
  const sections = {
    translationBytes: translationWords(Math.ceil((0.75 * capacity) / CHUNK_SLOTS)) * 4,
    heldTupleBytes: heldTupleWords(capacity) * 4,
  };
  const mapped = flowMemoryBytes({ capacity, ...sections, bootId: BOOT });
  const index = new FlowIndex(new Int32Array(0), capacity, 1, 1).size * 4;
  assert.equal(RECORD_BYTES, 192);
  assert.ok(COUNTERS_BYTES < 2 * 1024 * 1024);
  assert.ok(index <= 17 * capacity, `${index} bytes of index`);
  assert.ok(mapped + index <= 256 * capacity, `${(mapped + index) / capacity} bytes a flow`);
});
