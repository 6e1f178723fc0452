import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type Address,
  addressEquals,
  classifyAddress,
  formatAddress,
  formatAddressWords,
  formatPrefix,
  isPrivateAddress,
  type Prefix,
  parseAddress,
  parseInterfaceAddress,
  parseIpv4,
  parsePrefix,
  prefixContains,
  prefixContainsPrefix,
  prefixesOverlap,
  prefixMaskWord,
  prefixOf,
  readAddress,
  writeAddress,
} from './address.ts';
import { IPV4, IPV6 } from './packet.ts';

const SEED = { seed: 20240612 };

function address(text: string): Address {
  const parsed = parseAddress(text);
  assert.ok(parsed !== undefined, text);
  return parsed;
}

function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  assert.ok(parsed.ok, text);
  return parsed.prefix;
}

const anyAddress: fc.Arbitrary<Address> = fc.oneof(
  fc.integer().map((word) => ({ family: IPV4, words: Int32Array.of(0, 0, 0, word) })),
  fc
    .array(fc.oneof(fc.constant(0), fc.integer()), { minLength: 4, maxLength: 4 })
    .map((words) => ({ family: IPV6, words: Int32Array.from(words) })),
);

test('words are in wire order, IPv4 in the last one', () => {
  assert.deepEqual(address('192.0.2.1').words, Int32Array.of(0, 0, 0, 0x010200c0));
  const words = address('2001:db8::ff').words;
  assert.deepEqual(
    new Uint8Array(words.buffer),
    Uint8Array.of(0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), 0xff),
  );
});

test('text forms of RFC 5952 and RFC 4291', () => {
  const forms: [string, string][] = [
    ['2001:0db8:0000:0000:0001:0000:0000:0001', '2001:db8::1:0:0:1'],
    ['2001:DB8:0:0:8:800:200C:417A', '2001:db8::8:800:200c:417a'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['FF01:0:0:0:0:0:0:101', 'ff01::101'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['::FFFF:129.144.52.38', '::ffff:129.144.52.38'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['255.255.255.255', '255.255.255.255'],
  ];
  for (const [text, shortest] of forms) assert.equal(formatAddress(address(text)), shortest);
});

test('what is no address', () => {
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4 ',
    '0x1.2.3.4',
    '1..2.3',
    ':',
    ':::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '1::2::3',
    ':1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:',
    '12345::',
    'g::',
    'fe80::1%eth0',
    '::1.2.3',
    '1.2.3.4::',
    '::1.2.3.4:5',
    '[::1]',
  ]) {
    assert.equal(parseAddress(text), undefined, text);
  }
  assert.equal(parseIpv4('::1'), undefined);
});

test('parsing agrees with the platform about every text, and reads back what it wrote', () => {
  const piece = fc.oneof(
    fc.constantFrom(':', '::', '.', '0', 'ffff', '1', '255', '256', '1.2.3.4', 'a', '00'),
    fc.string({ maxLength: 2 }),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const text = pieces.join('');
      if (text.includes('%')) return;
      assert.equal(parseAddress(text) !== undefined, isIPv4(text) || isIPv6(text), text);
    }),
    { ...SEED, numRuns: 3000 },
  );
  fc.assert(
    fc.property(anyAddress, (original) => {
      const text = formatAddress(original);
      assert.ok(addressEquals(address(text), original), text);
      const bytes = new Uint8Array(17);
      assert.equal(writeAddress(bytes, 1, original), original.family === IPV4 ? 4 : 16);
      assert.ok(addressEquals(readAddress(bytes, 1, original.family), original));
      const [a, b, c, d] = original.words as unknown as [number, number, number, number];
      assert.equal(formatAddressWords(original.family, a, b, c, d), text);
      // The URL parser writes RFC 5952 too (but mapped addresses in hexadecimal).
      if (original.family === IPV6 && !text.includes('.')) {
        assert.equal(new URL(`http://[${text}]/`).hostname, `[${text}]`);
      }
    }),
    { ...SEED, numRuns: 1000 },
  );
});

test('prefixes say what is wrong with them', () => {
  const wrong: [string, string][] = [
    ['10.0.0.0', 'no_length'],
    ['10.0.0/8', 'bad_address'],
    ['10.0.0.0/33', 'bad_length'],
    ['10.0.0.0/-1', 'bad_length'],
    ['10.0.0.0/', 'bad_length'],
    ['10.0.0.0/08', 'bad_length'],
    ['10.0.0.0/8/8', 'bad_length'],
    ['::/129', 'bad_length'],
    ['10.0.1.0/8', 'host_bits'],
    ['2001:db8::1/64', 'host_bits'],
  ];
  for (const [text, code] of wrong) {
    const result = parsePrefix(text);
    assert.equal(result.ok ? 'ok' : result.code, code, text);
  }
  const hostBits = parsePrefix('10.0.1.7/23');
  assert.ok(!hostBits.ok);
  assert.equal(hostBits.message, '"10.0.1.7/23" has host bits set: the prefix is "10.0.0.0/23"');
  for (const text of ['0.0.0.0/0', '10.0.0.0/8', '192.0.2.1/32', '::/0', 'fd00::/8', '2001:db8::1/128']) {
    assert.equal(formatPrefix(prefix(text)), text);
  }
});

test('an interface address keeps its host bits', () => {
  const result = parseInterfaceAddress('169.254.240.1/31');
  assert.ok(result.ok);
  assert.equal(formatAddress(result.address), '169.254.240.1');
  assert.equal(formatPrefix(result.prefix), '169.254.240.0/31');
  assert.equal(parseInterfaceAddress('fd00:a::1').ok, false);
});

/** The first `length` bits of an address as text of ones and zeros. */
function bitsOf(value: Address, length: number): string {
  const bytes = new Uint8Array(16);
  const count = writeAddress(bytes, 0, value);
  const bits = Array.from(bytes.subarray(0, count), (byte) => byte.toString(2).padStart(8, '0')).join('');
  return bits.slice(0, length);
}

test('containment and overlap are about leading bits', () => {
  fc.assert(
    fc.property(anyAddress, fc.nat(128), fc.nat(128), fc.nat(127), (base, anyA, anyB, flipped) => {
      const bits = base.family === IPV4 ? 32 : 128;
      const lengthA = anyA % (bits + 1);
      const lengthB = anyB % (bits + 1);
      const other = { family: base.family, words: Int32Array.from(base.words) };
      const bytes = new Uint8Array(other.words.buffer, base.family === IPV4 ? 12 : 0);
      const bit = flipped % bits;
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (0x80 >> (bit & 7));
      const a = prefixOf(base, lengthA);
      const b = prefixOf(other, lengthB);
      const shorter = Math.min(lengthA, lengthB);
      assert.equal(prefixContains(a, other), bitsOf(base, lengthA) === bitsOf(other, lengthA));
      assert.equal(prefixesOverlap(a, b), bitsOf(base, shorter) === bitsOf(other, shorter));
      assert.equal(prefixContainsPrefix(a, b), lengthB >= lengthA && prefixesOverlap(a, b));
      assert.ok(prefixContains(a, base));
    }),
    { ...SEED, numRuns: 1000 },
  );
  assert.equal(prefixContains(prefix('0.0.0.0/0'), address('::')), false, 'families do not mix');
  assert.equal(prefixMaskWord(IPV4, 24, 3), 0x00ffffff);
  assert.equal(prefixMaskWord(IPV6, 36, 1), 0x000000f0);
});

test('special purposes', () => {
  const purposes: [string, string][] = [
    ['0.0.0.0', 'unspecified'],
    ['0.0.0.1', 'reserved'],
    ['9.255.255.255', 'global'],
    ['10.0.0.0', 'private'],
    ['10.255.255.255', 'private'],
    ['11.0.0.0', 'global'],
    ['100.63.255.255', 'global'],
    ['100.64.0.0', 'private'],
    ['100.127.255.255', 'private'],
    ['100.128.0.0', 'global'],
    ['127.0.0.1', 'loopback'],
    ['169.253.255.255', 'global'],
    ['169.254.0.1', 'link_local'],
    ['172.15.255.255', 'global'],
    ['172.16.0.0', 'private'],
    ['172.31.255.255', 'private'],
    ['172.32.0.0', 'global'],
    ['192.0.2.7', 'documentation'],
    ['192.167.255.255', 'global'],
    ['192.168.0.0', 'private'],
    ['192.169.0.0', 'global'],
    ['198.51.100.1', 'documentation'],
    ['203.0.113.1', 'documentation'],
    ['223.255.255.255', 'global'],
    ['224.0.0.1', 'multicast'],
    ['239.255.255.255', 'multicast'],
    ['240.0.0.1', 'reserved'],
    ['255.255.255.255', 'broadcast'],
    ['::', 'unspecified'],
    ['::1', 'loopback'],
    ['::2', 'reserved'],
    ['::ffff:10.0.0.1', 'reserved'],
    ['2001:db8::1', 'documentation'],
    ['3fff:fff::1', 'documentation'],
    ['3fff:1000::1', 'global'],
    ['2606:4700::1', 'global'],
    ['fbff::1', 'global'],
    ['fc00::', 'private'],
    ['fdff::1', 'private'],
    ['fe7f::1', 'global'],
    ['fe80::1', 'link_local'],
    ['febf::1', 'link_local'],
    ['fec0::1', 'global'],
    ['ff02::1', 'multicast'],
  ];
  for (const [text, purpose] of purposes) {
    const value = address(text);
    assert.equal(classifyAddress(value), purpose, text);
    const isPrivate = isPrivateAddress(value.family, value.words[0], value.words[3]);
    assert.equal(isPrivate, purpose === 'private', text);
  }
});
