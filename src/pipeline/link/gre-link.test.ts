import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  arpReply,
  ethernet,
  ethernetDevice,
  type GreSpec,
  gre,
  grePort,
  LinkBench,
  OWN_MAC,
  PEER_MAC,
  plan,
} from '../../../test/support/link-bench.ts';
import { plainChecksum, problemsOf } from '../../../test/support/plain-packets.ts';
import {
  EGRESS,
  LOCAL,
  LOCAL6,
  OVER_IPV6,
  one,
  outer,
  REMOTE,
  REMOTE6,
  routerError,
  udp,
  uplink,
} from '../../../test/support/uplink-bench.ts';
import { buildFragments, buildPacket } from '../../wire/build.ts';
import { FRAME_SEGMENT_GRE } from '../../wire/frame.ts';
import { GSO_TCPV4, type PacketView, TCP_ACK } from '../../wire/packet.ts';
import type { PlanPort } from '../plan.ts';

test('a packet belongs to a tunnel by device, both addresses and key', () => {
  const bench = uplink([
    grePort({ index: 0, device: 0 }),
    grePort({ index: 1, device: 0 }, { key: 7 }),
    grePort({ index: 2, device: 0 }, { key: 0xfffffff0 }),
    grePort({ index: 3, device: 0 }, { remote: '198.51.100.11' }),
    grePort({ index: 4, device: 0 }, { local: '192.0.2.2' }),
    grePort({ index: 5, device: 0 }, { key: 0 }),
    grePort({ index: 6, device: 0 }, { ...OVER_IPV6 }),
  ]);
  const unknown = -1;
  const table: [string, GreSpec, { source?: string; destination?: string }, number][] = [
    ['no key', {}, {}, 0],
    ['key 7', { key: 7 }, {}, 1],
    ['a large key', { key: 0xfffffff0 }, {}, 2],
    ['key 0 is a key', { key: 0 }, {}, 5],
    ['key of nobody', { key: 8 }, {}, unknown],
    ['another remote', {}, { source: '198.51.100.11' }, 3],
    ['the key of another remote', { key: 7 }, { source: '198.51.100.11' }, unknown],
    ['another local', {}, { destination: '192.0.2.2' }, 4],
    ['an unknown remote', {}, { source: '198.51.100.12' }, unknown],
    ['over IPv6', {}, { source: REMOTE6, destination: LOCAL6 }, 6],
    ['over IPv6 with a key', { key: 7 }, { source: REMOTE6, destination: LOCAL6 }, unknown],
  ];
  for (const [name, spec, addresses, port] of table) {
    const inner = udp();
    assert.equal(bench.receivePacket(0, outer(gre(spec, inner), addresses)), port, name);
    if (port >= 0) assert.deepEqual(bench.delivered(), inner, name);
    assert.deepEqual(bench.takeDrops(), port < 0 ? ['9:unknown_tunnel'] : [], name);
  }
  assert.equal(bench.receivePacket(1, outer(gre({}, udp()))), -1, 'on another device');
  assert.deepEqual(bench.takeDrops(), ['-1:unknown_tunnel']);
});

test('GRE that is not for a tunnel’s own end is an ordinary packet', () => {
  const bench = one();
  const packet = outer(gre({}, udp()), { destination: '192.0.2.77' });
  assert.equal(bench.receivePacket(0, packet), 9);
  assert.deepEqual(bench.delivered(), packet);
  assert.equal(bench.link.outerTrafficClass, -1);
});

test('GRE to an own end never passes as an ordinary packet, however it is dressed', () => {
  const bench = one(OVER_IPV6);
  const addresses = { source: REMOTE6, destination: LOCAL6 };
  const inner = gre({ key: 99 }, udp());
  const raw = { kind: 'raw', protocol: 47, payload: inner } as const;
  const options = { protocol: 60, body: Uint8Array.of(4, 1, 4, 1, 1, 0) };
  const routing = { protocol: 43, body: new Uint8Array(6) };
  const dressed = [
    buildPacket({ ...addresses, transport: raw, extensions: [options] }),
    buildPacket({ ...addresses, transport: raw, extensions: [options, routing] }),
    buildPacket({ ...addresses, transport: raw, extensions: [{ protocol: 0, body: new Uint8Array(6) }] }),
    ...buildFragments(buildPacket({ ...addresses, transport: raw }), 96, 5),
  ];
  for (const packet of dressed) assert.equal(bench.receivePacket(0, packet), -1);
  assert.equal(bench.takeDrops().length, dressed.length);
  const known = { kind: 'raw', protocol: 47, payload: gre({}, udp()) } as const;
  const limited = buildPacket({ ...addresses, transport: known, extensions: [options] });
  assert.equal(bench.receivePacket(0, limited), 0, 'a tunnel encapsulation limit is stepped over');
  assert.deepEqual(bench.delivered(), udp());
});

test('what comes out is what went in, with any options, over both families', () => {
  const links = fc.record({
    key: fc.option(fc.integer({ min: 0, max: 0xffffffff })),
    checksum: fc.boolean(),
    sequence: fc.boolean(),
  });
  const packets = fc.record({
    isIpv6: fc.boolean(),
    bytes: fc.integer({ min: 0, max: 1300 }),
    trafficClass: fc.constantFrom(0, 2, 1, 3, 0xb8),
  });
  const property = fc.property(links, fc.boolean(), packets, (options, isOverIpv6, packet) => {
    const link = { ...options, ...(isOverIpv6 ? OVER_IPV6 : {}) };
    const sender = one(link);
    const swapped = { local: isOverIpv6 ? REMOTE6 : REMOTE, remote: isOverIpv6 ? LOCAL6 : LOCAL };
    const receiver = new LinkBench(
      plan([ethernetDevice(0, PEER_MAC)], [grePort({ index: 3, device: 0 }, { ...link, ...swapped })]),
    );
    const inner = udp(packet);
    assert.equal(sender.send(0, inner), 'none');
    const [sent] = sender.takeSent();
    assert.ok(sent);
    assert.deepEqual(problemsOf(sent.packet), []);
    assert.deepEqual(sent.virtio, new Uint8Array(10));
    assert.equal(receiver.receive(0, sent.frame), 3);
    assert.deepEqual(receiver.delivered(), inner);
    assert.equal(receiver.link.outerTrafficClass, packet.trafficClass);
    assert.equal(receiver.link.packetOffset % 4, 0);
  });
  fc.assert(property, { seed: 2, numRuns: 100 });
});

test('the outer packet, byte by byte', () => {
  const bench = one({ key: 7, checksum: true, sequence: true, ttl: 33 });
  const inner = udp({ trafficClass: 0xb9 });
  bench.send(0, inner);
  const [sent] = bench.takeSent();
  const header = gre({ key: 7, checksum: true, sequence: 1 }, inner);
  const expected = buildPacket({
    source: LOCAL,
    destination: REMOTE,
    ttl: 33,
    trafficClass: 0xb9,
    identification: 1,
    dontFragment: true,
    transport: { kind: 'raw', protocol: 47, payload: header },
  });
  assert.deepEqual(sent?.frame, ethernet(PEER_MAC, OWN_MAC, expected));
});

test('a GRE checksum is verified if there, and must be there if configured', () => {
  const inner = udp();
  const right = gre({ checksum: true }, inner);
  const wrong = right.slice();
  wrong[right.length - 1]! ^= 1;
  const lenient = one();
  assert.equal(lenient.receivePacket(0, outer(right)), 0);
  assert.equal(lenient.receivePacket(0, outer(wrong)), -1);
  const strict = one({ checksum: true });
  assert.equal(strict.receivePacket(0, outer(right)), 0);
  assert.equal(strict.receivePacket(0, outer(wrong)), -1);
  assert.equal(strict.receivePacket(0, outer(gre({}, inner))), -1);
  assert.deepEqual(lenient.takeDrops(), ['0:gre_checksum']);
  assert.deepEqual(strict.takeDrops(), ['0:gre_checksum', '0:gre_checksum']);
});

/** Makes the view's UDP checksum partial, as a local sender's kernel hands it out. */
function makePartial(view: PacketView): void {
  const start = view.l4Offset;
  const segment = view.bytes.slice(start, view.offset + view.length);
  const full = (segment[6]! << 8) | segment[7]!;
  segment[6] = 0;
  segment[7] = 0;
  // The checksum is the complement of pseudo-header and segment: what remains is the pseudo-header's sum.
  let pseudo = (~full & 0xffff) - (0xffff - plainChecksum(segment));
  if (pseudo < 0) pseudo += 0xffff;
  view.bytes[start + 6] = pseudo >>> 8;
  view.bytes[start + 7] = pseudo & 0xff;
  view.checksumStart = start;
  view.checksumOffset = 6;
}

test('a partial checksum stays partial, and is completed under a GRE checksum', () => {
  const plain = one();
  assert.equal(plain.send(0, udp(), makePartial), 'none');
  const [partial] = plain.takeSent();
  const innerAt = 14 + 20 + 4;
  const virtio = new DataView(partial!.virtio.buffer);
  assert.equal(virtio.getUint8(0), 1);
  assert.equal(virtio.getUint16(6, true), innerAt + 20, 'counted from the Ethernet header');
  assert.equal(virtio.getUint16(8, true), 6);
  const summed = one({ checksum: true });
  assert.equal(summed.send(0, udp(), makePartial), 'none');
  const [full] = summed.takeSent();
  assert.deepEqual(full?.virtio, new Uint8Array(10));
  assert.deepEqual(full?.packet.slice(20 + 8), udp());
  assert.equal(plainChecksum(full!.packet.slice(20)), 0);
});

test('a GRE checksum over a partial inner checksum counts what will stand there', () => {
  const bench = one({ checksum: true });
  const header = gre({ checksum: true }, udp());
  const packet = outer(header);
  const frame = ethernet(OWN_MAC, PEER_MAC, packet);
  // The sender's kernel computed the GRE checksum over the completed packet, but left the inner one partial.
  const udpAt = 14 + 20 + 8 + 20;
  const segment = frame.slice(udpAt);
  const full = (segment[6]! << 8) | segment[7]!;
  segment[6] = 0;
  segment[7] = 0;
  let pseudo = (~full & 0xffff) - (0xffff - plainChecksum(segment));
  if (pseudo < 0) pseudo += 0xffff;
  frame[udpAt + 6] = pseudo >>> 8;
  frame[udpAt + 7] = pseudo & 0xff;
  const virtio = new Uint8Array(10);
  new DataView(virtio.buffer).setUint16(6, udpAt, true);
  virtio[0] = 1;
  virtio[8] = 6;
  assert.equal(bench.receive(0, frame, virtio), 0);
  const view = bench.decodeDelivered();
  assert.equal(view.checksumStart, view.l4Offset);
  frame[frame.length - 1]! ^= 1;
  assert.equal(bench.receive(0, frame, virtio), 0, 'what is still to be summed cannot be wrong');
  frame[50]! ^= 1;
  assert.equal(bench.receive(0, frame, virtio), -1, 'but the rest can');
});

test('a GRE checksum that the sender’s kernel left to the device is taken, and is not the inner packet’s', () => {
  for (const isIpv6 of [false, true]) {
    const bench = one({ checksum: true, ...(isIpv6 ? OVER_IPV6 : {}) });
    const header = gre({ checksum: true }, udp());
    header[4] = 0;
    header[5] = 0;
    const packet = isIpv6 ? outer(header, { source: REMOTE6, destination: LOCAL6 }) : outer(header);
    const greAt = 14 + (isIpv6 ? 40 : 20);
    const virtio = new Uint8Array(10);
    virtio[0] = 1;
    new DataView(virtio.buffer).setUint16(6, greAt, true);
    virtio[8] = 4;
    const frame = ethernet(OWN_MAC, PEER_MAC, packet);
    assert.equal(bench.receive(0, frame, virtio), 0);
    const view = bench.decodeDelivered();
    assert.equal(view.checksumStart, 0, 'nothing is left to be completed');
    assert.deepEqual(view.bytes.slice(view.offset, view.offset + view.length), udp());
    virtio[8] = 2;
    assert.equal(bench.receive(0, frame, virtio), -1, 'another field than the checksum');
  }
});

test('a GSO packet gets one header, is marked for segmentation, and counts as its segments', () => {
  const bench = one({ sequence: true });
  const payload = new Uint8Array(5000).fill(7);
  const transport = { kind: 'tcp', sourcePort: 1, destinationPort: 2, flags: TCP_ACK, payload } as const;
  const packet = buildPacket({ source: '10.0.1.9', destination: '10.0.2.9', transport });
  const shape = (view: PacketView): void => {
    view.gsoType = GSO_TCPV4;
    view.gsoSize = 1400;
    view.checksumStart = view.l4Offset;
    view.checksumOffset = 16;
  };
  assert.equal(bench.send(0, packet, shape), 'none');
  const [sent] = bench.takeSent();
  assert.equal(sent?.flags, FRAME_SEGMENT_GRE);
  const virtio = new DataView(sent!.virtio.buffer);
  const innerAt = 14 + 20 + 8;
  assert.equal(virtio.getUint8(1), GSO_TCPV4);
  assert.equal(virtio.getUint16(2, true), innerAt + 40, 'headers up to the payload');
  assert.equal(virtio.getUint16(4, true), 1400);
  assert.equal(virtio.getUint16(6, true), innerAt + 20);
  const sequenceOf = (bytes: Uint8Array): number => new DataView(bytes.buffer).getUint32(24);
  const first = sequenceOf(sent!.packet);
  bench.send(0, udp());
  assert.equal(sequenceOf(bench.takeSent()[0]!.packet), first + 4);
  const odd = (view: PacketView): void => {
    view.gsoType = 3;
    view.gsoSize = 1400;
  };
  assert.equal(bench.send(0, packet, odd), 'unsupported_segmentation');
});

test('a packet that the kernel merged is taken whole, whatever the outer MTU', () => {
  const bench = one();
  const payload = new Uint8Array(30000).fill(7);
  const transport = { kind: 'tcp', sourcePort: 1, destinationPort: 2, flags: TCP_ACK, payload } as const;
  const inner = buildPacket({ source: '10.0.1.9', destination: '10.0.2.9', transport });
  const virtio = new Uint8Array(10);
  const fields = new DataView(virtio.buffer);
  virtio[0] = 1;
  virtio[1] = GSO_TCPV4;
  fields.setUint16(4, 1400, true);
  fields.setUint16(6, 14 + 24 + 20, true);
  fields.setUint16(8, 16, true);
  assert.equal(bench.receivePacket(0, outer(gre({}, inner)), PEER_MAC, virtio), 0);
  const view = bench.decodeDelivered();
  assert.equal(view.length, inner.length);
  assert.equal(view.gsoSize, 1400);
  assert.equal(view.checksumStart, view.l4Offset);
});

test('ECN is combined on the way out, and a packet that cannot carry the mark is dropped', () => {
  const bench = one();
  const rows: [number, number, number | undefined][] = [
    [0, 2, 0],
    [0, 3, undefined],
    [2, 0, 2],
    [2, 1, 1],
    [2, 3, 3],
    [1, 3, 3],
    [3, 0, 3],
  ];
  for (const isIpv6 of [false, true]) {
    for (const [inner, outerEcn, expected] of rows) {
      const packet = udp({ trafficClass: 0xb8 | inner, isIpv6 });
      const frame = outer(gre({}, packet), { trafficClass: 0x28 | outerEcn });
      const port = bench.receivePacket(0, frame);
      if (expected === undefined) {
        assert.equal(port, -1);
        assert.deepEqual(bench.takeDrops(), ['0:malformed']);
      } else {
        assert.equal(port, 0);
        assert.deepEqual(bench.delivered(), udp({ trafficClass: 0xb8 | expected, isIpv6 }));
        assert.deepEqual(problemsOf(bench.delivered()), []);
      }
    }
  }
});

test('sequence numbers: sent from 0 up, received in order, required if configured', () => {
  const bench = new LinkBench(
    plan([ethernetDevice(0)], [grePort({ index: 0, device: 0 }, { sequence: true })]),
  );
  bench.send(0, udp());
  bench.receive(0, arpReply(PEER_MAC, '192.0.2.254', LOCAL));
  bench.send(0, udp());
  const numbers = bench.takeSent().slice(1);
  assert.deepEqual(
    numbers.map((sent) => new DataView(sent.packet.buffer).getUint32(24)),
    [0, 1],
  );
  const answers = [0, 1, 1, 3, 2, 4].map((sequence) =>
    bench.receivePacket(0, outer(gre({ sequence }, udp()))),
  );
  assert.deepEqual(answers, [0, 0, -1, 0, -1, 0]);
  assert.equal(bench.receivePacket(0, outer(gre({}, udp()))), -1);
  assert.deepEqual(bench.takeDrops(), Array(3).fill('0:gre_sequence'));
  const other = one();
  for (const sequence of [5, 4, 3]) {
    assert.equal(other.receivePacket(0, outer(gre({ sequence }, udp()))), 0, 'ignored where not configured');
  }
});

test('a new plan keeps counters and path MTU of a tunnel whose ends stay', () => {
  const bench = one({ sequence: true });
  const sequenceOfNext = (): number => {
    bench.send(0, udp());
    return new DataView(bench.takeSent()[0]!.packet.buffer).getUint32(24);
  };
  const first = sequenceOfNext();
  assert.equal(bench.receivePacket(0, outer(gre({ sequence: 50 }, udp()))), 0);
  const configure = (port: PlanPort, generation: number): void =>
    bench.link.configure(plan([ethernetDevice(0)], [port, EGRESS], generation), bench.nowMs);
  bench.send(0, udp({ bytes: 1400 }));
  bench.receivePacket(0, routerError(bench.takeSent()[0]!.packet, 1300));
  assert.equal(bench.link.portMtu(0), 1300 - 28);
  configure(grePort({ index: 0, device: 0, enabled: false }, { sequence: true }), 2);
  assert.equal(bench.send(0, udp()), 'port_down');
  configure(grePort({ index: 0, device: 0 }, { sequence: true, ttl: 5 }), 3);
  assert.equal(sequenceOfNext(), first + 2);
  assert.equal(bench.link.portMtu(0), 1300 - 28);
  assert.equal(bench.receivePacket(0, outer(gre({ sequence: 50 }, udp()))), -1);
  configure(grePort({ index: 0, device: 0, generation: 2 }, { sequence: true }), 4);
  assert.equal(sequenceOfNext(), first + 3, 'another tunnel for us, but not for the other end');
  assert.equal(bench.link.portMtu(0), 1476);
  assert.equal(bench.receivePacket(0, outer(gre({ sequence: 50 }, udp()))), 0);
  configure(grePort({ index: 0, device: 0, generation: 2 }, { sequence: true, remote: '198.51.100.11' }), 5);
  assert.equal(sequenceOfNext(), 0);
});
