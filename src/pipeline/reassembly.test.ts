import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PacketBench } from '../../test/support/packet-bench.ts';
import {
  cutAtRandom,
  hex,
  type PlainEnds,
  plainFragment,
  plainIp,
  plainTcp,
  plainUdp,
  problemsOf,
  randomBytes,
  seededRandom,
  shuffle,
} from '../../test/support/plain-packets.ts';
import { DROP, DROP_REASON_NAMES } from '../plugin/drop-reasons.ts';
import { FRAME_HEADROOM_BYTES, FRAME_PREFIX_BYTES } from '../wire/frame.ts';
import { GSO_UDP_L4 } from '../wire/packet.ts';
import { KeyedHash } from './keyed-hash.ts';
import { MAX_FRAGMENTS, REASSEMBLY_TIMEOUT_MS, Reassembler } from './reassembly.ts';

const POOL_BYTES = 1024 * 1024;

const ENDS4: PlainEnds = { family: 4, source: [10, 0, 1, 2], destination: [10, 50, 0, 9] };
const ENDS6: PlainEnds = {
  family: 6,
  source: [0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
  destination: [0xfd, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9],
};

class Rig {
  readonly bench: PacketBench;
  readonly reassembler: Reassembler;
  readonly poolBytes: number;
  /** What `onDrop` was told: "space reason count". */
  readonly dropped: string[] = [];
  droppedFragments = 0;

  constructor(maxDatagrams = 64, poolBytes = POOL_BYTES) {
    this.poolBytes = poolBytes;
    this.bench = new PacketBench(1024, poolBytes + 64);
    this.reassembler = new Reassembler(
      this.bench.memory,
      this.bench.poolOffset,
      poolBytes,
      maxDatagrams,
      new KeyedHash(1, 2),
      (space, reason, fragments) => {
        this.dropped.push(`${space} ${DROP_REASON_NAMES[reason]} ${fragments}`);
        this.droppedFragments += fragments;
      },
    );
  }

  add(fragment: Uint8Array, space = 1, nowMs = 0): number {
    return this.reassembler.add(this.bench.put(fragment), space, nowMs);
  }

  /** Why a fragment is not taken, be it by the decoder or by reassembly. */
  refusal(fragment: Uint8Array): string | undefined {
    const reason = this.bench.offer(fragment) || -this.reassembler.add(this.bench.view, 1, 0);
    return DROP_REASON_NAMES[reason];
  }

  whole(offset: number): Uint8Array {
    return this.bench.memory.bytes.slice(offset, offset + this.reassembler.length);
  }

  /** Adds all, expects the last and no other to complete the datagram, and returns that. */
  complete(fragments: readonly Uint8Array[], space = 1): Uint8Array {
    for (const fragment of fragments.slice(0, -1)) assert.equal(this.add(fragment, space), 0);
    const offset = this.add(fragments.at(-1)!, space);
    assert.ok(offset > 0, `completes, and does not answer ${offset}`);
    return this.whole(offset);
  }
}

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
    const rig = new Rig();
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
    const rig = new Rig();
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
    const rig = new Rig(128);
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

  it('does not look at the protocol of IPv6 fragments behind the first (RFC 8200, 4.5)', () => {
    const packet = plainUdp(ENDS6, 1, 2, randomBytes(seededRandom(3), 1992));
    const rig = new Rig();
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
          const rig = new Rig();
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
        const rig = new Rig();
        assert.equal(rig.add(cut(1000, 2000)), 0);
        assert.equal(rig.add(cut(1000, 2000)), 0);
        const forged = cut(1000, 2000);
        forged[forged.length - 1] ^= 1;
        assert.equal(rig.add(forged), -DROP.fragment_overlap);
      });

      it('with the same range, bytes, and another "more fragments" is no duplicate', () => {
        const rig = new Rig();
        assert.equal(rig.add(cut(3000, 4000)), 0);
        assert.equal(rig.add(cut(3000, 4000, true)), -DROP.fragment_overlap);
      });
    });

    describe(`contradiction, IPv${ends.family}`, () => {
      const contradictions: [string, Uint8Array[], number][] = [
        ['two ends', [cut(1000, 2000, false), cut(2000, 3000, false)], DROP.fragment_malformed],
        ['data behind the end', [cut(1000, 2000, false), cut(3000, 4000)], DROP.fragment_malformed],
        ['an end before data', [cut(3000, 3504), cut(1000, 2000, false)], DROP.fragment_malformed],
      ];
      for (const [name, fragments, reason] of contradictions) {
        it(name, () => {
          const rig = new Rig();
          assert.equal(rig.add(fragments[0]!), 0);
          assert.equal(rig.add(fragments[1]!), -reason);
          assert.deepEqual(rig.dropped, ['1 fragment_malformed 1']);
        });
      }

      it('a piece that is no multiple of 8 and not the last', () => {
        const rig = new Rig();
        assert.equal(rig.refusal(cut(1000, 1997, true)), 'fragment_malformed');
        assert.equal(rig.reassembler.waiting, 0);
      });
    });

    it(`more than 65535 bytes, IPv${ends.family}`, () => {
      const rig = new Rig();
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
    const rig = new Rig();
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
    const rig = new Rig();
    const packet = plainUdp(ENDS4, 7, 8, new Uint8Array(1992));
    const view = rig.bench.put(plainFragment(packet, 0, 1000, 1));
    view.gsoType = GSO_UDP_L4;
    assert.equal(rig.reassembler.add(view, 1, 0), -DROP.fragment_malformed);
    view.gsoType = 0;
    view.checksumStart = view.l4Offset;
    assert.equal(rig.reassembler.add(view, 1, 0), -DROP.fragment_malformed);
  });

  it('keeps IPv4 options of the first fragment and mends length and checksum', () => {
    const rig = new Rig();
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
    const rig = new Rig();
    const packet = plainUdp(ENDS4, 1, 2, new Uint8Array(992));
    const withFlag = plainUdp({ ...ENDS4, flags: 0x4000 }, 1, 2, new Uint8Array(992));
    const whole = rig.complete([plainFragment(packet, 0, 496, 4), plainFragment(withFlag, 496, 1000, 4)]);
    assert.equal(rig.reassembler.dontFragment, 1);
    assert.equal(whole[6], 0x40);
    assert.deepEqual(problemsOf(whole), []);
  });

  it('takes the fragment header out behind other extension headers, and leaves those behind it', () => {
    const rig = new Rig();
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
        const rig = new Rig();
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

describe('reassembly: time and memory', () => {
  const packet = plainUdp(ENDS4, 1, 2, new Uint8Array(2992));
  const from = (last: number): Uint8Array =>
    plainUdp({ ...ENDS4, source: [10, 0, last >> 8, last & 255] }, 1, 2, new Uint8Array(2992));

  it('drops what has not arrived within 30 s, across the wrap of time', () => {
    const rig = new Rig();
    const startMs = 0x7fffffff - 5;
    const later = (ms: number): number => (startMs + ms) | 0;
    rig.add(plainFragment(packet, 0, 1000, 1), 4, startMs);
    rig.add(plainFragment(packet, 1000, 2000, 1), 4, later(100));
    rig.add(plainFragment(packet, 0, 1000, 2), 4, later(5000));
    rig.reassembler.sweep(later(REASSEMBLY_TIMEOUT_MS - 1));
    assert.equal(rig.reassembler.waiting, 2);
    rig.reassembler.sweep(later(REASSEMBLY_TIMEOUT_MS));
    assert.deepEqual(rig.dropped, ['4 fragment_timeout 2']);
    assert.equal(rig.reassembler.waiting, 1);
    // A fragment that comes too late begins anew, even if nobody swept.
    assert.equal(rig.add(plainFragment(packet, 1000, 3000, 2), 4, later(35_000)), 0);
    assert.deepEqual(rig.dropped, ['4 fragment_timeout 2', '4 fragment_timeout 1']);
  });

  it('gives up a datagram of too many fragments', () => {
    const rig = new Rig();
    const long = plainUdp(ENDS4, 1, 2, new Uint8Array(4096));
    for (let index = 0; index < MAX_FRAGMENTS; index++) {
      assert.equal(rig.add(plainFragment(long, index * 24, index * 24 + 24, 1)), 0);
    }
    assert.equal(
      rig.add(plainFragment(long, MAX_FRAGMENTS * 24, MAX_FRAGMENTS * 24 + 24, 1)),
      -DROP.fragment_limit,
    );
    assert.deepEqual(rig.dropped, [`1 fragment_limit ${MAX_FRAGMENTS}`]);
  });

  it('evicts the oldest of a source that waits for too many', () => {
    const rig = new Rig(64);
    for (let identification = 0; identification < 9; identification++) {
      assert.equal(rig.add(plainFragment(packet, 0, 1000, identification)), 0);
    }
    assert.deepEqual(rig.dropped, ['1 fragment_limit 1']);
    // The oldest went; the second oldest is still there.
    assert.equal(rig.add(plainFragment(packet, 1000, 2000, 1)), 0);
    assert.ok(rig.add(plainFragment(packet, 2000, 3000, 1)) > 0);
  });

  it('keeps within its memory under a flood of first fragments, and other sites get through', () => {
    const rig = new Rig(64, 512 * 1024);
    const guard = rig.bench.poolOffset + rig.poolBytes;
    rig.bench.memory.bytes.fill(0xa5, guard);
    const first = plainFragment(from(0), 0, 1480, 0);
    const view = rig.bench.put(first);
    let answered = 0;
    let completed = 0;
    for (let count = 0; count < 100_000; count++) {
      // One site, many sources and identifications, as decode would show them.
      view.src3 = 0x0000000a | ((count & 0xffff) << 16);
      view.identification = (count >>> 3) & 0xffff;
      assert.equal(rig.reassembler.add(view, 6, count >>> 7), 0);
      answered++;
      if (count % 500 !== 0) continue;
      // Another site's datagram, one fragment now, the next one 500 packets of the flood later.
      const step = (count / 500) % 3;
      const answer = rig.add(plainFragment(packet, step * 1000, step * 1000 + 1000, 9), 7, count >>> 7);
      if (step === 2) completed++;
      assert.equal(answer > 0, step === 2, `at packet ${count}`);
      rig.reassembler.release();
      rig.bench.put(first);
      assert.ok(rig.reassembler.waiting <= 33, 'one site has half of the records');
      assert.ok(rig.reassembler.heldBytes <= rig.poolBytes);
    }
    assert.ok(completed > 60);
    assert.ok(rig.dropped.every((line) => line === '6 fragment_limit 1'));
    rig.reassembler.sweep(60_000);
    // Every packet of the flood is accounted for; so are the other site's two that the last round left over.
    assert.equal(rig.droppedFragments, answered + 2);
    assert.ok(rig.bench.memory.bytes.slice(guard).every((byte) => byte === 0xa5));
  });

  it('takes records and pages from the greediest space only', () => {
    const rig = new Rig(64, 512 * 1024);
    // Spaces 1 to 16 wait for one small datagram each, space 20 for as many as it may, then space 21.
    for (let space = 1; space <= 16; space++)
      assert.equal(rig.add(plainFragment(packet, 0, 1000, 1), space), 0);
    for (let source = 0; source < 40; source++)
      assert.equal(rig.add(plainFragment(from(source), 0, 1000, 1), 20), 0);
    for (let source = 0; source < 40; source++)
      assert.equal(rig.add(plainFragment(from(source), 0, 1000, 1), 21), 0);
    assert.equal(rig.reassembler.waiting, 64);
    assert.ok(rig.dropped.every((line) => line === '20 fragment_limit 1' || line === '21 fragment_limit 1'));
    for (let space = 1; space <= 16; space++) {
      assert.ok(rig.add(plainFragment(packet, 1000, 3000, 1), space) > 0, `space ${space} completes`);
    }
  });

  it('gives up pages of others before records run out', () => {
    const rig = new Rig(256, 512 * 1024);
    const large = plainUdp(ENDS4, 1, 2, new Uint8Array(60_000));
    const small = plainFragment(packet, 0, 1000, 1);
    assert.equal(rig.add(small, 1), 0);
    for (let identification = 0; identification < 30; identification++) {
      for (let start = 0; start < 59_000; start += 1480) {
        assert.equal(rig.add(plainFragment(large, start, start + 1480, identification), 2), 0);
      }
      assert.ok(rig.reassembler.heldBytes <= rig.poolBytes);
    }
    assert.ok(rig.dropped.length > 0);
    assert.ok(rig.dropped.every((line) => line.startsWith('2 fragment_limit')));
    assert.equal(rig.add(plainFragment(packet, 1000, 2000, 1), 1), 0);
    assert.ok(rig.add(plainFragment(packet, 2000, 3000, 1), 1) > 0);
  });

  it('says that the output is full, and works again after release', () => {
    const rig = new Rig(64, 512 * 1024);
    const large = plainUdp(ENDS4, 1, 2, new Uint8Array(60_000));
    const send = (identification: number): number => {
      let answer = 0;
      for (let start = 0; start < 60_008; start += 1480) {
        answer = rig.add(plainFragment(large, start, Math.min(60_008, start + 1480), identification));
      }
      return answer;
    };
    let whole = 0;
    while (send(whole) > 0) whole++;
    assert.ok(whole >= 1);
    assert.deepEqual(rig.dropped, ['1 memory_full 40']);
    assert.equal(rig.reassembler.waiting, 0);
    rig.reassembler.release();
    assert.ok(send(100) > 0);
  });

  it('refuses a pool in which nothing would fit', () => {
    assert.throws(() => new Rig(64, 64 * 1024), RangeError);
  });

  it('never throws, whatever the fragments say', () => {
    const random = seededRandom(20260);
    const rig = new Rig(16, 512 * 1024);
    const guard = rig.bench.poolOffset + rig.poolBytes;
    rig.bench.memory.bytes.fill(0xa5, guard);
    let completed = 0;
    let taken = 0;
    for (let count = 0; count < 20_000; count++) {
      const ends = random() < 0.5 ? ENDS4 : ENDS6;
      const whole = plainUdp(ends, 1, 2, new Uint8Array(312));
      const unit = random() < 0.9 ? 80 : 8;
      const start = Math.floor(random() * 4) * unit * (random() < 0.02 ? 600 : 1);
      const end = start + (random() < 0.9 ? unit : Math.floor(random() * 30) * 8);
      const more = random() < 0.95 ? end < 320 : random() < 0.5;
      const bytes = plainFragment(whole, start, end, count >> 4, more);
      if (random() < 0.3) {
        bytes[Math.floor(random() * bytes.length)]! ^= 1 << Math.floor(random() * 8);
      }
      if (rig.bench.offer(bytes) !== 0) continue;
      if (rig.bench.view.fragment === 0) continue;
      taken++;
      const answer = rig.reassembler.add(rig.bench.view, count & 1, count * 3);
      if (answer > 0) {
        completed++;
        rig.reassembler.release();
      }
      if (count % 500 === 0) rig.reassembler.sweep(count * 3);
    }
    assert.ok(taken > 1000 && completed > 10, `${taken} taken, ${completed} completed`);
    rig.reassembler.sweep(20_000 * 3 + REASSEMBLY_TIMEOUT_MS);
    assert.equal(rig.reassembler.waiting, 0);
    assert.equal(rig.reassembler.heldBytes, 0);
    assert.ok(rig.bench.memory.bytes.slice(guard).every((byte) => byte === 0xa5));
  });
});
