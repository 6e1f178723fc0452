/**
 * Writes flow events into a ring: what the pipeline tells of flows that begin and end, and of those it refuses.
 *
 * Refusals can come as fast as packets: those of every port have a token bucket of one second's worth, and what is
 * above is counted, and told with the next one that is written. Nothing here allocates or throws.
 *
 * Neighbours: `flow-event-ring.ts`, `flow-event-layout.ts`; `pipeline/pipeline.ts` and `pipeline/flow-end.ts` call.
 */
import type { PacketView } from '../wire/packet.ts';
import { COUNTED_PORTS, COUNTED_REASONS } from './counters.ts';
import {
  EVENT_BYTES_ORIGINATOR,
  EVENT_BYTES_REPLY,
  EVENT_CREATED,
  EVENT_DECIDER,
  EVENT_EGRESS,
  EVENT_END,
  EVENT_FLAGS,
  EVENT_FLOW,
  EVENT_INGRESS,
  EVENT_KIND,
  EVENT_ORIGINATOR_KEY,
  EVENT_PACKETS_ORIGINATOR,
  EVENT_PACKETS_REPLY,
  EVENT_PIN,
  EVENT_PLAN,
  EVENT_REFUSED,
  EVENT_REPLY_KEY,
  EVENT_START,
  EVENT_SUPPRESSED,
  EVENT_TIME,
  EVENT_WORDS,
} from './flow-event-layout.ts';
import type { FlowEventRing } from './flow-event-ring.ts';
import {
  DIRECTION_BYTES,
  DIRECTION_EGRESS,
  DIRECTION_PACKETS,
  DIRECTION_WORDS,
  KEY_DST0,
  KEY_META,
  KEY_PORTS,
  KEY_SRC0,
  keyMeta,
  RECORD_WORDS,
  SHARED_CREATED,
  SHARED_ID,
  SHARED_INGRESS,
  SHARED_PLAN,
  SHARED_PLUGINS,
  SHARED_STATE,
} from './layout.ts';

const KEY_WORDS = KEY_META + 1;
const BUCKET_MS = 1000;
/** One refusal, in thousandths: at `rate` a second a bucket earns `rate` of them a millisecond. */
const COST = 1000;
const MAX_RATE = 1_000_000;

export class FlowEventWriter {
  private readonly ring: FlowEventRing;
  private readonly words: Int32Array;
  private readonly floats: Float64Array;
  /** By drop reason: 1 if refusals for it are written. */
  private readonly wanted: Uint8Array;
  private readonly ratePerPort: number;
  private readonly spent = new Int32Array(COUNTED_PORTS);
  private readonly reckonedMs = new Int32Array(COUNTED_PORTS);
  private readonly suppressed = new Int32Array(COUNTED_PORTS);

  /**
   * @param reasons drop reasons for which refusals are written
   * @param ratePerPort refusals a second and port, and in one burst
   */
  constructor(ring: FlowEventRing, reasons: readonly number[], ratePerPort: number) {
    this.ring = ring;
    this.words = ring.words;
    this.floats = ring.floats;
    this.wanted = new Uint8Array(COUNTED_REASONS);
    for (const reason of reasons) this.wanted[reason] = 1;
    this.ratePerPort = Math.min(MAX_RATE, Math.max(1, Math.ceil(ratePerPort)));
  }

  /** A flow was made; its record is complete. */
  started(records: Int32Array, record: number, nowMs: number): void {
    const at = this.ring.claim();
    if (at < 0) return;
    this.describe(at, EVENT_START, records, record, nowMs);
    this.ring.publish();
  }

  /** A flow ends, for a reason of `END`; its record is still whole. */
  ended(records: Int32Array, floats: Float64Array, record: number, reason: number, nowMs: number): void {
    const at = this.ring.claim();
    if (at < 0) return;
    this.describe(at, EVENT_END | (reason << 8), records, record, nowMs);
    const base = record * RECORD_WORDS;
    const reply = base + DIRECTION_WORDS;
    const out = this.floats;
    out[(at + EVENT_PACKETS_ORIGINATOR) >> 1] = floats[(base + DIRECTION_PACKETS) >> 1]!;
    out[(at + EVENT_BYTES_ORIGINATOR) >> 1] = floats[(base + DIRECTION_BYTES) >> 1]!;
    out[(at + EVENT_PACKETS_REPLY) >> 1] = floats[(reply + DIRECTION_PACKETS) >> 1]!;
    out[(at + EVENT_BYTES_REPLY) >> 1] = floats[(reply + DIRECTION_BYTES) >> 1]!;
    this.ring.publish();
  }

  /**
   * A packet that came in by a port may not start a flow.
   *
   * @param space address space that it came from
   * @param portWord of the port
   * @param reason its drop reason
   * @param decider place + 1 of the plugin that decided, 0 if none did
   */
  refused(
    view: PacketView,
    space: number,
    portWord: number,
    reason: number,
    decider: number,
    planGeneration: number,
    nowMs: number,
  ): void {
    if (this.wanted[reason] !== 1) return;
    const port = portWord & (COUNTED_PORTS - 1);
    if (!this.maySpend(port, nowMs)) {
      this.suppressed[port] = (this.suppressed[port]! + 1) | 0;
      this.ring.countSuppressed();
      return;
    }
    const at = this.ring.claim();
    if (at < 0) return;
    const words = this.words;
    for (let word = at; word < at + EVENT_WORDS; word++) words[word] = 0;
    words[at + EVENT_KIND] = EVENT_REFUSED | (reason << 8);
    words[at + EVENT_TIME] = nowMs;
    words[at + EVENT_INGRESS] = portWord;
    words[at + EVENT_DECIDER] = decider;
    words[at + EVENT_PLAN] = planGeneration;
    words[at + EVENT_SUPPRESSED] = this.suppressed[port]!;
    this.suppressed[port] = 0;
    const key = at + EVENT_ORIGINATOR_KEY;
    words[key + KEY_SRC0] = view.src0;
    words[key + KEY_SRC0 + 1] = view.src1;
    words[key + KEY_SRC0 + 2] = view.src2;
    words[key + KEY_SRC0 + 3] = view.src3;
    words[key + KEY_DST0] = view.dst0;
    words[key + KEY_DST0 + 1] = view.dst1;
    words[key + KEY_DST0 + 2] = view.dst2;
    words[key + KEY_DST0 + 3] = view.dst3;
    words[key + KEY_PORTS] = view.ports;
    words[key + KEY_META] = keyMeta(space, view.protocol, view.family);
    this.ring.publish();
  }

  private describe(at: number, kind: number, records: Int32Array, record: number, nowMs: number): void {
    const words = this.words;
    const base = record * RECORD_WORDS;
    const reply = base + DIRECTION_WORDS;
    words[at + EVENT_KIND] = kind;
    words[at + EVENT_TIME] = nowMs;
    words[at + EVENT_FLOW] = records[base + SHARED_ID]!;
    words[at + EVENT_CREATED] = records[base + SHARED_CREATED]!;
    words[at + EVENT_INGRESS] = records[base + SHARED_INGRESS]!;
    words[at + EVENT_EGRESS] = records[base + DIRECTION_EGRESS]!;
    words[at + EVENT_PIN] = records[reply + DIRECTION_EGRESS]!;
    words[at + EVENT_DECIDER] = records[base + SHARED_PLUGINS]! >>> 16;
    words[at + EVENT_PLAN] = records[base + SHARED_PLAN]!;
    words[at + EVENT_SUPPRESSED] = 0;
    for (let word = EVENT_PACKETS_ORIGINATOR; word < EVENT_FLAGS; word++) words[at + word] = 0;
    words[at + EVENT_FLAGS] = records[base + SHARED_STATE]!;
    for (let word = 0; word < KEY_WORDS; word++) {
      words[at + EVENT_ORIGINATOR_KEY + word] = records[base + word]!;
      words[at + EVENT_REPLY_KEY + word] = records[reply + word]!;
    }
  }

  private maySpend(port: number, nowMs: number): boolean {
    let elapsedMs = (nowMs - this.reckonedMs[port]!) | 0;
    // Negative: more than 24 days ago. A bucket is full after one second.
    if (elapsedMs < 0 || elapsedMs > BUCKET_MS) elapsedMs = BUCKET_MS;
    const spent = Math.max(0, this.spent[port]! - elapsedMs * this.ratePerPort);
    this.reckonedMs[port] = nowMs;
    const may = spent + COST <= this.ratePerPort * BUCKET_MS;
    this.spent[port] = may ? spent + COST : spent;
    return may;
  }
}
