/**
 * A port for each tunnel: its link, its MTU, and the device below it. One that lacks something is down, without a
 * device; what is known from the configuration alone stays.
 */
import { prefixContains, prefixOf } from '../../wire/address.ts';
import type {
  Config,
  ConfigPath,
  DeviceTunnelConfig,
  GreTunnelConfig,
  InterconnectTunnelConfig,
  TunnelConfig,
} from '../config/config.ts';
import { familyOf, knownAddress } from '../config/ip.ts';
import type { HostFacts, LinkFacts, RouteFacts } from '../facts.ts';
import type { DeviceDrafts, EthernetFacts } from './devices.ts';
import { isEthernet, linkByName } from './devices.ts';
import type { LinkDraft, TunnelDraft } from './drafts.ts';
import type { HostFindings } from './host-findings.ts';
import type { HostGreEndpoints } from './host-setup.ts';

/** What the field uses: 1500 bytes less an IPv4 and a plain GRE header. */
const DEFAULT_GRE_MTU = 1476;
const GRE_HEADER_BYTES = 4;
/** Of a port that is down for want of its device. */
export const UNKNOWN_MTU = 1500;
/** What every IPv4 host takes whole (RFC 791). */
const MIN_MTU = 576;
/** Key, sequence, and checksum with its reserved half (RFC 2784, RFC 2890). */
const GRE_OPTION_BYTES = 4;

/** Where a GRE tunnel's outer packets leave. */
export interface Underlay {
  readonly device: string;
  readonly endpoints: HostGreEndpoints;
}

interface Draft {
  readonly link: LinkDraft;
  readonly mtu: number;
  readonly fingerprint: string;
  /** GRE that is not down. */
  readonly underlay?: Underlay;
}

/** What {@link draftTunnels} gives for each tunnel. */
export interface DraftedTunnel {
  readonly draft: TunnelDraft;
  readonly underlay?: Underlay;
}

/**
 * A port for each tunnel, in the file's order.
 *
 * @param former the underlay that a tunnel of this name had when it was last not down
 */
export function draftTunnels(
  config: Config,
  facts: HostFacts,
  devices: DeviceDrafts,
  findings: HostFindings,
  former: (tunnel: TunnelConfig) => Underlay | undefined,
): DraftedTunnel[] {
  const paths = config.sites.flatMap((site, siteAt) =>
    site.tunnels.map((tunnel, at) => ({ site: site.name, tunnel, path: ['sites', siteAt, 'tunnels', at] })),
  );
  const compiler = new TunnelCompiler(facts, devices, findings, former);
  const draft = (tunnel: TunnelConfig, path: ConfigPath): Draft =>
    tunnel.enabled ? compiler.draft(tunnel, path) : findings.unheard(() => compiler.draft(tunnel, path));
  // First those that own their device, so that an underlay can be told from them; then in the file's order.
  const drafts = new Map<TunnelConfig, Draft>();
  for (const { tunnel, path } of paths) {
    if (tunnel.type !== 'gre') drafts.set(tunnel, draft(tunnel, path));
  }
  for (const { tunnel, path } of paths) {
    if (tunnel.type === 'gre') drafts.set(tunnel, draft(tunnel, path));
  }
  return paths.map(({ site, tunnel }): DraftedTunnel => {
    const { fingerprint, mtu, link, underlay } = drafts.get(tunnel)!;
    const port: TunnelDraft = {
      spaceName: site,
      fingerprint: `${tunnel.type} ${fingerprint}`,
      name: tunnel.name,
      enabled: tunnel.enabled,
      mtu,
      link,
      addresses: tunnel.interfaceAddresses.map(({ address }) => address),
      role: 'tunnel',
      tunnelType: tunnel.type,
      priority: tunnel.priority,
      automaticReturnRouting: tunnel.automaticReturnRouting,
    };
    return underlay === undefined ? { draft: port } : { draft: port, underlay };
  });
}

class TunnelCompiler {
  readonly #facts: HostFacts;
  readonly #devices: DeviceDrafts;
  readonly #findings: HostFindings;
  readonly #former: (tunnel: TunnelConfig) => Underlay | undefined;

  constructor(
    facts: HostFacts,
    devices: DeviceDrafts,
    findings: HostFindings,
    former: (tunnel: TunnelConfig) => Underlay | undefined,
  ) {
    this.#facts = facts;
    this.#devices = devices;
    this.#findings = findings;
    this.#former = former;
  }

  /** Without a device if something was wrong; it has been reported then. */
  draft(tunnel: TunnelConfig, path: ConfigPath): Draft {
    switch (tunnel.type) {
      case 'gre':
        return this.#gre(tunnel, path);
      case 'interconnect':
        return this.#interconnect(tunnel, path);
      case 'device':
        return this.#device(tunnel, path);
    }
  }

  #gre(tunnel: GreTunnelConfig, path: ConfigPath): Draft {
    const { local, remote, key, checksum, sequence, ttl } = tunnel;
    const common = { kind: 'gre', local, remote, key, checksum, sequence, ttl } as const;
    const fingerprint = `${local} ${remote} ${key ?? 'none'}`;
    const endpoints = { local, remote };
    const underlay = this.#underlay(tunnel, endpoints, path);
    if (underlay === undefined) {
      const former = this.#former(tunnel);
      if (former !== undefined) this.#devices.keepUnderlay(former.device, endpoints);
      const link = { ...common, device: null, sourceAddresses: [] };
      return { mtu: tunnel.mtu ?? DEFAULT_GRE_MTU, fingerprint, link };
    }
    const { route, link, most } = underlay;
    // Where there are no neighbours, outer packets go to whoever is at the other end of the line.
    const hop = route.nextHop ?? remote;
    const neighbour = isEthernet(link)
      ? { nextHop: hop, sourceAddresses: neighbourSources(link, hop, local) }
      : { sourceAddresses: [] };
    const below = `${route.device} (mtu ${link.mtu}) carries at most ${most} inside this tunnel`;
    return {
      mtu: this.#mtu(tunnel.mtu, Math.min(DEFAULT_GRE_MTU, most), most, below, path),
      fingerprint,
      link: { ...common, device: route.device, ...neighbour },
      underlay: { device: route.device, endpoints },
    };
  }

  /** How outer packets leave, and the largest inner packet; undefined if they cannot. */
  #underlay(
    tunnel: GreTunnelConfig,
    endpoints: HostGreEndpoints,
    path: ConfigPath,
  ): { route: RouteFacts; link: LinkFacts; most: number } | undefined {
    const { local, remote, key, checksum, sequence } = tunnel;
    if (!this.#isOwnAddress(local, [...path, 'local'])) return undefined;
    const remotePath = [...path, 'remote'];
    const route = this.#facts.routes.find((known) => known.local === local && known.remote === remote);
    if (!route) {
      this.#findings.lack(
        remotePath,
        `${remote} is not reachable from ${local}; add a route to it on the host`,
      );
      return undefined;
    }
    const link = this.#devices.addUnderlay(route.device, endpoints, remotePath);
    if (!link) return undefined;
    const headers = (familyOf(local) === 4 ? 20 : 40) + GRE_HEADER_BYTES;
    const options = [key !== null, checksum, sequence].filter(Boolean).length * GRE_OPTION_BYTES;
    const most = link.mtu - headers - options;
    if (most >= MIN_MTU) return { route, link, most };
    this.#findings.lack(
      remotePath,
      `${remote} is reached by ${route.device}, whose mtu ${link.mtu} is too small; write at least ${MIN_MTU + link.mtu - most} there`,
    );
    return undefined;
  }

  #interconnect(tunnel: InterconnectTunnelConfig, path: ConfigPath): Draft {
    const { device, nextHop } = tunnel;
    const link = this.#withoutHost(tunnel, this.#devices.ethernet(device, [...path, 'device']), path);
    this.#devices.addInterconnect(device, tunnel.name, link);
    const addresses = tunnel.interfaceAddresses.map(({ address }) => address);
    return {
      mtu: this.#mtuOver(link, tunnel, path),
      fingerprint: device,
      link: {
        kind: 'ethernet',
        device: link === undefined ? null : device,
        nextHop,
        onLink: [...new Set(tunnel.interfaceAddresses.map(({ prefix }) => prefix))],
        answers: addresses,
        sourceAddresses: addresses,
      },
    };
  }

  /** The interface, if the host has no address on it: the site would lose it, or get answers from the host. */
  #withoutHost(
    { device }: InterconnectTunnelConfig,
    link: EthernetFacts | undefined,
    path: ConfigPath,
  ): EthernetFacts | undefined {
    const own = link?.addresses.find(({ scope }) => scope !== 'link');
    if (own === undefined) return link;
    const text = `${own.address}/${own.prefixLength}`;
    this.#findings.mistake(
      [...path, 'device'],
      `the host has the address ${text} on ${device}, where homeward answers itself; remove it (ip address del ${text} dev ${device}) and write it as interface_address`,
    );
    return undefined;
  }

  #device(tunnel: DeviceTunnelConfig, path: ConfigPath): Draft {
    const { name, device, driver } = tunnel;
    const devicePath = [...path, 'device'];
    const fingerprint = `${driver} ${device}`;
    if (driver === 'tun') {
      const before = this.#findings.count;
      const mtu = this.#devices.addTun(device, name, tunnel.mtu, devicePath);
      const usable = this.#findings.count === before;
      return { mtu, fingerprint, link: { kind: 'ip', device: usable ? device : null } };
    }
    const link = this.#devices.layer3(device, devicePath);
    this.#devices.addLayer3(device, name, link);
    const mtu = this.#mtuOver(link, tunnel, path);
    return { mtu, fingerprint, link: { kind: 'ip', device: link === undefined ? null : device } };
  }

  #mtuOver(
    link: LinkFacts | undefined,
    { mtu, device }: InterconnectTunnelConfig | DeviceTunnelConfig,
    path: ConfigPath,
  ): number {
    if (link === undefined) return mtu ?? UNKNOWN_MTU;
    return this.#mtu(mtu, link.mtu, link.mtu, `${device} carries at most ${link.mtu}`, path);
  }

  #mtu(wanted: number | null, byDefault: number, most: number, why: string, path: ConfigPath): number {
    if (wanted === null) return byDefault;
    return limitMtu(wanted, most, why, [...path, 'mtu'], this.#findings);
  }

  #isOwnAddress(local: string, path: ConfigPath): boolean {
    const own = ownAddresses(this.#facts);
    if (own.includes(local)) return true;
    const family = familyOf(local);
    const candidates = own.filter((address) => familyOf(address) === family);
    const remedy =
      candidates.length > 0
        ? `addresses here: ${candidates.join(', ')}`
        : `there is no IPv${family} address here`;
    this.#findings.lack(path, `${local} is not an address of this host; ${remedy}`);
    return false;
  }
}

/** An MTU that the device below can carry, which may change while the configuration stays: so no problem. */
export function limitMtu(
  wanted: number,
  most: number,
  why: string,
  path: ConfigPath,
  findings: HostFindings,
): number {
  if (wanted <= most) return wanted;
  findings.notice(path, `${wanted} is too large, ${why}; ${most} is used`);
  return most;
}

/** The host's global addresses, in the kernel's order. */
function ownAddresses(facts: HostFacts): string[] {
  const all = Object.keys(facts.links)
    .sort()
    .flatMap((name) => linkByName(facts, name)!.addresses);
  return all.filter(({ scope }) => scope === 'global').map(({ address }) => address);
}

/**
 * Source addresses for asking for a neighbour: the device's own address in the neighbour's prefix; else any of
 * its family that the device has; else the tunnel's local.
 */
export function neighbourSources(link: LinkFacts, neighbour: string, fallback: string | undefined): string[] {
  const family = familyOf(neighbour);
  const own = link.addresses.filter(({ address }) => familyOf(address) === family);
  const near = own.find(({ address, prefixLength, transient }) => {
    if (transient) return false;
    return prefixContains(prefixOf(knownAddress(address), prefixLength), knownAddress(neighbour));
  });
  const chosen = near ?? own.find(({ scope, transient }) => scope === 'global' && !transient) ?? own[0];
  const address = chosen?.address ?? fallback;
  return address === undefined ? [] : [address];
}
