/**
 * The pipeline: the packet's way from a received frame to frames to send. No I/O, no clock: frames, a device
 * number and the time come in; frames go out into `tx`; everything remembered lies in the flow memory.
 *
 * ```
 *  frame ─ link ─ decode ─ fragments ─┬─ hit ──── protocol state ─ plugins ─ departure ─ link
 *                                     ├─ ICMP error ── flow of the quoted packet ─ departure
 *                                     └─ miss ─── own address? ─ flow set-up ─ departure
 * ```
 *
 * Every packet that does not leave is counted once, under the port it came in by and one reason. The reply of a
 * flow goes to the port in its record and to no other: if that port is gone, the packet is dropped.
 */
import { COUNTER, type Counters, PORT_REPINS } from '../flow/counters.ts';
import { END } from '../flow/flow-event-layout.ts';
import type { FlowEventWriter } from '../flow/flow-event-writer.ts';
import {
  DIRECTION_BYTES,
  DIRECTION_EGRESS,
  DIRECTION_PACKETS,
  DIRECTION_WORDS,
  FLOW_ANSWERED,
  FLOW_ROUTED_REPLY,
  FLOW_STREAMS,
  FLOW_UNVOUCHED,
  FLOW_WIRE_PACKETS,
  ORIGINATOR,
  RECORD_WORDS,
  REPLY,
  SHARED_ID,
  SHARED_INGRESS,
  SHARED_LAST_ORIGINATOR,
  SHARED_LAST_SEEN,
  SHARED_PLUGINS,
  SHARED_STATE,
  SHARED_TCP,
} from '../flow/layout.ts';
import type { FlowTable } from '../flow/table.ts';
import { checkQuotedSequence, TCP_OK, TCP_REOPEN, tcpTimeoutClass, trackTcp } from '../flow/tcp.ts';
import { setTimeoutClass } from '../flow/timeouts.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { HOOK_FLOW_SETUP, HOOK_FLOW_START, HOOK_PACKET } from '../plugin/running-plugin.ts';
import { fillTransportChecksum, verifyTransportChecksum } from '../wire/checksum.ts';
import { decode } from '../wire/decode.ts';
import { GSO_NONE, ICMP_ERROR, type PacketView, PROTOCOL_TCP } from '../wire/packet.ts';
import { readVirtioNetHeader } from '../wire/virtio-net.ts';
import type { PacketTap } from './capture/packet-tap.ts';
import type { Departure } from './departure.ts';
import { isUnreachable, lacksEgress, otherEgress } from './flow-egress.ts';
import type { FlowEnd } from './flow-end.ts';
import type { FlowPolicy, FlowState } from './flow-policy.ts';
import type { FlowSetupStage } from './flow-setup.ts';
import { HeldStage } from './held-stage.ts';
import { cutQuote, isInspected } from './inspected-quotes.ts';
import type { LinkLayer } from './link/link-layer.ts';
import type { OwnErrors } from './own-errors.ts';
import { isForQuotedSender, isLinkLocal } from './packet-addresses.ts';
import type { PipelineParts } from './pipeline-parts.ts';
import { HELD, INSPECT_END, INSPECT_PASS, INSPECT_REJECT } from './plugin-chain.ts';
import { LiveFlow } from './plugin-link.ts';
import type { PortTable } from './port-table.ts';
import type { Reassembler } from './reassembly.ts';
import { Refusals } from './refusals.ts';
import { segmentsOf } from './segments.ts';
import { StreamStage } from './stream/stream-stage.ts';
import { TAKEN_LEAVES } from './stream/streams.ts';
import { translateIcmpError } from './translate.ts';
import type { TunnelProbes } from './tunnel-probes.ts';
import { WirePackets } from './wire-packets.ts';

/** Drop reasons by what `trackTcp` answers. */
const TCP_REASONS = [0, DROP.tcp_state, DROP.tcp_window, DROP.tcp_reset];

export class Pipeline {
  private readonly view: PacketView;
  private readonly tap: PacketTap;
  private readonly probes: TunnelProbes;
  private readonly refusals: Refusals;
  /** Flows that wait for a plugin's decision. */
  readonly held: HeldStage;
  private readonly link: LinkLayer;
  private readonly reassembler: Reassembler;
  private readonly state: FlowState;
  private readonly table: FlowTable;
  private readonly words: Int32Array;
  private readonly floats: Float64Array;
  private readonly setup: FlowSetupStage;
  private readonly end: FlowEnd;
  private readonly departure: Departure;
  private readonly errors: OwnErrors;
  private readonly counters: Counters;
  /** Byte streams that plugins read. */
  readonly streams: StreamStage;
  private readonly flow = new LiveFlow();
  private readonly wire: WirePackets;
  private policy: FlowPolicy;
  private ports: PortTable;
  private events: FlowEventWriter | undefined = undefined;
  /** Port of the packet that plugins were shown last. */
  private shownPort = 0;
  /** Record of the flow whose packet they were shown. */
  private shownRecord = 0;
  /** Size of the largest fragment of the datagram at hand, 0 if it came whole. */
  private fragmentLimit = 0;

  constructor(parts: PipelineParts, policy: FlowPolicy) {
    this.view = parts.view;
    this.tap = parts.tap;
    this.probes = parts.probes;
    this.refusals = new Refusals(parts.view, parts.counters, parts.errors, parts.strays);
    this.held = new HeldStage(parts, (record, { port, fragmentLimit }, nowMs) => {
      this.fragmentLimit = fragmentLimit;
      return this.begin(record, port, nowMs);
    });
    this.link = parts.link;
    this.reassembler = parts.reassembler;
    this.state = parts.state;
    this.table = parts.state.table;
    this.words = this.table.words;
    this.floats = this.table.floats;
    this.setup = parts.setup;
    this.end = parts.end;
    this.departure = parts.departure;
    this.errors = parts.errors;
    this.counters = parts.counters;
    this.policy = policy;
    this.ports = policy.ports;
    this.streams = new StreamStage(
      {
        ...parts,
        flows: this.words,
        maxFlows: this.table.capacity,
        egressOf: (record, direction) =>
          this.egressOf(record, direction, this.words[record * RECORD_WORDS + SHARED_STATE]),
      },
      policy,
    );
    this.end.setStreams(this.streams);
    this.wire = new WirePackets(parts.scratch);
  }

  setPolicy(policy: FlowPolicy): void {
    this.policy = policy;
    this.ports = policy.ports;
    this.setup.setPolicy(policy);
    this.errors.setPorts(policy.ports);
    this.end.setChain(policy.chain);
    this.streams.setPolicy(policy);
  }

  /** Where flows that begin, end or are refused are told; undefined: nowhere. */
  setEvents(events: FlowEventWriter | undefined): void {
    this.events = events;
    this.refusals.events = events;
    this.end.setEvents(events);
  }

  /** Takes one received frame. Never throws for what it holds. While the tap is active: {@link receiveTapped}. */
  receive(frameOffset: number, frameBytes: number, device: number, nowMs: number): void {
    const link = this.link;
    const port = link.receive(frameOffset, frameBytes, device, nowMs);
    if (port >= 0) this.take(port, decode(this.view, link.packetOffset, link.packetLength), nowMs);
  }

  /** The same while somebody captures. Asked for by the caller, once for a burst and not for every frame. */
  receiveTapped(frameOffset: number, frameBytes: number, device: number, nowMs: number): void {
    const { link, tap, view } = this;
    tap.begin();
    const port = link.receive(frameOffset, frameBytes, device, nowMs);
    if (port < 0) {
      tap.endAtLink(frameOffset, frameBytes, device);
      return;
    }
    const code = decode(view, link.packetOffset, link.packetLength);
    tap.arrived(port, view, code, link.packetOffset, link.packetLength, link.frameOffset);
    tap.end(this.take(port, code, nowMs));
  }

  /** Takes a packet that was decoded with this code. Returns why it was dropped; 0 or less: it was not. */
  private take(port: number, code: number, nowMs: number): number {
    const link = this.link;
    const view = this.view;
    let reason = code;
    if (reason === DROP.bad_source || reason === DROP.bad_destination)
      reason = this.linkLocal(reason, port, nowMs);
    if (reason < 0) return reason;
    if (reason === 0) reason = readVirtioNetHeader(view, link.frameOffset, link.checksumBase);
    if (reason === 0 && this.ports.wordOf[port] === 0) reason = DROP.port_down;
    // Not counted: the reply to a probe is nobody's traffic, as the probe was not.
    if (this.probes.waiting !== 0 && reason === 0 && this.probes.take(view, port)) return 0;
    this.counters.countIn(port, link.packetLength);
    if (reason === 0) {
      this.fragmentLimit = 0;
      reason = view.fragment !== 0 ? this.fragment(port, nowMs) : this.packet(port, nowMs);
    }
    if (reason > 0) this.counters.countDrop(port, reason);
    return reason;
  }

  /**
   * Packets with link-local addresses are never forwarded (RFC 3927, 7), with one exception: an error from a
   * tunnel endpoint that has only such an address goes on to whom it is for. Between the two ends of a tunnel,
   * ping is answered. Returns -1 if that was done, 0 if the packet goes on, else the reason to drop it.
   */
  private linkLocal(reason: number, port: number, nowMs: number): number {
    const view = this.view;
    if (this.probes.waiting !== 0 && this.probes.take(view, port)) return -1;
    if (!isLinkLocal(view.family, view.src0, view.src3)) return reason;
    if (reason === DROP.bad_source && view.icmpKind === ICMP_ERROR) {
      return isLinkLocal(view.family, view.dst0, view.dst3) ? reason : 0;
    }
    if (!isLinkLocal(view.family, view.dst0, view.dst3)) return reason;
    if (this.errors.deliver(view, port, nowMs) !== 0) return reason;
    this.answerPing(port, 0, nowMs);
    return -1;
  }

  private answerPing(port: number, fragmentLimit: number, nowMs: number): number {
    this.counters.add(COUNTER.echo_replies_sent, 1);
    return this.departure.answer(this.view, port, fragmentLimit, nowMs);
  }

  /** A fragment: held until its datagram is whole, which then goes on like any packet. */
  private fragment(port: number, nowMs: number): number {
    const reassembler = this.reassembler;
    const whole = reassembler.add(this.view, this.ports.spaceOf[port], nowMs);
    this.counters.add(COUNTER.fragments_received, 1);
    if (whole <= 0) return -whole;
    this.counters.add(COUNTER.datagrams_reassembled, 1);
    const reason = decode(this.view, whole, reassembler.length);
    if (reason !== 0) return reason;
    this.fragmentLimit = reassembler.largestFragment;
    return this.packet(port, nowMs);
  }

  private packet(port: number, nowMs: number): number {
    const view = this.view;
    let space = this.ports.arrivalSpace[port];
    if (space === 0) {
      space = this.ports.spaceOfArrived(port, view);
      if (space === 0) return DROP.diversion_source;
    }
    // Before the lookup: without ports, these would look like a ping with identifier 0.
    if (view.icmpKind >= ICMP_ERROR) {
      return view.icmpKind === ICMP_ERROR ? this.icmpError(space, port, nowMs) : DROP.icmp_type;
    }
    const reference = this.table.find(view, space);
    if (reference >= 0) return this.hit(reference >> 1, reference & 1, port, nowMs);
    return this.miss(port, nowMs);
  }

  /** A packet of a flow that exists. Nothing is changed before all checks have passed. */
  private hit(record: number, direction: number, port: number, nowMs: number): number {
    const view = this.view;
    const words = this.words;
    const base = record * RECORD_WORDS;
    const state = words[base + SHARED_STATE];
    if (direction === REPLY && (state & FLOW_UNVOUCHED) !== 0) return DROP.unvouched;
    const egress = this.egressOf(record, direction, state);
    if (egress < 0) return lacksEgress(direction, state);
    const moves = direction === ORIGINATOR && words[base + SHARED_INGRESS] !== this.ports.wordOf[port];
    if (moves && !this.policy.diversions.mayMove(words, record, port)) return DROP.bad_source;
    const refused = this.departure.check(view, port, egress, this.fragmentLimit, nowMs);
    if (refused !== 0) return refused;
    if (view.protocol === PROTOCOL_TCP) {
      const before = words[base + SHARED_TCP];
      const tracked = trackTcp(words, record, direction, view);
      if (tracked === TCP_REOPEN) {
        this.end.reopen(record, nowMs);
        return this.miss(port, nowMs);
      }
      if (tracked !== TCP_OK) return TCP_REASONS[tracked];
      if (words[base + SHARED_TCP] !== before) setTimeoutClass(words, record, tcpTimeoutClass(words, record));
    }
    if (direction === ORIGINATOR) {
      words[base + SHARED_LAST_ORIGINATOR] = nowMs;
      if (moves) this.moveIngress(record, port);
      if ((state & FLOW_UNVOUCHED) !== 0)
        words[base + SHARED_STATE] = words[base + SHARED_STATE] & ~FLOW_UNVOUCHED;
    } else if ((state & FLOW_ANSWERED) === 0) {
      this.end.answered(record);
    }
    words[base + SHARED_LAST_SEEN] = nowMs;
    const wanted = words[base + SHARED_PLUGINS] & 0xffff;
    if (wanted !== 0) {
      if (view.gsoType !== GSO_NONE && (state & FLOW_WIRE_PACKETS) !== 0) {
        return this.wirePackets(record, direction, port, nowMs);
      }
      const inspected = this.inspect(record, direction, wanted, port, nowMs);
      if (inspected !== 0) return inspected;
    }
    if ((state & FLOW_STREAMS) !== 0) return this.streamed(record, direction, port, egress, nowMs);
    this.count(base + direction * DIRECTION_WORDS);
    return this.leave(record, direction, port, egress, nowMs);
  }

  /** A super-packet of a flow whose packets a plugin wants as they were on the wire: each goes its own way. */
  private wirePackets(record: number, direction: number, port: number, nowMs: number): number {
    const { wire, words } = this;
    const idAt = record * RECORD_WORDS + SHARED_ID;
    const id = words[idAt];
    for (let left = wire.begin(this.view); left > 0; left--) {
      let reason = wire.next(this.view) ? 0 : DROP.memory_full;
      if (reason === 0 && words[idAt] !== id) reason = DROP.no_flow;
      if (reason === 0) reason = this.hit(record, direction, port, nowMs);
      if (left === 1) return reason;
      if (reason !== 0) this.counters.countDrop(port, reason);
    }
    return 0;
  }

  /** A segment of a flow whose bytes plugins read: leaves, is held back, or ends the flow. */
  private streamed(record: number, direction: number, port: number, egress: number, nowMs: number): number {
    const { streams } = this;
    this.shownPort = port;
    const flow = this.handle(record, direction);
    const taken = streams.take(this.view, flow, port, egress, this.fragmentLimit, nowMs);
    if (taken > 0) return taken;
    this.count(record * RECORD_WORDS + direction * DIRECTION_WORDS);
    const reason = taken === TAKEN_LEAVES ? this.leave(record, direction, port, egress, nowMs) : 0;
    streams.settle(record, direction, nowMs);
    return reason;
  }

  private leave(record: number, direction: number, port: number, egress: number, nowMs: number): number {
    const { link, view, words } = this;
    const lengthBytes = view.length;
    if (link.failedNeighbors !== 0 && isUnreachable(link, view.family, words, record, direction, egress)) {
      this.errors.hostUnreachable(view, port, nowMs);
      return DROP.neighbor_unresolved;
    }
    const reason = this.departure.leave(
      view,
      words,
      record,
      direction,
      port,
      egress,
      this.fragmentLimit,
      nowMs,
    );
    if (reason === 0) this.counters.countOut(egress, lengthBytes);
    return reason;
  }

  /**
   * The port by which a packet of this direction leaves, -1 if there is none. A pinned reply knows one only. What
   * is routed - the originator's packets, and replies where return routing is off - may take another tunnel of
   * the same space when the one in the record is down.
   */
  private egressOf(record: number, direction: number, state: number): number {
    const words = this.words;
    const ports = this.ports;
    const line = record * RECORD_WORDS + direction * DIRECTION_WORDS;
    const word = words[line + DIRECTION_EGRESS];
    const index = word & 0xffff;
    if (ports.wordOf[index] === word) return index;
    const other = otherEgress(words, record, direction, state, ports);
    if (other >= 0) words[line + DIRECTION_EGRESS] = ports.wordOf[other];
    return other;
  }

  /** The originator's packets come by another tunnel of its site: the pin follows. */
  private moveIngress(record: number, port: number): void {
    const words = this.words;
    const base = record * RECORD_WORDS;
    const word = this.ports.wordOf[port];
    this.state.budgets.flowMoved(words[base + SHARED_INGRESS] & 0xffff, port);
    words[base + SHARED_INGRESS] = word;
    if ((words[base + SHARED_STATE] & FLOW_ROUTED_REPLY) === 0) {
      words[base + REPLY * DIRECTION_WORDS + DIRECTION_EGRESS] = word;
    }
    this.counters.add(COUNTER.repins, 1);
    this.counters.addPort(port, PORT_REPINS, 1);
    this.shownPort = port;
    this.policy.chain.ingressChanged(this.handle(record, ORIGINATOR));
  }

  private inspect(record: number, direction: number, wanted: number, port: number, nowMs: number): number {
    const chain = this.policy.chain;
    this.shownPort = port;
    this.shownRecord = record;
    const answer = chain.inspect(this.view, this.handle(record, direction), wanted);
    this.keepWanted(record);
    if (answer === INSPECT_PASS) return 0;
    if (answer <= INSPECT_END) this.end.flush(record, END.policy, nowMs);
    if (answer === INSPECT_REJECT) this.errors.refused(this.view, port, nowMs);
    return chain.reason;
  }

  /** A plugin was ended in this hook (`HOOK_...`) on the way of a packet, which goes no further. */
  abandon(hook: number): void {
    const isFirst = hook === HOOK_FLOW_SETUP || hook === HOOK_FLOW_START;
    const port = isFirst ? this.setup.proposal.draft.ingressPort : this.shownPort;
    this.counters.countDrop(port, DROP.plugin_failed);
    if (hook === HOOK_PACKET) this.keepWanted(this.shownRecord);
  }

  /** Who has said that it is done, before a plugin behind it was ended, is shown nothing more. */
  private keepWanted(record: number): void {
    const at = record * RECORD_WORDS + SHARED_PLUGINS;
    this.words[at] = (this.words[at] & ~0xffff) | this.policy.chain.still;
  }

  private handle(record: number, direction: number): LiveFlow {
    return this.end.describe(this.flow, record, direction);
  }

  private count(line: number): void {
    const view = this.view;
    const floats = this.floats;
    const packets = (line + DIRECTION_PACKETS) >> 1;
    const bytes = (line + DIRECTION_BYTES) >> 1;
    floats[packets] = floats[packets] + segmentsOf(view);
    floats[bytes] = floats[bytes] + view.length;
  }

  /** An ICMP error: goes the way of the flow whose packet it quotes, translated inside and out. */
  private icmpError(space: number, port: number, nowMs: number): number {
    const view = this.view;
    const quote = view.quoted!;
    const table = this.table;
    const reference = table.findReversed(quote, space);
    if (reference < 0) return DROP.icmp_quote;
    const record = reference >> 1;
    const direction = reference & 1;
    const words = table.words;
    const state = words[record * RECORD_WORDS + SHARED_STATE];
    if (direction === REPLY && (state & FLOW_UNVOUCHED) !== 0) return DROP.unvouched;
    if (!isForQuotedSender(view, quote)) return DROP.icmp_quote;
    if (!this.policy.diversions.mayTell(words, record, direction, port)) return DROP.icmp_quote;
    if (quote.protocol === PROTOCOL_TCP && !checkQuotedSequence(words, record, direction ^ 1, quote)) {
      return DROP.icmp_quote;
    }
    if (!verifyTransportChecksum(view)) return DROP.malformed;
    if (isInspected(words, record * RECORD_WORDS)) cutQuote(view, quote);
    const egress = this.egressOf(record, direction, state);
    if (egress < 0) return lacksEgress(direction, state);
    const refused = this.departure.check(view, port, egress, this.fragmentLimit, nowMs);
    if (refused !== 0) return refused;
    translateIcmpError(view, quote, words, record, direction);
    fillTransportChecksum(view);
    const lengthBytes = view.length;
    const reason = this.departure.depart(view, port, egress, this.fragmentLimit, nowMs);
    if (reason === 0) this.counters.countOut(egress, lengthBytes);
    return reason;
  }

  /** No flow: for the gateway itself, or the first packet of a new flow, or nothing. */
  private miss(port: number, nowMs: number): number {
    const view = this.view;
    const { gatewayAddresses, ports } = this.policy;
    const forGateway = gatewayAddresses.has(view.family, view.dst0, view.dst1, view.dst2, view.dst3);
    if (forGateway && ports.isEgress[port] === 0) {
      const delivered = this.errors.deliver(view, port, nowMs);
      if (delivered === 0) return this.answerPing(port, this.fragmentLimit, nowMs);
      if (delivered !== DROP.gateway_destination) return delivered;
    }
    if (view.ttl <= 1) {
      this.errors.timeExceeded(view, port, nowMs);
      return DROP.ttl_expired;
    }
    return this.begin(this.setup.setUp(view, port, this.fragmentLimit, nowMs), port, nowMs);
  }

  /** What follows an attempt to set a flow up, by which it has this record or none. */
  private begin(record: number, port: number, nowMs: number): number {
    const view = this.view;
    if (record < 0) {
      const { reason, reject } = this.setup;
      if (reason !== HELD) this.refusals.note(this.policy, port, reason, reject, nowMs);
      return reason;
    }
    this.counters.add(COUNTER.flows_created, 1);
    this.counters.countCreation(0);
    if (this.events !== undefined) this.events.started(this.words, record, nowMs);
    const egress = this.words[record * RECORD_WORDS + DIRECTION_EGRESS] & 0xffff;
    let refused = this.streams.begin(record, view, nowMs);
    // Whatever is known of the flow is in order by now: a plugin may be ended in its call.
    if (this.policy.chain.watchesStart) this.setup.tellStart(view, record);
    if (refused !== 0) this.end.flush(record, END.policy, nowMs);
    else refused = this.departure.check(view, port, egress, this.fragmentLimit, nowMs);
    if (refused !== 0) return refused;
    this.count(record * RECORD_WORDS);
    return this.leave(record, ORIGINATOR, port, egress, nowMs);
  }

  /** Housekeeping, to be called now and then: sweeps, neighbour timers, fragment timers. */
  tick(nowMs: number, bootSeconds: number): void {
    this.setup.bootSeconds = bootSeconds;
    this.policy.chain.nowMs = nowMs;
    if (this.held.count !== 0) this.held.sweep(this.ports, nowMs);
    this.link.tick(nowMs);
    if (this.probes.waiting !== 0) this.probes.sweep(nowMs);
    this.reassembler.sweep(nowMs);
    this.end.sweep(nowMs);
    this.streams.sweep(nowMs);
  }
}
