/**
 * Builds whole packets from a description, with right lengths and checksums: for tests, benches and probes.
 *
 * ```ts
 * buildPacket({ source: '10.0.0.1', destination: '192.0.2.1',
 *               transport: { kind: 'udp', sourcePort: 1000, destinationPort: 53, payload } })
 * ```
 *
 * Every function allocates: nothing here is for the packet's way. Checksums are summed byte by byte
 * (`sumBytes`), not by the code that the tests of the word-wise sums are about.
 *
 * Neighbours: the header files for offsets; `wire/frame.ts` for {@link placePacket}.
 */
import { type Address, parseAddress, writeAddress } from './address.ts';
import { writeHalf, writeUint16 } from './byte-order.ts';
import { addSums, checksumOf, sumBytes } from './checksum.ts';
import { FRAME_PREFIX_BYTES, type FrameMemory } from './frame.ts';
import { ICMP_CHECKSUM, ICMP_HEADER_BYTES, writeIcmpHeader } from './icmp.ts';
import {
  fillIpv4Checksum,
  IPV4_DONT_FRAGMENT,
  IPV4_FLAGS,
  IPV4_HEADER_BYTES,
  IPV4_MORE_FRAGMENTS,
  IPV4_TOTAL_LENGTH,
  ipv4Flags,
  ipv4HeaderBytes,
  writeIpv4Header,
} from './ipv4.ts';
import {
  IPV6_DESTINATION,
  IPV6_FRAGMENT_HEADER_BYTES,
  IPV6_HEADER_BYTES,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_SOURCE,
  writeIpv6FragmentHeader,
  writeIpv6Start,
} from './ipv6.ts';
import {
  IPV4,
  PROTOCOL_FRAGMENT,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from './packet.ts';
import {
  TCP_CHECKSUM,
  TCP_HEADER_BYTES,
  TCP_OPTION_MSS,
  TCP_OPTION_NOP,
  TCP_OPTION_SACK_PERMITTED,
  TCP_OPTION_TIMESTAMPS,
  TCP_OPTION_WINDOW_SCALE,
  TCP_OPTIONS,
  writeTcpHeader,
} from './tcp.ts';
import { UDP_CHECKSUM, UDP_HEADER_BYTES, writeUdpHeader } from './udp.ts';

export interface TcpSpec {
  readonly kind: 'tcp';
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence?: number;
  readonly acknowledgment?: number;
  /** `TCP_...` flags of `wire/packet.ts`. */
  readonly flags: number;
  readonly window?: number;
  /** Padded to a multiple of 4 with zeros; see {@link buildTcpOptions}. */
  readonly options?: Uint8Array;
  readonly payload?: Uint8Array;
}

export interface UdpSpec {
  readonly kind: 'udp';
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload?: Uint8Array;
  /** False writes checksum 0. */
  readonly hasChecksum?: boolean;
}

/** ICMP or ICMPv6, as the family has it. */
export interface IcmpSpec {
  readonly kind: 'icmp';
  readonly type: number;
  readonly code?: number;
  /** The second word of the header, host order: `identifier << 16 | sequence` of an echo, the MTU of an error. */
  readonly rest?: number;
  /** Data of a query, or the packet that an error quotes. */
  readonly payload?: Uint8Array;
}

export interface RawSpec {
  readonly kind: 'raw';
  readonly protocol: number;
  readonly payload: Uint8Array;
}

export type TransportSpec = TcpSpec | UdpSpec | IcmpSpec | RawSpec;

/** An IPv6 extension header whose second byte is its length: hop-by-hop, destination options, routing. */
export interface ExtensionSpec {
  readonly protocol: number;
  /** Everything behind the first two bytes; padded with zeros to a multiple of 8 with them. */
  readonly body: Uint8Array;
}

export interface PacketSpec {
  /** Text; both of one family, which is the packet's. */
  readonly source: string;
  readonly destination: string;
  readonly transport: TransportSpec;
  /** TTL or hop limit, 64 by default. */
  readonly ttl?: number;
  readonly trafficClass?: number;
  /** IPv4. */
  readonly identification?: number;
  /** IPv4; false by default. */
  readonly dontFragment?: boolean;
  /** IPv4 options, padded to a multiple of 4 with zeros. */
  readonly options?: Uint8Array;
  /** IPv6. */
  readonly flowLabel?: number;
  /** IPv6, in their order. */
  readonly extensions?: readonly ExtensionSpec[];
}

const NOTHING = new Uint8Array(0);

function addressOf(text: string): Address {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`not an address: "${text}"`);
  return address;
}

function padded(bytes: Uint8Array, multiple: number): Uint8Array {
  const result = new Uint8Array(Math.ceil(bytes.length / multiple) * multiple);
  result.set(bytes);
  return result;
}

function concatenate(...parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** The pseudo-header, written out (both families' sums come to RFC 8200's). */
function pseudoHeader(
  source: Address,
  destination: Address,
  protocol: number,
  lengthBytes: number,
): Uint8Array {
  const bytes = new Uint8Array(36);
  writeAddress(bytes, 0, source);
  writeAddress(bytes, 16, destination);
  writeUint16(bytes, 32, lengthBytes);
  bytes[35] = protocol;
  return bytes;
}

function storeChecksum(segment: Uint8Array, fieldAt: number, pseudo: Uint8Array): void {
  const sum = addSums(sumBytes(segment, 0, segment.length), sumBytes(pseudo, 0, pseudo.length));
  const checksum = checksumOf(sum);
  writeHalf(segment, fieldAt, checksum === 0 && fieldAt === UDP_CHECKSUM ? 0xffff : checksum);
}

function protocolOf(transport: TransportSpec, family: number): number {
  if (transport.kind === 'tcp') return PROTOCOL_TCP;
  if (transport.kind === 'udp') return PROTOCOL_UDP;
  if (transport.kind === 'icmp') return family === IPV4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
  return transport.protocol;
}

/** The transport header and its payload, with the checksum. */
function buildTransport(transport: TransportSpec, source: Address, destination: Address): Uint8Array {
  const payload = transport.payload ?? NOTHING;
  const protocol = protocolOf(transport, source.family);
  if (transport.kind === 'raw') return payload;
  if (transport.kind === 'tcp') {
    const options = padded(transport.options ?? NOTHING, 4);
    const headerBytes = TCP_HEADER_BYTES + options.length;
    const segment = concatenate(new Uint8Array(headerBytes), payload);
    writeTcpHeader(
      segment,
      0,
      transport.sourcePort,
      transport.destinationPort,
      transport.sequence ?? 0,
      transport.acknowledgment ?? 0,
      transport.flags,
      transport.window ?? 0xffff,
      headerBytes,
    );
    segment.set(options, TCP_OPTIONS);
    storeChecksum(segment, TCP_CHECKSUM, pseudoHeader(source, destination, protocol, segment.length));
    return segment;
  }
  if (transport.kind === 'udp') {
    const datagram = concatenate(new Uint8Array(UDP_HEADER_BYTES), payload);
    writeUdpHeader(datagram, 0, transport.sourcePort, transport.destinationPort, datagram.length);
    if (transport.hasChecksum !== false) {
      storeChecksum(datagram, UDP_CHECKSUM, pseudoHeader(source, destination, protocol, datagram.length));
    }
    return datagram;
  }
  const message = concatenate(new Uint8Array(ICMP_HEADER_BYTES), payload);
  writeIcmpHeader(message, 0, transport.type, transport.code ?? 0, transport.rest ?? 0);
  const pseudo =
    source.family === IPV4 ? NOTHING : pseudoHeader(source, destination, protocol, message.length);
  storeChecksum(message, ICMP_CHECKSUM, pseudo);
  return message;
}

/**
 * The bytes of one whole packet.
 *
 * @throws Error if an address is none, the families differ, or the packet is longer than 65535 bytes (IPv4) or has
 *   more than 65535 bytes behind the header (IPv6)
 */
export function buildPacket(spec: PacketSpec): Uint8Array {
  const source = addressOf(spec.source);
  const destination = addressOf(spec.destination);
  if (source.family !== destination.family) throw new Error('source and destination are of two families');
  const body = buildTransport(spec.transport, source, destination);
  const protocol = protocolOf(spec.transport, source.family);
  return source.family === IPV4
    ? buildIpv4(spec, source, destination, protocol, body)
    : buildIpv6(spec, source, destination, protocol, body);
}

function buildIpv4(
  spec: PacketSpec,
  source: Address,
  destination: Address,
  protocol: number,
  body: Uint8Array,
): Uint8Array {
  const options = padded(spec.options ?? NOTHING, 4);
  const packet = concatenate(new Uint8Array(IPV4_HEADER_BYTES), options, body);
  if (packet.length > 65535) throw new Error(`an IPv4 packet of ${packet.length} bytes`);
  writeIpv4Header(
    packet,
    0,
    packet.length,
    protocol,
    source.words[3],
    destination.words[3],
    spec.ttl ?? 64,
    spec.trafficClass ?? 0,
    spec.identification ?? 0,
    spec.dontFragment === true ? IPV4_DONT_FRAGMENT : 0,
  );
  packet[0] = 0x40 | ((IPV4_HEADER_BYTES + options.length) >>> 2);
  fillIpv4Checksum(packet, 0);
  return packet;
}

function buildIpv6(
  spec: PacketSpec,
  source: Address,
  destination: Address,
  protocol: number,
  body: Uint8Array,
): Uint8Array {
  const extensions = spec.extensions ?? [];
  const chain = extensions.map((extension, index) => {
    const header = padded(concatenate(new Uint8Array(2), extension.body), 8);
    header[0] = extensions[index + 1]?.protocol ?? protocol;
    header[1] = header.length / 8 - 1;
    return header;
  });
  const packet = concatenate(new Uint8Array(IPV6_HEADER_BYTES), ...chain, body);
  const payloadLength = packet.length - IPV6_HEADER_BYTES;
  if (payloadLength > 65535) throw new Error(`an IPv6 payload of ${payloadLength} bytes`);
  const nextHeader = extensions[0]?.protocol ?? protocol;
  const trafficClass = spec.trafficClass ?? 0;
  writeIpv6Start(packet, 0, payloadLength, nextHeader, spec.ttl ?? 64, trafficClass, spec.flowLabel ?? 0);
  writeAddress(packet, IPV6_SOURCE, source);
  writeAddress(packet, IPV6_DESTINATION, destination);
  return packet;
}

/**
 * Cuts a packet into fragments no longer than `mtu` bytes each (the last piece of data may be shorter than 8 bytes).
 * IPv4: the header, options included, is repeated. IPv6: the fragment header follows the IPv6 header at once, so
 * the packet may have no hop-by-hop or routing header.
 */
export function buildFragments(packet: Uint8Array, mtu: number, identification: number): Uint8Array[] {
  const isIpv4 = (packet[0] as number) >>> 4 === IPV4;
  const headerBytes = isIpv4 ? ipv4HeaderBytes(packet, 0) : IPV6_HEADER_BYTES;
  const overhead = headerBytes + (isIpv4 ? 0 : IPV6_FRAGMENT_HEADER_BYTES);
  const step = (mtu - overhead) & ~7;
  if (step < 8) throw new Error(`an MTU of ${mtu} has no room for data`);
  const fragments: Uint8Array[] = [];
  for (let at = headerBytes; at < packet.length; at += step) {
    const data = packet.subarray(at, at + step);
    const isLast = at + step >= packet.length;
    const fragment = concatenate(
      packet.subarray(0, headerBytes),
      new Uint8Array(overhead - headerBytes),
      data,
    );
    const offset = at - headerBytes;
    if (isIpv4) {
      writeUint16(fragment, IPV4_TOTAL_LENGTH, fragment.length);
      writeUint16(fragment, 4, identification);
      const kept = ipv4Flags(packet, 0) & IPV4_DONT_FRAGMENT;
      writeUint16(fragment, IPV4_FLAGS, kept | (isLast ? 0 : IPV4_MORE_FRAGMENTS) | (offset >>> 3));
      fillIpv4Checksum(fragment, 0);
    } else {
      writeUint16(fragment, IPV6_PAYLOAD_LENGTH, fragment.length - IPV6_HEADER_BYTES);
      const next = packet[IPV6_NEXT_HEADER] as number;
      fragment[IPV6_NEXT_HEADER] = PROTOCOL_FRAGMENT;
      writeIpv6FragmentHeader(fragment, IPV6_HEADER_BYTES, next, offset, isLast ? 0 : 1, identification);
    }
    fragments.push(fragment);
  }
  return fragments;
}

/** What {@link buildTcpOptions} writes, in this order. */
export interface TcpOptionsSpec {
  readonly mss?: number;
  readonly sackPermitted?: boolean;
  /** TSval and TSecr. */
  readonly timestamps?: readonly [number, number];
  readonly windowScale?: number;
}

/** TCP options, padded with NOP to a multiple of 4. */
export function buildTcpOptions(spec: TcpOptionsSpec): Uint8Array {
  const bytes: number[] = [];
  if (spec.mss !== undefined) bytes.push(TCP_OPTION_MSS, 4, spec.mss >>> 8, spec.mss);
  if (spec.sackPermitted === true) bytes.push(TCP_OPTION_SACK_PERMITTED, 2);
  if (spec.timestamps !== undefined) {
    bytes.push(TCP_OPTION_TIMESTAMPS, 10);
    for (const value of spec.timestamps) bytes.push(value >>> 24, value >>> 16, value >>> 8, value);
  }
  if (spec.windowScale !== undefined) bytes.push(TCP_OPTION_WINDOW_SCALE, 3, spec.windowScale);
  while (bytes.length % 4 !== 0) bytes.push(TCP_OPTION_NOP);
  return Uint8Array.from(bytes);
}

/**
 * Copies a packet into packet memory as a frame at `frameOffset` (a multiple of 4), its prefix all zeros: no GSO, no
 * partial checksum. Returns the offset of the network header.
 */
export function placePacket(memory: FrameMemory, frameOffset: number, packet: Uint8Array): number {
  const offset = frameOffset + FRAME_PREFIX_BYTES;
  memory.bytes.fill(0, frameOffset, offset);
  memory.bytes.set(packet, offset);
  return offset;
}
