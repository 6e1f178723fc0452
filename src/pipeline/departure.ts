/**
 * Departure: the last part of a packet's way, from "this record, this direction" to the link layer.
 *
 * ```
 *  check (nothing changed yet, so that an error can quote the packet as it came):
 *     TTL 1 or less        -> time exceeded to the sender
 *     larger than the MTU  -> packet too big to the sender, unless it may be cut
 *  leave:
 *     translate ── fresh identification ── TTL ── MSS ── cut ── link
 * ```
 *
 * Larger than the MTU, and what is done with it:
 *
 * ```
 *  IPv4 without DF                       fragments
 *  the same, GSO: TCP                    smaller segments (no fragments: a lost one would cost them all)
 *  the same, GSO: UDP                    its datagrams, each in fragments
 *  IPv6 up to 1280 bytes into a tunnel   as it is: the link layer cuts the outer packet; GSO as above
 *  anything else                         refused
 * ```
 *
 * A datagram that came in fragments was reassembled and is cut again, into pieces no larger than the largest
 * that came in.
 */
import { COUNTER, type Counters } from '../flow/counters.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { GSO_NONE, IPV4, IPV6, PacketView, PROTOCOL_TCP, TCP_SYN } from '../wire/packet.ts';
import type { Fragmenter } from './fragmentation.ts';
import type { Identifications } from './identification.ts';
import type { LinkLayer } from './link/link-layer.ts';
import { clampMss } from './mss-clamp.ts';
import type { OwnErrors } from './own-errors.ts';
import { type Segmenter, shrinkSegments } from './segmentation.ts';
import { decrementTtl, translatePacket, writeIdentification } from './translate.ts';

export class Departure {
  private readonly link: LinkLayer;
  private readonly errors: OwnErrors;
  private readonly identifications: Identifications;
  private readonly fragmenter: Fragmenter;
  private readonly segmenter: Segmenter;
  private readonly counters: Counters;
  private readonly piece: PacketView;
  private readonly datagram: PacketView;
  private readonly emit: (piece: PacketView) => number;
  private readonly emitDatagram: (datagram: PacketView) => number;
  /** Of the packet that is being cut. */
  private egress = 0;
  private mtu = 0;
  private nowMs = 0;

  constructor(
    view: PacketView,
    link: LinkLayer,
    errors: OwnErrors,
    identifications: Identifications,
    fragmenter: Fragmenter,
    segmenter: Segmenter,
    counters: Counters,
  ) {
    this.link = link;
    this.errors = errors;
    this.identifications = identifications;
    this.fragmenter = fragmenter;
    this.segmenter = segmenter;
    this.counters = counters;
    this.piece = new PacketView(view.memory, true);
    this.datagram = new PacketView(view.memory, true);
    this.emit = (piece) => this.link.send(this.egress, piece, this.nowMs);
    this.emitDatagram = (datagram) => this.send(datagram, this.egress, 0, this.mtu, this.nowMs);
  }

  /**
   * Whether the packet may leave by `egress`: 0, or the reason, and then the sender was told by `ingress`.
   * `fragmentLimit`: size of the largest fragment it came in, 0 if it came whole.
   */
  check(view: PacketView, ingress: number, egress: number, fragmentLimit: number, nowMs: number): number {
    const obstacle = this.obstacle(view, egress, fragmentLimit);
    if (obstacle === 0) return 0;
    if (obstacle === DROP.ttl_expired) this.errors.timeExceeded(view, ingress, nowMs);
    else
      this.errors.packetTooBig(
        view,
        ingress,
        Math.max(this.link.portMtu(egress), this.leastMtu(view, egress)),
        nowMs,
      );
    return obstacle;
  }

  /** What {@link check} answers, without telling anybody. */
  obstacle(view: PacketView, egress: number, fragmentLimit: number): number {
    if (view.ttl <= 1) return DROP.ttl_expired;
    let size = view.length;
    if (view.gsoType !== GSO_NONE) size = view.payloadOffset - view.offset + view.gsoSize;
    else if (fragmentLimit !== 0) size = fragmentLimit;
    if (size <= this.link.portMtu(egress) || view.dontFragment === 0) return 0;
    return size <= this.leastMtu(view, egress) ? 0 : DROP.too_big;
  }

  /** What passes in any case, because the link layer can cut what is around it. */
  private leastMtu(view: PacketView, egress: number): number {
    return view.family === IPV6 ? this.link.leastMtu(egress) : 0;
  }

  /** Sends a packet that `check` has passed. Returns 0 or the reason why it could not leave. */
  leave(
    view: PacketView,
    flows: Int32Array,
    record: number,
    direction: number,
    ingress: number,
    egress: number,
    fragmentLimit: number,
    nowMs: number,
  ): number {
    translatePacket(view, flows, record, direction);
    return this.depart(view, ingress, egress, fragmentLimit, nowMs);
  }

  /** The same for a packet that is translated already. */
  depart(view: PacketView, ingress: number, egress: number, fragmentLimit: number, nowMs: number): number {
    const mtu = this.link.portMtu(egress);
    decrementTtl(view);
    if (view.protocol === PROTOCOL_TCP && (view.tcpFlags & TCP_SYN) !== 0) {
      // What a SYN announces comes back: the way it came counts as much as the way it goes.
      clampMss(view, Math.min(mtu, this.link.portMtu(ingress)));
    }
    return this.send(view, egress, fragmentLimit, mtu, nowMs);
  }

  /** Sends an answer of the gateway itself back to where its question came from. */
  answer(view: PacketView, port: number, fragmentLimit: number, nowMs: number): number {
    const mtu = this.link.portMtu(port);
    // Who sends a packet may fragment it, whatever the family.
    return this.send(view, port, fragmentLimit === 0 ? mtu : fragmentLimit, mtu, nowMs);
  }

  /**
   * Whole, or cut to what the port carries and to what came in. An IPv6 packet that came whole is never fragmented
   * here: `check` has let it pass because the link layer can.
   */
  private send(view: PacketView, egress: number, fragmentLimit: number, mtu: number, nowMs: number): number {
    const limit = fragmentLimit !== 0 && fragmentLimit < mtu ? fragmentLimit : mtu;
    if (view.gsoType !== GSO_NONE) {
      if (view.payloadOffset - view.offset + view.gsoSize > mtu) {
        if (view.protocol !== PROTOCOL_TCP) return this.sendDatagrams(view, egress, mtu, nowMs);
        if (!shrinkSegments(view, mtu)) return DROP.too_big;
      }
    } else if (view.length > limit && (view.family === IPV4 || fragmentLimit !== 0)) {
      this.egress = egress;
      this.nowMs = nowMs;
      this.counters.add(COUNTER.packets_fragmented, 1);
      return this.fragmenter.fragmentPacket(view, limit, this.piece, this.emit);
    }
    // Two senders behind equal addresses may choose equal identifications: whoever fragments this packet later
    // must not mix them (RFC 6864, 5.3). Packets that may not be fragmented need none.
    if (view.family === IPV4 && view.dontFragment === 0) {
      writeIdentification(view, this.identifications.next(view));
    }
    return this.link.send(egress, view, nowMs);
  }

  /** A UDP super-packet whose datagrams are too large for the port: one by one. */
  private sendDatagrams(view: PacketView, egress: number, mtu: number, nowMs: number): number {
    this.egress = egress;
    this.mtu = mtu;
    this.nowMs = nowMs;
    return this.segmenter.segmentDatagrams(view, this.datagram, this.emitDatagram);
  }
}
