import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameList } from './frame.ts';

test('a list takes no more than it has room for, and discards the frames of one device', () => {
  const list = new FrameList(5);
  const devices = [3, 1, 3, 2, 3];
  for (const [index, device] of devices.entries()) {
    assert.equal(list.push(index * 64, 60 + index, device, index), true);
  }
  assert.equal(list.push(0, 60, 1, 0), false);
  assert.equal(list.discard(3), 3);
  assert.equal(list.count, 2);
  const left = [0, 1].map((i) => [list.offset(i), list.lengthBytes(i), list.device(i), list.flags(i)]);
  assert.deepEqual(left, [
    [64, 61, 1, 1],
    [192, 63, 2, 3],
  ]);
  assert.equal(list.discard(3), 0);
  assert.equal(list.discard(2), 1);
  assert.equal(list.discard(1), 1);
  assert.equal(list.count, 0);
});
