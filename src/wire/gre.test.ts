import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FrameMemory } from './frame.ts';
import {
  fillGreChecksum,
  GRE_BAD_FLAGS,
  GRE_BAD_VERSION,
  GRE_OK,
  GRE_TRUNCATED,
  GreHeader,
  greHeaderBytes,
  parseGre,
  verifyGreChecksum,
  writeGre,
} from './gre.ts';

const header = new GreHeader();
const parse = (hex: string): number => {
  const bytes = Buffer.from(hex, 'hex');
  return parseGre(bytes, 0, bytes.length, header);
};

test('headers by hand', () => {
  assert.equal(parse('00000800'), GRE_OK);
  assert.deepEqual([header.protocolType, header.headerBytes, header.key, header.sequence], [0x800, 4, 0, 0]);
  assert.equal(parse('200086dd0000002a'), GRE_OK);
  assert.deepEqual([header.hasKey, header.key, header.headerBytes], [1, 42, 8]);
  assert.equal(parse('10000800fffffffe'), GRE_OK);
  assert.deepEqual([header.hasKey, header.key, header.hasSequence, header.sequence], [0, 0, 1, -2]);
  assert.equal(parse('b0000800aaaa0000000000070000000900'), GRE_OK);
  assert.deepEqual([header.hasChecksum, header.key, header.sequence, header.headerBytes], [1, 7, 9, 16]);
});

test('what is refused, and what is ignored (RFC 2784, 2.2)', () => {
  const expected = new Map([
    [1, GRE_BAD_FLAGS],
    [4, GRE_BAD_FLAGS],
    [5, GRE_BAD_FLAGS],
    [13, GRE_BAD_VERSION],
    [14, GRE_BAD_VERSION],
    [15, GRE_BAD_VERSION],
  ]);
  for (let bit = 0; bit < 16; bit++) {
    const flags = (0x8000 >> bit).toString(16).padStart(4, '0');
    assert.equal(parse(`${flags}0800${'00'.repeat(12)}`), expected.get(bit) ?? GRE_OK, `bit ${bit}`);
  }
  assert.equal(parse('3001880b0000000000000000'), GRE_BAD_VERSION, 'PPTP');
});

test('any set of options, written and read back, cut at every length', () => {
  const memory = new FrameMemory(new ArrayBuffer(64));
  const written = new GreHeader();
  const bit = fc.nat(1);
  fc.assert(
    fc.property(
      bit,
      bit,
      bit,
      fc.integer(),
      fc.integer(),
      fc.nat(0xffff),
      (checksum, key, sequence, a, b, type) => {
        memory.bytes.fill(0xff);
        written.protocolType = type;
        written.hasChecksum = checksum;
        written.hasKey = key;
        written.hasSequence = sequence;
        written.key = a;
        written.sequence = b;
        const length = writeGre(memory.bytes, 4, written);
        assert.equal(length, greHeaderBytes(checksum, key, sequence));
        assert.deepEqual([memory.bytes[3], memory.bytes[4 + length]], [0xff, 0xff]);
        assert.equal(parseGre(memory.bytes, 4, length, header), GRE_OK);
        assert.deepEqual(
          { ...header },
          { ...written, key: key === 0 ? 0 : a, sequence: sequence === 0 ? 0 : b, headerBytes: length },
        );
        for (let cut = 0; cut < length; cut++) {
          assert.equal(parseGre(memory.bytes, 4, cut, header), GRE_TRUNCATED);
        }
        if (checksum === 0) return;
        fillGreChecksum(memory, 4, 40);
        assert.ok(verifyGreChecksum(memory, 4, 40));
        assert.equal(parseGre(memory.bytes, 4, length, header), GRE_OK);
        assert.equal(header.key, key === 0 ? 0 : a, 'only the field was changed');
        memory.bytes[43] ^= 1;
        assert.equal(verifyGreChecksum(memory, 4, 40), false);
      },
    ),
    { seed: 20240614, numRuns: 500 },
  );
});
