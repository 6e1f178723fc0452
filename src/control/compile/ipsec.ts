/**
 * IPsec tunnels: which driver does it, the way of its packets, and whether it is up.
 *
 * The device is named as the tunnel. It comes and goes with the driver's work, so a tunnel that is not up has no device
 * in the plan, and nothing is known of its peer but what the driver says (`IpsecFacts.running`).
 *
 * Neighbours: `tunnels.ts` (all types), `../ipsec/ipsec-service.ts` (runs what is wished for here).
 */
import type { IpsecTunnel } from '../../tunnel/ipsec/connection.ts';
import { knownProposal } from '../../tunnel/ipsec/proposals.ts';
import type { UplinkPath } from '../../tunnel/ipsec/user-space-host.ts';
import type { ConfigPath, IpsecTunnelConfig } from '../config/config.ts';
import { familyOf } from '../config/ip.ts';
import type { HostFacts } from '../facts.ts';
import type { IpsecDriverName } from '../ipsec/ipsec-facts.ts';
import { type DeviceDrafts, isEthernet, linkByName } from './devices.ts';
import type { HostFindings } from './host-findings.ts';
import { checkOwnAddress } from './own-addresses.ts';
import type { LinkedTunnel, TunnelDriver } from './tunnels.ts';
import { limitMtu } from './tunnels.ts';

/** What charon gives its TUN device: 1500 bytes less what ESP in UDP takes, on the safe side. */
const DEFAULT_MTU = 1400;

/** A tunnel that is to run. */
export interface IpsecWish {
  readonly driver: IpsecDriverName;
  /** What makes it another tunnel: site, ends, identities. What runs under another key is not this one. */
  readonly key: string;
  readonly tunnel: IpsecTunnel;
  readonly config: IpsecTunnelConfig;
  /** Where its packets leave; a sentence if they cannot now. */
  readonly path: UplinkPath | string;
}

export class IpsecCompiler {
  readonly #facts: HostFacts;
  readonly #devices: DeviceDrafts;
  readonly #findings: HostFindings;
  /** Ends of tunnels in user space, which nothing else tells apart: `local remote`, by tunnel. */
  readonly #ends = new Map<string, string>();

  constructor(facts: HostFacts, devices: DeviceDrafts, findings: HostFindings) {
    this.#facts = facts;
    this.#devices = devices;
    this.#findings = findings;
  }

  /** Without a device if something was wrong, which has been reported then, or if it is not up. */
  draft(tunnel: IpsecTunnelConfig, site: string, path: ConfigPath): LinkedTunnel {
    const { name, local, remote, ike } = tunnel;
    const fingerprint = `${local} ${remote ?? 'any'} ${ike.localId} ${ike.remoteId}`;
    const driver = this.#driver(tunnel);
    const way = this.#way(tunnel, driver.name, path);
    const key = `${site} ${fingerprint}`;
    const isFree = this.#isFree(tunnel, driver.name, path);
    const fits = this.#fits(tunnel, driver.name, path) && isFree;
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
    const wish = fits ? { ipsec: this.#wish(tunnel, driver.name, key, way) } : {};
    return { mtu, fingerprint, driver, link: { kind: 'ip', device }, ...wish };
  }

  #driver({ driver }: IpsecTunnelConfig): TunnelDriver & { readonly name: IpsecDriverName } {
    if (driver !== 'auto') return { name: driver, why: 'the configuration says so' };
    const { xfrm, libipsec } = this.#drivers;
    if (xfrm.available) return { name: 'xfrm', why: xfrm.why };
    return { name: 'libipsec', why: `${xfrm.why}; ${libipsec.why}` };
  }

  get #drivers(): NonNullable<HostFacts['ipsec']>['drivers'] {
    const unknown = { available: false, why: 'nobody has looked' };
    return this.#facts.ipsec?.drivers ?? { xfrm: unknown, libipsec: unknown };
  }

  /** Whether it can run here at all; what is against it is reported. */
  #fits(tunnel: IpsecTunnelConfig, driver: IpsecDriverName, path: ConfigPath): boolean {
    const { name } = tunnel;
    const { available, why } = this.#drivers[driver];
    if (!available) this.#findings.lack([...path, 'driver'], why);
    const problem = this.#facts.ipsec?.credentials[name];
    if (problem !== undefined) this.#findings.lack([...path, 'ike'], problem);
    return this.#isToldApart(tunnel, driver, path) && available;
  }

  /** Whether its device can have its name, or has it. */
  #isFree({ name }: IpsecTunnelConfig, driver: IpsecDriverName, path: ConfigPath): boolean {
    const there = linkByName(this.#facts, name);
    const other = this.#devices.has(name)
      ? 'another one uses'
      : there !== undefined && there.kind !== 'tun' && there.kind !== 'layer3'
        ? 'exists and is of another kind'
        : undefined;
    if (other === undefined) return !this.#isForeign(name, driver, path);
    this.#findings.mistake(
      [...path, 'name'],
      `the interface of this tunnel would be ${name}, which ${other}; write another name`,
    );
    return false;
  }

  /** A device of driver libipsec is a TUN device, and is there only while the driver runs the tunnel. */
  #isForeign(name: string, driver: IpsecDriverName, path: ConfigPath): boolean {
    const there = linkByName(this.#facts, name);
    if (there === undefined || driver !== 'libipsec') return false;
    const running = this.#facts.ipsec?.running;
    if (there.kind === 'tun' && (running === undefined || Object.hasOwn(running, name))) return false;
    this.#findings.lack(
      [...path, 'name'],
      `the interface of this tunnel would be ${name}, which exists and is somebody else's; remove it, or write another name`,
    );
    return true;
  }

  #isToldApart(
    { name, local, remote, enabled }: IpsecTunnelConfig,
    driver: IpsecDriverName,
    path: ConfigPath,
  ): boolean {
    // One that is disabled gets no packets, and may stand beside what takes its place.
    if (driver !== 'libipsec' || !enabled) return true;
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
    return { device: route.device, mtu: link.mtu, local, remote, nextHop: route.nextHop };
  }

  #routeTo(local: string, remote: string): { device: string; nextHop: string } | undefined {
    const route = this.#facts.routes.find((known) => known.local === local && known.remote === remote);
    return route === undefined ? undefined : { device: route.device, nextHop: route.nextHop ?? remote };
  }

  #defaultRoute(local: string): { device: string; nextHop: string } | undefined {
    const routes = this.#facts.defaultRoutes
      .filter(({ family, nextHop }) => family === familyOf(local) && nextHop !== null)
      .sort((a, b) => a.metric - b.metric);
    const holder = Object.keys(this.#facts.links).find((name) =>
      linkByName(this.#facts, name)!.addresses.some(({ address }) => address === local),
    );
    const route = routes.find(({ device }) => device === holder) ?? routes[0];
    return route === undefined ? undefined : { device: route.device, nextHop: route.nextHop! };
  }

  /** @param told whether it is to be reported if not; what else was found may explain it */
  #isUp({ name }: IpsecTunnelConfig, key: string, told: boolean, path: ConfigPath): boolean {
    const running = this.#facts.ipsec?.running?.[name];
    const status = running?.key === key ? running.status : undefined;
    if (status?.state === 'up') return true;
    if (status === undefined || status.reason === null || !told) return false;
    if (this.#facts.ipsec?.credentials[name] !== undefined) return false;
    this.#findings.notReady(path, `is ${status.state}: ${status.reason}`);
    return false;
  }

  #wish(
    config: IpsecTunnelConfig,
    driver: IpsecDriverName,
    key: string,
    path: UplinkPath | string,
  ): IpsecWish {
    const { name, local, remote, ike, child } = config;
    const tunnel: IpsecTunnel = {
      name,
      local,
      remote,
      localId: ike.localId,
      remoteId: ike.remoteId,
      ikeProposals: ike.proposals.map((text) => knownProposal('ike', text)),
      espProposals: child.proposals.map((text) => knownProposal('esp', text)),
      ikeRekeyMs: ike.rekeyMs,
      childRekeyMs: child.rekeyMs,
      dpdMs: ike.dpdMs,
      replayProtection: child.replayProtection,
      start: ike.start,
      protects: 'everything',
      kernel: null,
    };
    return { driver, key, tunnel, config, path };
  }
}
