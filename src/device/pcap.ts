/**
 * The classic pcap format (draft-ietf-opsawg-pcap), either byte order, microseconds or nanoseconds.
 *
 * ```
 *  file    magic 4 | major 2 | minor 2 | reserved 8 | snap length 4 | link type 4     (link type: low 16 bits)
 *  packet  seconds 4 | fraction 4 | captured length 4 | original length 4 | data
 * ```
 *
 * Neighbours: `capture.ts` for the types, `pcapng-format.ts` for the newer format.
 */
import {
  type Capture,
  type CapturedPacket,
  CaptureError,
  type CaptureInterface,
  type CaptureSink,
  type PacketToWrite,
} from './capture.ts';

export const PCAP_MAGIC_MICROSECONDS = 0xa1b2c3d4;
export const PCAP_MAGIC_NANOSECONDS = 0xa1b23c4d;

const FILE_HEADER_BYTES = 24;
const PACKET_HEADER_BYTES = 16;
const NS_PER_SECOND = 1_000_000_000n;
const LINK_TYPE_MASK = 0xffff;

/** Byte order and unit of the fraction, by the magic number; undefined if this is not pcap. */
function orderOf(view: DataView): { littleEndian: boolean; nsPerTick: bigint } | undefined {
  if (view.byteLength < 4) return undefined;
  for (const littleEndian of [true, false]) {
    const magic = view.getUint32(0, littleEndian);
    if (magic === PCAP_MAGIC_MICROSECONDS) return { littleEndian, nsPerTick: 1000n };
    if (magic === PCAP_MAGIC_NANOSECONDS) return { littleEndian, nsPerTick: 1n };
  }
  return undefined;
}

/** Whether the file begins like a pcap file. */
export function isPcap(bytes: Uint8Array): boolean {
  return orderOf(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)) !== undefined;
}

/** Reads a pcap file as far as it is sound; see {@link Capture.error}. */
export function readPcap(bytes: Uint8Array): Capture {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const interfaces: CaptureInterface[] = [];
  const packets: CapturedPacket[] = [];
  const result = (error?: CaptureError): Capture => ({ format: 'pcap', interfaces, packets, error });
  const order = orderOf(view);
  if (order === undefined) {
    return { ...result(new CaptureError('not_a_capture', 0, 'no pcap magic number')), format: 'unknown' };
  }
  const { littleEndian, nsPerTick } = order;
  if (bytes.length < FILE_HEADER_BYTES) {
    return result(new CaptureError('truncated', bytes.length, 'the file header is cut off'));
  }
  const linkType = view.getUint32(20, littleEndian) & LINK_TYPE_MASK;
  interfaces.push({ linkType, snapLength: view.getUint32(16, littleEndian) });

  let at = FILE_HEADER_BYTES;
  while (at < bytes.length) {
    if (bytes.length - at < PACKET_HEADER_BYTES) {
      return result(new CaptureError('truncated', at, 'a packet header is cut off'));
    }
    const length = view.getUint32(at + 8, littleEndian);
    const data = at + PACKET_HEADER_BYTES;
    if (length > bytes.length - data) {
      return result(new CaptureError('truncated', at, `a packet of ${length} bytes is cut off`));
    }
    const seconds = BigInt(view.getUint32(at, littleEndian));
    const fraction = BigInt(view.getUint32(at + 4, littleEndian));
    packets.push({
      interfaceIndex: 0,
      linkType,
      timestampNs: seconds * NS_PER_SECOND + fraction * nsPerTick,
      originalLength: view.getUint32(at + 12, littleEndian),
      data: bytes.subarray(data, data + length),
    });
    at = data + length;
  }
  return result();
}

export interface PcapWriterOptions {
  readonly linkType: number;
  /** Default false: little endian. */
  readonly bigEndian?: boolean;
  /** Default true; else times are cut to microseconds. */
  readonly nanoseconds?: boolean;
  /** Longer packets are cut; default 262144. */
  readonly snapLength?: number;
}

/** Writes a pcap file: the header when it is made, then packet by packet. */
export class PcapWriter {
  readonly #sink: CaptureSink;
  readonly #littleEndian: boolean;
  readonly #nsPerTick: bigint;
  readonly #snapLength: number;

  constructor(sink: CaptureSink, options: PcapWriterOptions) {
    const nanoseconds = options.nanoseconds ?? true;
    this.#sink = sink;
    this.#littleEndian = !(options.bigEndian ?? false);
    this.#nsPerTick = nanoseconds ? 1n : 1000n;
    this.#snapLength = options.snapLength ?? 262144;
    const header = new DataView(new ArrayBuffer(FILE_HEADER_BYTES));
    header.setUint32(0, nanoseconds ? PCAP_MAGIC_NANOSECONDS : PCAP_MAGIC_MICROSECONDS, this.#littleEndian);
    header.setUint16(4, 2, this.#littleEndian);
    header.setUint16(6, 4, this.#littleEndian);
    header.setUint32(16, this.#snapLength, this.#littleEndian);
    header.setUint32(20, options.linkType, this.#littleEndian);
    sink(new Uint8Array(header.buffer));
  }

  write(packet: PacketToWrite): void {
    const length = Math.min(packet.data.length, this.#snapLength);
    const bytes = new Uint8Array(PACKET_HEADER_BYTES + length);
    const header = new DataView(bytes.buffer);
    const fraction = (packet.timestampNs % NS_PER_SECOND) / this.#nsPerTick;
    header.setUint32(0, Number(packet.timestampNs / NS_PER_SECOND), this.#littleEndian);
    header.setUint32(4, Number(fraction), this.#littleEndian);
    header.setUint32(8, length, this.#littleEndian);
    header.setUint32(12, packet.originalLength ?? packet.data.length, this.#littleEndian);
    bytes.set(packet.data.subarray(0, length), PACKET_HEADER_BYTES);
    this.#sink(bytes);
  }
}
