/**
 * Setting a flow up: everything between "no flow matches" and a committed record.
 *
 * ```
 *   budgets ── route: which space ── which port of it ── plugins, return routing last
 *           ── translation or collision check ── record, its state word last
 * ```
 *
 * Every step can refuse, with a reason, and then nothing is left behind. Neighbours: `routing-table.ts`,
 * `port-table.ts`, `plugin-chain.ts`, `flow/translation.ts`, `flow/held-tuples.ts`.
 */
import { BUDGET_OK, type Budgets } from '../flow/budgets.ts';
import { type HeldTuples, proposePort } from '../flow/held-tuples.ts';
import {
  DIRECTION_EGRESS,
  DIRECTION_WORDS,
  FLOW_LIVE,
  FLOW_ROUTED_REPLY,
  FlowKey,
  keyMeta,
  ORIGINATOR,
  RECORD_WORDS,
  REPLY,
  SHARED_CREATED,
  SHARED_INGRESS,
  SHARED_LAST_ORIGINATOR,
  SHARED_LAST_SEEN,
  SHARED_PLAN,
  SHARED_PLUGINS,
  SHARED_TRANSLATION,
} from '../flow/layout.ts';
import { CREATE_FULL, type FlowTable } from '../flow/table.ts';
import { startTcp } from '../flow/tcp.ts';
import { startTimeoutClass } from '../flow/timeouts.ts';
import {
  TRANSLATION_NO_ADDRESS,
  TRANSLATION_NO_PORTS,
  TRANSLATION_QUOTA,
  type Translation,
} from '../flow/translation.ts';
import { RETURN_ROUTED } from '../plugin/contract.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { swap16 } from '../wire/byte-order.ts';
import {
  ICMP_QUERY,
  IPV4,
  type PacketView,
  PROTOCOL_AH,
  PROTOCOL_ESP,
  PROTOCOL_GRE,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_IPIP,
  PROTOCOL_IPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP_ACK,
  TCP_FIN,
  TCP_RST,
  TCP_SYN,
} from '../wire/packet.ts';
import type { GatewayAddresses } from './gateway-addresses.ts';
import type { PlanEgressPort } from './plan.ts';
import { FlowDraft, type PluginChain } from './plugin-chain.ts';
import type { PortForward, PortForwards } from './port-forwards.ts';
import type { PortTable } from './port-table.ts';
import type { RoutingTable } from './routing-table.ts';
import { swapPorts, writeDeltas } from './translate.ts';

/** How many source ports are tried for a private flow whose tuple collides with another site's. */
const COLLISION_ATTEMPTS = 64;

/** Drop reasons by what a budget answers. */
const BUDGET_REASONS = [0, DROP.tunnel_share, DROP.tunnel_rate, DROP.source_rate];

/** What a plan compiles to, as far as new flows are concerned. Replaced whole with the plan. */
export interface FlowPolicy {
  readonly planGeneration: number;
  readonly ports: PortTable;
  readonly routes: RoutingTable;
  readonly chain: PluginChain;
  readonly gatewayAddresses: GatewayAddresses;
  readonly portForwards: PortForwards;
  /** By protocol number: 1 if it may start a flow by address pair. */
  readonly otherProtocols: Uint8Array;
}

/** What outlives a plan. */
export interface FlowState {
  readonly table: FlowTable;
  readonly translation: Translation;
  readonly held: HeldTuples;
  readonly budgets: Budgets;
}

export class FlowSetupStage {
  private readonly state: FlowState;
  private readonly draft = new FlowDraft();
  private readonly originator = new FlowKey();
  private readonly reply = new FlowKey();
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
  }

  setPolicy(policy: FlowPolicy): void {
    this.policy = policy;
  }

  /** Makes the flow that `view`, which came in by `port`, starts. Returns its record, or -1 with `reason`. */
  setUp(view: PacketView, port: number, nowMs: number): number {
    this.reject = false;
    const { ports } = this.policy;
    const space = ports.spaceOf[port];
    if (!this.mayStart(view)) return this.refuse(DROP.no_flow);
    if (this.isForged(view, port)) return this.refuse(DROP.bad_source);
    writeKey(this.originator, view, space);
    const refused = ports.isEgress[port] !== 0 ? this.routeInbound(view) : this.routeOutbound(view, space);
    if (refused !== 0) return this.refuse(refused);
    if (this.isLate(view, port, nowMs)) return this.refuse(DROP.tuple_collision);

    const draft = this.draft;
    const egress = ports.select(draft.responderSpace, tupleHash(view));
    if (egress < 0) return this.refuse(DROP.port_down);
    if (ports.isEgress[port] === 0 && ports.isEgress[egress] === 0 && this.isElsewhere(view, space)) {
      return this.refuse(DROP.bad_source);
    }
    if (this.state.table.live >= this.state.table.capacity) return this.refuse(DROP.table_full);
    const budget = this.state.budgets.mayCreate(port, space, view, nowMs);
    if (budget !== BUDGET_OK) return this.refuse(BUDGET_REASONS[budget]);
    draft.ingressPort = port;
    draft.egressPort = egress;
    draft.originatorSpace = space;
    draft.automaticReturnRouting = ports.isPinned[port] !== 0;
    const judged = this.policy.chain.setUpFlow(view, draft);
    if (judged !== 0) {
      this.reject = this.policy.chain.reject;
      return this.refuse(judged);
    }
    const slot = this.chooseReplyTuple(view, egress, nowMs);
    if (slot < -1) return -1;
    return this.write(view, slot, nowMs);
  }

  private refuse(reason: number): -1 {
    this.reason = reason;
    return -1;
  }

  /** Only a packet that begins something may start a flow; an answer without a question never does. */
  private mayStart(view: PacketView): boolean {
    switch (view.protocol) {
      case PROTOCOL_TCP:
        return (view.tcpFlags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) === TCP_SYN;
      case PROTOCOL_UDP:
        return true;
      case PROTOCOL_ICMP:
      case PROTOCOL_ICMPV6:
        // A query carries its identifier as source port; a reply as destination port.
        return view.icmpKind === ICMP_QUERY && view.ports >>> 16 === 0;
      default:
        return this.policy.otherProtocols[view.protocol] !== 0;
    }
  }

  /**
   * Whether the source is one that cannot be at the other end of this port: the gateway itself, or, behind an
   * egress, an address of a site. A site would take the latter for its own host, or for another site's.
   */
  private isForged(view: PacketView, port: number): boolean {
    const { gatewayAddresses, ports, routes } = this.policy;
    const { family, src0, src1, src2, src3 } = view;
    if (gatewayAddresses.isForgedSource(port, family, src0, src1, src2, src3)) return true;
    return ports.isEgress[port] !== 0 && routes.isDeclared(family, src0, src1, src2, src3);
  }

  /**
   * Between sites: whether the source, which the sender does not declare, is for the responder somewhere else. What
   * the responder sent there by itself would otherwise follow this flow, to the sender.
   */
  private isElsewhere(view: PacketView, space: number): boolean {
    const { gatewayAddresses, routes } = this.policy;
    const { family, src0, src1, src2, src3 } = view;
    // The host, by a TUN device: nobody is led to it by route.
    if (gatewayAddresses.has(family, src0, src1, src2, src3)) return false;
    const responder = this.draft.responderSpace;
    if (responder === space || routes.isDeclaredBy(space, family, src0, src1, src2, src3)) return false;
    if (routes.isDeclaredBy(responder, family, src0, src1, src2, src3)) return true;
    const found = routes.lookup(family, src0, src1, src2, src3, responder);
    return found !== 0 && found !== space;
  }

  /**
   * Whether the packet may be a late one of a flow that has ended and led to another site than the route would now.
   * Of TCP and ICMP only what asks for something begins a flow; a late answer does not.
   */
  private isLate(view: PacketView, port: number, nowMs: number): boolean {
    if (view.protocol === PROTOCOL_TCP || view.icmpKind === ICMP_QUERY) return false;
    if (this.policy.ports.isEgress[port] !== 0) return false;
    return this.state.held.heldByAnother(this.originator, this.draft.responderSpace, nowMs);
  }

  /** From a site: by route, or back into the same site by an external address (RFC 4787, REQ-9). */
  private routeOutbound(view: PacketView, space: number): number {
    const { gatewayAddresses, routes } = this.policy;
    const reply = this.reply;
    writeReversed(reply, this.originator);
    if (isTunnelProtocol(view.protocol)) return DROP.forbidden_protocol;
    if (gatewayAddresses.has(view.family, view.dst0, view.dst1, view.dst2, view.dst3)) {
      return this.routeHairpin(view, space);
    }
    const responder = routes.lookup(view.family, view.dst0, view.dst1, view.dst2, view.dst3, space);
    if (responder === 0) return routes.reason;
    this.draft.responderSpace = responder;
    reply.meta = keyMeta(responder, view.protocol, view.family);
    return 0;
  }

  /** To an external address: only to an endpoint of the sender's own site. */
  private routeHairpin(view: PacketView, space: number): number {
    const { translation } = this.state;
    const { portForwards } = this.policy;
    const forward = portForwards.find(view);
    if (forward !== undefined) {
      if (forward.space !== space) return DROP.gateway_destination;
      this.writeForward(forward, view);
      return 0;
    }
    const egress = this.externalEgress(view);
    if (egress === undefined) return DROP.gateway_destination;
    const slot = translation.findExternal(
      egress.space,
      view.family,
      view.dst0,
      view.dst1,
      view.dst2,
      view.dst3,
      view.protocol,
      view.destinationPort,
    );
    if (slot < 0 || translation.siteSpace(slot) !== space) return DROP.gateway_destination;
    const reply = this.reply;
    const at = translation.internalAddressAt(slot);
    reply.src0 = translation.words[at];
    reply.src1 = translation.words[at + 1];
    reply.src2 = translation.words[at + 2];
    reply.src3 = translation.words[at + 3];
    reply.ports = (reply.ports & ~0xffff) | swap16(translation.internalPort(slot));
    reply.meta = keyMeta(space, view.protocol, view.family);
    this.draft.responderSpace = space;
    return 0;
  }

  /** The egress that has the packet's destination as an external address. */
  private externalEgress(view: PacketView): PlanEgressPort | undefined {
    const index = this.policy.gatewayAddresses.egressOf(
      view.family,
      view.dst0,
      view.dst1,
      view.dst2,
      view.dst3,
    );
    const port = index < 0 ? undefined : this.policy.ports.get(index);
    return port?.role === 'egress' ? port : undefined;
  }

  /** From an egress: only to what a port forward names. */
  private routeInbound(view: PacketView): number {
    const forward = this.policy.portForwards.find(view);
    if (forward === undefined) return DROP.no_flow;
    writeReversed(this.reply, this.originator);
    this.writeForward(forward, view);
    return 0;
  }

  private writeForward(forward: PortForward, view: PacketView): void {
    const reply = this.reply;
    reply.src0 = forward.words[0];
    reply.src1 = forward.words[1];
    reply.src2 = forward.words[2];
    reply.src3 = forward.words[3];
    reply.ports = (reply.ports & ~0xffff) | forward.portWire;
    reply.meta = keyMeta(forward.space, view.protocol, view.family);
    this.draft.responderSpace = forward.space;
  }

  /**
   * Completes the reply key: the tuple under which the responder sees the flow. Returns the translation slot,
   * -1 for none, or -2 with `reason` set.
   */
  private chooseReplyTuple(view: PacketView, egress: number, nowMs: number): number {
    const port = this.policy.ports.get(egress)!;
    if (port.role === 'egress') {
      const mode = view.family === IPV4 ? port.translation.ipv4 : port.translation.ipv6;
      if (mode === 'source') return this.translateSource(view, port, nowMs);
      if (!this.isOwnSource(view)) return this.refuseTuple(DROP.bad_source);
    } else if (this.draft.responderSpace === this.draft.originatorSpace) {
      // Hairpin: the responder must see an external source too, or it would answer past the gateway.
      const outside = this.externalEgress(view);
      if (outside === undefined) return this.refuseTuple(DROP.gateway_destination);
      return this.translateSource(view, outside, nowMs);
    }
    return this.avoidCollision(view, nowMs);
  }

  /**
   * Whether the source is one that the sender's site declares. Elsewhere a site may use addresses that it does not
   * declare; but who leaves untranslated must not take another site's name, nor one to which nothing comes back.
   */
  private isOwnSource(view: PacketView): boolean {
    const { family, src0, src1, src2, src3 } = view;
    return this.policy.routes.isDeclaredBy(this.draft.originatorSpace, family, src0, src1, src2, src3);
  }

  private translateSource(view: PacketView, port: PlanEgressPort, nowMs: number): number {
    const { translation } = this.state;
    const slot = translation.acquire(
      port.space,
      this.draft.originatorSpace,
      view.family,
      view.src0,
      view.src1,
      view.src2,
      view.src3,
      view.sourcePort,
      view.protocol,
      nowMs,
    );
    if (slot < 0) return this.refuseTuple(translationReason(slot));
    const reply = this.reply;
    const at = translation.externalAddressAt(slot);
    reply.dst0 = translation.words[at];
    reply.dst1 = translation.words[at + 1];
    reply.dst2 = translation.words[at + 2];
    reply.dst3 = translation.words[at + 3];
    reply.ports = (reply.ports & 0xffff) | (swap16(translation.externalPort(slot)) << 16);
    if (!this.state.table.has(reply)) return slot;
    translation.abandon(slot, nowMs);
    return this.refuseTuple(DROP.tuple_collision);
  }

  /** Private flows stay as they are, unless another site's tuple is in the way. */
  private avoidCollision(view: PacketView, nowMs: number): number {
    const { table, held } = this.state;
    const reply = this.reply;
    const owner = this.draft.originatorSpace;
    if (!table.has(reply) && !held.heldByAnother(reply, owner, nowMs)) return -1;
    const hasPorts = view.protocol === PROTOCOL_TCP || view.protocol === PROTOCOL_UDP;
    if (!hasPorts && view.icmpKind !== ICMP_QUERY) return this.refuseTuple(DROP.tuple_collision);
    const untouched = reply.ports & 0xffff;
    const seed = view.src3 ^ Math.imul(view.ports, 0x85ebca6b) ^ owner;
    for (let attempt = 0; attempt < COLLISION_ATTEMPTS; attempt++) {
      const candidate = proposePort(seed, attempt);
      reply.ports = untouched | (swap16(candidate) << 16);
      if (!table.has(reply) && !held.heldByAnother(reply, owner, nowMs)) return -1;
    }
    return this.refuseTuple(DROP.translation_ports);
  }

  private refuseTuple(reason: number): number {
    this.reason = reason;
    return -2;
  }

  private write(view: PacketView, slot: number, nowMs: number): number {
    const { table, translation, budgets } = this.state;
    const { ports, chain, planGeneration } = this.policy;
    const draft = this.draft;
    const record = table.create(this.originator, this.reply);
    if (record < 0) {
      if (slot >= 0) translation.abandon(slot, nowMs);
      return this.refuse(record === CREATE_FULL ? DROP.table_full : DROP.tuple_collision);
    }
    const words = table.words;
    const base = record * RECORD_WORDS;
    const routed = draft.returnRouting === RETURN_ROUTED;
    const ingressWord = ports.wordOf[draft.ingressPort];
    // The sender's site has a usable port: the packet came by it.
    const back = routed ? ports.select(draft.originatorSpace, tupleHash(view)) : draft.ingressPort;
    words[base + ORIGINATOR * DIRECTION_WORDS + DIRECTION_EGRESS] = ports.wordOf[draft.egressPort];
    words[base + REPLY * DIRECTION_WORDS + DIRECTION_EGRESS] = ports.wordOf[back];
    words[base + SHARED_INGRESS] = ingressWord;
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
    budgets.flowCreated(draft.ingressPort);
    return record;
  }
}

/** Fills a key with what the packet looks like as it arrives from `space`. */
export function writeKey(key: FlowKey, view: PacketView, space: number): void {
  key.src0 = view.src0;
  key.src1 = view.src1;
  key.src2 = view.src2;
  key.src3 = view.src3;
  key.dst0 = view.dst0;
  key.dst1 = view.dst1;
  key.dst2 = view.dst2;
  key.dst3 = view.dst3;
  key.ports = view.ports;
  key.meta = keyMeta(space, view.protocol, view.family);
}

function writeReversed(key: FlowKey, of: FlowKey): void {
  key.src0 = of.dst0;
  key.src1 = of.dst1;
  key.src2 = of.dst2;
  key.src3 = of.dst3;
  key.dst0 = of.src0;
  key.dst1 = of.src1;
  key.dst2 = of.src2;
  key.dst3 = of.src3;
  key.ports = swapPorts(of.ports);
  key.meta = of.meta;
}

function translationReason(answer: number): number {
  switch (answer) {
    case TRANSLATION_NO_PORTS:
      return DROP.translation_ports;
    case TRANSLATION_QUOTA:
      return DROP.translation_quota;
    case TRANSLATION_NO_ADDRESS:
      return DROP.translation_family;
    default:
      return DROP.translation_protocol;
  }
}

/** What one of several equal tunnels is chosen by. */
function tupleHash(view: PacketView): number {
  return view.src3 ^ view.dst3 ^ Math.imul(view.ports, 0x9e3779b1);
}

/** Protocols that carry tunnels: no site may send them on, or it could forge another's tunnel traffic. */
function isTunnelProtocol(protocol: number): boolean {
  return (
    protocol === PROTOCOL_IPIP ||
    protocol === PROTOCOL_IPV6 ||
    protocol === PROTOCOL_GRE ||
    protocol === PROTOCOL_ESP ||
    protocol === PROTOCOL_AH
  );
}
