/**
 * Compiles options for one topology.
 *
 * ```
 *  options, topology ─► rules.ts: read and checked ─► here ─► CompiledPolicy ─► policy.ts: asked for every new flow
 * ```
 *
 * What takes time is `compile-rules.ts`. Neighbours: `prepare.ts` (where that happens), `policy.ts`.
 */
import { createHash } from 'node:crypto';
import {
  type PluginConfiguration,
  PluginOptionsError,
  type PluginTopology,
  VERDICT_CONTINUE,
  VERDICT_DROP,
  VERDICT_REJECT,
} from '../../src/plugin/contract.ts';
import { UNKNOWN } from './beginnings.ts';
import { compileRules, type ExpandedRules, expandRules, RuleTooComplex } from './compile-rules.ts';
import {
  type AddressValues,
  addressTest,
  type Condition,
  MINUTE_OF_WEEK,
  SOURCE,
  type Test,
} from './condition.ts';
import { identityHash, limitKeyNumber } from './limit-keys.ts';
import type { Limit } from './limit-options.ts';
import { Problems } from './options-check.ts';
import { type CompiledLimit, type CompiledPolicy, NO_VERDICT } from './policy.ts';
import { ACTIONS, type FirewallOptions, type Rule, readOptions, type Verdict } from './rules.ts';
import { compileSets } from './value-sets.ts';
import { mergeAddresses, readAddresses } from './values.ts';

/**
 * A rule that accepts only takes nothing away from other plugins: `accept` in the sense of the contract would end their
 * say, too.
 */
const VERDICT_NUMBERS: Readonly<Record<Verdict, number>> = {
  accept: VERDICT_CONTINUE,
  drop: VERDICT_DROP,
  reject: VERDICT_REJECT,
};

/**
 * Reads options and what files they name, and compiles them.
 *
 * @throws PluginOptionsError with all that is wrong
 */
export function compilePolicy({ options, topology }: PluginConfiguration): CompiledPolicy {
  const problems = new Problems();
  const read = readOptions(options, topology, problems);
  problems.throwIfAny();
  const { rules } = read;
  const expanded = expand(rules);
  return {
    rules: {
      indexes: Int32Array.from(rules, ({ index }) => index),
      names: rules.map(({ name }) => name ?? ''),
      actions: Uint8Array.from(rules, ({ action }) => ACTIONS.indexOf(action)),
      logs: Uint8Array.from(rules, ({ log }) => (log ? 1 : 0)),
      identities: Float64Array.from(rules, ({ identity }) => identityNumber(identity)),
    },
    classifier: compileRules(expanded),
    relaxed: relaxedRules(expanded),
    verdictOf: Int8Array.from(rules, ({ action }) =>
      action === 'log' || action === 'count' ? NO_VERDICT : VERDICT_NUMBERS[action],
    ),
    limits: new Map(
      rules.flatMap((rule, place) =>
        rule.limit === undefined ? [] : [[place, compiledLimit(rule, rule.limit)]],
      ),
    ),
    dropInvalid: read.dropInvalid,
    usesTime: rules.some(({ condition }) => asksForTime(condition)),
    timeZone: read.timeZone,
    ...portPolicies(read, topology),
  };
}

/** 48 bits: among 20,000 rules two have the same less than once in a million times, and would share a count then. */
function identityNumber(identity: string): number {
  return createHash('sha256').update(identity).digest().readUIntBE(0, 6);
}

/** What holds for single ports: defaults, and which sources may come from there. */
function portPolicies(
  options: FirewallOptions,
  topology: PluginTopology,
): Pick<CompiledPolicy, 'generations' | 'defaults' | 'defaultReasons' | 'prefixesOf' | 'prefixes'> {
  const size = topology.ports.reduce((most, { index }) => Math.max(most, index), 0) + 1;
  const generations = new Int32Array(size);
  const defaults = new Int8Array(size).fill(VERDICT_NUMBERS[options.default]);
  const defaultReasons: string[] = new Array(size).fill(`default: ${options.default}`);
  const prefixesOf = new Int32Array(size).fill(-1);
  const declared: AddressValues[] = [];
  for (const { index, generation, name, kind, space } of topology.ports) {
    generations[index] = generation;
    if (kind !== 'tunnel') continue;
    const policy = options.tunnels.get(name);
    if (policy !== undefined) {
      defaults[index] = VERDICT_NUMBERS[policy.default];
      defaultReasons[index] = `default of ${name}: ${policy.default}`;
    }
    const prefixes = topology.spaces.find(({ id }) => id === space)?.prefixes ?? [];
    // A site that declares nothing has no address of which it could be said that it is not its own.
    if (!(policy?.antiSpoofing ?? options.antiSpoofing) || prefixes.length === 0) continue;
    prefixesOf[index] = declared.length;
    declared.push(mergeAddresses(prefixes.map((prefix) => readAddresses(prefix, 0, undefined, 0))));
  }
  const prefixes = compileSets(
    SOURCE,
    declared.map((values) => addressTest(SOURCE, values)),
  );
  return { generations, defaults, defaultReasons, prefixesOf, prefixes };
}

function expand(rules: readonly Rule[]): ExpandedRules {
  try {
    return expandRules(rules.map(({ condition }) => condition));
  } catch (error) {
    if (!(error instanceof RuleTooComplex)) throw error;
    throw new PluginOptionsError(`rules[${rules[error.rule]!.index}].match`, error.message);
  }
}

/** See {@link CompiledPolicy.relaxed}. */
function relaxedRules({ boxes, ruleOf }: ExpandedRules): CompiledPolicy['relaxed'] {
  const isUnknown = ({ dimension }: Test): boolean => UNKNOWN.includes(dimension);
  const asking = new Set(ruleOf.filter((_, at) => boxes[at]!.some(isUnknown)));
  if (asking.size === 0) return undefined;
  const places = Int32Array.from(asking);
  const numbers = new Map([...places].map((place, number) => [place, number]));
  const chosen = boxes.flatMap((box, at) => {
    const rule = numbers.get(ruleOf[at]!);
    return rule === undefined ? [] : [{ box: box.filter((test) => !isUnknown(test)), rule }];
  });
  const classifier = compileRules({
    ruleCount: places.length,
    boxes: chosen.map(({ box }) => box),
    ruleOf: chosen.map(({ rule }) => rule),
  });
  return { classifier, places };
}

function compiledLimit({ label, identity }: Rule, limit: Limit): CompiledLimit {
  const whose = limit.per === 'rule' ? '' : ` per ${limit.per}`;
  const { rate, concurrent } = limit;
  const period = rate === undefined ? '' : `${rate.perMs / 1000} s`;
  return {
    ...limit,
    key: limitKeyNumber(limit.per),
    rule: identityHash(identity),
    exceededVerdict: VERDICT_NUMBERS[limit.exceeded],
    rateReason: `${label}: more than ${rate?.flows} new flows in ${period}${whose}`,
    concurrentReason: `${label}: more than ${concurrent} flows at the same time${whose}`,
  };
}

function asksForTime(condition: Condition): boolean {
  switch (condition.kind) {
    case 'and':
    case 'or':
      return condition.of.some(asksForTime);
    case 'not':
      return asksForTime(condition.of);
    default:
      return condition.dimension === MINUTE_OF_WEEK;
  }
}
