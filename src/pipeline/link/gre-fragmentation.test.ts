import assert from 'node:assert/strict';
import test from 'node:test';
import {
  arpReply,
  ethernetDevice,
  gre,
  grePort,
  LinkBench,
  PEER_MAC,
  plan,
} from '../../../test/support/link-bench.ts';
import { problemsOf } from '../../../test/support/plain-packets.ts';
import { ReassemblyRig } from '../../../test/support/reassembly-rig.ts';
import { LOCAL, one, outer, routerError, udp } from '../../../test/support/uplink-bench.ts';
import { buildPacket } from '../../wire/build.ts';
import { GSO_TCPV4, type PacketView, TCP_ACK } from '../../wire/packet.ts';

const IPV6_UDP_BYTES = 48;
/** An IPv6 packet of 1280 bytes. */
const LARGE = udp({ isIpv6: true, bytes: 1280 - IPV6_UDP_BYTES });

/** A tunnel whose path was said to carry `mtu` bytes. */
function narrow(mtu: number, link: Parameters<typeof one>[0] = {}): LinkBench {
  const bench = one(link);
  bench.send(0, udp({ bytes: 1300 }));
  const [sent] = bench.takeSent();
  assert.equal(bench.receivePacket(0, routerError(sent!.packet, mtu)), -1);
  return bench;
}

const flagsOf = (packet: Uint8Array): number => packet[6]! >>> 5;
const identificationOf = (packet: Uint8Array): number => (packet[4]! << 8) | packet[5]!;

test('outer fragments carry the whole GRE packet, with the inner checksum completed', () => {
  const bench = narrow(1000, { checksum: true, sequence: true });
  const makePartial = (view: PacketView): void => {
    // Zero instead of the pseudo-header's sum: completed, it is another checksum, but a full one.
    view.bytes.fill(0, view.l4Offset + 6, view.l4Offset + 8);
    view.checksumStart = view.l4Offset;
    view.checksumOffset = 6;
  };
  assert.equal(bench.send(0, LARGE, makePartial), 'none');
  const sent = bench.takeSent();
  assert.equal(sent.length, 2);
  for (const { virtio, packet } of sent) {
    assert.deepEqual(virtio, new Uint8Array(10));
    assert.ok(packet.length <= 1000);
  }
  const whole = new ReassemblyRig().complete(sent.map(({ packet }) => packet));
  assert.deepEqual(problemsOf(whole), []);
  const inner = LARGE.slice();
  inner.set(whole.slice(20 + 12 + 46, 20 + 12 + 48), 46);
  assert.notDeepEqual([...inner.slice(46, 48)], [0, 0]);
  const expected = outer(gre({ checksum: true, sequence: 2 }, inner), {
    source: LOCAL,
    destination: '198.51.100.10',
  });
  assert.deepEqual(whole.slice(20), expected.slice(20));
});

test('packets that fit stay whole, and large ones are whole again when the path is forgotten', () => {
  const bench = narrow(1000);
  assert.equal(bench.send(0, udp({ isIpv6: true, bytes: 1000 - 24 - IPV6_UDP_BYTES })), 'none');
  assert.deepEqual(
    bench.takeSent().map(({ packet }) => [packet.length, flagsOf(packet)]),
    [[1000, 2]],
  );
  assert.equal(bench.send(0, LARGE), 'none');
  assert.equal(bench.takeSent().length, 2);
  bench.nowMs += 600_000;
  bench.link.tick(bench.nowMs);
  assert.equal(bench.send(0, LARGE), 'none');
  assert.equal(bench.takeSent().length, 1);
});

test('fragments wait for the next hop together, in order', () => {
  const port = grePort({ index: 0, device: 0, mtu: 600 });
  const bench = new LinkBench(plan([ethernetDevice(0)], [port]));
  assert.equal(bench.send(0, LARGE), 'none');
  assert.equal(bench.takeSent().length, 1, 'the question for the neighbour');
  bench.receive(0, arpReply(PEER_MAC, '192.0.2.254', LOCAL));
  const sent = bench.takeSent().map(({ packet }) => packet);
  assert.equal(sent.length, 3);
  const offsets = sent.map((packet) => ((packet[6]! << 8) | packet[7]!) & 0x1fff);
  assert.deepEqual(
    offsets,
    offsets.toSorted((a, b) => a - b),
  );
  assert.equal(new ReassemblyRig().complete(sent).length, 1280 + 24);
});

test('on a path below 576 bytes routers may cut, and identifications are fresh', () => {
  const bench = narrow(296);
  assert.equal(bench.link.portMtu(0), 576 - 24);
  const seen = new Set<number>();
  for (let count = 0; count < 20; count++) {
    bench.send(0, udp({ bytes: 400 }));
    bench.send(0, LARGE);
    for (const { packet } of bench.takeSent()) {
      assert.equal(flagsOf(packet) & 2, 0, 'DF is clear');
      seen.add(identificationOf(packet));
    }
  }
  assert.equal(seen.size, 40);
  const payload = new Uint8Array(2000);
  const transport = { kind: 'tcp', sourcePort: 1, destinationPort: 2, flags: TCP_ACK, payload } as const;
  const packet = buildPacket({ source: '10.0.1.9', destination: '10.0.2.9', transport });
  bench.send(0, packet, (view) => {
    view.gsoType = GSO_TCPV4;
    view.gsoSize = 500;
    view.checksumStart = view.l4Offset;
    view.checksumOffset = 16;
  });
  const [first] = bench.takeSent();
  bench.send(0, udp());
  const [next] = bench.takeSent();
  const distance = identificationOf(next!.packet) - identificationOf(first!.packet);
  assert.equal(distance & 0xffff, 4, 'one for each segment');
});
