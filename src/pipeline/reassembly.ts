/**
 * Reassembly of IPv4 and IPv6 fragments: in any order, in bounded memory, one site's never with another's.
 *
 * ```
 *               first to arrive                     all bytes there
 *      (none) ------------------> waiting ---------------------------> whole: copied out, record freed
 *                                  |   |  overlap, contradiction, ECN
 *                          30 s,   |   +------------------------------> poisoned --- 30 s since the first --> freed
 *                          evicted +--> freed                            every further fragment is dropped
 * ```
 *
 * A datagram is known by address space, source, destination, identification and, for IPv4, protocol. A fragment's
 * bytes are put where they belong in the datagram (`fragment-store.ts`), so that completion is one copy a page.
 *
 * - Overlap drops the datagram and all its further fragments until its time is over (RFC 5722, 3). An exact
 *   duplicate - same range, same bytes - is ignored (RFC 8200, 4.5). A poisoned record that is evicted under
 *   pressure forgets; the memory bound comes first.
 * - A first fragment without the whole transport header is dropped (RFC 1858, 3128, 7112).
 * - The header is the first fragment's, mended (RFC 791, 3.2; RFC 8200, 4.5). The transport checksum stays.
 * - ECN: CE if any fragment had it; CE beside Not-ECT drops the datagram (RFC 3168, 5.3).
 *
 * Not supported: more than {@link MAX_FRAGMENTS} fragments a datagram, IPv6 headers in front of the fragment
 * header of more than 128 bytes, "time exceeded" messages.
 *
 * Neighbours: `wire/decode.ts` fills the views, `fragmentation.ts` cuts again, `link/` brings outer fragments.
 */
import { DROP } from '../plugin/drop-reasons.ts';
import { writeUint16 } from '../wire/byte-order.ts';
import {
  FRAME_HEADROOM_BYTES,
  FRAME_PREFIX_BYTES,
  type FrameMemory,
  VIRTIO_NET_HEADER_BYTES,
} from '../wire/frame.ts';
import {
  fillIpv4Checksum,
  IPV4_DONT_FRAGMENT,
  IPV4_FLAGS,
  IPV4_TOTAL_LENGTH,
  ipv4HeaderBytes,
} from '../wire/ipv4.ts';
import {
  IPV6_FRAGMENT_HEADER_BYTES,
  IPV6_HEADER_BYTES,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  ipv6ExtensionBytes,
} from '../wire/ipv6.ts';
import { GSO_NONE, IPV4, type PacketView, PROTOCOL_FRAGMENT, PROTOCOL_TCP } from '../wire/packet.ts';
import { TCP_HEADER_BYTES } from '../wire/tcp.ts';
import { lacksTransportHeader } from './first-fragment.ts';
import {
  FRAGMENT_SPACE,
  FRAGMENT_STARTED,
  FRAGMENT_USER,
  FragmentStore,
  HEADER_AREA_BYTES,
  PAGE_BYTES,
  RECORD_STRIDE,
} from './fragment-store.ts';
import type { KeyedHash } from './keyed-hash.ts';

/** How long a datagram may take to arrive, from its first fragment on. */
export const REASSEMBLY_TIMEOUT_MS = 30_000;
/** Most fragments of one datagram: enough for 64 KiB over an MTU of 576. */
export const MAX_FRAGMENTS = 128;

const MALFORMED = DROP.fragment_malformed;
const OVERLAP = DROP.fragment_overlap;
const LIMIT = DROP.fragment_limit;
const TIMEOUT = DROP.fragment_timeout;
const MEMORY_FULL = DROP.memory_full;

/** Bytes of data that have arrived. */
const HELD = FRAGMENT_USER;
/** Bytes of data there are, plus 1; 0 while the last fragment is missing. */
const TOTAL = FRAGMENT_USER + 1;
/** Fragments that are held. */
const COUNT = FRAGMENT_USER + 2;
/** The drop reason that poisoned the datagram, or 0. */
const POISON = FRAGMENT_USER + 3;
/** Bits 0-3: ECN codepoints seen; bit 4: don't fragment. */
const SEEN = FRAGMENT_USER + 4;
const SEEN_NOT_ECT = 1;
const SEEN_CE = 8;
const SEEN_DONT_FRAGMENT = 16;
/** Length of the largest fragment, an IP packet. */
const LARGEST = FRAGMENT_USER + 5;
/** Bytes of header in front of the data; 0 while the first fragment is missing. */
const HEADER = FRAGMENT_USER + 6;
/** IPv6: where in that header the number of the fragment header stands, and what to put there. */
const NEXT_HEADER_AT = FRAGMENT_USER + 7;
const NEXT_HEADER = FRAGMENT_USER + 8;

export class Reassembler {
  /** Of the datagram that `add` completed: its length, an IP packet, bytes. */
  length = 0;
  /** Length of its largest fragment, bytes (with its header, IPv6: with the fragment header). */
  largestFragment = 0;
  /** 1 if don't-fragment was set in any of its IPv4 fragments, and so in its header. */
  dontFragment = 0;

  private readonly bytes: Uint8Array;
  private readonly store: FragmentStore;
  private readonly onDrop: (space: number, reason: number, fragments: number) => void;
  /** Ranges of data held, by record, in order: where they begin and where they end. */
  private readonly starts: Uint16Array;
  private readonly ends: Uint16Array;
  private outputNext: number;

  /**
   * Takes `poolBytes` of packet memory at `poolOffset` for good: a quarter of it, and at least one datagram, for
   * whole datagrams, the rest for fragments. `maxDatagrams` may wait at one time. `onDrop` is told of fragments
   * that `add` had taken and that are dropped later: time-outs, evictions, poison. Throws a `RangeError` if the
   * pool is too small.
   */
  constructor(
    memory: FrameMemory,
    poolOffset: number,
    poolBytes: number,
    maxDatagrams: number,
    hash: KeyedHash,
    onDrop: (space: number, reason: number, fragments: number) => void,
  ) {
    this.bytes = memory.bytes;
    this.onDrop = onDrop;
    this.store = new FragmentStore(memory, poolOffset, poolBytes, maxDatagrams, hash, (record) =>
      this.report(record, LIMIT),
    );
    this.starts = new Uint16Array(maxDatagrams * MAX_FRAGMENTS);
    this.ends = new Uint16Array(maxDatagrams * MAX_FRAGMENTS);
    this.outputNext = this.store.outputOffset;
  }

  /** Datagrams that wait, poisoned ones included. */
  get waiting(): number {
    return this.store.datagrams;
  }

  /** Bytes of the pool that fragments hold now. */
  get heldBytes(): number {
    return this.store.pages * PAGE_BYTES;
  }

  /**
   * Takes a fragment (`view.fragment` is 1) that arrived from `space`.
   *
   * Returns the offset in packet memory of the whole datagram's IP header, if this fragment completed it: 16-byte
   * aligned, behind a frame prefix whose virtio-net header is zero, with headroom, valid until `release`; its
   * properties stand in `length`, `largestFragment` and `dontFragment`. Returns 0 if the fragment is held, or
   * ignored as a duplicate; the negative of a drop reason if it is dropped.
   */
  add(view: PacketView, space: number, nowMs: number): number {
    // A segment that an offload will cut, or whose checksum is not there yet, was never a fragment on a wire.
    if (view.gsoType !== GSO_NONE || view.checksumStart !== 0) return -MALFORMED;
    const ipv4 = view.family === IPV4;
    if (!ipv4 && view.fragmentHeaderOffset === 0) return -MALFORMED;
    const headerBytes = ipv4
      ? ipv4HeaderBytes(this.bytes, view.offset)
      : (view.fragmentHeaderOffset - view.offset) | 0;
    const dataOffset = view.offset + headerBytes + (ipv4 ? 0 : IPV6_FRAGMENT_HEADER_BYTES);
    const start = view.fragmentOffset;
    const dataBytes = (view.offset + view.length - dataOffset) | 0;
    const end = (start + dataBytes) | 0;
    if (dataBytes <= 0) return -MALFORMED;
    if (view.moreFragments !== 0 && (dataBytes & 7) !== 0) return -MALFORMED;
    if (end + headerBytes - (ipv4 ? 0 : IPV6_HEADER_BYTES) > 65535) return -MALFORMED;
    if (start === 0) {
      if (lacksTransportHeader(view)) return -MALFORMED;
      if (headerBytes > HEADER_AREA_BYTES) return -LIMIT;
    } else if (ipv4 && view.protocol === PROTOCOL_TCP && start < TCP_HEADER_BYTES) {
      return -MALFORMED;
    }

    const records = this.store.records;
    let record = this.store.find(view, space);
    if (record >= 0 && isExpired(records[record * RECORD_STRIDE + FRAGMENT_STARTED], nowMs)) {
      this.expire(record);
      record = -1;
    }
    if (record < 0) record = this.store.create(view, space, nowMs);
    const at = record * RECORD_STRIDE;
    if (records[at + POISON] !== 0) return -records[at + POISON];

    const place = this.place(record, start, end);
    if (place < 0) {
      if (this.isDuplicate(record, -place - 1, view, dataOffset, start, end)) return 0;
      return this.poison(record, OVERLAP);
    }
    // No overlap, but what says where the datagram ends must agree: nothing behind the end, and one end only.
    const count = records[at + COUNT];
    const total = records[at + TOTAL] - 1;
    if (view.moreFragments !== 0) {
      if (total >= 0 && end >= total) return this.poison(record, MALFORMED);
    } else if (total >= 0 || place < count) {
      return this.poison(record, MALFORMED);
    }
    if (count === MAX_FRAGMENTS) return this.poison(record, LIMIT);
    const seen = records[at + SEEN] | (1 << (view.trafficClass & 3));
    if ((seen & (SEEN_NOT_ECT | SEEN_CE)) === (SEEN_NOT_ECT | SEEN_CE)) return this.poison(record, MALFORMED);

    if (!this.fill(record, dataOffset, start, end)) return this.poison(record, LIMIT);
    this.insert(record, place, start, end);
    records[at + HELD] = records[at + HELD] + dataBytes;
    records[at + SEEN] = ipv4 && view.dontFragment !== 0 ? seen | SEEN_DONT_FRAGMENT : seen;
    if (view.length > records[at + LARGEST]) records[at + LARGEST] = view.length;
    if (view.moreFragments === 0) records[at + TOTAL] = end + 1;
    if (start === 0) this.keepHeader(record, view, headerBytes);
    return records[at + HELD] === records[at + TOTAL] - 1 ? this.assemble(record, view.family) : 0;
  }

  /** Frees what whole datagrams occupied. To be called when all packets of the burst before were sent. */
  release(): void {
    this.outputNext = this.store.outputOffset;
  }

  /** Drops what has waited too long. Every second or two is often enough: `add` looks at the time too. */
  sweep(nowMs: number): void {
    const store = this.store;
    for (let slot = 0; slot < store.spaceSlotEnd; slot++) {
      let record = store.oldest(slot);
      while (record >= 0 && isExpired(store.records[record * RECORD_STRIDE + FRAGMENT_STARTED], nowMs)) {
        this.expire(record);
        record = store.oldest(slot);
      }
    }
  }

  /** Drops what has come from this space so far: what stands for it now is not what it came from. */
  forget(space: number): void {
    const { store } = this;
    for (let slot = 0; slot < store.spaceSlotEnd; slot++) {
      for (let record = store.oldest(slot); record >= 0; record = store.oldest(slot)) {
        if (store.records[record * RECORD_STRIDE + FRAGMENT_SPACE] !== space) break;
        this.expire(record);
      }
    }
  }

  private expire(record: number): void {
    this.report(record, TIMEOUT);
    this.store.free(record);
  }

  private report(record: number, reason: number): void {
    const at = record * RECORD_STRIDE;
    const count = this.store.records[at + COUNT];
    if (count > 0) this.onDrop(this.store.records[at + FRAGMENT_SPACE], reason, count);
  }

  /** Drops what is held; the record stays, to drop the rest. Returns what `add` answers. */
  private poison(record: number, reason: number): number {
    const at = record * RECORD_STRIDE;
    this.report(record, reason);
    this.store.records[at + COUNT] = 0;
    this.store.records[at + POISON] = reason;
    this.store.releasePages(record);
    return -reason;
  }

  /** The index at which a range belongs among those held, or `-index - 1` of one that it overlaps. */
  private place(record: number, start: number, end: number): number {
    const first = record * MAX_FRAGMENTS;
    let index = this.store.records[record * RECORD_STRIDE + COUNT];
    // From the end: fragments mostly come in order.
    while (index > 0 && this.starts[first + index - 1] >= start) index--;
    const count = this.store.records[record * RECORD_STRIDE + COUNT];
    if (index > 0 && this.ends[first + index - 1] > start) return -index;
    if (index < count && this.starts[first + index] < end) return -index - 1;
    return index;
  }

  private insert(record: number, index: number, start: number, end: number): void {
    const first = record * MAX_FRAGMENTS;
    const countAt = record * RECORD_STRIDE + COUNT;
    const count = this.store.records[countAt];
    for (let from = first + count; from > first + index; from--) {
      this.starts[from] = this.starts[from - 1];
      this.ends[from] = this.ends[from - 1];
    }
    this.starts[first + index] = start;
    this.ends[first + index] = end;
    this.store.records[countAt] = count + 1;
  }

  /** Whether a fragment repeats the held one of that index: range, bytes, and what it says of the end. */
  private isDuplicate(
    record: number,
    index: number,
    view: PacketView,
    dataOffset: number,
    start: number,
    end: number,
  ): boolean {
    const entry = record * MAX_FRAGMENTS + index;
    if (this.starts[entry] !== start || this.ends[entry] !== end) return false;
    const isLast = this.store.records[record * RECORD_STRIDE + TOTAL] === end + 1;
    if (isLast !== (view.moreFragments === 0)) return false;
    const bytes = this.bytes;
    let from = dataOffset;
    let position = start;
    while (position < end) {
      const stop = Math.min(end, (position & ~(PAGE_BYTES - 1)) + PAGE_BYTES);
      // These pages are there, so none is taken and nothing is evicted.
      const held =
        this.store.pageOffset(record, (position / PAGE_BYTES) | 0) - (position & ~(PAGE_BYTES - 1));
      for (; position < stop; position++, from++) {
        if (bytes[held + position] !== bytes[from]) return false;
      }
    }
    return true;
  }

  /** Copies a fragment's data into pages; false if there are not enough. */
  private fill(record: number, dataOffset: number, start: number, end: number): boolean {
    let position = start;
    while (position < end) {
      const base = position & ~(PAGE_BYTES - 1);
      const stop = Math.min(end, base + PAGE_BYTES);
      const page = this.store.pageOffset(record, (position / PAGE_BYTES) | 0);
      if (page < 0) return false;
      const from = dataOffset + position - start;
      this.bytes.copyWithin(page + position - base, from, from + stop - position);
      position = stop;
    }
    return true;
  }

  private keepHeader(record: number, view: PacketView, headerBytes: number): void {
    const bytes = this.bytes;
    const records = this.store.records;
    const at = record * RECORD_STRIDE;
    bytes.copyWithin(this.store.headerOffset(record), view.offset, view.offset + headerBytes);
    records[at + HEADER] = headerBytes;
    if (view.family === IPV4) return;
    // The fragment header's number stands in the last header in front of it.
    let field = view.offset + IPV6_NEXT_HEADER;
    let next = view.offset + IPV6_HEADER_BYTES;
    while (next < view.fragmentHeaderOffset && bytes[field] !== PROTOCOL_FRAGMENT) {
      field = next;
      next += ipv6ExtensionBytes(bytes, next);
    }
    records[at + NEXT_HEADER_AT] = field - view.offset;
    records[at + NEXT_HEADER] = bytes[view.fragmentHeaderOffset];
  }

  private assemble(record: number, family: number): number {
    const bytes = this.bytes;
    const store = this.store;
    const records = store.records;
    const at = record * RECORD_STRIDE;
    const headerBytes = records[at + HEADER];
    const total = records[at + HELD];
    const length = headerBytes + total;
    // Each fragment was measured with its own header; the first one's may be longer.
    if (length - (family === IPV4 ? 0 : IPV6_HEADER_BYTES) > 65535) return this.poison(record, MALFORMED);
    const frame = ((this.outputNext + FRAME_HEADROOM_BYTES + 7) & ~15) + 8;
    const offset = frame + FRAME_PREFIX_BYTES;
    if (offset + length > store.outputEnd) {
      // The fragment that completes it is reported by the return value, the others here.
      records[at + COUNT] = records[at + COUNT] - 1;
      this.report(record, MEMORY_FULL);
      store.free(record);
      return -MEMORY_FULL;
    }
    this.outputNext = offset + length;

    bytes.fill(0, frame, frame + VIRTIO_NET_HEADER_BYTES);
    const header = store.headerOffset(record);
    bytes.copyWithin(offset, header, header + headerBytes);
    for (let position = 0; position < total; position += PAGE_BYTES) {
      const page = store.pageOffset(record, (position / PAGE_BYTES) | 0);
      bytes.copyWithin(offset + headerBytes + position, page, page + Math.min(PAGE_BYTES, total - position));
    }

    const seen = records[at + SEEN];
    const congested = (seen & SEEN_CE) !== 0;
    this.dontFragment = (seen & SEEN_DONT_FRAGMENT) !== 0 ? 1 : 0;
    if (family === IPV4) {
      if (congested) bytes[offset + 1] = bytes[offset + 1] | 3;
      writeUint16(bytes, offset + IPV4_TOTAL_LENGTH, length);
      writeUint16(bytes, offset + IPV4_FLAGS, this.dontFragment !== 0 ? IPV4_DONT_FRAGMENT : 0);
      fillIpv4Checksum(bytes, offset);
    } else {
      if (congested) bytes[offset + 1] = bytes[offset + 1] | 0x30;
      writeUint16(bytes, offset + IPV6_PAYLOAD_LENGTH, length - IPV6_HEADER_BYTES);
      bytes[offset + records[at + NEXT_HEADER_AT]] = records[at + NEXT_HEADER];
    }
    this.length = length;
    this.largestFragment = records[at + LARGEST];
    store.free(record);
    return offset;
  }
}

function isExpired(startedMs: number, nowMs: number): boolean {
  return ((nowMs - startedMs) | 0) >= REASSEMBLY_TIMEOUT_MS;
}
