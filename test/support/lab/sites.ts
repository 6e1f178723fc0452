/**
 * The lab's sites and what homeward is told of them: addresses, devices, keys, and the configurations of the gateway
 * and of the sites' own gateways. `network.ts` draws the whole and builds it.
 */
import type { Configuration } from './homeward-process.ts';

/**
 * `gre-kernel`, `vlan` and `wireguard` need a kernel with these devices; `ipsec` needs strongSwan, which does ESP itself at
 * both ends; with `ipsec-kernel` and `ipsec-gre`, GRE within IPsec, the kernel does.
 */
export type Attachment =
  | 'on-link'
  | 'next-hop'
  | 'gre'
  | 'gre-peer'
  | 'gre-kernel'
  | 'device'
  | 'vlan'
  | 'wireguard'
  | 'ipsec'
  | 'ipsec-kernel'
  | 'ipsec-gre';

export interface SiteSpec {
  /** Lower case letters and digits, at most 11. */
  readonly name: string;
  readonly attachment: Attachment;
  /** Family of the outer packets, where the kernel does the tunnel but for WireGuard. Default 4. */
  readonly outer?: 4 | 6;
  readonly ipsec?: IpsecSiteOptions;
  /** Options of this site's GRE tunnel, over those of all. */
  readonly gre?: GreOptions;
}

/** Of an IPsec tunnel. */
export interface IpsecSiteOptions {
  /** The site's end is libreswan, which begins: it makes a child SA for each of its networks. Default: strongSwan. */
  readonly libreswan?: true;
  /** Both ends authenticate by certificates of the lab's authority. Default: a pre-shared key. */
  readonly certificates?: true;
  /** The site is behind a translator, and calls from wherever it is (`remote: any`). */
  readonly translated?: true;
  /** The gateway's, over the lab's. */
  readonly ike?: object;
  readonly child?: object;
  /** Lines within the peer's connection, and within its child. */
  readonly peer?: { readonly connection?: string; readonly child?: string };
}

/** Of a GRE tunnel, at both ends; `driver` is homeward's. */
export interface GreOptions {
  readonly checksum?: boolean;
  readonly sequence?: boolean;
  readonly driver?: 'kernel' | 'userspace';
}

export interface NetworkSpec {
  readonly sites: readonly SiteSpec[];
  /** `net.ipv4.ip_forward` and IPv6 forwarding in the gateway's namespace: the worst case. Default true. */
  readonly hostForwards?: boolean;
  /** External addresses: the uplink's own, with reserved ports, or these. */
  readonly externalAddresses?: 'auto' | readonly string[];
  readonly portForwards?: readonly object[];
  /** Merged over the gateway's configuration. */
  readonly configuration?: Configuration;
  /** Options of every GRE tunnel. */
  readonly gre?: GreOptions;
  /** Path of `gre-raw` (test/bench/native), for sites of kind `gre-peer`. */
  readonly grePeer?: string;
  /** Where homeward's `src/` is; default: this project. */
  readonly project?: string;
}

export const SITE_ADDRESSES = ['10.0.1.10', 'fd00:1::10'] as const;
export const SITE_GATEWAY = ['10.0.1.1', 'fd00:1::1'] as const;
/** As `ip address add` takes them. */
export const SITE_PREFIXED = ['10.0.1.10/24', 'fd00:1::10/64'] as const;
const SITE_PREFIXES = ['10.0.1.0/24', 'fd00:1::/64'] as const;
export const DATA_CENTER_ADDRESSES = ['10.50.0.10', 'fd00:50::10'] as const;
export const SERVER_ADDRESSES = ['203.0.113.10', '2001:db8:113::10'] as const;
export const UPLINK_ADDRESSES = ['198.51.100.1', '2001:db8:100::1'] as const;

const GRE_INNER = ['169.254.240.0/31', 'fd00:a::/127'] as const;
const GRE_INNER_SITE = ['169.254.240.1/31', 'fd00:a::1/127'] as const;

/** The gateway's own device of a site, if it has one. */
export function siteDevice({ attachment }: SiteSpec, at: number): string | undefined {
  if (attachment.startsWith('gre') || attachment.startsWith('ipsec')) return undefined;
  return attachment === 'device' || attachment === 'wireguard' ? `tn${at}` : `ic${at}`;
}

/** Outer address of a GRE site: 1 is the internet's side, 2 the site gateway's. */
export function outer(at: number, side: 1 | 2): string {
  return `198.18.${at}.${side}`;
}

/** The same over IPv6. */
export function outerIpv6(at: number, side: 1 | 2): string {
  return `2001:db8:18:${at}::${side}`;
}

/** Outer addresses of a GRE or IPsec site's tunnel, as the gateway has them. */
export function outerEnds({ outer: family = 4 }: SiteSpec, at: number): { local: string; remote: string } {
  return family === 4
    ? { local: UPLINK_ADDRESSES[0], remote: outer(at, 2) }
    : { local: UPLINK_ADDRESSES[1], remote: outerIpv6(at, 2) };
}

/** Id of a VLAN site's VLAN, on the trunk that all of them share. */
export function vlanId(at: number): number {
  return 20 + at;
}

/** UDP port of the gateway for a WireGuard site. */
export function wireguardPort(at: number): number {
  return 51820 + at;
}

/** Key of a GRE site's tunnel. */
export function greKey(at: number): number {
  return 1000 + at;
}

/** File of the secret that the gateway shares with an IPsec site. */
export function secretPath(directory: string, site: string): string {
  return `${directory}/${site}.psk`;
}

/** Where the lab's authority keeps certificates and keys. */
export function authorityDirectory(directory: string): string {
  return `${directory}/lab-authority`;
}

/** Outer addresses of an IPsec site's tunnel, as the gateway has them. */
export function ipsecEnds({ outer: family = 4, ipsec }: SiteSpec, at: number) {
  const remote = family === 4 ? outer(at, 2) : outerIpv6(at, 2);
  return {
    local: UPLINK_ADDRESSES[family === 4 ? 0 : 1],
    remote: ipsec?.translated ? 'any' : remote,
  };
}

/** Address of a site behind a translator, and the translator's own at that side. */
export const TRANSLATED = ['192.168.77.2', '192.168.77.1'] as const;

/** Identity of an IPsec site. */
export function ipsecId(site: string): string {
  return `${site}.example`;
}

/** Identity of the gateway, for IPsec sites. */
export const GATEWAY_ID = 'gw.example';

function gatewayCertificate(directory: string): object {
  const path = (name: string): string => `${authorityDirectory(directory)}/${name}`;
  return { file: path(`${GATEWAY_ID}.pem`), key: path(`${GATEWAY_ID}.key`), ca: path('ca.pem') };
}

function tunnelOf(spec: NetworkSpec, site: SiteSpec, at: number, directory: string): Configuration {
  const common = { name: tunnelName(site.name, site.attachment) };
  switch (site.attachment) {
    case 'on-link':
    case 'vlan':
      return {
        ...common,
        type: 'interconnect',
        device: siteDevice(site, at),
        interface_address: ['10.0.1.1/24', 'fd00:1::1/64'],
      };
    case 'next-hop':
      return {
        ...common,
        type: 'interconnect',
        device: siteDevice(site, at),
        interface_address: ['172.20.0.1/30', 'fd00:172:20::1/64'],
        next_hop: ['172.20.0.2', 'fd00:172:20::2'],
      };
    case 'device':
    case 'wireguard':
      return {
        ...common,
        type: 'device',
        device: siteDevice(site, at),
        interface_address: ['10.0.1.1/24', 'fd00:1::1/64'],
      };
    case 'gre':
    case 'gre-peer':
    case 'gre-kernel':
      return {
        ...common,
        type: 'gre',
        ...outerEnds(site, at),
        key: greKey(at),
        ...spec.gre,
        ...site.gre,
        interface_address: [...GRE_INNER],
        // Where the tunnel ends in the host itself, the gateway's own packets would be taken for a leak.
        ...(site.attachment === 'gre' ? {} : { health: { rate: 'none' } }),
      };
    case 'ipsec':
    case 'ipsec-kernel':
      return {
        ...common,
        type: 'ipsec',
        ...ipsecEnds(site, at),
        ike: ikeOf(site, directory),
        child: { ...site.ipsec?.child },
        driver: site.attachment === 'ipsec' ? 'libipsec' : 'xfrm',
        interface_address: ['10.0.1.1/24', 'fd00:1::1/64'],
      };
    case 'ipsec-gre':
      return {
        ...common,
        type: 'gre',
        ...ipsecEnds(site, at),
        key: greKey(at),
        ipsec: { ike: ikeOf(site, directory) },
        interface_address: [...GRE_INNER],
        health: { rate: 'none' },
      };
  }
}

function ikeOf({ name, ipsec }: SiteSpec, directory: string): Configuration {
  return {
    local_id: GATEWAY_ID,
    remote_id: ipsecId(name),
    ...(ipsec?.certificates
      ? { certificate: gatewayCertificate(directory) }
      : { psk: { file: secretPath(directory, name) } }),
    ...(ipsec?.translated ? {} : { start: ipsec?.libreswan ? 'respond' : 'initiate' }),
    ...ipsec?.ike,
  };
}

/** Name of a site's tunnel. */
export function tunnelName(site: string, attachment: Attachment): string {
  if (attachment.startsWith('gre')) return `${site}-gre`;
  if (attachment.startsWith('ipsec')) return `${site}-ips`;
  return attachment === 'device' || attachment === 'wireguard' ? `${site}-dev` : `${site}-ic`;
}

/**
 * The gateway's configuration.
 *
 * @param directory of the lab: where secrets are
 */
export function gatewayConfiguration(spec: NetworkSpec, directory = ''): Configuration {
  return {
    version: 1,
    gateway: { name: 'gw' },
    sites: [
      ...spec.sites.map((site, at) => ({
        name: site.name,
        prefixes: [...SITE_PREFIXES],
        tunnels: [tunnelOf(spec, site, at, directory)],
      })),
      {
        name: 'datacenter',
        prefixes: ['10.50.0.0/16', 'fd00:50::/48'],
        tunnels: [
          {
            name: 'dc-ic',
            type: 'interconnect',
            device: 'dc0',
            interface_address: ['10.50.0.1/16', 'fd00:50::1/48'],
          },
        ],
      },
    ],
    egress: [
      {
        name: 'internet',
        type: 'internet',
        device: 'up0',
        addresses: spec.externalAddresses ?? 'auto',
        ...(spec.portForwards === undefined ? {} : { port_forwards: spec.portForwards }),
      },
    ],
    routes: [
      { prefix: '0.0.0.0/0', via: 'internet' },
      { prefix: '::/0', via: 'internet' },
    ],
    plugins: [{ name: 'return-routing' }],
    ...spec.configuration,
  };
}

/** The site's end of a GRE tunnel: one tunnel to the gateway, and the site's own network on link. */
export function siteConfiguration(spec: NetworkSpec, at: number): Configuration {
  const site = spec.sites[at]!;
  return {
    version: 1,
    gateway: { name: `${site.name}-gw` },
    sites: [
      {
        name: site.name,
        prefixes: [...SITE_PREFIXES],
        tunnels: [
          {
            name: 'lan',
            type: 'interconnect',
            device: 'lan',
            interface_address: ['10.0.1.1/24', 'fd00:1::1/64'],
          },
        ],
      },
      {
        name: 'upstream',
        tunnels: [
          {
            name: 'to-gateway',
            type: 'gre',
            local: outer(at, 2),
            remote: UPLINK_ADDRESSES[0],
            key: greKey(at),
            ...spec.gre,
            interface_address: [...GRE_INNER_SITE],
          },
        ],
      },
    ],
    routes: [
      { prefix: '0.0.0.0/0', via: 'upstream' },
      { prefix: '::/0', via: 'upstream' },
    ],
    plugins: [{ name: 'return-routing' }],
  };
}
