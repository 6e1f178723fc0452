/**
 * GRE tunnels: which driver does it, its link, and what carries its outer packets.
 *
 * ```
 *  userspace   the uplink's socket takes the outer packets          link gre on the uplink
 *  kernel      an interface of the kernel, made for the tunnel      link ip on that interface, as a `device` tunnel's
 * ```
 *
 * `auto` takes the kernel's where that has it, loses nothing by it, and the host's firewall lets its packets pass. A tunnel
 * is the same whichever driver it has.
 *
 * Neighbours: `tunnels.ts` (all types), `devices.ts`, `../host/kernel-links.ts` (what the kernel is told).
 */
import type { ConfigPath, GreTunnelConfig, TunnelConfig } from '../config/config.ts';
import { familyOf } from '../config/ip.ts';
import type { HostFacts, LinkFacts, RouteFacts } from '../facts.ts';
import type { DeviceDrafts } from './devices.ts';
import { isEthernet, linkByName } from './devices.ts';
import type { HostFindings } from './host-findings.ts';
import { dropperOf } from './host-rules.ts';
import type { GreLink, HostGreEndpoints } from './host-setup.ts';
import { kernelLinkName } from './kernel-link-name.ts';
import { checkOwnAddress } from './own-addresses.ts';
import type { LinkedTunnel, TunnelDriver, Underlay } from './tunnels.ts';
import { limitMtu, neighbourSources } from './tunnels.ts';

/** What the field uses: 1500 bytes less an IPv4 and a plain GRE header. */
const DEFAULT_GRE_MTU = 1476;
const GRE = { number: 47, name: 'gre' } as const;
const GRE_HEADER_BYTES = 4;
/** What every IPv4 host takes whole (RFC 791). */
const MIN_MTU = 576;
/** Key, sequence, and checksum with its reserved half (RFC 2784, RFC 2890). */
const GRE_OPTION_BYTES = 4;

/** How outer packets leave. */
interface Way {
  readonly route: RouteFacts;
  readonly link: LinkFacts;
  /** The largest inner packet, bytes. */
  readonly most: number;
}

export class GreCompiler {
  readonly #facts: HostFacts;
  readonly #devices: DeviceDrafts;
  readonly #findings: HostFindings;
  readonly #former: (tunnel: TunnelConfig) => Underlay | undefined;

  /** @param former the underlay that a tunnel of this name had when it was last not down */
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
  draft(tunnel: GreTunnelConfig, path: ConfigPath): LinkedTunnel {
    const way = this.#way(tunnel, path);
    const driver = this.#driver(tunnel, way);
    const fingerprint = `${tunnel.local} ${tunnel.remote} ${tunnel.key ?? 'none'}`;
    const common = { mtu: this.#mtu(tunnel, way, path), fingerprint, driver };
    return driver.name === 'kernel'
      ? { ...common, ...this.#kernel(tunnel, way, common.mtu, path) }
      : { ...common, ...this.#userspace(tunnel, way) };
  }

  #driver(tunnel: GreTunnelConfig, way: Way | undefined): TunnelDriver {
    const { driver } = tunnel;
    if (driver !== 'auto') return { name: driver, why: 'the configuration says so' };
    const dropper = this.#dropper(tunnel, way);
    const obstacle =
      this.#obstacle(tunnel) ??
      this.#loss(tunnel) ??
      (dropper === undefined ? undefined : `the host's firewall may drop its GRE (${dropper})`);
    if (obstacle !== undefined) return { name: 'userspace', why: obstacle };
    return { name: 'kernel', why: this.#facts.kernelLinks[kindOf(tunnel)].why };
  }

  /** Why the kernel cannot do it. */
  #obstacle(tunnel: GreTunnelConfig): string | undefined {
    const { available, why } = this.#facts.kernelLinks[kindOf(tunnel)];
    if (!available) return why;
    const name = interfaceName(tunnel);
    const refused = this.#facts.refusedLinks[name];
    if (refused !== undefined) return refusal(name, refused);
    const rest = this.#takerOfRest(tunnel);
    return rest === undefined ? undefined : `${rest} takes all GRE that no other interface takes`;
  }

  /** What would be worse than in user space. */
  #loss({ local }: GreTunnelConfig): string | undefined {
    if (familyOf(local) === 4) return undefined;
    return 'over IPv6 the kernel does not tell senders when the path carries less';
  }

  /** What of the host's firewall may drop its outer packets, in either direction; undefined: nothing. */
  #dropper({ local, remote }: GreTunnelConfig, way: Way | undefined): string | undefined {
    const { hostRules } = this.#facts;
    if (hostRules === undefined || way === undefined) return undefined;
    const common = { protocol: GRE, device: way.route.device };
    return (
      dropperOf(hostRules, { ...common, direction: 'in', source: remote, destination: local }) ??
      dropperOf(hostRules, { ...common, direction: 'out', source: local, destination: remote })
    );
  }

  /** An interface that gets this tunnel's packets whenever its own does not take them, for the host. */
  #takerOfRest(tunnel: GreTunnelConfig): string | undefined {
    const kind = kindOf(tunnel);
    const { links } = this.#facts;
    return Object.keys(links)
      .sort()
      .find((name) => links[name]?.takesRest === kind);
  }

  #userspace(tunnel: GreTunnelConfig, way: Way | undefined): Pick<LinkedTunnel, 'link' | 'underlay'> {
    const { local, remote, key, checksum, sequence, ttl } = tunnel;
    const common = { kind: 'gre', local, remote, key, checksum, sequence, ttl } as const;
    const endpoints: HostGreEndpoints = { local, remote };
    if (way === undefined) {
      const former = this.#former(tunnel);
      if (former !== undefined) this.#devices.keepUnderlay(former.device, endpoints);
      return { link: { ...common, device: null, sourceAddresses: [] } };
    }
    const { route, link } = way;
    this.#devices.addUnderlay(route.device, endpoints);
    // Where there are no neighbours, outer packets go to whoever is at the other end of the line.
    const hop = route.nextHop ?? remote;
    const neighbour = isEthernet(link)
      ? { nextHop: hop, sourceAddresses: neighbourSources(link, hop, local) }
      : { sourceAddresses: [] };
    return {
      link: { ...common, device: route.device, ...neighbour },
      underlay: { device: route.device, endpoints },
    };
  }

  #kernel(
    tunnel: GreTunnelConfig,
    way: Way | undefined,
    mtu: number,
    path: ConfigPath,
  ): Pick<LinkedTunnel, 'link'> {
    const { local, remote, key, checksum, sequence, ttl } = tunnel;
    const name = interfaceName(tunnel);
    const usable = this.#mayBeMade(tunnel, name, path);
    const dropper = this.#dropper(tunnel, way);
    if (usable && dropper !== undefined) {
      this.#findings.notice(
        [...path, 'driver'],
        `the host's firewall may drop this tunnel's GRE (${dropper}); let it pass there between ${local} and ${remote}, or write userspace`,
      );
    }
    if (!this.#devices.has(name)) {
      const link: GreLink = { kind: kindOf(tunnel), local, remote, key, checksum, sequence, ttl };
      const underlay = usable ? (way?.route.device ?? null) : null;
      this.#devices.addMade(name, tunnel.name, mtu, { link, underlay });
    }
    return { link: { kind: 'ip', device: usable && way !== undefined ? name : null } };
  }

  #mayBeMade(tunnel: GreTunnelConfig, name: string, path: ConfigPath): boolean {
    const driverPath = [...path, 'driver'];
    const { available, why } = this.#facts.kernelLinks[kindOf(tunnel)];
    if (!available) {
      this.#findings.mistake(driverPath, `${why}; write userspace or auto`);
      return false;
    }
    const rest = this.#takerOfRest(tunnel);
    if (rest !== undefined) {
      this.#findings.mistake(
        driverPath,
        `${rest} takes all GRE that no other interface takes; set it down (ip link set ${rest} down), or write userspace`,
      );
      return false;
    }
    if (this.#devices.has(name)) {
      this.#findings.mistake(
        [...path, 'name'],
        `the interface of this tunnel would be ${name}, which another one uses; write another name`,
      );
      return false;
    }
    const kind = linkByName(this.#facts, name)?.kind ?? 'layer3';
    if (kind !== 'layer3') {
      this.#findings.mistake(
        [...path, 'name'],
        `the interface of this tunnel would be ${name}, which exists and is no GRE interface; write another name`,
      );
      return false;
    }
    const refused = this.#facts.refusedLinks[name];
    if (refused === undefined) return true;
    this.#findings.lack(
      driverPath,
      `${refusal(name, refused)}; remove other GRE interfaces to ${tunnel.remote}, or write userspace`,
    );
    return false;
  }

  #mtu(tunnel: GreTunnelConfig, way: Way | undefined, path: ConfigPath): number {
    if (way === undefined) return tunnel.mtu ?? DEFAULT_GRE_MTU;
    const { route, link, most } = way;
    if (tunnel.mtu === null) return Math.min(DEFAULT_GRE_MTU, most);
    const below = `${route.device} (mtu ${link.mtu}) carries at most ${most} inside this tunnel`;
    return limitMtu(tunnel.mtu, most, below, [...path, 'mtu'], this.#findings);
  }

  /** How outer packets leave; undefined if they cannot. */
  #way(tunnel: GreTunnelConfig, path: ConfigPath): Way | undefined {
    const { local, remote, key, checksum, sequence } = tunnel;
    if (!checkOwnAddress(local, [...path, 'local'], this.#facts, this.#findings)) return undefined;
    const remotePath = [...path, 'remote'];
    const route = this.#facts.routes.find((known) => known.local === local && known.remote === remote);
    if (!route) {
      this.#findings.lack(
        remotePath,
        `${remote} is not reachable from ${local}; add a route to it on the host`,
      );
      return undefined;
    }
    const link = this.#devices.underlay(route.device, remote, remotePath);
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
}

function kindOf({ local }: GreTunnelConfig): GreLink['kind'] {
  return familyOf(local) === 4 ? 'gre' : 'ip6gre';
}

function refusal(name: string, said: string): string {
  return `the kernel does not make ${name}: ${said}; it is asked again after pauses of 5 s up to 10 min`;
}

function interfaceName(tunnel: GreTunnelConfig): string {
  const { name, local, remote, key } = tunnel;
  return kernelLinkName(name, `${kindOf(tunnel)} ${local} ${remote} ${key ?? 'none'}`);
}
