/**
 * What every site uses of every pool: live and held slots, and the held ones in the order of their release.
 *
 * An account is opened by the first mapping of a site in a pool and protocol class, and lives until the pools
 * change. Only opening one may allocate (tables double).
 *
 * Neighbours: `translation.ts`, which alone decides what an account may do.
 */
import { finishHash } from './hash.ts';
import { SlotLists } from './slot-lists.ts';

const INITIAL_TABLE = 256;

export class SiteAccounts {
  /** Held slots of each account, oldest release first: the list has the account's number. */
  readonly heldSlots: SlotLists;
  /** Live slots by account. */
  live: Int32Array;
  /** Held slots by account. */
  held: Int32Array;
  /** Open addressing: key (0: empty), and the account's number at the same place. */
  private keys: Int32Array;
  private numbers: Int32Array;
  private count: number;

  constructor(slots: number) {
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

  /** The slot that the site released first of those which are held, or -1. */
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
