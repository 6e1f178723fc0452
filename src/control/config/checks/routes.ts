/**
 * Routes lead to something that exists, and never make routing choose between two sites: one prefix leads to
 * one place, unless all of its places are egresses with different priorities. An egress without a route is a notice.
 */
import type { Findings } from '../findings.ts';
import { isPrivatePrefix, knownPrefix } from '../ip.ts';
import type { ConfigDocument } from '../schema.ts';
import { nameRemedy } from './egress.ts';

type RouteDocument = ConfigDocument['routes'][number];

export function checkRoutes(document: ConfigDocument, findings: Findings): void {
  const sites = new Set(document.sites.map(({ name }) => name));
  const egresses = new Set(document.egress.map(({ name }) => name));
  const earlier = new Map<string, { route: RouteDocument; at: number }[]>();
  document.routes.forEach((route, at) => {
    const { prefix, via } = route;
    if (!sites.has(via) && !egresses.has(via)) {
      const remedy = nameRemedy(via, [...new Set([...sites, ...egresses])]);
      findings.problem(['routes', at, 'via'], `${via} is neither a site nor an egress; ${remedy}`);
      return;
    }
    if (egresses.has(via) && isPrivatePrefix(knownPrefix(prefix))) {
      findings.problem(
        ['routes', at, 'prefix'],
        `${prefix} is private and never goes to the internet; write a site in via`,
      );
      return;
    }
    const same = earlier.get(prefix) ?? [];
    earlier.set(prefix, [...same, { route, at }]);
    for (const other of same) {
      const text = clash(route, other.route, sites, findings.line(['routes', other.at]));
      if (text === undefined) continue;
      findings.problem(['routes', at, 'prefix'], text);
      return;
    }
  });
  const routed = new Set(document.routes.map(({ via }) => via));
  document.egress.forEach(({ name }, at) => {
    if (!routed.has(name)) {
      findings.notice(['egress', at, 'name'], `no route leads to ${name}; no site can begin flows by it`);
    }
  });
}

/** Why two routes for one prefix cannot stand beside each other; undefined if they can. */
function clash(
  route: RouteDocument,
  other: RouteDocument,
  sites: ReadonlySet<string>,
  line: number,
): string | undefined {
  const { prefix, via, priority } = route;
  const already = `${prefix} is already routed via ${other.via} in line ${line}`;
  if (other.via === via) return `${already}; leave one of them out`;
  if (sites.has(via) || sites.has(other.via)) {
    return `${already}, and routing never chooses between sites; leave one of them out`;
  }
  return other.priority === priority
    ? `${already} with priority ${priority}; give one another priority`
    : undefined;
}
