/**
 * Live flows judged anew, by the plugins and options that are configured now: those that would be refused today end.
 *
 * Each flow is shown to the chain as if it began: a packet made up from its record, by the port that its originator comes
 * in by, with the state that plugins have of it. What is not refused keeps its pin and its translation. A stretch at a
 * time: forwarding goes on in between.
 *
 * A plugin that reads streams now and did not when the flow began cannot have its beginning: that is its failure by
 * `midstream`.
 *
 * Neighbours: `plugin-chain.ts` (judges), `explain/question-packet.ts` (makes packets up), `flow-end.ts`,
 * `dataplane/plugin-side.ts` (when).
 */
import { END } from '../flow/flow-event-layout.ts';
import {
  DIRECTION_EGRESS,
  DIRECTION_WORDS,
  FLOW_WIRE_PACKETS,
  FlowKey,
  KEY_META,
  ORIGINATOR,
  RECORD_WORDS,
  SHARED_INGRESS,
  SHARED_PLAN,
  SHARED_PLUGINS,
  SHARED_STATE,
} from '../flow/layout.ts';
import { readKey } from '../flow/record.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { ACTION_PASS_PACKET, CAUSE_MIDSTREAM } from '../plugin/failure-numbers.ts';
import { formatAddressWords } from '../wire/address.ts';
import { swap16 } from '../wire/byte-order.ts';
import { decode } from '../wire/decode.ts';
import { type PacketView, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP } from '../wire/packet.ts';
import { questionPacket } from './explain/question-packet.ts';
import type { FlowEnd } from './flow-end.ts';
import type { FlowPolicy, FlowState } from './flow-policy.ts';
import { FlowDraft } from './plugin-link.ts';
import { portIndex } from './port-table.ts';
import type { StreamStage } from './stream/stream-stage.ts';

/** Flows that are judged between two looks at the clock. */
const STRETCH = 16;

export class Reevaluation {
  /** Flows that were judged, and those of them that have ended. */
  flows = 0;
  ended = 0;
  private readonly state: FlowState;
  private readonly end: FlowEnd;
  private readonly streams: StreamStage;
  private readonly draft = new FlowDraft();
  private readonly key = new FlowKey();
  private record = -1;

  constructor(state: FlowState, end: FlowEnd, streams: StreamStage) {
    this.state = state;
    this.end = end;
    this.streams = streams;
    this.draft.reevaluated = true;
  }

  /** Judges the next flows for about so long. Returns whether all have been judged. */
  step(policy: FlowPolicy, nowMs: number, budgetMs: number): boolean {
    const { table } = this.state;
    const untilMs = performance.now() + budgetMs;
    do {
      for (let count = 0; count < STRETCH; count++) {
        const record = table.next(this.record);
        if (record < 0) return true;
        const refused = this.judge(record, policy, nowMs);
        // Should a plugin be ended in that, the same flow is judged again: the plugin is tripped by then.
        this.record = record;
        this.flows++;
        if (refused === 0) continue;
        this.ended++;
        this.end.flush(record, END.policy, nowMs);
      }
    } while (performance.now() < untilMs);
    return false;
  }

  /** 0, or the reason for which the flow would not be set up today. */
  private judge(record: number, policy: FlowPolicy, nowMs: number): number {
    const { words } = this.state.table;
    const { chain, ports } = policy;
    const base = record * RECORD_WORDS;
    const { draft } = this;
    draft.ingressPort = portIndex(words[base + SHARED_INGRESS]!);
    draft.egressPort = portIndex(words[base + ORIGINATOR * DIRECTION_WORDS + DIRECTION_EGRESS]!);
    draft.originatorSpace = words[base + KEY_META]! >>> 16;
    draft.responderSpace = words[base + DIRECTION_WORDS + KEY_META]! >>> 16;
    draft.automaticReturnRouting = ports.isPinned[draft.ingressPort] !== 0;
    draft.nowMs = nowMs;
    const view = this.firstPacket(record, draft.ingressPort);
    // What cannot be made up cannot be judged: it stays as it is.
    if (view === undefined) return 0;
    const refused = chain.judgeAgain(view, draft, record);
    // It has a pin, or routed replies, already.
    if (refused !== 0 && refused !== DROP.no_pin) return refused;
    // It cannot change sides: its originator begins anew, to or past the proxy.
    const divertedTo = ports.isDiversion[draft.egressPort] !== 0 ? draft.egressPort : -1;
    if (chain.divertedTo !== divertedTo) return DROP.policy;
    if (this.missesBeginning(record, policy)) return DROP.plugin_failed;
    words[base + SHARED_PLUGINS] = (chain.decider << 16) | chain.wanted;
    const state = words[base + SHARED_STATE]!;
    words[base + SHARED_STATE] = chain.wantsWire ? state | FLOW_WIRE_PACKETS : state & ~FLOW_WIRE_PACKETS;
    words[base + SHARED_PLAN] = policy.planGeneration;
    return 0;
  }

  /** Whether the flow may not go on because a plugin wants to read what has passed already. */
  private missesBeginning(record: number, { chain }: FlowPolicy): boolean {
    const { streamWishes, links } = chain;
    const protocol = (this.state.table.words[record * RECORD_WORDS + KEY_META]! >>> 8) & 0xff;
    if (!streamWishes.any || protocol !== PROTOCOL_TCP) return false;
    for (let place = 0; place < links.length; place++) {
      // Who has asked before reads from the beginning, or has read all that it needs.
      const asked = streamWishes.askedBy(place);
      if ((asked & ~this.streams.askedFor(record)) === 0) continue;
      const action = chain.countFailure(
        place,
        CAUSE_MIDSTREAM,
        'it has not seen the beginning of a flow',
        false,
      );
      if (action < ACTION_PASS_PACKET) return true;
      this.streams.doWithout(record, asked);
    }
    return false;
  }

  /** A packet as the flow's first was, but for what it carried. */
  private firstPacket(record: number, port: number): PacketView | undefined {
    const { key } = this;
    readKey(this.state.table.words, record, ORIGINATOR, key);
    const family = key.meta & 0xff;
    const protocol = (key.meta >>> 8) & 0xff;
    const isIcmp = protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6;
    const sourcePort = swap16(key.ports & 0xffff);
    const destinationPort = swap16(key.ports >>> 16);
    const { view, offset, lengthBytes } = questionPacket({
      kind: 'packet',
      port,
      source: formatAddressWords(family, key.src0, key.src1, key.src2, key.src3),
      destination: formatAddressWords(family, key.dst0, key.dst1, key.dst2, key.dst3),
      protocol,
      // A flow of ICMP begins with a request, which has its identifier there.
      sourcePort: isIcmp && sourcePort === 0 ? destinationPort : sourcePort,
      destinationPort,
    });
    return decode(view, offset, lengthBytes) === 0 ? view : undefined;
  }
}
