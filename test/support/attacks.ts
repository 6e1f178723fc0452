/**
 * Who attacks a gateway with what: a site, anybody on the uplink, and the captures of tcpdump. The addresses are
 * those of `hostile-traffic.test.ts` and `hostile-frames.test.ts`.
 */
import { buildFragments, buildPacket } from '../../src/wire/build.ts';
import { type GreShape, greFrom, neighborFrames, packetsOf, toGateway, type Wire } from './hostile-frames.ts';
import { icmpError } from './packets.ts';
import { tcpdumpPackets } from './tcpdump-corpus.ts';

/** The gateway's own addresses on its uplink, and local ends of its tunnels. */
export const UPLINK = ['192.0.2.1', '2001:db8:2::1'] as const;
/** The tunnels' other ends: the first has key 7, the second none. */
export const GRE_REMOTES = ['192.0.2.9', '2001:db8:2::9'] as const;

/** What a site may send: to other sites, the internet, the gateway and tunnels' ends. */
export function siteAttack(wire: Wire): Uint8Array[] {
  const talks = [
    { from: '10.0.1.10', to: '10.50.0.10', port: 9000 },
    { from: '10.0.1.11', to: '203.0.113.245', port: 443 },
    { from: '10.0.1.12', to: '192.0.2.1', port: 500 },
    { from: '10.0.1.13', to: '10.0.1.1', port: 53 },
    { from: 'fd00:1::10', to: 'fd00:50::10', port: 9000 },
    { from: 'fd00:1::11', to: '2001:db8:113::f5', port: 443 },
    { from: 'fd00:1::12', to: 'fd00:1::1', port: 53 },
  ];
  return [
    ...talks.flatMap((talk) => packetsOf(talk).map((packet) => toGateway(wire, packet))),
    ...neighborFrames(wire, '10.0.1.77', '10.0.1.1'),
    ...neighborFrames(wire, 'fd00:1::77', 'fd00:1::1'),
  ];
}

/** What the internet may send: to the gateway's external addresses, and as the other end of its tunnels. */
export function uplinkAttack(wire: Wire): Uint8Array[] {
  const inner = [
    ...packetsOf({ from: '10.0.1.10', to: '10.50.0.10', port: 9000 }),
    ...packetsOf({ from: 'fd00:1::10', to: 'fd00:50::10', port: 9000 }),
    ...packetsOf({ from: '10.0.1.11', to: '203.0.113.245', port: 443 }),
  ];
  const shapes: readonly GreShape[] = [
    { key: 7 },
    { key: 7 },
    { key: 7, checksum: true, sequence: 9 },
    { key: 8 },
    {},
    { checksum: true, sequence: 5 },
    { checksum: true },
    { sequence: 3 },
  ];
  const packets = [
    ...packetsOf({ from: '203.0.113.245', to: UPLINK[0], port: 61_000 }),
    ...packetsOf({ from: '2001:db8:113::f5', to: UPLINK[1], port: 61_000 }),
  ];
  inner.forEach((packet, at) => {
    for (const end of [0, 1] as const) {
      const chosen = shapes[at % shapes.length]!;
      const shape = chosen.sequence === undefined ? chosen : { ...chosen, sequence: chosen.sequence + at };
      const tunnelled = greFrom(GRE_REMOTES[end], UPLINK[end], shape, packet);
      packets.push(tunnelled);
      if (at % 5 === 0) packets.push(...buildFragments(tunnelled, end === 0 ? 100 : 120, at));
      if (at % 7 === 0) {
        const ours = greFrom(UPLINK[end], GRE_REMOTES[end], shape, packet);
        const [type, code] = end === 0 ? [3, 4] : [2, 0];
        packets.push(buildPacket(icmpError(GRE_REMOTES[end], UPLINK[end], type, code, ours, at)));
      }
    }
  });
  return [
    ...packets.map((packet) => toGateway(wire, packet)),
    ...neighborFrames(wire, '192.0.2.80', UPLINK[0]),
    ...neighborFrames(wire, '2001:db8:2::80', UPLINK[1]),
  ];
}

/** The packets of the captures as frames: one half as they are, one half addressed to the gateway. */
export function corpusAttack(wire: Wire): Uint8Array[] {
  return tcpdumpPackets().flatMap(({ layout, bytes }) => {
    if (layout === 'ip') return [toGateway(wire, bytes)];
    const rewritten = Uint8Array.from(bytes);
    rewritten.set(Buffer.from(wire.destination.replaceAll(':', ''), 'hex'));
    return [bytes, rewritten];
  });
}
