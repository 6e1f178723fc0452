/**
 * The ports that a new mapping could have, as if holds that have ended were gone: what acquiring does first, here
 * only in the mind. For questions (`flows explain`), which must not change anything; not for the packet path.
 *
 * Neighbours: `translation.ts` (chooses a port of this as it does of the real one), `translation-heap.ts`.
 */
import type { PortStock, TranslationHeap } from './translation-heap.ts';
import { CLASSES, classOfSlot } from './translation-layout.ts';

export class TranslationPreview implements PortStock {
  private readonly heap: TranslationHeap;
  /** Slots whose holds have ended, in the order in which they would be freed; undefined: not looked for yet. */
  private ended: readonly number[] | undefined;
  /** Those of them that count as free. */
  private readonly freed: Set<number>;

  constructor(heap: TranslationHeap) {
    this.heap = heap;
    this.ended = undefined;
    this.freed = new Set();
  }

  /** Whether a slot is held, and counts as free here. */
  isFreed(slot: number): boolean {
    return this.freed.has(slot);
  }

  expire(nowMs: number, most: number): void {
    this.ended ??= this.heap.wheel.ended(nowMs);
    const end = Math.min(this.ended.length, this.freed.size + most);
    for (let at = this.freed.size; at < end; at++) this.freed.add(this.ended[at]!);
  }

  liveOf(poolClass: number, space: number): number {
    return this.heap.liveOf(poolClass, space);
  }

  heldOf(poolClass: number, space: number): number {
    return this.heap.heldOf(poolClass, space) - (this.releasedOf(poolClass).get(space) ?? 0);
  }

  mayTake(poolClass: number, space: number): boolean {
    const released = this.releasedOf(poolClass);
    const used = this.liveOf(poolClass, space) + this.heldOf(poolClass, space);
    let free = this.heap.freeOf(poolClass);
    for (const count of released.values()) free += count;
    return this.heap.accounts.mayTakeAfter(poolClass, space, used, free, released);
  }

  firstFree(poolClass: number): number {
    const free = this.heap.firstFree(poolClass);
    if (free >= 0) return free;
    for (const slot of this.freed) if (this.poolClassOf(slot) === poolClass) return slot;
    return -1;
  }

  oldestHeld(poolClass: number, space: number): number {
    let slot = this.heap.oldestHeld(poolClass, space);
    while (slot >= 0 && this.freed.has(slot)) slot = this.heap.accounts.heldSlots.after(slot);
    return slot;
  }

  /** How many slots of a pool's class count as free, by the site that had them. */
  private releasedOf(poolClass: number): ReadonlyMap<number, number> {
    const released = new Map<number, number>();
    for (const slot of this.freed) {
      if (this.poolClassOf(slot) !== poolClass) continue;
      const space = this.heap.ownerOf(slot);
      released.set(space, (released.get(space) ?? 0) + 1);
    }
    return released;
  }

  /** Negative for a slot that may not be allocated. */
  private poolClassOf(slot: number): number {
    const pool = this.heap.poolOf[slot]!;
    return pool < 0 ? -1 : pool * CLASSES + classOfSlot(slot);
  }
}
