/**
 * Protocol classes of translation: TCP, UDP and ICMP have external ports of their own each. ICMP is the query
 * identifiers of ICMP towards an IPv4 address and of ICMPv6 towards an IPv6 address.
 *
 * Neighbours: `translation.ts`, `translation-heap.ts`.
 */
import { IPV4, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import { CLASS_ICMP, CLASS_TCP, CLASS_UDP } from './translation-layout.ts';

/** Class of a protocol in a family, or -1 if it cannot be translated by port. */
export function protocolClass(protocol: number, family: number): number {
  if (protocol === PROTOCOL_TCP) return CLASS_TCP;
  if (protocol === PROTOCOL_UDP) return CLASS_UDP;
  if (protocol === (family === IPV4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6)) return CLASS_ICMP;
  return -1;
}
