/**
 * The plan: everything the data plane needs to know, compiled by control from the configuration, immutable,
 * swapped whole between two bursts. Plain JSON: it crosses a socket. Numbers given here (spaces, ports,
 * devices) are stable for a name across plans and restarts, for as long as the flow memory lives; `generation`
 * of a port changes when its site or its endpoints change, so that an old index never means a new tunnel.
 */

import type { FailurePolicy } from '../plugin/contract.ts';
import type { DropReasonName } from '../plugin/drop-reasons.ts';

/** An address as text (RFC 5952 for IPv6). Prefixes are `address/length`. */
export type AddressText = string;

export interface Plan {
  /** Counts up with every plan. */
  readonly generation: number;
  readonly gatewayName: string;
  readonly spaces: readonly PlanSpace[];
  readonly devices: readonly PlanDevice[];
  readonly ports: readonly PlanPort[];
  readonly routes: readonly PlanRoute[];
  /** Addresses that no site may reach through homeward: tunnel endpoints, the uplinks' own, IKE. */
  readonly gatewayAddresses: readonly AddressText[];
  readonly flowTable: PlanFlowTable;
  /** In the order in which they run: policy plugins before routing plugins. */
  readonly plugins: readonly PlanPlugin[];
  /** Which events of flows the data plane writes for the flow log; absent: none. */
  readonly flowEvents?: PlanFlowEvents;
}

/** An address space: a site or an egress. Ids 1..65535; 0 is none. */
export interface PlanSpace {
  readonly id: number;
  readonly name: string;
  /** `diversion`: behind it a plugin's proxy; no route leads there. */
  readonly kind: 'site' | 'egress' | 'diversion';
  /** Declared prefixes (sites). */
  readonly prefixes: readonly string[];
}

/** A device that the data plane opens. `index` is the device number in frame descriptors. */
export interface PlanDevice {
  readonly index: number;
  /** Interface name. */
  readonly name: string;
  /**
   * `ethernet`: packet socket on an Ethernet or VLAN interface; `ip`: packet socket on an existing layer-3
   * interface; `tun`: a TUN device whose far end we are.
   */
  readonly kind: 'ethernet' | 'ip' | 'tun';
  readonly mtu: number;
  /** Own MAC, six bytes as `02:00:...`; ethernet only. */
  readonly mac?: string;
  /** Classic BPF of the socket filter (`struct sock_filter`: code, jt, jf, k), made by the classifier. */
  readonly filter?: readonly (readonly [number, number, number, number])[];
}

export type PlanPort = PlanTunnelPort | PlanEgressPort | PlanDiversionPort;

interface PlanPortCommon {
  /** 0..65535; slots are reused only with a new generation. */
  readonly index: number;
  /** 1..65535. */
  readonly generation: number;
  readonly name: string;
  readonly space: number;
  readonly enabled: boolean;
  /** Largest IP packet that may leave here, bytes. */
  readonly mtu: number;
  readonly link: PlanLink;
  /** The gateway's own addresses on this port: it answers ping there and sends its ICMP errors from them. */
  readonly addresses: readonly AddressText[];
}

export interface PlanTunnelPort extends PlanPortCommon {
  readonly role: 'tunnel';
  readonly tunnelType: 'gre' | 'interconnect' | 'device' | 'ipsec';
  /** Lower is preferred. */
  readonly priority: number;
  readonly automaticReturnRouting: boolean;
}

export interface PlanEgressPort extends PlanPortCommon {
  readonly role: 'egress';
  readonly translation: { readonly ipv4: 'source' | 'none'; readonly ipv6: 'source' | 'none' };
  readonly pools: readonly PlanPool[];
  readonly portForwards: readonly PlanPortForward[];
}

/** Where flows go that a plugin hands to its proxy (`docs/divert.md`). Enabled while the proxy is ready. */
export interface PlanDiversionPort extends PlanPortCommon {
  readonly role: 'diversion';
  /** Name of the plugin. */
  readonly plugin: string;
  /** Which of the diversions in its manifest, from 0. */
  readonly place: number;
  /** Where the proxy listens; null: it does not take this protocol. */
  readonly tcp: number | null;
  readonly udp: number | null;
}

/**
 * How IP packets of a port get onto its device. `device` is -1 while the host lacks something that the port needs:
 * then it is down, and its flows wait.
 */
export type PlanLink = { readonly kind: 'ip'; readonly device: number } | PlanEthernetLink | PlanGreLink;

export interface PlanEthernetLink {
  readonly kind: 'ethernet';
  readonly device: number;
  /** Next hop per family; absent in both: destinations are neighbours on the link. */
  readonly nextHop: { readonly ipv4?: AddressText; readonly ipv6?: AddressText };
  /** On link: prefixes whose addresses are resolved as neighbours (the `interface_address` prefixes). */
  readonly onLink: readonly string[];
  /** Addresses the pipeline answers ARP and ND for; empty where the host's stack does (uplinks). */
  readonly answers: readonly AddressText[];
  /** Source addresses for our own ARP and ND requests, per family. */
  readonly sourceAddresses: readonly AddressText[];
}

export interface PlanGreLink {
  readonly kind: 'gre';
  readonly local: AddressText;
  readonly remote: AddressText;
  /** uint32, or null for none. */
  readonly key: number | null;
  readonly checksum: boolean;
  readonly sequence: boolean;
  readonly ttl: number;
  /** The device the outer packets use. */
  readonly device: number;
  /** The neighbour they go to, of the family of `remote`. Required on `ethernet` devices, unused on others. */
  readonly nextHop?: AddressText;
  /** Source addresses for asking for that neighbour; empty on devices that are not Ethernet. */
  readonly sourceAddresses: readonly AddressText[];
}

/** External addresses of an egress with `source` translation. */
export interface PlanPool {
  readonly address: AddressText;
  /** Inclusive range of external ports and ICMP identifiers, host order. */
  readonly portMin: number;
  readonly portMax: number;
  /** Most external ports a site may hold, per protocol. */
  readonly quotaPerSite: number;
}

export interface PlanPortForward {
  readonly protocol: 'tcp' | 'udp';
  readonly address: AddressText;
  readonly port: number;
  readonly to: { readonly space: number; readonly address: AddressText; readonly port: number };
}

/** A configured route; the sites' declared prefixes are not repeated here. */
export interface PlanRoute {
  readonly prefix: string;
  /** Space it leads to. */
  readonly via: number;
  readonly priority: number;
}

export interface PlanFlowTable {
  readonly maxFlows: number;
  /** Most flows that tunnels of one port may have created, in records. */
  readonly perTunnel: number;
  /** Flows per second, sustained and in a burst of one second; 0: unlimited. */
  readonly createRatePerTunnel: number;
  readonly createRatePerSource: number;
  /** Protocols, beside TCP, UDP and ICMP, that may start a flow by address pair. */
  readonly otherProtocols: readonly number[];
}

export interface PlanPlugin {
  readonly name: string;
  /** Absolute path of the manifest. */
  readonly manifest: string;
  /** As in the manifest. */
  readonly version: string;
  /** Undefined where {@link prepared} stands for them. */
  readonly options: unknown;
  /** Absolute path of what the plugin's `prepare` module has made of its options. */
  readonly prepared?: string;
  /** Manifest and configuration together. */
  readonly failurePolicy: FailurePolicy;
  /** Names of the tunnels and egresses by which the flows come in that it is asked about. */
  readonly ports: 'all' | readonly string[];
  /**
   * Another number than in the plan before: its files are read anew - another instance, which takes over the state, if
   * its code has changed - and it is called again if it was tripped.
   */
  readonly revision: number;
}

/** Flow events beside the beginning and the end of every flow. */
export interface PlanFlowEvents {
  /** Drop reasons for which a refused new flow is an event. */
  readonly refusals: readonly DropReasonName[];
  /** Most of these a second and port, and in one burst. */
  readonly refusalsPerSecond: number;
}
