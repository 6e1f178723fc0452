/**
 * Ethernet frames that nobody means well with: what a site, or anybody on the uplink, might send to break the
 * gateway, and ways to damage frames so that they get past the first checks. Everything follows from a seed.
 */
import { buildFragments, buildPacket, buildTcpOptions, type PacketSpec } from '../../src/wire/build.ts';
import {
  PROTOCOL_DESTINATION_OPTIONS,
  PROTOCOL_ESP,
  PROTOCOL_GRE,
  PROTOCOL_HOPOPTS,
  PROTOCOL_IPIP,
  PROTOCOL_IPV6,
  PROTOCOL_ROUTING,
  TCP_ACK,
  TCP_FIN,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
} from '../../src/wire/packet.ts';
import { echo, icmpError, tcp, udp } from './packets.ts';
import { plainChecksum } from './plain-packets.ts';
import type { Random } from './random.ts';
import { address, ethernet } from './raw-frames.ts';

const ETHERNET_BYTES = 14;
const IPV4 = 0x0800;
const IPV6 = 0x86dd;
const ARP = 0x0806;
/** Behind these bytes there is only payload. */
const HEADERS_BYTES = 120;
const SPREAD = 24;

export interface Wire {
  /** MAC of who sends. */
  readonly source: string;
  /** MAC of the gateway's device. */
  readonly destination: string;
}

/** Behind an Ethernet header for the gateway. */
export function toGateway(wire: Wire, packet: Uint8Array): Uint8Array {
  const type = packet[0]! >> 4 === 6 ? IPV6 : IPV4;
  return ethernet({ ...wire, type }, Buffer.from(packet));
}

export interface Talk {
  /** One family's address of the sender, and of somebody it may reach. */
  readonly from: string;
  readonly to: string;
  /** A port of `to`. */
  readonly port: number;
}

const PAYLOAD = new TextEncoder().encode('hostile '.repeat(20));

/** All kinds of packets of one sender to one receiver, each well formed. */
export function packetsOf({ from, to, port }: Talk): Uint8Array[] {
  const isIpv4 = !from.includes(':');
  const packets: Uint8Array[] = [];
  const add = (spec: PacketSpec): void => {
    packets.push(buildPacket(spec));
  };
  const options = buildTcpOptions({ mss: 1460, windowScale: 7, sackPermitted: true });
  for (let at = 0; at < SPREAD; at++) {
    const source = `${from} ${2000 + at * 7}`;
    const target = `${to} ${port + at}`;
    add(tcp(source, target, TCP_SYN, { sequence: at * 1000, options }));
    add(
      tcp(source, target, TCP_ACK | TCP_PSH, {
        sequence: at * 1000 + 1,
        acknowledgment: 1,
        payload: PAYLOAD,
      }),
    );
    add(tcp(source, target, at % 2 === 0 ? TCP_RST : TCP_FIN | TCP_ACK, { sequence: at * 1000 + 1 }));
    add(tcp(source, target, TCP_SYN | TCP_ACK, { sequence: at, acknowledgment: at * 1000 + 1, options }));
    add(udp(source, target, PAYLOAD));
    add(echo(from, to, isIpv4 ? 8 : 128, port + at, 'hostile'));
    add(echo(from, to, isIpv4 ? 0 : 129, port + at, 'hostile'));
    const quoted = buildPacket(udp(target, source, PAYLOAD));
    add(icmpError(from, to, isIpv4 ? 3 : at % 5, at % 7, quoted, at * 90));
    const whole = buildPacket(udp(source, target, new Uint8Array(1200 + at).fill(at)));
    packets.push(...buildFragments(whole, isIpv4 ? 500 : 600, 1 + (at % 3)));
  }
  for (const protocol of [PROTOCOL_IPIP, PROTOCOL_IPV6, PROTOCOL_GRE, PROTOCOL_ESP, 132, 2, 89, 255]) {
    add({ source: from, destination: to, transport: { kind: 'raw', protocol, payload: PAYLOAD } });
  }
  if (isIpv4) {
    for (const list of [
      [7, 39, 4],
      [0x83, 7, 4, 10, 50, 0, 10],
      [0x44, 40, 5, 0],
      [1, 1, 1, 0],
    ]) {
      add(udp(`${from} 2000`, `${to} ${port}`, PAYLOAD, { options: Uint8Array.from(list) }));
    }
    add({ ...udp(`${from} 2000`, '255.255.255.255 67', PAYLOAD), ttl: 1 });
    add(udp('0.0.0.0 68', `${to} ${port}`, PAYLOAD));
    add(udp('127.0.0.1 68', `${to} ${port}`, PAYLOAD));
  } else {
    const body = new Uint8Array(14);
    for (const protocol of [PROTOCOL_HOPOPTS, PROTOCOL_ROUTING, PROTOCOL_DESTINATION_OPTIONS]) {
      add(udp(`${from} 2000`, `${to} ${port}`, PAYLOAD, { extensions: [{ protocol, body }] }));
      add(udp(`${from} 2000`, `${to} ${port}`, PAYLOAD, { extensions: Array(9).fill({ protocol, body }) }));
    }
    add(udp(`${from} 5353`, 'ff02::fb 5353', PAYLOAD));
    add(udp('::1 5353', `${to} ${port}`, PAYLOAD));
  }
  return packets;
}

export interface GreShape {
  readonly key?: number;
  readonly sequence?: number;
  readonly checksum?: boolean;
}

/** GRE with a packet inside; RFC 2784, RFC 2890. */
export function greFrom(remote: string, local: string, shape: GreShape, inner: Uint8Array): Uint8Array {
  const type = inner[0]! >> 4 === 6 ? IPV6 : IPV4;
  const { key, sequence, checksum } = shape;
  const flags =
    (checksum ? 0x8000 : 0) | (key === undefined ? 0 : 0x2000) | (sequence === undefined ? 0 : 0x1000);
  const words = [(flags * 65536 + type) >>> 0];
  if (checksum) words.push(0);
  if (key !== undefined) words.push(key);
  if (sequence !== undefined) words.push(sequence);
  const gre = Buffer.alloc(words.length * 4 + inner.length);
  words.forEach((word, at) => {
    gre.writeUInt32BE(word, at * 4);
  });
  gre.set(inner, words.length * 4);
  if (checksum) gre.writeUInt16BE(plainChecksum(gre), 4);
  return buildPacket({
    source: remote,
    destination: local,
    transport: { kind: 'raw', protocol: PROTOCOL_GRE, payload: gre },
  });
}

/** ARP and neighbour discovery of one sender about an address of the gateway's. */
export function neighborFrames(wire: Wire, from: string, to: string): Uint8Array[] {
  const macBytes = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
  if (!from.includes(':')) {
    return [1, 2].map((operation) =>
      ethernet(
        { ...wire, type: ARP },
        Buffer.concat([
          Buffer.from([0, 1, 8, 0, 6, 4, 0, operation]),
          ...[macBytes(wire.source), address(from), Buffer.alloc(6), address(to)],
        ]),
      ),
    );
  }
  return [133, 134, 135, 136, 137].map((type) =>
    toGateway(
      wire,
      buildPacket({
        source: from,
        destination: to,
        ttl: 255,
        transport: {
          kind: 'icmp',
          type,
          payload: Buffer.concat([
            address(type === 136 ? from : to),
            Buffer.from([1, 1]),
            macBytes(wire.source),
          ]),
        },
      }),
    ),
  );
}

/**
 * Damages the Ethernet frame of `length` bytes at `at`, in place, in one of several ways, or leaves it. Returns its
 * new length, never more than before.
 */
export function damage(random: Random, bytes: Uint8Array, at: number, length: number): number {
  const kind = random.next(100);
  if (kind < 20) return length;
  if (kind < 32) return ETHERNET_BYTES + 1 + random.next(length - ETHERNET_BYTES);
  if (kind < 37) {
    flipBits(random, bytes, at, ETHERNET_BYTES);
    return length;
  }
  const ip = at + ETHERNET_BYTES;
  const end = at + length;
  if (kind < 55) {
    flipBits(random, bytes, ip, Math.min(length - ETHERNET_BYTES, HEADERS_BYTES));
    return length;
  }
  if (kind < 62) {
    for (let byte = ip + 1; byte < end; byte++) bytes[byte] = random.next(256);
  } else if (kind < 72) {
    const from = ip + random.next(Math.max(1, length - ETHERNET_BYTES - 16));
    for (let byte = from; byte < from + 16 && byte < end; byte++) bytes[byte] = random.next(256);
  } else {
    flipBits(random, bytes, ip, Math.min(length - ETHERNET_BYTES, HEADERS_BYTES));
  }
  // So that it gets past the first check.
  repairIpv4(bytes, ip, end);
  return length;
}

function flipBits(random: Random, bytes: Uint8Array, at: number, within: number): void {
  for (let count = random.next(4); count >= 0; count--)
    bytes[at + random.next(within)]! ^= 1 << random.next(8);
}

/** Makes the checksum of an IPv4 header right, if there is one. */
function repairIpv4(bytes: Uint8Array, ip: number, end: number): void {
  const headerBytes = (bytes[ip]! & 15) * 4;
  if (bytes[ip]! >> 4 !== 4 || headerBytes < 20 || ip + headerBytes > end) return;
  bytes[ip + 10] = 0;
  bytes[ip + 11] = 0;
  let sum = 0;
  for (let byte = ip; byte < ip + headerBytes; byte += 2) sum += bytes[byte]! * 256 + bytes[byte + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  bytes[ip + 10] = ~sum >> 8;
  bytes[ip + 11] = ~sum;
}
