/**
 * The plugin chain: runs the data halves of the configured plugins in their order.
 *
 * ```
 *  flowSetup of each plugin that is asked about flows of this port
 *    continue ──► next    accept ──► the routing plugins    drop, reject ──► no flow    hold ──► held-flows.ts
 *    divert ────► next; the flow will go to the plugin's proxy (diversions.ts)
 *    fails ─────► its policy for the cause: next, or no flow
 * ```
 *
 * Policy plugins judge; `accept` ends their part. Routing plugins always run. A failure is counted by its cause, and the
 * plugin's policy for that decides; a plugin that is tripped is not called, and its policy for exceptions stands for it.
 * Nothing in `src` knows a plugin by name: they are loaded by manifest (`dataplane/plugin-instances.ts`) and handed in here.
 *
 * A call may also end without returning or throwing: the watchdog has ended it. Then nothing in here goes on, and
 * {@link PluginChain.stalled} puts in order what it has left behind.
 */
import {
  type FlowStatistics,
  PACKET_DONE,
  PACKET_DROP,
  PACKET_DROP_FLOW,
  PACKET_MIDSTREAM,
  PACKET_PASS,
  PACKET_UNPARSABLE,
  RETURN_UNSET,
  VERDICT_ACCEPT,
  VERDICT_CONTINUE,
  VERDICT_DIVERT,
  VERDICT_DROP,
  VERDICT_HOLD,
  VERDICT_REJECT,
  VERDICT_UNPARSABLE,
} from '../plugin/contract.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import {
  ACTION_DROP_FLOW,
  ACTION_DROP_PACKET,
  ACTION_PASS_FLOW,
  ACTION_PASS_PACKET,
  ACTION_REJECT,
  CAUSE_EXCEPTION,
  CAUSE_MIDSTREAM,
  CAUSE_TIMEOUT,
  CAUSE_UNPARSABLE,
} from '../plugin/failure-numbers.ts';
import {
  HOOK_FLOW_END,
  HOOK_FLOW_SETUP,
  HOOK_FLOW_START,
  HOOK_INGRESS_CHANGED,
  HOOK_PACKET,
  hookName,
} from '../plugin/running-plugin.ts';
import { readThrown, type Thrown } from '../plugin/thrown.ts';
import type { PacketView } from '../wire/packet.ts';
import {
  type ChainPlan,
  type FlowDraft,
  type LiveFlow,
  type LoadedPlugin,
  type OnPluginFailure,
  PluginLink,
  type PluginVerdict,
} from './plugin-link.ts';
import type { PluginMeter } from './plugin-meter.ts';
import { PluginPlaces } from './plugin-places.ts';
import { StreamWishes } from './stream/stream-wishes.ts';

/** At most so many plugins: each has a bit in a flow's record. */
const MAX_PLUGINS = 16;

/** What `setUpFlow` answers for a flow that waits for a decision. */
export const HELD = -1;
/** How long a plugin's flows are held that does not say how long. */
const DEFAULT_HOLD_MS = 1000;

/** Answers of `inspect`; why, if it is not to pass, is in `reason`. */
export const INSPECT_PASS = 0;
export const INSPECT_DROP = -1;
/** Drop, and end the flow. */
export const INSPECT_END = -2;
/** The same, and tell the sender. */
export const INSPECT_REJECT = -3;

/** No verdict of the contract: what a plugin has answered that answers something else. */
const VERDICT_UNKNOWN = 99;

export class PluginChain {
  /** In the order in which they run. */
  readonly links: readonly PluginLink[];
  /** Names of the plugins, in their order: what the bits in a flow's record mean. */
  readonly names: readonly string[];
  private readonly onFailure: OnPluginFailure;
  readonly meter: PluginMeter;
  private readonly places: PluginPlaces;
  /** Links for which flows have anything beside their bits. */
  readonly keepers: readonly PluginLink[];
  /** After `setUpFlow`: bits of the plugins that want packets, and index + 1 of the one that decided. */
  wanted = 0;
  decider = 0;
  /** After `setUpFlow`: whether one of them wants packets as they were on the wire. */
  wantsWire = false;
  /** After `setUpFlow`: bits of the plugins that were asked. */
  asked = 0;
  /** After `setUpFlow`: the bytes that plugins want to read. */
  readonly streamWishes = new StreamWishes();
  /** Whether a plugin reads streams at all. */
  readonly readsStreams: boolean;
  /** Whether a plugin has accepted the flow. */
  accepted = false;
  /** After `setUpFlow`: the port of the diversion that a plugin has led the flow to, -1 for none. */
  divertedTo = -1;
  /** Whether a plugin wants to know of flows that begin. */
  readonly watchesStart: boolean;
  /** Whether the refusal of the last `setUpFlow` is to be told to the sender. */
  reject = false;
  /** After `inspect`: bits of the plugins that still want packets of this flow, and the drop reason. */
  still = 0;
  reason = 0;
  /** The time, by what was seen last; milliseconds since boot as int32. */
  nowMs = 0;
  /** The record of the flow that is judged anew, -1 for one that is not there yet. */
  private judgedRecord = -1;
  private observer: ((verdict: PluginVerdict) => void) | undefined = undefined;
  /** What plugins were told of last: the flow, the packet that has begun it, or what became of it. */
  private told: LiveFlow | undefined = undefined;
  private begun: PacketView | undefined = undefined;
  private statistics: FlowStatistics | undefined = undefined;

  /** `plugins` in the order in which they run: all policy plugins before all routing plugins. */
  constructor(
    plugins: readonly LoadedPlugin[],
    onFailure: OnPluginFailure,
    meter: PluginMeter,
    plan: ChainPlan = { capacity: 0, ports: [] },
  ) {
    if (plugins.length > MAX_PLUGINS) throw new RangeError(`more than ${MAX_PLUGINS} plugins`);
    this.links = plugins.map((plugin) => new PluginLink(plugin, plan.capacity));
    this.names = plugins.map(({ name }) => name);
    this.onFailure = onFailure;
    this.meter = meter;
    this.watchesStart = plugins.some(({ half }) => half.flowStart !== undefined);
    this.readsStreams = plugins.some(({ half }) => half.stream !== undefined);
    this.keepers = this.links.filter(
      (link) => link.watchesPackets || link.readsStreams || link.standing.stateWords > 0,
    );
    this.places = new PluginPlaces(plugins, plan.ports);
  }

  /**
   * Judges a new flow: 0, the reason for which it may not exist, or {@link HELD}: the last plugin asked (`decider`) holds
   * it. Fills `flow.returnRouting`.
   */
  setUpFlow(view: PacketView, flow: FlowDraft): number {
    this.begin(flow, -1);
    for (let i = 0; i < this.keepers.length; i++) {
      const { state, scratchAt } = this.keepers[i].standing;
      for (let word = scratchAt; word < state.length; word++) state[word] = 0;
    }
    return this.judgeFrom(0, view, flow);
  }

  /** Judges a live flow anew, as {@link setUpFlow} does a new one: `flow` says what its record has. */
  judgeAgain(view: PacketView, flow: FlowDraft, record: number): number {
    this.begin(flow, record);
    const judged = this.judgeFrom(0, view, flow);
    this.judgedRecord = -1;
    return judged;
  }

  /** Nothing is known yet of the flow in this record; -1: in none. */
  private begin(flow: FlowDraft, record: number): void {
    this.wanted = 0;
    this.wantsWire = false;
    this.decider = 0;
    this.asked = 0;
    this.accepted = false;
    this.divertedTo = -1;
    this.reject = false;
    this.nowMs = flow.nowMs;
    this.judgedRecord = record;
    this.streamWishes.clear();
    flow.returnRouting = RETURN_UNSET;
  }

  /** Goes on where {@link HELD} left off, or from what `plugin-recall.ts` has brought back, as if the plugin that holds the flow (`decider`) had answered `verdict`. */
  goOn(view: PacketView, flow: FlowDraft, verdict: number): number {
    const holder = this.decider - 1;
    this.decider = 0;
    const refused = this.settle(holder, verdict, flow);
    return refused === 0 ? this.judgeFrom(holder + 1, view, flow) : refused;
  }

  /** The same, as its policy for a failure has it; the failure (`CAUSE_...`) is counted, and trips nobody. */
  goOnFailed(view: PacketView, flow: FlowDraft, cause: number, what: string): number {
    const holder = this.decider - 1;
    const action = this.countFailure(holder, cause, what, false);
    if (action < ACTION_PASS_PACKET) return this.refuse(holder, action);
    if (action === ACTION_PASS_FLOW) {
      this.wanted &= ~(1 << holder);
      this.streamWishes.forget(holder);
    }
    this.decider = 0;
    return this.judgeFrom(holder + 1, view, flow);
  }

  private judgeFrom(from: number, view: PacketView, flow: FlowDraft): number {
    const enabled = this.places.enabled(flow);
    for (let i = from; i < this.links.length; i++) {
      const link = this.links[i];
      if ((enabled & (1 << i)) === 0 || (this.accepted && link.isPolicy)) {
        if (this.observer !== undefined) this.observe(link, this.accepted ? 'skipped' : 'elsewhere', flow);
        continue;
      }
      flow.wantsPackets = false;
      flow.wantsWirePackets = false;
      flow.streamOriginator = 0;
      flow.streamReply = 0;
      flow.diversion = 0;
      const verdict = this.ask(i, link, view, flow);
      if (verdict < 0) {
        const action = ~verdict;
        if (this.observer !== undefined)
          this.observe(link, link.standing.isTripped ? 'tripped' : 'failed', flow);
        if (action < ACTION_PASS_PACKET) return this.refuse(i, action);
        if (action === ACTION_PASS_FLOW) continue;
      } else if (this.observer !== undefined) {
        this.observe(link, verdict, flow);
      }
      if (flow.wantsPackets && link.watchesPackets) {
        this.wanted |= 1 << i;
        if (flow.wantsWirePackets) this.wantsWire = true;
      }
      if ((flow.streamOriginator !== 0 || flow.streamReply !== 0) && link.readsStreams)
        this.streamWishes.note(i, flow);
      if (verdict <= VERDICT_CONTINUE) continue;
      const refused = this.settle(i, verdict, flow);
      if (refused !== 0) return refused;
    }
    return flow.returnRouting === RETURN_UNSET ? DROP.no_pin : 0;
  }

  /** A plugin's verdict, or the complement of its action (`ACTION_...`) if it fails. */
  private ask(i: number, link: PluginLink, view: PacketView, flow: FlowDraft): number {
    const { standing } = link;
    if (standing.isTripped) return ~link.actions[CAUSE_EXCEPTION];
    flow.state = standing.state;
    flow.stateAt = this.judgedRecord < 0 ? standing.scratchAt : this.judgedRecord * standing.stateWords;
    flow.holdMs = DEFAULT_HOLD_MS;
    flow.holdDefault = VERDICT_DROP;
    this.asked |= 1 << i;
    let verdict: number;
    this.meter.begin(i, HOOK_FLOW_SETUP);
    try {
      verdict = link.half.flowSetup(view, flow);
    } catch (error) {
      const { cause, text } = readThrown(error);
      this.meter.end(i);
      return ~this.countFailure(i, cause, text, true);
    }
    this.meter.end(i);
    if (!flow.isSound()) return ~this.countFailure(i, CAUSE_EXCEPTION, UNSOUND, true);
    if (verdict === VERDICT_UNPARSABLE) return ~this.countFailure(i, CAUSE_UNPARSABLE, UNPARSABLE, false);
    return typeof verdict === 'number' && verdict >= 0 ? verdict : VERDICT_UNKNOWN;
  }

  /** What a verdict other than `continue` means: 0 to go on, or the refusal. */
  private settle(i: number, verdict: number, flow: FlowDraft): number {
    if (verdict === VERDICT_CONTINUE) return 0;
    this.decider = i + 1;
    switch (verdict) {
      case VERDICT_ACCEPT:
        this.accepted = true;
        return 0;
      case VERDICT_DROP:
        return DROP.policy;
      case VERDICT_REJECT:
        this.reject = true;
        return DROP.policy_reject;
      case VERDICT_DIVERT:
        return this.divert(i, flow);
      case VERDICT_HOLD:
        if (flow.reevaluated) return this.settle(i, decidedVerdict(flow.holdDefault), flow);
        return flow.hypothetical ? DROP.held : HELD;
      default:
        return DROP.verdict_unsupported;
    }
  }

  /** The first that diverts has the flow. 0 to go on, or the refusal. */
  private divert(i: number, flow: FlowDraft): number {
    const port = this.places.portOf(i, flow.diversion);
    if (port < 0) return DROP.verdict_unsupported;
    if (this.divertedTo < 0 && this.places.mayDivert(i, flow.ingressPort)) this.divertedTo = port;
    return 0;
  }

  private refuse(i: number, action: number): number {
    this.decider = i + 1;
    this.reject = action === ACTION_REJECT;
    return DROP.plugin_failed;
  }

  /**
   * While a flow is only asked about: `observer` gets what every plugin says of it, in their order. No call or failure
   * counts meanwhile.
   */
  watchVerdicts(observer: ((verdict: PluginVerdict) => void) | undefined): void {
    for (const { plugin } of this.links) plugin.reason = '';
    this.observer = observer;
    this.meter.counts = observer === undefined;
  }

  private observe(link: PluginLink, verdict: PluginVerdict['verdict'], flow: FlowDraft): void {
    const { name, reason = '' } = link.plugin;
    const wasAsked = verdict !== 'skipped' && verdict !== 'elsewhere';
    const wantsPackets = wasAsked && flow.wantsPackets && link.watchesPackets;
    this.observer?.({ plugin: name, verdict, reason, wantsPackets });
  }

  /** The bit of the plugin of this name, if it can look at packets, or -1. */
  inspectorAt(name: string): number {
    return this.links.findIndex((link) => link.name === name && link.watchesPackets);
  }

  /** The place of the plugin of this name, if it reads streams, or -1. */
  readerAt(name: string): number {
    return this.links.findIndex((link) => link.name === name && link.readsStreams);
  }

  /** The flow that was judged last exists now, in this record, with the state that plugins have given it. */
  keepState(record: number): void {
    for (let i = 0; i < this.keepers.length; i++) {
      const { state, stateWords, scratchAt, unseen } = this.keepers[i].standing;
      const to = record * stateWords;
      for (let word = 0; word < stateWords; word++) state[to + word] = state[scratchAt + word];
      if (unseen.length !== 0) unseen[record] = 0;
    }
  }

  /**
   * Shows a packet to the plugins in `wanted` (bits); `still` says afterwards who wants the next one. Returns one of
   * `INSPECT_...`.
   */
  inspect(view: PacketView, flow: LiveFlow, wanted: number): number {
    this.still = wanted;
    for (let i = 0; i < this.links.length; i++) {
      if ((wanted & (1 << i)) === 0) continue;
      const answer = this.show(i, this.links[i], view, flow);
      if (answer === PACKET_PASS) continue;
      if (answer === PACKET_DONE) {
        this.still &= ~(1 << i);
        continue;
      }
      if (answer >= 0) {
        this.reason = DROP.policy;
        return answer === PACKET_DROP_FLOW ? INSPECT_END : INSPECT_DROP;
      }
      const action = ~answer;
      if (action === ACTION_PASS_FLOW) this.still &= ~(1 << i);
      if (action >= ACTION_PASS_PACKET) continue;
      this.reason = DROP.plugin_failed;
      if (action === ACTION_DROP_PACKET) return INSPECT_DROP;
      return action === ACTION_DROP_FLOW ? INSPECT_END : INSPECT_REJECT;
    }
    return INSPECT_PASS;
  }

  /** `PACKET_PASS`, `_DONE`, `_DROP` or `_DROP_FLOW`, or the complement of the action (`ACTION_...`) if the plugin fails. */
  private show(i: number, link: PluginLink, view: PacketView, flow: LiveFlow): number {
    const { standing } = link;
    if (standing.isTripped) return ~link.actions[CAUSE_EXCEPTION];
    if (standing.unseen.length !== 0 && standing.unseen[flow.record] !== 0) {
      standing.unseen[flow.record] = 0;
      return ~this.countFailure(i, CAUSE_MIDSTREAM, UNSEEN, false);
    }
    flow.state = standing.state;
    flow.stateAt = flow.record * standing.stateWords;
    let answer: number;
    this.meter.begin(i, HOOK_PACKET);
    try {
      answer = link.half.packet!(view, flow);
    } catch (error) {
      const { cause, text } = readThrown(error);
      this.meter.end(i);
      return ~this.countFailure(i, cause, text, true);
    }
    this.meter.end(i);
    if (typeof answer !== 'number') return PACKET_DROP;
    if (answer >= PACKET_PASS && answer <= PACKET_DROP_FLOW) return answer;
    if (answer === PACKET_UNPARSABLE) return ~this.countFailure(i, CAUSE_UNPARSABLE, UNPARSABLE, false);
    if (answer === PACKET_MIDSTREAM) return ~this.countFailure(i, CAUSE_MIDSTREAM, UNSEEN, false);
    return PACKET_DROP;
  }

  /** The flow that was set up last exists now: those who were asked about it and want to know are told. */
  flowStart(view: PacketView, flow: LiveFlow): void {
    this.begun = view;
    this.tellFrom(0, HOOK_FLOW_START, flow);
  }

  ingressChanged(flow: LiveFlow): void {
    this.tellFrom(0, HOOK_INGRESS_CHANGED, flow);
  }

  flowEnd(flow: LiveFlow, statistics: FlowStatistics): void {
    this.statistics = statistics;
    this.tellFrom(0, HOOK_FLOW_END, flow);
  }

  private tellFrom(from: number, hook: number, flow: LiveFlow): void {
    this.told = flow;
    for (let i = from; i < this.links.length; i++) {
      const link = this.links[i];
      if (link.standing.isTripped || !this.isTold(i, link, hook)) continue;
      flow.state = link.standing.state;
      flow.stateAt = flow.record * link.standing.stateWords;
      this.meter.begin(i, hook);
      try {
        if (hook === HOOK_FLOW_END) link.half.flowEnd!(flow, this.statistics!);
        else if (hook === HOOK_FLOW_START) link.half.flowStart!(this.begun!, flow);
        else link.half.ingressChanged!(flow);
        this.meter.end(i);
      } catch (error) {
        const { cause, text } = readThrown(error);
        this.meter.end(i);
        this.countFailure(i, cause, text, true);
      }
    }
  }

  private isTold(i: number, { half }: PluginLink, hook: number): boolean {
    if (hook === HOOK_FLOW_END) return half.flowEnd !== undefined;
    if (hook === HOOK_INGRESS_CHANGED) return half.ingressChanged !== undefined;
    return half.flowStart !== undefined && (this.asked & (1 << i)) !== 0;
  }

  /**
   * The watchdog has ended a call of the plugin at this place. It is tripped; plugins behind it still hear of what all of them
   * are told.
   */
  stalled(place: number, hook: number, limitMs: number): void {
    this.meter.interrupted();
    this.judgedRecord = -1;
    this.watchVerdicts(undefined);
    this.trip(place, CAUSE_TIMEOUT, `its ${hookName(hook)} did not return within ${limitMs} ms`);
    const tellsAll = hook === HOOK_FLOW_START || hook === HOOK_INGRESS_CHANGED || hook === HOOK_FLOW_END;
    if (tellsAll && this.told !== undefined) this.tellFrom(place + 1, hook, this.told);
  }

  /** Trips the plugin at this place, for one failure (`CAUSE_...`) that is counted. */
  trip(place: number, cause: number, message: string): void {
    const { plugin, standing } = this.links[place];
    standing.tripFor(cause, message);
    this.meter.failed(place, cause);
    this.onFailure(plugin, { cause, error: message, trips: true });
  }

  /** The plugin at this place has thrown outside of the packet's way. */
  failed(place: number, { cause, text }: Thrown): void {
    this.countFailure(place, cause, text, true);
  }

  /** Counts a failure and says so. Returns the action (`ACTION_...`) of the plugin's policy. `mayTrip`: it counts for that. */
  countFailure(i: number, cause: number, error: string, mayTrip: boolean): number {
    const { plugin, actions, standing } = this.links[i];
    if (this.observer !== undefined) return actions[cause];
    this.meter.failed(i, cause);
    const trips = mayTrip && standing.failed(cause, this.nowMs, error);
    this.onFailure(plugin, { cause, error, trips });
    return actions[cause];
  }
}

const UNSOUND = 'it has set a number of a flow to something else';
const UNPARSABLE = 'it cannot make sense of a packet';
export const UNSEEN = 'it has not seen the beginning of a flow, or has lost its state';

/** A verdict that may stand for a decision; anything else drops. */
export function decidedVerdict(verdict: number): number {
  return verdict >= VERDICT_CONTINUE && verdict <= VERDICT_REJECT ? verdict : VERDICT_DROP;
}
