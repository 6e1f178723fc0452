/**
 * Cutting a whole IP packet into fragments, with an identification of our own.
 *
 * ```
 *  IPv4   | header, options | data 0 .. n |      | header, copied options, rest NOP | data n .. |  ...
 *
 *  IPv6   | header, hop-by-hop, routing | fragment header | data 0 .. n |  | the same | fragment header | ...
 *           ("per-fragment headers")                        n: a multiple of 8
 * ```
 *
 * Every piece is built in scratch memory behind a prefix of its own, as large as the MTU allows (RFC 791, 3.2;
 * RFC 8200, 4.5). A partial transport checksum is completed first: a fragment can carry none. Identifications
 * are fresh because on a shared egress two senders' may be equal (RFC 6864, 5.3).
 *
 * IPv4 options without the copied flag become NOPs in later fragments: the header keeps its length, which RFC 791
 * permits and which saves a second layout.
 *
 * Not supported: GSO packets (they leave as segments) and cutting a fragment again (it was reassembled).
 *
 * Neighbours: `departure.ts` decides whether a packet may be cut; `reassembly.ts` is the inverse.
 */
import { DROP } from '../plugin/drop-reasons.ts';
import { writeUint16 } from '../wire/byte-order.ts';
import { completeChecksum } from '../wire/checksum.ts';
import { FRAME_PREFIX_BYTES, VIRTIO_NET_HEADER_BYTES } from '../wire/frame.ts';
import {
  fillIpv4Checksum,
  IPV4_DONT_FRAGMENT,
  IPV4_FLAGS,
  IPV4_IDENTIFICATION,
  IPV4_MORE_FRAGMENTS,
  IPV4_OPTION_COPIED,
  IPV4_OPTION_END,
  IPV4_OPTION_NOP,
  IPV4_OPTIONS,
  IPV4_TOTAL_LENGTH,
  ipv4HeaderBytes,
} from '../wire/ipv4.ts';
import {
  IPV6_FRAGMENT_HEADER_BYTES,
  IPV6_HEADER_BYTES,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  ipv6ExtensionBytes,
  writeIpv6FragmentHeader,
} from '../wire/ipv6.ts';
import {
  GSO_NONE,
  IPV4,
  type PacketView,
  PROTOCOL_DESTINATION_OPTIONS,
  PROTOCOL_FRAGMENT,
  PROTOCOL_HOPOPTS,
  PROTOCOL_ROUTING,
} from '../wire/packet.ts';
import type { Identifications } from './identification.ts';
import type { Scratch } from './link/scratch.ts';
import { describeOwnPacket } from './own-packet.ts';

export class Fragmenter {
  private readonly scratch: Scratch;
  private readonly identifications: Identifications;

  /** Takes memory for pieces from `scratch`, which must be of the memory that the packets lie in. */
  constructor(scratch: Scratch, identifications: Identifications) {
    this.scratch = scratch;
    this.identifications = identifications;
  }

  /**
   * Cuts the packet of `view` (whole, not GSO, longer than `mtu`) to pieces of at most `mtu` bytes and hands each to
   * `emit`, in order, in the one view `piece`. The addresses must be those that the packet leaves with. Whether it may be
   * cut is the caller's matter: IPv4's don't-fragment flag is copied, not obeyed. A partial checksum of `view` is
   * completed in place.
   *
   * `emit` answers 0 or a drop reason, which ends the cutting; make it once, not for every packet. Returns 0, or
   * the reason why not all pieces left: `emit`'s, `memory_full`, `too_big` (the MTU has no room for headers and 8
   * bytes), `unsupported_segmentation` (GSO), `fragment_malformed` (a fragment already).
   */
  fragmentPacket(
    view: PacketView,
    mtu: number,
    piece: PacketView,
    emit: (piece: PacketView) => number,
  ): number {
    if (view.gsoType !== GSO_NONE) return DROP.unsupported_segmentation;
    if (view.fragment !== 0) return DROP.fragment_malformed;
    completeChecksum(view);
    const ipv4 = view.family === IPV4;
    const headerBytes = ipv4 ? ipv4HeaderBytes(view.bytes, view.offset) : perFragmentBytes(view);
    const pieceHeaderBytes = headerBytes + (ipv4 ? 0 : IPV6_FRAGMENT_HEADER_BYTES);
    const dataBytes = view.length - headerBytes;
    const room = (mtu - pieceHeaderBytes) & ~7;
    if (room < 8) return DROP.too_big;
    const identification = this.identifications.next(view);
    for (let start = 0; start < dataBytes; start += room) {
      const isLast = dataBytes - start <= room;
      const pieceDataBytes = isLast ? dataBytes - start : room;
      const frame = this.scratch.allocate(FRAME_PREFIX_BYTES + pieceHeaderBytes + pieceDataBytes);
      if (frame < 0) return DROP.memory_full;
      view.bytes.fill(0, frame, frame + VIRTIO_NET_HEADER_BYTES);
      const offset = frame + FRAME_PREFIX_BYTES;
      const from = view.offset + headerBytes + start;
      view.bytes.copyWithin(offset + pieceHeaderBytes, from, from + pieceDataBytes);
      view.bytes.copyWithin(offset, view.offset, view.offset + headerBytes);
      piece.length = pieceHeaderBytes + pieceDataBytes;
      if (ipv4) finishIpv4(view, piece, offset, headerBytes, start, isLast, identification);
      else finishIpv6(view, piece, offset, headerBytes, start, isLast, identification);
      const reason = emit(piece);
      if (reason !== 0) return reason;
    }
    return 0;
  }
}

function finishIpv4(
  view: PacketView,
  piece: PacketView,
  offset: number,
  headerBytes: number,
  start: number,
  isLast: boolean,
  identification: number,
): void {
  const bytes = view.bytes;
  const flags =
    (view.dontFragment !== 0 ? IPV4_DONT_FRAGMENT : 0) | (isLast ? 0 : IPV4_MORE_FRAGMENTS) | (start >> 3);
  writeUint16(bytes, offset + IPV4_TOTAL_LENGTH, piece.length);
  writeUint16(bytes, offset + IPV4_IDENTIFICATION, identification);
  writeUint16(bytes, offset + IPV4_FLAGS, flags);
  if (start !== 0) dropUncopiedOptions(bytes, offset, offset + headerBytes);
  fillIpv4Checksum(bytes, offset);
  describeOwnPacket(piece, view, offset, piece.length, offset + headerBytes);
  piece.fragment = 1;
  piece.fragmentOffset = start;
  piece.moreFragments = isLast ? 0 : 1;
  piece.identification = identification;
  piece.fragmentHeaderOffset = 0;
  piece.dontFragment = view.dontFragment;
}

function finishIpv6(
  view: PacketView,
  piece: PacketView,
  offset: number,
  headerBytes: number,
  start: number,
  isLast: boolean,
  identification: number,
): void {
  const bytes = view.bytes;
  // The last header that every piece repeats names the next one: the fragment header now, which names it in turn.
  const field = offset + lastNextHeaderField(view, headerBytes);
  const nextHeader = bytes[field];
  writeIpv6FragmentHeader(bytes, offset + headerBytes, nextHeader, start, isLast ? 0 : 1, identification);
  bytes[field] = PROTOCOL_FRAGMENT;
  writeUint16(bytes, offset + IPV6_PAYLOAD_LENGTH, piece.length - IPV6_HEADER_BYTES);
  describeOwnPacket(
    piece,
    view,
    offset,
    piece.length,
    start === 0
      ? offset + view.l4Offset - view.offset + IPV6_FRAGMENT_HEADER_BYTES
      : offset + headerBytes + IPV6_FRAGMENT_HEADER_BYTES,
  );
  piece.fragment = 1;
  piece.fragmentOffset = start;
  piece.moreFragments = isLast ? 0 : 1;
  piece.identification = identification;
  // Behind the first piece nobody can walk on to the transport protocol.
  if (start !== 0) piece.protocol = nextHeader;
  piece.fragmentHeaderOffset = offset + headerBytes;
  piece.dontFragment = 1;
}

/** Overwrites the options that only the first fragment carries. They were checked when the packet was decoded. */
function dropUncopiedOptions(bytes: Uint8Array, offset: number, end: number): void {
  let at = offset + IPV4_OPTIONS;
  while (at < end && bytes[at] !== IPV4_OPTION_END) {
    if (bytes[at] === IPV4_OPTION_NOP) {
      at++;
      continue;
    }
    const next = Math.min(end, at + Math.max(2, at + 1 < end ? bytes[at + 1] : 2));
    if ((bytes[at] & IPV4_OPTION_COPIED) === 0) bytes.fill(IPV4_OPTION_NOP, at, next);
    at = next;
  }
}

/**
 * Bytes of the headers that every IPv6 piece repeats: up to the routing header, or else the hop-by-hop options,
 * or else the IPv6 header alone. Destination options belong to them only in front of a routing header.
 */
function perFragmentBytes(view: PacketView): number {
  const bytes = view.bytes;
  let header = bytes[view.offset + IPV6_NEXT_HEADER];
  let at = view.offset + IPV6_HEADER_BYTES;
  let end = at;
  while (at < view.l4Offset && isExtension(header)) {
    const next = at + ipv6ExtensionBytes(bytes, at);
    if (header !== PROTOCOL_DESTINATION_OPTIONS) end = next;
    header = bytes[at];
    at = next;
  }
  return end - view.offset;
}

/** Where, from the IPv6 header on, the next-header field of the last header within `headerBytes` stands. */
function lastNextHeaderField(view: PacketView, headerBytes: number): number {
  let field = IPV6_NEXT_HEADER;
  let at = IPV6_HEADER_BYTES;
  while (at < headerBytes) {
    field = at;
    at += ipv6ExtensionBytes(view.bytes, view.offset + at);
  }
  return field;
}

function isExtension(header: number): boolean {
  return (
    header === PROTOCOL_HOPOPTS || header === PROTOCOL_ROUTING || header === PROTOCOL_DESTINATION_OPTIONS
  );
}
