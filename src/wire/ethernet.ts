/**
 * The Ethernet header (IEEE 802.3, type field) and MAC addresses.
 *
 * ```
 *  +-----------------------+-----------------------+-----------+
 *  |  destination, 6 bytes |    source, 6 bytes    | EtherType |
 *  +-----------------------+-----------------------+-----------+
 *  0                       6                       12          14
 * ```
 *
 * Not supported: VLAN tags (such frames are not ours) and length fields (802.2). Addresses in text are six
 * hexadecimal bytes with colons.
 */
import { readUint16, writeUint16 } from './byte-order.ts';

export const ETHERNET_HEADER_BYTES = 14;
export const MAC_BYTES = 6;

/** Field offsets, bytes. */
export const ETHERNET_DESTINATION = 0;
export const ETHERNET_SOURCE = 6;
export const ETHERNET_TYPE = 12;

/** EtherTypes; GRE uses them as protocol types. */
export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_VLAN = 0x8100;
export const ETHERTYPE_IPV6 = 0x86dd;
export const ETHERTYPE_PROVIDER_VLAN = 0x88a8;

/** EtherType, host order. */
export function etherType(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + ETHERNET_TYPE);
}

/** Whether the address at `at` is a group address (multicast or broadcast). */
export function isGroupMac(bytes: Uint8Array, at: number): boolean {
  return (bytes[at] & 1) !== 0;
}

/** Whether the six bytes at `at` and at `otherAt` of `other` are equal. */
export function macEquals(bytes: Uint8Array, at: number, other: Uint8Array, otherAt: number): boolean {
  return (
    bytes[at] === other[otherAt] &&
    bytes[at + 1] === other[otherAt + 1] &&
    bytes[at + 2] === other[otherAt + 2] &&
    bytes[at + 3] === other[otherAt + 3] &&
    bytes[at + 4] === other[otherAt + 4] &&
    bytes[at + 5] === other[otherAt + 5]
  );
}

/** Copies six bytes from `from` at `fromAt` to `bytes` at `at`. */
export function copyMac(bytes: Uint8Array, at: number, from: Uint8Array, fromAt: number): void {
  for (let index = 0; index < MAC_BYTES; index++) bytes[at + index] = from[fromAt + index];
}

/**
 * Writes a header at `offset`.
 *
 * @param destination array that holds the destination address at `destinationAt`
 * @param source array that holds the source address at `sourceAt`
 * @param type EtherType, host order
 */
export function writeEthernetHeader(
  bytes: Uint8Array,
  offset: number,
  destination: Uint8Array,
  destinationAt: number,
  source: Uint8Array,
  sourceAt: number,
  type: number,
): void {
  copyMac(bytes, offset + ETHERNET_DESTINATION, destination, destinationAt);
  copyMac(bytes, offset + ETHERNET_SOURCE, source, sourceAt);
  writeUint16(bytes, offset + ETHERNET_TYPE, type);
}

/** Reads `02:00:00:00:00:01`; undefined if the text is no MAC address. Control path. */
export function parseMac(text: string): Uint8Array | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined;
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}

/** The six bytes at `at` as lower-case text. Control path. */
export function formatMac(bytes: Uint8Array, at = 0): string {
  return Array.from(bytes.subarray(at, at + MAC_BYTES), (byte) => byte.toString(16).padStart(2, '0')).join(
    ':',
  );
}
