/**
 * Questions about packets and flows, and what is answered: plain JSON, because both cross the socket between control
 * and the data plane. `explain.ts` answers.
 */

/** What would become of a packet that came in by a port and begins something. */
export interface PacketQuestion {
  readonly kind: 'packet';
  /** Port index. */
  readonly port: number;
  readonly source: string;
  readonly destination: string;
  /** IP protocol number. TCP: a SYN. ICMP: an echo request. */
  readonly protocol: number;
  /** Host order; of ICMP the identifier. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Length of the IP packet; as short as can be when absent. */
  readonly bytes?: number;
}

/** What becomes of the packets of a flow that lives. */
export interface FlowQuestion {
  readonly kind: 'flow';
  readonly flow: number;
}

/** Where an address is, for somebody who begins a flow towards it. */
export interface RouteQuestion {
  readonly kind: 'route';
  readonly address: string;
  /** Port index of who asks; absent: anybody who declares no such address. */
  readonly port?: number;
}

export type Question = PacketQuestion | FlowQuestion | RouteQuestion;

/** The stages of a packet's way. A closed list; an explanation has those that were reached, in their order. */
export type ExplanationStage =
  /** The packet itself. */
  | 'packet'
  /** The address space in which its five-tuple has a meaning. */
  | 'space'
  /** The flow that it belongs to. */
  | 'flow'
  /** Is it for the gateway itself? */
  | 'own_address'
  /** May it begin a flow, from this sender? */
  | 'sender'
  | 'route'
  /** Which port of the space that the route leads to. */
  | 'egress'
  /** Budgets and room in the table. */
  | 'budget'
  | 'plugin'
  /** How replies find their way: the pin. */
  | 'return'
  | 'translation'
  | 'mtu'
  /** Who the packet is handed to on the link. */
  | 'neighbor';

export interface ExplanationStep {
  readonly stage: ExplanationStage;
  /** False: here it ends. */
  readonly passes: boolean;
  readonly text: string;
}

export interface ExplainedTuple {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

/** A tunnel or egress by which a space can be reached. */
export interface ExplainedPort {
  readonly name: string;
  readonly priority: number | null;
  readonly isUp: boolean;
  /** Health checks say that it loses packets or carries nothing: the others are preferred. */
  readonly isAvoided: boolean;
  /** Among those that are chosen from. */
  readonly isCandidate: boolean;
}

export interface Explanation {
  /** `answer`: the gateway itself answers. Of a route: `forward` or `drop`. */
  readonly verdict: 'forward' | 'drop' | 'reject' | 'answer';
  /** Name of the drop reason; null if it is not dropped. */
  readonly reason: string | null;
  /** Flow that it belongs to; null: none, or the one that it would begin. */
  readonly flow: number | null;
  /** Address space of who sends, and of who gets it. */
  readonly from: string | null;
  readonly to: string | null;
  readonly ingress: string | null;
  readonly egress: string | null;
  /** Where replies go. */
  readonly pin: string | null;
  /** As the other side sees it; null if nothing is translated, or it does not leave. */
  readonly translated: ExplainedTuple | null;
  /** Of a route: the ports that lead there. */
  readonly ports: readonly ExplainedPort[];
  readonly steps: readonly ExplanationStep[];
}

/** Before anything is known. */
export const NO_EXPLANATION: Explanation = {
  verdict: 'drop',
  reason: null,
  flow: null,
  from: null,
  to: null,
  ingress: null,
  egress: null,
  pin: null,
  translated: null,
  ports: [],
  steps: [],
};
