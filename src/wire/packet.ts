/**
 * The view of one IP packet: offsets and hot fields, decoded once, reused for every packet.
 *
 * There is one view per data plane (and one more inside it for the packet that an ICMP error quotes). `decode`
 * (`wire/decode.ts`) fills it; the pipeline and the plugins read it; nobody keeps it. All fields are 32-bit
 * integers, so that V8 keeps them unboxed: an address or a sequence number may therefore look negative.
 * Addresses and the `ports` word are in wire order as a little-endian load gives them: good for comparing,
 * hashing and copying, not for arithmetic. `sourcePort` and `destinationPort` are in host order.
 */
import type { FrameMemory } from './frame.ts';

export const IPV4 = 4;
export const IPV6 = 6;

export const PROTOCOL_HOPOPTS = 0;
export const PROTOCOL_ICMP = 1;
export const PROTOCOL_IPIP = 4;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_IPV6 = 41;
export const PROTOCOL_ROUTING = 43;
export const PROTOCOL_FRAGMENT = 44;
export const PROTOCOL_GRE = 47;
export const PROTOCOL_ESP = 50;
export const PROTOCOL_AH = 51;
export const PROTOCOL_ICMPV6 = 58;
export const PROTOCOL_NO_NEXT = 59;
export const PROTOCOL_DESTINATION_OPTIONS = 60;
export const PROTOCOL_SCTP = 132;

/** TCP flags as in the header's 14th byte (RFC 9293, 3.1). */
export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
export const TCP_URG = 0x20;
export const TCP_ECE = 0x40;
export const TCP_CWR = 0x80;

/** What an ICMP or ICMPv6 message is to flow lookup. */
export const ICMP_NONE = 0;
/** A query or its reply: a flow of its own, by identifier. */
export const ICMP_QUERY = 1;
/** An error: belongs to the flow of the packet it quotes; `quoted` is filled. */
export const ICMP_ERROR = 2;
/** Anything else (redirects, neighbour discovery, unknown types): never forwarded. */
export const ICMP_OTHER = 3;

/** virtio-net `gso_type` values, without the ECN bit. */
export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_TCPV6 = 4;
export const GSO_UDP_L4 = 5;
/** Set in `gso_type` beside TCPV4 / TCPV6 when the segment has ECN's CWR. */
export const GSO_ECN = 0x80;

export class PacketView {
  readonly memory: FrameMemory;
  /** Same as `memory.bytes`, one load nearer. */
  readonly bytes: Uint8Array;
  /** Same as `memory.words`. */
  readonly words: Int32Array;

  /** Offset of the IP header in packet memory, bytes; a multiple of 4. */
  offset = 0;
  /** Length of the IP packet, bytes: what its header says, never more than what is there. */
  length = 0;
  /** {@link IPV4} or {@link IPV6}. */
  family = 0;
  /** The upper-layer protocol, behind IPv6 extension headers. */
  protocol = 0;
  /** Offset of the upper-layer header in packet memory, bytes. */
  l4Offset = 0;
  /** TTL or hop limit. */
  ttl = 0;
  /** TOS or traffic class: DSCP in the upper six bits, ECN in the lower two. */
  trafficClass = 0;

  /** Source address. IPv4: in `src3`, the others 0. */
  src0 = 0;
  src1 = 0;
  src2 = 0;
  src3 = 0;
  /** Destination address. IPv4: in `dst3`, the others 0. */
  dst0 = 0;
  dst1 = 0;
  dst2 = 0;
  dst3 = 0;
  /**
   * Source port in the low half, destination port in the high half, each in wire order (a little-endian load
   * of the four bytes). ICMP queries: the identifier stands as source port of a request and as destination
   * port of a reply, the other half is 0. Protocols without ports: 0.
   */
  ports = 0;
  /** Host order. */
  sourcePort = 0;
  /** Host order. */
  destinationPort = 0;

  /** 1 if the packet is a fragment (an IPv6 atomic fragment is not: RFC 6946). */
  fragment = 0;
  /** Offset of this fragment's data in the whole datagram, bytes. */
  fragmentOffset = 0;
  /** 1 if more fragments follow. */
  moreFragments = 0;
  /** IPv4 identification (16 bit) or the fragment header's (32 bit). */
  identification = 0;
  /** IPv6: offset in packet memory of the fragment header, 0 if there is none. */
  fragmentHeaderOffset = 0;
  /** IPv4 don't-fragment flag; 1 for every IPv6 packet. */
  dontFragment = 0;

  /** TCP only: the flags byte. */
  tcpFlags = 0;
  /** TCP only: sequence number as an int32. */
  sequence = 0;
  /** TCP only: acknowledgment number as an int32. */
  acknowledgment = 0;
  /** TCP only: the window field, unscaled. */
  window = 0;
  /** Offset of the transport payload in packet memory. Equals the packet's end if there is none. */
  payloadOffset = 0;
  /** Transport payload, bytes (all of it for protocols we do not know, from `l4Offset`). */
  payloadLength = 0;

  /** ICMP and ICMPv6 only. */
  icmpType = 0;
  /** ICMP and ICMPv6 only. */
  icmpCode = 0;
  /** One of `ICMP_...`. */
  icmpKind = ICMP_NONE;

  /** virtio `gso_type` with the ECN bit; {@link GSO_NONE} for a packet that is as it was on the wire. */
  gsoType = 0;
  /** Payload bytes of each segment when `gsoType` is set. */
  gsoSize = 0;
  /**
   * If not 0: the transport checksum is partial (only the pseudo-header's sum stands in the field); this is the
   * offset in packet memory where summing begins, `checksumOffset` bytes before the field.
   */
  checksumStart = 0;
  /** Distance from `checksumStart` to the checksum field, bytes. */
  checksumOffset = 0;

  /** The packet quoted by an ICMP error; undefined in a view that is itself a quote. */
  readonly quoted: PacketView | undefined;

  constructor(memory: FrameMemory, isQuote = false) {
    this.memory = memory;
    this.bytes = memory.bytes;
    this.words = memory.words;
    this.quoted = isQuote ? undefined : new PacketView(memory, true);
  }
}
