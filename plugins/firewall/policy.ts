/**
 * The options compiled for one topology: what is asked for every new flow, in numbers and typed arrays.
 *
 * Made as a whole beside the one in force, and put into its place as a whole. Neighbours: `compile-policy.ts` (compiles
 * it), `firewall.ts` (asks it).
 */
import { VERDICT_CONTINUE, VERDICT_DROP } from '../../src/plugin/contract.ts';
import { Classifier, type CompiledRules } from './classifier.ts';
import type { Limit } from './limit-options.ts';
import type { PacketValues } from './packet-values.ts';
import { type CompiledRuleList, RuleList } from './rule-list.ts';
import { type CompiledSets, SetMembership } from './set-membership.ts';

/** What `verdictOf` says of rules that leave the verdict to those behind them. */
export const NO_VERDICT = -1;

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

/** A policy as it was compiled: values that can be copied from process to process. */
export interface CompiledPolicy {
  readonly rules: CompiledRuleList;
  readonly classifier: CompiledRules;
  /**
   * The rules that ask for what nobody knows of flows whose beginning is not remembered, without that: those that match
   * here may match. Undefined if there are none.
   */
  readonly relaxed: { readonly classifier: CompiledRules; readonly places: Int32Array } | undefined;
  /** By place in `rules`: a `VERDICT_...` or {@link NO_VERDICT}. */
  readonly verdictOf: Int8Array;
  /** By place in `rules`. */
  readonly limits: ReadonlyMap<number, CompiledLimit>;
  readonly dropInvalid: boolean;
  readonly usesTime: boolean;
  readonly timeZone: string;
  /** By port: that of the tunnel or egress that it is now. */
  readonly generations: Int32Array;
  /** By port: verdict and reason where no rule has a verdict. */
  readonly defaults: Int8Array;
  readonly defaultReasons: readonly string[];
  /** By port: set of `prefixes`, -1 where any source may come from. */
  readonly prefixesOf: Int32Array;
  readonly prefixes: CompiledSets;
}

export class Policy {
  readonly rules: RuleList;
  readonly classifier: Classifier;
  /** See {@link CompiledPolicy.relaxed}. */
  private readonly relaxed: Classifier | undefined;
  /** Places in `rules` of its rules. */
  private readonly relaxedPlaces: Int32Array;
  /** By place in `rules`: a `VERDICT_...` or {@link NO_VERDICT}. */
  readonly verdictOf: Int8Array;
  readonly limits: readonly (CompiledLimit | undefined)[];
  readonly dropInvalid: boolean;
  readonly usesTime: boolean;
  readonly timeZone: string;
  readonly countsConcurrent: boolean;
  /** By port. */
  readonly generations: Int32Array;
  private readonly defaults: Int8Array;
  private readonly defaultReasons: readonly string[];
  private readonly prefixesOf: Int32Array;
  private readonly prefixes: SetMembership;
  private readonly packet: PacketValues;

  /** For packets that are read into `packet`. */
  constructor(compiled: CompiledPolicy, packet: PacketValues) {
    const { limits } = compiled;
    this.packet = packet;
    this.rules = new RuleList(compiled.rules);
    this.classifier = new Classifier(compiled.classifier, packet);
    this.relaxed =
      compiled.relaxed === undefined ? undefined : new Classifier(compiled.relaxed.classifier, packet);
    this.relaxedPlaces = compiled.relaxed?.places ?? new Int32Array(0);
    this.verdictOf = compiled.verdictOf;
    this.limits = Array.from({ length: this.rules.length }, (_, place) => limits.get(place));
    this.dropInvalid = compiled.dropInvalid;
    this.usesTime = compiled.usesTime;
    this.timeZone = compiled.timeZone;
    this.countsConcurrent = limits.values().some(({ concurrent }) => concurrent !== undefined);
    this.generations = compiled.generations;
    this.defaults = compiled.defaults;
    this.defaultReasons = compiled.defaultReasons;
    this.prefixesOf = compiled.prefixesOf;
    this.prefixes = new SetMembership(compiled.prefixes);
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

  /**
   * Why the packet may be refused, of which nobody knows the values of `UNKNOWN` (`beginnings.ts`): it is, or a rule that asks for
   * these comes first. Empty if it is accepted whatever they are. Not for new flows: takes its time.
   */
  possibleRefusal(ingressPort: number): string {
    const { relaxed, relaxedPlaces, verdictOf, rules } = this;
    const certain = this.firstCertain();
    const end = certain < 0 ? rules.length : certain;
    relaxed?.begin();
    for (let at = relaxed?.next() ?? -1; at >= 0; at = relaxed!.next()) {
      const place = relaxedPlaces[at]!;
      if (place > end) break;
      const verdict = verdictOf[place];
      if (verdict !== NO_VERDICT && verdict !== VERDICT_CONTINUE) {
        return `how it began is not known any more, and may be what ${rules.label(place)} refuses`;
      }
    }
    if (certain >= 0) return verdictOf[certain] === VERDICT_CONTINUE ? '' : rules.label(certain);
    return this.defaultVerdict(ingressPort) === VERDICT_CONTINUE ? '' : this.defaultReason(ingressPort);
  }

  /** The first rule that decides, and asks for nothing that is not known; -1 if there is none. */
  private firstCertain(): number {
    const { classifier, verdictOf, relaxedPlaces } = this;
    classifier.begin();
    for (let place = classifier.next(); place >= 0; place = classifier.next()) {
      if (verdictOf[place] !== NO_VERDICT && !relaxedPlaces.includes(place)) return place;
    }
    return -1;
  }
}
