/**
 * What the host side has to do for a plan: compiled together with it, from the same configuration and facts.
 *
 * `host/` makes from it the guard's rules, the socket filters (`PlanDevice.filter`, which the compiler leaves
 * out), the interfaces' state and the ports reserved in the host.
 */
import type { PortRange } from '../config/config.ts';

export interface HostSetup {
  /** Every device that the configuration names or needs, by the same index as in the plan, in the plan's order. */
  readonly devices: readonly HostDevice[];
}

export type HostDevice = ExclusiveDevice | SharedDevice | TunDevice;

interface HostDeviceCommon {
  /** `PlanDevice.index`. */
  readonly index: number;
  readonly name: string;
  readonly mtu: number;
  /**
   * Whether it is there, and as it must be. If not, the plan does not have it and nothing is done to it, but the
   * guard names it already: should it appear, the host must not have its packets first.
   */
  readonly present: boolean;
}

/** All of its packets are ours, the host gets none: an interconnect, or a layer-3 interface. */
export interface ExclusiveDevice extends HostDeviceCommon {
  readonly role: 'exclusive';
  readonly kind: 'ethernet' | 'ip';
  /** 0 while it is not present; for the guard then that of the one that was there, if it has another name now. */
  readonly ifindex: number;
  /** Name of the tunnel it belongs to. */
  readonly tunnel: string;
  /** A tunnel of the kernel's, which is made for us and removed again; left out where the interface is the host's. */
  readonly made?: KernelTunnel;
  /** One end of a wire to a namespace that is made for it, with this MAC; left out on others. */
  readonly diversion?: { readonly mac: string; readonly proxyMac: string };
}

/** A tunnel interface of the kernel, and whose outer packets it may get. */
export interface KernelTunnel {
  readonly link: KernelLink;
  /**
   * The interface that GRE packets may come in by; null: none, so that none is let through to the kernel. ESP is the
   * host's from wherever it comes: who sent it is proven by its key.
   */
  readonly underlay: string | null;
  /** Whether the interface takes them already. */
  readonly isUp: boolean;
  /**
   * Of the SAs (`reqid`) that its GRE packets pass within: by no other ones, and in clear text, none leaves, and none is
   * taken. null: they pass in clear text, or it is no GRE.
   */
  readonly requestId: number | null;
}

/** What a tunnel interface is made of; `host/kernel-links.ts` says it to the kernel. */
export type KernelLink = GreLink | XfrmLink;

/** What is sent into it goes by the SAs of its id, or nowhere; what comes by them comes out of it. */
export interface XfrmLink {
  readonly kind: 'xfrm';
  /** `if_id`, uint32, not 0. */
  readonly interfaceId: number;
}

export interface GreLink {
  /** `gre`: outer packets are IPv4; `ip6gre`: IPv6. */
  readonly kind: 'gre' | 'ip6gre';
  readonly local: string;
  readonly remote: string;
  /** uint32, or null for none. */
  readonly key: number | null;
  readonly checksum: boolean;
  readonly sequence: boolean;
  readonly ttl: number;
}

/** An uplink that the host uses too. What is not listed here is the host's. */
export interface SharedDevice extends HostDeviceCommon {
  readonly role: 'shared';
  /** `ip`: a layer-3 interface (PPP, WireGuard, TUN), whose packets have no link header. */
  readonly kind: 'ethernet' | 'ip';
  /** 0 while it is not present. */
  readonly ifindex: number;
  /** Tunnel packets that are ours: GRE from `remote` to `local`. */
  readonly gre: readonly HostGreEndpoints[];
  /** Addresses that are wholly ours (routed to the gateway): every protocol. */
  readonly poolAddresses: readonly string[];
  /** The host's own addresses of which these TCP and UDP ports and ICMP identifiers are ours. */
  readonly sharedAddresses: readonly HostSharedAddress[];
  /** Ports of `sharedAddresses` that are ours beyond the reserved range. */
  readonly portForwards: readonly HostPortForward[];
  /** Sites' prefixes that leave here untranslated (`nat: none`): packets to them are ours. */
  readonly untranslatedPrefixes: readonly string[];
  /**
   * The kernel does ESP for tunnels: what comes here may have been decrypted by an SA of theirs (`host/guard-kernel-tunnels.ts`).
   * Left out: it does not.
   */
  readonly besideSas?: true;
}

export interface HostGreEndpoints {
  readonly local: string;
  readonly remote: string;
}

export interface HostSharedAddress {
  readonly address: string;
  readonly ports: PortRange;
}

export interface HostPortForward {
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly port: number;
}

/** A TUN device to make (persistent); homeward is its far end. */
export interface TunDevice extends HostDeviceCommon {
  readonly role: 'tun';
  /** Name of the tunnel it belongs to. */
  readonly tunnel: string;
}
