/**
 * Builds frames byte by byte for tests, without the project's own codecs. IPv4 header checksums are right,
 * those of the transport are left 0.
 */
import { isIPv4 } from 'node:net';

export interface FrameFields {
  readonly source: string;
  readonly destination: string;
  readonly type: number;
  /** Tag control information, with 0x8100 in front; default: no tag. */
  readonly vlan?: number;
}

export function ethernet({ source, destination, type, vlan }: FrameFields, payload: Buffer): Buffer {
  const tag = vlan === undefined ? Buffer.alloc(0) : words16(0x8100, vlan);
  return Buffer.concat([mac(destination), mac(source), tag, words16(type), payload]);
}

export interface PacketFields {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly ttl?: number;
  /** IPv4: bytes of options (no-operation), a multiple of 4, at most 40. */
  readonly optionBytes?: number;
  /** Offset of a fragment, bytes. */
  readonly fragmentOffset?: number;
  readonly moreFragments?: boolean;
}

/** An IPv4 or IPv6 packet, by its addresses; an IPv6 fragment gets its header. */
export function packet(fields: PacketFields, payload: Buffer): Buffer {
  return isIPv4(fields.source) ? ipv4(fields, payload) : ipv6(fields, payload);
}

function ipv4(fields: PacketFields, payload: Buffer): Buffer {
  const options = Buffer.alloc(fields.optionBytes ?? 0, 1);
  const headerBytes = 20 + options.length;
  const header = Buffer.concat([Buffer.alloc(20), options]);
  header[0] = 0x40 | (headerBytes / 4);
  header.writeUInt16BE(headerBytes + payload.length, 2);
  header.writeUInt16BE(4242, 4);
  header.writeUInt16BE((fields.moreFragments ? 0x2000 : 0) | ((fields.fragmentOffset ?? 0) / 8), 6);
  header[8] = fields.ttl ?? 64;
  header[9] = fields.protocol;
  address(fields.source).copy(header, 12);
  address(fields.destination).copy(header, 16);
  let sum = 0;
  for (let at = 0; at < headerBytes; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  header.writeUInt16BE(~sum & 0xffff, 10);
  return Buffer.concat([header, payload]);
}

function ipv6(fields: PacketFields, payload: Buffer): Buffer {
  const isFragment = fields.fragmentOffset !== undefined || fields.moreFragments === true;
  const fragment = isFragment
    ? Buffer.concat([
        Buffer.from([fields.protocol, 0]),
        words16((fields.fragmentOffset ?? 0) | (fields.moreFragments ? 1 : 0), 0, 4242),
      ])
    : Buffer.alloc(0);
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(fragment.length + payload.length, 4);
  header[6] = isFragment ? 44 : fields.protocol;
  header[7] = fields.ttl ?? 64;
  address(fields.source).copy(header, 8);
  address(fields.destination).copy(header, 24);
  return Buffer.concat([header, fragment, payload]);
}

/** A UDP header, or the first bytes of a TCP header, and 16 more bytes. */
export function ports(source: number, destination: number): Buffer {
  return Buffer.concat([words16(source, destination, 24, 0), Buffer.alloc(16, 0x50)]);
}

/** An ICMP or ICMPv6 message: type, code 0, identifier (or the rest of the header), then the body. */
export function icmp(type: number, identifier: number, body: Buffer = Buffer.alloc(8)): Buffer {
  return Buffer.concat([Buffer.from([type, 0]), words16(0, identifier, 0), body]);
}

/** 16 bytes of an address (IPv4: 4). */
export function address(text: string): Buffer {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number));
  const [head, tail] = text.split('::');
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const front = groups(head!);
  const back = tail === undefined ? [] : groups(tail);
  return words16(...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back);
}

function mac(text: string): Buffer {
  return Buffer.from(text.replaceAll(':', ''), 'hex');
}

function words16(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2);
  values.forEach((value, at) => {
    bytes.writeUInt16BE(value, at * 2);
  });
  return bytes;
}
