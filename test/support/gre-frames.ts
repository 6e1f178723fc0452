/**
 * Ethernet | IP | GRE | IP | TCP or UDP, built and checked byte by byte, big endian throughout: a second opinion
 * on what the native part makes. Frames are without the virtio-net header; offsets count from the Ethernet
 * header.
 */
import assert from 'node:assert/strict';

const ETHERNET_BYTES = 14;
const TCP = 6;
const UDP = 17;
const GRE = 47;
const DESTINATION_OPTIONS = 60;

export interface GreFrameShape {
  readonly outer: 4 | 6;
  readonly inner: 4 | 6;
  readonly protocol: 'tcp' | 'udp';
  readonly payload: Uint8Array;
  readonly key?: number;
  readonly sequence?: number;
  readonly checksum?: boolean;
  /** TCP flags; default ACK. */
  readonly flags?: number;
  readonly tcpSequence?: number;
  /** TCP options, a multiple of 4 bytes. */
  readonly options?: Uint8Array;
  readonly sourcePort?: number;
  readonly innerIdentification?: number;
  readonly outerIdentification?: number;
  readonly dontFragment?: boolean;
  readonly trafficClass?: number;
  /** Bytes of destination options (RFC 8200, 4.6) in front of the transport header of an inner IPv6 packet. */
  readonly optionBytes?: 8 | 16 | 24;
}

export interface ParsedGreFrame {
  readonly outer: number;
  readonly gre: number;
  readonly inner: number;
  readonly transport: number;
  readonly payload: number;
  readonly end: number;
  readonly protocol: number;
}

function sumOf(view: DataView, from: number, to: number, start = 0): number {
  let sum = start;
  for (let at = from; at + 1 < to; at += 2) sum += view.getUint16(at);
  if ((to - from) % 2 === 1) sum += view.getUint8(to - 1) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Sum of the pseudo-header of the IP packet at `ip`. */
function pseudoSum(view: DataView, ip: number, protocol: number, bytes: number): number {
  const version = view.getUint8(ip) >> 4;
  return version === 4
    ? sumOf(view, ip + 12, ip + 20, protocol + bytes)
    : sumOf(view, ip + 8, ip + 40, protocol + bytes);
}

function writeIp(view: DataView, at: number, version: 4 | 6, protocol: number, shape: GreFrameShape): void {
  const trafficClass = shape.trafficClass ?? 0;
  const bytes = view.byteLength - at;
  const isInner = at > ETHERNET_BYTES;
  if (version === 6) {
    view.setUint32(at, (0x60000000 | (trafficClass << 20) | (isInner ? 0x12345 : 0)) >>> 0);
    view.setUint16(at + 4, bytes - 40);
    view.setUint8(at + 6, protocol);
    view.setUint8(at + 7, 64);
    for (let byte = 8; byte < 40; byte++) view.setUint8(at + byte, byte + (isInner ? 100 : 0));
    return;
  }
  view.setUint8(at, 0x45);
  view.setUint8(at + 1, trafficClass);
  view.setUint16(at + 2, bytes);
  view.setUint16(at + 4, (isInner ? shape.innerIdentification : shape.outerIdentification) ?? 7);
  view.setUint16(at + 6, isInner && shape.dontFragment === false ? 0 : 0x4000);
  view.setUint8(at + 8, 63);
  view.setUint8(at + 9, protocol);
  view.setUint32(at + 12, isInner ? 0x0a000101 : 0xc0000201);
  view.setUint32(at + 16, isInner ? 0x0a000102 : 0xc0000202);
  view.setUint16(at + 10, ~sumOf(view, at, at + 20));
}

/**
 * One packet with all checksums made. A payload longer than a segment makes a super-packet: its transport
 * checksum is then partial (`isPartial`), as it goes with GSO fields, and there is no GRE checksum in it.
 */
export function buildGreFrame(shape: GreFrameShape, isPartial = false): Uint8Array {
  const options = shape.options ?? new Uint8Array(0);
  const greBytes =
    4 + (shape.checksum ? 4 : 0) + (shape.key === undefined ? 0 : 4) + (shape.sequence === undefined ? 0 : 4);
  const gre = ETHERNET_BYTES + (shape.outer === 4 ? 20 : 40);
  const inner = gre + greBytes;
  const optionBytes = shape.inner === 6 ? (shape.optionBytes ?? 0) : 0;
  const transport = inner + (shape.inner === 4 ? 20 : 40) + optionBytes;
  const payload = transport + (shape.protocol === 'tcp' ? 20 + options.length : 8);
  const bytes = new Uint8Array(payload + shape.payload.length);
  const view = viewOf(bytes);
  bytes.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
  view.setUint16(12, shape.outer === 4 ? 0x0800 : 0x86dd);
  writeIp(view, ETHERNET_BYTES, shape.outer, GRE, shape);

  let option = gre + 4;
  let greFlags = 0;
  if (shape.checksum) {
    greFlags |= 0x8000;
    option += 4;
  }
  if (shape.key !== undefined) {
    greFlags |= 0x2000;
    view.setUint32(option, shape.key);
    option += 4;
  }
  if (shape.sequence !== undefined) {
    greFlags |= 0x1000;
    view.setUint32(option, shape.sequence);
  }
  view.setUint16(gre, greFlags);
  view.setUint16(gre + 2, shape.inner === 4 ? 0x0800 : 0x86dd);

  const protocol = shape.protocol === 'tcp' ? TCP : UDP;
  writeIp(view, inner, shape.inner, optionBytes > 0 ? DESTINATION_OPTIONS : protocol, shape);
  // One PadN option.
  if (optionBytes > 0) bytes.set([protocol, optionBytes / 8 - 1, 1, optionBytes - 4], inner + 40);
  bytes.set(shape.payload, payload);
  view.setUint16(transport, shape.sourcePort ?? 5000);
  view.setUint16(transport + 2, 443);
  if (protocol === TCP) {
    view.setUint32(transport + 4, (shape.tcpSequence ?? 1000) >>> 0);
    view.setUint32(transport + 8, 77);
    view.setUint8(transport + 12, ((20 + options.length) / 4) << 4);
    view.setUint8(transport + 13, shape.flags ?? 0x10);
    view.setUint16(transport + 14, 501);
    bytes.set(options, transport + 20);
  } else {
    view.setUint16(transport + 4, bytes.length - transport);
  }
  const field = transport + (protocol === TCP ? 16 : 6);
  const pseudo = pseudoSum(view, inner, protocol, bytes.length - transport);
  if (isPartial) {
    view.setUint16(field, pseudo);
    return bytes;
  }
  const sum = ~sumOf(view, transport, bytes.length, pseudo) & 0xffff;
  view.setUint16(field, sum === 0 && protocol === UDP ? 0xffff : sum);
  if (shape.checksum) view.setUint16(gre + 4, ~sumOf(view, gre, bytes.length));
  return bytes;
}

/** The virtio-net header of a super-packet made by {@link buildGreFrame}. */
export function superVirtio(frame: Uint8Array, gsoSize: number): Uint8Array {
  const parsed = parseGreFrame(frame);
  const version = frame[parsed.inner]! >> 4;
  const virtio = new Uint8Array(10);
  const view = viewOf(virtio);
  virtio[0] = 1;
  virtio[1] = parsed.protocol === UDP ? 5 : version === 4 ? 1 : 4;
  view.setUint16(2, parsed.payload, true);
  view.setUint16(4, gsoSize, true);
  view.setUint16(6, parsed.transport, true);
  view.setUint16(8, parsed.protocol === TCP ? 16 : 6, true);
  return virtio;
}

export function parseGreFrame(frame: Uint8Array): ParsedGreFrame {
  const view = viewOf(frame);
  const outer = ETHERNET_BYTES;
  const gre = outer + (frame[outer]! >> 4 === 4 ? 20 : 40);
  const flags = view.getUint16(gre);
  const inner = gre + 4 + (flags & 0x8000 ? 4 : 0) + (flags & 0x2000 ? 4 : 0) + (flags & 0x1000 ? 4 : 0);
  const isInnerV4 = frame[inner]! >> 4 === 4;
  const next = frame[inner + (isInnerV4 ? 9 : 6)]!;
  const hasOptions = !isInnerV4 && next === DESTINATION_OPTIONS;
  const transport = inner + (isInnerV4 ? 20 : 40) + (hasOptions ? (frame[inner + 41]! + 1) * 8 : 0);
  const protocol = hasOptions ? frame[inner + 40]! : next;
  const payload = transport + (protocol === TCP ? (frame[transport + 12]! >> 4) * 4 : 8);
  const end =
    frame[outer]! >> 4 === 4 ? outer + view.getUint16(outer + 2) : outer + 40 + view.getUint16(outer + 4);
  return { outer, gre, inner, transport, payload, end, protocol };
}

/** Completes a partial transport checksum, as a device would, and clears the virtio-net header. */
export function completeChecksum(frame: Uint8Array, virtio: Uint8Array): void {
  if ((virtio[0]! & 1) === 0) return;
  const header = viewOf(virtio);
  const start = header.getUint16(6, true);
  const field = start + header.getUint16(8, true);
  const view = viewOf(frame);
  const sum = ~sumOf(view, start, frame.length) & 0xffff;
  view.setUint16(field, sum === 0 && header.getUint16(8, true) === 6 ? 0xffff : sum);
  virtio.fill(0);
}

/** Fails unless all lengths and checksums of a packet are right. */
export function assertRight(frame: Uint8Array): ParsedGreFrame {
  const parsed = parseGreFrame(frame);
  const view = viewOf(frame);
  assert.equal(parsed.end, frame.length, 'outer length');
  for (const ip of [parsed.outer, parsed.inner]) {
    if (frame[ip]! >> 4 === 4) {
      assert.equal(sumOf(view, ip, ip + 20), 0xffff, 'IP header checksum');
      assert.equal(view.getUint16(ip + 2), frame.length - ip, 'IPv4 length');
    } else {
      assert.equal(view.getUint16(ip + 4), frame.length - ip - 40, 'IPv6 length');
    }
  }
  if (parsed.protocol === UDP) {
    assert.equal(view.getUint16(parsed.transport + 4), frame.length - parsed.transport, 'UDP length');
  }
  const pseudo = pseudoSum(view, parsed.inner, parsed.protocol, frame.length - parsed.transport);
  assert.equal(sumOf(view, parsed.transport, frame.length, pseudo), 0xffff, 'transport checksum');
  if (frame[parsed.gre]! & 0x80) assert.equal(sumOf(view, parsed.gre, frame.length), 0xffff, 'GRE checksum');
  return parsed;
}
