/**
 * Setting a flow up: everything between "no flow matches" and a committed record.
 *
 * ```
 *   stage        decides                                        changes
 *   route        which space, which port of it                  nothing           flow-route.ts
 *   admit        room in the table, budgets                     nothing
 *   (charge)                                                    budgets
 *   judge        plugins, return routing last                   what plugins keep plugin-chain.ts
 *   (hold)       a plugin wants to be asked later               the flow waits    held-flows.ts
 *   translate    how the responder sees the originator, or      an external port  reply-tuple.ts
 *                to which proxy the flow is diverted            nothing           diversions.ts
 *   (write)                                                     the record, its state word last
 * ```
 *
 * Every stage fills in its part of `proposal` and answers 0 or the reason for which the flow may not exist; then
 * nothing is left behind. Deciding and committing are apart: who wants to know what would become of a packet, without
 * making it so, calls `begin`, `route`, `admit`, `judge` and `translate` (which is told not to take a port) one after
 * the other, up to the first that refuses, and reads the proposal. {@link FlowSetupStage.setUp} does the same
 * and, in between, what the brackets say.
 */
import {
  DIRECTION_EGRESS,
  DIRECTION_WORDS,
  FLOW_DIVERTED,
  FLOW_LIVE,
  FLOW_ROUTED_REPLY,
  FLOW_STREAMS,
  FLOW_WIRE_PACKETS,
  ORIGINATOR,
  RECORD_WORDS,
  REPLY,
  SHARED_CREATED,
  SHARED_ID,
  SHARED_INGRESS,
  SHARED_LAST_ORIGINATOR,
  SHARED_LAST_SEEN,
  SHARED_PLAN,
  SHARED_PLUGINS,
  SHARED_TRANSLATION,
} from '../flow/layout.ts';
import { CREATE_FULL } from '../flow/table.ts';
import { startTcp } from '../flow/tcp.ts';
import { startTimeoutClass } from '../flow/timeouts.ts';
import { RETURN_ROUTED } from '../plugin/contract.ts';
import { DIVERSION_PROXY } from '../plugin/diversion-addresses.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { CAUSE_MEMORY, CAUSE_TIMEOUT } from '../plugin/failure-numbers.ts';
import { type PacketView, PROTOCOL_TCP } from '../wire/packet.ts';
import { Diverter } from './diversions.ts';
import type { FlowPolicy, FlowState } from './flow-policy.ts';
import { FlowProposal } from './flow-proposal.ts';
import { FlowRouter } from './flow-route.ts';
import type { HeldFlow, HeldFlows } from './held-flows.ts';
import { decidedVerdict, HELD } from './plugin-chain.ts';
import { LiveFlow } from './plugin-link.ts';
import { judgedSoFar, leadsWhere, recall } from './plugin-recall.ts';
import { ReplyTuple } from './reply-tuple.ts';
import { writeDeltas } from './translate.ts';
import { tupleHash } from './tuple-hash.ts';

/** Drop reasons by what a budget answers. */
const BUDGET_REASONS = [0, DROP.tunnel_share, DROP.tunnel_rate, DROP.source_rate, DROP.site_share];

export class FlowSetupStage {
  /** The flow that is being set up, or was last. */
  readonly proposal = new FlowProposal();
  /** Flows that wait for a plugin's decision. */
  readonly holds: HeldFlows;
  private readonly started = new LiveFlow();
  private readonly state: FlowState;
  private readonly router: FlowRouter;
  private readonly replyTuple: ReplyTuple;
  private readonly diverter: Diverter;
  private policy: FlowPolicy;
  /** Seconds since boot, for the time of creation; kept up to date by the pipeline. */
  bootSeconds = 0;
  /** Why the last `setUp` answered -1. */
  reason = 0;
  /** Whether a plugin wants the sender told of the refusal. */
  reject = false;

  /** @param random where the sources of diverted flows begin, as an int32 */
  constructor(state: FlowState, policy: FlowPolicy, holds: HeldFlows, random = 0) {
    this.holds = holds;
    this.state = state;
    this.policy = policy;
    this.router = new FlowRouter(state, policy);
    this.replyTuple = new ReplyTuple(state, policy);
    this.diverter = new Diverter(state, DIVERSION_PROXY, random);
  }

  setPolicy(policy: FlowPolicy): void {
    this.policy = policy;
    this.holds.configure(policy.ports.siteSpaces());
    this.router.setPolicy(policy);
    this.replyTuple.setPolicy(policy);
  }

  /**
   * Makes the flow that `view`, which came in by `port`, starts. Returns its record, or -1 with `reason`, which is
   * {@link HELD} for one that waits now.
   *
   * @param fragmentLimit size of the largest fragment it came in, 0 if it came whole
   */
  setUp(view: PacketView, port: number, fragmentLimit: number, nowMs: number): number {
    if (this.holds.count !== 0 && this.holds.has(view, this.policy.ports.spaceOfArrived(port, view)))
      return this.refuse(DROP.held);
    this.begin(view, port, nowMs);
    let refused = this.route(view, nowMs);
    if (refused === 0) refused = this.admit(view, nowMs);
    if (refused !== 0) return this.refuse(refused);
    // Also for what is refused from here on: judging costs as much as the flow itself.
    const { ingressPort, originatorSpace } = this.proposal.draft;
    this.state.budgets.charge(ingressPort, originatorSpace, view);
    refused = this.judge(view);
    if (refused === HELD) refused = this.hold(view, fragmentLimit, nowMs);
    return this.finish(view, refused, nowMs);
  }

  /**
   * Goes on with a flow that has waited for `verdict`, or in vain (`isLate`). As {@link setUp}; budgets have been charged. One
   * that would lead elsewhere by now was not judged: it begins anew when its sender tries again.
   */
  resume(view: PacketView, held: HeldFlow, verdict: number, isLate: boolean, nowMs: number): number {
    this.begin(view, held.port, nowMs);
    const { chain } = this.policy;
    const { draft } = this.proposal;
    // Of a site that a proxy has sent on for there may be nothing left, or another one of its name.
    let refused = draft.originatorSpace === held.space ? this.route(view, nowMs) : DROP.held;
    if (refused === 0 && !leadsWhere(held.judged, draft)) refused = DROP.held;
    if (refused === 0) refused = this.admit(view, nowMs, true);
    if (refused !== 0) return this.refuse(refused);
    recall(chain, held.judged, draft);
    if (isLate) chain.countFailure(held.place, CAUSE_TIMEOUT, 'nobody has decided on a flow in time', false);
    refused = this.judged(chain.goOn(view, draft, decidedVerdict(verdict)));
    if (refused === HELD) refused = this.hold(view, held.fragmentLimit, nowMs);
    return this.finish(view, refused, nowMs);
  }

  /** A plugin holds the flow: {@link HELD}, or what becomes of it without that. */
  private hold(view: PacketView, fragmentLimit: number, nowMs: number): number {
    const { chain, ports } = this.policy;
    const { draft } = this.proposal;
    let judged = HELD;
    while (judged === HELD) {
      const soFar = judgedSoFar(chain, view, draft);
      const portWord = ports.wordOf[draft.ingressPort];
      if (this.holds.take(view, draft, portWord, fragmentLimit, soFar, nowMs)) return HELD;
      judged = this.judged(chain.goOnFailed(view, draft, CAUSE_MEMORY, 'too many flows wait for a decision'));
    }
    return judged;
  }

  private finish(view: PacketView, judged: number, nowMs: number): number {
    const refused = judged === 0 ? this.translate(view, true, nowMs) : judged;
    return refused === 0 ? this.write(view, nowMs) : this.refuse(refused);
  }

  /** Begins a proposal with a packet that came in by `port`. */
  begin(view: PacketView, port: number, nowMs: number): void {
    this.reject = false;
    this.proposal.begin(view, port, this.policy.ports.spaceOfArrived(port, view), nowMs);
    this.proposal.draft.holdToken = this.holds.nextToken;
  }

  /** Whether a packet of its kind begins flows at all: the first thing that {@link route} looks at. */
  mayStart(view: PacketView): boolean {
    return this.router.mayStart(view);
  }

  /** Where the flow leads. */
  route(view: PacketView, nowMs: number): number {
    return this.router.route(view, this.proposal, nowMs);
  }

  /** Whether there is room for the flow. `isCharged`: its creation was paid for when it began to wait. */
  admit(view: PacketView, nowMs: number, isCharged = false): number {
    const { table, budgets } = this.state;
    const { ingressPort, originatorSpace } = this.proposal.draft;
    if (table.live >= table.capacity) return DROP.table_full;
    const budget = isCharged
      ? budgets.mayHave(ingressPort, originatorSpace)
      : budgets.mayCreate(ingressPort, originatorSpace, view, nowMs);
    return BUDGET_REASONS[budget];
  }

  /** What the plugins say, and how replies will find their way. */
  judge(view: PacketView): number {
    return this.judged(this.policy.chain.setUpFlow(view, this.proposal.draft));
  }

  private judged(judged: number): number {
    this.reject = judged !== 0 && this.policy.chain.reject;
    return judged;
  }

  /**
   * How the responder sees the originator; a diverted flow gets another responder, the proxy. With `takes`, an external
   * port that this needs is taken.
   */
  translate(view: PacketView, takes: boolean, nowMs: number): number {
    const { divertedTo } = this.policy.chain;
    if (divertedTo >= 0)
      return this.diverter.lead(view, this.proposal, this.policy, divertedTo, takes, nowMs);
    return this.replyTuple.choose(view, this.proposal, takes, nowMs);
  }

  private refuse(reason: number): -1 {
    this.reason = reason;
    return -1;
  }

  /** Tells plugins that the flow that was set up last exists now, as this record. One may be ended in its call. */
  tellStart(view: PacketView, record: number): void {
    const { draft } = this.proposal;
    const { started } = this;
    started.id = this.state.table.words[record * RECORD_WORDS + SHARED_ID];
    started.record = record;
    started.direction = ORIGINATOR;
    started.originatorSpace = draft.originatorSpace;
    started.responderSpace = draft.responderSpace;
    started.ingressPort = draft.ingressPort;
    this.policy.chain.flowStart(view, started);
  }

  private write(view: PacketView, nowMs: number): number {
    const { table, translation, budgets } = this.state;
    const { ports, chain, planGeneration } = this.policy;
    const { originator, reply, draft, slot } = this.proposal;
    const record = table.create(originator, reply);
    if (record < 0) {
      this.replyTuple.abandon(this.proposal, nowMs);
      return this.refuse(record === CREATE_FULL ? DROP.table_full : DROP.tuple_collision);
    }
    const words = table.words;
    const base = record * RECORD_WORDS;
    // Into a diversion there is one way only, and no other answers its proxy.
    const routed = draft.returnRouting === RETURN_ROUTED && ports.isDiversion[draft.ingressPort] === 0;
    // The sender's site has a usable port: the packet came by it.
    const back = routed ? ports.select(draft.originatorSpace, tupleHash(view)) : draft.ingressPort;
    words[base + ORIGINATOR * DIRECTION_WORDS + DIRECTION_EGRESS] = ports.wordOf[draft.egressPort];
    words[base + REPLY * DIRECTION_WORDS + DIRECTION_EGRESS] = ports.wordOf[back];
    words[base + SHARED_INGRESS] = ports.wordOf[draft.ingressPort];
    words[base + SHARED_CREATED] = this.bootSeconds;
    words[base + SHARED_LAST_SEEN] = nowMs;
    words[base + SHARED_LAST_ORIGINATOR] = nowMs;
    words[base + SHARED_TRANSLATION] = slot + 1;
    if (slot >= 0) translation.retain(slot);
    words[base + SHARED_PLUGINS] = (chain.decider << 16) | chain.wanted;
    words[base + SHARED_PLAN] = planGeneration;
    writeDeltas(words, record);
    if (view.protocol === PROTOCOL_TCP) startTcp(words, record, view);
    const isRead = chain.streamWishes.any && view.protocol === PROTOCOL_TCP;
    const flags =
      (routed ? FLOW_ROUTED_REPLY : 0) |
      (chain.divertedTo >= 0 ? FLOW_DIVERTED : 0) |
      (chain.wantsWire ? FLOW_WIRE_PACKETS : 0) |
      (isRead ? FLOW_STREAMS : 0);
    const state = FLOW_LIVE | (startTimeoutClass(view.protocol) << 8) | flags;
    table.commit(record, state);
    budgets.flowCreated(draft.ingressPort, draft.originatorSpace);
    chain.keepState(record);
    return record;
  }
}
