import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fieldsOf, PacketBench } from '../../test/support/packet-bench.ts';
import {
  hex,
  type PlainEnds,
  plainChecksum,
  plainIp,
  plainTcp,
  plainUdp,
  problemsOf,
  randomBytes,
  seededRandom,
} from '../../test/support/plain-packets.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { decode } from '../wire/decode.ts';
import { FRAME_PREFIX_BYTES } from '../wire/frame.ts';
import { GSO_TCPV4, PacketView } from '../wire/packet.ts';
import { Fragmenter } from './fragmentation.ts';
import { Identifications } from './identification.ts';
import { KeyedHash } from './keyed-hash.ts';
import { Reassembler } from './reassembly.ts';

const POOL_BYTES = 1024 * 1024;
const ENDS4: PlainEnds = {
  family: 4,
  source: [203, 0, 113, 7],
  destination: [198, 51, 100, 9],
  trafficClass: 0xb9,
};
const ENDS6: PlainEnds = {
  family: 6,
  source: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
  destination: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9],
  trafficClass: 0xb9,
};

class Rig {
  readonly bench = new PacketBench(256 * 1024, POOL_BYTES);
  readonly fragmenter = new Fragmenter(this.bench.scratch, new Identifications(3, 4));
  readonly pieces: Uint8Array[] = [];
  readonly identifications = new Set<number>();
  private readonly decoded = new PacketView(this.bench.memory);

  /** Cuts, and looks at each piece as the next receiver would. */
  cut(view: PacketView, mtu: number): number {
    this.pieces.length = 0;
    this.identifications.clear();
    return this.fragmenter.fragmentPacket(view, mtu, this.bench.reply, (piece) => {
      const bytes = this.bench.bytesOf(piece);
      assert.ok(piece.length <= mtu);
      assert.equal(piece.offset % 16, 0);
      const frame = piece.offset - FRAME_PREFIX_BYTES;
      assert.deepEqual([...this.bench.memory.bytes.slice(frame, frame + 10)], Array(10).fill(0));
      assert.equal(decode(this.decoded, piece.offset, piece.length), 0);
      const expected = fieldsOf(this.decoded);
      const actual = fieldsOf(piece);
      for (const name of FORWARDED_FIELDS) assert.equal(actual[name], expected[name], name);
      if (piece.family === 4) {
        assert.equal(plainChecksum(bytes.subarray(0, (bytes[0]! & 15) * 4)), 0);
      }
      this.pieces.push(bytes);
      this.identifications.add(piece.identification);
      return 0;
    });
  }
}

/** What the link layer reads of a piece, and what says where it belongs. */
const FORWARDED_FIELDS = [
  'offset',
  'length',
  'family',
  'protocol',
  'ttl',
  'trafficClass',
  ...[0, 1, 2, 3].flatMap((word) => [`src${word}`, `dst${word}`]),
  'l4Offset',
  'fragment',
  'fragmentOffset',
  'moreFragments',
  'identification',
  'fragmentHeaderOffset',
  'dontFragment',
  'gsoType',
  'gsoSize',
  'checksumStart',
  'checksumOffset',
];

describe('fragmentation', () => {
  it('cuts so that reassembly yields the same packet', () => {
    const random = seededRandom(31);
    const rig = new Rig();
    const reassembler = new Reassembler(
      rig.bench.memory,
      rig.bench.poolOffset,
      POOL_BYTES,
      8,
      new KeyedHash(1, 2),
      () => assert.fail('nothing is dropped'),
    );
    for (let round = 0; round < 200; round++) {
      const ends = random() < 0.5 ? ENDS4 : ENDS6;
      const size = random() < 0.05 ? 65_000 : 1600 + Math.floor(random() * 5000);
      const packet =
        random() < 0.5
          ? plainUdp(ends, 1, 2, randomBytes(random, size))
          : plainTcp(ends, { sourcePort: 1, destinationPort: 2, flags: 16, data: randomBytes(random, size) });
      const mtu =
        ends.family === 4 && size < 60_000
          ? 576 + Math.floor(random() * 1000)
          : 1280 + Math.floor(random() * 300);
      assert.equal(rig.cut(rig.bench.put(packet), mtu), 0);
      assert.equal(rig.identifications.size, 1);
      const headerBytes = ends.family === 4 ? 20 : 48;
      const room = Math.floor((mtu - headerBytes) / 8) * 8;
      const dataBytes = packet.length - (ends.family === 4 ? 20 : 40);
      assert.equal(rig.pieces.length, Math.ceil(dataBytes / room), 'as few pieces as the MTU allows');
      rig.bench.scratch.reset();
      const pieces = [...rig.pieces];
      let answer = 0;
      for (const piece of pieces) answer = reassembler.add(rig.bench.put(piece), 1, 0);
      assert.ok(answer > 0);
      const whole = rig.bench.memory.bytes.slice(answer, answer + reassembler.length);
      assert.deepEqual(problemsOf(whole), []);
      const identification = [...rig.identifications][0]!;
      const expected = ends.family === 4 ? withIdentification(packet, identification) : packet;
      assert.equal(hex(whole), hex(expected));
      reassembler.release();
    }
  });

  it('completes a partial checksum first', () => {
    for (const ends of [ENDS4, ENDS6]) {
      const rig = new Rig();
      const right = plainUdp(ends, 5, 6, randomBytes(seededRandom(2), 1993));
      const view = rig.bench.put(right);
      const field = view.l4Offset + 6;
      const expected = hex(rig.bench.memory.bytes.slice(field, field + 2));
      // The uncomplemented sum of the pseudo-header, as virtio has it.
      const length = 2001;
      const pseudo = [...ends.source, ...ends.destination, 0, 17, length >> 8, length & 255];
      const sum = 65535 - plainChecksum(pseudo);
      rig.bench.memory.bytes[field] = sum >> 8;
      rig.bench.memory.bytes[field + 1] = sum & 255;
      view.checksumStart = view.l4Offset;
      view.checksumOffset = 6;
      assert.equal(rig.cut(view, 1300), 0);
      const at = ends.family === 4 ? 26 : 54;
      assert.equal(hex(rig.pieces[0]!.slice(at, at + 2)), expected);
      assert.equal(view.checksumStart, 0);
    }
  });

  it('repeats IPv4 options with the copied flag, and no others', () => {
    const rig = new Rig();
    // Router alert (copied), NOP, record route (not copied), end of list.
    const options = [148, 4, 0, 0, 1, 7, 6, 4, 0, 0, 0, 0];
    const packet = plainUdp({ ...ENDS4, options }, 1, 2, new Uint8Array(1992));
    assert.equal(rig.cut(rig.bench.put(packet), 1000), 0);
    assert.equal(rig.pieces.length, 3);
    assert.deepEqual([...rig.pieces[0]!.slice(20, 32)], options);
    for (const piece of rig.pieces.slice(1)) {
      assert.deepEqual([...piece.slice(20, 32)], [148, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0]);
    }
  });

  it('repeats the IPv6 headers up to the routing header, and no others', () => {
    const rig = new Rig();
    const hopByHop = { header: 0, bytes: [0, 0, 1, 4, 0, 0, 0, 0] };
    const routing = { header: 43, bytes: [0, 0, 4, 0, 0, 0, 0, 0] };
    const before = { header: 60, bytes: [0, 0, 1, 4, 0, 0, 0, 1] };
    const behind = { header: 60, bytes: [0, 0, 1, 4, 0, 0, 0, 2] };
    const payload = plainUdp(ENDS6, 1, 2, new Uint8Array(1992)).slice(40);
    const cases = [
      { repeated: [hopByHop, before, routing], once: [behind] },
      { repeated: [hopByHop], once: [behind] },
      { repeated: [], once: [behind] },
      { repeated: [hopByHop], once: [] },
    ];
    for (const { repeated, once } of cases) {
      const packet = plainIp({ ...ENDS6, protocol: 17, extensions: [...repeated, ...once], payload });
      assert.equal(rig.cut(rig.bench.put(packet), 1280), 0);
      assert.equal(rig.pieces.length, 2);
      const repeatedBytes = 40 + repeated.length * 8;
      for (const [index, piece] of rig.pieces.entries()) {
        const chain = [...repeated.map((one) => one.header), 44];
        assert.equal(piece[6], chain[0]);
        for (const [place, one] of repeated.entries()) {
          const at = 40 + place * 8;
          assert.deepEqual([...piece.slice(at, at + 8)], [chain[place + 1]!, ...one.bytes.slice(1)]);
        }
        assert.equal(piece[repeatedBytes], once.length > 0 ? 60 : 17);
        assert.equal(piece[4]! * 256 + piece[5]!, piece.length - 40);
        assert.equal(piece[repeatedBytes + 3]! & 1, index === 0 ? 1 : 0);
      }
      const data = rig.pieces.flatMap((piece) => [...piece.slice(repeatedBytes + 8)]);
      assert.equal(hex(data), hex(packet.slice(repeatedBytes)));
    }
  });

  it("copies don't-fragment", () => {
    const rig = new Rig();
    assert.equal(
      rig.cut(rig.bench.put(plainUdp({ ...ENDS4, flags: 0x4000 }, 1, 2, new Uint8Array(1000))), 600),
      0,
    );
    assert.deepEqual(
      rig.pieces.map((piece) => piece[6]),
      [0x60, 0x40],
    );
  });

  it('refuses what cannot be cut, with a reason', () => {
    const rig = new Rig();
    const packet = plainTcp(ENDS4, {
      sourcePort: 1,
      destinationPort: 2,
      flags: 16,
      data: new Uint8Array(3000),
    });
    const view = rig.bench.put(packet);
    assert.equal(rig.cut(view, 27), DROP.too_big);
    view.gsoType = GSO_TCPV4;
    assert.equal(rig.cut(view, 1500), DROP.unsupported_segmentation);
    rig.bench.put(packet);
    assert.equal(rig.cut(rig.bench.view, 1500), 0);
    const piece = rig.pieces[0]!;
    assert.equal(rig.cut(rig.bench.put(piece), 576), DROP.fragment_malformed);
    assert.equal(rig.pieces.length, 0);
  });

  it('stops when the link says no, and when memory is used up', () => {
    const bench = new PacketBench(6 * 1024);
    const fragmenter = new Fragmenter(bench.scratch, new Identifications(1, 2));
    const packet = plainUdp(ENDS4, 1, 2, new Uint8Array(9000));
    let emitted = 0;
    const count = (answer: number): ((piece: PacketView) => number) => {
      emitted = 0;
      return () => {
        emitted++;
        return answer;
      };
    };
    assert.equal(
      fragmenter.fragmentPacket(bench.put(packet), 1500, bench.reply, count(DROP.output_full)),
      DROP.output_full,
    );
    assert.equal(emitted, 1);
    bench.scratch.reset();
    assert.equal(fragmenter.fragmentPacket(bench.put(packet), 1500, bench.reply, count(0)), DROP.memory_full);
    assert.equal(emitted, 3);
  });
});

function withIdentification(packet: Uint8Array, identification: number): Uint8Array {
  const changed = Uint8Array.from(packet);
  changed[4] = identification >> 8;
  changed[5] = identification & 255;
  changed[10] = 0;
  changed[11] = 0;
  const checksum = plainChecksum(changed.subarray(0, 20));
  changed[10] = checksum >> 8;
  changed[11] = checksum & 255;
  return changed;
}
