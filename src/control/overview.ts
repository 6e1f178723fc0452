/**
 * Tunnels and sites one by one: configuration and state together, for the API (`api/routes/`).
 *
 * Only members that are named here leave control: a secret that the configuration may hold never does.
 */
import type { Config, FamilyAddresses, TunnelConfig } from './config/config.ts';
import type { GatewayStatus, TunnelStatus } from './gateway-status.ts';
import type { IpsecView } from './ipsec/ipsec-view.ts';
import { findNamed } from './unknown-name.ts';

/** A tunnel with what the configuration says of it. */
export interface TunnelDetails extends TunnelStatus {
  readonly automaticReturnRouting: boolean;
  /** With prefix length. */
  readonly interfaceAddresses: readonly string[];
  /** Ends of what carries the tunnel's packets; null where there are none. */
  readonly outer: { readonly local: string; readonly remote: string; readonly key: number | null } | null;
  readonly nextHops: readonly string[];
  /** null: it is no `ipsec` tunnel, or does not run. */
  readonly ipsec: IpsecView | null;
}

export interface SiteOverview {
  readonly name: string;
  readonly prefixes: readonly string[];
  /** `up`: at least one tunnel carries packets. */
  readonly state: 'up' | 'down';
  /** Names, the preferred first. */
  readonly tunnels: readonly string[];
  readonly flows: number;
}

export interface SiteDetails extends Omit<SiteOverview, 'tunnels'> {
  readonly tunnels: readonly TunnelStatus[];
  /** Configured routes that lead here. */
  readonly routes: readonly { readonly prefix: string; readonly priority: number }[];
}

/** A running gateway, as far as this is concerned. */
export interface Observed {
  readonly config: Config;
  status(): Promise<GatewayStatus>;
  ipsec(tunnel: string): IpsecView | null;
}

export class Overview {
  readonly #gateway: Observed;

  constructor(gateway: Observed) {
    this.#gateway = gateway;
  }

  async tunnels(): Promise<readonly TunnelStatus[]> {
    return (await this.#gateway.status()).tunnels;
  }

  /** @throws RequestError `no_such_tunnel` */
  async tunnel(name: string): Promise<TunnelDetails> {
    const { tunnels } = await this.#gateway.status();
    const status = findNamed('tunnel', name, tunnels);
    const configured = this.#gateway.config.sites.flatMap((site) => site.tunnels);
    const config = findNamed('tunnel', name, configured);
    return {
      ...status,
      automaticReturnRouting: config.automaticReturnRouting,
      interfaceAddresses: config.interfaceAddresses.map(
        ({ address, prefix }) => `${address}/${prefix.split('/')[1]}`,
      ),
      outer: outerEnds(config),
      nextHops: 'nextHop' in config ? addressesOf(config.nextHop) : [],
      ipsec: this.#gateway.ipsec(name),
    };
  }

  async sites(): Promise<readonly SiteOverview[]> {
    const { tunnels } = await this.#gateway.status();
    return this.#gateway.config.sites.map(({ name, prefixes }) => siteOverview(name, prefixes, tunnels));
  }

  /** @throws RequestError `no_such_site` */
  async site(name: string): Promise<SiteDetails> {
    const { tunnels } = await this.#gateway.status();
    const { sites, routes } = this.#gateway.config;
    const { prefixes } = findNamed('site', name, sites);
    return {
      ...siteOverview(name, prefixes, tunnels),
      tunnels: tunnelsOf(name, tunnels),
      routes: routes.filter(({ via }) => via === name).map(({ prefix, priority }) => ({ prefix, priority })),
    };
  }
}

function outerEnds(tunnel: TunnelConfig): TunnelDetails['outer'] {
  if (!('local' in tunnel) || !('remote' in tunnel)) return null;
  const { local, remote } = tunnel;
  return { local, remote: remote ?? 'any', key: 'key' in tunnel ? tunnel.key : null };
}

function addressesOf({ ipv4, ipv6 }: FamilyAddresses): string[] {
  return [ipv4, ipv6].filter((address) => address !== undefined);
}

function tunnelsOf(site: string, tunnels: readonly TunnelStatus[]): TunnelStatus[] {
  return tunnels.filter((tunnel) => tunnel.site === site).sort((one, other) => one.priority - other.priority);
}

function siteOverview(
  name: string,
  prefixes: readonly string[],
  tunnels: readonly TunnelStatus[],
): SiteOverview {
  const own = tunnelsOf(name, tunnels);
  const states = new Set(own.map(({ state }) => state));
  return {
    name,
    prefixes,
    state: states.has('up') || states.has('degraded') ? 'up' : 'down',
    tunnels: own.map((tunnel) => tunnel.name),
    flows: own.reduce((sum, { flows }) => sum + flows, 0),
  };
}
