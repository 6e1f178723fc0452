/**
 * Which addresses a packet that is to be forwarded may carry (RFC 1122 3.2.1.3, RFC 1812 5.3.7, RFC 4291 2.5).
 *
 * The same list holds for sources and destinations: unspecified ("this network" 0.0.0.0/8, ::/96), loopback,
 * link-local, multicast, limited broadcast, IPv4-mapped. 240.0.0.0/4 passes, as in Linux. Directed broadcasts
 * cannot be told without the network's prefix.
 */
import { DECODE_BAD_DESTINATION, DECODE_BAD_SOURCE, DECODE_OK } from './decode-code.ts';

/** Word 2 of an IPv4-mapped address (::ffff:0:0/96), wire order. */
const MAPPED_WORD2 = 0xffff0000 | 0;

function isRefusedIpv4(word: number): boolean {
  const first = word & 0xff;
  if (first === 0 || first === 127 || (first & 0xf0) === 224) return true;
  if (first === 169) return ((word >>> 8) & 0xff) === 254;
  return word === -1;
}

function isRefusedIpv6(word0: number, word1: number, word2: number): boolean {
  if ((word0 & 0xff) === 0xff || (word0 & 0xc0ff) === 0x80fe) return true;
  return (word0 | word1) === 0 && (word2 === 0 || word2 === MAPPED_WORD2);
}

/** `DECODE_OK`, `DECODE_BAD_SOURCE` (also if both are equal: a LAND packet) or `DECODE_BAD_DESTINATION`. */
export function checkIpv4Addresses(source: number, destination: number): number {
  if (isRefusedIpv4(source) || source === destination) return DECODE_BAD_SOURCE;
  return isRefusedIpv4(destination) ? DECODE_BAD_DESTINATION : DECODE_OK;
}

/** As {@link checkIpv4Addresses}, addresses as words in wire order. */
export function checkIpv6Addresses(
  source0: number,
  source1: number,
  source2: number,
  source3: number,
  destination0: number,
  destination1: number,
  destination2: number,
  destination3: number,
): number {
  if (isRefusedIpv6(source0, source1, source2)) return DECODE_BAD_SOURCE;
  if (
    source3 === destination3 &&
    source2 === destination2 &&
    source1 === destination1 &&
    source0 === destination0
  ) {
    return DECODE_BAD_SOURCE;
  }
  return isRefusedIpv6(destination0, destination1, destination2) ? DECODE_BAD_DESTINATION : DECODE_OK;
}
