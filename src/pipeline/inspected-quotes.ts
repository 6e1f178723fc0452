/**
 * ICMP errors of flows that plugins look at: what they quote is shown to nobody, and may be anything at all, of any length.
 * So they quote no more than must be: 8 bytes behind the IP header (RFC 792), which say ports and, of TCP, the number.
 *
 * ```
 *   | IP | ICMP | quoted IP header | 8 bytes | payload, or what was put in its place; extensions (RFC 4884) |
 *                                             ^ the error ends here
 * ```
 *
 * Neighbours: `pipeline.ts` (the way of ICMP errors), `translate.ts` (what they quote, translated).
 */
import { FLOW_STREAMS, SHARED_PLUGINS, SHARED_STATE } from '../flow/layout.ts';
import { writeIpLength } from '../wire/ip-length.ts';
import { IPV4, type PacketView } from '../wire/packet.ts';

const QUOTED_BYTES = 8;
/** Where the length of the quote stands, which is 0 without extensions; in ICMPv6 only in these two types. */
const LENGTH_ICMP = 5;
const LENGTH_ICMPV6 = 4;
const ICMPV6_UNREACHABLE = 1;
const ICMPV6_TIME_EXCEEDED = 3;

/** Whether a plugin looks at the packets of the flow whose record begins at word `base`, or reads its bytes. */
export function isInspected(words: Int32Array, base: number): boolean {
  return (words[base + SHARED_PLUGINS] & 0xffff) !== 0 || (words[base + SHARED_STATE] & FLOW_STREAMS) !== 0;
}

/** Cuts an ICMP error behind what it must quote. The caller computes the ICMP checksum afterwards. */
export function cutQuote(view: PacketView, quote: PacketView): void {
  const { bytes, offset, l4Offset } = view;
  const length = quote.l4Offset + QUOTED_BYTES - offset;
  if (view.length <= length) return;
  view.length = length;
  view.payloadLength = offset + length - view.payloadOffset;
  writeIpLength(bytes, offset, length);
  if (view.family === IPV4) bytes[l4Offset + LENGTH_ICMP] = 0;
  else if (view.icmpType === ICMPV6_UNREACHABLE || view.icmpType === ICMPV6_TIME_EXCEEDED)
    bytes[l4Offset + LENGTH_ICMPV6] = 0;
}
