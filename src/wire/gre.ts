/**
 * The GRE header, version 0 (RFC 2784; key and sequence number RFC 2890).
 *
 * ```
 *   0                   1                   2                   3
 *  +-+-+-+-+---+-------------+-----+-------------------------------+
 *  |C|-|K|S|res|  reserved   |  0  |         protocol type         |  0
 *  +-+-+-+-+---+-------------+-----+-------------------------------+
 *  |       checksum (if C)         |       reserved (if C)         |  4
 *  |                         key (if K)                            |
 *  |                   sequence number (if S)                      |
 *  +---------------------------------------------------------------+
 * ```
 *
 * A receiver refuses bits 1, 4 and 5 (RFC 1701's routing and strict source route, of which we speak nothing)
 * and ignores bits 6 to 12, as RFC 2784 (2.2) says. Not supported: version 1 (PPTP), RFC 1701 routing.
 * The protocol type is in host order; key and sequence number are int32 in host order.
 */
import { readInt32, readUint16, writeHalf, writeInt32, writeUint16 } from './byte-order.ts';
import { checksumOf, sumMemory } from './checksum.ts';
import type { FrameMemory } from './frame.ts';

export const GRE_MIN_HEADER_BYTES = 4;
export const GRE_MAX_HEADER_BYTES = 16;

const GRE_FLAG_CHECKSUM = 0x8000;
const GRE_FLAG_KEY = 0x2000;
const GRE_FLAG_SEQUENCE = 0x1000;
const GRE_REFUSED_BITS = 0x4c00;
const GRE_VERSION_MASK = 0x0007;
/** Offset of the checksum field, when there is one. */
const GRE_CHECKSUM = 4;

/** Results of {@link parseGre}. */
export const GRE_OK = 0;
/** The header runs beyond the packet. */
export const GRE_TRUNCATED = 1;
/** Not version 0. */
export const GRE_BAD_VERSION = 2;
/** A reserved bit that a receiver must refuse is set. */
export const GRE_BAD_FLAGS = 3;

/** One GRE header; reused. `headerBytes` follows from the flags. */
export class GreHeader {
  /** EtherType of the payload, host order. */
  protocolType = 0;
  /** 1 or 0. */
  hasChecksum = 0;
  /** 1 or 0. */
  hasKey = 0;
  /** 1 or 0. */
  hasSequence = 0;
  /** Host order, int32; 0 without a key. */
  key = 0;
  /** Host order, int32; 0 without a sequence number. */
  sequence = 0;
  /** Length of the header, bytes: 4, 8, 12 or 16. */
  headerBytes = GRE_MIN_HEADER_BYTES;
}

/** Length of a header with these options (each 1 or 0), bytes. */
export function greHeaderBytes(hasChecksum: number, hasKey: number, hasSequence: number): number {
  return GRE_MIN_HEADER_BYTES + ((hasChecksum + hasKey + hasSequence) << 2);
}

/** Reads the header at `offset` into `header`. One of `GRE_...`; `header` holds nothing of use unless `GRE_OK`. */
export function parseGre(
  bytes: Uint8Array,
  offset: number,
  availableBytes: number,
  header: GreHeader,
): number {
  if (availableBytes < GRE_MIN_HEADER_BYTES) return GRE_TRUNCATED;
  const flags = readUint16(bytes, offset);
  if ((flags & GRE_VERSION_MASK) !== 0) return GRE_BAD_VERSION;
  if ((flags & GRE_REFUSED_BITS) !== 0) return GRE_BAD_FLAGS;
  header.protocolType = readUint16(bytes, offset + 2);
  header.hasChecksum = (flags & GRE_FLAG_CHECKSUM) !== 0 ? 1 : 0;
  header.hasKey = (flags & GRE_FLAG_KEY) !== 0 ? 1 : 0;
  header.hasSequence = (flags & GRE_FLAG_SEQUENCE) !== 0 ? 1 : 0;
  header.headerBytes = greHeaderBytes(header.hasChecksum, header.hasKey, header.hasSequence);
  if (header.headerBytes > availableBytes) return GRE_TRUNCATED;
  let at = (offset + GRE_MIN_HEADER_BYTES + (header.hasChecksum << 2)) | 0;
  header.key = 0;
  if (header.hasKey !== 0) {
    header.key = readInt32(bytes, at);
    at = (at + 4) | 0;
  }
  header.sequence = header.hasSequence !== 0 ? readInt32(bytes, at) : 0;
  return GRE_OK;
}

/**
 * Writes `header` at `offset` (its `headerBytes` is not used) and returns its length, bytes. A checksum is left 0:
 * call {@link fillGreChecksum} when the payload is complete.
 */
export function writeGre(bytes: Uint8Array, offset: number, header: GreHeader): number {
  writeUint16(
    bytes,
    offset,
    (header.hasChecksum !== 0 ? GRE_FLAG_CHECKSUM : 0) |
      (header.hasKey !== 0 ? GRE_FLAG_KEY : 0) |
      (header.hasSequence !== 0 ? GRE_FLAG_SEQUENCE : 0),
  );
  writeUint16(bytes, offset + 2, header.protocolType);
  let at = (offset + GRE_MIN_HEADER_BYTES) | 0;
  if (header.hasChecksum !== 0) {
    writeInt32(bytes, at, 0);
    at = (at + 4) | 0;
  }
  if (header.hasKey !== 0) {
    writeInt32(bytes, at, header.key);
    at = (at + 4) | 0;
  }
  if (header.hasSequence !== 0) {
    writeInt32(bytes, at, header.sequence);
    at = (at + 4) | 0;
  }
  return (at - offset) | 0;
}

/** Computes the checksum over header and payload (`lengthBytes` from `offset`) and stores it. The header must have the field. */
export function fillGreChecksum(memory: FrameMemory, offset: number, lengthBytes: number): void {
  writeHalf(memory.bytes, offset + GRE_CHECKSUM, 0);
  writeHalf(memory.bytes, offset + GRE_CHECKSUM, checksumOf(sumMemory(memory, offset, lengthBytes)));
}

/** Whether the checksum over header and payload (`lengthBytes` from `offset`) is right. The header must have the field. */
export function verifyGreChecksum(memory: FrameMemory, offset: number, lengthBytes: number): boolean {
  return sumMemory(memory, offset, lengthBytes) === 0xffff;
}
