/**
 * IPsec tunnels: which driver does it, the way of its packets, and whether it is up.
 *
 * ```
 *  xfrm       an interface of the kernel, made for the tunnel; SAs only when it is up      as GRE by the kernel
 *  libipsec   a device that comes and goes with the driver's work, named as the tunnel
 * ```
 *
 * A tunnel that is not up has no device in the plan, and nothing is known of its peer but what the driver says
 * (`IpsecFacts.running`).
 *
 * Neighbours: `tunnels.ts` (all types), `gre.ts` (which asks for protection), `ipsec-wish.ts`, `kernel-ids.ts`.
 */
import { largestProtected } from '../../tunnel/ipsec/esp-size.ts';
import { knownProposal } from '../../tunnel/ipsec/proposals.ts';
import type { UplinkPath } from '../../tunnel/ipsec/user-space-host.ts';
import type { ConfigPath, IpsecTunnelConfig } from '../config/config.ts';
import { familyOf } from '../config/ip.ts';
import type { HostFacts, IpsecDriverName } from '../facts.ts';
import { type DeviceDrafts, isEthernet, linkByName } from './devices.ts';
import type { HostFindings } from './host-findings.ts';
import { type IpsecEnds, type IpsecWish, ipsecFingerprint, ipsecTunnel } from './ipsec-wish.ts';
import { KernelIdDrafts } from './kernel-ids.ts';
import { kernelLinkName } from './kernel-link-name.ts';
import { type LinkedTunnel, limitMtu, type TunnelDriver } from './linked-tunnel.ts';
import { mayBeMade, refusal, reportTakenName } from './made-link.ts';
import { checkOwnAddress } from './own-addresses.ts';
import { routeOf } from './route-queries.ts';

/** What charon gives its TUN device: 1500 bytes less what ESP in UDP takes, on the safe side. */
const DEFAULT_MTU = 1400;

/** A connection that protects a GRE tunnel. */
export interface Protection {
  /** Of its SAs. */
  readonly requestId: number;
  /** Whether an SA is there. */
  readonly isUp: boolean;
  /** Absent if it cannot run here, which has been reported. */
  readonly wish?: IpsecWish;
}

/** What is known of a tunnel before its driver is asked. */
interface Run {
  /** `IpsecWish.key` */
  readonly key: string;
  readonly way: UplinkPath | string;
  readonly path: ConfigPath;
}

/** How the host's routes lead to the peer. */
interface WayOut {
  readonly device: string;
  readonly nextHop: string;
  /** `RouteFacts.mtu` */
  readonly mtu: number | undefined;
}

type Drafted = Pick<LinkedTunnel, 'mtu' | 'link' | 'ipsec'>;
type DrivenBy = TunnelDriver & { readonly name: IpsecDriverName };

export class IpsecCompiler {
  readonly #facts: HostFacts;
  readonly #devices: DeviceDrafts;
  readonly #findings: HostFindings;
  /** Ends of tunnels in user space, which nothing else tells apart: `local remote`, by tunnel. */
  readonly #ends = new Map<string, string>();
  readonly #ids: KernelIdDrafts;

  constructor(facts: HostFacts, devices: DeviceDrafts, findings: HostFindings) {
    this.#facts = facts;
    this.#devices = devices;
    this.#findings = findings;
    this.#ids = new KernelIdDrafts(facts);
  }

  /** Without a device if something was wrong, which has been reported then, or if it is not up. */
  draft(tunnel: IpsecTunnelConfig, site: string, path: ConfigPath): LinkedTunnel {
    const fingerprint = ipsecFingerprint(tunnel);
    const linkName = kernelLinkName(tunnel.name, `xfrm ${site} ${fingerprint}`);
    const driver = this.#driver(tunnel, linkName);
    const way = this.#way(tunnel, driver.name, path);
    const run = { key: `${driver.name} ${site} ${fingerprint}`, way, path };
    const drafted =
      driver.name === 'xfrm' ? this.#kernel(tunnel, linkName, run) : this.#userSpace(tunnel, run);
    return { fingerprint, driver, ...drafted };
  }

  /** The connection that protects a GRE tunnel, whose packets leave by `way`. */
  protect(tunnel: IpsecEnds, site: string, way: UplinkPath | string, path: ConfigPath): Protection {
    const key = `gre ${site} ${ipsecFingerprint(tunnel)}`;
    this.#reportCredentials(tunnel, [...path, 'ipsec', 'ike']);
    const requestId = this.#ids.take(key);
    if (!this.#isAvailable('xfrm', [...path, 'ipsec'])) return { requestId, isUp: false };
    const ids = { requestId, interfaceId: null };
    return {
      requestId,
      isUp: this.#isUp(tunnel, key, typeof way !== 'string', path),
      wish: { driver: 'xfrm', key, tunnel: ipsecTunnel(tunnel, 'gre', ids), ike: tunnel.ike, path: way },
    };
  }

  /** ESP by the kernel: an interface is made for the tunnel, and a connection only when it is up. */
  #kernel(tunnel: IpsecTunnelConfig, linkName: string, { key, way, path }: Run): Drafted {
    const { name } = tunnel;
    const interfaceId = this.#ids.take(key, linkName);
    const mtu = this.#kernelMtu(tunnel, way, path);
    const isAvailable = this.#isAvailable('xfrm', [...path, 'driver']);
    this.#reportCredentials(tunnel, [...path, 'ike']);
    const question = { name: linkName, kind: 'XFRM', remedy: 'write libipsec or auto', path } as const;
    const canBeMade = mayBeMade(question, this.#facts, this.#devices, this.#findings);
    if (!this.#devices.has(linkName)) {
      if (isAvailable) {
        const link = { kind: 'xfrm', interfaceId } as const;
        this.#devices.addMade(linkName, name, mtu, { link, underlay: null, requestId: null });
      } else this.#devices.addLayer3(linkName, name, undefined);
    }
    const isSetUp = linkByName(this.#facts, linkName)?.up === true;
    const isUp = this.#isUp(tunnel, key, typeof way !== 'string', path);
    const device = isAvailable && canBeMade && isSetUp && isUp ? linkName : null;
    const linked = { mtu, link: { kind: 'ip', device } } as const;
    if (!isAvailable || !canBeMade || !isSetUp) return linked;
    const ids = { requestId: interfaceId, interfaceId };
    const wished = ipsecTunnel(tunnel, 'everything', ids);
    return { ...linked, ipsec: { driver: 'xfrm', key, tunnel: wished, ike: tunnel.ike, path: way } };
  }

  #kernelMtu({ local, mtu, child }: IpsecTunnelConfig, way: UplinkPath | string, path: ConfigPath): number {
    if (typeof way === 'string') return mtu ?? DEFAULT_MTU;
    const proposals = child.proposals.map((text) => knownProposal('esp', text));
    const most = largestProtected(way.mtu, familyOf(local), proposals);
    if (mtu === null) return most;
    const below = `the way by ${way.device} (mtu ${way.mtu}) carries at most ${most} inside this tunnel`;
    return limitMtu(mtu, most, below, [...path, 'mtu'], this.#findings);
  }

  /** ESP by the daemon, which brings the tunnel's device. */
  #userSpace(tunnel: IpsecTunnelConfig, { key, way, path }: Run): Drafted {
    const { name } = tunnel;
    const isFree = this.#isFree(name, path);
    const fits = this.#fits(tunnel, path) && isFree;
    const link = fits ? linkByName(this.#facts, name) : undefined;
    const isUp = fits && this.#isUp(tunnel, key, typeof way !== 'string', path);
    const device = link !== undefined && isUp ? name : null;
    // What has its name and is not its own is guarded for nobody: its packets are the host's.
    if (isFree) this.#devices.addLayer3(name, name, device === null ? undefined : link);
    const most = link?.mtu ?? DEFAULT_MTU;
    const mtu =
      tunnel.mtu === null
        ? most
        : limitMtu(tunnel.mtu, most, `${name} carries at most ${most}`, [...path, 'mtu'], this.#findings);
    const linked = { mtu, link: { kind: 'ip', device } } as const;
    if (!fits) return linked;
    const wished = ipsecTunnel(tunnel, 'everything', null);
    return { ...linked, ipsec: { driver: 'libipsec', key, tunnel: wished, ike: tunnel.ike, path: way } };
  }

  #driver({ driver }: IpsecTunnelConfig, linkName: string): DrivenBy {
    if (driver !== 'auto') return { name: driver, why: 'the configuration says so' };
    const { xfrm, libipsec } = this.#drivers;
    const refused = this.#facts.refusedLinks[linkName];
    if (xfrm.available && refused === undefined) return { name: 'xfrm', why: xfrm.why };
    const why = refused !== undefined && xfrm.available ? refusal(linkName, refused) : xfrm.why;
    return { name: 'libipsec', why: `${why}; ${libipsec.why}` };
  }

  get #drivers(): NonNullable<HostFacts['ipsec']>['drivers'] {
    const unknown = { available: false, why: 'nobody has looked' };
    return this.#facts.ipsec?.drivers ?? { xfrm: unknown, libipsec: unknown };
  }

  /** Whether libipsec can do it here at all; what is against it is reported. */
  #fits(tunnel: IpsecTunnelConfig, path: ConfigPath): boolean {
    const isAvailable = this.#isAvailable('libipsec', [...path, 'driver']);
    this.#reportCredentials(tunnel, [...path, 'ike']);
    return this.#isToldApart(tunnel, path) && isAvailable;
  }

  #isAvailable(driver: IpsecDriverName, path: ConfigPath): boolean {
    const { available, why } = this.#drivers[driver];
    if (!available) this.#findings.lack(path, why);
    return available;
  }

  /** Reports what is wrong with its secrets. It runs all the same: they are read anew with every attempt. */
  #reportCredentials({ name }: IpsecEnds, path: ConfigPath): void {
    const problem = this.#facts.ipsec?.credentials[name];
    if (problem !== undefined) this.#findings.lack(path, problem);
  }

  /** Whether its device can have its name, or has it. */
  #isFree(name: string, path: ConfigPath): boolean {
    const there = linkByName(this.#facts, name);
    const other = this.#devices.has(name)
      ? 'another one uses'
      : there !== undefined && there.kind !== 'tun' && there.kind !== 'layer3'
        ? 'exists and is of another kind'
        : undefined;
    if (other === undefined) return !this.#isForeign(name, path);
    reportTakenName(name, other, path, this.#findings);
    return false;
  }

  /** A device of driver libipsec is a TUN device, and is there only while the driver runs the tunnel. */
  #isForeign(name: string, path: ConfigPath): boolean {
    const there = linkByName(this.#facts, name);
    if (there === undefined) return false;
    const running = this.#facts.ipsec?.running;
    if (there.kind === 'tun' && (running === undefined || Object.hasOwn(running, name))) return false;
    this.#findings.lack(
      [...path, 'name'],
      `the interface of this tunnel would be ${name}, which exists and is somebody else's; remove it, or write another name`,
    );
    return true;
  }

  #isToldApart({ name, local, remote, enabled }: IpsecTunnelConfig, path: ConfigPath): boolean {
    // One that is disabled gets no packets, and may stand beside what takes its place.
    if (!enabled) return true;
    const ends = `${local} ${remote ?? 'any'}`;
    const other = this.#ends.get(ends);
    if (other === undefined) {
      this.#ends.set(ends, name);
      return true;
    }
    this.#findings.mistake(
      [...path, 'remote'],
      `${remote ?? 'any'} is the other end of ${other} as well, and driver libipsec tells tunnels apart by local and remote alone; write another local`,
    );
    return false;
  }

  /** How its packets leave; a sentence if they cannot, which is reported. */
  #way({ local, remote }: IpsecTunnelConfig, driver: IpsecDriverName, path: ConfigPath): UplinkPath | string {
    if (!checkOwnAddress(local, [...path, 'local'], this.#facts, this.#findings)) {
      return `${local} is not an address of this host`;
    }
    const remotePath = [...path, 'remote'];
    const route = remote === null ? this.#defaultRoute(local) : this.#routeTo(local, remote);
    if (route === undefined) {
      const problem =
        remote === null
          ? `no default route leads to peers of ${local}`
          : `${remote} is not reachable from ${local}`;
      this.#findings.lack(remotePath, `${problem}; add a route on the host`);
      return problem;
    }
    const link = this.#devices.underlay(route.device, remote ?? 'its peer', remotePath);
    if (link === undefined) return `${route.device} cannot be used`;
    if (driver === 'libipsec' && !isEthernet(link)) {
      const problem = `driver libipsec needs an Ethernet interface to its peer, and ${route.device} is none`;
      this.#findings.mistake(remotePath, `${problem}; lead the way to it by an Ethernet interface`);
      return problem;
    }
    // The kernel drops what does not fit the way, and may not tell the sender.
    const mtu = driver === 'xfrm' ? Math.min(link.mtu, route.mtu ?? link.mtu) : link.mtu;
    return { device: route.device, mtu, local, remote, nextHop: route.nextHop };
  }

  #routeTo(local: string, remote: string): WayOut | undefined {
    const route = routeOf({ local, remote }, this.#facts);
    if (route === undefined) return undefined;
    return { device: route.device, nextHop: route.nextHop ?? remote, mtu: route.mtu };
  }

  #defaultRoute(local: string): WayOut | undefined {
    const routes = this.#facts.defaultRoutes
      .filter(({ family, nextHop }) => family === familyOf(local) && nextHop !== null)
      .sort((a, b) => a.metric - b.metric);
    const holder = Object.keys(this.#facts.links).find((name) =>
      linkByName(this.#facts, name)!.addresses.some(({ address }) => address === local),
    );
    const route = routes.find(({ device }) => device === holder) ?? routes[0];
    return route === undefined
      ? undefined
      : { device: route.device, nextHop: route.nextHop!, mtu: undefined };
  }

  /** @param told whether it is to be reported if not; what else was found may explain it */
  #isUp({ name }: Pick<IpsecEnds, 'name'>, key: string, told: boolean, path: ConfigPath): boolean {
    const running = this.#facts.ipsec?.running?.[name];
    const status = running?.key === key ? running.status : undefined;
    if (status?.state === 'up') return true;
    if (status === undefined || status.reason === null || !told) return false;
    if (this.#facts.ipsec?.credentials[name] !== undefined) return false;
    this.#findings.notReady(path, `is ${status.state}: ${status.reason}`);
    return false;
  }
}
