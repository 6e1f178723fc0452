/**
 * Packets that came by a tunnel where nothing expects them: the last of them, with what can be said of each.
 *
 * - `unexpected_reply`: a TCP segment or an ICMP reply that answers nothing that the gateway knows of.
 * - `foreign_tunnel`: the same, and a flow of another site or egress has exactly these addresses and ports. Either
 *   that flow's packets take a wrong way outside the gateway, or both sites use the same addresses and this one is
 *   late.
 *
 * Both were dropped (`no_flow`). Looking for the flow elsewhere costs a search in every address space, so only
 * {@link EXAMINED_PER_SECOND} packets a second are examined; the others are counted. Nothing here is on the way of a
 * packet that has a flow.
 */
import { type Counters, PORT_FOREIGN, PORT_UNEXPECTED } from '../flow/counters.ts';
import { DIRECTION_EGRESS, ORIGINATOR, RECORD_WORDS, SHARED_ID, SHARED_INGRESS } from '../flow/layout.ts';
import type { FlowTable } from '../flow/table.ts';
import { formatAddressWords } from '../wire/address.ts';
import { isIcmpReply } from '../wire/icmp.ts';
import { ICMPV6_ECHO_REPLY } from '../wire/icmpv6.ts';
import { ICMP_QUERY, IPV4, type PacketView, PROTOCOL_TCP, TCP_ACK, TCP_RST } from '../wire/packet.ts';
import type { PortTable } from './port-table.ts';

export const EXAMINED_PER_SECOND = 20;
/** So many of the last ones are kept. */
const KEPT = 128;
const PAUSE_MS = 1000 / EXAMINED_PER_SECOND;

export type StrayKind = 'unexpected_reply' | 'foreign_tunnel';

/** One packet, in words. */
export interface Stray {
  /** Milliseconds since boot, int32. */
  readonly atMs: number;
  readonly kind: StrayKind;
  /** By which it came: port words, so that a tunnel that is gone is not taken for its successor. */
  readonly portWord: number;
  readonly protocol: number;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  /** The flow that it looks like; 0 for none. */
  readonly flow: number;
  /** By which that flow's packets of this direction come; 0 for none. */
  readonly expectedPortWord: number;
}

export class Strays {
  /** Since the start of the process, all packets. */
  unexpected = 0;
  /** Of the examined ones. */
  foreign = 0;
  private readonly table: FlowTable;
  private readonly counters: Counters;
  private readonly kept: Stray[] = [];
  private nextMs: number;
  private onStray: (stray: Stray) => void = () => {};

  constructor(table: FlowTable, counters: Counters, nowMs: number) {
    this.table = table;
    this.counters = counters;
    this.nextMs = nowMs;
  }

  /** Who is told of examined packets. */
  setOnStray(onStray: (stray: Stray) => void): void {
    this.onStray = onStray;
  }

  /** The last examined ones, oldest first. */
  last(): readonly Stray[] {
    return this.kept;
  }

  /** A packet that came by `port` was dropped because no flow matches. */
  note(view: PacketView, port: number, ports: PortTable, nowMs: number): void {
    // Whatever the internet sends unasked is no news.
    if (ports.isEgress[port] === 1 || ports.isDiversion[port] === 1 || !isReply(view)) return;
    this.unexpected++;
    this.counters.addPort(port, PORT_UNEXPECTED, 1);
    if (((nowMs - this.nextMs) | 0) < 0) return;
    this.nextMs = (nowMs + PAUSE_MS) | 0;
    this.examine(view, port, ports, nowMs);
  }

  private examine(view: PacketView, port: number, ports: PortTable, nowMs: number): void {
    const reference = this.findElsewhere(view, ports, ports.spaceOf[port]);
    const words = this.table.words;
    const base = (reference >> 1) * RECORD_WORDS;
    const isForeign = reference >= 0;
    const expected =
      (reference & 1) === ORIGINATOR ? words[base + SHARED_INGRESS] : words[base + DIRECTION_EGRESS];
    const { family } = view;
    const stray: Stray = {
      atMs: nowMs,
      kind: isForeign ? 'foreign_tunnel' : 'unexpected_reply',
      portWord: ports.wordOf[port],
      protocol: view.protocol,
      source: formatAddressWords(family, view.src0, view.src1, view.src2, view.src3),
      sourcePort: view.sourcePort,
      destination: formatAddressWords(family, view.dst0, view.dst1, view.dst2, view.dst3),
      destinationPort: view.destinationPort,
      flow: isForeign ? words[base + SHARED_ID] >>> 0 : 0,
      expectedPortWord: isForeign ? expected : 0,
    };
    if (isForeign) {
      this.foreign++;
      this.counters.addPort(port, PORT_FOREIGN, 1);
    }
    this.kept.push(stray);
    if (this.kept.length > KEPT) this.kept.shift();
    this.onStray(stray);
  }

  /** A flow of any other space with these addresses and ports: its reference, or -1. */
  private findElsewhere(view: PacketView, ports: PortTable, own: number): number {
    const searched = new Set([own]);
    for (const { space } of ports.all()) {
      if (searched.has(space)) continue;
      searched.add(space);
      const reference = this.table.find(view, space);
      if (reference >= 0) return reference;
    }
    return -1;
  }
}

/** Whether a packet answers something, by itself. */
function isReply(view: PacketView): boolean {
  if (view.protocol === PROTOCOL_TCP) return (view.tcpFlags & (TCP_ACK | TCP_RST)) !== 0;
  if (view.icmpKind !== ICMP_QUERY) return false;
  return view.family === IPV4 ? isIcmpReply(view.icmpType) : view.icmpType === ICMPV6_ECHO_REPLY;
}
