import assert from 'node:assert/strict';
import test from 'node:test';
import { FRAME_HEADROOM_BYTES, FrameMemory } from '../../wire/frame.ts';
import { Scratch } from './scratch.ts';

test('frames are aligned as received ones are, with headroom, and do not overlap', () => {
  for (const base of [0, 4, 8, 16, 20]) {
    const scratch = new Scratch(new FrameMemory(new ArrayBuffer(8192)), base, 4096);
    let end = base;
    for (const bytes of [1, 42, 24, 100, 7]) {
      const frame = scratch.allocate(bytes);
      assert.equal(frame & 15, 8);
      assert.ok(frame - FRAME_HEADROOM_BYTES >= end, `headroom of ${frame} begins before ${end}`);
      end = frame + bytes;
    }
    assert.ok(end <= base + 4096);
  }
});

test('a full region answers -1, and a reset makes all of it free again', () => {
  const scratch = new Scratch(new FrameMemory(new ArrayBuffer(1024)), 0, 1024);
  const first = scratch.allocate(800);
  assert.ok(first > 0);
  assert.equal(scratch.allocate(200), -1);
  scratch.reset();
  assert.equal(scratch.allocate(800), first);
});

test('what is reserved is never allocated', () => {
  const scratch = new Scratch(new FrameMemory(new ArrayBuffer(1024)), 0, 1024);
  const reserved = scratch.reserve(500);
  assert.equal(reserved & 15, 0);
  assert.ok(reserved + 500 <= 1024);
  scratch.reset();
  const frame = scratch.allocate(300);
  assert.ok(frame > 0 && frame + 300 <= reserved);
  assert.equal(scratch.allocate(300), -1);
  assert.equal(scratch.reserve(600), -1);
});
