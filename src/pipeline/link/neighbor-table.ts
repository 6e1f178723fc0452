/**
 * The neighbours of all Ethernet devices: a bounded table in flat arrays, found by device and address.
 *
 * The device is part of the key: two sites behind two devices may use the same address, and each keeps its own
 * entry. Every device has the same share of the table, so that a site which scans addresses can only push out
 * its own entries. What may be pushed out is decided oldest first, with a second chance for entries in use.
 *
 * Neighbours: `neighbors.ts` (the state machine that lives in these entries).
 */

/** Entry states. From {@link NEIGHBOR_REACHABLE} on the entry's MAC is usable. See `neighbors.ts` for the drawing. */
export const NEIGHBOR_FREE = 0;
export const NEIGHBOR_INCOMPLETE = 1;
export const NEIGHBOR_FAILED = 2;
export const NEIGHBOR_REACHABLE = 3;
export const NEIGHBOR_STALE = 4;
export const NEIGHBOR_DELAY = 5;
export const NEIGHBOR_PROBE = 6;

const NONE = -1;
/** No device has more entries than this, however few devices there are. */
const MAX_SHARE = 1024;
/** Nor fewer than this, however many there are. */
const MIN_SHARE = 8;
/** Entries looked at before an insertion gives up. */
const EVICTION_STEPS = 16;

export class NeighborTable {
  readonly capacity: number;
  /** One past the highest entry in use so far. */
  end = 0;
  readonly state: Uint8Array;
  readonly device: Int32Array;
  /** Address, wire-order words; IPv4 in the last, the others 0. */
  readonly word0: Int32Array;
  readonly word1: Int32Array;
  readonly word2: Int32Array;
  readonly word3: Int32Array;
  /** First two bytes of the MAC as a little-endian load gives them. */
  readonly macHead: Int32Array;
  /** Last four bytes of the MAC as a little-endian load gives them. */
  readonly macTail: Int32Array;
  /** When the state's timer ends. */
  readonly timerAt: Int32Array;
  /** When the neighbour was last heard to answer. */
  readonly confirmedAt: Int32Array;
  /** Requests sent in this state. */
  readonly requests: Uint8Array;
  /** First and last waiting frame (`neighbor-queue.ts`), -1 for none, and their number. */
  readonly queueHead: Int32Array;
  readonly queueTail: Int32Array;
  readonly queueCount: Uint16Array;

  private readonly seed: number;
  private readonly mask: number;
  private readonly buckets: Int32Array;
  private readonly nextInBucket: Int32Array;
  private readonly newer: Int32Array;
  private readonly older: Int32Array;
  private newest = new Int32Array(0);
  private oldest = new Int32Array(0);
  private counts = new Int32Array(0);
  private share = MAX_SHARE;
  private firstFree: number;

  /** `capacity`: entries of all devices. `seed`: so that nobody can aim at one bucket. */
  constructor(capacity: number, seed: number) {
    this.capacity = capacity;
    this.seed = seed | 0;
    this.state = new Uint8Array(capacity);
    this.device = new Int32Array(capacity);
    this.word0 = new Int32Array(capacity);
    this.word1 = new Int32Array(capacity);
    this.word2 = new Int32Array(capacity);
    this.word3 = new Int32Array(capacity);
    this.macHead = new Int32Array(capacity);
    this.macTail = new Int32Array(capacity);
    this.timerAt = new Int32Array(capacity);
    this.confirmedAt = new Int32Array(capacity);
    this.requests = new Uint8Array(capacity);
    this.queueHead = new Int32Array(capacity).fill(NONE);
    this.queueTail = new Int32Array(capacity).fill(NONE);
    this.queueCount = new Uint16Array(capacity);
    let buckets = 1;
    while (buckets < capacity * 2) buckets *= 2;
    this.mask = buckets - 1;
    this.buckets = new Int32Array(buckets).fill(NONE);
    this.nextInBucket = new Int32Array(capacity).fill(NONE);
    this.newer = new Int32Array(capacity).fill(NONE);
    this.older = new Int32Array(capacity).fill(NONE);
    for (let entry = 0; entry < capacity; entry++) {
      this.nextInBucket[entry] = entry + 1 < capacity ? entry + 1 : NONE;
    }
    this.firstFree = capacity > 0 ? 0 : NONE;
  }

  /** Control path: makes room for device numbers below `devices`, `ethernetDevices` of them with neighbours. */
  setDevices(devices: number, ethernetDevices: number): void {
    if (devices > this.counts.length) {
      this.newest = extended(this.newest, devices, NONE);
      this.oldest = extended(this.oldest, devices, NONE);
      this.counts = extended(this.counts, devices, 0);
    }
    const share = Math.floor(this.capacity / Math.max(1, ethernetDevices));
    this.share = Math.max(MIN_SHARE, Math.min(MAX_SHARE, share));
  }

  /** Entries that a device may have. */
  get deviceShare(): number {
    return this.share;
  }

  /** Entries of a device. */
  count(device: number): number {
    return this.counts[device] ?? 0;
  }

  /** Oldest entry of a device, or -1: for emptying it. */
  oldestOf(device: number): number {
    return this.oldest[device] ?? NONE;
  }

  /** The entry of this device and address (wire-order words), or -1. */
  find(device: number, word0: number, word1: number, word2: number, word3: number): number {
    let entry = this.buckets[this.hash(device, word0, word1, word2, word3)];
    while (entry !== NONE) {
      if (this.matches(entry, device, word0, word1, word2, word3)) return entry;
      entry = this.nextInBucket[entry];
    }
    return NONE;
  }

  /** Control path: the entries of a device whose MAC is usable, who was heard to answer last first. */
  heardOf(device: number, nowMs: number): number[] {
    const entries: number[] = [];
    for (let entry = 0; entry < this.end; entry++) {
      if (this.device[entry] === device && this.state[entry] >= NEIGHBOR_REACHABLE) entries.push(entry);
    }
    const ageMs = (entry: number): number => (nowMs - this.confirmedAt[entry]) | 0;
    return entries.sort((one, other) => ageMs(one) - ageMs(other));
  }

  matches(
    entry: number,
    device: number,
    word0: number,
    word1: number,
    word2: number,
    word3: number,
  ): boolean {
    return (
      this.word3[entry] === word3 &&
      this.device[entry] === device &&
      this.word0[entry] === word0 &&
      this.word1[entry] === word1 &&
      this.word2[entry] === word2 &&
      this.state[entry] !== NEIGHBOR_FREE
    );
  }

  /**
   * A new entry for an address that has none, in state {@link NEIGHBOR_INCOMPLETE} and without a MAC. Returns
   * -1 when there is no room; call {@link evictable} and remove what it names first.
   */
  insert(device: number, word0: number, word1: number, word2: number, word3: number): number {
    if (device >= this.counts.length || this.counts[device] >= this.share) return NONE;
    const entry = this.firstFree;
    if (entry === NONE) return NONE;
    this.firstFree = this.nextInBucket[entry];
    if (entry >= this.end) this.end = entry + 1;
    this.state[entry] = NEIGHBOR_INCOMPLETE;
    this.device[entry] = device;
    this.word0[entry] = word0;
    this.word1[entry] = word1;
    this.word2[entry] = word2;
    this.word3[entry] = word3;
    this.macHead[entry] = 0;
    this.macTail[entry] = 0;
    this.timerAt[entry] = 0;
    this.confirmedAt[entry] = 0;
    this.requests[entry] = 0;
    const bucket = this.hash(device, word0, word1, word2, word3);
    this.nextInBucket[entry] = this.buckets[bucket];
    this.buckets[bucket] = entry;
    this.link(entry, device);
    return entry;
  }

  /** Frees an entry. Its waiting frames must have been taken off before. */
  remove(entry: number): void {
    const device = this.device[entry];
    const bucket = this.hash(
      device,
      this.word0[entry],
      this.word1[entry],
      this.word2[entry],
      this.word3[entry],
    );
    let at = this.buckets[bucket];
    if (at === entry) {
      this.buckets[bucket] = this.nextInBucket[entry];
    } else {
      while (this.nextInBucket[at] !== entry) at = this.nextInBucket[at];
      this.nextInBucket[at] = this.nextInBucket[entry];
    }
    this.unlink(entry, device);
    this.state[entry] = NEIGHBOR_FREE;
    this.nextInBucket[entry] = this.firstFree;
    this.firstFree = entry;
  }

  /**
   * An entry of this device that may go to make room for another, or -1. Neighbours that failed, that nobody
   * has sent to lately, or that did not answer the first request go; if there is none of these, one that has just been
   * asked for, or who asks for very many would leave others no room until they all have failed. Those in use stay.
   */
  evictable(device: number): number {
    let asked = NONE;
    for (let step = 0; step < EVICTION_STEPS; step++) {
      const entry = this.oldestOf(device);
      if (entry === NONE) return NONE;
      const state = this.state[entry];
      if (state === NEIGHBOR_FAILED || state === NEIGHBOR_STALE) return entry;
      if (state === NEIGHBOR_INCOMPLETE) {
        if (this.requests[entry] > 1) return entry;
        if (asked === NONE) asked = entry;
      }
      this.unlink(entry, device);
      this.link(entry, device);
    }
    return asked;
  }

  private link(entry: number, device: number): void {
    const newest = this.newest[device];
    this.older[entry] = newest;
    this.newer[entry] = NONE;
    if (newest === NONE) this.oldest[device] = entry;
    else this.newer[newest] = entry;
    this.newest[device] = entry;
    this.counts[device] = this.counts[device] + 1;
  }

  private unlink(entry: number, device: number): void {
    const newer = this.newer[entry];
    const older = this.older[entry];
    if (newer === NONE) this.newest[device] = older;
    else this.older[newer] = older;
    if (older === NONE) this.oldest[device] = newer;
    else this.newer[older] = newer;
    this.counts[device] = this.counts[device] - 1;
  }

  private hash(device: number, word0: number, word1: number, word2: number, word3: number): number {
    let hash = Math.imul(this.seed ^ device, 0x9e3779b1) ^ word3;
    hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b) ^ word2;
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35) ^ word1;
    hash = Math.imul(hash ^ (hash >>> 15), 0x27d4eb2f) ^ word0;
    hash = Math.imul(hash ^ (hash >>> 13), 0x85ebca6b);
    return (hash ^ (hash >>> 16)) & this.mask;
  }
}

function extended(array: Int32Array, length: number, fill: number): Int32Array<ArrayBuffer> {
  const longer = new Int32Array(length).fill(fill);
  longer.set(array);
  return longer;
}
