/**
 * What rules can ask of a packet, read off its view once per new flow: a value for every dimension of `condition.ts`.
 *
 * Addresses are kept so that int32 comparison orders them: words in host order with the top bit flipped.
 */
import type { FlowSetup } from '../../src/plugin/contract.ts';
import { swap32 } from '../../src/wire/byte-order.ts';
import {
  type PacketView,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../../src/wire/packet.ts';
import {
  DESTINATION_PORT,
  DIMENSIONS,
  DSCP,
  EGRESS,
  ICMP_CODE,
  ICMP_TYPE,
  INGRESS,
  LENGTH,
  MINUTE_OF_WEEK,
  PROTOCOL,
  SOURCE_PORT,
  TCP_FLAGS,
  TTL,
} from './condition.ts';

const TOP_BIT = 1 << 31;

/** A word of an address, wire order, as an int32 that sorts as the address does. */
export function sortable(word: number): number {
  return swap32(word) ^ TOP_BIT;
}

/** The same of a part of an address as a number from 0 to 2^32 - 1. */
export function sortablePart(part: number): number {
  return (part | 0) ^ TOP_BIT;
}

export class PacketValues {
  /** 4 or 6. */
  family = 0;
  /** By dimension; those of addresses are not used. */
  readonly numbers = new Int32Array(DIMENSIONS);
  /** Source in the words 0 to 3, destination in 4 to 7, sortable; IPv4 in the last of each. */
  readonly addresses = new Int32Array(8);

  /** Reads a packet that would begin a flow. */
  read(view: PacketView, flow: FlowSetup, minuteOfWeek: number): void {
    const { numbers, addresses } = this;
    this.family = view.family;
    addresses[3] = sortable(view.src3);
    addresses[7] = sortable(view.dst3);
    if (view.family !== 4) {
      addresses[0] = sortable(view.src0);
      addresses[1] = sortable(view.src1);
      addresses[2] = sortable(view.src2);
      addresses[4] = sortable(view.dst0);
      addresses[5] = sortable(view.dst1);
      addresses[6] = sortable(view.dst2);
    }
    const protocol = view.protocol;
    const hasPorts = protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP;
    const isIcmp = protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6;
    numbers[PROTOCOL] = protocol;
    // An ICMP query's identifier stands as a port.
    numbers[SOURCE_PORT] = hasPorts ? view.sourcePort : 0;
    numbers[DESTINATION_PORT] = hasPorts ? view.destinationPort : 0;
    numbers[TCP_FLAGS] = protocol === PROTOCOL_TCP ? view.tcpFlags : 0;
    numbers[ICMP_TYPE] = isIcmp ? view.icmpType : 0;
    numbers[ICMP_CODE] = isIcmp ? view.icmpCode : 0;
    numbers[DSCP] = view.trafficClass >>> 2;
    numbers[LENGTH] = view.length;
    numbers[TTL] = view.ttl;
    numbers[INGRESS] = flow.ingressPort;
    numbers[EGRESS] = flow.egressPort;
    numbers[MINUTE_OF_WEEK] = minuteOfWeek;
  }
}
