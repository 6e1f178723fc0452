/**
 * Writes pcapng: one section, interfaces as they are added, enhanced and simple packet blocks, statistics. The blocks
 * are drawn in `pcapng-reader.ts`, but for the last:
 *
 * ```
 *  ISB     interface 4 | ticks, high 4 | ticks, low 4 | options
 * ```
 */
import type { CaptureSink, PacketToWrite } from './capture.ts';
import {
  BLOCK_ENHANCED_PACKET,
  BLOCK_INTERFACE,
  BLOCK_INTERFACE_STATISTICS,
  BLOCK_OVERHEAD_BYTES,
  BLOCK_SECTION,
  BLOCK_SIMPLE_PACKET,
  BYTE_ORDER_MAGIC,
  ENHANCED_PACKET_BYTES,
  FLAGS_INBOUND,
  FLAGS_OUTBOUND,
  INTERFACE_BYTES,
  INTERFACE_STATISTICS_BYTES,
  OPTION_APPLICATION,
  OPTION_COMMENT,
  OPTION_END,
  OPTION_INTERFACE_DESCRIPTION,
  OPTION_INTERFACE_NAME,
  OPTION_PACKET_DROPS,
  OPTION_PACKET_FLAGS,
  OPTION_STATISTICS_DROPPED,
  OPTION_STATISTICS_RECEIVED,
  OPTION_TIME_RESOLUTION,
  padded,
  SECTION_BYTES,
  SIMPLE_PACKET_BYTES,
} from './pcapng-format.ts';

const NS_PER_SECOND = 1_000_000_000n;
/** Section length: not given. */
const LENGTH_UNKNOWN = 0xffffffff;

export interface PcapngWriterOptions {
  /** Default false: little endian. */
  readonly bigEndian?: boolean;
  /** Comment on the whole file. */
  readonly comment?: string;
  /** Name and version of the program that writes. */
  readonly application?: string;
}

export interface InterfaceToWrite {
  readonly linkType: number;
  readonly name?: string;
  readonly description?: string;
  /** Negative power of ten of a second; default 9: nanoseconds. */
  readonly timeResolution?: number;
  /** Longer packets are cut; default 0: no limit. */
  readonly snapLength?: number;
}

/** What is said of a packet beside what it is. */
export interface PacketNotes {
  readonly comments?: readonly string[];
  readonly direction?: 'inbound' | 'outbound';
  /** Packets lost to the capture since the one before; default 0. */
  readonly dropped?: number;
}

/** Of an interface, over the whole capture. */
export interface InterfaceStatistics {
  readonly timestampNs: bigint;
  readonly received: number;
  /** Seen, and not captured for want of room. */
  readonly dropped: number;
  readonly comment?: string;
}

interface Option {
  readonly code: number;
  readonly value: Uint8Array;
}

function textOption(code: number, text: string | undefined): Option[] {
  return text === undefined ? [] : [{ code, value: new TextEncoder().encode(text) }];
}

export class PcapngWriter {
  readonly #sink: CaptureSink;
  readonly #littleEndian: boolean;
  readonly #interfaces: { readonly ticksPerSecond: bigint; readonly snapLength: number }[] = [];

  constructor(sink: CaptureSink, options: PcapngWriterOptions = {}) {
    this.#sink = sink;
    this.#littleEndian = !(options.bigEndian ?? false);
    const body = new DataView(new ArrayBuffer(SECTION_BYTES));
    body.setUint32(0, BYTE_ORDER_MAGIC, this.#littleEndian);
    body.setUint16(4, 1, this.#littleEndian);
    body.setUint32(8, LENGTH_UNKNOWN, this.#littleEndian);
    body.setUint32(12, LENGTH_UNKNOWN, this.#littleEndian);
    this.#block(BLOCK_SECTION, body, new Uint8Array(0), [
      ...textOption(OPTION_COMMENT, options.comment),
      ...textOption(OPTION_APPLICATION, options.application),
    ]);
  }

  /** Describes an interface; returns its index, for {@link write}. */
  addInterface(description: InterfaceToWrite): number {
    const resolution = description.timeResolution ?? 9;
    const snapLength = description.snapLength ?? 0;
    const body = new DataView(new ArrayBuffer(INTERFACE_BYTES));
    body.setUint16(0, description.linkType, this.#littleEndian);
    body.setUint32(4, snapLength, this.#littleEndian);
    this.#block(BLOCK_INTERFACE, body, new Uint8Array(0), [
      ...textOption(OPTION_INTERFACE_NAME, description.name),
      ...textOption(OPTION_INTERFACE_DESCRIPTION, description.description),
      { code: OPTION_TIME_RESOLUTION, value: Uint8Array.of(resolution) },
    ]);
    return this.#interfaces.push({ ticksPerSecond: 10n ** BigInt(resolution), snapLength }) - 1;
  }

  /** Throws RangeError for an interface that was not added. */
  write(interfaceIndex: number, packet: PacketToWrite, notes: PacketNotes = {}): void {
    const described = this.#described(interfaceIndex);
    const data = this.#cut(packet.data, described.snapLength);
    const body = this.#timedBody(ENHANCED_PACKET_BYTES, interfaceIndex, packet.timestampNs);
    body.setUint32(12, data.length, this.#littleEndian);
    body.setUint32(16, packet.originalLength ?? packet.data.length, this.#littleEndian);
    this.#block(BLOCK_ENHANCED_PACKET, body, data, [
      ...(notes.comments ?? []).flatMap((comment) => textOption(OPTION_COMMENT, comment)),
      ...this.#flags(notes.direction),
      ...(notes.dropped ? [{ code: OPTION_PACKET_DROPS, value: this.#uint64(notes.dropped) }] : []),
    ]);
  }

  /** To be written once for an interface, at the end. Throws RangeError for one that was not added. */
  writeStatistics(interfaceIndex: number, statistics: InterfaceStatistics): void {
    const body = this.#timedBody(INTERFACE_STATISTICS_BYTES, interfaceIndex, statistics.timestampNs);
    this.#block(BLOCK_INTERFACE_STATISTICS, body, new Uint8Array(0), [
      ...textOption(OPTION_COMMENT, statistics.comment),
      { code: OPTION_STATISTICS_RECEIVED, value: this.#uint64(statistics.received) },
      { code: OPTION_STATISTICS_DROPPED, value: this.#uint64(statistics.dropped) },
    ]);
  }

  /** Writes a packet of the first interface without a time. */
  writeSimple(data: Uint8Array): void {
    const body = new DataView(new ArrayBuffer(SIMPLE_PACKET_BYTES));
    body.setUint32(0, data.length, this.#littleEndian);
    this.#block(BLOCK_SIMPLE_PACKET, body, this.#cut(data, this.#described(0).snapLength), []);
  }

  #described(interfaceIndex: number): { readonly ticksPerSecond: bigint; readonly snapLength: number } {
    const described = this.#interfaces[interfaceIndex];
    if (described === undefined) throw new RangeError(`interface ${interfaceIndex} was not added`);
    return described;
  }

  /** A body that begins with an interface and a time. */
  #timedBody(bytes: number, interfaceIndex: number, timestampNs: bigint): DataView {
    const ticks = (timestampNs * this.#described(interfaceIndex).ticksPerSecond) / NS_PER_SECOND;
    const body = new DataView(new ArrayBuffer(bytes));
    body.setUint32(0, interfaceIndex, this.#littleEndian);
    body.setUint32(4, Number((ticks >> 32n) & 0xffffffffn), this.#littleEndian);
    body.setUint32(8, Number(ticks & 0xffffffffn), this.#littleEndian);
    return body;
  }

  #flags(direction: PacketNotes['direction']): Option[] {
    if (direction === undefined) return [];
    const value = new DataView(new ArrayBuffer(4));
    value.setUint32(0, direction === 'inbound' ? FLAGS_INBOUND : FLAGS_OUTBOUND, this.#littleEndian);
    return [{ code: OPTION_PACKET_FLAGS, value: new Uint8Array(value.buffer) }];
  }

  #uint64(number: number): Uint8Array {
    const value = new DataView(new ArrayBuffer(8));
    value.setBigUint64(0, BigInt(number), this.#littleEndian);
    return new Uint8Array(value.buffer);
  }

  #cut(data: Uint8Array, snapLength: number): Uint8Array {
    return snapLength > 0 && data.length > snapLength ? data.subarray(0, snapLength) : data;
  }

  #block(type: number, body: DataView, data: Uint8Array, options: readonly Option[]): void {
    const optionBytes =
      options.length === 0 ? 0 : options.reduce((sum, { value }) => sum + 4 + padded(value.length), 4);
    const length = BLOCK_OVERHEAD_BYTES + body.byteLength + padded(data.length) + optionBytes;
    const bytes = new Uint8Array(length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, type, this.#littleEndian);
    view.setUint32(4, length, this.#littleEndian);
    view.setUint32(length - 4, length, this.#littleEndian);
    bytes.set(new Uint8Array(body.buffer), 8);
    bytes.set(data, 8 + body.byteLength);
    let at = 8 + body.byteLength + padded(data.length);
    for (const { code, value } of options) {
      view.setUint16(at, code, this.#littleEndian);
      view.setUint16(at + 2, value.length, this.#littleEndian);
      bytes.set(value, at + 4);
      at += 4 + padded(value.length);
    }
    if (options.length > 0) view.setUint32(at, OPTION_END, this.#littleEndian);
    this.#sink(bytes);
  }
}
