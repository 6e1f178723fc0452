import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PacketBench } from '../../test/support/packet-bench.ts';
import { GSO_TCPV4, type PacketView } from '../wire/packet.ts';
import { Identifications } from './identification.ts';
import { KeyedHash } from './keyed-hash.ts';

function view(family: number, source: number, destination: number, protocol: number): PacketView {
  const { reply } = new PacketBench(0);
  reply.family = family;
  reply.src3 = source;
  reply.dst3 = destination;
  reply.protocol = protocol;
  return reply;
}

describe('identifications', () => {
  it('repeat for an IPv4 tuple only after 65536 packets, whatever is sent in between by tuples of other counters', () => {
    const identifications = new Identifications(11, 12);
    const tuple = view(4, 1, 2, 17);
    const seen = new Uint8Array(65536);
    for (let count = 0; count < 65536; count++) {
      const identification = identifications.next(tuple);
      assert.equal(seen[identification], 0);
      seen[identification] = 1;
    }
    assert.equal(seen[identifications.next(tuple)], 1);
  });

  it('leave room for every segment of a GSO packet', () => {
    const identifications = new Identifications(11, 12);
    const tuple = view(4, 1, 2, 6);
    tuple.gsoType = GSO_TCPV4;
    tuple.gsoSize = 1000;
    tuple.payloadLength = 3001;
    const first = identifications.next(tuple);
    assert.equal((identifications.next(tuple) - first) & 0xffff, 4);
  });

  it('never repeat soon, even where tuples share a counter', () => {
    const identifications = new Identifications(5, 6);
    const tuple = view(4, 0, 2, 17);
    const last = new Map<number, Set<number>>();
    // 20 packets to each of 2000 destinations, interleaved.
    for (let count = 0; count < 40_000; count++) {
      tuple.dst3 = count % 2000;
      const used = last.get(tuple.dst3) ?? new Set();
      const identification = identifications.next(tuple);
      assert.ok(!used.has(identification));
      used.add(identification);
      last.set(tuple.dst3, used);
    }
  });

  it('are 32 bits for IPv6, and unique', () => {
    const identifications = new Identifications(11, 12);
    const tuple = view(6, 1, 2, 17);
    const seen = new Set<number>();
    let beyond16 = 0;
    for (let destination = 0; destination < 200; destination++) {
      tuple.dst0 = destination;
      const used = new Set<number>();
      for (let count = 0; count < 100; count++) {
        const identification = identifications.next(tuple);
        assert.equal(identification, identification | 0);
        assert.ok(!used.has(identification));
        used.add(identification);
        seen.add(identification);
        if (identification >>> 16 !== 0) beyond16++;
      }
    }
    assert.ok(seen.size > 19_000);
    assert.ok(beyond16 > 19_000);
  });

  it("of one tuple do not tell another key's, nor another tuple's", () => {
    const starts = new Set<number>();
    for (let key = 0; key < 100; key++) starts.add(new Identifications(key, 0).next(view(4, 1, 2, 17)));
    assert.ok(starts.size > 95);
    const identifications = new Identifications(9, 9);
    const offsets = new Set<number>();
    for (let destination = 0; destination < 100; destination++) {
      offsets.add(identifications.next(view(4, 1, destination, 17)));
    }
    assert.ok(offsets.size > 95);
    // The protocol is part of the tuple.
    assert.notEqual(
      new Identifications(1, 1).next(view(4, 1, 2, 17)),
      new Identifications(1, 1).next(view(4, 1, 2, 6)),
    );
  });
});

describe('keyed hash', () => {
  const hashOf = (hash: KeyedHash, ...words: number[]): number => {
    hash.begin();
    for (const word of words) hash.add(word);
    return hash.finish();
  };

  it('depends on every bit of the words and of the key, on their number and order', () => {
    const hash = new KeyedHash(1, 2);
    const reference = hashOf(hash, 3, 4);
    assert.equal(hashOf(hash, 3, 4), reference);
    assert.equal(hashOf(new KeyedHash(1, 2), 3, 4), reference);
    assert.notEqual(hashOf(hash, 4, 3), reference);
    assert.notEqual(hashOf(hash, 3, 4, 0), reference);
    assert.notEqual(hashOf(hash, 3), hashOf(hash, 3, 0));
    for (let bit = 0; bit < 32; bit++) {
      assert.notEqual(hashOf(hash, 3 ^ (1 << bit), 4), reference);
      assert.notEqual(hashOf(hash, 3, 4 ^ (1 << bit)), reference);
      assert.notEqual(hashOf(new KeyedHash(1 ^ (1 << bit), 2), 3, 4), reference);
      assert.notEqual(hashOf(new KeyedHash(1, 2 ^ (1 << bit)), 3, 4), reference);
    }
  });

  it('flips about half of its bits for one bit of input', () => {
    const hash = new KeyedHash(0x12345678, 0x0badcafe);
    let flipped = 0;
    let trials = 0;
    for (let word = 0; word < 200; word++) {
      const reference = hashOf(hash, word, 7);
      for (let bit = 0; bit < 32; bit++) {
        let difference = reference ^ hashOf(hash, word ^ (1 << bit), 7);
        for (; difference !== 0; difference &= difference - 1) flipped++;
        trials += 32;
      }
    }
    assert.ok(Math.abs(flipped / trials - 0.5) < 0.01, `${flipped / trials}`);
  });

  it('spreads consecutive addresses evenly', () => {
    const hash = new KeyedHash(7, 8);
    const buckets = new Uint32Array(256);
    for (let address = 0; address < 25_600; address++) buckets[hashOf(hash, address) & 255]!++;
    assert.ok(
      Math.min(...buckets) > 55 && Math.max(...buckets) < 150,
      `${Math.min(...buckets)} ${Math.max(...buckets)}`,
    );
  });
});
