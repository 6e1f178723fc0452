/**
 * What the gateway itself says to a sender: ICMP errors, resets for refused flows, answers to ping.
 *
 * All of it goes back by the port the offending packet came in by, from that port's own address, and is
 * rate-limited. Nothing here looks at routes or flows, so nothing here can reach another site.
 */

import { COUNTER, type Counters } from '../flow/counters.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import type { Address } from '../wire/address.ts';
import { IPV4, PacketView } from '../wire/packet.ts';
import type { EchoResponder } from './echo-responder.ts';
import {
  ERROR_ADMINISTRATIVELY_PROHIBITED,
  ERROR_HOST_UNREACHABLE,
  ERROR_NET_UNREACHABLE,
  ERROR_TOO_BIG,
  ERROR_TTL_EXPIRED,
  type IcmpErrors,
} from './icmp-errors.ts';
import type { LinkLayer } from './link/link-layer.ts';
import { isAddress, type PortTable } from './port-table.ts';
import { REJECT_BY_ICMP, REJECT_BY_RESET, rejectKind, type TcpResets } from './tcp-reset.ts';

/** Source of errors of a gateway that has no address towards the sender (RFC 7600, 4.8). */
const DUMMY_IPV4: Address = { family: IPV4, words: Int32Array.of(0, 0, 0, 192 | (8 << 24)) };

export class OwnErrors {
  private readonly link: LinkLayer;
  private readonly icmp: IcmpErrors;
  private readonly echo: EchoResponder;
  private readonly resets: TcpResets;
  private readonly reply: PacketView;
  private ports: PortTable;
  private readonly counters: Counters;

  constructor(
    view: PacketView,
    link: LinkLayer,
    icmp: IcmpErrors,
    echo: EchoResponder,
    resets: TcpResets,
    ports: PortTable,
    counters: Counters,
  ) {
    this.link = link;
    this.icmp = icmp;
    this.echo = echo;
    this.resets = resets;
    this.ports = ports;
    this.counters = counters;
    this.reply = new PacketView(view.memory, true);
  }

  setPorts(ports: PortTable): void {
    this.ports = ports;
  }

  timeExceeded(view: PacketView, ingress: number, nowMs: number): void {
    this.error(view, ingress, ERROR_TTL_EXPIRED, 0, nowMs);
  }

  /** `mtu`: the largest IP packet that would have fitted. */
  packetTooBig(view: PacketView, ingress: number, mtu: number, nowMs: number): void {
    this.error(view, ingress, ERROR_TOO_BIG, mtu, nowMs);
  }

  /**
   * Tells the sender in a site why its packet may not start a flow, where the reason says nothing about other sites:
   * that there is no way (RFC 1812, 5.2.7.1), or that what a flow needs is used up, by itself or altogether (RFC 6888,
   * REQ-11: host unreachable, which ends no connection that exists). Who exceeds a rate is told nothing: its next
   * attempt, a moment later, may succeed.
   */
  notSetUp(view: PacketView, ingress: number, reason: number, nowMs: number): void {
    if (isNoWay(reason)) this.error(view, ingress, ERROR_NET_UNREACHABLE, 0, nowMs);
    else if (isUsedUp(reason)) this.error(view, ingress, ERROR_HOST_UNREACHABLE, 0, nowMs);
  }

  /** The destination, or the router towards it, does not answer. */
  hostUnreachable(view: PacketView, ingress: number, nowMs: number): void {
    this.error(view, ingress, ERROR_HOST_UNREACHABLE, 0, nowMs);
  }

  /** Tells the sender that a plugin refused its flow: a reset for TCP, else ICMP. */
  refused(view: PacketView, ingress: number, nowMs: number): void {
    const kind = rejectKind(view);
    if (kind === REJECT_BY_ICMP) this.error(view, ingress, ERROR_ADMINISTRATIVELY_PROHIBITED, 0, nowMs);
    else if (kind === REJECT_BY_RESET && this.resets.build(view, this.reply, ingress, nowMs)) {
      this.send(ingress, COUNTER.tcp_resets_sent, nowMs);
    }
  }

  /**
   * A packet to one of the gateway's own addresses: if the address is the ingress port's own, ping is turned into its
   * answer. Returns 0 if that is what the view holds now, to be sent by `ingress`; else the reason to drop the packet.
   */
  deliver(view: PacketView, ingress: number, nowMs: number): number {
    const addresses = this.ports.addressesOf(ingress);
    for (let i = 0; i < addresses.length; i++) {
      if (!isAddress(addresses[i], view.family, view.dst0, view.dst1, view.dst2, view.dst3)) continue;
      return this.echo.respond(view, ingress, nowMs) ? DROP.none : DROP.local_delivery;
    }
    return DROP.gateway_destination;
  }

  private error(view: PacketView, ingress: number, kind: number, mtu: number, nowMs: number): void {
    const source = this.sourceFor(view.family, ingress);
    if (source === undefined) return;
    const built = this.icmp.build(view, kind, mtu, source.words, this.reply, ingress, nowMs);
    if (built) this.send(ingress, COUNTER.icmp_errors_sent, nowMs);
  }

  private sourceFor(family: number, ingress: number): Address | undefined {
    const addresses = this.ports.addressesOf(ingress);
    for (let i = 0; i < addresses.length; i++) if (addresses[i].family === family) return addresses[i];
    if (family === IPV4) return DUMMY_IPV4;
    return this.ports.anyAddress(family);
  }

  private send(ingress: number, counter: number, nowMs: number): void {
    if (this.link.send(ingress, this.reply, nowMs) === 0) this.counters.add(counter, 1);
  }
}

function isNoWay(reason: number): boolean {
  return (
    reason === DROP.no_route ||
    reason === DROP.ambiguous_destination ||
    reason === DROP.private_destination ||
    reason === DROP.port_down
  );
}

function isUsedUp(reason: number): boolean {
  return (
    reason === DROP.translation_ports ||
    reason === DROP.translation_quota ||
    reason === DROP.table_full ||
    reason === DROP.tunnel_share ||
    reason === DROP.site_share
  );
}
