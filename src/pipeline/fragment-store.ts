/**
 * Memory for datagrams that wait for their fragments: a fixed number of records, a fixed number of pages, and the
 * rules by which one sender's fragments give way to another's. What a fragment means is `reassembly.ts`'s matter.
 *
 * ```
 *  pool (a region of packet memory)
 *  +---------------------+--------------------------------+---------------------------+
 *  | headers             | pages of 2 KiB                 | output: whole datagrams   |
 *  | 128 bytes a record  | a datagram's bytes 2048 i ..   | of the current burst      |
 *  |                     | lie in the page of index i     |                           |
 *  +---------------------+--------------------------------+---------------------------+
 *
 *  record --- bucket chain, by (space, source), newest first: look-up, and the limit per source
 *         \-- space list, oldest first: time-outs, and eviction
 * ```
 *
 * Limits, so that memory is bounded and nobody starves another: an eighth of the records for one source, half of
 * the records and half of the pages for one space. Who is at a limit loses its own oldest datagram. When records
 * or pages run out altogether, the space that holds most of them loses its oldest.
 *
 * Neighbours: `reassembly.ts` (the only user), `keyed-hash.ts`.
 */
import { FRAME_HEADROOM_BYTES, FRAME_PREFIX_BYTES, type FrameMemory } from '../wire/frame.ts';
import { IPV4, type PacketView } from '../wire/packet.ts';
import type { KeyedHash } from './keyed-hash.ts';

/** Words of a record in {@link FragmentStore.records}. */
export const RECORD_STRIDE = 32;
/** Address space of the fragments. */
export const FRAGMENT_SPACE = 0;
const SOURCE = 1;
const DESTINATION = 5;
const META = 9;
const IDENTIFICATION = 10;
/** When the first fragment to arrive did, milliseconds since boot. */
export const FRAGMENT_STARTED = 11;
const BUCKET = 12;
const NEXT_IN_BUCKET = 13;
const PREVIOUS_IN_BUCKET = 14;
const SPACE_SLOT = 15;
const OLDER = 16;
const NEWER = 17;
const PAGES = 18;
/** Words from here to the record's end are the user's; zero in a new record. */
export const FRAGMENT_USER = 19;

/** Bytes of a page. */
export const PAGE_BYTES = 2048;
/** Pages of the longest datagram. */
export const PAGES_PER_DATAGRAM = 32;
/** Bytes for the headers in front of a datagram's fragments: any IPv4 header, IPv6 with 88 bytes of extensions. */
export const HEADER_AREA_BYTES = 128;

const MAX_OUTPUT_BYTES = 65536 + FRAME_HEADROOM_BYTES + FRAME_PREFIX_BYTES + 32;

export class FragmentStore {
  readonly records: Int32Array;
  /** Records in use. */
  datagrams = 0;
  /** Pages in use. */
  pages = 0;
  readonly maxDatagrams: number;
  readonly maxPages: number;
  readonly maxDatagramsPerSource: number;
  readonly maxDatagramsPerSpace: number;
  readonly maxPagesPerSpace: number;
  /** Where the output area begins and ends in packet memory, bytes. */
  readonly outputOffset: number;
  readonly outputEnd: number;

  private readonly hash: KeyedHash;
  private readonly onEvict: (record: number) => void;
  private readonly headersOffset: number;
  private readonly pagesOffset: number;
  private readonly pageTable: Int32Array;
  private readonly freeRecords: Int32Array;
  private readonly freePages: Int32Array;
  private readonly buckets: Int32Array;
  private readonly spaceIds: Int32Array;
  private readonly spaceDatagrams: Int32Array;
  private readonly spacePages: Int32Array;
  private readonly spaceOldest: Int32Array;
  private readonly spaceNewest: Int32Array;
  /** Space slots below this have been used. */
  private spaceSlots = 0;

  /**
   * Divides the pool. `onEvict` is told a record before it is taken away from its owner; it must not change the
   * store. Throws a `RangeError` when the pool is too small for two of the longest datagrams and their output.
   */
  constructor(
    memory: FrameMemory,
    poolOffset: number,
    poolBytes: number,
    maxDatagrams: number,
    hash: KeyedHash,
    onEvict: (record: number) => void,
  ) {
    const start = (poolOffset + 15) & ~15;
    const end = Math.min(poolOffset + poolBytes, memory.bytes.length);
    const outputBytes = Math.max(MAX_OUTPUT_BYTES, poolBytes >>> 2);
    this.headersOffset = start;
    this.pagesOffset = start + maxDatagrams * HEADER_AREA_BYTES;
    this.outputOffset = (end - outputBytes) & ~15;
    this.outputEnd = end;
    this.maxPages = Math.floor((this.outputOffset - this.pagesOffset) / PAGE_BYTES);
    if (maxDatagrams < 2 || this.maxPages < 2 * PAGES_PER_DATAGRAM) {
      throw new RangeError(
        `a fragment pool of ${poolBytes} bytes is too small for ${maxDatagrams} datagrams`,
      );
    }
    this.maxDatagrams = maxDatagrams;
    this.maxDatagramsPerSource = Math.max(1, maxDatagrams >>> 3);
    this.maxDatagramsPerSpace = maxDatagrams >>> 1;
    this.maxPagesPerSpace = this.maxPages >>> 1;
    this.hash = hash;
    this.onEvict = onEvict;
    this.records = new Int32Array(maxDatagrams * RECORD_STRIDE);
    this.pageTable = new Int32Array(maxDatagrams * PAGES_PER_DATAGRAM).fill(-1);
    this.freeRecords = new Int32Array(maxDatagrams);
    for (let record = 0; record < maxDatagrams; record++) this.freeRecords[record] = record;
    this.freePages = new Int32Array(this.maxPages);
    for (let page = 0; page < this.maxPages; page++) this.freePages[page] = page;
    let bucketCount = 16;
    while (bucketCount < maxDatagrams * 2) bucketCount *= 2;
    this.buckets = new Int32Array(bucketCount).fill(-1);
    this.spaceIds = new Int32Array(maxDatagrams);
    this.spaceDatagrams = new Int32Array(maxDatagrams);
    this.spacePages = new Int32Array(maxDatagrams);
    this.spaceOldest = new Int32Array(maxDatagrams).fill(-1);
    this.spaceNewest = new Int32Array(maxDatagrams).fill(-1);
  }

  /** The record that a fragment belongs to, or -1. */
  find(view: PacketView, space: number): number {
    const records = this.records;
    const meta = datagramMeta(view);
    let record = this.buckets[this.bucketOf(view, space)];
    while (record >= 0) {
      const at = record * RECORD_STRIDE;
      if (
        records[at + IDENTIFICATION] === view.identification &&
        records[at + META] === meta &&
        records[at + DESTINATION + 3] === view.dst3 &&
        records[at + DESTINATION + 2] === view.dst2 &&
        records[at + DESTINATION + 1] === view.dst1 &&
        records[at + DESTINATION] === view.dst0 &&
        this.sameSource(at, view, space)
      ) {
        return record;
      }
      record = records[at + NEXT_IN_BUCKET];
    }
    return -1;
  }

  /** A new record for the fragment's datagram; older ones give way where there is no room. */
  create(view: PacketView, space: number, nowMs: number): number {
    const records = this.records;
    const bucket = this.bucketOf(view, space);
    this.limitSource(bucket, view, space);
    let spaceSlot = this.spaceSlotOf(space);
    if (spaceSlot >= 0 && this.spaceDatagrams[spaceSlot] >= this.maxDatagramsPerSpace) {
      this.evictOldest(spaceSlot, -1, false);
    }
    if (this.datagrams >= this.maxDatagrams) {
      this.evictOldest(this.greediest(this.spaceDatagrams), -1, false);
    }
    // Only now: an eviction may have emptied a slot, this space's own among them.
    spaceSlot = this.spaceSlotOf(space);
    if (spaceSlot < 0) spaceSlot = this.openSpaceSlot(space);

    const record = this.freeRecords[this.datagrams];
    this.datagrams++;
    const at = record * RECORD_STRIDE;
    records[at + FRAGMENT_SPACE] = space;
    records[at + SOURCE] = view.src0;
    records[at + SOURCE + 1] = view.src1;
    records[at + SOURCE + 2] = view.src2;
    records[at + SOURCE + 3] = view.src3;
    records[at + DESTINATION] = view.dst0;
    records[at + DESTINATION + 1] = view.dst1;
    records[at + DESTINATION + 2] = view.dst2;
    records[at + DESTINATION + 3] = view.dst3;
    records[at + META] = datagramMeta(view);
    records[at + IDENTIFICATION] = view.identification;
    records[at + FRAGMENT_STARTED] = nowMs;
    records[at + PAGES] = 0;
    for (let word = FRAGMENT_USER; word < RECORD_STRIDE; word++) records[at + word] = 0;

    const first = this.buckets[bucket];
    records[at + BUCKET] = bucket;
    records[at + NEXT_IN_BUCKET] = first;
    records[at + PREVIOUS_IN_BUCKET] = -1;
    if (first >= 0) records[first * RECORD_STRIDE + PREVIOUS_IN_BUCKET] = record;
    this.buckets[bucket] = record;

    const newest = this.spaceNewest[spaceSlot];
    records[at + SPACE_SLOT] = spaceSlot;
    records[at + OLDER] = newest;
    records[at + NEWER] = -1;
    if (newest >= 0) records[newest * RECORD_STRIDE + NEWER] = record;
    else this.spaceOldest[spaceSlot] = record;
    this.spaceNewest[spaceSlot] = record;
    this.spaceDatagrams[spaceSlot] = this.spaceDatagrams[spaceSlot] + 1;
    return record;
  }

  /** Gives a record and its pages back. */
  free(record: number): void {
    this.releasePages(record);
    const records = this.records;
    const at = record * RECORD_STRIDE;
    const next = records[at + NEXT_IN_BUCKET];
    const previous = records[at + PREVIOUS_IN_BUCKET];
    if (next >= 0) records[next * RECORD_STRIDE + PREVIOUS_IN_BUCKET] = previous;
    if (previous >= 0) records[previous * RECORD_STRIDE + NEXT_IN_BUCKET] = next;
    else this.buckets[records[at + BUCKET]] = next;

    const spaceSlot = records[at + SPACE_SLOT];
    const older = records[at + OLDER];
    const newer = records[at + NEWER];
    if (newer >= 0) records[newer * RECORD_STRIDE + OLDER] = older;
    else this.spaceNewest[spaceSlot] = older;
    if (older >= 0) records[older * RECORD_STRIDE + NEWER] = newer;
    else this.spaceOldest[spaceSlot] = newer;
    this.spaceDatagrams[spaceSlot] = this.spaceDatagrams[spaceSlot] - 1;

    this.datagrams--;
    this.freeRecords[this.datagrams] = record;
  }

  /** Where the headers of a record lie: {@link HEADER_AREA_BYTES} of packet memory. */
  headerOffset(record: number): number {
    return this.headersOffset + record * HEADER_AREA_BYTES;
  }

  /**
   * Where bytes `index * PAGE_BYTES` and on of a datagram lie, taking a page for them if need be; -1 when there
   * is none and no other datagram may be made to give one up.
   */
  pageOffset(record: number, index: number): number {
    const entry = record * PAGES_PER_DATAGRAM + index;
    let page = this.pageTable[entry];
    if (page < 0) {
      const spaceSlot = this.records[record * RECORD_STRIDE + SPACE_SLOT];
      if (this.spacePages[spaceSlot] >= this.maxPagesPerSpace) {
        if (!this.evictOldest(spaceSlot, record, true)) return -1;
      }
      if (this.pages >= this.maxPages) {
        if (!this.evictOldest(this.greediest(this.spacePages), record, true)) return -1;
      }
      page = this.freePages[this.pages];
      this.pages++;
      this.pageTable[entry] = page;
      this.spacePages[spaceSlot] = this.spacePages[spaceSlot] + 1;
      const pagesAt = record * RECORD_STRIDE + PAGES;
      this.records[pagesAt] = this.records[pagesAt] + 1;
    }
    return this.pagesOffset + page * PAGE_BYTES;
  }

  /** Gives the pages of a record back, and keeps the record. */
  releasePages(record: number): void {
    const at = record * RECORD_STRIDE;
    let left = this.records[at + PAGES];
    if (left === 0) return;
    const spaceSlot = this.records[at + SPACE_SLOT];
    this.spacePages[spaceSlot] = this.spacePages[spaceSlot] - left;
    this.records[at + PAGES] = 0;
    const end = (record + 1) * PAGES_PER_DATAGRAM;
    for (let entry = end - PAGES_PER_DATAGRAM; entry < end && left > 0; entry++) {
      const page = this.pageTable[entry];
      if (page < 0) continue;
      this.pageTable[entry] = -1;
      this.pages--;
      this.freePages[this.pages] = page;
      left--;
    }
  }

  /** One more than the highest number {@link oldest} takes. */
  get spaceSlotEnd(): number {
    return this.spaceSlots;
  }

  /** The oldest record of the space that has this slot, or -1. */
  oldest(spaceSlot: number): number {
    return this.spaceOldest[spaceSlot];
  }

  private bucketOf(view: PacketView, space: number): number {
    const hash = this.hash;
    hash.begin();
    hash.add(space);
    hash.add(view.src3);
    if (view.family !== IPV4) {
      hash.add(view.src0);
      hash.add(view.src1);
      hash.add(view.src2);
    }
    return hash.finish() & (this.buckets.length - 1);
  }

  private sameSource(at: number, view: PacketView, space: number): boolean {
    const records = this.records;
    return (
      records[at + FRAGMENT_SPACE] === space &&
      records[at + SOURCE + 3] === view.src3 &&
      records[at + SOURCE + 2] === view.src2 &&
      records[at + SOURCE + 1] === view.src1 &&
      records[at + SOURCE] === view.src0
    );
  }

  /** Takes the oldest datagram away from a source that is at its limit. */
  private limitSource(bucket: number, view: PacketView, space: number): void {
    let count = 0;
    let oldest = -1;
    let record = this.buckets[bucket];
    while (record >= 0) {
      const at = record * RECORD_STRIDE;
      if (this.sameSource(at, view, space)) {
        count++;
        oldest = record;
      }
      record = this.records[at + NEXT_IN_BUCKET];
    }
    if (count >= this.maxDatagramsPerSource) this.evict(oldest);
  }

  private spaceSlotOf(space: number): number {
    for (let slot = 0; slot < this.spaceSlots; slot++) {
      if (this.spaceDatagrams[slot] > 0 && this.spaceIds[slot] === space) return slot;
    }
    return -1;
  }

  /** There is always one: as many slots as records, and a record is free. */
  private openSpaceSlot(space: number): number {
    let slot = 0;
    while (slot < this.spaceSlots && this.spaceDatagrams[slot] > 0) slot++;
    if (slot === this.spaceSlots) this.spaceSlots++;
    this.spaceIds[slot] = space;
    return slot;
  }

  private greediest(held: Int32Array): number {
    let greediest = 0;
    for (let slot = 1; slot < this.spaceSlots; slot++) {
      if (held[slot] > held[greediest]) greediest = slot;
    }
    return greediest;
  }

  /** Evicts the oldest of a space but `keep`; if `withPages`, the oldest that holds any. False if there is none. */
  private evictOldest(spaceSlot: number, keep: number, withPages: boolean): boolean {
    let record = this.spaceOldest[spaceSlot];
    while (record >= 0) {
      const at = record * RECORD_STRIDE;
      if (record !== keep && (!withPages || this.records[at + PAGES] > 0)) {
        this.evict(record);
        return true;
      }
      record = this.records[at + NEWER];
    }
    return false;
  }

  private evict(record: number): void {
    this.onEvict(record);
    this.free(record);
  }
}

/** IPv4 counts the protocol to a datagram's key (RFC 791), IPv6 does not (RFC 8200, 4.5). */
function datagramMeta(view: PacketView): number {
  return view.family === IPV4 ? (view.protocol << 8) | IPV4 : view.family;
}
