import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostPrefix, outermost, parsePrefix } from './prefix.ts';

test('prefixes become words and masks in host order', () => {
  assert.deepEqual(parsePrefix('10.1.2.3/12').words, [0x0a000000]);
  assert.deepEqual(parsePrefix('10.1.2.3/12').masks, [0xfff00000]);
  assert.deepEqual(parsePrefix('0.0.0.0/0').masks, [0]);
  assert.deepEqual(hostPrefix('255.1.2.3').words, [0xff010203]);
  assert.deepEqual(parsePrefix('2001:db8:ff00::1/36').words, [0x20010db8, 0xf0000000, 0, 0]);
  assert.deepEqual(parsePrefix('2001:db8:ff00::1/36').masks, [0xffffffff, 0xf0000000, 0, 0]);
  assert.deepEqual(hostPrefix('::ffff:192.0.2.1').words, [0, 0, 0xffff, 0xc0000201]);
  assert.deepEqual(hostPrefix('1:2:3:4:5:6:7:8').words, [0x10002, 0x30004, 0x50006, 0x70008]);
  assert.deepEqual(hostPrefix('::').words, [0, 0, 0, 0]);
});

for (const text of ['10.0.0.0', '10.0.0.0/33', '10.0.0/8', 'fe80::1%eth0/128', '::/129', 'x/1']) {
  test(`${text} is no prefix`, () => assert.throws(() => parsePrefix(text), /is not a prefix/));
}

test('what lies in another prefix, or stands twice, is left out', () => {
  const texts = ['10.0.0.0/8', '10.1.0.0/16', '192.0.2.1/32', '192.0.2.1/32', '192.0.2.0/31', '11.0.0.0/8'];
  assert.deepEqual(
    outermost(texts.map(parsePrefix)).map(({ text }) => text),
    ['10.0.0.0/8', '192.0.2.0/31', '11.0.0.0/8'],
  );
});
