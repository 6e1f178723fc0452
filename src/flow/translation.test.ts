/** Translation against examples: what a mapping keeps, who gets a port when, and what a change of addresses does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import type { AddressWords, ReservedPort, TranslationPool } from './port-pool.ts';
import {
  TRANSLATION_NO_ADDRESS,
  TRANSLATION_NO_PORTS,
  TRANSLATION_PROTOCOL,
  TRANSLATION_QUOTA,
  Translation,
} from './translation.ts';
import { translationWords } from './translation-layout.ts';

const EGRESS = 900;
const A: AddressWords = [0, 0, 0, 0x01_02_03_04];
const B: AddressWords = [0, 0, 0, 0x05_06_07_08];

function pool(address: AddressWords, portMin: number, portMax: number, quotaPerSite = 1000): TranslationPool {
  return { egress: EGRESS, family: 4, address, portMin, portMax, quotaPerSite };
}

function make(pools: readonly TranslationPool[], seed = 1, chunks = 8, nowMs = 0): Translation {
  const translation = new Translation(new Int32Array(translationWords(chunks)), seed, nowMs);
  assert.equal(translation.configure(pools, [], nowMs).unplacedPorts, 0);
  return translation;
}

/** Acquires for a TCP endpoint of a host whose number is its address, and counts one flow. */
function open(translation: Translation, space: number, host: number, nowMs: number, port = 5000): number {
  const slot = translation.acquire(EGRESS, space, 4, 0, 0, 0, host, port, PROTOCOL_TCP, nowMs);
  if (slot >= 0) translation.retain(slot);
  return slot;
}

function restart(translation: Translation, pools: readonly TranslationPool[], nowMs: number): Translation {
  const next = new Translation(translation.words.slice(), 999, nowMs);
  next.configure(pools, [], nowMs);
  return next;
}

test('an endpoint has one mapping, whatever opens it, and it can be found from both sides', () => {
  const translation = make([pool(A, 2000, 2999)]);
  const slot = open(translation, 1, 10, 0);
  assert.ok(slot >= 0);
  assert.equal(open(translation, 1, 10, 5), slot);
  const port = translation.externalPort(slot);
  assert.ok(port >= 2000 && port <= 2999);
  const external = translation.externalAddressAt(slot);
  assert.deepEqual([...translation.words.slice(external, external + 4)], [...A]);
  const internal = translation.internalAddressAt(slot);
  assert.deepEqual([...translation.words.slice(internal, internal + 4)], [0, 0, 0, 10]);
  assert.equal(translation.internalPort(slot), 5000);
  assert.equal(translation.siteSpace(slot), 1);
  assert.equal(translation.egressSpace(slot), EGRESS);
  assert.equal(translation.family(slot), 4);
  assert.equal(translation.findExternal(EGRESS, 4, ...A, PROTOCOL_TCP, port), slot);
  assert.equal(translation.findExternal(EGRESS, 4, ...A, PROTOCOL_UDP, port), -1);
  assert.equal(translation.findExternal(EGRESS + 1, 4, ...A, PROTOCOL_TCP, port), -1);
  assert.equal(translation.findExternal(EGRESS, 4, ...B, PROTOCOL_TCP, port), -1);
  assert.equal(translation.findExternal(EGRESS, 4, ...A, PROTOCOL_TCP, 3000), -1);
  // Two flows: the first release changes nothing.
  translation.release(slot, 1000, 10);
  assert.equal(translation.findExternal(EGRESS, 4, ...A, PROTOCOL_TCP, port), slot);
  translation.release(slot, 1000, 10);
  assert.equal(translation.findExternal(EGRESS, 4, ...A, PROTOCOL_TCP, port), -1);
});

test('site, address, port and protocol each make another mapping', () => {
  const translation = make([pool(A, 2000, 2999)]);
  const acquire = (space: number, host: number, port: number, protocol: number) =>
    translation.acquire(EGRESS, space, 4, 0, 0, 0, host, port, protocol, 0);
  const slots = [
    acquire(1, 10, 5000, PROTOCOL_TCP),
    acquire(2, 10, 5000, PROTOCOL_TCP),
    acquire(1, 11, 5000, PROTOCOL_TCP),
    acquire(1, 10, 5001, PROTOCOL_TCP),
    acquire(1, 10, 5000, PROTOCOL_UDP),
    acquire(1, 10, 5000, PROTOCOL_ICMP),
  ];
  assert.ok(slots.every((slot) => slot >= 0));
  assert.equal(new Set(slots).size, slots.length);
});

test('a protocol without ports and a family without address are refused by name', () => {
  const translation = make([pool(A, 2000, 2999)]);
  assert.equal(translation.acquire(EGRESS, 1, 4, 0, 0, 0, 1, 0, 47, 0), TRANSLATION_PROTOCOL);
  assert.equal(translation.acquire(EGRESS, 1, 4, 0, 0, 0, 1, 1, PROTOCOL_ICMPV6, 0), TRANSLATION_PROTOCOL);
  assert.equal(translation.acquire(EGRESS, 1, 6, 1, 0, 0, 1, 1, PROTOCOL_UDP, 0), TRANSLATION_NO_ADDRESS);
  assert.equal(translation.acquire(EGRESS + 1, 1, 4, 0, 0, 0, 1, 1, PROTOCOL_UDP, 0), TRANSLATION_NO_ADDRESS);
});

test('IPv6 is translated alike, all four words telling addresses apart', () => {
  const six: TranslationPool = { ...pool([1, 2, 3, 4], 100, 299), family: 6 };
  const translation = make([six]);
  const slots = new Set<number>();
  for (let word = 0; word < 4; word++) {
    const a = [7, 7, 7, 7];
    a[word] = 8;
    slots.add(translation.acquire(EGRESS, 1, 6, a[0]!, a[1]!, a[2]!, a[3]!, 1, PROTOCOL_ICMPV6, 0));
  }
  assert.equal(slots.size, 4);
  for (const slot of slots) {
    const port = translation.externalPort(slot);
    assert.equal(translation.findExternal(EGRESS, 6, 1, 2, 3, 4, PROTOCOL_ICMPV6, port), slot);
    assert.equal(translation.findExternal(EGRESS, 6, 1, 2, 3, 5, PROTOCOL_ICMPV6, port), -1);
  }
});

test('never used ports come first in an order of the seed, then the one whose hold ended first', () => {
  const order = (seed: number) => {
    const translation = make([pool(A, 2000, 2015)], seed);
    return Array.from({ length: 16 }, (_, host) => translation.externalPort(open(translation, 1, host, 0)));
  };
  assert.deepEqual(order(5), order(5));
  assert.notDeepEqual(order(5), order(6));
  assert.equal(new Set(order(5)).size, 16);

  const translation = make([pool(A, 2000, 2007)]);
  const slots = Array.from({ length: 4 }, (_, host) => open(translation, 1, host, 0));
  // Released in the order 2, 0, 3, 1; but the hold of 2 is the longest.
  translation.release(slots[2]!, 100_000, 1000);
  translation.release(slots[0]!, 20_000, 3000);
  translation.release(slots[3]!, 20_000, 6000);
  translation.release(slots[1]!, 20_000, 9000);
  const expected = [slots[0]!, slots[3]!, slots[1]!, slots[2]!];
  for (const late of [false, true]) {
    // The same whether the holds end in time or are all overdue, and after a restart.
    const copy = restart(translation, [pool(A, 2000, 2007)], 10_000);
    if (!late) for (let now = 10_000; now < 200_000; now += 500) copy.sweep(now);
    const next = Array.from({ length: 8 }, (_, host) => open(copy, 2, host, 200_000));
    assert.ok(next.slice(0, 4).every((slot) => !slots.includes(slot)));
    assert.deepEqual(next.slice(4), expected);
  }
});

test('a free list keeps its order over a restart', () => {
  const pools = [pool(A, 2000, 2031)];
  const translation = make(pools);
  const first = Array.from({ length: 12 }, (_, host) => open(translation, 1, host, 0));
  first.forEach((slot, i) => {
    translation.release(slot, 1000, i * 2000);
  });
  translation.sweep(100_000);
  const copy = restart(translation, pools, 100_000);
  for (let host = 0; host < 32; host++) {
    assert.equal(open(copy, 2, host, 100_000), open(translation, 2, host, 100_000));
  }
});

test('a held port is for its endpoint, then for its site if nothing else is free, never for another site', () => {
  const translation = make([pool(A, 2000, 2001)]);
  const slot = open(translation, 1, 10, 0);
  const other = open(translation, 2, 20, 0);
  translation.release(slot, 240_000, 0);
  assert.equal(open(translation, 2, 21, 239_999), TRANSLATION_NO_PORTS);
  assert.equal(open(translation, 1, 10, 239_999), slot, 'the endpoint gets its own back');
  translation.release(slot, 240_000, 239_999);
  assert.equal(open(translation, 1, 11, 240_000), slot, 'another endpoint of the site may have it');
  // That mapping ends at once, but the hold of the one before goes on.
  translation.release(slot, 0, 240_001);
  assert.equal(open(translation, 2, 21, 479_998), TRANSLATION_NO_PORTS);
  assert.equal(open(translation, 2, 21, 482_000), slot, 'recovered');
  assert.notEqual(other, slot);
});

test('a mapping is held for as long as any of its flows asked for', () => {
  const translation = make([pool(A, 2000, 2000)]);
  const slot = open(translation, 1, 10, 0);
  open(translation, 1, 10, 0);
  translation.release(slot, 7_440_000, 0);
  translation.release(slot, 240_000, 1000);
  assert.equal(open(translation, 2, 20, 7_439_000), TRANSLATION_NO_PORTS);
  assert.equal(open(translation, 2, 20, 7_442_000), slot);
});

test('holds longer than a turn of the wheel, and across the wrap of the clock', () => {
  const nearWrap = 0x7fff_ffff - 5000;
  const translation = make([pool(A, 2000, 2000)], 1, 1, nearWrap);
  const slot = open(translation, 1, 10, nearWrap);
  const hold = 30_000_000;
  translation.release(slot, hold, nearWrap);
  for (let passed = 0; passed < hold; passed += 999_983) {
    assert.equal(open(translation, 2, 20, (nearWrap + passed) | 0), TRANSLATION_NO_PORTS);
  }
  assert.equal(open(translation, 2, 20, (nearWrap + hold - 1) | 0), TRANSLATION_NO_PORTS);
  assert.equal(open(translation, 2, 20, (nearWrap + hold + 1024) | 0), slot);
});

test('a site has its quota of live mappings, and cannot drain the pool through the hold', () => {
  const translation = make([pool(A, 2000, 2009, 3)]);
  for (let host = 0; host < 3; host++) assert.ok(open(translation, 1, host, 0) >= 0);
  assert.equal(open(translation, 1, 3, 0), TRANSLATION_QUOTA);
  assert.ok(translation.acquire(EGRESS, 1, 4, 0, 0, 0, 3, 1, PROTOCOL_UDP, 0) >= 0, 'counted by protocol');
  assert.ok(open(translation, 2, 3, 0) >= 0, 'and by site');
  const used = new Set<number>();
  for (let host = 0; host < 50; host++) {
    const slot = open(translation, 3, host, host);
    assert.ok(slot >= 0);
    used.add(slot);
    translation.release(slot, 240_000, host);
  }
  assert.equal(used.size, 3);
  // Oldest release first among its own.
  const again = [50, 51, 52].map((host) => open(translation, 3, host, 60));
  assert.deepEqual(new Set(again), used);
  assert.equal(open(translation, 3, 53, 60), TRANSLATION_QUOTA);
});

test('exhaustion is told from quota, and ends when holds do', () => {
  const translation = make([pool(A, 2000, 2003, 4)]);
  const slots = [0, 1, 2, 3].map((host) => open(translation, 1, host, 0));
  assert.equal(open(translation, 1, 4, 0), TRANSLATION_QUOTA);
  assert.equal(open(translation, 2, 4, 0), TRANSLATION_NO_PORTS);
  for (const slot of slots) translation.release(slot, 1000, 0);
  assert.equal(open(translation, 2, 4, 999), TRANSLATION_NO_PORTS);
  assert.deepEqual([4, 5, 6, 7].map((host) => open(translation, 2, host, 3000)).toSorted(), slots.toSorted());
});

test('a host prefers one address, hosts spread over all, and use another when theirs is exhausted', () => {
  const addresses: AddressWords[] = [A, B, [0, 0, 0, 99], [0, 0, 0, 77]];
  const translation = make(addresses.map((address) => pool(address, 2000, 2099)));
  const seen = new Set<number>();
  for (let host = 0; host < 8; host++) {
    const external = new Set<number>();
    for (let port = 0; port < 10; port++) {
      const at = translation.externalAddressAt(open(translation, 1, host, 0, port));
      external.add(translation.words[at + 3]!);
    }
    assert.equal(external.size, 1);
    for (const address of external) seen.add(address);
  }
  assert.ok(seen.size > 1);
  const both = make([pool(A, 2000, 2001), pool(B, 2000, 2001)]);
  const ports = [1, 2, 3, 4].map((port) => open(both, 1, 1, 0, port));
  assert.equal(new Set(ports).size, 4);
  assert.equal(both.externalAddressAt(ports[0]!), both.externalAddressAt(ports[1]!));
  assert.notEqual(both.externalAddressAt(ports[1]!), both.externalAddressAt(ports[2]!));
  assert.equal(open(both, 1, 1, 0, 5), TRANSLATION_NO_PORTS);
});

test('a reserved port is never allocated; a mapping on one that becomes reserved ends', () => {
  const pools = [pool(A, 2000, 2003)];
  const translation = make(pools);
  const slot = open(translation, 1, 1, 0);
  const reserved: ReservedPort = {
    egress: EGRESS,
    family: 4,
    address: A,
    protocol: PROTOCOL_TCP,
    port: translation.externalPort(slot),
  };
  assert.deepEqual(translation.configure(pools, [reserved], 0).ended, [slot]);
  assert.equal(translation.isUsable(slot), false);
  assert.equal(translation.findExternal(EGRESS, 4, ...A, PROTOCOL_TCP, reserved.port), -1);
  const others = [1, 2, 3].map((host) => open(translation, 1, host, 0));
  assert.ok(others.every((other) => other >= 0 && other !== slot));
  assert.equal(open(translation, 1, 4, 0), TRANSLATION_NO_PORTS);
  const udp = [1, 2, 3, 4].map((host) =>
    translation.acquire(EGRESS, 1, 4, 0, 0, 0, host, 1, PROTOCOL_UDP, 0),
  );
  assert.ok(
    udp.every((other) => other >= 0),
    'the other protocol has all four',
  );
});

test('an address that changes ends its mappings; when it comes back its holds still run', () => {
  const translation = make([pool(A, 2000, 2003)]);
  const slots = [0, 1, 2, 3].map((host) => open(translation, 1, host, 0));
  const change = translation.configure([pool(B, 2000, 2003)], [], 1000);
  assert.deepEqual([...change.ended].toSorted(), slots.toSorted());
  assert.equal(change.unplacedPorts, 0);
  for (const slot of slots) translation.release(slot, 240_000, 1000);
  const moved = open(translation, 1, 0, 1000);
  assert.equal(translation.words[translation.externalAddressAt(moved) + 3], B[3]);
  translation.release(moved, 0, 1000);
  translation.configure([pool(A, 2000, 2003)], [], 5000);
  assert.equal(open(translation, 2, 9, 240_999), TRANSLATION_NO_PORTS);
  assert.equal(open(translation, 1, 2, 240_999), slots[2], 'and its endpoint finds it');
  assert.ok(slots.includes(open(translation, 2, 9, 243_000)));
});

test('slots keep their place when the range changes', () => {
  const translation = make([pool(A, 2000, 4000)]);
  const slots = Array.from({ length: 500 }, (_, host) => open(translation, 1, host, 0));
  const ports = slots.map((slot) => translation.externalPort(slot));
  const { ended } = translation.configure([pool(A, 3000, 5000)], [], 0);
  assert.deepEqual([...ended].toSorted(), slots.filter((_, i) => ports[i]! < 3000).toSorted());
  assert.ok(ended.length > 0 && ended.length < 500);
  slots.forEach((slot, host) => {
    if (ports[host]! < 3000) return;
    assert.equal(open(translation, 1, host, 0), slot);
    assert.equal(translation.externalPort(slot), ports[host]);
  });
});

test('an address that is gone keeps its place while holds run, then gives it up', () => {
  const translation = make([pool(A, 2000, 2003)], 1, 1);
  const slot = open(translation, 1, 1, 0);
  translation.release(slot, 10_000, 0);
  const pools = [pool(B, 2000, 2003)];
  assert.equal(translation.configure(pools, [], 9_999).unplacedPorts, 4);
  assert.equal(open(translation, 1, 1, 9_999), TRANSLATION_NO_PORTS);
  assert.equal(translation.configure(pools, [], 10_000).unplacedPorts, 0);
  assert.ok(open(translation, 1, 1, 10_000) >= 0);
});

test('after a restart flows are adopted, and mappings without one are held', () => {
  const pools = [pool(A, 2000, 2001)];
  const translation = make(pools);
  const kept = open(translation, 1, 1, 0);
  const lost = open(translation, 1, 2, 0);
  const next = restart(translation, pools, 1000);
  assert.equal(next.adopt(kept, 1, 0, 0, 0, 1, 5000, PROTOCOL_TCP), true);
  assert.equal(next.adopt(lost, 2, 0, 0, 0, 2, 5000, PROTOCOL_TCP), false, 'another site');
  assert.equal(next.adopt(lost, 1, 0, 0, 0, 3, 5000, PROTOCOL_TCP), false, 'another host');
  assert.equal(next.adopt(lost, 1, 0, 0, 0, 2, 5001, PROTOCOL_TCP), false, 'another port');
  assert.equal(next.adopt(lost, 1, 0, 0, 0, 2, 5000, PROTOCOL_UDP), false, 'another protocol');
  assert.equal(next.adopt(-1, 1, 0, 0, 0, 2, 5000, PROTOCOL_TCP), false);
  assert.equal(next.adopt(1 << 30, 1, 0, 0, 0, 2, 5000, PROTOCOL_TCP), false);
  next.settle(7_440_000, 300_000, 60_000, 1000);
  assert.equal(open(next, 1, 1, 1000), kept);
  assert.equal(open(next, 2, 9, 7_440_999), TRANSLATION_NO_PORTS);
  assert.equal(open(next, 2, 9, 7_443_000), lost);
});

test('an acquired slot that no flow came to use is given back', () => {
  const translation = make([pool(A, 2000, 2000)]);
  const slot = translation.acquire(EGRESS, 1, 4, 0, 0, 0, 1, 1, PROTOCOL_TCP, 0);
  translation.abandon(slot, 0);
  assert.equal(open(translation, 2, 1, 2048), slot);
  translation.abandon(slot, 2048);
  assert.equal(open(translation, 1, 1, 9999), TRANSLATION_NO_PORTS, 'a slot with flows stays');
});

test('an impossible configuration is refused and changes nothing', () => {
  const translation = make([pool(A, 2000, 2003)]);
  const slot = open(translation, 1, 1, 0);
  const bad: [TranslationPool[], ReservedPort[]][] = [
    [[pool(B, 2000, 2001), pool(B, 3000, 3001)], []],
    [[pool(B, 2001, 2000)], []],
    [[pool(B, 0, 10)], []],
    [[pool(B, 1, 65_536)], []],
    [[pool(B, 1, 2, 0)], []],
    [[{ ...pool(B, 1, 2), egress: 0 }], []],
    [[pool(B, 1, 2)], [{ egress: EGRESS, family: 4, address: B, protocol: 47, port: 1 }]],
    [[pool(B, 1, 2)], [{ egress: EGRESS, family: 4, address: B, protocol: 6, port: 65_536 }]],
  ];
  for (const [pools, reserved] of bad) {
    assert.throws(() => translation.configure(pools, reserved, 0), RangeError);
    assert.equal(open(translation, 1, 1, 0), slot);
  }
  assert.throws(() => new Translation(new Int32Array(100), 1, 0), RangeError);
});

test('acquire, release and lookup allocate nothing', () => {
  const translation = make([pool(A, 2000, 4999)]);
  const recent = new Int32Array(1024).fill(-1);
  let now = 0;
  const run = (rounds: number) => {
    for (let i = 0; i < rounds; i++) {
      now = (now + 50) | 0;
      const place = i & 1023;
      const old = recent[place]!;
      if (old >= 0) translation.release(old, 30_000, now);
      const slot = translation.acquire(EGRESS, 1 + (i & 3), 4, 0, 0, 0, i, i & 0xffff, PROTOCOL_TCP, now);
      if (slot >= 0) translation.retain(slot);
      translation.findExternal(EGRESS, 4, 0, 0, 0, 0x01_02_03_04, PROTOCOL_TCP, 2000 + (i & 1023));
      recent[place] = slot;
    }
  };
  run(200_000);
  const before = process.memoryUsage().heapUsed;
  run(100_000);
  const grown = process.memoryUsage().heapUsed - before;
  assert.ok(grown < 200_000, `${grown} bytes in 100000 rounds`);
});
