/**
 * The firewall: judges every new flow by ordered rules, the first match wins. See docs/firewall.md.
 *
 * ```
 *  new flow ─► possible at all? ─► a source of its site? ─► rules ──┬─► accept, within the limit? ─► continue
 *                   │ no                │ no               log,     ├─► drop, reject
 *                   ▼                   ▼                  count go └─► none: the default of the tunnel
 *                  drop                drop                on
 * ```
 *
 * Replies and later packets follow the flow; nothing is asked for them here. The data half is in this file; what rules
 * are is in `rules.ts`, how they are looked up in `classifier.ts`.
 */
import {
  type DataHalf,
  type DataHalfFactory,
  type FlowHandle,
  type FlowSetup,
  type Json,
  type PluginConfiguration,
  type PluginEnvironment,
  PluginQueryError,
  type PluginTopology,
  VERDICT_CONTINUE,
  VERDICT_DROP,
  VERDICT_REJECT,
} from '../../src/plugin/contract.ts';
import type { PacketView } from '../../src/wire/packet.ts';
import {
  assumeBeginning,
  BEGINNING_WORDS,
  possibleBeginnings,
  recallBeginning,
  rememberBeginning,
} from './beginnings.ts';
import { ConcurrentLimits, type ConcurrentState } from './concurrent-limits.ts';
import { FlowLog } from './flow-log.ts';
import { invalidReason } from './invalid-packets.ts';
import { isManyfold, LimitKeyHash } from './limit-keys.ts';
import { PacketValues } from './packet-values.ts';
import { type CompiledLimit, NO_VERDICT, Policy } from './policy.ts';
import { preparedPolicy } from './prepare.ts';
import { RateLimits } from './rate-limits.ts';
import { type TestParameters, testPacket } from './test-packet.ts';
import { BEFORE_RULES, BY_DEFAULT, type RulesParameters, rulesView, testView } from './views.ts';
import { WeekClock } from './week-clock.ts';

/** Words of a flow's state: the key of its count, the epoch of that, and how it began. The manifest asks for as many. */
const STATE_LOW = 0;
const STATE_HIGH = 1;
const STATE_EPOCH = 2;
const STATE_BEGINNING = 3;
/** All of them, bytes. */
export const FLOW_STATE_BYTES = 4 * (STATE_BEGINNING + BEGINNING_WORDS);

/** Buckets of rates by source or destination: four in each place. */
const MANYFOLD_PLACES = 16_384;
/** Of rates by rule, tunnel or site. */
const OTHER_PLACES = 1024;

/** What a test replaces. */
export interface Surroundings {
  /** As `Date.now`. */
  wallClockMs(): number;
  /** Words that nobody outside knows. */
  random(words: number): Int32Array;
}

const SURROUNDINGS: Surroundings = {
  wallClockMs: Date.now,
  random: (words) => crypto.getRandomValues(new Int32Array(words)),
};

export class Firewall implements DataHalf {
  /** Undefined before the first configuration: everything is dropped. */
  policy: Policy | undefined = undefined;
  private readonly environment: PluginEnvironment;
  private readonly surroundings: Surroundings;
  private readonly values = new PacketValues();
  private log: FlowLog;
  private readonly keys: LimitKeyHash;
  private readonly seeds: Int32Array;
  private readonly manyfoldRates = new RateLimits(MANYFOLD_PLACES);
  private readonly otherRates = new RateLimits(OTHER_PLACES);
  private readonly concurrent: ConcurrentLimits;
  /** Why the last verdict was what it was. */
  private reason = '';
  /** And which rule said so, by its place; or `BY_DEFAULT`, or `BEFORE_RULES`. */
  private decider = BEFORE_RULES;
  private topology: PluginTopology | undefined = undefined;
  private clock: WeekClock | undefined = undefined;
  private readonly countAccepted: () => void;
  private readonly countDropped: () => void;
  private readonly countRejected: () => void;
  private readonly countInvalid: () => void;
  private readonly countSpoofed: () => void;
  private readonly countLimited: () => void;

  constructor(environment: PluginEnvironment, surroundings: Surroundings) {
    this.environment = environment;
    this.surroundings = surroundings;
    this.log = this.newLog(0);
    this.seeds = surroundings.random(4);
    this.keys = new LimitKeyHash(this.seeds);
    this.concurrent = new ConcurrentLimits(surroundings.random(1)[0]!);
    this.countAccepted = environment.counter('accepted');
    this.countDropped = environment.counter('dropped');
    this.countRejected = environment.counter('rejected');
    this.countInvalid = environment.counter('invalid');
    this.countSpoofed = environment.counter('spoofed');
    this.countLimited = environment.counter('limited');
  }

  configure(configuration: PluginConfiguration): () => void {
    const { topology } = configuration;
    const policy = new Policy(preparedPolicy(configuration), this.values);
    const clock = policy.usesTime ? new WeekClock(policy.timeZone, this.surroundings.wallClockMs) : undefined;
    return () => {
      if (this.policy !== undefined) policy.rules.goOnWith(this.policy.rules.counts());
      if (policy.countsConcurrent) this.concurrent.reserve(topology.maxFlows);
      this.policy = policy;
      this.topology = topology;
      this.clock = clock;
      this.log = this.newLog(policy.rules.length);
    };
  }

  private newLog(rules: number): FlowLog {
    return new FlowLog(rules, (text, topic) => this.environment.log('info', text, topic));
  }

  flowSetup(view: PacketView, flow: FlowSetup): number {
    const { clock } = this;
    return this.verdict(view, flow, clock === undefined ? 0 : clock.minuteOfWeek(flow.nowMs));
  }

  private verdict(view: PacketView, flow: FlowSetup, minuteOfWeek: number): number {
    const { policy } = this;
    if (policy === undefined) return VERDICT_DROP;
    // Nothing that is only asked, and nothing that was let in before, is counted.
    const counts = !flow.hypothetical && !flow.reevaluated;
    const { values } = this;
    values.read(view, flow, minuteOfWeek);
    const isKnown = this.beginning(flow);
    this.decider = BEFORE_RULES;
    if (policy.dropInvalid) {
      const invalid = invalidReason(values);
      if (invalid !== '') {
        if (counts) this.countInvalid();
        return this.answer(VERDICT_DROP, invalid, counts);
      }
    }
    if (policy.isSpoofed(flow.ingressPort)) {
      if (counts) this.countSpoofed();
      return this.answer(VERDICT_DROP, 'the source is outside the prefixes of its site', counts);
    }
    return isKnown ? this.judge(policy, view, flow, counts) : this.judgeUnknown(policy, flow);
  }

  /** Remembers how a flow begins, or recalls how one has begun. False if nobody knows that any more. */
  private beginning({ hypothetical, reevaluated, state, stateAt }: FlowSetup): boolean {
    if (reevaluated) return recallBeginning(this.values, state, stateAt + STATE_BEGINNING);
    if (!hypothetical) rememberBeginning(this.values, state, stateAt + STATE_BEGINNING);
    return true;
  }

  private judge(policy: Policy, view: PacketView, flow: FlowSetup, counts: boolean): number {
    const { classifier, verdictOf, rules } = policy;
    const { logs, matches } = rules;
    classifier.begin();
    for (let rule = classifier.next(); rule >= 0; rule = classifier.next()) {
      if (counts) {
        matches[rule]!++;
        if (logs[rule] !== 0) this.log.write(rule, rules.at(rule), view, flow);
      }
      const verdict = verdictOf[rule]!;
      if (verdict === NO_VERDICT) continue;
      this.decider = rule;
      const limit = policy.limits[rule];
      if (limit !== undefined && !flow.reevaluated) {
        const exceeded = this.exceeds(limit, policy.generations, view, flow, counts);
        if (exceeded !== '') {
          if (counts) this.countLimited();
          return this.answer(limit.exceededVerdict, exceeded, counts);
        }
      }
      return this.answer(verdict, rules.label(rule), counts);
    }
    this.decider = BY_DEFAULT;
    const { ingressPort } = flow;
    return this.answer(policy.defaultVerdict(ingressPort), policy.defaultReason(ingressPort), counts);
  }

  /**
   * Judges a live flow of whose first packet only addresses, ports and protocol are known: it stays if it would be accepted
   * whatever the rest was.
   */
  private judgeUnknown(policy: Policy, { ingressPort }: FlowSetup): number {
    const { values } = this;
    for (const beginning of possibleBeginnings(values, policy.dropInvalid)) {
      assumeBeginning(values, beginning);
      const refusal = policy.possibleRefusal(ingressPort);
      if (refusal !== '') return this.answer(VERDICT_DROP, refusal, false);
    }
    return this.answer(VERDICT_CONTINUE, 'accepted, however it began', false);
  }

  /** Why a flow is beyond a limit; empty if it is not, and then it is charged. */
  private exceeds(
    limit: CompiledLimit,
    generations: Int32Array,
    view: PacketView,
    flow: FlowSetup,
    counts: boolean,
  ): string {
    const { keys } = this;
    keys.of(limit.rule, limit.key, view, flow, generations);
    const { low, high } = keys;
    if (limit.concurrent !== undefined) {
      const living = this.concurrent.count(low, high);
      if (living < 0 || living >= limit.concurrent) return limit.concurrentReason;
    }
    if (limit.rate !== undefined) {
      const rates = isManyfold(limit.key) ? this.manyfoldRates : this.otherRates;
      if (!rates.take(low, high, limit.rate, flow.nowMs, counts)) return limit.rateReason;
    }
    if (limit.concurrent !== undefined && counts) {
      // Counted by `flowStart`: something behind this may still refuse the flow.
      const { state, stateAt } = flow;
      state[stateAt + STATE_LOW] = low;
      state[stateAt + STATE_HIGH] = high;
      state[stateAt + STATE_EPOCH] = this.concurrent.epoch;
    }
    return '';
  }

  private answer(verdict: number, reason: string, counts: boolean): number {
    this.reason = reason;
    this.environment.reason(reason);
    if (!counts) return verdict;
    if (verdict === VERDICT_CONTINUE) this.countAccepted();
    else if (verdict === VERDICT_REJECT) this.countRejected();
    else this.countDropped();
    return verdict;
  }

  flowStart(_view: PacketView, { state, stateAt }: FlowHandle): void {
    const high = state[stateAt + STATE_HIGH]!;
    if (high !== 0) this.concurrent.add(state[stateAt + STATE_LOW]!, high, 1);
  }

  flowEnd({ state, stateAt }: FlowHandle): void {
    const high = state[stateAt + STATE_HIGH]!;
    if (high === 0 || state[stateAt + STATE_EPOCH] !== this.concurrent.epoch) return;
    this.concurrent.remove(state[stateAt + STATE_LOW]!, high);
  }

  query(view: string, parameters: Json): Json {
    const { policy, topology } = this;
    if (policy === undefined || topology === undefined)
      throw new PluginQueryError('it is not configured yet');
    if (view === 'rules') return rulesView(policy, parameters as unknown as RulesParameters);
    if (view !== 'test') throw new PluginQueryError(`there is no view "${view}"`);
    const packet = testPacket(parameters as unknown as TestParameters, topology, this.environment.nowMs());
    const { flow } = packet;
    const minuteOfWeek = packet.minuteOfWeek ?? this.clock?.minuteOfWeek(flow.nowMs) ?? 0;
    const verdict = this.verdict(packet.view, flow, minuteOfWeek);
    return testView(policy, packet, verdict, this.reason, this.decider);
  }

  exportState(): Json {
    return {
      matches: this.policy?.rules.counts() ?? [],
      seeds: [...this.seeds],
      concurrent: { ...this.concurrent.export() },
    };
  }

  importState(state: Json, _version: string, keepsFlowState: boolean): void {
    const { matches, seeds, concurrent } = state as unknown as {
      matches: [number, number][];
      seeds: number[];
      concurrent: ConcurrentState;
    };
    this.seeds.set(seeds);
    // Flows that no longer know where they are counted would never be counted down.
    if (keepsFlowState) this.concurrent.import(concurrent);
    this.policy?.rules.goOnWith(matches);
  }
}

export const createDataHalf: DataHalfFactory = (environment) => new Firewall(environment, SURROUNDINGS);
