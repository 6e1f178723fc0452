/** What the compiler will ask the host's routing, for the collector of the facts; and what that has answered. */
import type { Config } from '../config/config.ts';
import type { HostFacts, RouteFacts, RouteQuery } from '../facts.ts';

/** One query for every pair of outer addresses; `HostFacts.routes` answers them. */
export function routeQueries(config: Config): RouteQuery[] {
  const queries = new Map<string, RouteQuery>();
  for (const site of config.sites) {
    for (const tunnel of site.tunnels) {
      if (tunnel.type !== 'gre' && tunnel.type !== 'ipsec') continue;
      const { local, remote } = tunnel;
      if (remote === null) continue;
      queries.set(`${local} ${remote}`, { local, remote });
    }
  }
  return [...queries.values()];
}

/** How packets between these outer addresses leave; undefined: they do not. */
export function routeOf({ local, remote }: RouteQuery, { routes }: HostFacts): RouteFacts | undefined {
  return routes.find((known) => known.local === local && known.remote === remote);
}

/** Whether the host's firewall matters: it does for tunnels that the kernel may do. */
export function needsHostRules(config: Config): boolean {
  return config.sites.some(({ tunnels }) =>
    tunnels.some((tunnel) => tunnel.type === 'gre' && tunnel.driver !== 'userspace'),
  );
}
