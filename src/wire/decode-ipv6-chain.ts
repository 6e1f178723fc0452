/**
 * The chain of IPv6 extension headers (RFC 8200 4; RFC 5095 on routing type 0; RFC 6946 on atomic fragments).
 *
 * ```
 *  IPv6 ─► hop-by-hop ─► destination options ─► routing ─► fragment ─► destination options ─► upper protocol
 *          (first only)                          │          │
 *                    type 0 or segments left: refused       └─ later fragment: data, the walk ends
 * ```
 *
 * ESP, AH and every number that is not walked count as upper protocol. Options inside the headers are not read.
 */
import { readInt32, readUint16 } from './byte-order.ts';
import { DECODE_IP_OPTIONS, DECODE_MALFORMED, DECODE_OK } from './decode-code.ts';
import {
  IPV6_FRAGMENT_HEADER_BYTES,
  IPV6_FRAGMENT_IDENTIFICATION,
  IPV6_FRAGMENT_OFFSET,
  IPV6_FRAGMENT_OFFSET_MASK,
  IPV6_MORE_FRAGMENTS,
  IPV6_ROUTING_SEGMENTS_LEFT,
  IPV6_ROUTING_TYPE,
  ipv6ExtensionBytes,
} from './ipv6.ts';
import {
  type PacketView,
  PROTOCOL_DESTINATION_OPTIONS,
  PROTOCOL_FRAGMENT,
  PROTOCOL_HOPOPTS,
  PROTOCOL_ROUTING,
} from './packet.ts';

/** Longer chains are refused: nobody sends them, and every header is work. */
const MAX_EXTENSION_HEADERS = 8;
const SMALLEST_EXTENSION_BYTES = 8;
const ROUTING_TYPE_SOURCE_ROUTE = 0;

/**
 * Walks from the header `nextHeader` at `start` to the upper protocol, never beyond `end`, and sets the view's
 * `protocol`, `l4Offset` and fragment fields. Returns a `DECODE_...` code.
 */
export function walkExtensionHeaders(
  view: PacketView,
  nextHeader: number,
  start: number,
  end: number,
): number {
  const bytes = view.bytes;
  view.fragment = 0;
  view.fragmentOffset = 0;
  view.moreFragments = 0;
  view.identification = 0;
  view.fragmentHeaderOffset = 0;
  let next = nextHeader;
  let at = start;
  for (let count = 0; ; count++) {
    const isFragment = next === PROTOCOL_FRAGMENT;
    if (
      !isFragment &&
      next !== PROTOCOL_HOPOPTS &&
      next !== PROTOCOL_DESTINATION_OPTIONS &&
      next !== PROTOCOL_ROUTING
    ) {
      break;
    }
    if (count === MAX_EXTENSION_HEADERS || at + SMALLEST_EXTENSION_BYTES > end) return DECODE_MALFORMED;
    if (isFragment) {
      if (view.fragmentHeaderOffset !== 0) return DECODE_MALFORMED;
      const field = readUint16(bytes, at + IPV6_FRAGMENT_OFFSET);
      view.fragmentHeaderOffset = at;
      view.fragmentOffset = field & IPV6_FRAGMENT_OFFSET_MASK;
      view.moreFragments = field & IPV6_MORE_FRAGMENTS;
      view.fragment = (field & (IPV6_FRAGMENT_OFFSET_MASK | IPV6_MORE_FRAGMENTS)) !== 0 ? 1 : 0;
      view.identification = readInt32(bytes, at + IPV6_FRAGMENT_IDENTIFICATION);
      next = bytes[at];
      at = (at + IPV6_FRAGMENT_HEADER_BYTES) | 0;
      if (view.fragmentOffset !== 0) break;
      continue;
    }
    if (next === PROTOCOL_HOPOPTS && count !== 0) return DECODE_MALFORMED;
    const lengthBytes = ipv6ExtensionBytes(bytes, at);
    if (at + lengthBytes > end) return DECODE_MALFORMED;
    if (
      next === PROTOCOL_ROUTING &&
      (bytes[at + IPV6_ROUTING_TYPE] === ROUTING_TYPE_SOURCE_ROUTE ||
        bytes[at + IPV6_ROUTING_SEGMENTS_LEFT] !== 0)
    ) {
      return DECODE_IP_OPTIONS;
    }
    next = bytes[at];
    at = (at + lengthBytes) | 0;
  }
  view.protocol = next;
  view.l4Offset = at;
  return DECODE_OK;
}
