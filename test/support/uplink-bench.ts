/**
 * An uplink with GRE tunnels, for tests of the link layer: its ends, packets to put inside, and what comes from
 * the other end and from routers on the way.
 */
import assert from 'node:assert/strict';
import type { PlanGreLink, PlanPort } from '../../src/pipeline/plan.ts';
import { buildPacket } from '../../src/wire/build.ts';
import { arpReply, ethernetDevice, ethernetPort, grePort, LinkBench, PEER_MAC, plan } from './link-bench.ts';

export const LOCAL = '192.0.2.1';
export const REMOTE = '198.51.100.10';
export const LOCAL6 = '2001:db8::1';
export const REMOTE6 = '2001:db8:1::10';
export const OVER_IPV6 = {
  local: LOCAL6,
  remote: REMOTE6,
  nextHop: 'fe80::fe',
  sourceAddresses: [LOCAL6],
} satisfies Partial<PlanGreLink>;

/** A packet of a site. */
export function udp(options: { trafficClass?: number; bytes?: number; isIpv6?: boolean } = {}): Uint8Array {
  const payload = Buffer.alloc(options.bytes ?? 11, 'payload');
  return buildPacket({
    source: options.isIpv6 === true ? 'fd00:1::9' : '10.0.1.9',
    destination: options.isIpv6 === true ? 'fd00:2::9' : '10.0.2.9',
    trafficClass: options.trafficClass ?? 0,
    transport: { kind: 'udp', sourcePort: 1000, destinationPort: 2000, payload },
  });
}

/** A GRE packet from the other end. */
export function outer(
  payload: Uint8Array,
  { source = REMOTE, destination = LOCAL, trafficClass = 0 } = {},
): Uint8Array {
  const transport = { kind: 'raw', protocol: 47, payload } as const;
  return buildPacket({ source, destination, trafficClass, transport });
}

export const EGRESS = ethernetPort(
  { index: 9, device: 0 },
  { answers: [], onLink: ['192.0.2.0/24'], nextHop: { ipv4: '192.0.2.254' }, sourceAddresses: [LOCAL] },
);

/** An uplink with these GRE ports and an egress-like Ethernet port at index 9, the next hop known. */
export function uplink(ports: PlanPort[]): LinkBench {
  const bench = new LinkBench(plan([ethernetDevice(0), ethernetDevice(1)], [...ports, EGRESS]));
  for (const port of ports) {
    const isIpv6 = port.link.kind === 'gre' && port.link.local.includes(':');
    bench.send(port.index, udp());
    if (!isIpv6) bench.receive(0, arpReply(PEER_MAC, '192.0.2.254', LOCAL));
    else {
      const body = new Uint8Array(24);
      body.set([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, 2, 1, 2, 0, 0, 0, 0, 2]);
      const transport = { kind: 'icmp', type: 136, rest: 0x60000000, payload: body } as const;
      bench.receivePacket(0, buildPacket({ source: 'fe80::fe', destination: LOCAL6, ttl: 255, transport }));
    }
    bench.takeSent();
  }
  assert.deepEqual(bench.takeDrops(), []);
  return bench;
}

/** The same with one tunnel, at index 0. */
export function one(link: Partial<PlanGreLink> = {}): LinkBench {
  return uplink([grePort({ index: 0, device: 0 }, link)]);
}

/** An ICMP error of a router about a packet of ours. */
export function routerError(
  quote: Uint8Array,
  mtu: number,
  { isIpv6 = false, type = 3, code = 4 } = {},
): Uint8Array {
  const transport = isIpv6
    ? ({ kind: 'icmp', type: 2, code: 0, rest: mtu, payload: quote } as const)
    : ({ kind: 'icmp', type, code, rest: mtu, payload: quote } as const);
  return buildPacket({
    source: isIpv6 ? '2001:db8:7::1' : '203.0.113.1',
    destination: isIpv6 ? LOCAL6 : LOCAL,
    transport,
  });
}
