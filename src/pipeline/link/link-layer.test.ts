import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import {
  arp,
  arpReply,
  BROADCAST_MAC,
  devicePort,
  ethernet,
  ethernetDevice,
  ethernetPort,
  gre,
  grePort,
  LinkBench,
  OTHER_MAC,
  OWN_MAC,
  PEER_MAC,
  plan,
} from '../../../test/support/link-bench.ts';
import { randomBytes, seededRandom } from '../../../test/support/plain-packets.ts';
import { buildPacket } from '../../wire/build.ts';
import { GSO_TCPV4, TCP_ACK } from '../../wire/packet.ts';

function tcp(destination = '10.0.1.2', bytes = 100): Uint8Array {
  const payload = new Uint8Array(bytes).fill(9);
  const transport = { kind: 'tcp', sourcePort: 1, destinationPort: 2, flags: TCP_ACK, payload } as const;
  return buildPacket({ source: '203.0.113.9', destination, transport });
}

const TUN = { index: 2, name: 'tun0', kind: 'tun', mtu: 1420 } as const;
const DEVICES = [ethernetDevice(0), ethernetDevice(1, OTHER_MAC), TUN];
const UPLINK = {
  answers: [],
  onLink: ['192.0.2.0/24'],
  nextHop: { ipv4: '192.0.2.254' },
  sourceAddresses: ['192.0.2.1'],
};
const PORTS = [
  ethernetPort({ index: 0, device: 0 }, UPLINK),
  ethernetPort({ index: 1, device: 1 }),
  devicePort({ index: 2, device: 2 }),
  grePort({ index: 3, device: 0 }, { key: 1, checksum: true, sequence: true }),
  grePort(
    { index: 4, device: 0 },
    { local: '2001:db8::1', remote: '2001:db8::2', nextHop: 'fe80::1', sourceAddresses: ['2001:db8::1'] },
  ),
];

test('a frame is its device’s port’s, with what decoding needs to know', () => {
  const bench = new LinkBench(plan(DEVICES, PORTS));
  const packet = tcp();
  assert.equal(bench.receivePacket(0, packet), 0);
  assert.deepEqual(bench.delivered(), packet);
  assert.equal(bench.link.packetOffset, bench.link.frameOffset + 24);
  assert.equal(bench.link.checksumBase, bench.link.frameOffset + 10);
  assert.equal(bench.receive(1, ethernet(OTHER_MAC, PEER_MAC, packet)), 1);
  assert.equal(bench.receive(2, ethernet('00:00:00:00:00:00', '00:00:00:00:00:00', packet)), 2);
  assert.deepEqual(bench.delivered(), packet);
  assert.equal(bench.link.checksumBase, bench.link.packetOffset);
  assert.equal(bench.link.outerTrafficClass, -1);
});

test('frames for another MAC, for groups, with a tag, or of another protocol are foreign', () => {
  const bench = new LinkBench(plan(DEVICES, PORTS));
  const packet = tcp();
  const frames = [
    ethernet(OTHER_MAC, PEER_MAC, packet),
    ethernet(BROADCAST_MAC, PEER_MAC, packet),
    ethernet('01:00:5e:00:00:01', PEER_MAC, packet),
    ethernet(OWN_MAC, PEER_MAC, packet, 0x8100),
    ethernet(OWN_MAC, PEER_MAC, packet, 0x88cc),
    ethernet(OTHER_MAC, PEER_MAC, arp('request', PEER_MAC, '192.0.2.254', OWN_MAC, '192.0.2.1'), 0x0806),
    ethernet(
      '33:33:00:00:00:16',
      PEER_MAC,
      buildPacket({
        source: 'fe80::2',
        destination: 'ff02::16',
        transport: { kind: 'icmp', type: 143, payload: new Uint8Array(8) },
      }),
    ),
  ];
  for (const frame of frames) {
    assert.equal(bench.receive(0, frame), -1);
    assert.deepEqual(bench.takeDrops(), ['0:foreign_frame']);
  }
  assert.equal(bench.receive(7, frames[0]!), -1);
  assert.deepEqual(bench.takeDrops(), ['-1:foreign_frame'], 'a device that the plan does not have');
});

test('a packet of another version than the EtherType says is refused', () => {
  const bench = new LinkBench(plan(DEVICES, PORTS));
  const transport = { kind: 'udp', sourcePort: 1, destinationPort: 2, payload: new Uint8Array(40) } as const;
  const ipv6 = buildPacket({ source: '2001:db8:9::2', destination: '2001:db8::1', transport });
  for (const frame of [
    ethernet(OWN_MAC, PEER_MAC, tcp(), 0x86dd),
    ethernet(OWN_MAC, PEER_MAC, ipv6, 0x0800),
  ]) {
    assert.equal(bench.receive(0, frame), -1);
    assert.deepEqual(bench.takeDrops(), ['0:malformed']);
  }
});

test('neighbour and router discovery never reach the pipeline, right or wrong', () => {
  const bench = new LinkBench(plan(DEVICES, PORTS));
  for (const type of [133, 134, 135, 136, 137]) {
    for (const ttl of [255, 64]) {
      const transport = { kind: 'icmp', type, payload: new Uint8Array(32) } as const;
      const packet = buildPacket({ source: 'fe80::2', destination: '2001:db8::1', ttl, transport });
      assert.equal(bench.receivePacket(0, packet), -1, `type ${type}`);
    }
  }
  const transport = { kind: 'icmp', type: 128, payload: new Uint8Array(32) } as const;
  const ping = buildPacket({ source: '2001:db8:9::2', destination: '2001:db8::1', transport });
  assert.equal(bench.receivePacket(0, ping), 0);
});

test('between a TUN device and Ethernet only the prefix changes', () => {
  const bench = new LinkBench(plan(DEVICES, PORTS));
  bench.send(0, tcp());
  bench.receive(0, arpReply(PEER_MAC, '192.0.2.254', '192.0.2.1'));
  bench.takeSent();
  const packet = tcp('10.0.1.2', 4000);
  for (const [port, base] of [
    [0, 14],
    [2, 0],
  ] as const) {
    const reason = bench.send(port, packet, (view) => {
      view.gsoType = GSO_TCPV4;
      view.gsoSize = 1400;
      view.checksumStart = view.l4Offset;
      view.checksumOffset = 16;
    });
    assert.equal(reason, 'none');
    const [sent] = bench.takeSent();
    assert.equal(sent?.device, port);
    assert.equal(sent?.flags, 0);
    assert.deepEqual(sent?.packet, packet);
    const virtio = new DataView(sent!.virtio.buffer);
    assert.equal(virtio.getUint16(2, true), base + 40);
    assert.equal(virtio.getUint16(6, true), base + 20);
  }
});

test('a port that is absent or disabled neither sends nor receives nor answers', () => {
  const ports = [
    ethernetPort({ index: 0, device: 0, enabled: false }),
    devicePort({ index: 2, device: 2, enabled: false }),
  ];
  const bench = new LinkBench(plan(DEVICES, ports));
  for (const port of [0, 2, 5, -1, 70000]) assert.equal(bench.send(port, tcp()), 'port_down');
  assert.equal(bench.receivePacket(0, tcp()), -1);
  assert.equal(bench.receive(2, ethernet(OWN_MAC, PEER_MAC, tcp())), -1);
  assert.deepEqual(bench.takeDrops(), ['0:port_down', '2:port_down']);
  const request = arp('request', PEER_MAC, '10.0.1.2', '00:00:00:00:00:00', '10.0.1.1');
  assert.equal(bench.receive(0, ethernet(BROADCAST_MAC, PEER_MAC, request, 0x0806)), -1);
  assert.equal(bench.takeSent().length, 0);
  assert.deepEqual(
    [0, 1, 2].map((port) => bench.link.portState(port)),
    ['disabled', 'absent', 'disabled'],
  );
  assert.equal(bench.link.portMtu(1), 0);
});

test('a full output list is a reason, and a tunnel’s numbers do not move on', () => {
  const bench = new LinkBench(plan(DEVICES, PORTS), { txCapacity: 1 });
  bench.send(3, tcp());
  bench.takeSent();
  bench.receive(0, arpReply(PEER_MAC, '192.0.2.254', '192.0.2.1'));
  bench.takeSent();
  assert.equal(bench.send(3, tcp()), 'none');
  for (const port of [0, 2, 3]) assert.equal(bench.send(port, tcp()), 'output_full');
  const sequence = (bytes: Uint8Array): number => new DataView(bytes.buffer).getUint32(32);
  const first = sequence(bench.takeSent()[0]!.packet);
  bench.send(3, tcp());
  assert.equal(sequence(bench.takeSent()[0]!.packet), first + 1);
});

test('the state of a port follows its next hop', () => {
  const bench = new LinkBench(plan(DEVICES, PORTS));
  assert.deepEqual(
    [0, 1, 2, 3].map((port) => bench.link.portState(port)),
    ['unresolved', 'ready', 'ready', 'unresolved'],
  );
  bench.send(3, tcp());
  assert.equal(bench.link.portState(0), 'unresolved');
  bench.receive(0, arpReply(PEER_MAC, '192.0.2.254', '192.0.2.1'));
  assert.equal(bench.link.portState(0), 'ready');
  assert.equal(bench.link.portState(3), 'ready');
});

test('no bytes make it throw, hand out more than was received, or send more than was asked', () => {
  const random = seededRandom(3);
  const seeds = [
    ethernet(OWN_MAC, PEER_MAC, tcp()),
    ethernet(
      OWN_MAC,
      PEER_MAC,
      buildPacket({
        source: '198.51.100.10',
        destination: '192.0.2.1',
        transport: {
          kind: 'raw',
          protocol: 47,
          payload: gre({ key: 1, checksum: true, sequence: 1 }, tcp()),
        },
      }),
    ),
    ethernet(
      OWN_MAC,
      PEER_MAC,
      buildPacket({
        source: '2001:db8::2',
        destination: '2001:db8::1',
        extensions: [{ protocol: 60, body: new Uint8Array(6) }],
        transport: { kind: 'raw', protocol: 47, payload: gre({}, tcp()) },
      }),
    ),
    ethernet(BROADCAST_MAC, PEER_MAC, arp('request', PEER_MAC, '10.0.1.2', OWN_MAC, '10.0.1.1'), 0x0806),
    ethernet(
      OWN_MAC,
      PEER_MAC,
      buildPacket({
        source: '203.0.113.1',
        destination: '192.0.2.1',
        transport: { kind: 'icmp', type: 3, code: 4, rest: 600, payload: tcp() },
      }),
    ),
  ];
  const bench = new LinkBench(plan(DEVICES, PORTS));
  bench.link.onOuterFragment = (offset) => (random() < 0.5 ? 0 : offset);
  const property = fc.property(
    fc.nat(seeds.length),
    fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 6 }),
    fc.nat(200),
    fc.integer({ min: 0, max: 3 }),
    fc.nat(255),
    (which, flips, length, device, offload) => {
      const frame = Uint8Array.from(seeds[which] ?? randomBytes(random, 120)).slice(0, length);
      for (const [at, value] of flips) if (at < frame.length) frame[at] = value;
      const virtio = Uint8Array.from(offload < 32 ? randomBytes(random, 10) : new Uint8Array(10));
      const port = bench.receive(device, frame, virtio);
      if (port >= 0) {
        const { packetOffset, packetLength, frameOffset } = bench.link;
        assert.equal(packetOffset % 4, 0);
        assert.ok(packetLength > 0);
        assert.ok(packetOffset >= frameOffset + 24);
        assert.ok(packetOffset + packetLength <= frameOffset + 10 + frame.length);
      }
      assert.ok(bench.tx.count <= 1);
      bench.nowMs += 10;
      bench.link.tick(bench.nowMs);
      bench.takeSent();
    },
  );
  fc.assert(property, { seed: 4, numRuns: 20_000 });
});

test('nothing is allocated for a packet', () => {
  const child = fileURLToPath(new URL('../../../test/support/link-allocation.ts', import.meta.url));
  const result = spawnSync(process.execPath, ['--expose-gc', child], { encoding: 'utf8' });
  assert.equal(result.status, 0, result.stderr);
  const { packets, bytes } = JSON.parse(result.stdout) as { packets: number; bytes: number };
  assert.ok(bytes / packets < 1, `${bytes} bytes for ${packets} packets`);
});
