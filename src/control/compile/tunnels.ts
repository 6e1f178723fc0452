/**
 * A port for each tunnel: its link, its MTU, and the device below it. One that lacks something is down, without a
 * device; what is known from the configuration alone stays.
 *
 * Neighbours: `gre.ts`, `ipsec.ts` (tunnels that the host may do in several ways), `linked-tunnel.ts` (what all give).
 */
import type {
  Config,
  ConfigPath,
  DeviceTunnelConfig,
  InterconnectTunnelConfig,
  TunnelConfig,
} from '../config/config.ts';
import type { HostFacts, LinkFacts } from '../facts.ts';
import type { DeviceDrafts, EthernetFacts } from './devices.ts';
import type { TunnelDraft } from './drafts.ts';
import { GreCompiler } from './gre.ts';
import type { HostFindings } from './host-findings.ts';
import { IpsecCompiler } from './ipsec.ts';
import { type LinkedTunnel, limitMtu, UNKNOWN_MTU, type Underlay } from './linked-tunnel.ts';

/** What {@link draftTunnels} gives for each tunnel. */
export interface DraftedTunnel extends Pick<LinkedTunnel, 'underlay' | 'driver' | 'ipsec'> {
  readonly draft: TunnelDraft;
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
  const draft = (tunnel: TunnelConfig, site: string, path: ConfigPath): LinkedTunnel =>
    tunnel.enabled
      ? compiler.draft(tunnel, site, path)
      : findings.unheard(() => compiler.draft(tunnel, site, path));
  // First those that own their device, so that an underlay can be told from them; then in the file's order.
  const drafts = new Map<TunnelConfig, LinkedTunnel>();
  for (const { tunnel, site, path } of paths) {
    if ('device' in tunnel) drafts.set(tunnel, draft(tunnel, site, path));
  }
  for (const { tunnel, site, path } of paths) {
    if (!('device' in tunnel)) drafts.set(tunnel, draft(tunnel, site, path));
  }
  return paths.map(({ site, tunnel }): DraftedTunnel => {
    const { fingerprint, mtu, link, underlay, driver, ipsec } = drafts.get(tunnel)!;
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
    return {
      draft: port,
      ...(underlay === undefined ? {} : { underlay }),
      ...(driver === undefined ? {} : { driver }),
      ...(ipsec === undefined || !tunnel.enabled ? {} : { ipsec }),
    };
  });
}

class TunnelCompiler {
  readonly #devices: DeviceDrafts;
  readonly #findings: HostFindings;
  readonly #gre: GreCompiler;
  readonly #ipsec: IpsecCompiler;

  constructor(
    facts: HostFacts,
    devices: DeviceDrafts,
    findings: HostFindings,
    former: (tunnel: TunnelConfig) => Underlay | undefined,
  ) {
    this.#devices = devices;
    this.#findings = findings;
    this.#ipsec = new IpsecCompiler(facts, devices, findings);
    this.#gre = new GreCompiler(facts, devices, findings, this.#ipsec, former);
  }

  /** Without a device if something was wrong; it has been reported then. */
  draft(tunnel: TunnelConfig, site: string, path: ConfigPath): LinkedTunnel {
    switch (tunnel.type) {
      case 'gre':
        return this.#gre.draft(tunnel, site, path);
      case 'ipsec':
        return this.#ipsec.draft(tunnel, site, path);
      case 'interconnect':
        return this.#interconnect(tunnel, path);
      case 'device':
        return this.#device(tunnel, path);
    }
  }

  #interconnect(tunnel: InterconnectTunnelConfig, path: ConfigPath): LinkedTunnel {
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

  #device(tunnel: DeviceTunnelConfig, path: ConfigPath): LinkedTunnel {
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
    if (link === undefined || mtu === null) return link?.mtu ?? mtu ?? UNKNOWN_MTU;
    const why = `${device} carries at most ${link.mtu}`;
    return limitMtu(mtu, link.mtu, why, [...path, 'mtu'], this.#findings);
  }
}
