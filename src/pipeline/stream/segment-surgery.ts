/**
 * Changes to a TCP segment in packet memory, so that it says what was inspected and no more.
 *
 * Each function changes header and view together and leaves the checksums as they are; {@link resum} makes them right
 * once, after all changes. `clampWindow` alone keeps them right itself: it changes packets that are otherwise untouched.
 *
 * Neighbours: `streams.ts`, `held-departure.ts`; `wire/tcp.ts` and `wire/checksum.ts` for the fields.
 */
import { readHalf, swap16, writeHalf, writeInt32, writeUint16 } from '../../wire/byte-order.ts';
import {
  adjustChecksum,
  checksumDelta,
  fillTransportChecksum,
  pseudoHeaderSum,
} from '../../wire/checksum.ts';
import { fillIpv4Checksum, IPV4_TOTAL_LENGTH } from '../../wire/ipv4.ts';
import { IPV6_HEADER_BYTES, IPV6_PAYLOAD_LENGTH } from '../../wire/ipv6.ts';
import { GSO_NONE, IPV4, type PacketView, TCP_URG } from '../../wire/packet.ts';
import { TCP_CHECKSUM, TCP_FLAGS, TCP_SEQUENCE, TCP_URGENT, TCP_WINDOW } from '../../wire/tcp.ts';

/** Takes the first `count` bytes of the payload away; the sequence number moves with them. */
export function cutFront(view: PacketView, count: number): void {
  const from = view.payloadOffset + count;
  view.bytes.copyWithin(view.payloadOffset, from, view.payloadOffset + view.payloadLength);
  setSequence(view, (view.sequence + count) | 0);
  setPayloadLength(view, view.payloadLength - count);
}

/** Leaves only the first `length` bytes of the payload. */
export function cutTail(view: PacketView, length: number): void {
  setPayloadLength(view, length);
}

export function setSequence(view: PacketView, sequence: number): void {
  view.sequence = sequence;
  writeInt32(view.bytes, view.l4Offset + TCP_SEQUENCE, sequence);
}

export function setFlags(view: PacketView, flags: number): void {
  view.tcpFlags = flags;
  view.bytes[view.l4Offset + TCP_FLAGS] = flags;
}

/** Makes urgent data data like any other: a receiver would take its last byte out of the stream. */
export function clearUrgent(view: PacketView): void {
  setFlags(view, view.tcpFlags & ~TCP_URG);
  writeUint16(view.bytes, view.l4Offset + TCP_URGENT, 0);
}

/** Sums anew what the changes before made wrong. */
export function resum(view: PacketView): void {
  if (view.family === IPV4) fillIpv4Checksum(view.bytes, view.offset);
  if (view.gsoType !== GSO_NONE && view.payloadLength <= view.gsoSize) {
    view.gsoType = GSO_NONE;
    view.gsoSize = 0;
  }
  if (view.gsoType === GSO_NONE) {
    fillTransportChecksum(view);
    return;
  }
  const transportBytes = view.offset + view.length - view.l4Offset;
  writeHalf(view.bytes, view.l4Offset + TCP_CHECKSUM, pseudoHeaderSum(view, transportBytes));
  view.checksumStart = view.l4Offset;
  view.checksumOffset = TCP_CHECKSUM;
}

/** Lowers the window field to `most` (unscaled) if it is larger, checksum included. */
export function clampWindow(view: PacketView, most: number): void {
  if (view.window <= most) return;
  const { bytes } = view;
  const at = view.l4Offset + TCP_WINDOW;
  if (view.checksumStart === 0) {
    const field = view.l4Offset + TCP_CHECKSUM;
    const delta = checksumDelta(swap16(view.window), swap16(most));
    writeHalf(bytes, field, adjustChecksum(readHalf(bytes, field), delta));
  }
  writeUint16(bytes, at, most);
  view.window = most;
}

function setPayloadLength(view: PacketView, length: number): void {
  view.length = view.payloadOffset + length - view.offset;
  view.payloadLength = length;
  if (view.family === IPV4) writeUint16(view.bytes, view.offset + IPV4_TOTAL_LENGTH, view.length);
  else writeUint16(view.bytes, view.offset + IPV6_PAYLOAD_LENGTH, view.length - IPV6_HEADER_BYTES);
}
