/**
 * What every site uses of every pool: live and held slots, and the held ones in the order of their release.
 *
 * An account is opened by the first mapping of a site in a pool and protocol class, and lives until the pools
 * change. Only opening one may allocate (tables double). What sites are owed of a pool: `site-shares.ts`.
 *
 * Neighbours: `translation.ts`, which alone decides what an account may do.
 */
import { finishHash } from './hash.ts';
import { mayTake, owed, SPACES } from './site-shares.ts';
import { SlotLists } from './slot-lists.ts';

const INITIAL_TABLE = 256;

export class SiteAccounts {
  /** Held slots of each account, oldest release first: the list has the account's number. */
  readonly heldSlots: SlotLists;
  /** Live slots by account. */
  private live: Int32Array;
  /** Held slots by account. */
  private held: Int32Array;
  /** What a site is guaranteed of a pool's class, and what all sites are still owed of it, by pool's class. */
  private readonly guarantees: Int32Array;
  private readonly owedToAll: Int32Array;
  /** By space: 1 where it is a site that has a guarantee. */
  private readonly isSite = new Uint8Array(SPACES);
  /** Open addressing: key (0: empty), and the account's number at the same place. */
  private keys: Int32Array;
  private numbers: Int32Array;
  private count: number;

  /**
   * @param slots slots of the section
   * @param guarantees what each site is guaranteed, by pool's class
   * @param sites spaces of the sites that have a guarantee
   */
  constructor(slots: number, guarantees: Int32Array, sites: readonly number[]) {
    this.guarantees = guarantees;
    this.owedToAll = guarantees.map((guarantee) => guarantee * sites.length);
    for (const space of sites) this.isSite[space] = 1;
    this.heldSlots = new SlotLists(INITIAL_TABLE, slots);
    this.live = new Int32Array(INITIAL_TABLE);
    this.held = new Int32Array(INITIAL_TABLE);
    this.keys = new Int32Array(INITIAL_TABLE);
    this.numbers = new Int32Array(INITIAL_TABLE);
    this.count = 0;
  }

  /** Number of the account of this pool's class (0..32767) and this site (1..65535), opened if need be. */
  open(poolClass: number, space: number): number {
    const key = (poolClass << 16) | space;
    const keys = this.keys;
    const mask = keys.length - 1;
    let at = finishHash(key) & mask;
    while (keys[at] !== 0) {
      if (keys[at] === key) return this.numbers[at]!;
      at = (at + 1) & mask;
    }
    if (this.count * 2 >= keys.length) {
      this.grow();
      return this.open(poolClass, space);
    }
    const number = this.count++;
    keys[at] = key;
    this.numbers[at] = number;
    return number;
  }

  /** Adds to the live slots of an account. */
  addLive(account: number, poolClass: number, space: number, difference: number): void {
    this.settle(account, poolClass, space, difference);
    this.live[account] = this.live[account]! + difference;
  }

  /** Adds to the held slots of an account. */
  addHeld(account: number, poolClass: number, space: number, difference: number): void {
    this.settle(account, poolClass, space, difference);
    this.held[account] = this.held[account]! + difference;
  }

  /** Whether a site may take one more of so many free slots, as far as other sites are concerned. */
  mayTake(poolClass: number, space: number, free: number): boolean {
    const used = this.liveOf(poolClass, space) + this.heldOf(poolClass, space);
    return mayTake(this.guaranteeOf(poolClass, space), used, free, this.owedToAll[poolClass]!);
  }

  /**
   * The same if every other space had that many fewer; `released` counts by space, and what it has of this one is
   * already taken off `used`.
   */
  mayTakeAfter(
    poolClass: number,
    space: number,
    used: number,
    free: number,
    released: ReadonlyMap<number, number>,
  ): boolean {
    let owedToAll = this.owedToAll[poolClass]!;
    for (const [other, count] of released) {
      const guarantee = this.guaranteeOf(poolClass, other);
      const before = this.liveOf(poolClass, other) + this.heldOf(poolClass, other);
      owedToAll += owed(guarantee, before - count) - owed(guarantee, before);
    }
    return mayTake(this.guaranteeOf(poolClass, space), used, free, owedToAll);
  }

  private guaranteeOf(poolClass: number, space: number): number {
    return this.isSite[space] === 0 ? 0 : this.guarantees[poolClass]!;
  }

  /** What is owed changes with what is used. */
  private settle(account: number, poolClass: number, space: number, difference: number): void {
    const guarantee = this.guaranteeOf(poolClass, space);
    const used = this.live[account]! + this.held[account]!;
    this.owedToAll[poolClass] =
      this.owedToAll[poolClass]! + owed(guarantee, used + difference) - owed(guarantee, used);
  }

  /** Live slots of a site. */
  liveOf(poolClass: number, space: number): number {
    const account = this.find(poolClass, space);
    return account < 0 ? 0 : this.live[account]!;
  }

  /** Held slots of a site. */
  heldOf(poolClass: number, space: number): number {
    const account = this.find(poolClass, space);
    return account < 0 ? 0 : this.held[account]!;
  }

  /** The slot that the site released first of those which are held, or -1. {@link heldSlots} has those behind it. */
  oldestHeld(poolClass: number, space: number): number {
    const account = this.find(poolClass, space);
    return account < 0 ? -1 : this.heldSlots.first(account);
  }

  /** Number of an account, or -1 if it has not been opened. */
  private find(poolClass: number, space: number): number {
    const key = (poolClass << 16) | space;
    const keys = this.keys;
    const mask = keys.length - 1;
    for (let at = finishHash(key) & mask; keys[at] !== 0; at = (at + 1) & mask) {
      if (keys[at] === key) return this.numbers[at]!;
    }
    return -1;
  }

  private grow(): void {
    const keys = this.keys;
    const numbers = this.numbers;
    const length = keys.length * 2;
    const mask = length - 1;
    this.keys = new Int32Array(length);
    this.numbers = new Int32Array(length);
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!;
      if (key === 0) continue;
      let at = finishHash(key) & mask;
      while (this.keys[at] !== 0) at = (at + 1) & mask;
      this.keys[at] = key;
      this.numbers[at] = numbers[i]!;
    }
    const live = new Int32Array(length);
    const held = new Int32Array(length);
    live.set(this.live);
    held.set(this.held);
    this.live = live;
    this.held = held;
    this.heldSlots.reserve(length);
  }
}
