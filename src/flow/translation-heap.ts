/**
 * The heap side of translation: everything that can be rebuilt from the mapped section and the configured pools.
 *
 * Built whole, at start and whenever the pools change; the data plane then works on it. Building
 * 1. finds the pools' chunks in the directory, and takes new ones for the rest. A chunk whose address is gone
 *    is kept, because holds run in it and the address may come back; it is taken for another address only when
 *    none of its ports is live or held;
 * 2. marks every slot with its pool: -1 for slots that may not be allocated;
 * 3. puts every slot where its state says: index, wheel, accounts, free lists.
 *
 * It allocates and takes time in proportion to the section: milliseconds an address.
 *
 * Neighbours: `translation.ts`, its only user; `translation-preview.ts`, which only looks.
 */

import { finishHash } from './hash.ts';
import { holdRuns } from './hold-time.ts';
import { HoldWheel, WHEEL_LISTS } from './hold-wheel.ts';
import { MappingIndex } from './mapping-index.ts';
import { PoolSet, type PortPool, type ReservedPort, type TranslationPool } from './port-pool.ts';
import { protocolClass } from './protocol-class.ts';
import { SiteAccounts } from './site-accounts.ts';
import { guaranteeOf } from './site-shares.ts';
import { SlotLists } from './slot-lists.ts';
import {
  CHUNK_PORTS,
  CHUNK_SHIFT,
  CHUNK_SLOTS,
  CLASSES,
  chunkOfSlot,
  classOfSlot,
  DIRECTORY_ADDRESS,
  DIRECTORY_FAMILY,
  DIRECTORY_PLACE,
  DIRECTORY_WORDS,
  directoryAt,
  firstSlotAt,
  HEADER_CHUNKS,
  HEADER_LAYOUT,
  HEADER_SEED,
  SLOT_ADDRESS,
  SLOT_FREE,
  SLOT_HELD,
  SLOT_LIVE,
  SLOT_OWNER,
  SLOT_REFERENCES,
  SLOT_STATE,
  SLOT_UNTIL,
  SLOT_WORDS,
  slotOf,
  TRANSLATION_LAYOUT,
  translationChunks,
} from './translation-layout.ts';

/**
 * What the choice of a port for a new mapping asks, by pool's class (`pool * CLASSES + class`). Answered as it is
 * ({@link TranslationHeap}), or as it would be (`translation-preview.ts`).
 */
export interface PortStock {
  liveOf(poolClass: number, space: number): number;
  heldOf(poolClass: number, space: number): number;
  /** Whether a site may take one more, as far as other sites are concerned. */
  mayTake(poolClass: number, space: number): boolean;
  /** The slot that has been free longest, or -1. */
  firstFree(poolClass: number): number;
  /** The slot that the site released first of those which are held, or -1. */
  oldestHeld(poolClass: number, space: number): number;
  /** HELD to FREE for slots whose holds have ended, the oldest first, so many at most. */
  expire(nowMs: number, most: number): void;
}

/** Above every slot number: 24 bits, which leave 29 of a float64 for a time to sort slots by. */
const SLOT_LIMIT = 2 ** 24;
/** Most chunks of a section that are used. */
const MAX_CHUNKS = Math.floor(SLOT_LIMIT / CHUNK_SLOTS);

/** Number of chunks used in a section of so many words. */
export function chunkCapacity(section: Int32Array): number {
  return Math.min(MAX_CHUNKS, translationChunks(section.length));
}

/**
 * Makes a section ready: an unknown or resized one becomes empty, a known one loses its reference counts, which
 * the flows that still exist restore.
 */
export function openSection(words: Int32Array, seed: number): void {
  const chunks = chunkCapacity(words);
  if (chunks < 1) throw new RangeError('the translation section has no room for a chunk');
  if (words[HEADER_LAYOUT] !== TRANSLATION_LAYOUT || words[HEADER_CHUNKS] !== chunks) {
    words.fill(0, 0, firstSlotAt(chunks));
    words[HEADER_SEED] = seed | 0;
    words[HEADER_CHUNKS] = chunks;
    words[HEADER_LAYOUT] = TRANSLATION_LAYOUT;
    return;
  }
  for (let chunk = 0; chunk < chunks; chunk++) {
    if (words[directoryAt(chunk) + DIRECTORY_FAMILY] === 0) continue;
    const first = firstSlotAt(chunks) + chunk * CHUNK_SLOTS * SLOT_WORDS;
    for (let i = 0; i < CHUNK_SLOTS; i++) words[first + i * SLOT_WORDS + SLOT_REFERENCES] = 0;
  }
}

/** Copies a section into another one that is empty and has at least as many chunks; slots keep their numbers. */
export function carryTranslation(from: Int32Array, to: Int32Array): void {
  if (from[HEADER_LAYOUT] !== TRANSLATION_LAYOUT) return;
  const chunks = from[HEADER_CHUNKS]!;
  const toChunks = chunkCapacity(to);
  const slots = firstSlotAt(chunks);
  to.set(from.subarray(directoryAt(0), directoryAt(chunks)), directoryAt(0));
  to.set(from.subarray(slots, slots + chunks * CHUNK_SLOTS * SLOT_WORDS), firstSlotAt(toChunks));
  to[HEADER_SEED] = from[HEADER_SEED]!;
  to[HEADER_CHUNKS] = toChunks;
  to[HEADER_LAYOUT] = TRANSLATION_LAYOUT;
}

/** Number of the list of free slots of a pool's class, in {@link TranslationHeap.queues}. */
function freeList(poolClass: number): number {
  return WHEEL_LISTS + poolClass;
}

export class TranslationHeap implements PortStock {
  readonly pools: PoolSet;
  /** Pool of every slot, or -1 if the slot may not be allocated. */
  readonly poolOf: Int16Array;
  readonly index: MappingIndex;
  /** Free slots by pool and class, and the buckets of the wheel. */
  readonly queues: SlotLists;
  readonly wheel: HoldWheel;
  readonly accounts: SiteAccounts;
  /** Live slots that may not be used any more. */
  readonly ended: number[];
  /** Configured ports without a place in the section. */
  readonly unplacedPorts: number;

  /** Free slots, by pool's class. */
  private readonly freeCounts: Int32Array;
  private readonly words: Int32Array;
  private readonly chunks: number;
  private readonly firstSlotAt: number;

  /**
   * @param sites spaces that are guaranteed a share of every pool
   * @throws RangeError if a pool or reservation is impossible; the section is unchanged then
   */
  constructor(
    words: Int32Array,
    pools: readonly TranslationPool[],
    reserved: readonly ReservedPort[],
    sites: readonly number[],
    nowMs: number,
  ) {
    this.words = words;
    this.chunks = chunkCapacity(words);
    this.firstSlotAt = firstSlotAt(this.chunks);
    this.pools = new PoolSet(pools);
    for (const port of reserved) checkReserved(port);

    const slots = this.chunks * CHUNK_SLOTS;
    this.poolOf = new Int16Array(slots).fill(-1);
    this.index = new MappingIndex(words, this.firstSlotAt, slots, words[HEADER_SEED]!);
    this.queues = new SlotLists(WHEEL_LISTS + pools.length * CLASSES, slots);
    this.wheel = new HoldWheel(words, this.firstSlotAt, this.queues, nowMs);
    this.accounts = new SiteAccounts(slots, guarantees(this.pools.pools, sites.length), sites);
    this.freeCounts = new Int32Array(pools.length * CLASSES);
    this.ended = [];
    this.unplacedPorts = this.placeChunks(nowMs);
    this.markSlots(reserved);
    this.sortSlots(nowMs);
  }

  firstFree(poolClass: number): number {
    return this.queues.first(freeList(poolClass));
  }

  /** How many slots of a pool's class are free. */
  freeOf(poolClass: number): number {
    return this.freeCounts[poolClass]!;
  }

  liveOf(poolClass: number, space: number): number {
    return this.accounts.liveOf(poolClass, space);
  }

  heldOf(poolClass: number, space: number): number {
    return this.accounts.heldOf(poolClass, space);
  }

  mayTake(poolClass: number, space: number): boolean {
    return this.accounts.mayTake(poolClass, space, this.freeCounts[poolClass]!);
  }

  oldestHeld(poolClass: number, space: number): number {
    return this.accounts.oldestHeld(poolClass, space);
  }

  expire(nowMs: number, most: number): void {
    for (let i = 0; i < most; i++) {
      const slot = this.wheel.takeEnded(nowMs);
      if (slot < 0) return;
      if (this.poolOf[slot]! >= 0) this.index.remove(slot);
      this.leaveHeld(slot);
      this.words[this.firstSlotAt + slot * SLOT_WORDS + SLOT_STATE] = SLOT_FREE;
      this.enterFree(slot);
    }
  }

  /** Puts a slot that has become free behind the others; one that may not be allocated, nowhere. */
  enterFree(slot: number): void {
    const pool = this.poolOf[slot]!;
    if (pool < 0) return;
    const poolClass = pool * CLASSES + classOfSlot(slot);
    this.queues.append(freeList(poolClass), slot);
    this.freeCounts[poolClass]!++;
  }

  /** Takes a free slot out. */
  leaveFree(slot: number): void {
    this.queues.remove(slot);
    this.freeCounts[this.poolOf[slot]! * CLASSES + classOfSlot(slot)]!--;
  }

  /** Counts a slot that has become held, and puts it where its end will be noticed. */
  enterHeld(slot: number): void {
    this.wheel.add(slot);
    const account = this.countHeld(slot, 1);
    if (account >= 0) this.accounts.heldSlots.append(account, slot);
  }

  /** The reverse of {@link enterHeld}; the slot may have left the wheel already. */
  leaveHeld(slot: number): void {
    this.queues.remove(slot);
    if (this.countHeld(slot, -1) >= 0) this.accounts.heldSlots.remove(slot);
  }

  /** Adds to the number of live slots of the owner of a slot. */
  countLive(slot: number, difference: number): void {
    const pool = this.poolOf[slot]!;
    if (pool < 0) return;
    const poolClass = pool * CLASSES + classOfSlot(slot);
    const space = this.ownerOf(slot);
    this.accounts.addLive(this.accounts.open(poolClass, space), poolClass, space, difference);
  }

  /** The same of its held ones. Returns the owner's account, -1 for a slot that may not be allocated. */
  private countHeld(slot: number, difference: number): number {
    const pool = this.poolOf[slot]!;
    if (pool < 0) return -1;
    const poolClass = pool * CLASSES + classOfSlot(slot);
    const space = this.ownerOf(slot);
    const account = this.accounts.open(poolClass, space);
    this.accounts.addHeld(account, poolClass, space, difference);
    return account;
  }

  /** Address space of the site that stands in a slot. */
  ownerOf(slot: number): number {
    return this.words[this.firstSlotAt + slot * SLOT_WORDS + SLOT_OWNER]! >>> 16;
  }

  /** Gives every pool its chunks; returns the number of ports that found no room. */
  private placeChunks(nowMs: number): number {
    const words = this.words;
    const known = new Map<string, number>();
    for (let chunk = 0; chunk < this.chunks; chunk++) {
      const at = directoryAt(chunk);
      if (words[at + DIRECTORY_FAMILY] !== 0)
        known.set(words.subarray(at, at + DIRECTORY_WORDS).join(), chunk);
    }
    const wanted: { pool: PortPool; number: number; entry: Int32Array }[] = [];
    const kept = new Set<number>();
    for (const pool of this.pools.pools) {
      for (let number = pool.portMin >>> CHUNK_SHIFT; number <= pool.portMax >>> CHUNK_SHIFT; number++) {
        const entry = Int32Array.of(
          pool.a0,
          pool.a1,
          pool.a2,
          pool.a3,
          (pool.egress << 16) | number,
          pool.family,
          0,
          0,
        );
        const chunk = known.get(entry.join());
        if (chunk === undefined) {
          wanted.push({ pool, number, entry });
        } else {
          kept.add(chunk);
          pool.chunks[number] = chunk;
        }
      }
    }
    let unplacedPorts = 0;
    let candidate = 0;
    for (const { pool, number, entry } of wanted) {
      while (candidate < this.chunks && (kept.has(candidate) || this.chunkInUse(candidate, nowMs)))
        candidate++;
      if (candidate >= this.chunks) {
        const low = Math.max(pool.portMin, number << CHUNK_SHIFT);
        const high = Math.min(pool.portMax, (number << CHUNK_SHIFT) + CHUNK_PORTS - 1);
        unplacedPorts += high - low + 1;
        continue;
      }
      this.takeChunk(candidate, entry);
      pool.chunks[number] = candidate++;
    }
    return unplacedPorts;
  }

  /** Whether a slot of this chunk is live or held. */
  private chunkInUse(chunk: number, nowMs: number): boolean {
    const words = this.words;
    if (words[directoryAt(chunk) + DIRECTORY_FAMILY] === 0) return false;
    for (let i = 0; i < CHUNK_SLOTS; i++) {
      const at = this.firstSlotAt + (chunk * CHUNK_SLOTS + i) * SLOT_WORDS;
      const state = words[at + SLOT_STATE];
      if (state === SLOT_LIVE) return true;
      if (state === SLOT_HELD && holdRuns(words[at + SLOT_UNTIL]!, nowMs)) return true;
    }
    return false;
  }

  /** Makes a chunk that is not in use another address's. Killed in between, it is unused. */
  private takeChunk(chunk: number, entry: Int32Array): void {
    const words = this.words;
    const at = directoryAt(chunk);
    const first = this.firstSlotAt + chunk * CHUNK_SLOTS * SLOT_WORDS;
    words[at + DIRECTORY_FAMILY] = 0;
    words.fill(0, first, first + CHUNK_SLOTS * SLOT_WORDS);
    for (let i = 0; i < 4; i++) words[at + DIRECTORY_ADDRESS + i] = entry[DIRECTORY_ADDRESS + i]!;
    words[at + DIRECTORY_PLACE] = entry[DIRECTORY_PLACE]!;
    words[at + DIRECTORY_FAMILY] = entry[DIRECTORY_FAMILY]!;
  }

  private markSlots(reserved: readonly ReservedPort[]): void {
    for (const pool of this.pools.pools) {
      for (let port = pool.portMin; port <= pool.portMax; port++) {
        const chunk = pool.chunks[port >>> CHUNK_SHIFT]!;
        if (chunk < 0) continue;
        for (let c = 0; c < CLASSES; c++) this.poolOf[slotOf(chunk, c, port)] = pool.index;
      }
    }
    for (const { egress, family, address, protocol, port } of reserved) {
      const index = this.pools.find(
        egress,
        family,
        address[0] | 0,
        address[1] | 0,
        address[2] | 0,
        address[3] | 0,
      );
      if (index < 0) continue;
      const chunk = this.pools.pools[index]!.chunks[port >>> CHUNK_SHIFT]!;
      if (chunk >= 0) this.poolOf[slotOf(chunk, protocolClass(protocol, family), port)] = -1;
    }
  }

  /** Puts every slot where its state says. */
  private sortSlots(nowMs: number): void {
    const words = this.words;
    const held = new Float64Array(this.poolOf.length);
    const used = new Float64Array(this.poolOf.length);
    let heldCount = 0;
    let usedCount = 0;
    for (let chunk = 0; chunk < this.chunks; chunk++) {
      if (words[directoryAt(chunk) + DIRECTORY_FAMILY] === 0) continue;
      for (let slot = chunk * CHUNK_SLOTS; slot < (chunk + 1) * CHUNK_SLOTS; slot++) {
        const at = this.firstSlotAt + slot * SLOT_WORDS;
        let state = words[at + SLOT_STATE]!;
        if (state === SLOT_HELD && !holdRuns(words[at + SLOT_UNTIL]!, nowMs)) {
          state = SLOT_FREE;
          words[at + SLOT_STATE] = SLOT_FREE;
        }
        if (state === SLOT_LIVE) {
          if (this.poolOf[slot]! < 0) {
            this.ended.push(slot);
          } else {
            this.countLive(slot, 1);
            this.indexIfFirst(slot);
          }
        } else if (state === SLOT_HELD) {
          held[heldCount++] = this.holdEndKey(slot, nowMs);
        } else if (state === SLOT_FREE && words[at + SLOT_OWNER] !== 0 && this.poolOf[slot]! >= 0) {
          used[usedCount++] = this.holdEndKey(slot, nowMs);
        }
      }
    }
    // Live slots first: where an endpoint has a live and a held one, the live one is its mapping.
    for (const key of held.subarray(0, heldCount).sort()) {
      const slot = slotOfKey(key);
      this.enterHeld(slot);
      if (this.poolOf[slot]! >= 0) this.indexIfFirst(slot);
    }
    for (const pool of this.pools.pools) this.appendNeverUsed(pool);
    for (const key of used.subarray(0, usedCount).sort()) {
      this.enterFree(slotOfKey(key));
    }
  }

  /**
   * An endpoint can have a second slot: from an address that went, and came back after the endpoint had got a
   * mapping elsewhere. Only one is its mapping; the other runs out.
   */
  private indexIfFirst(slot: number): void {
    const words = this.words;
    const at = this.firstSlotAt + slot * SLOT_WORDS;
    const directory = directoryAt(chunkOfSlot(slot));
    const known = this.index.find(
      words[directory + DIRECTORY_PLACE]! >>> 16,
      words[directory + DIRECTORY_FAMILY]!,
      classOfSlot(slot),
      words[at + SLOT_OWNER]!,
      words[at + SLOT_ADDRESS]!,
      words[at + SLOT_ADDRESS + 1]!,
      words[at + SLOT_ADDRESS + 2]!,
      words[at + SLOT_ADDRESS + 3]!,
    );
    if (known < 0) this.index.insert(slot);
  }

  /** What slots are sorted by: the end of the hold, to 8 ms, above 24 bits of slot number. */
  private holdEndKey(slot: number, nowMs: number): number {
    const left = (this.words[this.firstSlotAt + slot * SLOT_WORDS + SLOT_UNTIL]! - nowMs) | 0;
    return ((left >> 3) + 2 ** 28) * SLOT_LIMIT + slot;
  }

  /** Appends a pool's never used slots to its free lists, in an order that depends on the seed alone. */
  private appendNeverUsed(pool: PortPool): void {
    const words = this.words;
    const ports = new Int32Array(pool.portMax - pool.portMin + 1);
    for (let c = 0; c < CLASSES; c++) {
      for (let i = 0; i < ports.length; i++) ports[i] = pool.portMin + i;
      let random = finishHash(finishHash(words[HEADER_SEED]! ^ pool.hash) + c);
      for (let i = ports.length - 1; i > 0; i--) {
        random = (random + 0x6d2b79f5) | 0;
        const other = (finishHash(random) >>> 0) % (i + 1);
        const port = ports[i]!;
        ports[i] = ports[other]!;
        ports[other] = port;
      }
      for (const port of ports) {
        const chunk = pool.chunks[port >>> CHUNK_SHIFT]!;
        if (chunk < 0) continue;
        const slot = slotOf(chunk, c, port);
        const at = this.firstSlotAt + slot * SLOT_WORDS;
        if (this.poolOf[slot]! < 0 || words[at + SLOT_STATE] !== SLOT_FREE || words[at + SLOT_OWNER] !== 0)
          continue;
        this.enterFree(slot);
      }
    }
  }
}

/** What each of so many sites is guaranteed of every pool's class: never more than its quota. */
function guarantees(pools: readonly PortPool[], sites: number): Int32Array {
  const guarantee = (pool: PortPool): number =>
    Math.min(pool.quotaPerSite, guaranteeOf(pool.portMax - pool.portMin + 1, sites));
  return Int32Array.from(pools.flatMap((pool) => new Array<number>(CLASSES).fill(guarantee(pool))));
}

/** The reverse of `holdEndKey`. */
function slotOfKey(key: number): number {
  return (key - Math.floor(key / SLOT_LIMIT) * SLOT_LIMIT) | 0;
}

function checkReserved({ family, protocol, port }: ReservedPort): void {
  if (protocolClass(protocol, family) < 0)
    throw new RangeError(`protocol ${protocol} has no ports to reserve`);
  if (!Number.isInteger(port) || port < 0 || port > 0xffff) {
    throw new RangeError(`port ${port} is not within 0..65535`);
  }
}
