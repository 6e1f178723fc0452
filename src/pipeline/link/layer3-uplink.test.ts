/** GRE over a device without a link header: the same tunnels, no neighbours, and other bases of `csum_start`. */
import assert from 'node:assert/strict';
import test from 'node:test';
import {
  devicePort,
  ethernetDevice,
  gre,
  grePort,
  LinkBench,
  plan,
} from '../../../test/support/link-bench.ts';
import { problemsOf } from '../../../test/support/plain-packets.ts';
import {
  LOCAL,
  LOCAL6,
  outer,
  REMOTE,
  REMOTE6,
  routerError,
  udp,
} from '../../../test/support/uplink-bench.ts';
import { buildFragments, buildPacket } from '../../wire/build.ts';
import { FRAME_SEGMENT_GRE } from '../../wire/frame.ts';
import { GSO_NONE, GSO_TCPV4, type PacketView, TCP_ACK } from '../../wire/packet.ts';
import type { PlanDevice, PlanGreLink, PlanPort } from '../plan.ts';

const PPP: PlanDevice = { index: 0, name: 'ppp0', kind: 'ip', mtu: 1492 };
const TUN: PlanDevice = { index: 1, name: 'tun1', kind: 'tun', mtu: 1500 };
/** The egress on the same device, and a site's own device. */
const UPLINK_PORT = 9;
const SITE_PORT = 8;
const IPV6_ENDS = { local: LOCAL6, remote: REMOTE6 };

/** A tunnel on the layer-3 device. */
function tunnel(index: number, link: Partial<PlanGreLink> = {}): PlanPort {
  const port = grePort({ index, device: 0 }, link) as PlanPort & { link: PlanGreLink };
  const { nextHop: _, ...rest } = port.link;
  return { ...port, link: { ...rest, sourceAddresses: [] } };
}

function uplink(...tunnels: PlanPort[]): LinkBench {
  const others = [devicePort({ index: UPLINK_PORT, device: 0 }), devicePort({ index: SITE_PORT, device: 1 })];
  return new LinkBench(plan([PPP, TUN], [...tunnels, ...others]));
}

/** A received frame: nobody may look into the gap. */
function behindGap(packet: Uint8Array): Uint8Array {
  const frame = new Uint8Array(14 + packet.length).fill(0xee);
  frame.set(packet, 14);
  return frame;
}

function receive(bench: LinkBench, packet: Uint8Array, virtio = new Uint8Array(10), device = 0): number {
  return bench.receive(device, behindGap(packet), virtio);
}

function virtioFields(fields: {
  gsoType: number;
  gsoSize: number;
  start: number;
  offset: number;
}): Uint8Array<ArrayBuffer> {
  const virtio = new Uint8Array(10);
  const view = new DataView(virtio.buffer);
  virtio[0] = 1;
  virtio[1] = fields.gsoType;
  view.setUint16(4, fields.gsoSize, true);
  view.setUint16(6, fields.start, true);
  view.setUint16(8, fields.offset, true);
  return virtio;
}

test('a packet belongs to a tunnel by device, both addresses and key; the rest is the egress’s', () => {
  const bench = uplink(tunnel(0), tunnel(1, { key: 7 }), tunnel(2, IPV6_ENDS));
  const inner = udp();
  for (const [packet, port] of [
    [outer(gre({}, inner)), 0],
    [outer(gre({ key: 7 }, inner)), 1],
    [outer(gre({}, inner), { source: REMOTE6, destination: LOCAL6 }), 2],
  ] as const) {
    assert.equal(receive(bench, packet), port);
    assert.deepEqual(bench.delivered(), inner);
    assert.equal(bench.link.outerTrafficClass, 0);
  }
  assert.deepEqual(bench.takeDrops(), []);
  assert.equal(receive(bench, outer(gre({ key: 8 }, inner))), -1);
  assert.equal(receive(bench, outer(gre({}, inner), { source: '198.51.100.12' })), -1);
  assert.deepEqual(bench.takeDrops(), ['9:unknown_tunnel', '9:unknown_tunnel']);
  for (const other of [inner, udp({ isIpv6: true }), outer(gre({}, inner), { destination: '192.0.2.77' })]) {
    assert.equal(receive(bench, other), UPLINK_PORT);
    assert.deepEqual(bench.delivered(), other);
    assert.equal(bench.link.outerTrafficClass, -1);
  }
});

test('a site’s own device is no way into a tunnel', () => {
  const bench = uplink(tunnel(0));
  assert.equal(receive(bench, outer(gre({}, udp())), new Uint8Array(10), 1), -1);
  assert.deepEqual(bench.takeDrops(), ['8:unknown_tunnel']);
});

test('what goes in comes out at a tunnel’s other end, without a neighbour and behind an empty gap', () => {
  for (const link of [{}, { key: 7, checksum: true, sequence: true }, { ...IPV6_ENDS, key: 1 }]) {
    const sender = uplink(tunnel(0, link));
    const isIpv6 = 'local' in link;
    const ends = isIpv6 ? { local: REMOTE6, remote: LOCAL6 } : { local: REMOTE, remote: LOCAL };
    const receiver = uplink(tunnel(3, { ...link, ...ends }));
    assert.equal(sender.link.portState(0), 'ready');
    const inner = udp({ trafficClass: 0xb8 });
    assert.equal(sender.send(0, inner), 'none');
    const sent = sender.takeSent();
    assert.equal(sent.length, 1);
    assert.equal(sent[0]!.device, 0);
    assert.equal(sent[0]!.flags, 0);
    assert.deepEqual(sent[0]!.virtio, new Uint8Array(10));
    assert.deepEqual(problemsOf(sent[0]!.packet), []);
    assert.equal(receive(receiver, sent[0]!.packet), 3);
    assert.deepEqual(receiver.delivered(), inner);
    assert.equal(receiver.link.outerTrafficClass, 0xb8);
  }
});

test('a GSO packet: offsets count from the outer IP header, and it is marked for segmentation', () => {
  const bench = uplink(tunnel(0));
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
  assert.equal(virtio.getUint16(2, true), 24 + 40, 'headers up to the payload');
  assert.equal(virtio.getUint16(6, true), 24 + 20);
  assert.equal(bench.send(UPLINK_PORT, packet, shape), 'none');
  const [plain] = bench.takeSent();
  assert.equal(plain?.flags, 0, 'the egress leaves cutting to the device');
  assert.equal(new DataView(plain!.virtio.buffer).getUint16(6, true), 20);
});

test('a packet that the kernel merged is taken whole, and its transport header found', () => {
  const bench = uplink(tunnel(0));
  const payload = new Uint8Array(30000).fill(7);
  const transport = { kind: 'tcp', sourcePort: 1, destinationPort: 2, flags: TCP_ACK, payload } as const;
  const inner = buildPacket({ source: '10.0.1.9', destination: '10.0.2.9', transport });
  const start = 24 + 20;
  const merged = virtioFields({ gsoType: GSO_TCPV4, gsoSize: 1400, start, offset: 16 });
  assert.equal(receive(bench, outer(gre({}, inner)), merged), 0);
  const view = bench.decodeDelivered();
  assert.equal(view.gsoSize, 1400);
  assert.equal(view.checksumStart, view.l4Offset);
});

test('a GRE checksum over a partial inner checksum counts what will stand there', () => {
  const bench = uplink(tunnel(0, { checksum: true }));
  const inner = udp();
  const packet = outer(gre({ checksum: true }, inner));
  // As a kernel leaves it to the device: the pseudo-header's sum, uncomplemented, in the inner UDP header.
  const words = (bytes: Uint8Array): number => {
    let sum = 0;
    for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    return sum;
  };
  const innerAt = 20 + 8;
  const udpBytes = inner.length - 20;
  const pseudo = words(Uint8Array.of(...inner.subarray(12, 20), 0, 17, udpBytes >> 8, udpBytes & 255));
  packet.set([pseudo >> 8, pseudo & 255], innerAt + 20 + 6);
  const partial = virtioFields({ gsoType: GSO_NONE, gsoSize: 0, start: innerAt + 20, offset: 6 });
  assert.equal(receive(bench, packet, partial), 0);
  assert.equal(bench.decodeDelivered().checksumStart, bench.view.l4Offset);
  packet[innerAt + 13]! ^= 1;
  assert.equal(receive(bench, packet, partial), -1);
  assert.deepEqual(bench.takeDrops(), ['0:gre_checksum']);
});

test('routers’ errors lower the MTU of the tunnel, and are not the egress’s', () => {
  const bench = uplink(tunnel(0), tunnel(2, { ...IPV6_ENDS, key: 4 }));
  bench.send(0, udp({ bytes: 1400 }));
  bench.send(2, udp({ bytes: 1400 }));
  const [quote, quote6] = bench.takeSent();
  assert.equal(receive(bench, routerError(quote!.packet.slice(0, 28), 1300)), -1);
  assert.equal(bench.link.portMtu(0), 1300 - 24);
  assert.equal(receive(bench, routerError(quote6!.packet.slice(0, 1000), 1400, { isIpv6: true })), -1);
  assert.equal(bench.link.portMtu(2), 1400 - 48);
  const strangers = routerError(outer(gre({}, udp()), { source: LOCAL, destination: '198.51.100.77' }), 1300);
  assert.equal(receive(bench, strangers), UPLINK_PORT);
  assert.deepEqual(bench.takeDrops(), []);
});

test('outer fragments go to the reassembler, and come back whole', () => {
  for (const [link, ends] of [
    [{}, {}],
    [IPV6_ENDS, { source: REMOTE6, destination: LOCAL6 }],
  ] as const) {
    const bench = uplink(tunnel(0, link));
    const packet = outer(gre({}, udp({ bytes: 900 })), ends);
    const fragments = buildFragments(packet, 400, 77);
    const seen: [number, number][] = [];
    bench.link.onOuterFragment = (_, bytes, device) => {
      seen.push([device, bytes]);
      if (seen.length < fragments.length) return 0;
      const frame = bench.scratch.allocate(24 + packet.length);
      bench.memory.bytes.set(packet, frame + 24);
      return frame + 24;
    };
    const answers = fragments.map((fragment) => receive(bench, fragment));
    assert.deepEqual(answers, [...fragments.slice(1).map(() => -1), 0]);
    assert.deepEqual(bench.delivered(), udp({ bytes: 900 }));
    assert.deepEqual(
      seen,
      fragments.map(({ length }) => [0, length]),
    );
  }
});

test('a keepalive is sent back without a neighbour', () => {
  const bench = uplink(tunnel(0));
  const answer = buildPacket({
    source: LOCAL,
    destination: REMOTE,
    transport: { kind: 'raw', protocol: 47, payload: gre({ protocolType: 0 }, new Uint8Array(0)) },
  });
  assert.equal(receive(bench, outer(gre({}, answer))), -1);
  assert.deepEqual(
    bench.takeSent().map(({ packet, device }) => [device, packet]),
    [[0, answer]],
  );
});

test('packets that are neither IPv4 nor IPv6 are left to decoding', () => {
  const bench = uplink(tunnel(0));
  assert.equal(receive(bench, Uint8Array.of(0x00, 0x21, 0x45, 0)), UPLINK_PORT);
});

test('a plan that gives a tunnel on Ethernet no next hop is refused', () => {
  assert.throws(() => new LinkBench(plan([ethernetDevice(0)], [tunnel(0)])), /port0: its Ethernet device/);
});
