/**
 * Packets that begin a flow and that no honest sender sends.
 *
 * What belongs to no flow, does not fit the state of its flow, or contradicts itself does not come here: the
 * pipeline drops it (`no_flow`, `tcp_state`, `tcp_window`, `tcp_reset`, `icmp_quote`, `malformed`, `bad_source`).
 */
import {
  ICMP_QUERY,
  type PacketView,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP_PSH,
  TCP_URG,
} from '../../src/wire/packet.ts';

/** Why a packet is one of these; empty if it is not. */
export function invalidReason(view: PacketView): string {
  const { protocol } = view;
  if (protocol === PROTOCOL_TCP) {
    if (view.sourcePort === 0 || view.destinationPort === 0) return 'invalid: TCP port 0';
    // RFC 9293 lets data follow a SYN; nobody pushes it, or marks it as urgent.
    return (view.tcpFlags & (TCP_PSH | TCP_URG)) === 0 ? '' : 'invalid: SYN with PSH or URG';
  }
  // A source port of 0 means that no answer is expected (RFC 768).
  if (protocol === PROTOCOL_UDP) return view.destinationPort === 0 ? 'invalid: UDP destination port 0' : '';
  return view.icmpKind === ICMP_QUERY && view.icmpCode !== 0 ? 'invalid: ICMP query with a code' : '';
}
