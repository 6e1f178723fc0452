/**
 * ARP for IPv4 over Ethernet (RFC 826).
 *
 * ```
 *  +-------------------------------+-------------------------------+
 *  |      hardware type = 1        |    protocol type = 0x0800     |  0
 *  |    6          |       4       |           operation           |  4
 *  |               sender hardware address, 6 bytes                |  8
 *  |               sender protocol address, 4 bytes                | 14
 *  |               target hardware address, 6 bytes                | 18
 *  |               target protocol address, 4 bytes                | 24
 *  +---------------------------------------------------------------+
 * ```
 *
 * `offset` is that of the ARP packet, behind the Ethernet header. Addresses are words in wire order, the
 * operation is in host order. Not supported: other hardware, RARP, proxying.
 */
import { readInt32, readUint16, readWord, writeInt32, writeUint16, writeWord } from './byte-order.ts';
import { copyMac, ETHERTYPE_IPV4, isGroupMac } from './ethernet.ts';

export const ARP_BYTES = 28;

/** Field offsets, bytes. */
export const ARP_OPERATION = 6;
export const ARP_SENDER_MAC = 8;
export const ARP_SENDER_ADDRESS = 14;
export const ARP_TARGET_MAC = 18;
export const ARP_TARGET_ADDRESS = 24;

export const ARP_REQUEST = 1;
export const ARP_REPLY = 2;

/** Hardware type 1, protocol type 0x0800, as one word in host order. */
const ARP_ETHERNET_IPV4 = (1 << 16) | ETHERTYPE_IPV4;
/** Address lengths 6 and 4. */
const ARP_LENGTHS = 0x0604;

/**
 * Whether a whole request or reply for IPv4 over Ethernet stands at `offset` with a sender that one may answer:
 * its hardware address is not a group address. The sender's protocol address may be 0 (a probe, RFC 5227).
 */
export function isValidArp(bytes: Uint8Array, offset: number, availableBytes: number): boolean {
  if (availableBytes < ARP_BYTES) return false;
  if (readInt32(bytes, offset) !== ARP_ETHERNET_IPV4) return false;
  if (readUint16(bytes, offset + 4) !== ARP_LENGTHS) return false;
  const operation = arpOperation(bytes, offset);
  if (operation !== ARP_REQUEST && operation !== ARP_REPLY) return false;
  return !isGroupMac(bytes, offset + ARP_SENDER_MAC);
}

/** Host order: {@link ARP_REQUEST} or {@link ARP_REPLY}. */
export function arpOperation(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + ARP_OPERATION);
}

/** Sender's address, wire order. */
export function arpSenderAddress(bytes: Uint8Array, offset: number): number {
  return readWord(bytes, offset + ARP_SENDER_ADDRESS);
}

/** Target's address, wire order. */
export function arpTargetAddress(bytes: Uint8Array, offset: number): number {
  return readWord(bytes, offset + ARP_TARGET_ADDRESS);
}

/**
 * Writes a packet of {@link ARP_BYTES} at `offset`.
 *
 * @param senderMac array that holds the sender's MAC at `senderMacAt`
 * @param senderAddress wire order
 * @param targetMac array that holds the target's MAC at `targetMacAt`; six zeros in a request
 * @param targetAddress wire order
 */
export function writeArp(
  bytes: Uint8Array,
  offset: number,
  operation: number,
  senderMac: Uint8Array,
  senderMacAt: number,
  senderAddress: number,
  targetMac: Uint8Array,
  targetMacAt: number,
  targetAddress: number,
): void {
  writeInt32(bytes, offset, ARP_ETHERNET_IPV4);
  writeUint16(bytes, offset + 4, ARP_LENGTHS);
  writeUint16(bytes, offset + ARP_OPERATION, operation);
  copyMac(bytes, offset + ARP_SENDER_MAC, senderMac, senderMacAt);
  writeWord(bytes, offset + ARP_SENDER_ADDRESS, senderAddress);
  copyMac(bytes, offset + ARP_TARGET_MAC, targetMac, targetMacAt);
  writeWord(bytes, offset + ARP_TARGET_ADDRESS, targetAddress);
}
