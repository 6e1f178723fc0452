/**
 * The routing table for operators: what is in it, and where an address leads.
 *
 * Entries are the sites' declared prefixes and the configured routes; whether they are used is asked of the table
 * that forwards (`pipeline/routing-table.ts`), made of the same plan. Where an address leads from a tunnel, and by
 * which port, is asked of the data plane, which knows what is up. Neighbours: `gateway.ts` owns one;
 * `audit/` (what overlaps).
 */
import type { Explanation, Question } from '../../pipeline/explain/explanation.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { RoutingTable } from '../../pipeline/routing-table.ts';
import { DROP } from '../../plugin/drop-reasons.ts';
import type { Prefix } from '../../wire/address.ts';
import { comparePrefixes, uncovered } from '../audit/address-sets.ts';
import { knownPrefix } from '../config/ip.ts';
import { addressOf } from '../flows/explain-query.ts';
import { portNamed } from '../flows/flow-query.ts';
import { RequestError } from '../request-error.ts';

/** Parts of a prefix that are looked up to find out whether an entry is used. */
const MAX_SAMPLES = 64;

export interface RouteEntry {
  readonly prefix: string;
  /** The site or egress that it leads to. */
  readonly via: string;
  /** `declared`: one of the site's own prefixes; `route`: configured. */
  readonly kind: 'declared' | 'route';
  /** Of a configured route; lower is preferred. */
  readonly priority: number | null;
  /** Ports that lead there, the preferred first. */
  readonly ports: readonly string[];
  /**
   * For a sender that declares none of it: `active`: what no longer prefix has goes there; `ambiguous`: it is dropped,
   * for several sites declare it; `unused`: other entries are preferred.
   */
  readonly state: 'active' | 'ambiguous' | 'unused';
}

/** What the service needs of the gateway. */
export interface RouteSource {
  plan(): Plan | undefined;
  /** Asks the data plane. Rejects if there is none. */
  explain(question: Question): Promise<Explanation | null>;
}

interface Entry extends Omit<RouteEntry, 'state' | 'ports'> {
  readonly parsed: Prefix;
  readonly space: number;
}

export class RouteService {
  readonly #source: RouteSource;

  constructor(source: RouteSource) {
    this.#source = source;
  }

  /** Every entry of the table, by address. @throws RequestError before there is a plan */
  async list(): Promise<readonly RouteEntry[]> {
    return routeEntries(this.#plan());
  }

  /**
   * Where an address leads: for a flow that comes in by the tunnel `from`, or for anybody who does not declare it.
   *
   * @throws RequestError if it is no address, or there is no such tunnel; DataPlaneGoneError
   */
  async test(address: string, from: string | undefined): Promise<Explanation> {
    const plan = this.#plan();
    addressOf(address);
    const port = from === undefined ? {} : { port: portNamed(plan, from).index };
    const explanation = await this.#source.explain({ kind: 'route', address, ...port });
    if (explanation !== null) return explanation;
    throw new RequestError('unavailable', 'plan_changing', 'the data plane has another plan now; try again');
  }

  #plan(): Plan {
    const plan = this.#source.plan();
    if (plan !== undefined) return plan;
    throw new RequestError('unavailable', 'no_plan', 'there is no plan yet; try again');
  }
}

/** The entries of a plan's routing table. */
export function routeEntries(plan: Plan): RouteEntry[] {
  const names = new Map(plan.spaces.map(({ id, name }) => [id, name]));
  const entries: Entry[] = [
    ...plan.spaces.flatMap(({ id, name, prefixes }) =>
      prefixes.map(
        (prefix): Entry => ({
          prefix,
          via: name,
          kind: 'declared',
          priority: null,
          parsed: knownPrefix(prefix),
          space: id,
        }),
      ),
    ),
    ...plan.routes.map(
      ({ prefix, via, priority }): Entry => ({
        prefix,
        via: names.get(via) ?? '?',
        kind: 'route',
        priority,
        parsed: knownPrefix(prefix),
        space: via,
      }),
    ),
  ];
  const table = new RoutingTable(plan);
  const borders = entries.map(({ parsed }) => parsed);
  // Of several routes for one prefix the table holds the best.
  const best = new Map<string, number>();
  for (const { prefix, priority } of plan.routes) {
    best.set(prefix, Math.min(priority, best.get(prefix) ?? priority));
  }
  return entries
    .sort(
      (one, other) =>
        comparePrefixes(one.parsed, other.parsed) || (one.priority ?? 0) - (other.priority ?? 0),
    )
    .map((entry): RouteEntry => {
      const { prefix, via, kind, priority } = entry;
      const isBackup = kind === 'route' && priority !== best.get(prefix);
      const state = isBackup ? 'unused' : stateOf(table, entry, borders);
      return { prefix, via, kind, priority, ports: portsOf(plan, entry.space), state };
    });
}

function portsOf(plan: Plan, space: number): string[] {
  const priority = (port: Plan['ports'][number]): number => (port.role === 'tunnel' ? port.priority : 0);
  return plan.ports
    .filter((port) => port.space === space)
    .sort((one, other) => priority(one) - priority(other))
    .map(({ name }) => name);
}

function stateOf(
  table: RoutingTable,
  { parsed, space }: Entry,
  borders: readonly Prefix[],
): RouteEntry['state'] {
  // What a longer entry has, that entry speaks for.
  const own = uncovered(parsed, borders, MAX_SAMPLES);
  const answers = own.map(({ family, words }) => {
    const [word0, word1, word2, word3] = words as unknown as [number, number, number, number];
    const found = table.lookup(family, word0, word1, word2, word3, 0);
    return found === 0 ? -table.reason : found;
  });
  if (answers.includes(space)) return 'active';
  return answers.includes(-DROP.ambiguous_destination) ? 'ambiguous' : 'unused';
}
