/**
 * Assembly: makes a pipeline out of its parts over a flow memory and an I/O's frame lists, and gives it new plans.
 *
 * A plan is swapped whole between two bursts. What it takes away ends: flows whose tunnel got another generation
 * (another site or other endpoints now stand behind that slot), flows of spaces that are gone, what came out of a
 * diversion that is gone, flows whose external address is gone, flows from an egress whose port forward is gone. Everything else goes on undisturbed.
 */
import { Budgets } from '../flow/budgets.ts';
import { COUNTER, Counters } from '../flow/counters.ts';
import { END } from '../flow/flow-event-layout.ts';
import type { FlowEventWriter } from '../flow/flow-event-writer.ts';
import type { FlowMemory } from '../flow/flow-memory.ts';
import { HeldTuples } from '../flow/held-tuples.ts';
import {
  DIRECTION_EGRESS,
  DIRECTION_WORDS,
  FLOW_UNVOUCHED,
  FlowKey,
  KEY_META,
  ORIGINATOR,
  RECORD_WORDS,
  REPLY,
  SHARED_INGRESS,
  SHARED_STATE,
  SHARED_TRANSLATION,
} from '../flow/layout.ts';
import { readKey } from '../flow/record.ts';
import { FlowTable } from '../flow/table.ts';
import {
  ENDED_CRASH,
  holdMs,
  TIMEOUT_ICMP,
  TIMEOUT_TCP_ESTABLISHED,
  TIMEOUT_UDP_ANSWERED,
} from '../flow/timeouts.ts';
import { Translation } from '../flow/translation.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { RunningPlugin } from '../plugin/running-plugin.ts';
import { swap16 } from '../wire/byte-order.ts';
import { decode } from '../wire/decode.ts';
import type { FrameList, FrameMemory } from '../wire/frame.ts';
import { PacketView } from '../wire/packet.ts';
import { PacketTap } from './capture/packet-tap.ts';
import { Departure } from './departure.ts';
import { Diversions } from './diversions.ts';
import { EchoResponder } from './echo-responder.ts';
import { Explainer } from './explain/explain.ts';
import type { Explanation, Question } from './explain/explanation.ts';
import { leaveDeadTunnels } from './flow-egress.ts';
import { FlowEnd } from './flow-end.ts';
import type { FlowPolicy, FlowState } from './flow-policy.ts';
import { FlowSetupStage } from './flow-setup.ts';
import { Fragmenter } from './fragmentation.ts';
import { GatewayAddresses } from './gateway-addresses.ts';
import { HeldFlows } from './held-flows.ts';
import { IcmpErrors } from './icmp-errors.ts';
import { Identifications } from './identification.ts';
import { KeyedHash } from './keyed-hash.ts';
import { LinkLayer } from './link/link-layer.ts';
import { Scratch } from './link/scratch.ts';
import { OwnErrors } from './own-errors.ts';
import { Pipeline } from './pipeline.ts';
import type { Plan } from './plan.ts';
import { reservedPorts, siteSpaces, translationPools } from './plan-pools.ts';
import { remapPlugins } from './plugin-bits.ts';
import { PluginChain } from './plugin-chain.ts';
import type { LoadedPlugin, OnPluginFailure } from './plugin-link.ts';
import { PluginMeter } from './plugin-meter.ts';
import { areSamePlugins } from './plugin-recall.ts';
import { PortForwards } from './port-forwards.ts';
import { type Penalties, PortTable, portIndex } from './port-table.ts';
import { Reassembler } from './reassembly.ts';
import { Reevaluation } from './reevaluation.ts';
import { RoutingTable } from './routing-table.ts';
import { Segmenter } from './segmentation.ts';
import { Strays } from './strays.ts';
import { TcpResets } from './tcp-reset.ts';
import { TunnelProbes } from './tunnel-probes.ts';

/** Packet memory for fragments that wait and datagrams that are whole. */
const REASSEMBLY_BYTES = 4 * 1024 * 1024;
const REASSEMBLY_DATAGRAMS = 1024;
/** Above all address spaces. */
const OUTER_SPACE = 0x10000;
/** A data plane that was away for longer no longer vouches for its flows: originators must speak first. */
const VOUCHED_ABSENCE_MS = 60_000;

/** Where frames lie and go: a part of `BurstIo`, so that the pipeline needs no device. */
export interface FrameSpace {
  readonly memory: FrameMemory;
  readonly scratchOffset: number;
  readonly scratchBytes: number;
  readonly tx: FrameList;
}

export interface AssemblyOptions {
  readonly frames: FrameSpace;
  readonly flowMemory: FlowMemory;
  readonly plan: Plan;
  /** In the order in which they run. */
  readonly plugins: readonly LoadedPlugin[];
  readonly onPluginFailure: OnPluginFailure;
  /** Who says which plugin is running; by default one over the flow memory. */
  readonly running?: RunningPlugin;
  /** Random int32 words: keys of hashes that senders must not guess. */
  readonly random: () => number;
  readonly nowMs: number;
  /** Where flows that begin, end or are refused are told; by default nowhere. */
  readonly events?: FlowEventWriter | undefined;
}

export class Assembly {
  readonly pipeline: Pipeline;
  readonly counters: Counters;
  readonly state: FlowState;
  readonly link: LinkLayer;
  readonly scratch: Scratch;
  /** Where captures look at packets. */
  readonly tap: PacketTap;
  /** Test packets of our own. */
  readonly probes: TunnelProbes;
  /** Packets that came by a tunnel where nothing expects them. */
  readonly strays: Strays;
  private readonly flowMemory: FlowMemory;
  private readonly reassembler: Reassembler;
  private readonly end: FlowEnd;
  private readonly departure: Departure;
  private readonly onPluginFailure: OnPluginFailure;
  private readonly running: RunningPlugin;
  private policy: FlowPolicy;
  private plan: Plan;
  /** External ports that the plan asks for and the flow memory has no room for. */
  unplacedPorts = 0;

  constructor(options: AssemblyOptions) {
    const { frames, flowMemory, plan, random, nowMs } = options;
    const { memory, tx } = frames;
    this.onPluginFailure = options.onPluginFailure;
    this.running = options.running ?? new RunningPlugin(flowMemory.runningPlugin, flowMemory.accusedPlugin);
    this.flowMemory = flowMemory;
    this.plan = plan;
    this.counters = new Counters(flowMemory.counters);
    this.scratch = new Scratch(memory, frames.scratchOffset, frames.scratchBytes);
    const table = new FlowTable(flowMemory);
    const translation = new Translation(flowMemory.translation, random(), nowMs);
    const held = new HeldTuples(flowMemory.heldTuples, random());
    const budgets = new Budgets(this.counters, flowMemory.hashSeed0, flowMemory.hashSeed1);
    this.state = { table, translation, held, budgets };
    this.policy = this.compile(plan, options.plugins, new PortTable(plan));

    const view = new PacketView(memory);
    this.tap = new PacketTap(memory, table, this.policy.ports);
    const identifications = new Identifications(random(), random());
    this.link = new LinkLayer(
      memory,
      tx,
      this.scratch,
      (port, reason) => {
        this.counters.countDrop(Math.max(port, 0), reason);
        if (this.tap.active !== 0) this.tap.linkDropped(port, reason);
      },
      { counters: this.counters, identifications, tap: this.tap },
    );
    this.reassembler = new Reassembler(
      memory,
      this.reserve(REASSEMBLY_BYTES),
      REASSEMBLY_BYTES,
      REASSEMBLY_DATAGRAMS,
      new KeyedHash(random(), random()),
      (space, reason, fragments) => this.countFragments(space, reason, fragments),
    );
    this.reassembleTunnelPackets(memory);
    const errors = new OwnErrors(
      view,
      this.link,
      new IcmpErrors(this.scratch, random(), random()),
      new EchoResponder(),
      new TcpResets(this.scratch),
      this.policy.ports,
      this.counters,
    );
    this.departure = new Departure(
      view,
      this.link,
      errors,
      identifications,
      new Fragmenter(this.scratch, identifications),
      new Segmenter(this.scratch),
      this.counters,
    );
    this.probes = new TunnelProbes(view, this.link, this.scratch, random);
    this.strays = new Strays(table, this.counters, nowMs);
    this.end = new FlowEnd(this.state, this.counters, this.policy.chain, nowMs);
    this.pipeline = new Pipeline(
      {
        view,
        link: this.link,
        reassembler: this.reassembler,
        state: this.state,
        setup: new FlowSetupStage(this.state, this.policy, new HeldFlows(random()), random()),
        end: this.end,
        departure: this.departure,
        errors,
        counters: this.counters,
        tap: this.tap,
        probes: this.probes,
        strays: this.strays,
        scratch: this.scratch,
      },
      this.policy,
    );
    this.setEvents(options.events);
    this.adopt(plan, flowMemory.lastAliveMs, nowMs);
    this.apply(plan, options.plugins, nowMs);
  }

  get chain(): PluginChain {
    return this.policy.chain;
  }

  get ports(): PortTable {
    return this.policy.ports;
  }

  /** Where flows that begin, end or are refused are told from now on; undefined: nowhere. */
  setEvents(events: FlowEventWriter | undefined): void {
    this.pipeline.setEvents(events);
  }

  /**
   * Takes a new plan.
   *
   * @throws Error if the plan or a plugin is unusable; then nothing has changed
   */
  apply(plan: Plan, plugins: readonly LoadedPlugin[], nowMs: number): void {
    const policy = this.compile(plan, plugins, this.policy.ports.heir(plan));
    this.pipeline.streams.prepare(policy.chain, nowMs);
    const { translation } = this.state;
    const change = translation.configure(
      translationPools(plan),
      reservedPorts(plan),
      nowMs,
      siteSpaces(plan),
    );
    try {
      this.link.configure(plan, nowMs);
    } catch (error) {
      translation.configure(
        translationPools(this.plan),
        reservedPorts(this.plan),
        nowMs,
        siteSpaces(this.plan),
      );
      throw error;
    }
    this.state.budgets.configure({
      flowsPerPort: plan.flowTable.perTunnel,
      ratePerPort: plan.flowTable.createRatePerTunnel,
      ratePerSource: plan.flowTable.createRatePerSource,
      flows: this.state.table.capacity,
      sites: siteSpaces(plan),
      sharedPorts: plan.ports.flatMap(({ role, index }) => (role === 'diversion' ? [index] : [])),
    });
    this.state.held.configure(siteSpaces(plan));
    this.unplacedPorts = change.unplacedPorts;
    const before = this.policy.ports;
    // What waits knows plugins by their places.
    if (!areSamePlugins(policy.chain, this.policy.chain)) this.pipeline.held.dropAll(nowMs);
    this.plan = plan;
    this.policy = policy;
    this.pipeline.setPolicy(policy);
    this.tap.setPorts(policy.ports);
    // Before flows end: a plugin may be interrupted in that, and the plan comes again with nothing to compare it with.
    this.forgetFragments(before);
    this.renamePlugins(nowMs);
    this.endOrphans(nowMs);
    for (const { index, generation } of plan.ports) this.counters.claimPort(index, generation);
    this.counters.add(COUNTER.plans_applied, 1);
  }

  /**
   * What would become of a packet, or becomes of a flow, and why; undefined if the flow or port is not there. Changes
   * nothing. Between two bursts.
   *
   * @throws Error for texts that are no addresses
   */
  explain(question: Question, nowMs: number): Explanation | undefined {
    const { plan, policy, state, link, departure } = this;
    const { streams } = this.pipeline;
    return new Explainer({ plan, policy, state, link, departure, streams }).explain(question, nowMs);
  }

  /** Judges live flows anew, a stretch at each call of what this returns; it answers true when all have been judged. */
  reevaluation(): { readonly run: Reevaluation; step(nowMs: number, budgetMs: number): boolean } {
    const run = new Reevaluation(this.state, this.end, this.pipeline.streams);
    return { run, step: (nowMs, budgetMs) => run.step(this.policy, nowMs, budgetMs) };
  }

  /** Takes what is known of the health of tunnels: those to avoid, by name. */
  penalise(penalties: Penalties): void {
    this.ports.setPenalties(penalties);
    leaveDeadTunnels(this.state.table, this.ports);
  }

  /** Forgets everything built in scratch memory; before a burst's frames are processed. */
  beginBurst(): void {
    this.scratch.reset();
    this.reassembler.release();
  }

  /** Ends flows that `matches` picks; returns how many. */
  flush(matches: (words: Int32Array, base: number) => boolean, nowMs: number): number {
    const { table } = this.state;
    return table.flush(
      (record) => matches(table.words, record * RECORD_WORDS),
      (record) => this.end.flush(record, END.flushed, nowMs),
    );
  }

  private compile(plan: Plan, plugins: readonly LoadedPlugin[], ports: PortTable): FlowPolicy {
    const otherProtocols = new Uint8Array(256);
    for (const protocol of plan.flowTable.otherProtocols) otherProtocols[protocol] = 1;
    return {
      planGeneration: plan.generation,
      ports,
      routes: new RoutingTable(plan),
      chain: new PluginChain(plugins, this.onPluginFailure, new PluginMeter(this.counters, this.running), {
        capacity: this.state.table.capacity,
        ports: plan.ports,
      }),
      gatewayAddresses: new GatewayAddresses(plan),
      portForwards: new PortForwards(plan),
      diversions: new Diversions(plan, ports),
      otherProtocols,
    };
  }

  /** Flows found in the memory: their translations and budgets are counted again, doubtful ones wait. */
  private adopt(plan: Plan, lastAliveMs: number, nowMs: number): void {
    const { table, translation, budgets } = this.state;
    const words = table.words;
    const key = new FlowKey();
    budgets.rebuild(table);
    const vouched = ((nowMs - lastAliveMs) | 0) >= 0 && ((nowMs - lastAliveMs) | 0) < VOUCHED_ABSENCE_MS;
    translation.configure(translationPools(plan), reservedPorts(plan), nowMs, siteSpaces(plan));
    for (let record = table.next(-1); record >= 0; record = table.next(record)) {
      const base = record * RECORD_WORDS;
      const slot = words[base + SHARED_TRANSLATION] - 1;
      if (slot >= 0) {
        readKey(words, record, ORIGINATOR, key);
        const protocol = (key.meta >>> 8) & 0xff;
        const port = swap16(key.ports & 0xffff);
        const adopted = translation.adopt(
          slot,
          key.meta >>> 16,
          key.src0,
          key.src1,
          key.src2,
          key.src3,
          port,
          protocol,
        );
        if (!adopted) {
          words[base + SHARED_TRANSLATION] = 0;
          this.end.flush(record, END.lost_translation, nowMs);
          continue;
        }
      }
      if (!vouched) words[base + SHARED_STATE] = words[base + SHARED_STATE] | FLOW_UNVOUCHED;
    }
    this.counters.add(COUNTER.flows_restored, table.restored);
    this.counters.add(COUNTER.flows_discarded, table.discarded);
    translation.settle(
      holdMs(TIMEOUT_TCP_ESTABLISHED, ENDED_CRASH),
      holdMs(TIMEOUT_UDP_ANSWERED, ENDED_CRASH),
      holdMs(TIMEOUT_ICMP, ENDED_CRASH),
      nowMs,
    );
  }

  /** Flows know plugins by their place in the list, which may be another one now. */
  private renamePlugins(nowMs: number): void {
    const { flowMemory } = this;
    const { chain } = this.policy;
    const before = flowMemory.plugins;
    if (before?.join() === chain.names.join()) return;
    // Whoever finds the records half changed must not believe either list.
    flowMemory.plugins = undefined;
    remapPlugins(this.state.table, before, chain, (record) =>
      this.end.flush(record, END.reconfigured, nowMs),
    );
    this.pipeline.streams.renumber(before?.map((name) => chain.readerAt(name)) ?? []);
    this.counters.clearPlugins();
    flowMemory.plugins = chain.names;
  }

  /** Asks every flow, not what has just changed: whatever interrupts this, the next plan ends the others. */
  private endOrphans(nowMs: number): void {
    const { table, translation } = this.state;
    const { diversions, ports } = this.policy;
    const words = table.words;
    const spaces = new Set(ports.all().map((port) => port.space));
    const egresses = new Set(ports.all().flatMap(({ role, space }) => (role === 'egress' ? [space] : [])));
    for (let record = table.next(-1); record >= 0; record = table.next(record)) {
      const base = record * RECORD_WORDS;
      const slot = words[base + SHARED_TRANSLATION] - 1;
      const orphaned =
        (slot >= 0 && !translation.isUsable(slot)) ||
        isReplaced(ports, words[base + SHARED_INGRESS]) ||
        diversions.isOrphan(words, record) ||
        isReplaced(ports, words[base + DIRECTION_EGRESS]) ||
        isReplaced(ports, words[base + REPLY * DIRECTION_WORDS + DIRECTION_EGRESS]) ||
        !spaces.has(words[base + KEY_META] >>> 16) ||
        !spaces.has(words[base + DIRECTION_WORDS + KEY_META] >>> 16) ||
        (egresses.has(words[base + KEY_META] >>> 16) && !this.isForwarded(record));
      if (orphaned) this.end.flush(record, END.reconfigured, nowMs);
    }
  }

  /** What waits for the rest of a datagram may have come by a tunnel that another one has replaced in its site. */
  private forgetFragments(before: PortTable): void {
    for (const { index, generation, space, link } of before.all()) {
      if (this.policy.ports.get(index)?.generation === generation) continue;
      this.reassembler.forget(space);
      if (link.kind === 'gre') this.reassembler.forget(OUTER_SPACE + link.device);
    }
  }

  /** Whether a port forward of the plan lets this flow in: from an egress, nothing else does. */
  private isForwarded(record: number): boolean {
    const { words } = this.state.table;
    const originator = new FlowKey();
    const reply = new FlowKey();
    readKey(words, record, ORIGINATOR, originator);
    readKey(words, record, REPLY, reply);
    return this.policy.portForwards.has(originator, reply);
  }

  /** Fragments of tunnel packets: the same mechanism, in a space of their own for each device. */
  private reassembleTunnelPackets(memory: FrameMemory): void {
    const outer = new PacketView(memory);
    this.link.onOuterFragment = (packetOffset, availableBytes, device, nowMs) => {
      const code = decode(outer, packetOffset, availableBytes);
      if (code !== 0) return -code;
      if (outer.fragment === 0) return -DROP.fragment_malformed;
      return this.reassembler.add(outer, OUTER_SPACE + device, nowMs);
    };
  }

  private reserve(bytes: number): number {
    const offset = this.scratch.reserve(bytes);
    if (offset < 0) throw new RangeError(`scratch memory has no room for ${bytes} bytes`);
    return offset;
  }

  private countFragments(space: number, reason: number, fragments: number): void {
    const port = this.policy.ports.anyPortOf(space);
    for (let i = 0; i < fragments; i++) this.counters.countDrop(port, reason);
  }
}

/** Whether another tunnel stands in the slot of a stored port word now. An empty slot is no other tunnel. */
function isReplaced(ports: PortTable, word: number): boolean {
  const port = ports.get(portIndex(word));
  return port !== undefined && port.generation !== word >>> 16;
}
