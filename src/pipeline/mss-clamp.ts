/**
 * Clamping of the maximum segment size that a SYN announces (RFC 9293, 3.7.1; RFC 6691), so that what the peer
 * sends fits into the tunnel without "packet too big".
 *
 * ```
 *  | kind 2 | length 4 | MSS (16 bit) |     at any byte of the options: its halves may lie across checksum units
 *
 *  MSS = min(MSS, MTU - 40)  over IPv4        min(MSS, MTU - 60)  over IPv6
 * ```
 *
 * Never raised, and never added where it is missing: without the option a peer sends 536 or 1220 bytes at most.
 *
 * Neighbours: `departure.ts`, which clamps both SYN and SYN-ACK to the MTU of the ports that each comes and leaves by.
 */
import { readHalf, readUint16, swap16, writeHalf, writeUint16 } from '../wire/byte-order.ts';
import { adjustChecksum, checksumDelta } from '../wire/checksum.ts';
import { IPV4_HEADER_BYTES } from '../wire/ipv4.ts';
import { IPV6_HEADER_BYTES } from '../wire/ipv6.ts';
import { IPV4, type PacketView, PROTOCOL_TCP, TCP_SYN } from '../wire/packet.ts';
import {
  TCP_CHECKSUM,
  TCP_HEADER_BYTES,
  TCP_OPTION_END,
  TCP_OPTION_MSS,
  TCP_OPTION_NOP,
  TCP_OPTIONS,
  tcpHeaderBytes,
} from '../wire/tcp.ts';

const MSS_OPTION_BYTES = 4;
/** Nothing is clamped to less: a smaller MTU is not one that TCP can use. */
const LEAST_MSS = 48;

/**
 * Lowers the MSS option of a SYN to what fits into packets of `mtu` bytes, in place, and mends a full checksum (a
 * partial one does not cover options yet). Returns whether anything was changed.
 */
export function clampMss(view: PacketView, mtu: number): boolean {
  if (view.protocol !== PROTOCOL_TCP || (view.tcpFlags & TCP_SYN) === 0 || view.fragmentOffset !== 0)
    return false;
  const limit = mtu - TCP_HEADER_BYTES - (view.family === IPV4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES);
  if (limit < LEAST_MSS) return false;
  const at = findMss(view);
  if (at < 0) return false;
  const bytes = view.bytes;
  const mss = readUint16(bytes, at);
  if (mss <= limit) return false;
  writeUint16(bytes, at, limit);
  if (view.checksumStart === 0) {
    // In checksum units a field at an odd place stands with its bytes the other way round (RFC 1071, 2 B).
    const isOdd = ((at - view.l4Offset) & 1) !== 0;
    const delta = isOdd ? checksumDelta(mss, limit) : checksumDelta(swap16(mss), swap16(limit));
    const field = view.l4Offset + TCP_CHECKSUM;
    writeHalf(bytes, field, adjustChecksum(readHalf(bytes, field), delta));
  }
  return true;
}

/** Where the value of the first MSS option stands, or -1. An option that does not fit ends the search. */
function findMss(view: PacketView): number {
  const bytes = view.bytes;
  const headerEnd = view.l4Offset + tcpHeaderBytes(bytes, view.l4Offset);
  const end = Math.min(headerEnd, view.offset + view.length);
  let at = view.l4Offset + TCP_OPTIONS;
  while (at < end) {
    const kind = bytes[at];
    if (kind === TCP_OPTION_END) return -1;
    if (kind === TCP_OPTION_NOP) {
      at++;
      continue;
    }
    if (at + 2 > end) return -1;
    const length = bytes[at + 1];
    if (length < 2 || at + length > end) return -1;
    if (kind === TCP_OPTION_MSS) return length === MSS_OPTION_BYTES ? at + 2 : -1;
    at += length;
  }
  return -1;
}
