/**
 * Packets that begin a flow and that no honest sender sends.
 *
 * What belongs to no flow, does not fit the state of its flow, or contradicts itself does not come here: the
 * pipeline drops it (`no_flow`, `tcp_state`, `tcp_window`, `tcp_reset`, `icmp_quote`, `malformed`, `bad_source`).
 */
import { PROTOCOL_TCP, PROTOCOL_UDP, TCP_PSH, TCP_URG } from '../../src/wire/packet.ts';
import { DESTINATION_PORT, PROTOCOL, SOURCE_PORT, TCP_FLAGS } from './condition.ts';
import type { PacketValues } from './packet-values.ts';

/** Why a packet is one of these; empty if it is not. */
export function invalidReason({ numbers }: PacketValues): string {
  const protocol = numbers[PROTOCOL];
  if (protocol === PROTOCOL_TCP) {
    if (numbers[SOURCE_PORT] === 0 || numbers[DESTINATION_PORT] === 0) return 'invalid: TCP port 0';
    // RFC 9293 lets data follow a SYN; nobody pushes it, or marks it as urgent.
    return (numbers[TCP_FLAGS]! & (TCP_PSH | TCP_URG)) === 0 ? '' : 'invalid: SYN with PSH or URG';
  }
  // A source port of 0 means that no answer is expected (RFC 768).
  return protocol === PROTOCOL_UDP && numbers[DESTINATION_PORT] === 0
    ? 'invalid: UDP destination port 0'
    : '';
}
