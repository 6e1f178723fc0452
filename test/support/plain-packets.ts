/**
 * Packets for tests, built and checked the slow and obvious way: byte arrays in network order, checksums summed
 * from the text of RFC 1071. Shares no code with `src/wire`, so that a test compares two implementations.
 */

export interface PlainIp {
  readonly family: 4 | 6;
  /** 4 or 16 bytes. */
  readonly source: readonly number[];
  readonly destination: readonly number[];
  readonly protocol: number;
  readonly payload: Uint8Array;
  readonly ttl?: number;
  readonly trafficClass?: number;
  readonly identification?: number;
  /** IPv4: flags and offset field, or nothing. */
  readonly flags?: number;
  /** IPv4 options, a multiple of 4 bytes. */
  readonly options?: readonly number[];
  /**
   * IPv6 extension headers in front of the payload: each a header number and its bytes, whose first is filled in
   * here.
   */
  readonly extensions?: readonly { readonly header: number; readonly bytes: readonly number[] }[];
}

/** The internet checksum of some bytes (RFC 1071): big-endian words, complemented. */
export function plainChecksum(bytes: ArrayLike<number>): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes[at]! * 256 + (bytes[at + 1] ?? 0);
  while (sum > 65535) sum = (sum % 65536) + Math.floor(sum / 65536);
  return 65535 - sum;
}

function word16(value: number): number[] {
  return [(value >> 8) & 255, value & 255];
}

function word32(value: number): number[] {
  return [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

/** A whole IP packet, IPv4 header checksum included; the transport checksum is the payload's business. */
export function plainIp(ip: PlainIp): Uint8Array {
  const ttl = ip.ttl ?? 64;
  const tos = ip.trafficClass ?? 0;
  if (ip.family === 4) {
    const options = ip.options ?? [];
    const headerBytes = 20 + options.length;
    const header = [
      0x40 + headerBytes / 4,
      tos,
      ...word16(headerBytes + ip.payload.length),
      ...word16(ip.identification ?? 0),
      ...word16(ip.flags ?? 0),
      ttl,
      ip.protocol,
      0,
      0,
      ...ip.source,
      ...ip.destination,
      ...options,
    ];
    const checksum = word16(plainChecksum(header));
    header[10] = checksum[0]!;
    header[11] = checksum[1]!;
    return Uint8Array.from([...header, ...ip.payload]);
  }
  const extensions = ip.extensions ?? [];
  const numbers = [...extensions.map((extension) => extension.header), ip.protocol];
  const chain = extensions.flatMap((extension, index) => [numbers[index + 1]!, ...extension.bytes.slice(1)]);
  return Uint8Array.from([
    0x60 | (tos >> 4),
    (tos & 15) << 4,
    0,
    0,
    ...word16(chain.length + ip.payload.length),
    numbers[0]!,
    ttl,
    ...ip.source,
    ...ip.destination,
    ...chain,
    ...ip.payload,
  ]);
}

/** The pseudo-header's bytes. */
function pseudoHeader(ip: Omit<PlainIp, 'payload'>, length: number): number[] {
  if (ip.family === 4) return [...ip.source, ...ip.destination, 0, ip.protocol, ...word16(length)];
  return [...ip.source, ...ip.destination, ...word32(length), 0, 0, 0, ip.protocol];
}

/** `ip` with a transport header and data as payload, and a right checksum at `checksumAt` of it. */
function withTransport(ip: Omit<PlainIp, 'payload'>, transport: number[], checksumAt: number): Uint8Array {
  const covered = ip.protocol === 1 ? transport : [...pseudoHeader(ip, transport.length), ...transport];
  let checksum = plainChecksum(covered);
  if (checksum === 0 && ip.protocol === 17) checksum = 65535;
  transport[checksumAt] = checksum >> 8;
  transport[checksumAt + 1] = checksum & 255;
  return plainIp({ ...ip, payload: Uint8Array.from(transport) });
}

export type PlainEnds = Omit<PlainIp, 'payload' | 'protocol'>;

export function plainUdp(
  ends: PlainEnds,
  sourcePort: number,
  destinationPort: number,
  data: ArrayLike<number>,
): Uint8Array {
  const transport = [
    ...word16(sourcePort),
    ...word16(destinationPort),
    ...word16(8 + data.length),
    0,
    0,
    ...Array.from(data),
  ];
  return withTransport({ ...ends, protocol: 17 }, transport, 6);
}

export interface PlainTcp {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence?: number;
  readonly acknowledgment?: number;
  readonly flags: number;
  /** A multiple of 4 bytes. */
  readonly options?: readonly number[];
  readonly data?: ArrayLike<number>;
}

export function plainTcp(ends: PlainEnds, tcp: PlainTcp): Uint8Array {
  const options = tcp.options ?? [];
  const transport = [
    ...word16(tcp.sourcePort),
    ...word16(tcp.destinationPort),
    ...word32(tcp.sequence ?? 0),
    ...word32(tcp.acknowledgment ?? 0),
    ((20 + options.length) / 4) << 4,
    tcp.flags,
    ...word16(65535),
    0,
    0,
    0,
    0,
    ...options,
    ...Array.from(tcp.data ?? []),
  ];
  return withTransport({ ...ends, protocol: 6 }, transport, 16);
}

/** An ICMP (IPv4) or ICMPv6 message: type, code, the four bytes behind the checksum, and the rest. */
export function plainIcmp(
  ends: PlainEnds,
  type: number,
  code: number,
  rest: readonly number[],
  data: ArrayLike<number>,
): Uint8Array {
  const transport = [type, code, 0, 0, ...rest, ...Array.from(data)];
  return withTransport({ ...ends, protocol: ends.family === 4 ? 1 : 58 }, transport, 2);
}

/**
 * What is wrong with a whole packet without extension headers, as sentences: lengths, IPv4 header checksum,
 * transport checksum of TCP, UDP, ICMP and ICMPv6.
 */
export function problemsOf(packet: Uint8Array): string[] {
  const problems: string[] = [];
  const family = packet[0]! >> 4;
  const headerBytes = family === 4 ? (packet[0]! & 15) * 4 : 40;
  const length = family === 4 ? packet[2]! * 256 + packet[3]! : 40 + packet[4]! * 256 + packet[5]!;
  if (length !== packet.length) problems.push(`the header says ${length} bytes, there are ${packet.length}`);
  if (family === 4 && plainChecksum(packet.subarray(0, headerBytes)) !== 0) problems.push('header checksum');
  const protocol = family === 4 ? packet[9]! : packet[6]!;
  const transport = [...packet.subarray(headerBytes)];
  const source = [...(family === 4 ? packet.subarray(12, 16) : packet.subarray(8, 24))];
  const destination = [...(family === 4 ? packet.subarray(16, 20) : packet.subarray(24, 40))];
  const pseudo = pseudoHeader(
    { family: family === 4 ? 4 : 6, source, destination, protocol },
    transport.length,
  );
  const covered = protocol === 1 ? transport : [...pseudo, ...transport];
  if ([1, 6, 17, 58].includes(protocol) && plainChecksum(covered) !== 0) problems.push('transport checksum');
  if (protocol === 17 && transport[4]! * 256 + transport[5]! !== transport.length)
    problems.push('UDP length');
  return problems;
}

/** A small seeded generator (mulberry32): numbers in 0..1, the same in every run. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export function randomBytes(random: () => number, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, () => Math.floor(random() * 256));
}

export function shuffle<Item>(random: () => number, items: readonly Item[]): Item[] {
  const shuffled = [...items];
  for (let index = shuffled.length - 1; index > 0; index--) {
    const other = Math.floor(random() * (index + 1));
    [shuffled[index], shuffled[other]] = [shuffled[other]!, shuffled[index]!];
  }
  return shuffled;
}

/** One fragment of a whole packet: bytes `start` to `end` of its data; `more` follow unless it says otherwise. */
export function plainFragment(
  packet: Uint8Array,
  start: number,
  end: number,
  identification: number,
  more?: boolean,
): Uint8Array {
  const isIpv4 = packet[0]! >> 4 === 4;
  const headerBytes = isIpv4 ? (packet[0]! & 15) * 4 : 40;
  const data = packet.subarray(headerBytes + start, headerBytes + end);
  const follows = more ?? headerBytes + end < packet.length;
  if (isIpv4) {
    return plainIp({
      family: 4,
      source: [...packet.subarray(12, 16)],
      destination: [...packet.subarray(16, 20)],
      options: [...packet.subarray(20, headerBytes)],
      protocol: packet[9]!,
      ttl: packet[8]!,
      trafficClass: packet[1]!,
      identification,
      flags: (packet[6]! & 0x40 ? 0x4000 : 0) | (follows ? 0x2000 : 0) | (start / 8),
      payload: data,
    });
  }
  const field = start | (follows ? 1 : 0);
  return plainIp({
    family: 6,
    source: [...packet.subarray(8, 24)],
    destination: [...packet.subarray(24, 40)],
    protocol: packet[6]!,
    ttl: packet[7]!,
    trafficClass: ((packet[0]! & 15) << 4) | (packet[1]! >> 4),
    extensions: [{ header: 44, bytes: [0, 0, ...word16(field), ...word32(identification)] }],
    payload: data,
  });
}

/** Cuts a packet at random places, multiples of 8, into at most `limit` fragments, in order. */
export function cutAtRandom(
  random: () => number,
  packet: Uint8Array,
  identification: number,
  limit: number,
): Uint8Array[] {
  const headerBytes = packet[0]! >> 4 === 4 ? (packet[0]! & 15) * 4 : 40;
  const dataBytes = packet.length - headerBytes;
  // The first fragment holds any transport header: 64 bytes.
  const cuts = new Set<number>([0, dataBytes]);
  for (let count = Math.floor(random() * limit); count > 1; count--) {
    const cut = 64 + Math.floor((random() * (dataBytes - 64)) / 8) * 8;
    if (cut < dataBytes) cuts.add(cut);
  }
  const places = [...cuts].sort((a, b) => a - b);
  return places.slice(1).map((end, index) => plainFragment(packet, places[index]!, end, identification));
}

/** Equal bytes, said so that a failure is readable. */
export function hex(bytes: ArrayLike<number>): string {
  return Buffer.from(Array.from(bytes)).toString('hex');
}
