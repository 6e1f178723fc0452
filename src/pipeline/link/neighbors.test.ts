import assert from 'node:assert/strict';
import test from 'node:test';
import {
  addressBytes,
  arp,
  arpReply,
  BROADCAST_MAC,
  ethernet,
  ethernetDevice,
  ethernetPort,
  grePort,
  LinkBench,
  macBytes,
  OTHER_MAC,
  OWN_MAC,
  PEER_MAC,
  plan,
  type SentFrame,
} from '../../../test/support/link-bench.ts';
import { buildPacket } from '../../wire/build.ts';
import { QUEUE_PER_NEIGHBOR } from './neighbor-queue.ts';
import { FAILED_MS, LOCK_MS, REACHABLE_MS } from './neighbors.ts';

const NOBODY = '00:00:00:00:00:00';
const FIRST_MAC = '02:00:00:00:01:01';
const SECOND_MAC = '02:00:00:00:02:01';

function udp(destination: string, payload = 'hello'): Uint8Array {
  return buildPacket({
    source: destination.includes(':') ? '2001:db8:9::9' : '203.0.113.9',
    destination,
    transport: { kind: 'udp', sourcePort: 1000, destinationPort: 2000, payload: Buffer.from(payload) },
  });
}

/** A neighbour advertisement from `target` as a frame. */
function advertisement(
  mac: string,
  target: string,
  flags: number,
  { to = 'fd00::1', frameTo = OWN_MAC, hasOption = true, hopLimit = 255 } = {},
): Uint8Array {
  const body = new Uint8Array(16 + (hasOption ? 8 : 0));
  body.set(addressBytes(target));
  if (hasOption) {
    body.set([2, 1], 16);
    body.set(macBytes(mac), 18);
  }
  const transport = { kind: 'icmp', type: 136, rest: flags << 24, payload: body } as const;
  const packet = buildPacket({ source: target, destination: to, ttl: hopLimit, transport });
  return ethernet(frameTo, mac, packet);
}

const SOLICITED = 0x40;
const OVERRIDE = 0x20;

function solicitation(mac: string, source: string, target: string, to: string, frameTo: string): Uint8Array {
  const hasOption = source !== '::';
  const body = new Uint8Array(16 + (hasOption ? 8 : 0));
  body.set(addressBytes(target));
  if (hasOption) {
    body.set([1, 1], 16);
    body.set(macBytes(mac), 18);
  }
  const transport = { kind: 'icmp', type: 135, payload: body } as const;
  return ethernet(frameTo, mac, buildPacket({ source, destination: to, ttl: 255, transport }));
}

function oneSite(options: ConstructorParameters<typeof LinkBench>[1] = {}): LinkBench {
  return new LinkBench(plan([ethernetDevice(0)], [ethernetPort({ index: 0, device: 0 })]), options);
}

/** Where a sent frame goes: destination MAC as text. */
function destination(frame: SentFrame | undefined): string {
  assert.ok(frame, 'a frame was sent');
  return Buffer.from(frame.frame.slice(0, 6))
    .toString('hex')
    .replace(/(..)(?!$)/g, '$1:');
}

/** A bench that knows 10.0.1.2 at PEER_MAC. */
function acquainted(): LinkBench {
  const bench = oneSite();
  bench.send(0, udp('10.0.1.2'));
  bench.receive(0, arpReply(PEER_MAC, '10.0.1.2'));
  assert.equal(bench.takeSent().length, 2);
  return bench;
}

/** Which MAC a packet to 10.0.1.2 is sent to now. */
function macOf(bench: LinkBench, address = '10.0.1.2'): string {
  assert.equal(bench.send(0, udp(address)), 'none');
  return destination(bench.takeSent()[0]);
}

test('a packet waits for its neighbour and leaves when it answers', () => {
  const bench = oneSite();
  const packet = udp('10.0.1.2');
  assert.equal(bench.send(0, packet), 'none');
  const asked = bench.takeSent();
  assert.equal(asked.length, 1);
  const expected = ethernet(
    BROADCAST_MAC,
    OWN_MAC,
    arp('request', OWN_MAC, '10.0.1.1', NOBODY, '10.0.1.2'),
    0x0806,
  );
  assert.deepEqual(asked[0]?.frame, expected);
  assert.equal(bench.receive(0, arpReply(PEER_MAC, '10.0.1.2')), -1);
  const sent = bench.takeSent();
  assert.equal(sent.length, 1);
  assert.deepEqual(sent[0]?.frame, ethernet(PEER_MAC, OWN_MAC, packet));
  assert.equal(bench.send(0, packet), 'none');
  assert.deepEqual(bench.takeSent()[0]?.frame, ethernet(PEER_MAC, OWN_MAC, packet));
  assert.deepEqual(bench.takeDrops(), []);
});

test('the same by neighbour discovery', () => {
  const bench = oneSite();
  const packet = udp('fd00::2');
  assert.equal(bench.send(0, packet), 'none');
  const asked = bench.takeSent();
  const expected = solicitation(OWN_MAC, 'fd00::1', 'fd00::2', 'ff02::1:ff00:2', '33:33:ff:00:00:02');
  assert.deepEqual(asked[0]?.frame, expected);
  assert.equal(bench.receive(0, advertisement(PEER_MAC, 'fd00::2', SOLICITED | OVERRIDE)), -1);
  assert.deepEqual(bench.takeSent()[0]?.frame, ethernet(PEER_MAC, OWN_MAC, packet));
});

test('two sites with the same addresses keep separate neighbours', () => {
  const devices = [ethernetDevice(0), ethernetDevice(1)];
  const bench = new LinkBench(
    plan(devices, [ethernetPort({ index: 0, device: 0 }), ethernetPort({ index: 1, device: 1 })]),
  );
  bench.send(0, udp('10.0.1.2', 'for the first'));
  bench.send(1, udp('10.0.1.2', 'for the second'));
  assert.deepEqual(
    bench.takeSent().map((frame) => frame.device),
    [0, 1],
  );
  // The first one's answer is no answer for the second.
  bench.receive(0, arpReply(FIRST_MAC, '10.0.1.2'));
  let sent = bench.takeSent();
  assert.equal(sent.length, 1);
  assert.equal(sent[0]?.device, 0);
  assert.equal(destination(sent[0]), FIRST_MAC);
  bench.receive(1, arpReply(SECOND_MAC, '10.0.1.2'));
  sent = bench.takeSent();
  assert.equal(sent[0]?.device, 1);
  assert.equal(destination(sent[0]), SECOND_MAC);
  bench.send(0, udp('10.0.1.2'));
  bench.send(1, udp('10.0.1.2'));
  assert.deepEqual(bench.takeSent().map(destination), [FIRST_MAC, SECOND_MAC]);
});

test('three requests a second apart, then the waiting packets are given up and others refused', () => {
  const bench = oneSite();
  for (let count = 0; count < 3; count++) assert.equal(bench.send(0, udp('10.0.1.2')), 'none');
  assert.equal(bench.takeSent().length, 1, 'asked once, not once a packet');
  assert.equal(bench.wait(2500).length, 2);
  assert.deepEqual(bench.takeDrops(), []);
  assert.equal(bench.wait(750).length, 0);
  assert.deepEqual(bench.takeDrops(), Array(3).fill('0:neighbor_unresolved'));
  assert.equal(bench.send(0, udp('10.0.1.2')), 'neighbor_unresolved');
  assert.equal(bench.takeSent().length, 0, 'not asked again for a while');
  bench.wait(FAILED_MS);
  assert.equal(bench.send(0, udp('10.0.1.2')), 'none');
  assert.equal(bench.takeSent().length, 1);
});

test('one waiting packet too many pushes out the oldest', () => {
  const bench = oneSite({ waitingFrames: 2 * QUEUE_PER_NEIGHBOR, txCapacity: 2 * QUEUE_PER_NEIGHBOR });
  const payloads = Array.from({ length: QUEUE_PER_NEIGHBOR + 2 }, (_, number) => String(number));
  for (const payload of payloads) bench.send(0, udp('10.0.1.2', payload));
  assert.deepEqual(bench.takeDrops(), ['0:neighbor_queue', '0:neighbor_queue']);
  bench.takeSent();
  bench.receive(0, arpReply(PEER_MAC, '10.0.1.2'));
  const sent = bench.takeSent();
  assert.deepEqual(
    sent.map((frame) => Buffer.from(frame.packet.slice(28)).toString()),
    payloads.slice(2),
  );
});

test('a frame that waited stays intact until its burst has sent it', () => {
  const bench = oneSite();
  bench.send(0, udp('10.0.1.2', 'first'));
  bench.receive(0, arpReply(PEER_MAC, '10.0.1.2'));
  // Still the same burst: other packets start to wait, none of them in the same place.
  for (let host = 10; host < 40; host++) bench.send(0, udp(`10.0.1.${host}`, 'other'));
  const first = bench.takeSent().filter((frame) => destination(frame) === PEER_MAC);
  assert.deepEqual(first[0]?.frame, ethernet(PEER_MAC, OWN_MAC, udp('10.0.1.2', 'first')));
});

test('waiting packets are bounded per device, so that one site cannot keep another from waiting', () => {
  const devices = [ethernetDevice(0), ethernetDevice(1)];
  const ports = [ethernetPort({ index: 0, device: 0 }), ethernetPort({ index: 1, device: 1 })];
  const bench = new LinkBench(plan(devices, ports), { waitingFrames: 16 });
  const results = new Set<string>();
  for (let host = 2; host < 60; host++) results.add(bench.send(0, udp(`10.0.1.${host}`)));
  assert.ok(results.has('neighbor_queue'));
  assert.equal(bench.send(1, udp('10.0.1.2')), 'none');
  bench.takeSent();
  bench.receive(1, arpReply(SECOND_MAC, '10.0.1.2'));
  assert.equal(destination(bench.takeSent()[0]), SECOND_MAC);
});

test('a silent host does not keep the first packets to its neighbours from waiting', () => {
  const bench = oneSite({ waitingFrames: 32 });
  for (let number = 0; number < 100; number++) {
    assert.equal(
      bench.send(0, udp('10.0.1.2', `silent ${number}`)),
      'none',
      'the newest takes the place of the oldest',
    );
  }
  assert.deepEqual(bench.takeDrops(), Array(76).fill('0:neighbor_queue'));
  for (let host = 10; host < 18; host++) assert.equal(bench.send(0, udp(`10.0.1.${host}`, 'first')), 'none');
  assert.equal(bench.send(0, udp('10.0.1.18', 'first')), 'neighbor_queue', 'now the share is used up');
  assert.deepEqual(bench.takeDrops(), []);
  bench.takeSent();
  for (let host = 10; host < 18; host++) bench.receive(0, arpReply(PEER_MAC, `10.0.1.${host}`));
  const sent = bench.takeSent().map((frame) => Buffer.from(frame.packet.slice(28)).toString());
  assert.deepEqual(sent, Array(8).fill('first'));
  bench.wait(3250);
  assert.deepEqual(
    bench.takeDrops(),
    Array(24).fill('0:neighbor_unresolved'),
    'what the silent host left behind',
  );
  assert.equal(bench.send(0, udp('10.0.1.2')), 'neighbor_unresolved');
});

test('a frame that is too long to wait is refused, and pushes nothing out', () => {
  const bench = oneSite();
  assert.equal(bench.send(0, udp('10.0.1.2', 'x'.repeat(3000))), 'neighbor_queue');
  assert.equal(bench.takeSent().length, 1, 'but the neighbour is asked for');
  assert.equal(bench.send(0, udp('10.0.1.2', 'short')), 'none');
  assert.equal(bench.send(0, udp('10.0.1.2', 'x'.repeat(3000))), 'neighbor_queue');
  bench.receive(0, arpReply(PEER_MAC, '10.0.1.2'));
  assert.equal(bench.takeSent().length, 1);
  assert.equal(bench.send(0, udp('10.0.1.2', 'x'.repeat(3000))), 'none');
  assert.deepEqual(bench.takeDrops(), []);
});

test('what does not fit into the output list when a neighbour answers is counted', () => {
  const bench = oneSite({ txCapacity: 8 });
  for (let number = 0; number < 12; number++) bench.send(0, udp('10.0.1.2'));
  bench.takeSent();
  bench.receive(0, arpReply(PEER_MAC, '10.0.1.2'));
  assert.equal(bench.takeSent().length, 8);
  assert.deepEqual(bench.takeDrops(), Array(4).fill('0:output_full'));
});

test('a neighbour in use is asked again, directly, and stays while it answers', () => {
  const bench = acquainted();
  assert.equal(bench.wait(REACHABLE_MS + 500).length, 0, 'an idle neighbour is left in peace');
  assert.equal(macOf(bench), PEER_MAC);
  const probes = bench.wait(5500);
  assert.equal(probes.length, 1);
  assert.equal(destination(probes[0]), PEER_MAC);
  bench.receive(0, arpReply(PEER_MAC, '10.0.1.2'));
  assert.equal(bench.wait(5000).length, 0);
  assert.equal(macOf(bench), PEER_MAC);
});

test('a neighbour that is gone is forgotten after three direct requests', () => {
  const bench = acquainted();
  bench.wait(REACHABLE_MS + 500);
  assert.equal(macOf(bench), PEER_MAC);
  const probes = bench.wait(8500);
  assert.deepEqual(probes.map(destination), [PEER_MAC, PEER_MAC, PEER_MAC]);
  bench.send(0, udp('10.0.1.2'));
  assert.deepEqual(bench.takeSent().map(destination), [BROADCAST_MAC]);
});

test('poisoning: what was not asked for makes no entry', () => {
  const bench = oneSite();
  const gratuitous = [
    ethernet(BROADCAST_MAC, OTHER_MAC, arp('request', OTHER_MAC, '10.0.1.2', NOBODY, '10.0.1.2'), 0x0806),
    ethernet(BROADCAST_MAC, OTHER_MAC, arp('reply', OTHER_MAC, '10.0.1.2', OTHER_MAC, '10.0.1.2'), 0x0806),
    arpReply(OTHER_MAC, '10.0.1.2'),
    advertisement(OTHER_MAC, 'fd00::2', OVERRIDE, { to: 'ff02::1', frameTo: '33:33:00:00:00:01' }),
    advertisement(OTHER_MAC, 'fd00::2', SOLICITED | OVERRIDE),
  ];
  for (const frame of gratuitous) assert.equal(bench.receive(0, frame), -1);
  assert.equal(bench.takeSent().length, 0);
  for (const address of ['10.0.1.2', 'fd00::2']) {
    bench.send(0, udp(address));
    assert.notEqual(destination(bench.takeSent()[0]), OTHER_MAC);
  }
});

test('poisoning: a confirmed MAC holds for a second against another one', () => {
  const bench = acquainted();
  bench.receive(0, arpReply(OTHER_MAC, '10.0.1.2'));
  assert.equal(macOf(bench), PEER_MAC);
  bench.wait(LOCK_MS);
  // After that it is what a neighbour that took the address over says (VRRP), and is believed, but checked soon.
  const announced = arp('request', OTHER_MAC, '10.0.1.2', NOBODY, '10.0.1.2');
  bench.receive(0, ethernet(BROADCAST_MAC, OTHER_MAC, announced, 0x0806));
  assert.equal(macOf(bench), OTHER_MAC);
  assert.deepEqual(bench.wait(5500).map(destination), [OTHER_MAC]);
});

test('poisoning: who claims our own address, or sends as a group or as us, is not believed', () => {
  const bench = oneSite();
  const claims: [string, Uint8Array][] = [
    ['our address', arp('request', OTHER_MAC, '10.0.1.1', NOBODY, '10.0.1.1')],
    ['a group MAC', arp('request', '03:00:00:00:00:09', '10.0.1.2', NOBODY, '10.0.1.1')],
    ['our MAC', arp('request', OWN_MAC, '10.0.1.2', NOBODY, '10.0.1.1')],
    ['no MAC', arp('request', NOBODY, '10.0.1.2', NOBODY, '10.0.1.1')],
  ];
  for (const [name, bytes] of claims) {
    bench.receive(0, ethernet(BROADCAST_MAC, OTHER_MAC, bytes, 0x0806));
    assert.equal(bench.takeSent().length, 0, name);
  }
  bench.send(0, udp('10.0.1.2'));
  assert.equal(destination(bench.takeSent()[0]), BROADCAST_MAC, 'nothing was learnt');
});

test('advertisements follow the override rules of RFC 4861, 7.2.5', () => {
  const acquaint = (): LinkBench => {
    const bench = oneSite();
    bench.send(0, udp('fd00::2'));
    bench.receive(0, advertisement(PEER_MAC, 'fd00::2', SOLICITED));
    bench.takeSent();
    bench.wait(LOCK_MS);
    return bench;
  };
  const refused = acquaint();
  refused.receive(0, advertisement(OTHER_MAC, 'fd00::2', 0));
  assert.equal(macOf(refused, 'fd00::2'), PEER_MAC, 'without override the known MAC stays');
  assert.deepEqual(refused.wait(5500).map(destination), [PEER_MAC], 'but is checked');
  const taken = acquaint();
  taken.receive(0, advertisement(OTHER_MAC, 'fd00::2', OVERRIDE));
  assert.equal(macOf(taken, 'fd00::2'), OTHER_MAC);
  const bare = oneSite();
  bare.send(0, udp('fd00::2'));
  bare.takeSent();
  bare.receive(0, advertisement(PEER_MAC, 'fd00::2', SOLICITED, { hasOption: false }));
  assert.equal(bare.takeSent().length, 0, 'an answer without a MAC answers nothing');
  bare.receive(0, advertisement(PEER_MAC, 'fd00::2', SOLICITED, { hopLimit: 254 }));
  assert.equal(bare.takeSent().length, 0, 'nor does one that came through a router');
});

test('answers ARP for our addresses, and sends to the asker without asking back', () => {
  const bench = oneSite();
  const request = arp('request', PEER_MAC, '10.0.1.2', NOBODY, '10.0.1.1');
  assert.equal(bench.receive(0, ethernet(BROADCAST_MAC, PEER_MAC, request, 0x0806)), -1);
  const reply = arp('reply', OWN_MAC, '10.0.1.1', PEER_MAC, '10.0.1.2');
  assert.deepEqual(bench.takeSent()[0]?.frame, ethernet(PEER_MAC, OWN_MAC, reply, 0x0806));
  assert.equal(macOf(bench), PEER_MAC);
  bench.receive(
    0,
    ethernet(BROADCAST_MAC, PEER_MAC, arp('request', PEER_MAC, '10.0.1.2', NOBODY, '10.0.1.3'), 0x0806),
  );
  assert.equal(bench.takeSent().length, 0, 'not for addresses that are not ours');
});

test('answers a probe (RFC 5227) and learns nothing from it', () => {
  const bench = oneSite();
  const probe = arp('request', PEER_MAC, '0.0.0.0', NOBODY, '10.0.1.1');
  bench.receive(0, ethernet(BROADCAST_MAC, PEER_MAC, probe, 0x0806));
  assert.equal(destination(bench.takeSent()[0]), PEER_MAC);
});

test('answers solicitations for our addresses and for our link-local one', () => {
  const bench = oneSite();
  // 02:00:00:00:00:01 with the universal bit turned over: fe80::ff:fe00:1.
  for (const target of ['fd00::1', 'fe80::ff:fe00:1']) {
    const asked = solicitation(PEER_MAC, 'fd00::2', target, 'ff02::1:ff00:1', '33:33:ff:00:00:01');
    assert.equal(bench.receive(0, asked), -1);
    const body = new Uint8Array(24);
    body.set(addressBytes(target));
    body.set([2, 1], 16);
    body.set(macBytes(OWN_MAC), 18);
    const transport = { kind: 'icmp', type: 136, rest: 0xe0000000, payload: body } as const;
    const answer = buildPacket({ source: target, destination: 'fd00::2', ttl: 255, transport });
    assert.deepEqual(bench.takeSent()[0]?.frame, ethernet(PEER_MAC, OWN_MAC, answer));
  }
  const detection = solicitation(PEER_MAC, '::', 'fd00::1', 'ff02::1:ff00:1', '33:33:ff:00:00:01');
  bench.receive(0, detection);
  const [defence] = bench.takeSent();
  assert.equal(destination(defence), '33:33:00:00:00:01');
  assert.equal(defence?.packet[44], 0xa0, 'router, not solicited, override');
});

test('on an uplink the host answers; we ask from its address, and listen', () => {
  const bench = new LinkBench(
    plan(
      [ethernetDevice(0)],
      [
        ethernetPort(
          { index: 0, device: 0 },
          {
            answers: [],
            onLink: ['192.0.2.0/24'],
            nextHop: { ipv4: '192.0.2.254', ipv6: 'fe80::1' },
            sourceAddresses: ['192.0.2.1', '2001:db8::1'],
          },
        ),
        grePort({ index: 1, device: 0 }),
      ],
    ),
  );
  const request = arp('request', PEER_MAC, '192.0.2.254', NOBODY, '192.0.2.1');
  bench.receive(0, ethernet(BROADCAST_MAC, PEER_MAC, request, 0x0806));
  assert.equal(bench.takeSent().length, 0);
  bench.send(0, udp('203.0.113.77'));
  const [asked] = bench.takeSent();
  assert.deepEqual(
    asked?.frame.slice(14),
    arp('request', OWN_MAC, '192.0.2.1', NOBODY, '192.0.2.254'),
    'nothing was learnt from the request',
  );
  bench.receive(0, arpReply(PEER_MAC, '192.0.2.254', '192.0.2.1'));
  assert.equal(destination(bench.takeSent()[0]), PEER_MAC);
  // The tunnel on the same device uses the same neighbour.
  assert.equal(bench.send(1, udp('10.9.9.9')), 'none');
  assert.equal(destination(bench.takeSent()[0]), PEER_MAC);
  bench.send(0, udp('2001:db8:77::1'));
  const expected = solicitation(OWN_MAC, '2001:db8::1', 'fe80::1', 'ff02::1:ff00:1', '33:33:ff:00:00:01');
  assert.deepEqual(bench.takeSent()[0]?.frame, expected);
});

test('a destination that is neither on link nor has a next hop is refused', () => {
  const bench = oneSite();
  assert.equal(bench.send(0, udp('10.0.2.2')), 'no_route');
  assert.equal(bench.send(0, udp('fd01::2')), 'no_route');
  assert.equal(bench.send(0, udp('10.0.1.255')), 'bad_destination', 'the broadcast address of the link');
  assert.equal(bench.send(0, udp('10.0.1.0')), 'bad_destination');
  assert.equal(bench.takeSent().length, 0);
});

test('a site that scans its own link loses its own entries only', () => {
  const devices = [ethernetDevice(0), ethernetDevice(1)];
  const wide = { onLink: ['10.0.0.0/16'], answers: ['10.0.1.1'], sourceAddresses: ['10.0.1.1'] };
  const ports = [ethernetPort({ index: 0, device: 0 }, wide), ethernetPort({ index: 1, device: 1 })];
  const bench = new LinkBench(plan(devices, ports), { neighbors: 64, txCapacity: 4096 });
  for (const port of [0, 1]) {
    bench.send(port, udp('10.0.1.2'));
    bench.receive(port, arpReply(port === 0 ? FIRST_MAC : SECOND_MAC, '10.0.1.2'));
  }
  bench.takeSent();
  for (let round = 0; round < 20; round++) {
    for (let host = 1; host < 200; host++) bench.send(0, udp(`10.0.${2 + round}.${host}`));
    bench.wait(1000);
  }
  bench.takeDrops();
  for (const port of [0, 1]) {
    assert.equal(bench.send(port, udp('10.0.1.2')), 'none');
    assert.equal(destination(bench.takeSent()[0]), port === 0 ? FIRST_MAC : SECOND_MAC);
  }
});

test('a new plan keeps neighbours of links that stay, and forgets those of links that change', () => {
  const devices = [ethernetDevice(0), ethernetDevice(1)];
  const ports = [ethernetPort({ index: 0, device: 0 }), ethernetPort({ index: 1, device: 1 })];
  const bench = new LinkBench(plan(devices, ports));
  for (const port of [0, 1]) {
    bench.send(port, udp('10.0.1.2'));
    bench.receive(port, arpReply(PEER_MAC, '10.0.1.2'));
  }
  bench.takeSent();
  const changed = [ports[0]!, ethernetPort({ index: 1, device: 1, generation: 2 })];
  bench.link.configure(plan(devices, [...changed, grePort({ index: 2, device: 0 })], 2), bench.nowMs);
  bench.send(0, udp('10.0.1.2'));
  bench.send(1, udp('10.0.1.2'));
  assert.deepEqual(bench.takeSent().map(destination), [PEER_MAC, BROADCAST_MAC]);
});

test('a packet that waited is not sent by a port that changed meanwhile', () => {
  const bench = new LinkBench(plan([ethernetDevice(0)], [grePort({ index: 0, device: 0 })]));
  bench.send(0, udp('10.9.9.9'));
  const next = grePort({ index: 0, device: 0, generation: 2 }, { remote: '198.51.100.66' });
  bench.link.configure(plan([ethernetDevice(0)], [next], 2), bench.nowMs);
  bench.takeSent();
  bench.receive(0, arpReply(PEER_MAC, '192.0.2.254', '192.0.2.1'));
  assert.equal(bench.takeSent().length, 0);
  assert.deepEqual(bench.takeDrops(), ['0:port_down']);
});
