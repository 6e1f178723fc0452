/**
 * The configuration as the rest of control sees it: checked, units resolved, defaults filled in, names in
 * camelCase. `load.ts` makes it from the YAML file; lists keep the file's order, so that an index here is an
 * index there and a problem found later (a missing interface, say) can still name line and column by
 * {@link ConfigSource.locate}.
 *
 * Neighbours: `schema.ts` (the file's shape), `checks/` (what holds between its parts), `compile/` (the next
 * step), docs/configuration.md (every option).
 */
import type { FailurePolicy } from '../../plugin/contract.ts';
import type { Manifest } from '../plugins/manifest-schema.ts';
import type { Problem } from './errors.ts';
import type { ChildConfig, IkeConfig, IpsecConfig } from './ipsec-config.ts';

/** A place in the file: a list of keys and list positions from the root, in the file's own spelling. */
export type ConfigPath = readonly (string | number)[];

/** Where a {@link Config} came from; finds the line of any of its parts. */
export interface ConfigSource {
  /** As it was given to `loadConfig`. */
  readonly file: string;
  /** Line and column (from 1) of the value at `path`, or of its nearest part that the file has. */
  locate(path: ConfigPath): { readonly line: number; readonly column: number };
  /** Where the last part of `path` stands as a key, rather than its value. */
  locateKey(path: ConfigPath): { readonly line: number; readonly column: number };
  /** `sites.paris.tunnels.paris-gre.mtu`: the path in words, list entries by their name where they have one. */
  describe(path: ConfigPath): string;
}

export interface Config {
  readonly version: 1;
  readonly gateway: GatewayConfig;
  readonly sites: readonly SiteConfig[];
  readonly egress: readonly EgressConfig[];
  readonly routes: readonly RouteConfig[];
  readonly ipsec: IpsecConfig;
  readonly flowTable: FlowTableConfig;
  /** In the order they run, those that are not enabled among them; `return-routing` is always there. */
  readonly plugins: readonly PluginConfig[];
  readonly api: ApiConfig;
  readonly metrics: MetricsConfig;
  /** null: no flow log. */
  readonly flowLog: FlowLogConfig | null;
  readonly log: { readonly level: LogLevel };
  /** What is legal but worth knowing (ambiguous prefixes, defaults that were filled in). */
  readonly notices: readonly Problem[];
  readonly source: ConfigSource;
}

export interface GatewayConfig {
  readonly name: string;
  /** Absolute path of what outlives a reboot; null: as `control/store/state-directory.ts` chooses. */
  readonly stateDir: string | null;
  /** Absolute path of the folder in which packages with plugins are installed; null: none. */
  readonly pluginDir: string | null;
}

export interface ApiConfig {
  /** Absolute path of the API's Unix socket; null: `api.sock` in the instance's runtime directory. */
  readonly socket: string | null;
  /** On the network: with TLS and tokens, or not at all. */
  readonly listen: ApiListenConfig | null;
}

export interface ApiListenConfig extends SocketAddress {
  /** Path of the certificate chain, PEM. */
  readonly certificate: string;
  /** Path of its private key, PEM. */
  readonly key: string;
  readonly tokens: readonly ApiTokenConfig[];
}

export interface ApiTokenConfig {
  readonly name: string;
  readonly role: 'read' | 'admin';
  /** Path of the file that holds the token. */
  readonly file: string;
}

/** An address as text (RFC 5952 for IPv6) and a port. */
export interface SocketAddress {
  readonly address: string;
  readonly port: number;
}

export interface MetricsConfig {
  /** Where the metrics are served beside the API; null: nowhere. */
  readonly listen: SocketAddress | null;
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

/** `file`, `ipfix` or both. */
export interface FlowLogConfig {
  /** Absolute path of the file of JSON lines, or null. */
  readonly file: string | null;
  readonly rotate: { readonly sizeBytes: number; readonly keep: number };
  readonly ipfix: IpfixConfig | null;
  /** Which refused new flows are logged: those that a plugin refused, all, none. */
  readonly refusals: 'none' | 'policy' | 'all';
  /** Most of them a second and port. */
  readonly refusalsPerSecond: number;
}

export interface IpfixConfig {
  readonly collector: SocketAddress;
  readonly transport: 'udp' | 'tcp';
  /** uint32. */
  readonly observationDomain: number;
  readonly templateIntervalMs: number;
  readonly maxMessageBytes: number;
}

export interface SiteConfig {
  readonly name: string;
  /** Canonical prefixes (RFC 5952, no host bits). */
  readonly prefixes: readonly string[];
  readonly tunnels: readonly TunnelConfig[];
}

export type TunnelConfig =
  | GreTunnelConfig
  | IpsecTunnelConfig
  | InterconnectTunnelConfig
  | DeviceTunnelConfig;

/** How often a tunnel is probed. */
export type HealthRate = 'low' | 'mid' | 'high';

export interface HealthConfig {
  /** Who is asked; null: the other end, where the configuration tells it. */
  readonly target: string | null;
  readonly rate: HealthRate;
}

interface TunnelCommon {
  /** Unique among sites, tunnels and egresses; at most 15 characters. */
  readonly name: string;
  /** A tunnel that is not takes and gives no packet; flows that are pinned to it wait. */
  readonly enabled: boolean;
  /** Lower is preferred. */
  readonly priority: number;
  readonly automaticReturnRouting: boolean;
  /** Bytes of the largest IP packet inside; null: from the device below. */
  readonly mtu: number | null;
  /** The gateway's own addresses on this tunnel. */
  readonly interfaceAddresses: readonly InterfaceAddress[];
  /** null: it is not checked. */
  readonly health: HealthConfig | null;
}

export interface GreTunnelConfig extends TunnelCommon {
  readonly type: 'gre';
  readonly local: string;
  readonly remote: string;
  /** uint32, or null for none. */
  readonly key: number | null;
  readonly checksum: boolean;
  readonly sequence: boolean;
  readonly driver: 'auto' | 'kernel' | 'userspace';
  readonly ttl: number;
  /** What its packets are within; null: they pass in clear text. */
  readonly ipsec: { readonly ike: IkeConfig; readonly child: ChildConfig } | null;
}

export interface IpsecTunnelConfig extends TunnelCommon {
  readonly type: 'ipsec';
  readonly local: string;
  /** null: an end that calls from any address. */
  readonly remote: string | null;
  readonly ike: IkeConfig;
  readonly child: ChildConfig;
  readonly driver: 'auto' | 'xfrm' | 'libipsec';
}

export interface InterconnectTunnelConfig extends TunnelCommon {
  readonly type: 'interconnect';
  /** Ethernet or VLAN interface. */
  readonly device: string;
  /** Absent in both families: the site is on link. */
  readonly nextHop: FamilyAddresses;
}

export interface DeviceTunnelConfig extends TunnelCommon {
  readonly type: 'device';
  readonly device: string;
  /** `packet`: an existing layer-3 interface; `tun`: a TUN device that homeward makes and is the far end of. */
  readonly driver: 'packet' | 'tun';
}

/** At most one address per family. */
export interface FamilyAddresses {
  readonly ipv4?: string;
  readonly ipv6?: string;
}

/** An own address and the prefix that it lies in. */
export interface InterfaceAddress {
  readonly address: string;
  /** The network, without host bits: `172.20.0.0/30`. */
  readonly prefix: string;
}

/** Inclusive, host order. */
export interface PortRange {
  readonly min: number;
  readonly max: number;
}

export interface EgressConfig {
  readonly name: string;
  readonly type: 'internet';
  readonly device: string;
  /** `auto`: the host's default route by this device. */
  readonly nextHop: 'auto' | FamilyAddresses;
  /** `auto`: the device's own. Else single addresses: the device's own, or ones that are routed to it. */
  readonly addresses: 'auto' | readonly string[];
  /** Where an own address of the device is shared with the host: the ports that are ours. */
  readonly reservedPorts: 'auto' | PortRange;
  /** Share of an address's ports that one site may hold, 0 < share <= 1. */
  readonly siteQuota: number;
  readonly nat: { readonly ipv4: 'source' | 'none'; readonly ipv6: 'source' | 'none' };
  /** Bytes; null: the device's. */
  readonly mtu: number | null;
  readonly portForwards: readonly PortForwardConfig[];
}

export interface PortForwardConfig {
  readonly protocol: 'tcp' | 'udp';
  /** External address; null: the egress's first of the family of `to.address`. */
  readonly address: string | null;
  readonly port: number;
  readonly to: { readonly site: string; readonly address: string; readonly port: number };
}

export interface RouteConfig {
  readonly prefix: string;
  /** Name of a site or an egress. */
  readonly via: string;
  readonly priority: number;
}

export interface FlowTableConfig {
  readonly maxFlows: number;
  /** Share of the table one tunnel may fill, 0 < share <= 1. */
  readonly perTunnel: number;
  /** Flows per second; 0: unlimited. */
  readonly createRatePerTunnel: number;
  readonly createRatePerSource: number;
  /** IP protocol numbers that may start a flow beside TCP, UDP and ICMP. */
  readonly otherProtocols: readonly number[];
}

export interface PluginConfig {
  readonly name: string;
  /** That it runs by, absolute: in a copy of the plugin that homeward keeps, or where it is installed. */
  readonly manifestPath: string;
  /** Where it is installed, absolute. */
  readonly installedManifest: string;
  /** As it was when the configuration was read. */
  readonly manifest: Manifest;
  readonly enabled: boolean;
  /** As written; null: all. */
  readonly sites: readonly string[] | null;
  readonly tunnels: readonly string[] | null;
  /** Names of tunnels and egresses: it is asked about flows whose originator comes in by one of them. */
  readonly ports: 'all' | readonly string[];
  /** The configuration's, else the manifest's, else `drop-flow`. */
  readonly onFailure: FailurePolicy;
  /** With the defaults of the manifest's schema. */
  readonly options: Readonly<Record<string, unknown>>;
}
