/**
 * Whether a first fragment holds the whole header chain, transport header included (RFC 7112, 5; for IPv4 RFC
 * 1858, 3 and RFC 3128). Whoever looks at ports must find them there; a sender that splits a header means to hide it.
 *
 * Neighbour: `reassembly.ts`.
 */
import {
  IPV4,
  type PacketView,
  PROTOCOL_AH,
  PROTOCOL_DESTINATION_OPTIONS,
  PROTOCOL_ESP,
  PROTOCOL_FRAGMENT,
  PROTOCOL_GRE,
  PROTOCOL_HOPOPTS,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_ROUTING,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../wire/packet.ts';
import { TCP_HEADER_BYTES, tcpHeaderBytes } from '../wire/tcp.ts';

/** Whether a first fragment ends before its transport header does. */
export function lacksTransportHeader(view: PacketView): boolean {
  const room = view.offset + view.length - view.l4Offset;
  switch (view.protocol) {
    case PROTOCOL_TCP:
      return room < TCP_HEADER_BYTES || room < tcpHeaderBytes(view.bytes, view.l4Offset);
    case PROTOCOL_UDP:
    case PROTOCOL_ICMP:
    case PROTOCOL_ICMPV6:
    case PROTOCOL_ESP:
      return room < 8;
    case PROTOCOL_SCTP:
    case PROTOCOL_AH:
      return room < 12;
    case PROTOCOL_GRE:
      return room < 4;
    // In a first fragment the walk goes to the end of the chain: to stop here is to lack the rest of it.
    case PROTOCOL_HOPOPTS:
    case PROTOCOL_ROUTING:
    case PROTOCOL_FRAGMENT:
    case PROTOCOL_DESTINATION_OPTIONS:
      return view.family !== IPV4;
    default:
      return room < 1;
  }
}
