/**
 * Reads pcapng (draft-ietf-opsawg-pcapng): section, interface, enhanced and simple packet blocks; others are
 * passed over. Sections may change the byte order; interfaces count on through the file.
 *
 * ```
 *  block   type 4 | total length 4 | body, padded to 4 | total length 4
 *  option  code 2 | length 2 | value, padded to 4                        (code 0 ends the list)
 *  SHB     byte-order magic 4 | major 2 | minor 2 | section length 8 | options
 *  IDB     link type 2 | reserved 2 | snap length 4 | options
 *  EPB     interface 4 | ticks, high 4 | ticks, low 4 | captured length 4 | original length 4 | data | options
 *  SPB     original length 4 | data
 * ```
 *
 * Neighbours: `capture.ts` for the types, `pcapng-writer.ts` for the other way.
 */
import { type Capture, type CapturedPacket, CaptureError, type CaptureInterface } from './capture.ts';
import {
  BLOCK_ENHANCED_PACKET,
  BLOCK_INTERFACE,
  BLOCK_OVERHEAD_BYTES,
  BLOCK_SECTION,
  BLOCK_SIMPLE_PACKET,
  BYTE_ORDER_MAGIC,
  ENHANCED_PACKET_BYTES,
  INTERFACE_BYTES,
  OPTION_COMMENT,
  OPTION_END,
  OPTION_INTERFACE_NAME,
  OPTION_TIME_OFFSET,
  OPTION_TIME_RESOLUTION,
  padded,
  SECTION_BYTES,
  SIMPLE_PACKET_BYTES,
} from './pcapng-format.ts';

const NS_PER_SECOND = 1_000_000_000n;
/** if_tsresol without the option: microseconds. */
const DEFAULT_RESOLUTION = 6;
const RESOLUTION_POWER_OF_TWO = 0x80;

interface ReadInterface extends CaptureInterface {
  readonly resolution: number;
  readonly offsetSeconds: bigint;
}

function ticksToNs(ticks: bigint, resolution: number): bigint {
  const exponent = BigInt(resolution & ~RESOLUTION_POWER_OF_TWO);
  if ((resolution & RESOLUTION_POWER_OF_TWO) !== 0) return (ticks * NS_PER_SECOND) >> exponent;
  return (ticks * NS_PER_SECOND) / 10n ** exponent;
}

class Reader {
  readonly interfaces: ReadInterface[] = [];
  readonly packets: CapturedPacket[] = [];
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #littleEndian = true;
  /** Index of the section's first interface. */
  #firstInterface = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Reads blocks to the end of the file. Throws {@link CaptureError}. */
  run(): void {
    let at = 0;
    while (at < this.#bytes.length) at = this.#block(at);
  }

  #u16(at: number): number {
    return this.#view.getUint16(at, this.#littleEndian);
  }

  #u32(at: number): number {
    return this.#view.getUint32(at, this.#littleEndian);
  }

  #block(at: number): number {
    const left = this.#bytes.length - at;
    if (left < BLOCK_OVERHEAD_BYTES) throw new CaptureError('truncated', at, 'a block header is cut off');
    // The section header's type reads the same in both orders; its magic number tells which one follows.
    const isSection = this.#u32(at) === BLOCK_SECTION;
    if (isSection) this.#readByteOrder(at + 8);
    else if (at === 0) throw new CaptureError('not_a_capture', 0, 'no section header');
    const length = this.#u32(at + 4);
    if (length < BLOCK_OVERHEAD_BYTES || length % 4 !== 0) {
      throw new CaptureError('malformed', at, `a block length of ${length}`);
    }
    if (length > left) throw new CaptureError('truncated', at, `a block of ${length} bytes is cut off`);
    if (this.#u32(at + length - 4) !== length) {
      throw new CaptureError('malformed', at, 'the two lengths of a block differ');
    }
    this.#body(this.#u32(at), at + 8, at + length - 4);
    return at + length;
  }

  #readByteOrder(at: number): void {
    for (const littleEndian of [true, false]) {
      if (this.#view.getUint32(at, littleEndian) === BYTE_ORDER_MAGIC) {
        this.#littleEndian = littleEndian;
        return;
      }
    }
    throw new CaptureError('malformed', at, 'no byte-order magic in a section header');
  }

  #body(type: number, at: number, end: number): void {
    switch (type) {
      case BLOCK_SECTION:
        this.#need(at, end, SECTION_BYTES);
        this.#firstInterface = this.interfaces.length;
        break;
      case BLOCK_INTERFACE:
        this.#need(at, end, INTERFACE_BYTES);
        this.#interface(at, end);
        break;
      case BLOCK_ENHANCED_PACKET:
        this.#need(at, end, ENHANCED_PACKET_BYTES);
        this.#enhancedPacket(at, end);
        break;
      case BLOCK_SIMPLE_PACKET:
        this.#need(at, end, SIMPLE_PACKET_BYTES);
        this.#simplePacket(at, end);
        break;
    }
  }

  #need(at: number, end: number, bytes: number): void {
    if (end - at < bytes) throw new CaptureError('malformed', at, 'a block is too short for its type');
  }

  /** Calls back for every option in [at, end). */
  #options(at: number, end: number, found: (code: number, at: number, length: number) => void): void {
    while (end - at >= 4) {
      const code = this.#u16(at);
      const length = this.#u16(at + 2);
      if (code === OPTION_END) return;
      if (length > end - at - 4) throw new CaptureError('malformed', at, 'an option exceeds its block');
      found(code, at + 4, length);
      at += 4 + padded(length);
    }
  }

  #text(at: number, length: number): string {
    return new TextDecoder().decode(this.#bytes.subarray(at, at + length));
  }

  #interface(at: number, end: number): void {
    let name: string | undefined;
    let resolution = DEFAULT_RESOLUTION;
    let offsetSeconds = 0n;
    this.#options(at + INTERFACE_BYTES, end, (code, value, length) => {
      if (code === OPTION_INTERFACE_NAME) name = this.#text(value, length);
      if (code === OPTION_TIME_RESOLUTION && length >= 1) resolution = this.#bytes[value]!;
      if (code === OPTION_TIME_OFFSET && length >= 8) {
        offsetSeconds = this.#view.getBigInt64(value, this.#littleEndian);
      }
    });
    this.interfaces.push({
      linkType: this.#u16(at),
      snapLength: this.#u32(at + 4),
      ...(name === undefined ? {} : { name }),
      resolution,
      offsetSeconds,
    });
  }

  #enhancedPacket(at: number, end: number): void {
    const interfaceIndex = this.#firstInterface + this.#u32(at);
    const captured = this.interfaces[interfaceIndex];
    if (captured === undefined) throw new CaptureError('malformed', at, 'a packet of an unknown interface');
    const length = this.#u32(at + 12);
    const data = at + ENHANCED_PACKET_BYTES;
    if (length > end - data) throw new CaptureError('malformed', at, 'a packet exceeds its block');
    const ticks = (BigInt(this.#u32(at + 4)) << 32n) | BigInt(this.#u32(at + 8));
    let comment: string | undefined;
    this.#options(data + padded(length), end, (code, value, bytes) => {
      if (code === OPTION_COMMENT) comment ??= this.#text(value, bytes);
    });
    this.packets.push({
      interfaceIndex,
      linkType: captured.linkType,
      timestampNs: ticksToNs(ticks, captured.resolution) + captured.offsetSeconds * NS_PER_SECOND,
      originalLength: this.#u32(at + 16),
      data: this.#bytes.subarray(data, data + length),
      ...(comment === undefined ? {} : { comment }),
    });
  }

  /** Has no time, belongs to the section's first interface, and is as long as that one's snap length lets it. */
  #simplePacket(at: number, end: number): void {
    const captured = this.interfaces[this.#firstInterface];
    if (captured === undefined) throw new CaptureError('malformed', at, 'a packet of an unknown interface');
    const originalLength = this.#u32(at);
    const limit = captured.snapLength === 0 ? originalLength : captured.snapLength;
    const data = at + SIMPLE_PACKET_BYTES;
    const length = Math.min(originalLength, limit);
    if (length > end - data) throw new CaptureError('malformed', at, 'a packet exceeds its block');
    this.packets.push({
      interfaceIndex: this.#firstInterface,
      linkType: captured.linkType,
      timestampNs: 0n,
      originalLength,
      data: this.#bytes.subarray(data, data + length),
    });
  }
}

/** Whether the file begins like a pcapng file. */
export function isPcapng(bytes: Uint8Array): boolean {
  return (
    bytes.length >= 4 && bytes[0] === 0x0a && bytes[1] === 0x0d && bytes[2] === 0x0d && bytes[3] === 0x0a
  );
}

/** Reads a pcapng file as far as it is sound; see {@link Capture.error}. */
export function readPcapng(bytes: Uint8Array): Capture {
  const reader = new Reader(bytes);
  let error: CaptureError | undefined;
  try {
    reader.run();
  } catch (thrown) {
    if (!(thrown instanceof CaptureError)) throw thrown;
    error = thrown;
  }
  const interfaces = reader.interfaces.map(({ linkType, snapLength, name }) => ({
    linkType,
    snapLength,
    ...(name === undefined ? {} : { name }),
  }));
  const format = error?.code === 'not_a_capture' ? 'unknown' : 'pcapng';
  return { format, interfaces, packets: reader.packets, error };
}
