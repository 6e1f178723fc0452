/**
 * The addresses of an IP header and their family, read without decoding the rest: for whoever only asks whose a packet is.
 *
 * Words in wire order, as in `PacketView`: IPv4 in the last of four, the others 0.
 *
 * Neighbours: `wire/ndp.ts`, and the link layer's outer headers. Packets that are to be forwarded are decoded
 * (`wire/decode.ts`).
 */
import { readWord } from './byte-order.ts';
import { IPV4_DESTINATION, IPV4_SOURCE } from './ipv4.ts';
import { IPV6_DESTINATION, IPV6_SOURCE } from './ipv6.ts';
import { IPV4, IPV6 } from './packet.ts';

export class IpAddresses {
  /** `IPV4` or `IPV6`; 0 before anything was read. */
  family = 0;
  src0 = 0;
  src1 = 0;
  src2 = 0;
  src3 = 0;
  dst0 = 0;
  dst1 = 0;
  dst2 = 0;
  dst3 = 0;

  /** Reads the addresses of the IPv4 header at `offset`. */
  readIpv4Addresses(bytes: Uint8Array, offset: number): void {
    this.family = IPV4;
    this.src0 = 0;
    this.src1 = 0;
    this.src2 = 0;
    this.src3 = readWord(bytes, offset + IPV4_SOURCE);
    this.dst0 = 0;
    this.dst1 = 0;
    this.dst2 = 0;
    this.dst3 = readWord(bytes, offset + IPV4_DESTINATION);
  }

  /** Reads the addresses of the IPv6 header at `offset`. */
  readIpv6Addresses(bytes: Uint8Array, offset: number): void {
    this.family = IPV6;
    this.src0 = readWord(bytes, offset + IPV6_SOURCE);
    this.src1 = readWord(bytes, offset + IPV6_SOURCE + 4);
    this.src2 = readWord(bytes, offset + IPV6_SOURCE + 8);
    this.src3 = readWord(bytes, offset + IPV6_SOURCE + 12);
    this.dst0 = readWord(bytes, offset + IPV6_DESTINATION);
    this.dst1 = readWord(bytes, offset + IPV6_DESTINATION + 4);
    this.dst2 = readWord(bytes, offset + IPV6_DESTINATION + 8);
    this.dst3 = readWord(bytes, offset + IPV6_DESTINATION + 12);
  }
}
