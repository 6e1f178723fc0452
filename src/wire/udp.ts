/**
 * The UDP header (RFC 768).
 *
 * ```
 *  +-------------------------------+-------------------------------+
 *  |          source port          |       destination port        |  0
 *  |     length, header included   |           checksum            |  4
 *  +-------------------------------+-------------------------------+
 * ```
 *
 * The checksum is 0 for none (IPv4 only). Numbers are in host order, the checksum in wire order
 * (`wire/checksum.ts`). Nothing is checked here.
 */
import { readUint16, writeHalf, writeUint16 } from './byte-order.ts';

export const UDP_HEADER_BYTES = 8;

/** Field offsets, bytes. */
export const UDP_SOURCE_PORT = 0;
export const UDP_DESTINATION_PORT = 2;
export const UDP_LENGTH = 4;
export const UDP_CHECKSUM = 6;

/** Header and payload, bytes. */
export function udpLength(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + UDP_LENGTH);
}

/** Writes a header with checksum 0; `length` counts the header too. */
export function writeUdpHeader(
  bytes: Uint8Array,
  offset: number,
  sourcePort: number,
  destinationPort: number,
  length: number,
): void {
  writeUint16(bytes, offset + UDP_SOURCE_PORT, sourcePort);
  writeUint16(bytes, offset + UDP_DESTINATION_PORT, destinationPort);
  writeUint16(bytes, offset + UDP_LENGTH, length);
  writeHalf(bytes, offset + UDP_CHECKSUM, 0);
}
