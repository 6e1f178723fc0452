/**
 * Tunnels whose path carries less than 1280 bytes inside, between two whole gateways:
 *
 * ```
 *   paris ── near ══ gre ══ far ── lan         rome ── near ══ gre, another key ══ far ── lan
 * ```
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PlanGreLink } from '../../src/pipeline/plan.ts';
import { buildFragments, buildPacket } from '../../src/wire/build.ts';
import { type Delivered, MemoryGateway } from '../support/memory-gateway.ts';
import { udp } from '../support/packets.ts';

const IPV6_UDP_BYTES = 48;
const NEAR = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' };
const FAR = { ipv4: '198.51.100.10', ipv6: '2001:db8:1::10' };

interface TunnelOptions {
  readonly outer: 'ipv4' | 'ipv6';
  /** Largest inner packet that the path carries whole. */
  readonly mtu: number;
  readonly key?: number;
  readonly checksum?: boolean;
  readonly sequence?: boolean;
}

function greLink(tunnel: TunnelOptions, local: string, remote: string, device: number): PlanGreLink {
  const { key = null, checksum = false, sequence = false } = tunnel;
  return { kind: 'gre', local, remote, key, checksum, sequence, ttl: 64, device, sourceAddresses: [] };
}

/** The gateway with the sites, each behind a device, and a tunnel of each; all tunnels use device 9. */
function near(tunnels: readonly TunnelOptions[]): MemoryGateway {
  const names = ['paris', 'rome'].slice(0, tunnels.length);
  return new MemoryGateway({
    sites: [
      ...names.map((name, index) => ({
        name,
        prefixes: [`fd00:${index + 1}1::/64`, `10.${index + 1}.0.0/24`],
      })),
      ...tunnels.map((tunnel, index) => ({
        name: `${names[index]}-far`,
        prefixes: [`fd00:a${index}::/64`, `10.9.${index}.0/24`],
        tunnels: [
          {
            name: `${names[index]}-gre`,
            mtu: tunnel.mtu,
            addresses: [],
            link: greLink(tunnel, NEAR[tunnel.outer], FAR[tunnel.outer], 9),
          },
        ],
      })),
    ],
  });
}

/** The other end of all tunnels: one site for each, `lan-N`, on a device of its own. */
function far(tunnels: readonly TunnelOptions[]): MemoryGateway {
  return new MemoryGateway({
    sites: [
      ...tunnels.map((_, index) => ({
        name: `lan-${index}`,
        prefixes: [`fd00:a${index}::/64`, `10.9.${index}.0/24`],
      })),
      ...tunnels.map((tunnel, index) => ({
        name: `wan-${index}`,
        prefixes: [],
        tunnels: [
          {
            name: `wan-${index}`,
            mtu: tunnel.mtu,
            addresses: [],
            link: greLink(tunnel, FAR[tunnel.outer], NEAR[tunnel.outer], 9),
          },
        ],
      })),
    ],
  });
}

const bytesOf = (packets: readonly Delivered[]): Uint8Array[] => packets.map(({ packet }) => packet);

const TUNNELS: readonly TunnelOptions[] = [
  { outer: 'ipv4', mtu: 1000 },
  { outer: 'ipv4', mtu: 548, key: 7, checksum: true, sequence: true },
  { outer: 'ipv6', mtu: 1236 },
  { outer: 'ipv6', mtu: 1224, key: 7, checksum: true, sequence: true },
];

describe('an IPv6 packet of 1280 bytes into a narrow tunnel', () => {
  for (const tunnel of TUNNELS) {
    it(`passes in outer fragments: ${JSON.stringify(tunnel)}`, () => {
      const gateways = [near([tunnel]), far([tunnel])] as const;
      const overhead = (tunnel.outer === 'ipv4' ? 24 : 44) + (tunnel.key === undefined ? 0 : 12);
      for (const bytes of [1280, tunnel.mtu + 1, tunnel.mtu]) {
        const payload = new Uint8Array(bytes - IPV6_UDP_BYTES).map((_, index) => index * 7);
        const packet = udp('fd00:11::10 1000', 'fd00:a0::10 53', payload);
        const pieces = gateways[0].send('paris', packet);
        assert.equal(pieces.length > 1, bytes > tunnel.mtu);
        for (const { view } of pieces) {
          assert.ok(view.length <= tunnel.mtu + overhead, `${view.length} bytes`);
          assert.equal(view.fragment, bytes > tunnel.mtu ? 1 : 0);
          if (view.fragment !== 0 && view.family === 4) assert.equal(view.dontFragment, 0);
        }
        const [arrived, ...others] = gateways[1].sendAll('wan-0', bytesOf(pieces).reverse());
        assert.deepEqual(others, []);
        assert.equal(arrived?.port, 'lan-0');
        assert.deepEqual(arrived.packet, buildPacket({ ...packet, ttl: 62 }));
      }
      const answer = udp('fd00:a0::10 53', 'fd00:11::10 1000', new Uint8Array(1280 - IPV6_UDP_BYTES));
      const back = gateways[0].sendAll('paris-gre', bytesOf(gateways[1].send('lan-0', answer)));
      assert.deepEqual(
        back.map(({ port, packet }) => [port, packet.length]),
        [['paris', 1280]],
      );
    });
  }
});

/** What an ICMPv6 "packet too big" or an ICMP "fragmentation needed" says, and who gets it. */
function toldMtu(delivered: readonly Delivered[]): [string, number] {
  assert.equal(delivered.length, 1);
  const { port, packet, view } = delivered[0]!;
  const rest = new DataView(packet.buffer).getUint32(view.l4Offset - view.offset + 4);
  assert.deepEqual([view.icmpType, view.icmpCode], view.family === 4 ? [3, 4] : [2, 0]);
  return [port, rest];
}

describe('other packets into a narrow tunnel', () => {
  const tunnel: TunnelOptions = { outer: 'ipv4', mtu: 1000 };

  it('are refused above 1280 bytes, and told 1280', () => {
    const gateway = near([tunnel]);
    const packet = udp('fd00:11::10 1000', 'fd00:a0::10 53', new Uint8Array(1281 - IPV6_UDP_BYTES));
    assert.deepEqual(toldMtu(gateway.send('paris', packet)), ['paris', 1280]);
    assert.deepEqual(gateway.drops('paris'), { too_big: 1 });
  });

  it('are refused or fragmented themselves if they are IPv4', () => {
    const gateway = near([tunnel]);
    const payload = new Uint8Array(1200);
    const whole = udp('10.1.0.10 1000', '10.9.0.10 53', payload, { dontFragment: true });
    assert.deepEqual(toldMtu(gateway.send('paris', whole)), ['paris', 1000]);
    const pieces = gateway.send('paris', udp('10.1.0.10 1000', '10.9.0.10 53', payload));
    assert.equal(pieces.length, 2);
    for (const { view } of pieces) assert.deepEqual([view.fragment, view.dontFragment], [0, 1]);
    const arrived = far([tunnel]).sendAll('wan-0', bytesOf(pieces));
    assert.deepEqual(
      arrived.map(({ port, view }) => [port, view.fragment]),
      [
        ['lan-0', 1],
        ['lan-0', 1],
      ],
    );
  });

  it('that came in fragments are cut again, and fit', () => {
    const gateway = near([tunnel]);
    const payload = new Uint8Array(3000).map((_, index) => index);
    const packet = buildPacket(udp('fd00:11::10 1000', 'fd00:a0::10 53', payload));
    const pieces = gateway.sendAll('paris', buildFragments(packet, 1280, 5));
    for (const { view } of pieces) assert.equal(view.fragment, 0);
    assert.ok(pieces.length > 2);
    const arrived = far([tunnel]).sendAll('wan-0', bytesOf(pieces));
    assert.equal(arrived.length, pieces.length);
  });
});

it('fragments of two tunnels between the same ends are never mixed up', () => {
  const tunnels: readonly TunnelOptions[] = [
    { outer: 'ipv4', mtu: 1000, key: 1 },
    { outer: 'ipv4', mtu: 1000, key: 2 },
  ];
  const gateways = [near(tunnels), far(tunnels)] as const;
  const seen = new Set<number>();
  for (let round = 0; round < 50; round++) {
    const sent = [0, 1].map((site) => {
      const from = `fd00:${site + 1}1::10 1000`;
      const payload = new Uint8Array(1200).fill(site * 100 + round);
      return gateways[0].send(site === 0 ? 'paris' : 'rome', udp(from, `fd00:a${site}::10 53`, payload));
    });
    assert.deepEqual(
      sent.map((pieces) => pieces.length),
      [2, 2],
    );
    for (const pieces of sent) {
      assert.ok(!seen.has(pieces[0]!.view.identification), 'an identification comes once');
      seen.add(pieces[0]!.view.identification);
    }
    const mixed = [sent[0]![0]!, sent[1]![0]!, sent[1]![1]!, sent[0]![1]!];
    const arrived = gateways[1].sendAll('wan-0', bytesOf(mixed));
    assert.deepEqual(
      arrived.map(({ port, payload }) => [port, payload.every((byte) => byte === payload[0]), payload[0]]),
      [
        ['lan-1', true, 100 + round],
        ['lan-0', true, round],
      ],
    );
  }
});
