/**
 * The options compiled for one topology: what is asked for every new flow, in numbers and typed arrays.
 *
 * Made as a whole beside the one in force, and put into its place as a whole. Neighbours: `firewall.ts` (asks it).
 */
import {
  PluginOptionsError,
  type PluginTopology,
  VERDICT_CONTINUE,
  VERDICT_DROP,
  VERDICT_REJECT,
} from '../../src/plugin/contract.ts';
import { Classifier, RuleTooComplex } from './classifier.ts';
import { type AddressValues, addressTest, type Condition, MINUTE_OF_WEEK, SOURCE } from './condition.ts';
import { identityHash, limitKeyNumber } from './limit-keys.ts';
import type { Limit } from './limit-options.ts';
import type { PacketValues } from './packet-values.ts';
import type { FirewallOptions, Rule, Verdict } from './rules.ts';
import { SetMembership } from './value-sets.ts';
import { mergeAddresses, readAddresses } from './values.ts';

/** What `verdictOf` says of rules that leave the verdict to those behind them. */
export const NO_VERDICT = -1;

/**
 * A rule that accepts only takes nothing away from other plugins: `accept` in the sense of the contract would end their
 * say, too.
 */
const VERDICT_NUMBERS: Readonly<Record<Verdict, number>> = {
  accept: VERDICT_CONTINUE,
  drop: VERDICT_DROP,
  reject: VERDICT_REJECT,
};

/** A limit with what is needed to apply it. */
export interface CompiledLimit extends Limit {
  /** {@link Limit.per} as a number. */
  readonly key: number;
  /** The rule's part of keys. */
  readonly rule: number;
  readonly exceededVerdict: number;
  /** Reasons, as `rules[3] "web": more than 20 new flows in 1 s per source`. */
  readonly rateReason: string;
  readonly concurrentReason: string;
}

export class Policy {
  readonly rules: readonly Rule[];
  readonly classifier: Classifier;
  /** By place in `rules`: a `VERDICT_...` or {@link NO_VERDICT}. */
  readonly verdictOf: Int8Array;
  /** By place in `rules`: 1 if a line is logged. */
  readonly logs: Uint8Array;
  readonly limits: readonly (CompiledLimit | undefined)[];
  /** By place in `rules`, as a reason. */
  readonly labels: readonly string[];
  /** Flows that matched, by place in `rules`. */
  readonly matches: Float64Array;
  readonly dropInvalid: boolean;
  readonly usesTime: boolean;
  readonly timeZone: string;
  readonly countsConcurrent: boolean;
  /** Files that the sets were read from. */
  readonly files: readonly string[];
  private readonly defaults: Int8Array;
  private readonly defaultReasons: readonly string[];
  /** By port: set of `prefixes`, -1 where any source may come from. */
  private readonly prefixesOf: Int32Array;
  private readonly prefixes: SetMembership;
  private readonly packet: PacketValues;

  /**
   * Compiles options that have been checked, for packets that are read into `packet`.
   *
   * @throws PluginOptionsError for a rule that is too complex
   */
  constructor(options: FirewallOptions, topology: PluginTopology, packet: PacketValues) {
    const { rules } = options;
    this.packet = packet;
    this.rules = rules;
    this.classifier = compiled(rules, packet);
    this.verdictOf = Int8Array.from(rules, ({ action }) =>
      action === 'log' || action === 'count' ? NO_VERDICT : VERDICT_NUMBERS[action],
    );
    this.logs = Uint8Array.from(rules, ({ log }) => (log ? 1 : 0));
    this.limits = rules.map(compiledLimit);
    this.labels = rules.map(({ label }) => label);
    this.matches = new Float64Array(rules.length);
    this.dropInvalid = options.dropInvalid;
    this.usesTime = rules.some(({ condition }) => asksForTime(condition));
    this.timeZone = options.timeZone;
    this.countsConcurrent = rules.some(({ limit }) => limit?.concurrent !== undefined);
    this.files = options.files;
    const size = topology.ports.reduce((most, { index }) => Math.max(most, index), 0) + 1;
    this.defaults = new Int8Array(size).fill(VERDICT_NUMBERS[options.default]);
    const reasons: string[] = new Array(size).fill(`default: ${options.default}`);
    this.prefixesOf = new Int32Array(size).fill(-1);
    const declared: AddressValues[] = [];
    for (const { index, name, kind, space } of topology.ports) {
      if (kind !== 'tunnel') continue;
      const policy = options.tunnels.get(name);
      if (policy !== undefined) {
        this.defaults[index] = VERDICT_NUMBERS[policy.default];
        reasons[index] = `default of ${name}: ${policy.default}`;
      }
      const prefixes = topology.spaces.find(({ id }) => id === space)?.prefixes ?? [];
      // A site that declares nothing has no address of which it could be said that it is not its own.
      if (!(policy?.antiSpoofing ?? options.antiSpoofing) || prefixes.length === 0) continue;
      this.prefixesOf[index] = declared.length;
      declared.push(mergeAddresses(prefixes.map((prefix) => readAddresses(prefix, 0, undefined, 0))));
    }
    this.defaultReasons = reasons;
    this.prefixes = new SetMembership(
      SOURCE,
      declared.map((values) => addressTest(SOURCE, values)),
    );
  }

  /** The verdict where no rule has one, by the port that the flow comes in by. */
  defaultVerdict(ingressPort: number): number {
    return this.defaults[ingressPort] ?? VERDICT_DROP;
  }

  defaultReason(ingressPort: number): string {
    return this.defaultReasons[ingressPort] ?? 'default: drop';
  }

  /** Whether the packet's source is none that its site declares. */
  isSpoofed(ingressPort: number): boolean {
    const set = this.prefixesOf[ingressPort] ?? -1;
    return set >= 0 && !this.prefixes.has(set, this.packet);
  }

  /** Goes on counting what rules of another policy have counted: those of the same identity, in their order. */
  takeOver({ rules, matches }: Policy): void {
    const before = new Map<string, number[]>();
    rules.forEach(({ identity }, index) => {
      const places = before.get(identity);
      if (places === undefined) before.set(identity, [index]);
      else places.push(index);
    });
    this.rules.forEach(({ identity }, index) => {
      const place = before.get(identity)?.shift();
      if (place !== undefined) this.matches[index] = matches[place]!;
    });
  }
}

function compiled(rules: readonly Rule[], packet: PacketValues): Classifier {
  try {
    return new Classifier(
      rules.map(({ condition }) => condition),
      packet,
    );
  } catch (error) {
    if (!(error instanceof RuleTooComplex)) throw error;
    throw new PluginOptionsError(`rules[${rules[error.rule]!.index}].match`, error.message);
  }
}

function compiledLimit({ limit, label, identity }: Rule): CompiledLimit | undefined {
  if (limit === undefined) return undefined;
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
