/**
 * Fields in bytes: network order, and wire order.
 *
 * Two conventions meet in `wire/`, and every function says which one it uses:
 *
 * - **host order** (`read...`, `write...` of `Uint16`, `Int32`): the number that the field means. For arithmetic,
 *   lengths, ports, sequence numbers.
 * - **wire order** (`Word`, `Half`): the bytes as a little-endian load gives them. For comparing, hashing, copying
 *   and summing (`wire/checksum.ts`), where the order does not matter as long as everyone uses the same.
 *
 * Four-byte values are int32, so that they stay unboxed: they may look negative.
 */

/** Reads a 16-bit field, host order. */
export function readUint16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

/** Writes a 16-bit field, host order; higher bits of `value` are ignored. */
export function writeUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** Reads a 32-bit field, host order, as an int32. */
export function readInt32(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
}

/** Writes a 32-bit field, host order. */
export function writeInt32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Reads two bytes in wire order. */
export function readHalf(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8);
}

/** Writes two bytes in wire order. */
export function writeHalf(bytes: Uint8Array, at: number, half: number): void {
  bytes[at] = half;
  bytes[at + 1] = half >>> 8;
}

/** Reads four bytes in wire order, at any alignment. */
export function readWord(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
}

/** Writes four bytes in wire order, at any alignment. */
export function writeWord(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word;
  bytes[at + 1] = word >>> 8;
  bytes[at + 2] = word >>> 16;
  bytes[at + 3] = word >>> 24;
}

/** Wire order to host order and back, 16 bits. Higher bits of `half` are ignored. */
export function swap16(half: number): number {
  return ((half & 0xff) << 8) | ((half >>> 8) & 0xff);
}

/** Wire order to host order and back, 32 bits, int32. */
export function swap32(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}
