import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  cutAtRandom,
  hex,
  plainFragment,
  plainIp,
  plainTcp,
  plainUdp,
  problemsOf,
  randomBytes,
  seededRandom,
  shuffle,
} from '../../test/support/plain-packets.ts';
import { ENDS4, ENDS6, POOL_BYTES, ReassemblyRig } from '../../test/support/reassembly-rig.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { FRAME_HEADROOM_BYTES, FRAME_PREFIX_BYTES } from '../wire/frame.ts';
import { GSO_UDP_L4 } from '../wire/packet.ts';

/** What a packet is after it was cut and put together: no identification is lost, nothing else changes. */
function identified(packet: Uint8Array, identification: number): string {
  if (packet[0]! >> 4 === 6) return hex(packet);
  return hex(
    plainIp({
      family: 4,
      source: [...packet.subarray(12, 16)],
      destination: [...packet.subarray(16, 20)],
      protocol: packet[9]!,
      ttl: packet[8]!,
      trafficClass: packet[1]!,
      identification,
      payload: packet.subarray(20),
    }),
  );
}

describe('reassembly', () => {
  it('puts random fragments together again, in any order, with duplicates', () => {
    const random = seededRandom(4711);
    const rig = new ReassemblyRig();
    for (let round = 0; round < 250; round++) {
      const ends = random() < 0.5 ? ENDS4 : ENDS6;
      const size = random() < 0.1 ? 65535 - 48 : 200 + Math.floor(random() * 6000);
      const packet = plainUdp(ends, 1000, 2000, randomBytes(random, size - 8));
      let fragments: Uint8Array[] = [];
      while (fragments.length < 2) fragments = cutAtRandom(random, packet, round, 40);
      const shuffled = shuffle(random, fragments);
      const sent = shuffled.flatMap((fragment, index) =>
        random() < 0.2 && index < shuffled.length - 1 ? [fragment, fragment] : [fragment],
      );
      const whole = rig.complete(sent);
      assert.equal(hex(whole), identified(packet, round), `round ${round}`);
      assert.deepEqual(problemsOf(whole), []);
      assert.equal(rig.reassembler.largestFragment, Math.max(...fragments.map((one) => one.length)));
      assert.equal(rig.reassembler.dontFragment, 0);
      assert.equal(rig.reassembler.waiting, 0);
      assert.equal(rig.reassembler.heldBytes, 0);
      rig.reassembler.release();
    }
    assert.deepEqual(rig.dropped, []);
  });

  it('returns a datagram that is aligned like a received frame, with headroom and an empty virtio header', () => {
    const rig = new ReassemblyRig();
    const packet = plainUdp(ENDS4, 1, 2, randomBytes(seededRandom(1), 3000));
    const seen: number[] = [];
    for (let count = 0; count < 3; count++) {
      rig.bench.memory.bytes.fill(
        0xee,
        rig.bench.poolOffset + (POOL_BYTES * 3) / 4,
        rig.bench.poolOffset + POOL_BYTES,
      );
      assert.equal(rig.add(plainFragment(packet, 0, 1480, count)), 0);
      const offset = rig.add(plainFragment(packet, 1480, 3008, count));
      assert.equal(offset % 16, 0);
      const frame = offset - FRAME_PREFIX_BYTES;
      assert.equal(frame % 16, 8);
      assert.deepEqual([...rig.bench.memory.bytes.slice(frame, frame + 10)], Array(10).fill(0));
      if (count > 0) assert.ok(frame - FRAME_HEADROOM_BYTES >= seen.at(-1)! + rig.reassembler.length);
      seen.push(offset);
    }
    rig.reassembler.release();
    assert.equal(rig.add(plainFragment(packet, 0, 1480, 9)), 0);
    assert.equal(rig.add(plainFragment(packet, 1480, 3008, 9)), seen[0]);
  });

  it('never mixes two spaces, sources, destinations, identifications, or IPv4 protocols', () => {
    const random = seededRandom(99);
    const other = { ...ENDS4, source: [10, 0, 1, 3] };
    const third = { ...ENDS4, destination: [10, 50, 0, 8] };
    const data = (): Uint8Array => randomBytes(random, 2992);
    const cases: { packet: Uint8Array; space: number; identification: number }[] = [
      { packet: plainUdp(ENDS4, 1, 2, data()), space: 1, identification: 5 },
      { packet: plainUdp(ENDS4, 1, 2, data()), space: 2, identification: 5 },
      { packet: plainUdp(ENDS4, 1, 2, data()), space: -7, identification: 5 },
      { packet: plainUdp(ENDS4, 1, 2, data()), space: 1, identification: 6 },
      { packet: plainUdp(other, 1, 2, data()), space: 1, identification: 5 },
      { packet: plainUdp(third, 1, 2, data()), space: 1, identification: 5 },
      {
        packet: plainTcp(ENDS4, { sourcePort: 1, destinationPort: 2, flags: 16, data: data().slice(12) }),
        space: 1,
        identification: 5,
      },
      { packet: plainUdp(ENDS6, 1, 2, data()), space: 1, identification: 5 },
      { packet: plainUdp(ENDS6, 1, 2, data()), space: 2, identification: 5 },
    ];
    const rig = new ReassemblyRig(128);
    for (const { packet, space, identification } of cases) {
      assert.equal(rig.add(plainFragment(packet, 0, 1000, identification), space), 0);
    }
    for (const { packet, space, identification } of cases) {
      assert.equal(rig.add(plainFragment(packet, 2000, 3000, identification), space), 0);
    }
    for (const { packet, space, identification } of cases) {
      const offset = rig.add(plainFragment(packet, 1000, 2000, identification), space);
      assert.ok(offset > 0);
      assert.equal(hex(rig.whole(offset)), identified(packet, identification));
    }
    assert.equal(rig.reassembler.waiting, 0);
  });

  it('never mixes spaces, also where so many of them use the same tuple that they meet in a hash bucket', () => {
    const random = seededRandom(100);
    for (const ends of [ENDS4, ENDS6]) {
      const rig = new ReassemblyRig(512);
      const packets = Array.from({ length: 300 }, () => plainUdp(ends, 1, 2, randomBytes(random, 120)));
      for (const [space, packet] of packets.entries()) {
        assert.equal(rig.add(plainFragment(packet, 0, 64, 7), space + 1), 0);
      }
      assert.equal(rig.reassembler.waiting, 300);
      for (const [space, packet] of packets.entries()) {
        const offset = rig.add(plainFragment(packet, 64, 128, 7), space + 1);
        assert.ok(offset > 0);
        assert.equal(hex(rig.whole(offset)), identified(packet, 7));
        rig.reassembler.release();
      }
    }
  });

  it('does not look at the protocol of IPv6 fragments behind the first (RFC 8200, 4.5)', () => {
    const packet = plainUdp(ENDS6, 1, 2, randomBytes(seededRandom(3), 1992));
    const rig = new ReassemblyRig();
    const second = plainFragment(packet, 1000, 2000, 1);
    second[40] = 60;
    const whole = rig.complete([second, plainFragment(packet, 0, 1000, 1)]);
    assert.equal(hex(whole), hex(packet));
  });

  for (const ends of [ENDS4, ENDS6]) {
    const packet = plainUdp(ends, 7, 8, randomBytes(seededRandom(5), 3992));
    const cut = (start: number, end: number, more?: boolean): Uint8Array =>
      plainFragment(packet, start, end, 77, more);

    describe(`overlap, IPv${ends.family}`, () => {
      const overlaps: [string, Uint8Array, Uint8Array][] = [
        ['at its beginning', cut(1000, 2000), cut(504, 1008)],
        ['at its end', cut(1000, 2000), cut(1992, 2992)],
        ['inside', cut(1000, 2000), cut(1200, 1400)],
        ['around', cut(1000, 2000), cut(504, 2504)],
        ['the same beginning, shorter', cut(1000, 2000), cut(1000, 1504)],
        ['the same beginning, longer', cut(1000, 2000), cut(1000, 2504)],
        ['the same end', cut(1000, 2000), cut(1504, 2000)],
        ['by the first', cut(504, 2000), cut(0, 512)],
        ['by the last', cut(1000, 3504), cut(3000, 4000)],
      ];
      for (const [name, held, overlapping] of overlaps) {
        it(`${name} drops the datagram, and it stays dropped until its time is over`, () => {
          const rig = new ReassemblyRig();
          assert.equal(rig.add(held), 0);
          assert.equal(rig.add(overlapping, 1, 10), -DROP.fragment_overlap);
          assert.deepEqual(rig.dropped, ['1 fragment_overlap 1']);
          assert.equal(rig.reassembler.heldBytes, 0);
          // All of it again, from the beginning: poisoned.
          for (const start of [0, 1000, 2000, 3000]) {
            assert.equal(rig.add(cut(start, start + 1000), 1, 29_999), -DROP.fragment_overlap);
          }
          // Then a datagram of the same identification is a new one.
          for (const start of [0, 1000, 2000]) assert.equal(rig.add(cut(start, start + 1000), 1, 30_000), 0);
          assert.ok(rig.add(cut(3000, 4000), 1, 30_000) > 0);
          assert.deepEqual(rig.dropped, ['1 fragment_overlap 1']);
        });
      }

      it('with the same range and other bytes is no duplicate', () => {
        const rig = new ReassemblyRig();
        assert.equal(rig.add(cut(1000, 2000)), 0);
        assert.equal(rig.add(cut(1000, 2000)), 0);
        const forged = cut(1000, 2000);
        forged[forged.length - 1] ^= 1;
        assert.equal(rig.add(forged), -DROP.fragment_overlap);
      });

      it('with the same range, bytes, and another "more fragments" is no duplicate', () => {
        const rig = new ReassemblyRig();
        assert.equal(rig.add(cut(3000, 4000)), 0);
        assert.equal(rig.add(cut(3000, 4000, true)), -DROP.fragment_overlap);
      });
    });

    describe(`contradiction, IPv${ends.family}`, () => {
      const contradictions: [string, Uint8Array[], number][] = [
        ['two ends', [cut(1000, 2000, false), cut(2000, 3000, false)], DROP.fragment_malformed],
        ['data behind the end', [cut(1000, 2000, false), cut(2000, 3000)], DROP.fragment_malformed],
        ['an end before data', [cut(3000, 3504), cut(1000, 2000, false)], DROP.fragment_malformed],
      ];
      for (const [name, fragments, reason] of contradictions) {
        it(name, () => {
          const rig = new ReassemblyRig();
          assert.equal(rig.add(fragments[0]!), 0);
          assert.equal(rig.add(fragments[1]!), -reason);
          assert.deepEqual(rig.dropped, ['1 fragment_malformed 1']);
        });
      }

      it('a piece that is no multiple of 8 and not the last', () => {
        const rig = new ReassemblyRig();
        assert.equal(rig.refusal(cut(1000, 1997, true)), 'fragment_malformed');
        assert.equal(rig.reassembler.waiting, 0);
      });
    });

    it(`more than 65535 bytes, IPv${ends.family}`, () => {
      const rig = new ReassemblyRig();
      const long = plainUdp(ends, 1, 2, new Uint8Array(8000));
      const piece = plainFragment(long, 0, 1000, 3, false);
      if (ends.family === 4) {
        // Offset 65512 and 1000 bytes.
        const bad = plainIp({
          ...ENDS4,
          protocol: 17,
          identification: 3,
          flags: 65512 / 8,
          payload: piece.slice(20),
        });
        assert.equal(rig.refusal(bad), 'fragment_malformed');
      } else {
        piece[42] = 65512 >> 8;
        piece[43] = 65512 & 0xf8;
        assert.equal(rig.refusal(piece), 'fragment_malformed');
      }
      assert.equal(rig.reassembler.waiting, 0);
    });
  }

  it('drops a first fragment that lacks the transport header', () => {
    const rig = new ReassemblyRig();
    const tcp = plainTcp(ENDS4, {
      sourcePort: 1,
      destinationPort: 2,
      flags: 2,
      options: [2, 4, 5, 180],
      data: new Uint8Array(976),
    });
    for (const end of [8, 16]) {
      assert.equal(rig.refusal(plainFragment(tcp, 0, end, 1)), 'malformed', 'the decoder sees it first');
    }
    // A second one that begins inside the TCP header (RFC 3128).
    for (const start of [8, 16]) {
      assert.equal(rig.add(plainFragment(tcp, start, start + 8, 1)), -DROP.fragment_malformed);
    }
    assert.equal(rig.reassembler.waiting, 0);
    // The view of a truncated header that a decoder let pass.
    const view = rig.bench.put(plainFragment(tcp, 0, 24, 1));
    view.length -= 8;
    assert.equal(rig.reassembler.add(view, 1, 0), -DROP.fragment_malformed);
    assert.equal(rig.add(plainFragment(tcp, 0, 24, 1)), 0);
  });

  it('takes no GSO packet and no partial checksum for a fragment', () => {
    const rig = new ReassemblyRig();
    const packet = plainUdp(ENDS4, 7, 8, new Uint8Array(1992));
    const view = rig.bench.put(plainFragment(packet, 0, 1000, 1));
    view.gsoType = GSO_UDP_L4;
    assert.equal(rig.reassembler.add(view, 1, 0), -DROP.fragment_malformed);
    view.gsoType = 0;
    view.checksumStart = view.l4Offset;
    assert.equal(rig.reassembler.add(view, 1, 0), -DROP.fragment_malformed);
  });

  it('keeps IPv4 options of the first fragment and mends length and checksum', () => {
    const rig = new ReassemblyRig();
    const withOptions = plainUdp(
      { ...ENDS4, options: [148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0] },
      1,
      2,
      new Uint8Array(984),
    );
    const plain = plainUdp(ENDS4, 1, 2, new Uint8Array(984));
    const first = plainFragment(withOptions, 0, 496, 4);
    const whole = rig.complete([plainFragment(plain, 496, 992, 4), first]);
    assert.equal(whole[0], 0x48);
    assert.equal(whole.length, 32 + 992);
    assert.deepEqual(problemsOf(whole), []);
    assert.deepEqual([...whole.slice(20, 32)], [148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0]);
  });

  it("says and keeps don't-fragment, if any fragment had it", () => {
    const rig = new ReassemblyRig();
    const packet = plainUdp(ENDS4, 1, 2, new Uint8Array(992));
    const withFlag = plainUdp({ ...ENDS4, flags: 0x4000 }, 1, 2, new Uint8Array(992));
    const whole = rig.complete([plainFragment(packet, 0, 496, 4), plainFragment(withFlag, 496, 1000, 4)]);
    assert.equal(rig.reassembler.dontFragment, 1);
    assert.equal(whole[6], 0x40);
    assert.deepEqual(problemsOf(whole), []);
  });

  it('takes the fragment header out behind other extension headers, and leaves those behind it', () => {
    const rig = new ReassemblyRig();
    const hopByHop = { header: 0, bytes: [0, 0, 1, 4, 0, 0, 0, 0] };
    const routing = { header: 43, bytes: [0, 0, 4, 0, 0, 0, 0, 0] };
    const options = { header: 60, bytes: [0, 0, 1, 4, 0, 0, 0, 0] };
    const udp = plainUdp(ENDS6, 1, 2, randomBytes(seededRandom(8), 984)).slice(40);
    const fragmentHeader = (field: number): { header: number; bytes: number[] } => ({
      header: 44,
      bytes: [0, 0, field >> 8, field & 255, 0, 0, 0, 9],
    });
    const expected = plainIp({
      ...ENDS6,
      protocol: 17,
      extensions: [hopByHop, routing, options],
      payload: udp,
    });
    const fragments = [
      plainIp({
        ...ENDS6,
        protocol: 17,
        extensions: [hopByHop, routing, fragmentHeader(1), options],
        payload: udp.slice(0, 496),
      }),
      plainIp({
        ...ENDS6,
        protocol: 60,
        extensions: [hopByHop, routing, fragmentHeader(504)],
        payload: udp.slice(496),
      }),
    ];
    assert.equal(hex(rig.complete(fragments)), hex(expected));
  });

  it('combines ECN as RFC 3168, 5.3 says', () => {
    // By two codepoints: what the whole has, or nothing where it is dropped.
    const table: [number, number, number | undefined][] = [
      [0, 0, 0],
      [1, 1, 1],
      [2, 2, 2],
      [3, 3, 3],
      [2, 3, 3],
      [3, 2, 3],
      [1, 3, 3],
      [0, 3, undefined],
      [3, 0, undefined],
    ];
    for (const ends of [ENDS4, ENDS6]) {
      for (const [first, second, expected] of table) {
        const rig = new ReassemblyRig();
        const packet = (ecn: number): Uint8Array =>
          plainUdp({ ...ends, trafficClass: 0xb8 | ecn }, 1, 2, new Uint8Array(992));
        assert.equal(rig.add(plainFragment(packet(first), 0, 496, 4)), 0);
        const answer = rig.add(plainFragment(packet(second), 496, 1000, 4));
        if (expected === undefined) {
          assert.equal(answer, -DROP.fragment_malformed);
          assert.deepEqual(rig.dropped, ['1 fragment_malformed 1']);
        } else {
          const whole = rig.whole(answer);
          const trafficClass = ends.family === 4 ? whole[1]! : ((whole[0]! & 15) << 4) | (whole[1]! >> 4);
          assert.equal(trafficClass, 0xb8 | expected, `${first} and ${second}`);
          assert.deepEqual(problemsOf(whole), []);
        }
      }
    }
  });
});
