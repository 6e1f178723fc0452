/**
 * The options of the firewall, checked: rules in their order, defaults, limits. See docs/firewall.md.
 *
 * ```
 *  default: drop                     what becomes of flows that no rule decides
 *  anti_spoofing: true               drop sources outside the prefixes of their site
 *  drop_invalid: true                drop what no honest sender sends
 *  time_zone: Europe/Paris           for `time` and `weekday`; UTC
 *  tunnels: { paris-gre: { default: accept, anti_spoofing: false } }
 *  sets: { servers: { prefixes: [...] }, listed: { file: ... }, web: { ports: [80, 443] } }
 *  rules: [ { name, match, action, log, limit, enabled } ]
 * ```
 */
import type { PluginTopology } from '../../src/plugin/contract.ts';
import { ALWAYS, type Condition } from './condition.ts';
import { type Limit, readLimit } from './limit-options.ts';
import { matchFields } from './match-fields.ts';
import { Names } from './names.ts';
import { isRecord, Mapping, type Problems } from './options-check.ts';
import { parseExpression } from './parse-expression.ts';
import { type ReadFile, readSets } from './sets.ts';
import { didYouMean } from './tokens.ts';

export const VERDICTS = ['accept', 'drop', 'reject'] as const;
export type Verdict = (typeof VERDICTS)[number];

/** `log` and `count` leave the verdict to the rules behind them. */
export const ACTIONS = [...VERDICTS, 'log', 'count'] as const;
export type Action = (typeof ACTIONS)[number];

/** More could not be told apart in the classifier's memory. */
export const MAX_RULES = 20_000;

export interface Rule {
  /** Place in the list of the options, from 0. */
  readonly index: number;
  readonly name: string | undefined;
  /** How messages name it: `rules[3] "web"`. */
  readonly label: string;
  /** What it is recognized by in other options: its name, or else all of it. */
  readonly identity: string;
  readonly condition: Condition;
  readonly action: Action;
  /** Whether a line is logged when it matches, whatever its action is. */
  readonly log: boolean;
  readonly limit: Limit | undefined;
}

/** What holds for one tunnel. */
export interface TunnelPolicy {
  readonly default: Verdict;
  readonly antiSpoofing: boolean;
}

export interface FirewallOptions {
  readonly default: Verdict;
  readonly antiSpoofing: boolean;
  readonly dropInvalid: boolean;
  readonly timeZone: string;
  /** By name of the tunnel; the others have what holds for all. */
  readonly tunnels: ReadonlyMap<string, TunnelPolicy>;
  /** Those that are enabled. */
  readonly rules: readonly Rule[];
}

const KEYS = ['default', 'anti_spoofing', 'drop_invalid', 'time_zone', 'tunnels', 'sets', 'rules'];
const RULE_KEYS = ['name', 'match', 'action', 'log', 'limit', 'enabled'];

/**
 * Checks the options against the names of a topology; what is wrong is in `problems` afterwards, with paths as
 * `rules[3].match` and with columns where an expression is wrong. Then the answer means nothing.
 */
export function readOptions(
  options: unknown,
  topology: PluginTopology,
  problems: Problems,
  readFile?: ReadFile,
): FirewallOptions {
  const mapping = new Mapping(options ?? {}, '', KEYS, problems);
  if (!mapping.has('default')) {
    problems.add('default', 'it is missing: accept, drop or reject, for flows that no rule decides about');
  }
  const verdict = mapping.choice('default', VERDICTS, 'drop');
  const antiSpoofing = mapping.boolean('anti_spoofing', true);
  const names = new Names(topology, readSets(mapping, problems, readFile));
  const list = mapping.list('rules');
  if (list.length > MAX_RULES) {
    problems.add('rules', `${list.length} rules; there may be ${MAX_RULES}`);
  }
  const rules = list.slice(0, MAX_RULES).flatMap((value, index) => {
    const rule = readRule(value, index, names, problems);
    return rule === undefined ? [] : [rule];
  });
  refuseEqualNames(rules, problems);
  return {
    default: verdict,
    antiSpoofing,
    dropInvalid: mapping.boolean('drop_invalid', true),
    timeZone: timeZone(mapping, problems),
    tunnels: tunnelPolicies(mapping, names, { default: verdict, antiSpoofing }, problems),
    rules,
  };
}

function readRule(value: unknown, index: number, names: Names, problems: Problems): Rule | undefined {
  const path = `rules[${index}]`;
  const mapping = new Mapping(value, path, RULE_KEYS, problems);
  const name = mapping.text('name');
  if (!mapping.has('action')) problems.add(`${path}.action`, `it is missing: one of ${ACTIONS.join(', ')}`);
  const action = mapping.choice('action', ACTIONS, 'drop');
  const condition = readMatch(mapping.get('match'), `${path}.match`, names, problems);
  const limit = mapping.has('limit')
    ? readLimit(mapping.get('limit'), `${path}.limit`, action, problems)
    : undefined;
  const log = mapping.boolean('log', false) || action === 'log';
  if (!mapping.boolean('enabled', true) || condition === undefined) return undefined;
  return {
    index,
    name,
    label: ruleLabel(index, name),
    identity: name === undefined ? JSON.stringify(value) : `"${name}"`,
    condition,
    action,
    log,
    limit,
  };
}

/** How messages name a rule: `rules[3] "web"`. */
export function ruleLabel(index: number, name: string | undefined): string {
  return name === undefined ? `rules[${index}]` : `rules[${index}] "${name}"`;
}

function readMatch(match: unknown, path: string, names: Names, problems: Problems): Condition | undefined {
  if (match === undefined) return ALWAYS;
  if (typeof match === 'string') return problems.attempt(path, () => parseExpression(match, names));
  if (isRecord(match)) return matchFields(match, path, names, problems);
  problems.add(path, 'an expression or a mapping of fields should stand here');
  return undefined;
}

/** Counters and limits go on under a rule's name when rules change. */
function refuseEqualNames(rules: readonly Rule[], problems: Problems): void {
  const seen = new Map<string, number>();
  for (const { name, index } of rules) {
    if (name === undefined) continue;
    const first = seen.get(name);
    if (first === undefined) seen.set(name, index);
    else problems.add(`rules[${index}].name`, `rules[${first}] is called "${name}", too`);
  }
}

function timeZone(mapping: Mapping, problems: Problems): string {
  const zone = mapping.text('time_zone') ?? 'UTC';
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
  } catch {
    problems.add('time_zone', `"${zone}" is no time zone; one is "Europe/Paris"`);
  }
  return zone;
}

function tunnelPolicies(
  mapping: Mapping,
  names: Names,
  otherwise: TunnelPolicy,
  problems: Problems,
): ReadonlyMap<string, TunnelPolicy> {
  const policies = new Map<string, TunnelPolicy>();
  for (const [name, value] of mapping.entries('tunnels')) {
    const path = `tunnels.${name}`;
    if (!names.tunnels.has(name)) {
      problems.add(path, `there is no tunnel "${name}"${didYouMean(name, names.tunnels.keys())}`);
    }
    const policy = new Mapping(value, path, ['default', 'anti_spoofing'], problems);
    policies.set(name, {
      default: policy.choice('default', VERDICTS, otherwise.default),
      antiSpoofing: policy.boolean('anti_spoofing', otherwise.antiSpoofing),
    });
  }
  return policies;
}
