/**
 * Where a new flow goes, and whether its first packet may begin one there: the first stage of `flow-setup.ts`.
 *
 * ```
 *  begins something? ── sender believable? ──┬─ from a site:   route ── hairpin by an external address
 *                                            └─ from an egress: port forward
 *            ── late packet of another flow? ── port of the responder's space ── source the responder would misread?
 * ```
 *
 * Decides only: nothing but the proposal changes. Neighbours: `routing-table.ts`, `gateway-addresses.ts`,
 * `port-forwards.ts`, `port-table.ts`, `flow/held-tuples.ts`.
 */
import type { FlowKey } from '../flow/layout.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { swap16 } from '../wire/byte-order.ts';
import {
  ICMP_QUERY,
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
import type { FlowPolicy, FlowState } from './flow-policy.ts';
import type { FlowProposal } from './flow-proposal.ts';
import type { PlanEgressPort } from './plan.ts';
import type { PortForward } from './port-forwards.ts';
import { tupleHash } from './tuple-hash.ts';

export class FlowRouter {
  private readonly state: FlowState;
  private policy: FlowPolicy;

  constructor(state: FlowState, policy: FlowPolicy) {
    this.state = state;
    this.policy = policy;
  }

  setPolicy(policy: FlowPolicy): void {
    this.policy = policy;
  }

  /** Fills in spaces, ports and the responder's address of a proposal that has begun; 0, or why there is no way. */
  route(view: PacketView, proposal: FlowProposal, nowMs: number): number {
    const { ports, diversions } = this.policy;
    const { draft } = proposal;
    const { ingressPort } = draft;
    const isChild = ports.isDiversion[ingressPort] !== 0;
    // No space: out of a diversion, for a site that is not there.
    if (draft.originatorSpace === 0 || diversions.isForgedSource(view, ingressPort))
      return isChild ? DROP.diversion_source : DROP.bad_source;
    if (!this.mayStart(view)) return DROP.no_flow;
    if (this.isForged(view, ingressPort)) return DROP.bad_source;
    const fromEgress = ports.isEgress[ingressPort] !== 0;
    const refused = fromEgress ? this.routeInbound(view, proposal) : this.routeOutbound(view, proposal);
    if (refused !== 0) return refused;
    if (!fromEgress && this.isLate(view, proposal, nowMs)) return DROP.tuple_collision;
    const egress = ports.select(draft.responderSpace, tupleHash(view));
    if (egress < 0) return DROP.port_down;
    if (!fromEgress && !isChild && ports.isEgress[egress] === 0 && this.isElsewhere(view, proposal)) {
      return DROP.bad_source;
    }
    draft.egressPort = egress;
    draft.automaticReturnRouting = ports.isPinned[ingressPort] !== 0;
    return 0;
  }

  /** Only a packet that begins something may start a flow; an answer without a question never does. */
  mayStart(view: PacketView): boolean {
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
  private isElsewhere(view: PacketView, { draft }: FlowProposal): boolean {
    const { gatewayAddresses, routes } = this.policy;
    const { family, src0, src1, src2, src3 } = view;
    // The host, by a TUN device: nobody is led to it by route.
    if (gatewayAddresses.has(family, src0, src1, src2, src3)) return false;
    const space = draft.originatorSpace;
    const responder = draft.responderSpace;
    if (responder === space || routes.isDeclaredBy(space, family, src0, src1, src2, src3)) return false;
    if (routes.isDeclaredBy(responder, family, src0, src1, src2, src3)) return true;
    const found = routes.lookup(family, src0, src1, src2, src3, responder);
    return found !== 0 && found !== space;
  }

  /**
   * Whether the packet may be a late one of a flow that has ended and led to another site than the route would now.
   * Of TCP and ICMP only what asks for something begins a flow; a late answer does not.
   */
  private isLate(view: PacketView, { originator, draft }: FlowProposal, nowMs: number): boolean {
    if (view.protocol === PROTOCOL_TCP || view.icmpKind === ICMP_QUERY) return false;
    return this.state.held.heldByAnother(originator, draft.responderSpace, nowMs);
  }

  /** From a site: by route, or back into the same site by an external address (RFC 4787, REQ-9). */
  private routeOutbound(view: PacketView, proposal: FlowProposal): number {
    const { diversions, gatewayAddresses, routes } = this.policy;
    if (diversions.isReserved(view)) return DROP.private_destination;
    if (isTunnelProtocol(view.protocol)) return DROP.forbidden_protocol;
    if (gatewayAddresses.has(view.family, view.dst0, view.dst1, view.dst2, view.dst3)) {
      return this.routeHairpin(view, proposal);
    }
    const space = proposal.draft.originatorSpace;
    const responder = routes.lookup(view.family, view.dst0, view.dst1, view.dst2, view.dst3, space);
    if (responder === 0) return routes.reason;
    proposal.lead(responder);
    return 0;
  }

  /** To an external address: only to an endpoint of the sender's own site. */
  private routeHairpin(view: PacketView, proposal: FlowProposal): number {
    const { translation } = this.state;
    const space = proposal.draft.originatorSpace;
    const forward = this.policy.portForwards.find(view);
    if (forward !== undefined) {
      if (forward.space !== space) return DROP.gateway_destination;
      leadByForward(proposal, forward);
      return 0;
    }
    const egress = externalEgress(this.policy, view);
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
    if (this.isOfChild(slot, view.family)) return DROP.gateway_destination;
    const wire = swap16(translation.internalPort(slot));
    writeResponder(proposal.reply, translation.words, translation.internalAddressAt(slot), wire);
    proposal.lead(space);
    return 0;
  }

  /** Whether the external port is a proxy's: the address that it stands for is in no site. */
  private isOfChild(slot: number, family: number): boolean {
    const { words } = this.state.translation;
    const at = this.state.translation.internalAddressAt(slot);
    return this.policy.diversions.isSource(family, words[at], words[at + 1], words[at + 2], words[at + 3]);
  }

  /** From an egress: only to what a port forward names. */
  private routeInbound(view: PacketView, proposal: FlowProposal): number {
    const forward = this.policy.portForwards.find(view);
    if (forward === undefined) return DROP.no_flow;
    leadByForward(proposal, forward);
    return 0;
  }
}

/** The egress that has the packet's destination as an external address. */
export function externalEgress(policy: FlowPolicy, view: PacketView): PlanEgressPort | undefined {
  const { gatewayAddresses, ports } = policy;
  const index = gatewayAddresses.egressOf(view.family, view.dst0, view.dst1, view.dst2, view.dst3);
  const port = index < 0 ? undefined : ports.get(index);
  return port?.role === 'egress' ? port : undefined;
}

function leadByForward(proposal: FlowProposal, forward: PortForward): void {
  writeResponder(proposal.reply, forward.words, 0, forward.portWire);
  proposal.lead(forward.space);
}

/** The responder's own address, four words at `at`, and its port as in the low half of a ports word. */
function writeResponder(reply: FlowKey, words: Int32Array, at: number, portWire: number): void {
  reply.src0 = words[at];
  reply.src1 = words[at + 1];
  reply.src2 = words[at + 2];
  reply.src3 = words[at + 3];
  reply.ports = (reply.ports & ~0xffff) | portWire;
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
