/** The length of a packet in its IP header, of either version: for packets that are made longer or shorter than they came. */
import { writeUint16 } from './byte-order.ts';
import { fillIpv4Checksum, IPV4_TOTAL_LENGTH } from './ipv4.ts';
import { IPV6_HEADER_BYTES, IPV6_PAYLOAD_LENGTH } from './ipv6.ts';
import { IPV4 } from './packet.ts';

/** Writes the length of the packet at `offset`, headers included, and of IPv4 the header's checksum anew. */
export function writeIpLength(bytes: Uint8Array, offset: number, lengthBytes: number): void {
  if (bytes[offset]! >>> 4 === IPV4) {
    writeUint16(bytes, offset + IPV4_TOTAL_LENGTH, lengthBytes);
    fillIpv4Checksum(bytes, offset);
  } else {
    writeUint16(bytes, offset + IPV6_PAYLOAD_LENGTH, lengthBytes - IPV6_HEADER_BYTES);
  }
}
