/**
 * Random and damaged packets at a whole gateway in memory: it never throws, nobody gets what another site sent, and
 * the flows of those who behave go on.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { buildFragments, buildPacket } from '../../src/wire/build.ts';
import {
  DESCRIPTOR_DEVICE,
  DESCRIPTOR_LENGTH,
  DESCRIPTOR_OFFSET,
  DESCRIPTOR_WORDS,
  FRAME_PREFIX_BYTES,
} from '../../src/wire/frame.ts';
import { TCP_ACK, TCP_SYN } from '../../src/wire/packet.ts';
import { MemoryGateway } from '../support/memory-gateway.ts';
import { echo, icmpError, tcp, text, udp } from '../support/packets.ts';
import { Random } from '../support/random.ts';

const SEED = 0x5eed_2026;
const ROUNDS = 1200;
const PACKETS_A_ROUND = 200;
const SITES = ['paris', 'lyon', 'nice'];
const EXTERNAL = ['198.51.100.1', '2001:db8:100::1'];

const HOSTS = ['10.0.1.10', '10.0.1.11', 'fd00:1::10'];
const SERVERS: Record<string, readonly string[]> = {
  4: ['203.0.113.10', '10.50.0.10', '10.0.1.99', '198.51.100.1', '192.168.9.9', '10.0.1.1'],
  6: ['2001:db8:113::10', 'fd00:50::10', 'fd00:1::99', '2001:db8:100::1', 'fd99::1', 'fd00:1::1'],
};

/** A packet that might be sent by a site, or by anybody outside. The payload says where it was sent. */
function packetOf(random: Random, port: string): Uint8Array {
  const inside = port !== 'internet';
  const host = inside
    ? random.pick(HOSTS)
    : random.pick(['203.0.113.10', '203.0.113.11', '2001:db8:113::10']);
  const family = host.includes(':') ? 6 : 4;
  const server = inside ? random.pick(SERVERS[family]) : EXTERNAL[family === 4 ? 0 : 1];
  const [from, to] = [
    `${host} ${1000 + random.next(40)}`,
    `${server} ${random.pick([53, 80, 443, 1024 + random.next(400)])}`,
  ];
  const token = `<${port}>`.repeat(1 + random.next(4));
  const ttl = random.pick([64, 64, 64, 1, 0, 255]);
  switch (random.next(7)) {
    case 0:
      return buildPacket(tcp(from, to, TCP_SYN, { sequence: random.next(0x7fffffff) }, { ttl }));
    case 1:
      return buildPacket(
        tcp(
          from,
          to,
          TCP_ACK | random.next(64),
          {
            sequence: random.next(1 << 30),
            acknowledgment: random.next(1 << 30),
            payload: new TextEncoder().encode(token),
          },
          { ttl },
        ),
      );
    case 2:
      return buildPacket(
        echo(
          host,
          server,
          family === 4 ? random.pick([8, 0, 13]) : random.pick([128, 129]),
          random.next(8),
          token,
          { ttl },
        ),
      );
    case 3: {
      const quoted = buildPacket(udp(to, from, token));
      return buildPacket(
        icmpError(
          host,
          server,
          family === 4 ? random.pick([3, 11, 12, 5]) : random.next(5),
          random.next(6),
          quoted,
          random.next(2000),
        ),
      );
    }
    case 4:
      return random.pick(
        buildFragments(
          buildPacket(udp(from, to, token.repeat(60), { ttl })),
          200 + random.next(200),
          random.next(4),
        ),
      );
    default:
      return buildPacket(udp(from, to, token, { ttl }));
  }
}

function damage(random: Random, packet: Uint8Array): Uint8Array {
  switch (random.next(6)) {
    case 0:
      return packet.slice(0, 1 + random.next(packet.length));
    case 1: {
      const noise = Uint8Array.from({ length: 1 + random.next(120) }, () => random.next(256));
      if (random.next(2) === 0) noise[0] = random.pick([0x45, 0x46, 0x4f, 0x60]);
      return noise;
    }
    case 2:
    case 3: {
      const copy = packet.slice();
      for (let i = random.next(4); i >= 0; i--)
        copy[random.next(Math.min(copy.length, 60))] ^= 1 << random.next(8);
      return copy;
    }
    default:
      return packet;
  }
}

it(`${ROUNDS * PACKETS_A_ROUND} random packets (seed ${SEED}): no throw, no leak, no harm to others`, () => {
  const random = new Random(SEED);
  const gateway = new MemoryGateway({
    sites: [
      ...SITES.map((name) => ({ name, prefixes: ['10.0.1.0/24', 'fd00:1::/64'] })),
      { name: 'datacenter', prefixes: ['10.50.0.0/16', 'fd00:50::/48'] },
    ],
    egress: [
      {
        name: 'internet',
        pools: EXTERNAL.map((address) => ({ address, portMin: 1024, portMax: 2047, quotaPerSite: 250 })),
      },
    ],
    maxFlows: 2048,
    flowTable: { perTunnel: 500 },
  });
  const ports = [...SITES, 'datacenter', 'internet'];
  // A connection that must live through all of it.
  const client = '10.0.1.200 7777';
  const server = '10.50.9.9 9999';
  gateway.send('lyon', tcp(client, server, TCP_SYN, { sequence: 1 }));
  gateway.send('datacenter', tcp(server, client, TCP_SYN | TCP_ACK, { sequence: 1, acknowledgment: 2 }));
  gateway.send('lyon', tcp(client, server, TCP_ACK, { sequence: 2, acknowledgment: 2 }));

  const { io, assembly } = gateway;
  let delivered = 0;
  let toSites = 0;
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < PACKETS_A_ROUND; i++) {
      const port = random.pick(ports);
      io.inject(ports.indexOf(port) + 1, damage(random, packetOf(random, port)));
    }
    do {
      io.nowMs = gateway.nowMs;
      const received = io.burst(0);
      assembly.beginBurst();
      for (let i = 0; i < received; i++) {
        const at = i * DESCRIPTOR_WORDS;
        assembly.pipeline.receive(
          io.rx.words[at + DESCRIPTOR_OFFSET],
          io.rx.words[at + DESCRIPTOR_LENGTH],
          io.rx.words[at + DESCRIPTOR_DEVICE],
          gateway.nowMs,
        );
      }
    } while (io.waiting > 0);
    io.burst(0);
    for (const sent of io.takeSent()) {
      const to = ports[sent.device - 1];
      const content = Buffer.from(sent.frame.subarray(FRAME_PREFIX_BYTES)).toString('latin1');
      delivered++;
      for (const other of SITES) {
        if (other === to || !SITES.includes(to)) continue;
        toSites++;
        assert.ok(!content.includes(`<${other}>`), `round ${round}: a packet of ${other} reached ${to}`);
      }
    }
    gateway.pass(random.next(400));
    if (round % 50 === 0) {
      const [ping] = gateway.send(
        'datacenter',
        tcp(server, client, TCP_ACK, {
          sequence: 2,
          acknowledgment: 2,
          payload: new TextEncoder().encode('alive'),
        }),
      );
      assert.equal(ping.port, 'lyon');
      assert.equal(text(ping.payload), 'alive');
      assert.deepEqual(gateway.assembly.state.table.verify(), []);
    }
  }
  assert.deepEqual(gateway.failures, []);
  assert.ok(delivered > ROUNDS, `${delivered} packets were delivered: the test has something to look at`);
  assert.ok(toSites > 100, `${toSites} looks at packets to sites`);
});
