/**
 * What plugins import as `homeward/plugin`: the contract, and the numbers that packets have.
 *
 * Neighbours: `contract.ts` (the contract), `module-loader.ts` (how the name leads here).
 */
export {
  GSO_NONE,
  ICMP_ERROR,
  ICMP_NONE,
  ICMP_OTHER,
  ICMP_QUERY,
  IPV4,
  IPV6,
  type PacketView,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP_ACK,
  TCP_FIN,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
} from '../wire/packet.ts';
export * from './contract.ts';
export * from './diversion.ts';
