import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  readHalf,
  readInt32,
  readUint16,
  readWord,
  swap16,
  swap32,
  writeHalf,
  writeInt32,
  writeUint16,
  writeWord,
} from './byte-order.ts';

test('host order reads the number, wire order the little-endian load', () => {
  const bytes = Uint8Array.of(0x00, 0x81, 0x02, 0x03, 0xf4);
  assert.equal(readUint16(bytes, 1), 0x8102);
  assert.equal(readInt32(bytes, 1), 0x810203f4 | 0);
  assert.equal(readHalf(bytes, 1), 0x0281);
  assert.equal(readWord(bytes, 1), 0xf4030281 | 0);
  assert.equal(readWord(bytes, 0), new DataView(bytes.buffer).getInt32(0, true));
});

test('writing and reading agree, and swapping leads from one order to the other', () => {
  const bytes = new Uint8Array(8);
  for (const value of [0, 1, 0x7fffffff, -1, -0x80000000, 0x12345678]) {
    writeInt32(bytes, 1, value);
    assert.equal(readInt32(bytes, 1), value);
    assert.equal(swap32(readWord(bytes, 1)), value);
    writeWord(bytes, 3, value);
    assert.equal(readWord(bytes, 3), value);
    assert.equal(swap32(readInt32(bytes, 3)), value);
  }
  for (const value of [0, 1, 0xff00, 0xffff, 0x1234]) {
    writeUint16(bytes, 1, value);
    assert.equal(readUint16(bytes, 1), value);
    assert.equal(swap16(readHalf(bytes, 1)), value);
    writeHalf(bytes, 1, value);
    assert.equal(readHalf(bytes, 1), value);
  }
  assert.equal(swap16(0x7fff1234), 0x3412, 'higher bits do not matter');
});
