/**
 * A port as the link layer sees it: how its IP packets get onto their device.
 *
 * Ports are made anew with every plan; what a GRE tunnel counts (`gre-tunnel.ts`) moves on to its successor
 * when index, generation and endpoints are the same, and its sequence numbers when the endpoints are.
 *
 * Neighbours: `link-device.ts`, `link-layer.ts`.
 */
import type { Counters } from '../../flow/counters.ts';
import { IPV4, IPV6 } from '../../wire/packet.ts';
import type { Plan, PlanPort } from '../plan.ts';
import { GreTunnel } from './gre-tunnel.ts';
import { addressWords } from './link-device.ts';

/** Kinds of links: the packet as it is; behind an Ethernet header; inside GRE, behind one or not, as the device is. */
export const LINK_IP = 1;
export const LINK_ETHERNET = 2;
export const LINK_GRE = 3;

export class LinkPort {
  readonly index: number;
  readonly generation: number;
  /** 1 or 0. */
  readonly enabled: number;
  /** {@link LINK_IP}, {@link LINK_ETHERNET} or {@link LINK_GRE}. */
  readonly kind: number;
  readonly device: number;
  /** Largest IP packet as configured, bytes. */
  readonly mtu: number;
  /** 1 if there is an IPv4 next hop, and its word. */
  readonly hasNextHopIpv4: number;
  readonly nextHopIpv4: number;
  /** 1 if there is an IPv6 next hop, and its words. */
  readonly hasNextHopIpv6: number;
  readonly nextHopIpv6: Int32Array;
  readonly tunnel: GreTunnel | undefined;
  /** Neighbour entry that the last packet to a next hop used; checked before it is believed. */
  neighborHint = 0;

  constructor(port: PlanPort, tunnel: GreTunnel | undefined) {
    const link = port.link;
    this.index = port.index;
    this.generation = port.generation;
    this.enabled = port.enabled ? 1 : 0;
    this.device = link.device;
    this.mtu = port.mtu;
    this.kind = link.kind === 'ip' ? LINK_IP : link.kind === 'ethernet' ? LINK_ETHERNET : LINK_GRE;
    const nextHopIpv4 = nextHopWords(port, IPV4);
    const nextHopIpv6 = nextHopWords(port, IPV6);
    this.hasNextHopIpv4 = nextHopIpv4 === undefined ? 0 : 1;
    this.nextHopIpv4 = nextHopIpv4?.[3] ?? 0;
    this.hasNextHopIpv6 = nextHopIpv6 === undefined ? 0 : 1;
    this.nextHopIpv6 = nextHopIpv6 ?? new Int32Array(4);
    this.tunnel = tunnel;
  }
}

/**
 * Ports of a plan by index. Throws, and so refuses the plan, if it is wrong.
 *
 * @param previous those of the plan before
 * @param counters where tunnels keep their sequence numbers
 */
export function compilePorts(
  plan: Plan,
  previous: readonly (LinkPort | undefined)[],
  counters: Counters | undefined,
): (LinkPort | undefined)[] {
  const ports: (LinkPort | undefined)[] = [];
  const former = new Map<string, GreTunnel>();
  for (const port of previous) if (port?.tunnel !== undefined) former.set(port.tunnel.identity, port.tunnel);
  const ethernet = new Set(plan.devices.flatMap(({ kind, index }) => (kind === 'ethernet' ? [index] : [])));
  for (const port of plan.ports) {
    const { name, link } = port;
    if (link.kind === 'gre' && link.nextHop === undefined && ethernet.has(link.device)) {
      throw new Error(`plan: tunnel ${name}: its Ethernet device needs a next hop`);
    }
    const before = previous[port.index];
    const same = before?.generation === port.generation ? before.tunnel : undefined;
    const tunnel =
      link.kind === 'gre' ? new GreTunnel(link, port.index, port.mtu, same, former, counters) : undefined;
    ports[port.index] = new LinkPort(port, tunnel);
  }
  // No holes: an absent port is an element like any other.
  for (let index = 0; index < ports.length; index++) ports[index] ??= undefined;
  return ports;
}

function nextHopWords(port: PlanPort, family: number): Int32Array | undefined {
  const link = port.link;
  if (link.kind === 'ip') return undefined;
  const texts = link.kind === 'gre' ? [link.nextHop] : [link.nextHop.ipv4, link.nextHop.ipv6];
  for (const text of texts) {
    if (text === undefined) continue;
    const address = addressWords(text);
    if (address.family === family) return address.words;
  }
  return undefined;
}
