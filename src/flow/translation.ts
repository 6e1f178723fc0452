/**
 * Source translation towards the internet: who has which external address and port.
 *
 * Every mapping belongs to one internal endpoint (egress, site, address, port, protocol class) and has one
 * external endpoint to itself, whatever the destination: endpoint-independent mapping without overloading
 * (RFC 4787 REQ-1, REQ-3; RFC 5382 REQ-1; RFC 5508 REQ-1 for ICMP identifiers). Filtering is not done here; the flow
 * table does it, by address and port. Flows hold references; a mapping lives until its last flow has released
 * it, and then its port is held (see `translation-layout.ts` for the states).
 *
 * Which port a new mapping gets, in this order:
 * 1. the port that this very endpoint had, while it is still held;
 * 2. a free port of the address the host prefers, the one that has been free longest; never used ones come
 *    first, in a seeded random order (RFC 6056, RFC 7857 section 9). Parity is not preserved (RFC 7857
 *    section 8), and ports below 1024 are used only if the range says so;
 * 3. a port that another endpoint of the same site released, the oldest;
 * 4. the same of the egress's other addresses.
 *
 * Quota: what a site takes from the others is its live **and** held ports, and that never exceeds the quota of
 * a pool and class (RFC 6888 REQ-4). At the quota a site reuses its own held ports, the oldest first, so it is
 * refused only when that many of its mappings are live. A site that opens and closes quickly cannot
 * drain the pool through the hold. Nor can several together: half of a pool is divided equally among the sites,
 * and nobody takes what another is still owed of it (`site-shares.ts`).
 *
 * The mapped section is the truth; index, lists and accounts lie on the heap and are rebuilt from it by
 * {@link Translation.configure}. At start: construct, `configure`, `adopt` for every flow found, `settle`.
 *
 * Neighbours: `translation-layout.ts`, `translation-heap.ts`, `translation-preview.ts`, `port-pool.ts`, `mapping-index.ts`,
 * `hold-wheel.ts`, `site-accounts.ts`; `pipeline` calls this when flows are set up and end.
 */

import { finishHash, mixWord } from './hash.ts';
import { holdEnd, laterHoldEnd } from './hold-time.ts';
import { preferredPool, type ReservedPort, type TranslationPool } from './port-pool.ts';
import { protocolClass } from './protocol-class.ts';
import { chunkCapacity, openSection, type PortStock, TranslationHeap } from './translation-heap.ts';
import {
  CHUNK_PORTS,
  CHUNK_SHIFT,
  CHUNK_SLOTS,
  CLASS_TCP,
  CLASS_UDP,
  CLASSES,
  chunkOfSlot,
  classOfSlot,
  DIRECTORY_ADDRESS,
  DIRECTORY_FAMILY,
  DIRECTORY_PLACE,
  directoryAt,
  firstSlotAt,
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
} from './translation-layout.ts';
import { TranslationPreview } from './translation-preview.ts';

/** Answer of {@link Translation.acquire}: no external port is free for this site. */
export const TRANSLATION_NO_PORTS = -1;
/** The site has as many live mappings as its quota allows. */
export const TRANSLATION_QUOTA = -2;
/** The egress has no external address of this family. */
export const TRANSLATION_NO_ADDRESS = -3;
/** The protocol has no ports to translate. */
export const TRANSLATION_PROTOCOL = -4;

/** Ended holds that one `acquire` frees in passing: bounds what a packet pays for others. */
const FREED_PER_ACQUIRE = 8;
const ALL = 0x7fffffff;

/** What a new set of pools did. */
export interface TranslationChange {
  /**
   * Live slots that may not be used any more: their address is gone, or their port left the range or became
   * reserved. The caller ends their flows; each port is held from the release of its last flow.
   */
  readonly ended: readonly number[];
  /**
   * Configured ports for which the section has no room, and which are not allocated: chunks of addresses that
   * are gone wait for their holds. The caller may configure the same again later. A section with
   * room for twice the configured ports takes any change of addresses at once.
   */
  readonly unplacedPorts: number;
}

export class Translation {
  /** The mapped section; `translation-layout.ts` says what stands where. Others only read it. */
  readonly words: Int32Array;
  private readonly seed: number;
  private readonly multiplier: number;
  private readonly firstSlotAt: number;
  private readonly slots: number;
  private heap: TranslationHeap;
  /** The pools and reservations in force, as text: most new plans change neither. */
  private configured: string;

  /**
   * @param section part of the flow memory: zeros, or what an earlier process left there
   * @param seed random number for a new section; an old one keeps its own
   * @throws RangeError if the section is too small for 1024 ports
   */
  constructor(section: Int32Array, seed: number, nowMs: number) {
    openSection(section, seed);
    this.words = section;
    this.seed = section[HEADER_SEED]!;
    this.multiplier = finishHash(this.seed) | 1;
    this.firstSlotAt = firstSlotAt(chunkCapacity(section));
    this.slots = chunkCapacity(section) * CHUNK_SLOTS;
    this.heap = new TranslationHeap(section, [], [], [], nowMs);
    this.configured = '';
  }

  /**
   * Takes a new set of external addresses and of ports that are never allocated. Mappings keep their slots
   * where address, range and reservations still allow it. Not for the packet path: it allocates and reads the whole
   * section, unless nothing has changed.
   *
   * @param sites spaces that are guaranteed a share of every pool
   * @throws RangeError if a pool or reservation is impossible; nothing changes then
   */
  configure(
    pools: readonly TranslationPool[],
    reserved: readonly ReservedPort[],
    nowMs: number,
    sites: readonly number[] = [],
  ): TranslationChange {
    const configured = JSON.stringify([pools, reserved, sites]);
    if (configured === this.configured && this.heap.unplacedPorts === 0)
      return { ended: [], unplacedPorts: 0 };
    this.heap = new TranslationHeap(this.words, pools, reserved, sites, nowMs);
    this.configured = configured;
    return { ended: this.heap.ended, unplacedPorts: this.heap.unplacedPorts };
  }

  /**
   * The mapping of an internal endpoint, made if there is none. The caller counts its flow with
   * {@link retain}, or gives the slot back with {@link abandon} if the flow does not come about.
   *
   * @param egress address space of the egress
   * @param space address space of the site
   * @param a0 internal address, wire order, four words `a0` to `a3`
   * @param port internal port or ICMP identifier, host order
   * @param protocol IP protocol number
   * @returns the slot, or one of `TRANSLATION_...` (negative)
   */
  acquire(
    egress: number,
    space: number,
    family: number,
    a0: number,
    a1: number,
    a2: number,
    a3: number,
    port: number,
    protocol: number,
    nowMs: number,
  ): number {
    const kind = protocolClass(protocol, family);
    if (kind < 0) return TRANSLATION_PROTOCOL;
    const heap = this.heap;
    heap.expire(nowMs, FREED_PER_ACQUIRE);
    const words = this.words;
    const owner = (space << 16) | port;
    const known = heap.index.find(egress, family, kind, owner, a0, a1, a2, a3);
    if (known >= 0) {
      if (words[this.slotAt(known) + SLOT_STATE] === SLOT_LIVE) return known;
      if (this.mayRevive(known, kind, space)) {
        this.revive(known);
        return known;
      }
    }
    const slot = this.choose(heap, egress, family, kind, space, this.hostHash(space, a0, a1, a2, a3), nowMs);
    if (slot < 0) return slot;
    // Held where the quota has been lowered meanwhile: the endpoint's mapping is the new one.
    if (known >= 0) heap.index.remove(known);
    this.take(slot, nowMs);
    const at = this.slotAt(slot);
    words[at + SLOT_ADDRESS] = a0;
    words[at + SLOT_ADDRESS + 1] = a1;
    words[at + SLOT_ADDRESS + 2] = a2;
    words[at + SLOT_ADDRESS + 3] = a3;
    words[at + SLOT_OWNER] = owner;
    words[at + SLOT_REFERENCES] = 0;
    words[at + SLOT_STATE] = SLOT_LIVE;
    heap.countLive(slot, 1);
    heap.index.insert(slot);
    return slot;
  }

  /** What {@link acquire} would answer now. Changes nothing; allocates, so not for the packet path. */
  preview(
    egress: number,
    space: number,
    family: number,
    a0: number,
    a1: number,
    a2: number,
    a3: number,
    port: number,
    protocol: number,
    nowMs: number,
  ): number {
    const kind = protocolClass(protocol, family);
    if (kind < 0) return TRANSLATION_PROTOCOL;
    const heap = this.heap;
    const stock = new TranslationPreview(heap);
    stock.expire(nowMs, FREED_PER_ACQUIRE);
    const known = heap.index.find(egress, family, kind, (space << 16) | port, a0, a1, a2, a3);
    if (known >= 0 && !stock.isFreed(known)) {
      if (this.words[this.slotAt(known) + SLOT_STATE] === SLOT_LIVE) return known;
      if (this.mayRevive(known, kind, space)) return known;
    }
    return this.choose(stock, egress, family, kind, space, this.hostHash(space, a0, a1, a2, a3), nowMs);
  }

  /** Counts one more flow of a live mapping. */
  retain(slot: number): void {
    const at = this.slotAt(slot);
    this.words[at + SLOT_REFERENCES] = this.words[at + SLOT_REFERENCES]! + 1;
  }

  /**
   * A flow of a mapping has ended, and late packets of it may come for another `holdMs`. With the last one the
   * port is held: for as long as any flow of this mapping asked for.
   */
  release(slot: number, holdMs: number, nowMs: number): void {
    const words = this.words;
    const at = this.slotAt(slot);
    if (words[at + SLOT_STATE] !== SLOT_LIVE) return;
    words[at + SLOT_UNTIL] = laterHoldEnd(words[at + SLOT_UNTIL]!, holdEnd(nowMs, holdMs), nowMs);
    const references = words[at + SLOT_REFERENCES]!;
    if (references > 1) words[at + SLOT_REFERENCES] = references - 1;
    else this.hold(slot);
  }

  /** Gives back a slot that {@link acquire} returned and no flow came to use. Others' references stay. */
  abandon(slot: number, nowMs: number): void {
    if (this.words[this.slotAt(slot) + SLOT_REFERENCES] === 0) this.release(slot, 0, nowMs);
  }

  /**
   * At start, after {@link configure}: counts a flow that was found in flow memory, if the slot is usable and
   * still belongs to this internal endpoint. Otherwise returns false, and the flow must end.
   */
  adopt(
    slot: number,
    space: number,
    a0: number,
    a1: number,
    a2: number,
    a3: number,
    port: number,
    protocol: number,
  ): boolean {
    if (!this.isUsable(slot)) return false;
    const words = this.words;
    const at = this.slotAt(slot);
    const state = words[at + SLOT_STATE];
    if (state === SLOT_FREE) return false;
    if (classOfSlot(slot) !== protocolClass(protocol, this.family(slot))) return false;
    if (words[at + SLOT_OWNER] !== ((space << 16) | port)) return false;
    if (words[at + SLOT_ADDRESS] !== a0 || words[at + SLOT_ADDRESS + 1] !== a1) return false;
    if (words[at + SLOT_ADDRESS + 2] !== a2 || words[at + SLOT_ADDRESS + 3] !== a3) return false;
    // Held: the last process was killed between the slot's release and the end of the flow's record.
    if (state === SLOT_HELD) this.revive(slot);
    this.retain(slot);
    return true;
  }

  /**
   * At start, after every flow was adopted: mappings without a flow become held, by protocol, because nobody
   * knows when their last packet was sent.
   */
  settle(tcpHoldMs: number, udpHoldMs: number, icmpHoldMs: number, nowMs: number): void {
    for (let slot = 0; slot < this.slots; slot++) {
      const at = this.slotAt(slot);
      if (this.words[at + SLOT_STATE] !== SLOT_LIVE || this.words[at + SLOT_REFERENCES] !== 0) continue;
      const kind = classOfSlot(slot);
      this.release(slot, kind === CLASS_TCP ? tcpHoldMs : kind === CLASS_UDP ? udpHoldMs : icmpHoldMs, nowMs);
    }
  }

  /** Frees all slots whose holds have ended. Called now and then, at least once a day. */
  sweep(nowMs: number): void {
    this.heap.expire(nowMs, ALL);
  }

  /** Whether a slot exists and may be used under the pools in force. A flow whose slot is not must end. */
  isUsable(slot: number): boolean {
    return slot >= 0 && slot < this.slots && this.heap.poolOf[slot]! >= 0;
  }

  /**
   * The live mapping that owns an external endpoint, or -1: for hairpinning, and for what comes back.
   *
   * @param a0 external address, wire order, four words `a0` to `a3`
   * @param port external port or ICMP identifier, host order
   */
  findExternal(
    egress: number,
    family: number,
    a0: number,
    a1: number,
    a2: number,
    a3: number,
    protocol: number,
    port: number,
  ): number {
    const kind = protocolClass(protocol, family);
    if (kind < 0) return -1;
    const heap = this.heap;
    const pool = heap.pools.find(egress, family, a0, a1, a2, a3);
    if (pool < 0) return -1;
    const chunk = heap.pools.pools[pool]!.chunks[port >>> CHUNK_SHIFT]!;
    if (chunk < 0) return -1;
    const slot = slotOf(chunk, kind, port);
    if (heap.poolOf[slot]! < 0 || this.words[this.slotAt(slot) + SLOT_STATE] !== SLOT_LIVE) return -1;
    return slot;
  }

  /** Place in {@link words} of the four words of the external address of a slot. */
  externalAddressAt(slot: number): number {
    return directoryAt(chunkOfSlot(slot)) + DIRECTORY_ADDRESS;
  }

  /** External port or ICMP identifier of a slot, host order. */
  externalPort(slot: number): number {
    const place = this.words[directoryAt(chunkOfSlot(slot)) + DIRECTORY_PLACE]!;
    return ((place & 0xffff) << CHUNK_SHIFT) | ((slot % CHUNK_SLOTS) & (CHUNK_PORTS - 1));
  }

  /** Address space of the egress of a slot. */
  egressSpace(slot: number): number {
    return this.words[directoryAt(chunkOfSlot(slot)) + DIRECTORY_PLACE]! >>> 16;
  }

  /** Family of a slot, 4 or 6. */
  family(slot: number): number {
    return this.words[directoryAt(chunkOfSlot(slot)) + DIRECTORY_FAMILY]!;
  }

  /** Place in {@link words} of the four words of the internal address of a slot. */
  internalAddressAt(slot: number): number {
    return this.slotAt(slot) + SLOT_ADDRESS;
  }

  /** Internal port or ICMP identifier of a slot, host order. */
  internalPort(slot: number): number {
    return this.words[this.slotAt(slot) + SLOT_OWNER]! & 0xffff;
  }

  /** Address space of the site that owns a slot. */
  siteSpace(slot: number): number {
    return this.words[this.slotAt(slot) + SLOT_OWNER]! >>> 16;
  }

  private hostHash(space: number, a0: number, a1: number, a2: number, a3: number): number {
    let hash = mixWord(this.seed, space, this.multiplier);
    hash = mixWord(hash, a0, this.multiplier);
    hash = mixWord(hash, a1, this.multiplier);
    hash = mixWord(hash, a2, this.multiplier);
    return finishHash(mixWord(hash, a3, this.multiplier));
  }

  private slotAt(slot: number): number {
    return this.firstSlotAt + slot * SLOT_WORDS;
  }

  /** The slot of a new mapping, of the address that the host prefers or of another one. Takes nothing. */
  private choose(
    stock: PortStock,
    egress: number,
    family: number,
    kind: number,
    space: number,
    hostHash: number,
    nowMs: number,
  ): number {
    const group = this.heap.pools.group(egress, family);
    if (group === undefined) return TRANSLATION_NO_ADDRESS;
    const preferred = group.length === 1 ? 0 : preferredPool(group, hostHash);
    let answer = this.chooseOf(stock, group[preferred]!.index, kind, space, nowMs);
    for (let i = 1; answer < 0 && i < group.length; i++) {
      const pool = group[(preferred + i) % group.length]!;
      // Where one address has no ports and another's quota is used up, it is ports that are missing.
      answer = Math.max(answer, this.chooseOf(stock, pool.index, kind, space, nowMs));
    }
    return answer;
  }

  /** A slot of a pool for a site: of the free ones, or of what the site itself has held. */
  private chooseOf(stock: PortStock, pool: number, kind: number, space: number, nowMs: number): number {
    const poolClass = pool * CLASSES + kind;
    const quota = this.heap.pools.pools[pool]!.quotaPerSite;
    const live = stock.liveOf(poolClass, space);
    if (live >= quota) return TRANSLATION_QUOTA;
    if (stock.firstFree(poolClass) < 0) stock.expire(nowMs, ALL);
    if (live + stock.heldOf(poolClass, space) < quota && stock.mayTake(poolClass, space)) {
      return stock.firstFree(poolClass);
    }
    const own = stock.oldestHeld(poolClass, space);
    return own < 0 ? TRANSLATION_NO_PORTS : own;
  }

  /** Whether a held slot may become its endpoint's mapping again: not beyond the site's quota. */
  private mayRevive(slot: number, kind: number, space: number): boolean {
    const heap = this.heap;
    const pool = heap.poolOf[slot]!;
    return heap.liveOf(pool * CLASSES + kind, space) < heap.pools.pools[pool]!.quotaPerSite;
  }

  /** Makes a chosen slot nobody's: out of the free list, or out of what its site has held. */
  private take(slot: number, nowMs: number): void {
    const heap = this.heap;
    const at = this.slotAt(slot);
    if (this.words[at + SLOT_STATE] === SLOT_HELD) {
      // Its hold goes on against other sites: the end stays in the slot.
      heap.index.remove(slot);
      heap.leaveHeld(slot);
      return;
    }
    heap.leaveFree(slot);
    this.words[at + SLOT_UNTIL] = nowMs;
  }

  /** HELD to LIVE, for the endpoint that stands in the slot. */
  private revive(slot: number): void {
    this.heap.leaveHeld(slot);
    this.words[this.slotAt(slot) + SLOT_REFERENCES] = 0;
    this.words[this.slotAt(slot) + SLOT_STATE] = SLOT_LIVE;
    this.heap.countLive(slot, 1);
  }

  /** LIVE to HELD; the end stands in the slot already. */
  private hold(slot: number): void {
    const at = this.slotAt(slot);
    this.words[at + SLOT_REFERENCES] = 0;
    this.words[at + SLOT_STATE] = SLOT_HELD;
    this.heap.countLive(slot, -1);
    this.heap.enterHeld(slot);
  }
}
