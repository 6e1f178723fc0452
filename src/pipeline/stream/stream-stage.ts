/**
 * Streams as a part of the packet's way: what `pipeline.ts` calls for flows whose bytes plugins read, and what becomes of
 * such a flow when a plugin ends it or nobody reads any more.
 *
 * Its memory is cut off the scratch region when the first plan comes whose plugins read streams; without such a plan
 * there is none, and no flow has {@link FLOW_STREAMS} set, which is all that the packets of other flows are asked.
 *
 * Neighbours: `streams.ts` (the rules), `stream-sweep.ts`, `held-departure.ts`; `flow-end.ts` says which flows have ended.
 */
import { COUNTER, type Counters } from '../../flow/counters.ts';
import { END } from '../../flow/flow-event-layout.ts';
import { FLOW_STREAMS, KEY_META, RECORD_WORDS, SHARED_STATE } from '../../flow/layout.ts';
import { DROP } from '../../plugin/drop-reasons.ts';
import { PacketView, PROTOCOL_TCP } from '../../wire/packet.ts';
import type { Departure } from '../departure.ts';
import type { FlowEnd } from '../flow-end.ts';
import type { FlowPolicy } from '../flow-policy.ts';
import type { LinkLayer } from '../link/link-layer.ts';
import type { Scratch } from '../link/scratch.ts';
import type { OwnErrors } from '../own-errors.ts';
import type { PluginChain } from '../plugin-chain.ts';
import { LiveFlow } from '../plugin-link.ts';
import { type PortTable, portIndex } from '../port-table.ts';
import { DuplicateAcks } from './duplicate-acks.ts';
import { HeldDeparture, turnIntoReset } from './held-departure.ts';
import { passesLostStreams, StreamHooks } from './stream-hooks.ts';
import { FIRST_HELD, READERS } from './stream-layout.ts';
import { STREAM_PAGE_BYTES } from './stream-pages.ts';
import { GATHER_BYTES, type ReadFlow, StreamShow } from './stream-readers.ts';
import { type StreamOwner, StreamSweep } from './stream-sweep.ts';
import { StreamTable } from './stream-table.ts';
import { Streams, TAKEN_EARLY, TAKEN_ENDS } from './streams.ts';

/** Packet memory for what is remembered and held back. */
const STREAM_BYTES = 32 * 1024 * 1024;
/** What packets of our own need besides. */
const KEPT_FREE_BYTES = 2 * 1024 * 1024;

export interface StreamStageParts {
  readonly scratch: Scratch;
  readonly link: LinkLayer;
  readonly flows: Int32Array;
  readonly maxFlows: number;
  readonly departure: Departure;
  readonly end: FlowEnd;
  readonly errors: OwnErrors;
  readonly counters: Counters;
  /** The port by which a packet of this direction leaves, -1 if there is none. */
  readonly egressOf: (record: number, direction: number) => number;
}

interface Parts {
  readonly table: StreamTable;
  readonly shows: StreamShow;
  readonly streams: Streams;
  readonly sweep: StreamSweep;
  readonly held: HeldDeparture;
  readonly acks: DuplicateAcks;
}

export class StreamStage implements StreamOwner {
  private readonly parts: StreamStageParts;
  private readonly flow = new LiveFlow();
  private chain: PluginChain;
  private ports: PortTable;
  private memory: Parts | undefined = undefined;
  private conflicts = 0;

  constructor(parts: StreamStageParts, { chain, ports }: FlowPolicy) {
    this.parts = parts;
    this.chain = chain;
    this.ports = ports;
    // Of a process that was here before.
    const gauges = ['stream_flows', 'stream_bytes', 'stream_bytes_limit', 'stream_held_segments'] as const;
    for (const gauge of gauges) parts.counters.set(COUNTER[gauge], 0);
  }

  /**
   * Makes room for the streams that the plugins of `chain` read.
   *
   * @throws RangeError if packet memory has none
   */
  prepare(chain: PluginChain, nowMs: number): void {
    if (!chain.readsStreams || this.memory !== undefined) return;
    const { scratch, flows, maxFlows, departure, counters } = this.parts;
    const bytes = Math.min(STREAM_BYTES, scratch.freeBytes - KEPT_FREE_BYTES - GATHER_BYTES) & ~15;
    const offset = scratch.reserve(bytes + GATHER_BYTES);
    const table = new StreamTable(scratch.memory, maxFlows, offset, bytes);
    const shows = new StreamShow(scratch.memory, table, offset + bytes, new StreamHooks(chain));
    const streams = new Streams(table, shows, flows);
    const view = new PacketView(scratch.memory, true);
    const held = new HeldDeparture(view, scratch, table, departure, counters, flows);
    const acks = new DuplicateAcks(scratch, table);
    this.memory = { table, shows, streams, sweep: new StreamSweep(table, shows, this, nowMs), held, acks };
  }

  setPolicy({ chain, ports }: FlowPolicy): void {
    this.chain = chain;
    this.ports = ports;
    if (this.memory === undefined) return;
    this.memory.shows.setReaders(new StreamHooks(chain));
    this.memory.table.divide(ports.siteSpaces());
  }

  /** Its plugins stand at other places: see `StreamTable.renumber`. */
  renumber(places: readonly number[]): void {
    this.memory?.table.renumber(places);
  }

  /**
   * Opens the streams that plugins asked for when this flow was set up, whose SYN `view` is. Its record says already that
   * it has some ({@link FLOW_STREAMS}): should the process end in between, they are lost, and not forgotten. Returns 0, or
   * the reason why the flow cannot go on.
   */
  begin(record: number, view: PacketView, nowMs: number): number {
    if (!this.chain.streamWishes.any || view.protocol !== PROTOCOL_TCP) return 0;
    const space = this.parts.flows[record * RECORD_WORDS + KEY_META] >>> 16;
    if (this.memory === undefined) return DROP.stream_memory;
    return this.memory.streams.open(record, space, this.chain.streamWishes.limits, view, nowMs);
  }

  /**
   * Takes a segment of a flow with streams, which came in by `port`, in fragments no larger than `fragmentLimit` if that is not
   * 0. Returns a drop reason; or what `Streams.take` says: whether it leaves. Then
   * {@link settle} must be called.
   */
  take(
    view: PacketView,
    flow: LiveFlow,
    port: number,
    egress: number,
    fragmentLimit: number,
    nowMs: number,
  ): number {
    const { record, direction } = flow;
    const slot = this.memory?.table.slotOf(record) ?? -1;
    if (this.memory === undefined || slot < 0) return this.lost(view, record, direction, port, egress, nowMs);
    const { streams, shows } = this.memory;
    const taken = streams.take(view, slot, flow, this.ports.wordOf[port], fragmentLimit, nowMs);
    if (streams.conflicts !== this.conflicts) {
      this.parts.counters.add(COUNTER.stream_conflicts, streams.conflicts - this.conflicts);
      this.conflicts = streams.conflicts;
    }
    if (taken === TAKEN_EARLY) this.askForMissing(view, slot, flow, port, nowMs);
    if (taken !== TAKEN_ENDS) return taken;
    if (shows.reset) this.tellEnds(view, record, direction, port, egress, nowMs);
    this.parts.end.flush(record, END.policy, nowMs);
    return shows.reason;
  }

  /** Tells the sender that something is missing: its receiver cannot, as it does not see what came behind it. */
  private askForMissing(view: PacketView, slot: number, flow: LiveFlow, port: number, nowMs: number): void {
    const { table, acks } = this.memory!;
    if (acks.build(view, table.blockOf(slot, flow.direction))) this.parts.link.send(port, acks.reply, nowMs);
  }

  /** After the segment has left, or not: sends what may go now, and lets go of a flow that nobody reads. */
  settle(record: number, direction: number, nowMs: number): void {
    if (this.memory === undefined) return;
    const { table, streams } = this.memory;
    const slot = table.slotOf(record);
    if (slot < 0) return;
    if (streams.isReleasable(table.blockOf(slot, direction))) this.release(record, direction, nowMs);
    if (streams.isFinished(slot)) this.letGo(record);
  }

  /** Whether the plugin at this place of the chain reads a stream of this flow. */
  isReadBy(record: number, place: number): boolean {
    const slot = this.memory?.table.slotOf(record) ?? -1;
    if (this.memory === undefined || slot < 0) return false;
    const { words } = this.memory.table;
    const readers =
      words[this.memory.table.blockOf(slot, 0) + READERS] |
      words[this.memory.table.blockOf(slot, 1) + READERS];
    return (readers & (1 << place)) !== 0;
  }

  /** Where the streams of flows are written down; undefined while no plugin has ever read any. */
  get table(): StreamTable | undefined {
    return this.memory?.table;
  }

  /** Who has asked for the bytes of a flow since the process began, as `StreamTable.asked` has it. */
  askedFor(record: number): number {
    return this.memory?.table.asked[record] ?? 0;
  }

  /** Plugins (as above) ask for bytes of a flow that have passed, and let it go on without. */
  doWithout(record: number, asked: number): void {
    if (this.memory !== undefined) this.memory.table.asked[record] |= asked;
  }

  /** A flow has ended: nothing of it is held or known any more. */
  close(record: number): void {
    if (this.memory === undefined) return;
    const { table } = this.memory;
    table.close(record);
    table.asked[record] = 0;
  }

  /** Housekeeping. */
  sweep(nowMs: number): void {
    if (this.memory === undefined) return;
    this.memory.sweep.sweep(nowMs);
    const { counters } = this.parts;
    const { table } = this.memory;
    counters.set(COUNTER.stream_flows, table.flows);
    counters.set(COUNTER.stream_bytes, table.pages.used * STREAM_PAGE_BYTES);
    counters.set(COUNTER.stream_bytes_limit, table.pages.capacity * STREAM_PAGE_BYTES);
    counters.set(COUNTER.stream_held_segments, table.held.used);
  }

  /** Pages in use, and how many there are. */
  get pagesUsed(): number {
    return this.memory?.table.pages.used ?? 0;
  }

  get pagesCapacity(): number {
    return this.memory?.table.pages.capacity ?? 0;
  }

  get heldSegments(): number {
    return this.memory?.table.held.used ?? 0;
  }

  describeFlow(record: number, direction: number): ReadFlow {
    return this.parts.end.describe(this.flow, record, direction);
  }

  release(record: number, direction: number, nowMs: number): void {
    if (this.memory === undefined) return;
    const { table, streams, held } = this.memory;
    const at = table.blockOf(table.slotOf(record), direction);
    const egress = this.parts.egressOf(record, direction);
    while (streams.isReleasable(at)) {
      const port = this.portOf(table.held.portWord(table.held.first(at)));
      held.sendFirst(at, record, direction, port, egress, nowMs);
    }
  }

  endStream(record: number, direction: number, reason: number, tells: boolean, nowMs: number): void {
    if (this.memory === undefined) return;
    const { table, held } = this.memory;
    const at = table.blockOf(table.slotOf(record), direction);
    const first = table.words[at + FIRST_HELD];
    if (first >= 0) {
      const portWord = table.held.portWord(first);
      const port = this.portOf(portWord);
      this.dropHeld(portWord, reason);
      if (tells && held.make(at) === 0) {
        this.tellEnds(held.view, record, direction, port, this.parts.egressOf(record, direction), nowMs);
      }
    }
    this.parts.end.flush(record, END.policy, nowMs);
  }

  dropHeld(portWord: number, reason: number): void {
    this.parts.counters.countDrop(Math.max(this.portOf(portWord), 0), reason);
  }

  /** The port by which a held segment came in; -1 if another one stands there now, or none: nobody is told by that. */
  private portOf(portWord: number): number {
    const port = portIndex(portWord);
    return this.ports.wordOf[port] === portWord ? port : -1;
  }

  /** Nobody reads any more: the flow is like any other. */
  private letGo(record: number): void {
    this.parts.flows[record * RECORD_WORDS + SHARED_STATE] &= ~FLOW_STREAMS;
    this.memory?.table.close(record);
  }

  /** A flow whose streams are not known any more. What plugins have not seen may not pass, if one must see it. */
  private lost(
    view: PacketView,
    record: number,
    direction: number,
    port: number,
    egress: number,
    nowMs: number,
  ): number {
    if (passesLostStreams(this.chain)) {
      this.letGo(record);
      return 0;
    }
    this.tellEnds(view, record, direction, port, egress, nowMs);
    this.parts.end.flush(record, END.policy, nowMs);
    return DROP.stream_lost;
  }

  /** Resets to the sender of this segment (by `port`; less than 0: none), and to its receiver instead of it. */
  private tellEnds(
    view: PacketView,
    record: number,
    direction: number,
    port: number,
    egress: number,
    nowMs: number,
  ): void {
    const { errors, departure, flows, counters } = this.parts;
    if (port >= 0) errors.refused(view, port, nowMs);
    if (egress < 0 || view.ttl <= 1) return;
    const slot = this.memory?.table.slotOf(record) ?? -1;
    const { memory } = this;
    const delivered =
      memory === undefined || slot < 0
        ? view.sequence
        : memory.streams.deliveredTo(memory.table.blockOf(slot, direction), view.sequence);
    turnIntoReset(view, delivered);
    if (departure.leave(view, flows, record, direction, port, egress, 0, nowMs) === 0) {
      counters.add(COUNTER.tcp_resets_sent, 1);
    }
  }
}
