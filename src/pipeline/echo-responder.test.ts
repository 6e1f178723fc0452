import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fieldsOf, PacketBench } from '../../test/support/packet-bench.ts';
import {
  hex,
  type PlainEnds,
  plainFragment,
  plainIcmp,
  plainUdp,
  problemsOf,
  randomBytes,
  seededRandom,
} from '../../test/support/plain-packets.ts';
import { decode } from '../wire/decode.ts';
import { PacketView } from '../wire/packet.ts';
import { EchoResponder } from './echo-responder.ts';

const ENDS4: PlainEnds = {
  family: 4,
  source: [10, 0, 1, 2],
  destination: [172, 20, 0, 1],
  ttl: 7,
  identification: 77,
};
const ENDS6: PlainEnds = {
  family: 6,
  source: [0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
  destination: [0xfd, 0, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
  ttl: 7,
};
const REST = [0x12, 0x34, 0, 9];

function reversed(ends: PlainEnds): PlainEnds {
  return { ...ends, source: ends.destination, destination: ends.source, ttl: 64 };
}

describe('answers to ping', () => {
  it('are the request turned round', () => {
    const random = seededRandom(1);
    for (const [ends, request, reply] of [
      [ENDS4, 8, 0],
      [{ ...ENDS4, options: [148, 4, 0, 0] }, 8, 0],
      [ENDS6, 128, 129],
    ] as const) {
      for (const size of [0, 1, 56, 1400]) {
        const bench = new PacketBench();
        const data = randomBytes(random, size);
        const view = bench.put(plainIcmp(ends, request, 0, REST, data));
        assert.equal(new EchoResponder().respond(view, 0, 0), true);
        const bytes = bench.bytesOf(view);
        assert.equal(hex(bytes), hex(plainIcmp(reversed(ends), reply, 0, REST, data)));
        assert.deepEqual(problemsOf(bytes), []);
        const decoded = new PacketView(bench.memory);
        assert.equal(decode(decoded, view.offset, view.length), 0);
        assert.deepEqual(fieldsOf(view), fieldsOf(decoded));
      }
    }
  });

  it('do not make a damaged request good', () => {
    for (const [ends, request] of [
      [ENDS4, 8],
      [ENDS6, 128],
    ] as const) {
      const bench = new PacketBench();
      const packet = plainIcmp(ends, request, 0, REST, [1, 2, 3, 4]);
      packet[packet.length - 1]! ^= 0x10;
      assert.equal(new EchoResponder().respond(bench.put(packet), 0, 0), true);
      assert.deepEqual(problemsOf(bench.bytesOf(bench.view)), ['transport checksum']);
    }
  });

  it('leave a partial checksum as it is: it does not hold the type', () => {
    const bench = new PacketBench();
    const view = bench.put(plainIcmp(ENDS6, 128, 0, REST, [1, 2]));
    const field = view.l4Offset + 2;
    bench.memory.bytes[field] = 0x12;
    bench.memory.bytes[field + 1] = 0x34;
    view.checksumStart = view.l4Offset;
    view.checksumOffset = 2;
    assert.equal(new EchoResponder().respond(view, 0, 0), true);
    assert.deepEqual([...bench.memory.bytes.slice(field, field + 2)], [0x12, 0x34]);
  });

  it('are for echo requests only, and change nothing else', () => {
    const responder = new EchoResponder();
    const others = [
      plainIcmp(ENDS4, 0, 0, REST, [1]),
      plainIcmp(ENDS4, 13, 0, REST, new Uint8Array(12)),
      plainIcmp(ENDS4, 128, 0, REST, [1]),
      plainIcmp(ENDS6, 129, 0, REST, [1]),
      plainIcmp(ENDS6, 8, 0, REST, [1]),
      plainUdp(ENDS4, 8, 8, [1]),
      plainFragment(plainIcmp(ENDS4, 8, 0, REST, new Uint8Array(100)), 0, 64, 1),
    ];
    for (const packet of others) {
      const bench = new PacketBench();
      bench.offer(packet);
      const before = fieldsOf(bench.view);
      assert.equal(responder.respond(bench.view, 0, 0), false);
      assert.deepEqual(fieldsOf(bench.view), before);
      assert.equal(hex(bench.bytesOf(bench.view)), hex(packet));
    }
  });

  it('end when a port has had its share, and come back', () => {
    const responder = new EchoResponder();
    const bench = new PacketBench();
    const packet = plainIcmp(ENDS4, 8, 0, REST, [1]);
    const answered = (port: number, nowMs: number): number => {
      let count = 0;
      while (count < 5000 && responder.respond(bench.put(packet), port, nowMs)) count++;
      return count;
    };
    assert.equal(answered(1, 0), 1000);
    assert.equal(answered(2, 0), 1000);
    assert.equal(answered(1, 100), 100);
  });
});
