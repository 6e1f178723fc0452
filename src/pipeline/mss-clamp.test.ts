import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PacketBench } from '../../test/support/packet-bench.ts';
import {
  hex,
  type PlainEnds,
  plainFragment,
  plainTcp,
  plainUdp,
  problemsOf,
  randomBytes,
  seededRandom,
} from '../../test/support/plain-packets.ts';
import { clampMss } from './mss-clamp.ts';

const SYN = 2;
const ACK = 16;
const ENDS4: PlainEnds = { family: 4, source: [10, 0, 1, 2], destination: [198, 51, 100, 9] };
const ENDS6: PlainEnds = {
  family: 6,
  source: [0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
  destination: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9],
};

function mss(value: number): number[] {
  return [2, 4, value >> 8, value & 255];
}

function segment(ends: PlainEnds, options: readonly number[], flags = SYN): Uint8Array {
  return plainTcp(ends, { sourcePort: 1, destinationPort: 2, sequence: 99, flags, options, data: [1, 2, 3] });
}

describe('MSS clamping', () => {
  it('lowers to MTU - 40 or MTU - 60, and never raises', () => {
    const bench = new PacketBench();
    for (const [ends, mtu, announced, expected] of [
      [ENDS4, 1476, 1460, 1436],
      [ENDS4, 1476, 1437, 1436],
      [ENDS4, 1476, 1436, 1436],
      [ENDS4, 1476, 536, 536],
      [ENDS4, 1476, 65535, 1436],
      [ENDS6, 1476, 1440, 1416],
      [ENDS6, 1476, 1416, 1416],
      [ENDS6, 1280, 8940, 1220],
    ] as const) {
      for (const flags of [SYN, SYN | ACK]) {
        const view = bench.put(segment(ends, mss(announced), flags));
        assert.equal(clampMss(view, mtu), announced !== expected);
        assert.equal(hex(bench.bytesOf(view)), hex(segment(ends, mss(expected), flags)));
      }
    }
  });

  it('mends the checksum wherever among the options the field stands', () => {
    const random = seededRandom(5);
    const bench = new PacketBench();
    for (let round = 0; round < 500; round++) {
      const before = Array(Math.floor(random() * 9)).fill(1);
      const scale = random() < 0.5 ? [3, 3, 7] : [];
      const announced = 1300 + Math.floor(random() * 60_000);
      const rest = [...(random() < 0.5 ? [4, 2] : [])];
      const options = (value: number): number[] => {
        const all = [...before, ...scale, ...mss(value), ...rest];
        while (all.length % 4 !== 0) all.push(0);
        return all;
      };
      const ends = random() < 0.5 ? ENDS4 : ENDS6;
      const view = bench.put(segment(ends, options(announced)));
      const mtu = 600 + Math.floor(random() * 700);
      assert.equal(clampMss(view, mtu), true);
      const bytes = bench.bytesOf(view);
      assert.deepEqual(problemsOf(bytes), []);
      assert.equal(hex(bytes), hex(segment(ends, options(mtu - (ends.family === 4 ? 40 : 60)))));
    }
  });

  it('leaves a partial checksum as it is', () => {
    const bench = new PacketBench();
    const view = bench.put(segment(ENDS4, mss(1460)));
    view.checksumStart = view.l4Offset;
    view.checksumOffset = 16;
    const field = view.l4Offset + 16;
    const before = hex(bench.memory.bytes.slice(field, field + 2));
    assert.equal(clampMss(view, 1400), true);
    assert.equal(hex(bench.memory.bytes.slice(field, field + 2)), before);
    assert.equal(
      bench.memory.bytes[view.l4Offset + 22]! * 256 + bench.memory.bytes[view.l4Offset + 23]!,
      1360,
    );
  });

  it('changes nothing without the option, behind an end or a broken option, or in other packets', () => {
    const bench = new PacketBench();
    for (const packet of [
      segment(ENDS4, []),
      segment(ENDS4, [3, 3, 7, 1]),
      segment(ENDS4, [0, 0, 0, 0, ...mss(1460)]),
      segment(ENDS4, [2, 3, 5, 1, ...mss(1460)]),
      segment(ENDS4, [9, 1, 0, 0, ...mss(1460)]),
      segment(ENDS4, [9, 0, 0, 0, ...mss(1460)]),
      segment(ENDS4, [1, 1, 1, 2]),
      segment(ENDS4, [1, 2, 4, 5]),
      segment(ENDS4, [9, 40, 0, 0, ...mss(1460)]),
      segment(ENDS4, mss(1460), ACK),
      plainUdp(ENDS4, 1, 2, mss(1460)),
    ]) {
      bench.offer(packet);
      assert.equal(clampMss(bench.view, 576), false);
      assert.equal(hex(bench.bytesOf(bench.view)), hex(packet));
    }
    const view = bench.put(segment(ENDS4, mss(1460)));
    assert.equal(clampMss(view, 80), false, 'an MTU that TCP cannot use');
    const long = plainTcp(ENDS4, {
      sourcePort: 1,
      destinationPort: 2,
      flags: SYN,
      options: mss(1460),
      data: new Uint8Array(200),
    });
    const second = bench.put(plainFragment(long, 64, 128, 1));
    assert.equal(clampMss(second, 576), false);
  });

  it('never throws and stays within the header, whatever the options', () => {
    const random = seededRandom(404);
    const bench = new PacketBench();
    let changed = 0;
    for (let round = 0; round < 5000; round++) {
      const options = [...randomBytes(random, 4 * Math.floor(random() * 11))].map((byte) =>
        random() < 0.6 ? byte % 5 : byte,
      );
      const packet = segment(random() < 0.5 ? ENDS4 : ENDS6, options);
      bench.put(packet);
      if (clampMss(bench.view, 300)) changed++;
      const bytes = bench.bytesOf(bench.view);
      assert.deepEqual(problemsOf(bytes), []);
      const optionsAt = bytes.length - 3 - options.length;
      assert.equal(hex(bytes.slice(0, optionsAt - 4)), hex(packet.slice(0, optionsAt - 4)));
      assert.equal(hex(bytes.slice(-3)), '010203');
    }
    assert.ok(changed > 20, `${changed}`);
  });
});
