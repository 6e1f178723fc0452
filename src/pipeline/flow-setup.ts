/**
 * Setting a flow up: everything between "no flow matches" and a committed record.
 *
 * ```
 *   stage        decides                                        changes
 *   route        which space, which port of it                  nothing           flow-route.ts
 *   admit        room in the table, budgets                     nothing
 *   (charge)                                                    budgets
 *   judge        plugins, return routing last                   what plugins keep plugin-chain.ts
 *   translate    how the responder sees the originator          an external port  reply-tuple.ts
 *   (write)                                                     the record, its state word last
 * ```
 *
 * Every stage fills in its part of `proposal` and answers 0 or the reason for which the flow may not exist; then
 * nothing is left behind. Deciding and committing are apart: who wants to know what would become of a packet, without
 * making it so, calls `begin`, `route`, `admit`, `judge` and `translate` (which is told not to take a port) one after
 * the other, up to the first that refuses, and reads the proposal. {@link FlowSetupStage.setUp} does the same
 * and, in between, what the brackets say.
 */
import { BUDGET_OK } from '../flow/budgets.ts';
import {
  DIRECTION_EGRESS,
  DIRECTION_WORDS,
  FLOW_LIVE,
  FLOW_ROUTED_REPLY,
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
import { DROP } from '../plugin/drop-reasons.ts';
import { type PacketView, PROTOCOL_TCP } from '../wire/packet.ts';
import type { FlowPolicy, FlowState } from './flow-policy.ts';
import { FlowProposal } from './flow-proposal.ts';
import { FlowRouter } from './flow-route.ts';
import { LiveFlow } from './plugin-link.ts';
import { ReplyTuple } from './reply-tuple.ts';
import { writeDeltas } from './translate.ts';
import { tupleHash } from './tuple-hash.ts';

/** Drop reasons by what a budget answers. */
const BUDGET_REASONS = [0, DROP.tunnel_share, DROP.tunnel_rate, DROP.source_rate, DROP.site_share];

export class FlowSetupStage {
  /** The flow that is being set up, or was last. */
  readonly proposal = new FlowProposal();
  private readonly started = new LiveFlow();
  private readonly state: FlowState;
  private readonly router: FlowRouter;
  private readonly replyTuple: ReplyTuple;
  private policy: FlowPolicy;
  /** Seconds since boot, for the time of creation; kept up to date by the pipeline. */
  bootSeconds = 0;
  /** Why the last `setUp` answered -1. */
  reason = 0;
  /** Whether a plugin wants the sender told of the refusal. */
  reject = false;

  constructor(state: FlowState, policy: FlowPolicy) {
    this.state = state;
    this.policy = policy;
    this.router = new FlowRouter(state, policy);
    this.replyTuple = new ReplyTuple(state, policy);
  }

  setPolicy(policy: FlowPolicy): void {
    this.policy = policy;
    this.router.setPolicy(policy);
    this.replyTuple.setPolicy(policy);
  }

  /** Makes the flow that `view`, which came in by `port`, starts. Returns its record, or -1 with `reason`. */
  setUp(view: PacketView, port: number, nowMs: number): number {
    this.begin(view, port, nowMs);
    let refused = this.route(view, nowMs);
    if (refused === 0) refused = this.admit(view, nowMs);
    if (refused !== 0) return this.refuse(refused);
    // Also for what is refused from here on: judging costs as much as the flow itself.
    const { ingressPort, originatorSpace } = this.proposal.draft;
    this.state.budgets.charge(ingressPort, originatorSpace, view);
    refused = this.judge(view);
    if (refused === 0) refused = this.translate(view, true, nowMs);
    return refused === 0 ? this.write(view, nowMs) : this.refuse(refused);
  }

  /** Begins a proposal with a packet that came in by `port`. */
  begin(view: PacketView, port: number, nowMs: number): void {
    this.reject = false;
    this.proposal.begin(view, port, this.policy.ports.spaceOf[port], nowMs);
  }

  /** Whether a packet of its kind begins flows at all: the first thing that {@link route} looks at. */
  mayStart(view: PacketView): boolean {
    return this.router.mayStart(view);
  }

  /** Where the flow leads. */
  route(view: PacketView, nowMs: number): number {
    return this.router.route(view, this.proposal, nowMs);
  }

  /** Whether there is room for the flow. */
  admit(view: PacketView, nowMs: number): number {
    const { table, budgets } = this.state;
    const { ingressPort, originatorSpace } = this.proposal.draft;
    if (table.live >= table.capacity) return DROP.table_full;
    const budget = budgets.mayCreate(ingressPort, originatorSpace, view, nowMs);
    return budget === BUDGET_OK ? 0 : BUDGET_REASONS[budget];
  }

  /** What the plugins say, and how replies will find their way. */
  judge(view: PacketView): number {
    const { chain } = this.policy;
    const judged = chain.setUpFlow(view, this.proposal.draft);
    this.reject = judged !== 0 && chain.reject;
    return judged;
  }

  /** How the responder sees the originator. With `takes`, an external port that this needs is taken. */
  translate(view: PacketView, takes: boolean, nowMs: number): number {
    return this.replyTuple.choose(view, this.proposal, takes, nowMs);
  }

  private refuse(reason: number): -1 {
    this.reason = reason;
    return -1;
  }

  private tellStart(view: PacketView, record: number): void {
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
    const routed = draft.returnRouting === RETURN_ROUTED;
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
    const state = FLOW_LIVE | (startTimeoutClass(view.protocol) << 8) | (routed ? FLOW_ROUTED_REPLY : 0);
    table.commit(record, state);
    budgets.flowCreated(draft.ingressPort, draft.originatorSpace);
    chain.keepState(record);
    if (chain.watchesStart) this.tellStart(view, record);
    return record;
  }
}
