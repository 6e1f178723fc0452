/**
 * Diversions: flows that a plugin hands to a proxy of its own, and what that proxy sends on.
 *
 * ```
 *  host of a site ── tunnel ──► diverted flow ──► diversion's port ── proxy
 *                                                                       │ from the address that stands for the site
 *  whoever it was for ◄── egress, tunnel ◄── child flow ◄── diversion's port
 * ```
 *
 * A diverted flow is led to the diversion's own address space: from a source that no other flow has, to where the proxy
 * listens. So the proxy's answers belong to one flow, whatever addresses and ports sites use, and to a flow of no other
 * space. What the proxy sends on belongs to the space of the site that its source address stands for, and begins a
 * flow there as a packet from a tunnel of that site does. Nothing else is taken from a diversion.
 *
 * Neighbours: `plugin/diversion-addresses.ts` (which address is what), `port-table.ts` (whose a packet is),
 * `plugin-chain.ts` (who diverts), `flow-setup.ts` (asks {@link Diverter}), `pipeline.ts` (asks {@link Diversions}).
 */
import {
  DIRECTION_EGRESS,
  type FlowKey,
  KEY_META,
  KEY_SRC0,
  KEY_SRC1,
  KEY_SRC2,
  KEY_SRC3,
  keyMeta,
  ORIGINATOR,
  RECORD_WORDS,
  SHARED_INGRESS,
} from '../flow/layout.ts';
import {
  isInDiversion,
  nextSource,
  type SyntheticSource,
  spaceOfSource,
  writeSource,
} from '../plugin/diversion-addresses.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { swap16 } from '../wire/byte-order.ts';
import { IPV4, type PacketView, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import type { FlowPolicy, FlowState } from './flow-policy.ts';
import type { FlowProposal } from './flow-proposal.ts';
import type { Plan } from './plan.ts';
import { planAddress } from './plan-address.ts';
import { MAX_PORTS, type PortTable, portIndex } from './port-table.ts';

/** How many sources are tried: all but the first are free unless the numbers have turned over. */
const ATTEMPTS = 64;

export class Diversions {
  /** Whether there is any. */
  readonly any: boolean;
  private readonly ports: PortTable;
  /** By port: where its proxy listens, as in the low half of a ports word; -1: nowhere. */
  private readonly tcp = new Int32Array(MAX_PORTS).fill(-1);
  private readonly udp = new Int32Array(MAX_PORTS).fill(-1);

  constructor(plan: Plan, ports: PortTable) {
    this.ports = ports;
    let any = false;
    for (const port of plan.ports) {
      if (port.role !== 'diversion') continue;
      any = true;
      if (port.tcp !== null) this.tcp[port.index] = swap16(port.tcp);
      if (port.udp !== null) this.udp[port.index] = swap16(port.udp);
    }
    this.any = any;
  }

  /**
   * Whether a new packet's source is not one for `port`: of a proxy's addresses only those that stand for sites begin
   * flows, and only out of diversions.
   */
  isForgedSource(view: PacketView, port: number): boolean {
    const { family, src0, src1, src2, src3 } = view;
    if (this.ports.isDiversion[port] === 0) return this.isSource(family, src0, src1, src2, src3);
    return spaceOfSource(family, src0, src1, src2, src3) === 0;
  }

  /** Whether an address (wire-order words; IPv4 in `word3`) stands for a site, while there are diversions. */
  isSource(family: number, word0: number, word1: number, word2: number, word3: number): boolean {
    return this.any && spaceOfSource(family, word0, word1, word2, word3) !== 0;
  }

  /** Whether a packet is for an address that only diversions have: no route leads there, and none past it. */
  isReserved({ family, dst0, dst1, dst3 }: PacketView): boolean {
    return this.any && isInDiversion(family, dst0, dst1, dst3);
  }

  /** Whether a flow's originator may go on by another port: what came out of a diversion comes by no tunnel. */
  mayMove(words: Int32Array, record: number, port: number): boolean {
    const { isDiversion } = this.ports;
    const former = portIndex(words[record * RECORD_WORDS + SHARED_INGRESS]);
    return former === port || (isDiversion[former] | isDiversion[port]) === 0;
  }

  /**
   * Whether an ICMP error that came by a port may travel in this direction of a flow: a proxy tells of its own flows, and
   * nobody but the proxy of those that it has begun.
   */
  mayTell(words: Int32Array, record: number, direction: number, port: number): boolean {
    if (direction === ORIGINATOR) return this.mayMove(words, record, port);
    const egress = portIndex(words[record * RECORD_WORDS + DIRECTION_EGRESS]);
    return this.ports.isDiversion[port] === 0 || egress === port;
  }

  /**
   * Whether a flow has a source that it may not have by now: it came out of a diversion that is gone, while its site goes
   * on; or by a tunnel, before there was a diversion.
   */
  isOrphan(words: Int32Array, record: number): boolean {
    const base = record * RECORD_WORDS;
    const ingress = this.ports.get(portIndex(words[base + SHARED_INGRESS]));
    if (ingress?.role === 'diversion') return false;
    const meta = words[base + KEY_META];
    const source = spaceOfSource(
      meta & 0xff,
      words[base + KEY_SRC0],
      words[base + KEY_SRC1],
      words[base + KEY_SRC2],
      words[base + KEY_SRC3],
    );
    return source !== 0 && (this.any || (ingress === undefined && source === meta >>> 16));
  }

  /** Where the proxy behind a port listens for a protocol, as in the low half of a ports word; -1: nowhere. */
  listener(port: number, protocol: number): number {
    if (protocol === PROTOCOL_TCP) return this.tcp[port];
    return protocol === PROTOCOL_UDP ? this.udp[port] : -1;
  }
}

/** Leads new flows into diversions: the stage of `flow-setup.ts` in the place of translation. */
export class Diverter {
  private readonly state: FlowState;
  private readonly proxyIpv4: Int32Array;
  private readonly proxyIpv6: Int32Array;
  private readonly source: SyntheticSource = { word0: 0, word1: 0, word2: 0, word3: 0, portWire: 0 };
  /** Number of the source that is tried next. */
  private next: number;

  /** @param random where sources begin: a data plane that is started anew does not give the former one's at once */
  constructor(state: FlowState, proxy: { readonly ipv4: string; readonly ipv6: string }, random: number) {
    this.state = state;
    this.proxyIpv4 = Int32Array.from(planAddress(proxy.ipv4).words);
    this.proxyIpv6 = Int32Array.from(planAddress(proxy.ipv6).words);
    this.next = random | 0;
  }

  /**
   * Completes a proposal that has been judged: it goes out by `port`, a diversion's. 0, or why that cannot be.
   *
   * @param takes whether the source is given to the flow; without it the answer is the same, and nothing changes
   */
  lead(
    view: PacketView,
    proposal: FlowProposal,
    policy: FlowPolicy,
    port: number,
    takes: boolean,
    nowMs: number,
  ): number {
    const { ports, diversions } = policy;
    const { draft, reply } = proposal;
    const listener = diversions.listener(port, view.protocol);
    if (listener < 0 || ports.isEgress[draft.ingressPort] !== 0) return DROP.diversion_refused;
    if (ports.wordOf[port] === 0) return DROP.diversion_down;
    draft.egressPort = port;
    draft.responderSpace = ports.spaceOf[port];
    reply.meta = keyMeta(draft.responderSpace, view.protocol, view.family);
    const proxy = view.family === IPV4 ? this.proxyIpv4 : this.proxyIpv6;
    reply.src0 = proxy[0];
    reply.src1 = proxy[1];
    reply.src2 = proxy[2];
    reply.src3 = proxy[3];
    return this.chooseSource(view, reply, listener, draft.originatorSpace, takes, nowMs);
  }

  /** The next source that no flow has, and of which no late packet for another site may come. */
  private chooseSource(
    view: PacketView,
    reply: FlowKey,
    listener: number,
    owner: number,
    takes: boolean,
    nowMs: number,
  ): number {
    const { table, held } = this.state;
    const { source } = this;
    let number = this.next;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      number = nextSource(number);
      writeSource(number, view.family, source);
      reply.dst0 = source.word0;
      reply.dst1 = source.word1;
      reply.dst2 = source.word2;
      reply.dst3 = source.word3;
      reply.ports = listener | (source.portWire << 16);
      number = (number + 1) | 0;
      if (table.has(reply) || held.heldByAnother(reply, owner, nowMs)) continue;
      if (takes) this.next = number;
      return 0;
    }
    return DROP.translation_ports;
  }
}
