/**
 * How the responder of a new flow sees its originator: the last decision of `flow-setup.ts`.
 *
 * ```
 *  to an egress ──┬─ nat: source ── an external address and port of the originator's
 *                 └─ nat: none ──── as it is, if the sender's site declares its source
 *  to a site ─────┬─ its own, by an external address ── as to that address's egress
 *                 └─ another ── as it is, unless the tuple is, or may still be, another site's: then with
 *                               another source port (or ICMP identifier)
 * ```
 *
 * An external port is taken only if `takes` is set; without it the answer is the same, and nothing changes.
 * Neighbours: `flow/translation.ts`, `flow/held-tuples.ts`.
 */
import { proposePort } from '../flow/held-tuples.ts';
import { TRANSLATION_NO_ADDRESS, TRANSLATION_NO_PORTS, TRANSLATION_QUOTA } from '../flow/translation.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { swap16 } from '../wire/byte-order.ts';
import { ICMP_QUERY, IPV4, type PacketView, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import type { FlowPolicy, FlowState } from './flow-policy.ts';
import type { FlowProposal } from './flow-proposal.ts';
import { externalEgress } from './flow-route.ts';
import type { PlanEgressPort } from './plan.ts';

/** How many source ports are tried for a private flow whose tuple collides with another site's. */
const COLLISION_ATTEMPTS = 64;

export class ReplyTuple {
  private readonly state: FlowState;
  private policy: FlowPolicy;

  constructor(state: FlowState, policy: FlowPolicy) {
    this.state = state;
    this.policy = policy;
  }

  setPolicy(policy: FlowPolicy): void {
    this.policy = policy;
  }

  /** Completes the reply key and the slot of a proposal that has been routed; 0, or why that cannot be. */
  choose(view: PacketView, proposal: FlowProposal, takes: boolean, nowMs: number): number {
    const { draft } = proposal;
    const port = this.policy.ports.get(draft.egressPort)!;
    if (port.role === 'egress') {
      const mode = view.family === IPV4 ? port.translation.ipv4 : port.translation.ipv6;
      if (mode === 'source') return this.translateSource(view, proposal, port, takes, nowMs);
      if (!this.isOwnSource(view, draft.originatorSpace)) return DROP.bad_source;
    } else if (draft.responderSpace === draft.originatorSpace) {
      // Hairpin: the responder must see an external source too, or it would answer past the gateway.
      const outside = externalEgress(this.policy, view);
      if (outside === undefined) return DROP.gateway_destination;
      return this.translateSource(view, proposal, outside, takes, nowMs);
    }
    return this.avoidCollision(view, proposal, nowMs);
  }

  /** Gives back what {@link choose} took, if the flow does not come about after all. */
  abandon(proposal: FlowProposal, nowMs: number): void {
    if (proposal.slot >= 0) this.state.translation.abandon(proposal.slot, nowMs);
    proposal.slot = -1;
  }

  /**
   * Whether the source is one that the sender's site declares. Elsewhere a site may use addresses that it does not
   * declare; but who leaves untranslated must not take another site's name, nor one to which nothing comes back.
   */
  private isOwnSource(view: PacketView, space: number): boolean {
    const { family, src0, src1, src2, src3 } = view;
    return this.policy.routes.isDeclaredBy(space, family, src0, src1, src2, src3);
  }

  private translateSource(
    view: PacketView,
    proposal: FlowProposal,
    port: PlanEgressPort,
    takes: boolean,
    nowMs: number,
  ): number {
    const { table, translation } = this.state;
    const { family, src0, src1, src2, src3, sourcePort, protocol } = view;
    const space = proposal.draft.originatorSpace;
    const slot = takes
      ? translation.acquire(port.space, space, family, src0, src1, src2, src3, sourcePort, protocol, nowMs)
      : translation.preview(port.space, space, family, src0, src1, src2, src3, sourcePort, protocol, nowMs);
    if (slot < 0) return translationReason(slot);
    const { reply } = proposal;
    const { words } = translation;
    const at = translation.externalAddressAt(slot);
    reply.dst0 = words[at];
    reply.dst1 = words[at + 1];
    reply.dst2 = words[at + 2];
    reply.dst3 = words[at + 3];
    reply.ports = (reply.ports & 0xffff) | (swap16(translation.externalPort(slot)) << 16);
    if (!table.has(reply)) {
      proposal.slot = slot;
      return 0;
    }
    if (takes) translation.abandon(slot, nowMs);
    return DROP.tuple_collision;
  }

  /** Private flows stay as they are, unless another site's tuple is in the way. */
  private avoidCollision(view: PacketView, { reply, draft }: FlowProposal, nowMs: number): number {
    const { table, held } = this.state;
    const owner = draft.originatorSpace;
    if (!table.has(reply) && !held.heldByAnother(reply, owner, nowMs)) return 0;
    const hasPorts = view.protocol === PROTOCOL_TCP || view.protocol === PROTOCOL_UDP;
    if (!hasPorts && view.icmpKind !== ICMP_QUERY) return DROP.tuple_collision;
    const untouched = reply.ports & 0xffff;
    const seed = view.src3 ^ Math.imul(view.ports, 0x85ebca6b) ^ owner;
    for (let attempt = 0; attempt < COLLISION_ATTEMPTS; attempt++) {
      reply.ports = untouched | (swap16(proposePort(seed, attempt)) << 16);
      if (!table.has(reply) && !held.heldByAnother(reply, owner, nowMs)) return 0;
    }
    return DROP.translation_ports;
  }
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
