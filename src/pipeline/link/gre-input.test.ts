import assert from 'node:assert/strict';
import test from 'node:test';
import {
  ethernet,
  ethernetDevice,
  gre,
  grePort,
  OWN_MAC,
  PEER_MAC,
  plan,
} from '../../../test/support/link-bench.ts';
import {
  LOCAL,
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

test('malformed GRE has its reason', () => {
  const bench = one();
  const version1 = gre({}, udp());
  version1[1] = 1;
  const routed = gre({}, udp());
  routed[0] = 0x40;
  const rows: [string, Uint8Array, string][] = [
    ['version 1', version1, '9:gre_malformed'],
    ['routing', routed, '9:gre_malformed'],
    ['truncated', Uint8Array.of(0x20, 0, 8, 0, 0), '9:gre_malformed'],
    ['nothing inside', gre({ protocolType: 0x0800 }, new Uint8Array(0)), '0:malformed'],
    ['IPv6 said to be IPv4', gre({ protocolType: 0x0800 }, udp({ isIpv6: true })), '0:malformed'],
    ['an Ethernet frame', gre({ protocolType: 0x6558 }, udp()), '0:gre_protocol'],
  ];
  for (const [name, payload, reason] of rows) {
    assert.equal(bench.receivePacket(0, outer(payload)), -1, name);
    assert.deepEqual(bench.takeDrops(), [reason], name);
  }
  const broken = outer(gre({}, udp()));
  broken[10]! ^= 0xff;
  assert.equal(bench.receivePacket(0, broken), -1);
  assert.deepEqual(bench.takeDrops(), ['9:malformed'], 'an outer header checksum that is wrong');
});

/** What a router that checks a tunnel sends through it to itself. */
function keepalive(spec: { source?: string; destination?: string; key?: number; type?: number }): Uint8Array {
  const key = spec.key === undefined ? {} : { key: spec.key };
  return buildPacket({
    source: spec.source ?? LOCAL,
    destination: spec.destination ?? REMOTE,
    ttl: 255,
    transport: {
      kind: 'raw',
      protocol: 47,
      payload: gre({ ...key, protocolType: spec.type ?? 0 }, new Uint8Array(0)),
    },
  });
}

test('a keepalive is sent back as it is, a bounded number of times', () => {
  const bench = one({ key: 7 });
  const packet = keepalive({ key: 7 });
  assert.equal(bench.receivePacket(0, outer(gre({ key: 7 }, packet))), -1);
  assert.deepEqual(bench.takeSent()[0]?.frame, ethernet(PEER_MAC, OWN_MAC, packet));
  for (let count = 0; count < 50; count++) bench.receivePacket(0, outer(gre({ key: 7 }, packet)));
  assert.equal(bench.takeSent().length, 9);
  bench.wait(1000);
  bench.receivePacket(0, outer(gre({ key: 7 }, packet)));
  assert.equal(bench.takeSent().length, 1);
});

test('nothing but an exact keepalive is sent back', () => {
  const bench = one({ key: 7 });
  const others = [
    keepalive({ key: 7, destination: '198.51.100.11' }),
    keepalive({ key: 7, source: '192.0.2.2' }),
    keepalive({ key: 7, source: REMOTE, destination: LOCAL }),
    keepalive({ key: 8 }),
    keepalive({}),
    keepalive({ key: 7, type: 0x0800 }),
    udp(),
  ];
  for (const packet of others) {
    assert.equal(bench.receivePacket(0, outer(gre({ key: 7 }, packet))), 0, 'the pipeline decides');
    assert.equal(bench.takeSent().length, 0);
  }
});

test('what a router says about an outer packet lowers the tunnel’s MTU, and is consumed', () => {
  const bench = uplink([
    grePort({ index: 0, device: 0 }, { key: 7 }),
    grePort({ index: 1, device: 0 }, { key: 8 }),
    grePort({ index: 2, device: 0, mtu: 1456 }, { ...OVER_IPV6 }),
  ]);
  assert.deepEqual(
    [0, 1, 2].map((port) => bench.link.portMtu(port)),
    [1476, 1476, 1456],
  );
  bench.send(0, udp({ bytes: 1400 }));
  const quote = bench.takeSent()[0]!.packet;
  assert.equal(bench.receivePacket(0, routerError(quote.slice(0, 28), 1300)), -1);
  assert.equal(bench.link.portMtu(0), 1300 - 28);
  assert.equal(bench.link.portMtu(1), 1476, 'the tunnel with the other key is not meant');
  assert.equal(bench.receivePacket(0, routerError(quote, 100)), -1);
  assert.equal(bench.link.portMtu(0), 576 - 28);
  bench.send(2, udp({ bytes: 1400 }));
  const quote6 = bench.takeSent()[0]!.packet;
  assert.equal(bench.receivePacket(0, routerError(quote6.slice(0, 1232), 1400, { isIpv6: true })), -1);
  assert.equal(bench.link.portMtu(2), 1400 - 44);
  bench.nowMs += 600_000;
  bench.link.tick(bench.nowMs);
  assert.deepEqual(
    [0, 2].map((port) => bench.link.portMtu(port)),
    [1476, 1456],
  );
  assert.deepEqual(bench.takeDrops(), []);
});

test('other errors do not change the MTU; forged ones are not ours', () => {
  const bench = one({ key: 7 });
  bench.send(0, udp({ bytes: 1400 }));
  const quote = bench.takeSent()[0]!.packet;
  assert.equal(
    bench.receivePacket(0, routerError(quote, 1300, { code: 1 })),
    -1,
    'about our packet, but not its size',
  );
  const wrongKey = quote.slice();
  wrongKey[27]! ^= 1;
  const wrongEnd = quote.slice();
  wrongEnd[19]! ^= 1;
  const noGre = quote.slice();
  noGre[9] = 17;
  for (const forged of [wrongKey, wrongEnd, noGre, quote.slice(0, 22)]) {
    assert.equal(bench.receivePacket(0, routerError(forged, 1300)), 9, 'left to the egress');
  }
  const broken = routerError(quote, 1300);
  broken[22]! ^= 1;
  assert.equal(bench.receivePacket(0, broken), -1);
  assert.equal(bench.link.portMtu(0), 1476);
});

test('outer fragments go to the reassembler, if a tunnel has their ends, and come back whole', () => {
  const bench = one({ key: 7 });
  const inner = udp({ bytes: 900 });
  const packet = outer(gre({ key: 7 }, inner));
  const [first, second] = buildFragments(packet, 600, 77) as [Uint8Array, Uint8Array];
  assert.equal(bench.receivePacket(0, first), -1);
  assert.deepEqual(bench.takeDrops(), ['9:fragment_limit'], 'nobody reassembles yet');
  const seen: Uint8Array[] = [];
  bench.link.onOuterFragment = (offset, available, device) => {
    assert.equal(device, 0);
    seen.push(bench.memory.bytes.slice(offset, offset + available));
    if (seen.length < 2) return 0;
    const frame = bench.scratch.allocate(24 + packet.length);
    bench.memory.bytes.fill(0xff, frame, frame + 24);
    bench.memory.bytes.set(packet, frame + 24);
    return frame + 24;
  };
  assert.equal(bench.receivePacket(0, first), -1);
  assert.equal(bench.receivePacket(0, second), 0);
  assert.deepEqual(seen, [first, second]);
  assert.deepEqual(bench.delivered(), inner);
  bench.decodeDelivered();
  const stranger = buildFragments(outer(gre({}, inner), { source: '198.51.100.66' }), 600, 78);
  assert.equal(bench.receivePacket(0, stranger[0]!), -1);
  assert.equal(seen.length, 2);
  assert.deepEqual(bench.takeDrops(), ['9:unknown_tunnel']);
});

test('padding behind a short packet is not part of it', () => {
  const bench = one({ checksum: true });
  const inner = udp({ bytes: 0 });
  const packet = outer(gre({ checksum: true }, inner));
  const padded = new Uint8Array(packet.length + 20).fill(0x55);
  padded.set(packet);
  assert.equal(bench.receivePacket(0, padded), 0);
  assert.deepEqual(bench.delivered(), inner);
});

test('a disabled tunnel takes nothing', () => {
  const bench = uplink([grePort({ index: 1, device: 0 })]);
  const port = grePort({ index: 1, device: 0, enabled: false });
  bench.link.configure(plan([ethernetDevice(0)], [port], 2), bench.nowMs);
  assert.equal(bench.receivePacket(0, outer(gre({}, udp()))), -1);
  assert.deepEqual(bench.takeDrops(), ['1:port_down']);
  assert.equal(bench.link.portState(1), 'disabled');
});

test('a plan in which no packet could tell two tunnels apart is refused, and changes nothing', () => {
  const bench = one();
  const same = [grePort({ index: 0, device: 0 }, { key: 7 }), grePort({ index: 1, device: 0 }, { key: 7 })];
  assert.throws(() => bench.link.configure(plan([ethernetDevice(0)], same, 2), bench.nowMs), /port 1/);
  const mixed = grePort({ index: 0, device: 0 }, { remote: REMOTE6 });
  assert.throws(() => bench.link.configure(plan([ethernetDevice(0)], [mixed], 2), bench.nowMs), /family/);
  assert.equal(bench.receivePacket(0, outer(gre({}, udp()))), 0);
});
