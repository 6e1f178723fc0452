/**
 * The transport header of a packet, into the view (RFC 9293, RFC 768, RFC 792, RFC 4443).
 *
 * Called by `wire/decode.ts` when the IP header is in the view: `family`, `protocol`, `l4Offset`, `fragment`. What
 * an ICMP error quotes is decoded by `wire/decode-quoted.ts`. Transport checksums are not verified here.
 */
import { readUint16, swap16, swap32 } from './byte-order.ts';
import { DECODE_MALFORMED, DECODE_OK } from './decode-code.ts';
import { decodeQuoted } from './decode-quoted.ts';
import {
  ICMP_HEADER_BYTES,
  ICMP_PARAMETER_PROBLEM,
  ICMP_QUOTE_LENGTH,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  icmpKindOf,
  isIcmpReply,
} from './icmp.ts';
import {
  ICMPV6_ECHO_REPLY,
  ICMPV6_QUOTE_LENGTH,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACHABLE,
  icmpv6KindOf,
} from './icmpv6.ts';
import {
  ICMP_ERROR,
  ICMP_NONE,
  ICMP_QUERY,
  IPV4,
  type PacketView,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from './packet.ts';
import { TCP_HEADER_BYTES, tcpFlagsValid } from './tcp.ts';
import { UDP_HEADER_BYTES, UDP_LENGTH } from './udp.ts';

/** The shortest quote that RFC 4884 (5.1) lets a sender of extensions declare, bytes. */
const SHORTEST_DECLARED_QUOTE = 128;

/** Decodes `l4Bytes` of transport at `l4`: the first bytes of the datagram. Returns a `DECODE_...` code. */
export function decodeTransport(view: PacketView, protocol: number, l4: number, l4Bytes: number): number {
  if (protocol === PROTOCOL_TCP) return decodeTcp(view, l4, l4Bytes);
  if (protocol === PROTOCOL_UDP) return decodeUdp(view, l4, l4Bytes);
  if (protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6) {
    return decodeIcmp(view, protocol, l4, l4Bytes);
  }
  setPortless(view, l4, l4Bytes);
  return DECODE_OK;
}

/** A later fragment or an unknown protocol: `l4Bytes` of data at `l4`. */
export function setPortless(view: PacketView, l4: number, l4Bytes: number): void {
  clearPorts(view);
  clearTcp(view);
  clearIcmp(view);
  view.payloadOffset = l4;
  view.payloadLength = l4Bytes;
}

function clearPorts(view: PacketView): void {
  view.ports = 0;
  view.sourcePort = 0;
  view.destinationPort = 0;
}

function clearTcp(view: PacketView): void {
  view.tcpFlags = 0;
  view.sequence = 0;
  view.acknowledgment = 0;
  view.window = 0;
}

function clearIcmp(view: PacketView): void {
  view.icmpType = 0;
  view.icmpCode = 0;
  view.icmpKind = ICMP_NONE;
}

function setPorts(view: PacketView, ports: number): void {
  view.ports = ports;
  view.sourcePort = swap16(ports);
  view.destinationPort = swap16(ports >>> 16);
}

function decodeTcp(view: PacketView, l4: number, l4Bytes: number): number {
  if (l4Bytes < TCP_HEADER_BYTES) return DECODE_MALFORMED;
  const words = view.words;
  const at = l4 >> 2;
  // Data offset, flags and window in one load.
  const word = words[at + 3];
  const headerBytes = (word & 0xf0) >>> 2;
  const flags = (word >>> 8) & 0xff;
  if (headerBytes < TCP_HEADER_BYTES || headerBytes > l4Bytes || !tcpFlagsValid(flags)) {
    return DECODE_MALFORMED;
  }
  setPorts(view, words[at]);
  view.sequence = swap32(words[at + 1]);
  view.acknowledgment = swap32(words[at + 2]);
  view.tcpFlags = flags;
  view.window = swap16(word >>> 16);
  view.payloadOffset = (l4 + headerBytes) | 0;
  view.payloadLength = (l4Bytes - headerBytes) | 0;
  clearIcmp(view);
  return DECODE_OK;
}

function decodeUdp(view: PacketView, l4: number, l4Bytes: number): number {
  if (l4Bytes < UDP_HEADER_BYTES) return DECODE_MALFORMED;
  const length = readUint16(view.bytes, l4 + UDP_LENGTH);
  if (length < UDP_HEADER_BYTES) return DECODE_MALFORMED;
  let payloadLength = (length - UDP_HEADER_BYTES) | 0;
  if (length > l4Bytes) {
    // A first fragment's length field speaks of the whole datagram.
    if (view.fragment === 0) return DECODE_MALFORMED;
    payloadLength = (l4Bytes - UDP_HEADER_BYTES) | 0;
  }
  setPorts(view, view.words[l4 >> 2]);
  view.payloadOffset = (l4 + UDP_HEADER_BYTES) | 0;
  view.payloadLength = payloadLength;
  clearTcp(view);
  clearIcmp(view);
  return DECODE_OK;
}

function decodeIcmp(view: PacketView, protocol: number, l4: number, l4Bytes: number): number {
  const isIpv4 = view.family === IPV4;
  // Each family has its own: the other one's number in a header is nobody's packet.
  if (l4Bytes < ICMP_HEADER_BYTES || (protocol === PROTOCOL_ICMP) !== isIpv4) return DECODE_MALFORMED;
  const bytes = view.bytes;
  const type = bytes[l4];
  const code = bytes[l4 + 1];
  const kind = isIpv4 ? icmpKindOf(type, code) : icmpv6KindOf(type, code);
  view.icmpType = type;
  view.icmpCode = code;
  view.icmpKind = kind;
  view.payloadOffset = (l4 + ICMP_HEADER_BYTES) | 0;
  view.payloadLength = (l4Bytes - ICMP_HEADER_BYTES) | 0;
  clearPorts(view);
  clearTcp(view);
  if (kind === ICMP_QUERY) {
    setIdentifier(view, isIpv4 ? isIcmpReply(type) : type === ICMPV6_ECHO_REPLY);
    return DECODE_OK;
  }
  if (kind !== ICMP_ERROR || view.quoted === undefined) return DECODE_OK;
  const quoteBytes = quoteLength(view, isIpv4, l4);
  return decodeQuoted(view.quoted, view.family, view.payloadOffset, quoteBytes);
}

/** The identifier of the query at `l4Offset`, as source port of a request or destination port of a reply. */
export function setIdentifier(view: PacketView, isReply: boolean): void {
  const identifier = view.words[(view.l4Offset + 4) >> 2] & 0xffff;
  setPorts(view, isReply ? identifier << 16 : identifier);
}

/** Bytes of the quote: what is there, less extensions behind it if the sender says where they begin (RFC 4884). */
function quoteLength(view: PacketView, isIpv4: boolean, l4: number): number {
  const there = view.payloadLength;
  const type = view.icmpType;
  let declared = 0;
  if (isIpv4) {
    if (type === ICMP_UNREACHABLE || type === ICMP_TIME_EXCEEDED || type === ICMP_PARAMETER_PROBLEM) {
      declared = view.bytes[l4 + ICMP_QUOTE_LENGTH] << 2;
    }
  } else if (type === ICMPV6_UNREACHABLE || type === ICMPV6_TIME_EXCEEDED) {
    declared = view.bytes[l4 + ICMPV6_QUOTE_LENGTH] << 3;
  }
  return declared >= SHORTEST_DECLARED_QUOTE && declared < there ? declared : there;
}
