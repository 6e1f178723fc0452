/**
 * The limit of a rule: `limit: { new_flows: 20/s, burst: 40, concurrent: 100, per: source, exceeded: reject }`.
 *
 * It belongs to a rule that accepts: what it lets through is bounded, and what is beyond the bound is refused.
 * Neighbours: `rate-limits.ts`, `concurrent-limits.ts`.
 */
import { Mapping, type Problems } from './options-check.ts';

/** Whose flows are counted together. `site` is the sender's; an egress counts as one. */
export const LIMIT_KEYS = ['rule', 'source', 'destination', 'tunnel', 'site'] as const;
export type LimitKey = (typeof LIMIT_KEYS)[number];

export interface Rate {
  /** New flows ... */
  readonly flows: number;
  /** ... in so many milliseconds. */
  readonly perMs: number;
  /** Most that may come at once. */
  readonly burst: number;
}

export interface Limit {
  readonly per: LimitKey;
  readonly rate: Rate | undefined;
  /** Most flows that live at the same time. */
  readonly concurrent: number | undefined;
  readonly exceeded: 'drop' | 'reject';
}

const PERIODS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 };
const MAX_RATE = 1_000_000;
/** Levels are int32: `burst` flows at `perMs` each, and what is earned beside them. */
const MAX_LEVEL = 2 ** 30;
const MAX_CONCURRENT = 100_000_000;

/** Reads a limit; undefined if it is wrong, which `problems` has then. */
export function readLimit(
  value: unknown,
  path: string,
  action: string,
  problems: Problems,
): Limit | undefined {
  const before = problems.count;
  if (action !== 'accept') {
    problems.add(path, `a limit belongs to a rule that accepts, not to "${action}"`);
  }
  const mapping = new Mapping(value, path, ['new_flows', 'burst', 'concurrent', 'per', 'exceeded'], problems);
  const concurrent = mapping.whole('concurrent', 1, MAX_CONCURRENT);
  const rate = readRate(mapping, problems);
  if (!mapping.has('new_flows') && !mapping.has('concurrent')) {
    problems.add(path, 'it limits nothing: "new_flows" or "concurrent" is missing');
  }
  const per = mapping.choice('per', LIMIT_KEYS, 'rule');
  const exceeded = mapping.choice('exceeded', ['drop', 'reject'], 'drop');
  return problems.count === before ? { per, rate, concurrent, exceeded } : undefined;
}

function readRate(mapping: Mapping, problems: Problems): Rate | undefined {
  const text = mapping.text('new_flows');
  if (text === undefined) {
    if (mapping.has('burst') && !mapping.has('new_flows')) {
      problems.add(mapping.at('burst'), 'a burst belongs to "new_flows"');
    }
    return undefined;
  }
  const match = /^(\d+)\/([smh])$/.exec(text);
  const flows = Number(match?.[1]);
  if (match === null || flows < 1 || flows > MAX_RATE) {
    problems.add(
      mapping.at('new_flows'),
      `"${text}" stands where a rate from 1 to ${MAX_RATE} should, as 20/s, 20/m or 20/h`,
    );
    return undefined;
  }
  const perMs = PERIODS[match[2]!]!;
  const most = Math.floor(MAX_LEVEL / perMs);
  // By default a second's worth, and one flow at least.
  const usual = Math.min(most, Math.max(1, Math.ceil((flows * 1000) / perMs)));
  return { flows, perMs, burst: mapping.whole('burst', 1, most) ?? usual };
}
