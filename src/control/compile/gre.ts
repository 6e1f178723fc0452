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
 * Within IPsec it is the kernel's always: a packet socket sends past what encrypts. Neither way is there one in clear text
 * (`../host/guard-kernel-tunnels.ts`).
 *
 * Neighbours: `tunnels.ts` (all types), `ipsec.ts` (what protects one), `devices.ts`, `../host/kernel-links.ts` (what the kernel is told).
 */
import { largestProtected } from '../../tunnel/ipsec/esp-size.ts';
import { knownProposal } from '../../tunnel/ipsec/proposals.ts';
import type { ConfigPath, GreTunnelConfig, TunnelConfig } from '../config/config.ts';
import { familyOf } from '../config/ip.ts';
import type { HostFacts, LinkFacts, RouteFacts } from '../facts.ts';
import { type DeviceDrafts, isEthernet } from './devices.ts';
import type { LinkDraft } from './drafts.ts';
import type { HostFindings } from './host-findings.ts';
import { dropperOf } from './host-rules.ts';
import type { GreLink, HostGreEndpoints } from './host-setup.ts';
import type { IpsecCompiler, Protection } from './ipsec.ts';
import { kernelLinkName } from './kernel-link-name.ts';
import {
  type LinkedTunnel,
  limitMtu,
  neighbourSources,
  type TunnelDriver,
  type Underlay,
} from './linked-tunnel.ts';
import { mayBeMade, refusal } from './made-link.ts';
import { checkOwnAddress } from './own-addresses.ts';
import { routeOf } from './route-queries.ts';

/** What the field uses: 1500 bytes less an IPv4 and a plain GRE header. */
const DEFAULT_GRE_MTU = 1476;
const GRE = { number: 47, name: 'gre' } as const;
const GRE_HEADER_BYTES = 4;
const IPV4_BYTES = 20;
const IPV6_BYTES = 40;
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
  readonly #ipsec: IpsecCompiler;
  readonly #former: (tunnel: TunnelConfig) => Underlay | undefined;

  /**
   * @param ipsec makes what protects tunnels
   * @param former the underlay that a tunnel of this name had when it was last not down
   */
  constructor(
    facts: HostFacts,
    devices: DeviceDrafts,
    findings: HostFindings,
    ipsec: IpsecCompiler,
    former: (tunnel: TunnelConfig) => Underlay | undefined,
  ) {
    this.#facts = facts;
    this.#devices = devices;
    this.#findings = findings;
    this.#ipsec = ipsec;
    this.#former = former;
  }

  /** Without a device if something was wrong; it has been reported then. */
  draft(tunnel: GreTunnelConfig, site: string, path: ConfigPath): LinkedTunnel {
    const way = this.#way(tunnel, path);
    const driver = this.#driver(tunnel, way);
    const fingerprint = `${tunnel.local} ${tunnel.remote} ${tunnel.key ?? 'none'}`;
    const common = { mtu: this.#mtu(tunnel, way, path), fingerprint, driver };
    if (driver.name !== 'kernel') return { ...common, ...this.#userspace(tunnel, way) };
    const protection = this.#protection(tunnel, site, way, path);
    const { link } = this.#kernel(tunnel, way, common.mtu, protection?.requestId ?? null, path);
    if (protection === undefined) return { ...common, link };
    const { isUp, wish } = protection;
    return {
      ...common,
      link: isUp ? link : { ...link, device: null },
      ...(wish === undefined ? {} : { ipsec: wish }),
    };
  }

  /** Within IPsec it is up while there is an SA. undefined: it passes in clear text. */
  #protection(
    { name, local, remote, ipsec }: GreTunnelConfig,
    site: string,
    way: Way | undefined,
    path: ConfigPath,
  ): Protection | undefined {
    if (ipsec === null) return undefined;
    const nextHop = way?.route.nextHop ?? remote;
    const outer =
      way === undefined
        ? `${remote} cannot be reached from ${local}`
        : { device: way.route.device, mtu: way.link.mtu, local, remote, nextHop };
    return this.#ipsec.protect({ name, local, remote, ...ipsec }, site, outer, path);
  }

  #driver(tunnel: GreTunnelConfig, way: Way | undefined): TunnelDriver {
    const { driver } = tunnel;
    if (driver !== 'auto') return { name: driver, why: 'the configuration says so' };
    if (tunnel.ipsec !== null) return { name: 'kernel', why: 'it is the kernel that encrypts it' };
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
    requestId: number | null,
    path: ConfigPath,
  ): { readonly link: LinkDraft } {
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
      this.#devices.addMade(name, tunnel.name, mtu, { link, underlay, requestId });
    }
    return { link: { kind: 'ip', device: usable && way !== undefined ? name : null } };
  }

  #mayBeMade(tunnel: GreTunnelConfig, name: string, path: ConfigPath): boolean {
    const driverPath = [...path, 'driver'];
    const { available, why } = this.#facts.kernelLinks[kindOf(tunnel)];
    if (!available) {
      const remedy = tunnel.ipsec === null ? 'write userspace or auto' : 'GRE within IPsec needs it';
      this.#findings.mistake(driverPath, `${why}; ${remedy}`);
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
    const remedy = `remove other GRE interfaces to ${tunnel.remote}, or write userspace`;
    return mayBeMade({ name, kind: 'GRE', remedy, path }, this.#facts, this.#devices, this.#findings);
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
    const route = routeOf({ local, remote }, this.#facts);
    if (!route) {
      this.#findings.lack(
        remotePath,
        `${remote} is not reachable from ${local}; add a route to it on the host`,
      );
      return undefined;
    }
    const link = this.#devices.underlay(route.device, remote, remotePath);
    if (!link) return undefined;
    const options = [key !== null, checksum, sequence].filter(Boolean).length * GRE_OPTION_BYTES;
    const most = roomBehindIp(tunnel, link.mtu) - GRE_HEADER_BYTES - options;
    if (most >= MIN_MTU) return { route, link, most };
    this.#findings.lack(
      remotePath,
      `${remote} is reached by ${route.device}, whose mtu ${link.mtu} is too small; write at least ${MIN_MTU + link.mtu - most} there`,
    );
    return undefined;
  }
}

/** For GRE, in an outer packet of `mtu` bytes. */
function roomBehindIp({ local, ipsec }: GreTunnelConfig, mtu: number): number {
  const family = familyOf(local);
  if (ipsec === null) return mtu - (family === 4 ? IPV4_BYTES : IPV6_BYTES);
  const proposals = ipsec.child.proposals.map((text) => knownProposal('esp', text));
  return largestProtected(mtu, family, proposals);
}

function kindOf({ local }: GreTunnelConfig): GreLink['kind'] {
  return familyOf(local) === 4 ? 'gre' : 'ip6gre';
}

function interfaceName(tunnel: GreTunnelConfig): string {
  const { name, local, remote, key } = tunnel;
  return kernelLinkName(name, `${kindOf(tunnel)} ${local} ${remote} ${key ?? 'none'}`);
}
