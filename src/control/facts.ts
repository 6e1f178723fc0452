/**
 * What the compiler must know about the host: plain data, collected by `host/` and `ipsec/ipsec-facts.ts`, so that
 * compiling is a pure function and can be tested without a host.
 *
 * Addresses are text in canonical form (RFC 5952).
 */

import type { IpsecTunnelStatus } from '../tunnel/ipsec/tunnel-state.ts';
import type { HostRules } from './compile/host-rules.ts';

export interface HostFacts {
  /** Interfaces of the namespace, by name; `lo` included. */
  readonly links: Readonly<Record<string, LinkFacts>>;
  /** Default routes of the main table, both families, in any order. */
  readonly defaultRoutes: readonly DefaultRouteFacts[];
  /** Answers to the {@link RouteQuery} list that `routeQueries(config)` asks for; one without a route is left out. */
  readonly routes: readonly RouteFacts[];
  /** Which tunnel interfaces the kernel can make. */
  readonly kernelLinks: Readonly<Record<KernelLinkKind, Availability>>;
  /** Interfaces that it would not make when it was asked to, by name: what it said. */
  readonly refusedLinks: Readonly<Record<string, string>>;
  /** Of the host's firewall, where it may stand in the way of a tunnel of the kernel's. */
  readonly hostRules?: HostRules | undefined;
  /** Where there are `ipsec` tunnels. */
  readonly ipsec?: IpsecFacts | undefined;
  /** `net.ipv4.ip_local_port_range`, inclusive. */
  readonly localPortRange: { readonly min: number; readonly max: number };
}

/** Tunnel interfaces of the kernel, by iproute2's names of their kinds; `ip6gre`: GRE whose outer packets are IPv6. */
export type KernelLinkKind = 'gre' | 'ip6gre' | 'xfrm';

/** Whether this host can do something. */
export interface Availability {
  readonly available: boolean;
  /** How that is known, for people: `the kernel has GRE (module ip_gre)`. */
  readonly why: string;
}

export interface LinkFacts {
  readonly ifindex: number;
  /**
   * `ethernet`: carries Ethernet frames (VLAN, veth, bridge, TAP included); `layer3`: IP packets without a link
   * header; `tun`: a TUN device (layer 3 as well); `loopback`.
   */
  readonly kind: 'ethernet' | 'layer3' | 'tun' | 'loopback';
  /** `02:00:00:00:00:01`, lower case; ethernet only. */
  readonly mac?: string;
  readonly mtu: number;
  /** Administratively up. */
  readonly up: boolean;
  /** False while it is up and nothing passes, because there is nobody at its other end; else left out. */
  readonly carrier?: false;
  /** It is up, and takes the packets of this kind of tunnel that no other interface takes; left out on others. */
  readonly takesRest?: 'gre' | 'ip6gre';
  /** `if_id` of an XFRM interface; left out on others. */
  readonly interfaceId?: number;
  /** What takes its packets before anybody else does; left out if nothing does. */
  readonly partOf?: LinkMasterFacts;
  /** In the kernel's order. */
  readonly addresses: readonly LinkAddressFacts[];
}

/** The device that another one is a port of. */
export interface LinkMasterFacts {
  /** `bridge`, `bond`, `team`, ...; a VRF is none of them. */
  readonly kind: string;
  readonly name: string;
}

export interface LinkAddressFacts {
  readonly address: string;
  readonly prefixLength: number;
  readonly scope: 'global' | 'link' | 'host';
  /** Temporary (RFC 8981) or deprecated: never chosen by `auto`. */
  readonly transient: boolean;
}

export interface DefaultRouteFacts {
  readonly family: 4 | 6;
  readonly device: string;
  /** null: on link. */
  readonly nextHop: string | null;
  readonly metric: number;
}

/** A question to the host's routing: how does a packet from `local` to `remote` leave? */
export interface RouteQuery {
  readonly local: string;
  readonly remote: string;
}

export interface RouteFacts extends RouteQuery {
  readonly device: string;
  /** null: `remote` is a neighbour on `device`. */
  readonly nextHop: string | null;
  /** Bytes that the way carries, where it is said to carry less than the device, or was learnt to. */
  readonly mtu?: number;
}

export type IpsecDriverName = 'xfrm' | 'libipsec';

/** How a tunnel is, and as which one: under its name there may have been another. */
export interface RunningIpsecTunnel {
  /** See `IpsecWish.key`. */
  readonly key: string;
  readonly status: IpsecTunnelStatus;
}

export interface IpsecFacts {
  readonly drivers: Readonly<Record<IpsecDriverName, Availability>>;
  /** By tunnel: what is wrong with its secrets; those that are right are left out. */
  readonly credentials: Readonly<Record<string, string>>;
  /** By tunnel; one that does not run is left out. undefined: who runs them was not asked. */
  readonly running: Readonly<Record<string, RunningIpsecTunnel>> | undefined;
}
