import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { buildPacket, placePacket } from './build.ts';
import { readHalf, readWord, swap16, writeHalf, writeWord } from './byte-order.ts';
import {
  addressesSum,
  addressWordsSum,
  addSums,
  adjustChecksum,
  adjustPartialChecksum,
  adjustUdpChecksum,
  checksumDelta,
  checksumOf,
  completeChecksum,
  fillTransportChecksum,
  foldSum,
  pseudoHeaderSum,
  reverseDelta,
  sumBytes,
  sumMemory,
  transportChecksumOffset,
  verifyTransportChecksum,
  wordSum,
} from './checksum.ts';
import { DECODE_OK, decode } from './decode.ts';
import { FrameMemory } from './frame.ts';
import { GSO_NONE, PacketView } from './packet.ts';

const SEED = { seed: 20240611 };

/** The definition (RFC 1071, 1), in network order and arithmetic that cannot overflow. */
function plainSum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes[at] * 256 + (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}

test('the example of RFC 1071, section 3', () => {
  const memory = new FrameMemory(new ArrayBuffer(16));
  memory.bytes.set([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0);
  assert.equal(swap16(sumMemory(memory, 0, 8)), 0xddf2);
  assert.equal(swap16(sumBytes(memory.bytes, 0, 8)), 0xddf2);
});

test('the example of RFC 1624, section 4: a checksum that becomes zero', () => {
  const delta = checksumDelta(swap16(0x5555), swap16(0x3285));
  assert.equal(swap16(adjustChecksum(swap16(0xdd2f), delta)), 0x0000);
});

test('every offset and length gives the sum of the definition, and reads nothing else', () => {
  const memory = new FrameMemory(new ArrayBuffer(256));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(15), fc.nat(255), (data, offset, guard) => {
      memory.bytes.fill(guard);
      memory.bytes.set(data, offset);
      const expected = plainSum(data);
      assert.equal(swap16(sumMemory(memory, offset, data.length)), expected);
      assert.equal(swap16(sumBytes(memory.bytes, offset, data.length)), expected);
    }),
    { ...SEED, numRuns: 1000 },
  );
});

test('64 KiB of ones do not overflow', () => {
  const memory = new FrameMemory(new ArrayBuffer(70000));
  memory.bytes.fill(0xff);
  assert.equal(sumMemory(memory, 1, 69998), 0xffff);
  assert.equal(sumBytes(memory.bytes, 1, 69998), 0xffff);
});

test('folding takes an accumulator as unsigned', () => {
  assert.equal(foldSum(-1), 0xffff);
  assert.equal(foldSum(0x1ffff), 1);
  assert.equal(foldSum(0), 0);
  assert.equal(wordSum(0x00010002), 3);
  assert.equal(addSums(0xffff, 0xffff), 0xffff);
  assert.equal(addressWordsSum(-1, -1, -1, -1), 0xffff);
});

test('an incremental change equals a full recomputation', () => {
  const memory = new FrameMemory(new ArrayBuffer(128));
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 24, maxLength: 60 }),
      fc.array(fc.tuple(fc.nat(4), fc.integer()), { minLength: 1, maxLength: 6 }),
      (data, changes) => {
        // The checksum stands in the first two bytes; words behind it are replaced one after the other.
        data[2] = data[2] === 0 ? 1 : data[2];
        memory.bytes.fill(0);
        memory.bytes.set(data, 0);
        writeHalf(memory.bytes, 0, 0);
        let checksum = checksumOf(sumMemory(memory, 0, data.length));
        let total = 0xffff;
        for (const [index, value] of changes) {
          const at = 4 + index * 4;
          const delta = checksumDelta(wordSum(readWord(memory.bytes, at)), wordSum(value));
          writeWord(memory.bytes, at, value);
          checksum = adjustChecksum(checksum, delta);
          total = addSums(total, delta);
        }
        assert.equal(checksum, checksumOf(sumMemory(memory, 0, data.length)));
        // All changes at once, and back again.
        const before = adjustChecksum(checksum, reverseDelta(total));
        assert.equal(adjustChecksum(before, total), checksum);
      },
    ),
    { ...SEED, numRuns: 1000 },
  );
});

test('a delta is never 0, not even where nothing changes', () => {
  assert.equal(checksumDelta(0x1234, 0x1234), 0xffff);
  assert.equal(checksumDelta(0xffff, 0), 0xffff);
  assert.equal(reverseDelta(0xffff), 0xffff);
  assert.equal(adjustChecksum(0x4321, 0xffff), 0x4321);
});

test('UDP keeps "no checksum" and never computes one', () => {
  assert.equal(adjustUdpChecksum(0, 0x1234), 0);
  const delta = checksumDelta(swap16(0x5555), swap16(0x3285));
  assert.equal(adjustUdpChecksum(swap16(0xdd2f), delta), 0xffff);
});

const ADDRESSES = [
  ['10.0.0.1', '192.0.2.9'],
  ['2001:db8::1', 'fd00::2:3'],
] as const;

function view(packet: Uint8Array, frameOffset = 8): PacketView {
  const memory = new FrameMemory(new ArrayBuffer(70000));
  const result = new PacketView(memory);
  const offset = placePacket(memory, frameOffset, packet);
  assert.equal(decode(result, offset, packet.length), DECODE_OK);
  return result;
}

function samples(source: string, destination: string, payload: Uint8Array): Uint8Array[] {
  const isIpv4 = source.includes('.');
  return [
    { kind: 'tcp', sourcePort: 1, destinationPort: 2, flags: 0x10, payload } as const,
    { kind: 'udp', sourcePort: 1, destinationPort: 2, payload } as const,
    { kind: 'icmp', type: isIpv4 ? 8 : 128, rest: 0x12340001, payload } as const,
  ].map((transport) => buildPacket({ source, destination, transport }));
}

test('transport checksums: built ones verify, any flipped bit of the segment does not', () => {
  for (const [source, destination] of ADDRESSES) {
    for (const payload of [new Uint8Array(0), Uint8Array.of(1), Uint8Array.of(1, 2, 3, 4, 5, 6, 7)]) {
      for (const packet of samples(source, destination, payload)) {
        const packetView = view(packet);
        assert.equal(verifyTransportChecksum(packetView), true);
        for (let at = packetView.l4Offset; at < packetView.offset + packetView.length; at++) {
          // Not UDP's length: the view was made from the old one.
          if (packetView.protocol === 17 && (at - packetView.l4Offset) >>> 1 === 2) continue;
          packetView.bytes[at] ^= 0x10;
          assert.equal(verifyTransportChecksum(packetView), false);
          packetView.bytes[at] ^= 0x10;
        }
      }
    }
  }
});

test('filling restores what was built, and completing makes the same of a partial checksum', () => {
  for (const [source, destination] of ADDRESSES) {
    for (const packet of samples(source, destination, Uint8Array.of(9, 8, 7))) {
      const packetView = view(packet);
      const offset = transportChecksumOffset(packetView.protocol);
      const at = packetView.l4Offset + offset;
      const right = readHalf(packetView.bytes, at);
      writeHalf(packetView.bytes, at, 0xdead);
      fillTransportChecksum(packetView);
      assert.equal(readHalf(packetView.bytes, at), right);
      if (packetView.protocol === 1) continue;

      const transportBytes = packetView.offset + packetView.length - packetView.l4Offset;
      writeHalf(packetView.bytes, at, pseudoHeaderSum(packetView, transportBytes));
      assert.equal(verifyTransportChecksum(packetView), false);
      packetView.checksumStart = packetView.l4Offset;
      packetView.checksumOffset = offset;
      assert.equal(verifyTransportChecksum(packetView), true, 'a partial checksum is taken as right');
      completeChecksum(packetView);
      assert.equal(packetView.checksumStart, 0);
      assert.equal(packetView.checksumOffset, 0);
      assert.equal(packetView.gsoType, GSO_NONE);
      assert.equal(readHalf(packetView.bytes, at), right);
      completeChecksum(packetView);
      assert.equal(readHalf(packetView.bytes, at), right, 'nothing to do the second time');
    }
  }
});

test('a computed UDP checksum of 0 is written as 0xffff', () => {
  // The payload is chosen so that everything but the checksum sums to 0xffff.
  const spec = { source: '10.0.0.1', destination: '10.0.0.2' };
  const transport = { kind: 'udp', sourcePort: 1, destinationPort: 2, payload: new Uint8Array(2) } as const;
  const packet = buildPacket({ ...spec, transport });
  const first = view(packet);
  const checksum = readHalf(first.bytes, first.l4Offset + 6);
  writeHalf(first.bytes, first.payloadOffset, checksum);
  fillTransportChecksum(first);
  assert.equal(readHalf(first.bytes, first.l4Offset + 6), 0xffff);
  assert.equal(verifyTransportChecksum(first), true);

  const partial = readHalf(first.bytes, first.l4Offset + 6);
  writeHalf(first.bytes, first.l4Offset + 6, pseudoHeaderSum(first, 10));
  first.checksumStart = first.l4Offset;
  first.checksumOffset = 6;
  completeChecksum(first);
  assert.equal(readHalf(first.bytes, first.l4Offset + 6), partial);
});

test('UDP without a checksum is right in IPv4 and wrong in IPv6', () => {
  const transport = { kind: 'udp', sourcePort: 1, destinationPort: 2, hasChecksum: false } as const;
  const [ipv4, ipv6] = ADDRESSES.map(([source, destination]) =>
    view(buildPacket({ source, destination, transport })),
  );
  assert.equal(verifyTransportChecksum(ipv4 as PacketView), true);
  assert.equal(verifyTransportChecksum(ipv6 as PacketView), false);
});

test('a partial checksum follows a change of addresses', () => {
  const memory = new FrameMemory(new ArrayBuffer(256));
  const packetView = new PacketView(memory);
  const transport = { kind: 'tcp', sourcePort: 1, destinationPort: 2, flags: 2 } as const;
  const build = (source: string) => buildPacket({ source, destination: '192.0.2.9', transport });
  decode(packetView, placePacket(memory, 8, build('10.0.0.1')), 40);
  const oldSum = addressesSum(packetView);
  const oldPartial = pseudoHeaderSum(packetView, 20);
  decode(packetView, placePacket(memory, 8, build('100.64.200.255')), 40);
  const delta = checksumDelta(oldSum, addressesSum(packetView));
  assert.equal(adjustPartialChecksum(oldPartial, delta), pseudoHeaderSum(packetView, 20));
});
