/**
 * The overlap audit of a configuration: which addresses several sites declare, and what that means.
 *
 * Flows **from** such addresses are safe: replies follow the pin, no route is asked. A new flow **towards** them
 * needs one meaning; whether it has one is not decided here but asked of the routing table that forwards
 * (`pipeline/routing-table.ts`), for every part of the shared addresses that routes divide them into.
 *
 * Neighbours: `audit.ts` (together with the addresses in traffic), `config/checks/` (what is refused).
 */
import type { Plan } from '../../pipeline/plan.ts';
import { RoutingTable } from '../../pipeline/routing-table.ts';
import { DROP_REASON_NAMES } from '../../plugin/drop-reasons.ts';
import { formatPrefix, type Prefix, prefixContainsPrefix, prefixOf } from '../../wire/address.ts';
import type { Config } from '../config/config.ts';
import { knownPrefix } from '../config/ip.ts';
import { canonicalSet, divide, relationOf, sharedPrefixes } from './address-sets.ts';

/** Parts of one answer that are named. */
const MAX_PARTS = 8;
/** Pairs of sites that are listed: every pair of thousands of sites may have one. */
const MAX_RELATIONS = 1000;
/** Names in a sentence. */
const MAX_NAMES = 4;
/** Stands for every sender that declares nothing of what is asked for. */
const ANY_OTHER_SENDER = 0;

/** What the audit reads of a configuration. */
export type AuditedConfig = Pick<Config, 'sites' | 'egress' | 'routes'>;

/** Where new flows of other sites towards some addresses go. */
export interface Towards {
  /** A site or egress; null: nowhere. */
  readonly to: string | null;
  /** The drop reason, where `to` is null. */
  readonly reason: string | null;
  /** The configured route that leads there; null: none does. */
  readonly route: string | null;
  /** The parts of the shared prefix that this holds for; the first few. */
  readonly parts: readonly string[];
}

/** Addresses that several sites declare. */
export interface Overlap {
  /** The shared addresses: the smaller of the prefixes that overlap. */
  readonly prefix: string;
  readonly sites: readonly {
    readonly site: string;
    /** Its own prefix that the shared one is, or lies in. */
    readonly declares: string;
    readonly relation: 'equal' | 'contains';
    /** Tunnels that do not pin replies but route them, within the site. */
    readonly routedReplies: readonly string[];
  }[];
  /** `ambiguous`: dropped; `routed`: all of it leads to one site; `mixed`: see `towards`. */
  readonly verdict: 'ambiguous' | 'routed' | 'mixed';
  readonly towards: readonly Towards[];
  readonly text: string;
}

/** How the address plans of two groups of sites relate; within a group they are equal. */
export interface SiteRelation {
  /** `equal`: all of `sites`, and there are no `others`; `contains`: those of `sites` hold all of the `others'`. */
  readonly relation: 'equal' | 'contains' | 'partial';
  readonly sites: readonly string[];
  readonly others: readonly string[];
  readonly shared: readonly string[];
  readonly text: string;
}

/** A prefix that another one of the same site holds already. */
export interface RedundantPrefix {
  readonly site: string;
  readonly prefix: string;
  readonly within: string;
  readonly text: string;
}

/** A configured route that leads addresses of one site elsewhere. */
export interface Overridden {
  readonly site: string;
  readonly prefix: string;
  readonly route: string;
  readonly via: string;
  readonly text: string;
}

export interface OverlapReport {
  /** Sites and prefixes looked at. */
  readonly sites: number;
  readonly prefixes: number;
  readonly overlaps: readonly Overlap[];
  readonly relations: readonly SiteRelation[];
  /** Relations that are not listed, because there are too many. */
  readonly omittedRelations: number;
  readonly redundant: readonly RedundantPrefix[];
  readonly overridden: readonly Overridden[];
}

interface Declaration {
  readonly site: string;
  readonly prefix: Prefix;
  readonly text: string;
}

/** Audits a checked configuration. */
export function auditOverlaps(config: AuditedConfig): OverlapReport {
  const declarations = config.sites.flatMap(({ name, prefixes }) =>
    prefixes.map((text): Declaration => ({ site: name, prefix: knownPrefix(text), text })),
  );
  const relations = relationsOf(config);
  return {
    sites: config.sites.length,
    prefixes: declarations.length,
    overlaps: overlapsOf(config, declarations),
    relations: relations.listed,
    omittedRelations: relations.omitted,
    redundant: redundantPrefixes(declarations),
    overridden: overriddenPrefixes(config, declarations),
  };
}

function overlapsOf(config: AuditedConfig, declarations: readonly Declaration[]): Overlap[] {
  const byPrefix = Map.groupBy(declarations, ({ prefix }) => formatPrefix(prefix));
  const routed = new Map(
    config.sites.map(({ name, tunnels }) => [
      name,
      tunnels.filter((tunnel) => !tunnel.automaticReturnRouting).map((tunnel) => tunnel.name),
    ]),
  );
  const ask = routingOracle(config);
  const lengths = lengthsOf(declarations.map(({ prefix }) => prefix));
  return [...byPrefix].flatMap(([text, [{ prefix }]]) => {
    const sites = new Map<string, Overlap['sites'][number]>();
    // The longest prefix first: of several that a site has, the one that is nearest.
    for (const length of lengths.filter((candidate) => candidate <= prefix.length)) {
      for (const { site, text: declares } of byPrefix.get(formatPrefix(prefixOf(prefix, length))) ?? []) {
        const relation = length === prefix.length ? 'equal' : 'contains';
        if (!sites.has(site)) sites.set(site, { site, declares, relation, routedReplies: routed.get(site)! });
      }
    }
    if (sites.size < 2) return [];
    return [describeOverlap(text, [...sites.values()], ask(prefix))];
  });
}

/** Asks the routing table of this configuration about all parts of a prefix. */
function routingOracle(config: AuditedConfig): (prefix: Prefix) => Towards[] {
  const names = [...config.sites, ...config.egress].map(({ name }) => name);
  const idOf = (name: string): number => names.indexOf(name) + 1;
  const spaces: Plan['spaces'] = [
    ...config.sites.map(({ name, prefixes }) => ({ id: idOf(name), name, kind: 'site' as const, prefixes })),
    ...config.egress.map(({ name }) => ({ id: idOf(name), name, kind: 'egress' as const, prefixes: [] })),
  ];
  const routes = config.routes.map(({ prefix, via, priority }) => ({ prefix, via: idOf(via), priority }));
  const table = new RoutingTable({ spaces, routes });
  const known = config.routes.map(({ prefix, via }) => ({ prefix: knownPrefix(prefix), text: prefix, via }));
  const borders = known.map(({ prefix }) => prefix);
  const routeTo = (part: Prefix, via: string): string | null =>
    known
      .filter((route) => route.via === via && prefixContainsPrefix(route.prefix, part))
      .sort((a, b) => b.prefix.length - a.prefix.length)[0]?.text ?? null;
  return (prefix) => {
    const answers = new Map<string, Towards & { readonly parts: string[] }>();
    for (const part of divide(prefix, borders)) {
      const [word0, word1, word2, word3] = part.words as unknown as [number, number, number, number];
      const space = table.lookup(part.family, word0, word1, word2, word3, ANY_OTHER_SENDER);
      const to = space === 0 ? null : names[space - 1]!;
      const reason = space === 0 ? DROP_REASON_NAMES[table.reason]! : null;
      const route = to === null ? null : routeTo(part, to);
      const key = JSON.stringify([to, reason, route]);
      const answer = answers.get(key) ?? { to, reason, route, parts: [] };
      answers.set(key, answer);
      if (answer.parts.length < MAX_PARTS) answer.parts.push(formatPrefix(part));
    }
    return [...answers.values()];
  };
}

function describeOverlap(prefix: string, sites: Overlap['sites'], towards: readonly Towards[]): Overlap {
  const goals = new Set(towards.map(({ to }) => to));
  const [goal] = goals;
  const verdict = goals.size > 1 ? 'mixed' : goal == null ? 'ambiguous' : 'routed';
  const declared = sites.map(({ site, declares, relation }) =>
    relation === 'equal' ? site : `${site} (in ${declares})`,
  );
  const text = [
    `${prefix} belongs to ${listed(declared)}.`,
    'Flows from there are safe: replies go back by the tunnel that the flow came in by.',
    ...routedRepliesText(sites),
    ...towards.map((answer) => towardsText(answer, verdict)),
  ].join(' ');
  return { prefix, sites, verdict, towards, text };
}

function routedRepliesText(sites: Overlap['sites']): string[] {
  const tunnels = sites.flatMap(({ routedReplies }) => routedReplies);
  if (tunnels.length === 0) return [];
  return [`Replies to flows from ${listed(tunnels)} are routed, but never out of the site.`];
}

function towardsText({ to, route, parts }: Towards, verdict: Overlap['verdict']): string {
  const where = verdict === 'mixed' ? `to ${listed(parts)}` : 'there';
  if (to === null) {
    return `New flows ${where} from elsewhere are ambiguous and dropped, unless a route names one of the sites.`;
  }
  return `New flows ${where} from elsewhere go to ${to}, by the route ${route}.`;
}

/** The relations that are listed, and how many there are beside them. */
function relationsOf(config: AuditedConfig): { readonly listed: SiteRelation[]; readonly omitted: number } {
  const sets = config.sites
    .filter(({ prefixes }) => prefixes.length > 0)
    .map(({ name, prefixes }) => ({ name, set: canonicalSet(prefixes.map(knownPrefix)) }));
  // Sites with equal plans are one group: hundreds of branches may be.
  const groups = [...Map.groupBy(sets, ({ set }) => set.map(formatPrefix).join()).values()].map(
    (members): Group => ({ sites: members.map(({ name }) => name), set: members[0]!.set }),
  );
  const equal = groups.filter(({ sites }) => sites.length > 1);
  const pairs = overlappingPairs(groups);
  const described = pairs.slice(0, MAX_RELATIONS).map(([first, second]) => {
    const [one, other] = [groups[first]!, groups[second]!];
    const relation = relationOf(one.set, other.set);
    const shared = sharedPrefixes(one.set, other.set);
    if (relation === 'contained') return describeRelation('contains', other.sites, one.sites, shared);
    return describeRelation(relation === 'contains' ? relation : 'partial', one.sites, other.sites, shared);
  });
  return {
    listed: [...equal.map(({ sites, set }) => describeRelation('equal', sites, [], set)), ...described],
    omitted: pairs.length - described.length,
  };
}

/** Sites with equal plans. */
interface Group {
  readonly sites: readonly string[];
  readonly set: readonly Prefix[];
}

/** The pairs, by their places, that have addresses in common: found by the prefixes that hold others. */
function overlappingPairs(groups: readonly Group[]): [number, number][] {
  const lengths = lengthsOf(groups.flatMap(({ set }) => set));
  const holding = Map.groupBy(
    groups.flatMap(({ set }, at) => set.map((prefix) => ({ key: formatPrefix(prefix), at }))),
    ({ key }) => key,
  );
  const pairs = new Set<number>();
  groups.forEach(({ set }, at) => {
    for (const prefix of set) {
      for (const length of lengths.filter((candidate) => candidate <= prefix.length)) {
        for (const { at: other } of holding.get(formatPrefix(prefixOf(prefix, length))) ?? []) {
          if (other !== at) pairs.add(Math.min(at, other) * groups.length + Math.max(at, other));
        }
      }
    }
  });
  return [...pairs].map((pair) => [Math.floor(pair / groups.length), pair % groups.length]);
}

/** The lengths that prefixes have, the longest first. */
function lengthsOf(prefixes: readonly Prefix[]): number[] {
  return [...new Set(prefixes.map(({ length }) => length))].sort((one, other) => other - one);
}

function describeRelation(
  relation: SiteRelation['relation'],
  sites: readonly string[],
  others: readonly string[],
  set: readonly Prefix[],
): SiteRelation {
  const shared = set.map(formatPrefix);
  const texts = {
    equal: `${listed(sites)} have the same addresses: ${listed(shared)}.`,
    contains: `The addresses of ${listed(others)} are a part of those of ${listed(sites)}: ${listed(shared)}.`,
    partial: `${listed(sites)} and ${listed(others)} share a part of their addresses: ${listed(shared)}.`,
  };
  return { relation, sites, others, shared, text: texts[relation] };
}

function redundantPrefixes(declarations: readonly Declaration[]): RedundantPrefix[] {
  return [...Map.groupBy(declarations, ({ site }) => site).values()].flatMap((own) =>
    own.flatMap(({ site, prefix, text }, at) => {
      const outer = own.find(
        (other, otherAt) =>
          otherAt !== at &&
          prefixContainsPrefix(other.prefix, prefix) &&
          // Of two that are equal, the second is too much.
          (other.prefix.length < prefix.length || otherAt < at),
      );
      if (outer === undefined) return [];
      const words = `${site} declares ${text} though it declares ${outer.text}, which has it already.`;
      return [{ site, prefix: text, within: outer.text, text: words }];
    }),
  );
}

function overriddenPrefixes(config: AuditedConfig, declarations: readonly Declaration[]): Overridden[] {
  return config.routes.flatMap(({ prefix, via }) => {
    const route = knownPrefix(prefix);
    const declaring = declarations.filter((declaration) => prefixContainsPrefix(declaration.prefix, route));
    // Where several sites declare it a route names one of them: that is an overlap's answer.
    const [only] = declaring;
    if (only === undefined || new Set(declaring.map(({ site }) => site)).size > 1 || only.site === via)
      return [];
    const text = `The route ${prefix} leads addresses of ${only.site} (${only.text}) to ${via}.`;
    return [{ site: only.site, prefix: only.text, route: prefix, via, text }];
  });
}

/** `a, b and c`; of many, the first few. */
function listed(names: readonly string[]): string {
  const shown = names.length > MAX_NAMES ? names.slice(0, MAX_NAMES - 1) : names;
  const parts = names.length > shown.length ? [...shown, `${names.length - shown.length} more`] : [...shown];
  if (parts.length < 2) return parts.join('');
  return `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`;
}
