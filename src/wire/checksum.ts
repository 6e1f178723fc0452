/**
 * The internet checksum: whole, partial and incremental (RFC 1071, RFC 1624, RFC 8200 8.1).
 *
 * **Convention.** Every sum, checksum and delta in this file is in wire order: 16-bit units as a little-endian
 * load gives them. Ones' complement addition does not care about byte order as long as one order is used
 * throughout, so memory is summed as it lies; numbers that do not come from memory (lengths, protocol numbers)
 * are swapped once. A checksum field is read and written with `readHalf` / `writeHalf`.
 *
 * - a **sum** is folded to 0..0xffff, not complemented; 0 only where every unit was 0;
 * - a **checksum** is the complement of a sum: what stands in a header;
 * - a **partial checksum** (virtio NEEDS_CSUM) is the *sum* of the pseudo-header, standing in the field;
 * - a **delta** is what a change adds to the sum: `~old + new`. Never 0: "no change" is 0xffff, its equal in ones'
 *   complement, so that 0 stays free to mean "none stored".
 *
 * ```
 *   full checksum:     HC' = ~(~HC + delta)         delta: addresses, ports and whatever else changed
 *   partial checksum:  HC' =    HC + delta          delta: addresses and lengths only, never ports
 * ```
 *
 * Neighbours: `wire/packet.ts` for the view; the header files use it for their own checksums.
 */
import { readHalf, swap16, writeHalf } from './byte-order.ts';
import type { FrameMemory } from './frame.ts';
import {
  IPV4,
  type PacketView,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from './packet.ts';

/** Words summed before folding: 8192 times 0xffff stays within an int32. */
const WORDS_PER_FOLD = 8192;

/** Folds any 32-bit accumulator (taken as unsigned) to a 16-bit sum. */
export function foldSum(accumulator: number): number {
  const once = (accumulator & 0xffff) + (accumulator >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** Adds two sums or deltas. */
export function addSums(a: number, b: number): number {
  const sum = a + b;
  return (sum & 0xffff) + (sum >>> 16);
}

/** Sum of one 32-bit word. */
export function wordSum(word: number): number {
  return foldSum(word);
}

/** Sum of an address given as four words in wire order. */
export function addressWordsSum(word0: number, word1: number, word2: number, word3: number): number {
  return foldSum(
    (word0 & 0xffff) +
      (word0 >>> 16) +
      (word1 & 0xffff) +
      (word1 >>> 16) +
      (word2 & 0xffff) +
      (word2 >>> 16) +
      (word3 & 0xffff) +
      (word3 >>> 16),
  );
}

/** Sum of the view's source and destination address, as its fields say. */
export function addressesSum(view: PacketView): number {
  return addSums(
    addressWordsSum(view.src0, view.src1, view.src2, view.src3),
    addressWordsSum(view.dst0, view.dst1, view.dst2, view.dst3),
  );
}

/**
 * Sum of `lengthBytes` bytes of packet memory from `offset`, any alignment; an odd last byte is padded with zero.
 * Reads nothing beyond the range.
 */
export function sumMemory(memory: FrameMemory, offset: number, lengthBytes: number): number {
  const bytes = memory.bytes;
  const words = memory.words;
  const end = (offset + lengthBytes) | 0;
  let at = offset;
  let sum = 0;
  const isOdd = at & 1;
  // From an odd address every unit lies swapped in memory: so its sum is taken swapped, and swapped back.
  if (isOdd !== 0 && at < end) {
    sum = bytes[at] << 8;
    at = (at + 1) | 0;
  }
  if ((at & 2) !== 0 && at + 2 <= end) {
    sum = (sum + readHalf(bytes, at)) | 0;
    at = (at + 2) | 0;
  }
  if (at + 4 <= end) {
    let index = at >> 2;
    const lastIndex = end >> 2;
    while (index < lastIndex) {
      const foldIndex = lastIndex - index > WORDS_PER_FOLD ? index + WORDS_PER_FOLD : lastIndex;
      let low = 0;
      let high = 0;
      for (; index + 4 <= foldIndex; index += 4) {
        const word0 = words[index];
        const word1 = words[index + 1];
        const word2 = words[index + 2];
        const word3 = words[index + 3];
        low = (low + (word0 & 0xffff) + (word1 & 0xffff) + (word2 & 0xffff) + (word3 & 0xffff)) | 0;
        high = (high + (word0 >>> 16) + (word1 >>> 16) + (word2 >>> 16) + (word3 >>> 16)) | 0;
      }
      for (; index < foldIndex; index++) {
        low = (low + (words[index] & 0xffff)) | 0;
        high = (high + (words[index] >>> 16)) | 0;
      }
      sum = (sum + foldSum(low) + foldSum(high)) | 0;
    }
    at = lastIndex << 2;
  }
  if (at + 2 <= end) {
    sum = (sum + readHalf(bytes, at)) | 0;
    at = (at + 2) | 0;
  }
  if (at < end) sum = (sum + bytes[at]) | 0;
  const folded = foldSum(sum);
  return isOdd !== 0 ? swap16(folded) : folded;
}

/** The same as {@link sumMemory} over any byte array, unit by unit: for headers and for the control path. */
export function sumBytes(bytes: Uint8Array, offset: number, lengthBytes: number): number {
  const end = (offset + lengthBytes) | 0;
  let at = offset;
  let sum = 0;
  for (; at + 2 <= end; at += 2) {
    sum = (sum + readHalf(bytes, at)) | 0;
    if (sum < 0) sum = foldSum(sum);
  }
  if (at < end) sum = (sum + bytes[at]) | 0;
  return foldSum(sum);
}

/** The checksum of a sum. */
export function checksumOf(sum: number): number {
  return ~sum & 0xffff;
}

/** What replacing `oldSum` by `newSum` adds to a sum that contains it; never 0. */
export function checksumDelta(oldSum: number, newSum: number): number {
  const delta = addSums(~oldSum & 0xffff, newSum & 0xffff);
  return delta === 0 ? 0xffff : delta;
}

/** The delta that takes `delta` back; never 0. */
export function reverseDelta(delta: number): number {
  const reversed = ~delta & 0xffff;
  return reversed === 0 ? 0xffff : reversed;
}

/** A full checksum after a change (RFC 1624, equation 3). Does not know UDP's rule for 0: see {@link adjustUdpChecksum}. */
export function adjustChecksum(checksum: number, delta: number): number {
  return ~addSums(~checksum & 0xffff, delta) & 0xffff;
}

/** A full UDP checksum after a change: 0 ("none", IPv4) stays 0, and a computed 0 is written as 0xffff (RFC 768). */
export function adjustUdpChecksum(checksum: number, delta: number): number {
  if (checksum === 0) return 0;
  const adjusted = adjustChecksum(checksum, delta);
  return adjusted === 0 ? 0xffff : adjusted;
}

/** A partial checksum after a change of what the pseudo-header holds. */
export function adjustPartialChecksum(sum: number, delta: number): number {
  return addSums(sum, delta);
}

/** Where the checksum field stands in the transport header, bytes; -1 for protocols that we do not know. */
export function transportChecksumOffset(protocol: number): number {
  if (protocol === PROTOCOL_TCP) return 16;
  if (protocol === PROTOCOL_UDP) return 6;
  if (protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6) return 2;
  return -1;
}

/**
 * Sum of the pseudo-header (RFC 9293 3.1, RFC 8200 8.1) for a transport length in bytes, header included
 * (0..65535). The addresses are read from the packet, not from the view's fields: a translated packet is summed
 * as it is now.
 */
export function pseudoHeaderSum(view: PacketView, transportBytes: number): number {
  const addresses =
    view.family === IPV4
      ? sumMemory(view.memory, (view.offset + 12) | 0, 8)
      : sumMemory(view.memory, (view.offset + 8) | 0, 32);
  return foldSum(addresses + swap16(transportBytes) + (view.protocol << 8));
}

/** Bytes that the transport checksum covers: what UDP's length field says, else everything to the packet's end. */
function coveredBytes(view: PacketView): number {
  if (view.protocol === PROTOCOL_UDP) return (view.payloadOffset + view.payloadLength - view.l4Offset) | 0;
  return (view.offset + view.length - view.l4Offset) | 0;
}

/** Sum that a right transport checksum makes 0xffff (field included) and from which a new one is computed (field 0). */
function transportSum(view: PacketView): number {
  const lengthBytes = coveredBytes(view);
  const sum = sumMemory(view.memory, view.l4Offset, lengthBytes);
  return view.protocol === PROTOCOL_ICMP ? sum : addSums(sum, pseudoHeaderSum(view, lengthBytes));
}

/**
 * Turns a partial transport checksum into a full one, in place, and clears `checksumStart` and `checksumOffset`.
 * Does nothing if the checksum is not partial. Not for GSO packets: their segments have a checksum each.
 */
export function completeChecksum(view: PacketView): void {
  if (view.checksumStart === 0) return;
  const start = view.checksumStart;
  const checksum = checksumOf(sumMemory(view.memory, start, (view.offset + view.length - start) | 0));
  const stored = checksum === 0 && view.protocol === PROTOCOL_UDP ? 0xffff : checksum;
  writeHalf(view.bytes, start + view.checksumOffset, stored);
  view.checksumStart = 0;
  view.checksumOffset = 0;
}

/**
 * Computes the full transport checksum from nothing and stores it: for packets of our own. TCP, UDP, ICMP and
 * ICMPv6 in a whole packet; does nothing for other protocols.
 */
export function fillTransportChecksum(view: PacketView): void {
  const fieldOffset = transportChecksumOffset(view.protocol);
  if (fieldOffset < 0) return;
  const at = view.l4Offset + fieldOffset;
  writeHalf(view.bytes, at, 0);
  const checksum = checksumOf(transportSum(view));
  writeHalf(view.bytes, at, checksum === 0 && view.protocol === PROTOCOL_UDP ? 0xffff : checksum);
  view.checksumStart = 0;
  view.checksumOffset = 0;
}

/**
 * Whether the transport checksum of a whole packet is right. A partial checksum counts as right (it has not been
 * on a wire), as do IPv4 UDP without one, and protocols that we do not know. IPv6 UDP without one is wrong
 * (RFC 8200 8.1).
 */
export function verifyTransportChecksum(view: PacketView): boolean {
  const fieldOffset = transportChecksumOffset(view.protocol);
  if (fieldOffset < 0 || view.checksumStart !== 0) return true;
  if (view.protocol === PROTOCOL_UDP && readHalf(view.bytes, view.l4Offset + fieldOffset) === 0) {
    return view.family === IPV4;
  }
  return transportSum(view) === 0xffff;
}
