/**
 * Translation of one packet, in place, from what its flow record says.
 *
 * A packet of one direction leaves with the other direction's key, reversed (`flow/layout.ts`): source and
 * destination addresses, ports or ICMP identifier. Checksums are never summed anew: RFC 1624, with a difference
 * that is the same for every packet of a direction and stands in the record.
 *
 * ```
 *   full checksum:     HC' = ~(~HC + delta)        delta = sum of (~m + m') over the changed 16-bit words
 *   partial checksum:  the field holds the uncomplemented pseudo-header sum: F' = F + delta(addresses)
 * ```
 *
 * All sums are of little-endian loads: ones' complement addition does not care, as long as nobody mixes.
 * A delta of 0 means "nothing changes"; a changed pair whose sums are equal yields 0xffff, which adds nothing.
 *
 * An ICMP error is translated twice: its own header towards the receiver, and the quoted packet back into what
 * that receiver sent (RFC 5508, 4.2).
 */
import {
  DIRECTION_DELTAS,
  DIRECTION_WORDS,
  KEY_DST0,
  KEY_PORTS,
  KEY_SRC0,
  KEY_SRC1,
  KEY_SRC2,
  KEY_SRC3,
  RECORD_WORDS,
} from '../flow/layout.ts';
import {
  ICMP_QUERY,
  IPV4,
  type PacketView,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../wire/packet.ts';

const IPV4_TTL = 8;
const IPV4_CHECKSUM = 10;
const TCP_CHECKSUM = 16;
const UDP_CHECKSUM = 6;
const ICMP_CHECKSUM = 2;
const ICMP_IDENTIFIER = 4;

/** Offset of the line of one direction of a record, in words. */
export function lineOf(record: number, direction: number): number {
  return record * RECORD_WORDS + direction * DIRECTION_WORDS;
}

/** Writes the checksum deltas of both directions of a record whose keys are written. */
export function writeDeltas(flows: Int32Array, record: number): void {
  const originator = lineOf(record, 0);
  const reply = lineOf(record, 1);
  const changed =
    flows[originator + KEY_PORTS] !== swapPorts(flows[reply + KEY_PORTS]) ||
    !sameAddress(flows, originator + KEY_SRC0, reply + KEY_DST0) ||
    !sameAddress(flows, originator + KEY_DST0, reply + KEY_SRC0);
  if (!changed) {
    flows[originator + DIRECTION_DELTAS] = 0;
    flows[reply + DIRECTION_DELTAS] = 0;
    return;
  }
  flows[originator + DIRECTION_DELTAS] = deltas(flows, originator, reply);
  flows[reply + DIRECTION_DELTAS] = deltas(flows, reply, originator);
}

/**
 * Translates the packet in the view as one of `direction` of `record`, and updates the view's addresses and
 * ports. The view must be the packet that was looked up, unfragmented.
 */
export function translatePacket(
  view: PacketView,
  flows: Int32Array,
  record: number,
  direction: number,
): void {
  const line = record * RECORD_WORDS + direction * DIRECTION_WORDS;
  const delta = flows[line + DIRECTION_DELTAS];
  if (delta === 0) return;
  const other = record * RECORD_WORDS + (direction ^ 1) * DIRECTION_WORDS;
  const addressDelta = delta & 0xffff;
  const bothDelta = delta >>> 16;
  writeAddresses(view, flows, other + KEY_DST0, other + KEY_SRC0);
  const words = view.words;
  if (view.family === IPV4) adjustHigh(words, (view.offset + IPV4_CHECKSUM) >> 2, addressDelta);

  const bytes = view.bytes;
  const l4 = view.l4Offset;
  const otherPorts = flows[other + KEY_PORTS];
  switch (view.protocol) {
    case PROTOCOL_TCP:
      words[l4 >> 2] = swapPorts(otherPorts);
      if (view.checksumStart !== 0) adjustPartial(bytes, l4 + TCP_CHECKSUM, addressDelta);
      else adjustLow(words, (l4 + TCP_CHECKSUM) >> 2, bothDelta);
      break;
    case PROTOCOL_UDP:
      view.words[l4 >> 2] = swapPorts(otherPorts);
      if (view.checksumStart !== 0) adjustPartial(bytes, l4 + UDP_CHECKSUM, addressDelta);
      else adjustUdp(bytes, l4 + UDP_CHECKSUM, bothDelta);
      break;
    case PROTOCOL_ICMP:
      writeIdentifier(bytes, l4, swapPorts(otherPorts), 0xffff);
      break;
    case PROTOCOL_ICMPV6:
      writeIdentifier(bytes, l4, swapPorts(otherPorts), addressDelta);
      break;
    default:
      break;
  }
  view.ports = swapPorts(otherPorts);
}

/**
 * Translates an ICMP error that travels in `direction` of `record`: outer addresses, quoted addresses, ports or
 * identifier, and every checksum that is there. The caller has checked that the error's destination is the
 * quoted source, and computes the ICMP checksum afterwards (`fillTransportChecksum`).
 */
export function translateIcmpError(
  view: PacketView,
  quote: PacketView,
  flows: Int32Array,
  record: number,
  direction: number,
): void {
  const line = lineOf(record, direction);
  if (flows[line + DIRECTION_DELTAS] === 0) return;
  const other = lineOf(record, direction ^ 1);

  // The outer source: the endpoint itself is translated; a router on the way keeps its own address, unless the
  // endpoint's is hidden, whose network the router is in (RFC 5508, REQ-5).
  const fromEndpoint =
    view.src3 === flows[line + KEY_SRC3] &&
    view.src2 === flows[line + KEY_SRC2] &&
    view.src1 === flows[line + KEY_SRC1] &&
    view.src0 === flows[line + KEY_SRC0];
  const hidden = !sameAddress(flows, line + KEY_SRC0, other + KEY_DST0);
  const before = addressSum(view);
  if (fromEndpoint || hidden) writeSource(view, flows, other + KEY_DST0);
  writeDestination(view, flows, other + KEY_SRC0);
  if (view.family === IPV4) {
    adjustFull(view.bytes, view.offset + IPV4_CHECKSUM, fold(fold(~before & 0xffff) + addressSum(view)));
  }

  // The quote becomes what the receiver of this error sent: exactly the other direction's key.
  const quoteBefore = addressSum(quote);
  writeAddresses(quote, flows, other + KEY_SRC0, other + KEY_DST0);
  const addressDelta = fold((~quoteBefore & 0xffff) + addressSum(quote));
  const bytes = quote.bytes;
  const end = view.offset + view.length;
  if (quote.family === IPV4) adjustFull(bytes, quote.offset + IPV4_CHECKSUM, addressDelta);
  if (quote.fragment !== 0 && quote.fragmentOffset !== 0) return;

  const l4 = quote.l4Offset;
  const ports = flows[other + KEY_PORTS];
  if (quote.protocol === PROTOCOL_TCP || quote.protocol === PROTOCOL_UDP) {
    const oldPorts = quote.words[l4 >> 2];
    quote.words[l4 >> 2] = ports;
    const bothDelta = fold(addressDelta + wordDelta(oldPorts, ports));
    if (quote.protocol === PROTOCOL_UDP) adjustUdp(bytes, l4 + UDP_CHECKSUM, bothDelta);
    else if (l4 + TCP_CHECKSUM + 2 <= end) adjustFull(bytes, l4 + TCP_CHECKSUM, bothDelta);
  } else if (quote.icmpKind === ICMP_QUERY) {
    writeIdentifier(bytes, l4, ports, quote.family === IPV4 ? 0xffff : addressDelta);
  }
}

/** Exchanges the halves of a ports word. */
export function swapPorts(ports: number): number {
  return (ports << 16) | (ports >>> 16);
}

/** Replaces the IPv4 identification and adjusts the header checksum. `identification` in host order. */
export function writeIdentification(view: PacketView, identification: number): void {
  const bytes = view.bytes;
  const at = view.offset + 4;
  const before = bytes[at] | (bytes[at + 1] << 8);
  const after = ((identification >>> 8) & 0xff) | ((identification & 0xff) << 8);
  bytes[at] = after & 0xff;
  bytes[at + 1] = after >>> 8;
  view.identification = identification & 0xffff;
  adjustFull(bytes, view.offset + IPV4_CHECKSUM, fold((~before & 0xffff) + after));
}

/** Decrements TTL or hop limit; the caller has made sure that it is greater than 1. */
export function decrementTtl(view: PacketView): void {
  const ttl = (view.ttl - 1) | 0;
  view.ttl = ttl;
  if (view.family !== IPV4) {
    view.bytes[view.offset + 7] = ttl;
    return;
  }
  // One word holds TTL, protocol and checksum. Its low half, loaded little endian, becomes smaller by one.
  const words = view.words;
  const at = (view.offset + IPV4_TTL) >> 2;
  words[at] = (words[at] - 1) | 0;
  adjustHigh(words, at, 0xfffe);
}

function deltas(flows: Int32Array, from: number, to: number): number {
  let addresses = 0;
  for (let i = 0; i < 4; i++) {
    addresses += wordDelta(flows[from + KEY_SRC0 + i], flows[to + KEY_DST0 + i]);
    addresses += wordDelta(flows[from + KEY_DST0 + i], flows[to + KEY_SRC0 + i]);
  }
  addresses = fold(addresses);
  const both = fold(addresses + wordDelta(flows[from + KEY_PORTS], flows[to + KEY_PORTS]));
  return (nonZero(both) << 16) | nonZero(addresses);
}

/** Sum of (~m + m') over both halves of a word. Ports may stand in either order: the sum is the same. */
function wordDelta(before: number, after: number): number {
  return (~before & 0xffff) + (~(before >>> 16) & 0xffff) + (after & 0xffff) + (after >>> 16);
}

function addressSum(view: PacketView): number {
  return fold(
    half(view.src0) +
      half(view.src1) +
      half(view.src2) +
      half(view.src3) +
      half(view.dst0) +
      half(view.dst1) +
      half(view.dst2) +
      half(view.dst3),
  );
}

function half(word: number): number {
  return (word & 0xffff) + (word >>> 16);
}

function nonZero(delta: number): number {
  return delta === 0 ? 0xffff : delta;
}

function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** Adjusts the checksum that is the high half of a word. */
function adjustHigh(words: Int32Array, at: number, delta: number): void {
  const word = words[at];
  words[at] = (word & 0xffff) | (~fold((~word >>> 16) + delta) << 16);
}

/** Adjusts the checksum that is the low half of a word. */
function adjustLow(words: Int32Array, at: number, delta: number): void {
  const word = words[at];
  words[at] = (word & ~0xffff) | (~fold((~word & 0xffff) + delta) & 0xffff);
}

function adjustFull(bytes: Uint8Array, at: number, delta: number): void {
  const sum = ~fold((~(bytes[at] | (bytes[at + 1] << 8)) & 0xffff) + delta);
  bytes[at] = sum & 0xff;
  bytes[at + 1] = (sum >>> 8) & 0xff;
}

function adjustPartial(bytes: Uint8Array, at: number, delta: number): void {
  const sum = fold((bytes[at] | (bytes[at + 1] << 8)) + delta);
  bytes[at] = sum & 0xff;
  bytes[at + 1] = sum >>> 8;
}

/**
 * A UDP checksum of 0 means "none" and stays, in IPv6 too (tunnels: RFC 6935); a sum that comes out as 0 is sent as
 * 0xffff (RFC 768).
 */
function adjustUdp(bytes: Uint8Array, at: number, delta: number): void {
  if (bytes[at] === 0 && bytes[at + 1] === 0) return;
  adjustFull(bytes, at, delta);
  if (bytes[at] === 0 && bytes[at + 1] === 0) {
    bytes[at] = 0xff;
    bytes[at + 1] = 0xff;
  }
}

/**
 * Writes the identifier of an ICMP query: in `ports` it is the only half that is not 0. `addressDelta` goes into
 * the checksum too (ICMPv6 covers a pseudo-header).
 */
function writeIdentifier(bytes: Uint8Array, l4: number, ports: number, addressDelta: number): void {
  const after = (ports & 0xffff) | (ports >>> 16);
  const at = l4 + ICMP_IDENTIFIER;
  const before = bytes[at] | (bytes[at + 1] << 8);
  bytes[at] = after & 0xff;
  bytes[at + 1] = after >>> 8;
  adjustFull(bytes, l4 + ICMP_CHECKSUM, fold(addressDelta + (~before & 0xffff) + after));
}

function sameAddress(flows: Int32Array, a: number, b: number): boolean {
  return (
    flows[a + 3] === flows[b + 3] &&
    flows[a + 2] === flows[b + 2] &&
    flows[a + 1] === flows[b + 1] &&
    flows[a] === flows[b]
  );
}

function writeAddresses(view: PacketView, flows: Int32Array, source: number, destination: number): void {
  writeSource(view, flows, source);
  writeDestination(view, flows, destination);
}

function writeSource(view: PacketView, flows: Int32Array, at: number): void {
  const words = view.words;
  view.src3 = flows[at + 3];
  if (view.family === IPV4) {
    words[(view.offset + 12) >> 2] = view.src3;
    return;
  }
  view.src0 = flows[at];
  view.src1 = flows[at + 1];
  view.src2 = flows[at + 2];
  const to = (view.offset + 8) >> 2;
  words[to] = view.src0;
  words[to + 1] = view.src1;
  words[to + 2] = view.src2;
  words[to + 3] = view.src3;
}

function writeDestination(view: PacketView, flows: Int32Array, at: number): void {
  const words = view.words;
  view.dst3 = flows[at + 3];
  if (view.family === IPV4) {
    words[(view.offset + 16) >> 2] = view.dst3;
    return;
  }
  view.dst0 = flows[at];
  view.dst1 = flows[at + 1];
  view.dst2 = flows[at + 2];
  const to = (view.offset + 24) >> 2;
  words[to] = view.dst0;
  words[to + 1] = view.dst1;
  words[to + 2] = view.dst2;
  words[to + 3] = view.dst3;
}
