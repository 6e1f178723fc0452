/**
 * The end of flows: by time-out, by flush, by a plan that took their tunnel away, by reuse of their tuple. And
 * what is done to a record beside forwarding: marking it answered, describing it to plugins.
 *
 * Whatever ends a flow, its external port or its tuples are held for as long as late packets of it may come, so
 * that no other site gets them meanwhile (docs/promise.md). An idle flow whose site has no room for more held tuples
 * is not ended but stays as it is, for as long as its tuples would be held: then nothing is left to hold.
 */
import { COUNTER, type Counters } from '../flow/counters.ts';
import { END } from '../flow/flow-event-layout.ts';
import type { FlowEventWriter } from '../flow/flow-event-writer.ts';
import { holdFlow } from '../flow/flow-holds.ts';
import {
  DIRECTION_BYTES,
  DIRECTION_PACKETS,
  DIRECTION_WORDS,
  FLOW_ANSWERED,
  KEY_META,
  RECORD_WORDS,
  REPLY,
  SHARED_ID,
  SHARED_INGRESS,
  SHARED_LAST_SEEN,
  SHARED_STATE,
  SHARED_TRANSLATION,
} from '../flow/layout.ts';
import {
  answeredTimeoutClass,
  ENDED_CLOSED,
  ENDED_FLUSH,
  ENDED_TIMEOUT,
  holdMs,
  idleTimeoutMs,
  setTimeoutClass,
  TIMEOUT_TCP_CLOSED,
  timeoutClassOf,
} from '../flow/timeouts.ts';
import type { FlowStatistics } from '../plugin/contract.ts';
import type { FlowState } from './flow-policy.ts';
import type { PluginChain } from './plugin-chain.ts';
import { LiveFlow } from './plugin-link.ts';
import { portIndex } from './port-table.ts';
import type { StreamStage } from './stream/stream-stage.ts';

/** The whole table is looked at once in so many milliseconds. */
const SWEEP_ROUND_MS = 2000;

export class FlowEnd {
  private readonly state: FlowState;
  private readonly counters: Counters;
  private readonly ended = new LiveFlow();
  private readonly statistics = new Statistics();
  private readonly onExpired: (record: number) => void;
  private chain: PluginChain;
  private events: FlowEventWriter | undefined = undefined;
  private streams: StreamStage | undefined = undefined;
  private nowMs = 0;
  private sweptMs: number;

  constructor(state: FlowState, counters: Counters, chain: PluginChain, nowMs: number) {
    this.state = state;
    this.counters = counters;
    this.chain = chain;
    this.sweptMs = nowMs;
    this.onExpired = (record) => this.expire(record);
  }

  setChain(chain: PluginChain): void {
    this.chain = chain;
  }

  /** Where the bytes of flows lie that plugins read. */
  setStreams(streams: StreamStage): void {
    this.streams = streams;
  }

  /** Where ends are told; undefined: nowhere. */
  setEvents(events: FlowEventWriter | undefined): void {
    this.events = events;
  }

  /** Looks for idle flows, as many records as the time since the last call asks for. */
  sweep(nowMs: number): void {
    const elapsedMs = (nowMs - this.sweptMs) | 0;
    if (elapsedMs <= 0) return;
    this.sweptMs = nowMs;
    this.nowMs = nowMs;
    const { table, translation, held } = this.state;
    const records = Math.ceil((table.capacity * Math.min(elapsedMs, SWEEP_ROUND_MS)) / SWEEP_ROUND_MS);
    table.sweep(nowMs, records, this.onExpired);
    translation.sweep(nowMs);
    held.sweep(nowMs);
  }

  /** Ends a flow by command, because a plugin says so, or because its tunnel is another one now; `reason` of `END`. */
  flush(record: number, reason: number, nowMs: number): void {
    this.counters.add(COUNTER.flows_flushed, 1);
    this.end(record, ENDED_FLUSH, reason, true, nowMs);
  }

  /** Ends a flow whose tuple its originator is using anew. */
  reopen(record: number, nowMs: number): void {
    this.counters.add(COUNTER.flows_reopened, 1);
    this.end(record, ENDED_CLOSED, END.reopened, true, nowMs);
  }

  /** Marks the first packet of the responder. */
  answered(record: number): void {
    const words = this.state.table.words;
    const at = record * RECORD_WORDS + SHARED_STATE;
    words[at] = words[at] | FLOW_ANSWERED;
    const before = timeoutClassOf(words[at]);
    const after = answeredTimeoutClass(before);
    if (after !== before) setTimeoutClass(words, record, after);
  }

  /** Fills `flow` with what plugins are told of a record; returns it. */
  describe(flow: LiveFlow, record: number, direction: number): LiveFlow {
    const words = this.state.table.words;
    const base = record * RECORD_WORDS;
    flow.id = words[base + SHARED_ID];
    flow.record = record;
    flow.direction = direction;
    flow.originatorSpace = words[base + KEY_META] >>> 16;
    flow.responderSpace = words[base + DIRECTION_WORDS + KEY_META] >>> 16;
    flow.ingressPort = portIndex(words[base + SHARED_INGRESS]);
    return flow;
  }

  private expire(record: number): void {
    const { table, held } = this.state;
    const base = record * RECORD_WORDS;
    const timeoutClass = timeoutClassOf(table.words[base + SHARED_STATE]);
    const closed = timeoutClass === TIMEOUT_TCP_CLOSED;
    const how = closed ? ENDED_CLOSED : ENDED_TIMEOUT;
    const isHeldByPort = table.words[base + SHARED_TRANSLATION] !== 0;
    const holds = isHeldByPort || held.hasRoom(table.words[base + KEY_META] >>> 16);
    if (!holds && !this.isForgotten(base, timeoutClass, how)) return;
    this.counters.add(closed ? COUNTER.flows_closed : COUNTER.flows_timed_out, 1);
    this.end(record, how, closed ? END.closed : END.timed_out, holds, this.nowMs);
  }

  /** Whether an idle flow has been left alone for so long that no late packet of it can come. */
  private isForgotten(base: number, timeoutClass: number, how: number): boolean {
    const { table } = this.state;
    const idleMs = idleTimeoutMs(timeoutClass, Math.floor((table.live * 1000) / table.capacity));
    const unseenMs = (this.nowMs - table.words[base + SHARED_LAST_SEEN]) >>> 0;
    return unseenMs >= idleMs + holdMs(timeoutClass, how);
  }

  private end(record: number, how: number, reason: number, holds: boolean, nowMs: number): void {
    const { table, translation, held, budgets } = this.state;
    const words = table.words;
    const base = record * RECORD_WORDS;
    if (this.events !== undefined) this.events.ended(words, table.floats, record, reason, nowMs);
    this.describe(this.ended, record, REPLY);
    this.statistics.read(table.floats, base);
    this.streams?.close(record);
    const lateMs = holdMs(timeoutClassOf(words[base + SHARED_STATE]), how);
    const slot = words[base + SHARED_TRANSLATION] - 1;
    if (slot < 0 && holds) holdFlow(held, words, record, lateMs, nowMs);
    budgets.flowEnded(this.ended.ingressPort, this.ended.originatorSpace);
    table.remove(record);
    // Last: a process killed in between leaves a mapping without a flow, which the next one holds.
    if (slot >= 0) translation.release(slot, lateMs, nowMs);
    // A plugin may be ended in its call, and nothing that follows would be done.
    this.chain.flowEnd(this.ended, this.statistics);
  }
}

class Statistics implements FlowStatistics {
  packetsOriginator = 0;
  bytesOriginator = 0;
  packetsReply = 0;
  bytesReply = 0;

  read(floats: Float64Array, base: number): this {
    this.packetsOriginator = floats[(base + DIRECTION_PACKETS) >> 1];
    this.bytesOriginator = floats[(base + DIRECTION_BYTES) >> 1];
    this.packetsReply = floats[(base + DIRECTION_WORDS + DIRECTION_PACKETS) >> 1];
    this.bytesReply = floats[(base + DIRECTION_WORDS + DIRECTION_BYTES) >> 1];
    return this;
  }
}
