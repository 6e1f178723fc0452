/** A port for each tunnel: its link, its MTU, and the device below it. */
import { prefixContains, prefixOf } from '../../wire/address.ts';
import type {
  Config,
  ConfigPath,
  DeviceTunnelConfig,
  GreTunnelConfig,
  InterconnectTunnelConfig,
  TunnelConfig,
} from '../config/config.ts';
import type { Findings } from '../config/findings.ts';
import { familyOf, knownAddress } from '../config/ip.ts';
import type { HostFacts, LinkFacts } from '../facts.ts';
import type { DeviceDrafts } from './devices.ts';
import { isEthernet, linkByName } from './devices.ts';
import type { LinkDraft, TunnelDraft } from './drafts.ts';

/** What the field uses: 1500 bytes less an IPv4 and a plain GRE header. */
const DEFAULT_GRE_MTU = 1476;
const GRE_HEADER_BYTES = 4;
/** What every IPv4 host takes whole (RFC 791). */
const MIN_MTU = 576;
/** Key, sequence, and checksum with its reserved half (RFC 2784, RFC 2890). */
const GRE_OPTION_BYTES = 4;

interface Draft {
  readonly link: LinkDraft;
  readonly mtu: number;
  readonly fingerprint: string;
}

export function draftTunnels(
  config: Config,
  facts: HostFacts,
  devices: DeviceDrafts,
  findings: Findings,
): TunnelDraft[] {
  const compiler = new TunnelCompiler(facts, devices, findings);
  const paths = config.sites.flatMap((site, siteAt) =>
    site.tunnels.map((tunnel, at) => ({ site: site.name, tunnel, path: ['sites', siteAt, 'tunnels', at] })),
  );
  // First those that own their device, so that an underlay can be told from them; then in the file's order.
  const drafts = new Map<TunnelConfig, Draft | undefined>();
  for (const { tunnel, path } of paths) {
    if (tunnel.type !== 'gre') drafts.set(tunnel, compiler.draft(tunnel, path));
  }
  for (const { tunnel, path } of paths) {
    if (tunnel.type === 'gre') drafts.set(tunnel, compiler.draft(tunnel, path));
  }
  return paths.flatMap(({ site, tunnel }): TunnelDraft[] => {
    const draft = drafts.get(tunnel);
    if (!draft) return [];
    return [
      {
        spaceName: site,
        fingerprint: `${site} ${tunnel.type} ${draft.fingerprint}`,
        name: tunnel.name,
        enabled: tunnel.enabled,
        mtu: draft.mtu,
        link: draft.link,
        addresses: tunnel.interfaceAddresses.map(({ address }) => address),
        role: 'tunnel',
        tunnelType: tunnel.type,
        priority: tunnel.priority,
        automaticReturnRouting: tunnel.automaticReturnRouting,
      },
    ];
  });
}

class TunnelCompiler {
  readonly #facts: HostFacts;
  readonly #devices: DeviceDrafts;
  readonly #findings: Findings;

  constructor(facts: HostFacts, devices: DeviceDrafts, findings: Findings) {
    this.#facts = facts;
    this.#devices = devices;
    this.#findings = findings;
  }

  /** Undefined if something was wrong; it has been reported then. */
  draft(tunnel: TunnelConfig, path: ConfigPath): Draft | undefined {
    switch (tunnel.type) {
      case 'gre':
        return this.#gre(tunnel, path);
      case 'interconnect':
        return this.#interconnect(tunnel, path);
      case 'device':
        return this.#device(tunnel, path);
    }
  }

  #gre(tunnel: GreTunnelConfig, path: ConfigPath): Draft | undefined {
    const { local, remote, key, checksum, sequence, ttl } = tunnel;
    if (!this.#isOwnAddress(local, [...path, 'local'])) return undefined;
    const remotePath = [...path, 'remote'];
    const route = this.#facts.routes.find((known) => known.local === local && known.remote === remote);
    if (!route) {
      this.#findings.problem(
        remotePath,
        `${remote} is not reachable from ${local}; add a route to it on the host`,
      );
      return undefined;
    }
    const underlay = this.#devices.addUnderlay(route.device, { local, remote }, remotePath);
    if (!underlay) return undefined;
    const headers = (familyOf(local) === 4 ? 20 : 40) + GRE_HEADER_BYTES;
    const options = [key !== null, checksum, sequence].filter(Boolean).length * GRE_OPTION_BYTES;
    const most = underlay.mtu - headers - options;
    if (most < MIN_MTU) {
      this.#findings.problem(
        remotePath,
        `${remote} is reached by ${route.device}, whose mtu ${underlay.mtu} is too small; write at least ${MIN_MTU + underlay.mtu - most} there`,
      );
      return undefined;
    }
    // Where there are no neighbours, outer packets go to whoever is at the other end of the line.
    const hop = route.nextHop ?? remote;
    const neighbour = isEthernet(underlay)
      ? { nextHop: hop, sourceAddresses: neighbourSources(underlay, hop, local) }
      : { sourceAddresses: [] };
    const below = `${route.device} (mtu ${underlay.mtu}) carries at most ${most} inside this tunnel`;
    return {
      mtu: this.#mtu(tunnel.mtu, Math.min(DEFAULT_GRE_MTU, most), most, below, path),
      fingerprint: `${local} ${remote} ${key ?? 'none'}`,
      link: {
        kind: 'gre',
        local,
        remote,
        key,
        checksum,
        sequence,
        ttl,
        device: route.device,
        ...neighbour,
      },
    };
  }

  #interconnect(tunnel: InterconnectTunnelConfig, path: ConfigPath): Draft | undefined {
    const { device, nextHop } = tunnel;
    const link = this.#devices.ethernet(device, [...path, 'device']);
    if (!link) return undefined;
    this.#devices.addInterconnect(device, tunnel.name, link);
    const addresses = tunnel.interfaceAddresses.map(({ address }) => address);
    return {
      mtu: this.#mtu(tunnel.mtu, link.mtu, link.mtu, `${device} carries at most ${link.mtu}`, path),
      fingerprint: device,
      link: {
        kind: 'ethernet',
        device,
        nextHop,
        onLink: [...new Set(tunnel.interfaceAddresses.map(({ prefix }) => prefix))],
        answers: addresses,
        sourceAddresses: addresses,
      },
    };
  }

  #device(tunnel: DeviceTunnelConfig, path: ConfigPath): Draft | undefined {
    const { name, device, driver } = tunnel;
    const devicePath = [...path, 'device'];
    const fingerprint = `${driver} ${device}`;
    if (driver === 'tun') {
      const mtu = this.#devices.addTun(device, name, tunnel.mtu, devicePath);
      return { mtu, fingerprint, link: { kind: 'ip', device } };
    }
    const link = this.#devices.layer3(device, devicePath);
    if (!link) return undefined;
    this.#devices.addLayer3(device, name, link);
    const mtu = this.#mtu(tunnel.mtu, link.mtu, link.mtu, `${device} carries at most ${link.mtu}`, path);
    return { mtu, fingerprint, link: { kind: 'ip', device } };
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
    this.#findings.problem(path, `${local} is not an address of this host; ${remedy}`);
    return false;
  }
}

/** An MTU that the device below can carry, which may change while the configuration stays: so no problem. */
export function limitMtu(
  wanted: number,
  most: number,
  why: string,
  path: ConfigPath,
  findings: Findings,
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
