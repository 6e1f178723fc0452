/**
 * Memory that plugins keep: a plugin that takes more and more would end the data plane, so it is tripped before.
 *
 * ```
 *   heap in use, of what V8 may use    0 ............ 40 % ................ 60 % .......... 100 %
 *                                      nothing        allocation in timed   the plugin with the largest
 *                                                     calls is summed up    share is tripped: memory
 * ```
 *
 * In use is what lies in the heap, and what array buffers have taken outside of it since the first plan was taken: what is there by
 * then is the data plane's own.
 *
 * Below that nothing is measured, so that it costs nothing. What is summed up is an estimate: one call in 32 is looked at,
 * and what was collected during a call is not seen. Its module goes with the plugin's instance, as far as nothing outside
 * of that holds it.
 *
 * Neighbours: `pipeline/plugin-meter.ts` (timed calls), `plugin-side.ts` (trips).
 */
import { getHeapStatistics } from 'node:v8';
import { PLUGIN_TIMED_CALLS } from '../flow/counters.ts';
import type { AllocationSampler } from '../pipeline/plugin-meter.ts';

/** How often the heap is looked at, milliseconds. */
const LOOK_MS = 50;
/** Shares of what the heap may grow to. */
const SAMPLED_SHARE = 0.4;
const TRIPPED_SHARE = 0.6;
/** A plugin that took less than this of it is not to blame. */
const BLAMED_SHARE = 0.1;
/** After one was tripped, the collector gets so much time, milliseconds. */
const REST_MS = 5000;
/** What of V8's limit is for young objects only, and cannot be kept. */
const YOUNG_BYTES = 192 * 1024 * 1024;
/** However small that limit is, so much of it is for others. */
const LEAST_OLD_SHARE = 0.4;
const PLACES = 16;
const MEGABYTE = 1024 * 1024;

/** A plugin that takes too much. */
export interface Blamed {
  readonly place: number;
  /** A sentence. */
  readonly message: string;
}

export class HeapWatch implements AllocationSampler {
  /** Bytes, by place in the chain. */
  private readonly shares = new Float64Array(PLACES);
  private beganBytes = 0;
  private lookedMs: number;
  private restUntilMs: number;
  /** Array buffers of the data plane's own. */
  private ownBytes = 0;

  constructor(nowMs: number) {
    this.lookedMs = nowMs;
    this.restUntilMs = nowMs;
  }

  /** The first plan was taken: what lies outside of the heap now is the data plane's own. */
  begun(): void {
    if (this.ownBytes === 0) this.ownBytes = bufferBytes();
  }

  begin(): void {
    this.beganBytes = heapBytes() + bufferBytes();
  }

  /** `stands`: for how many calls this one is looked at. */
  end(place: number, stands = PLUGIN_TIMED_CALLS): void {
    const bytes = heapBytes() + bufferBytes() - this.beganBytes;
    if (bytes > 0 && place < PLACES) this.shares[place]! += bytes * stands;
  }

  /** Looks at the heap if it is time. `sample` is told whether calls are to be looked at from now on. */
  look(nowMs: number, sample: (on: boolean) => void): Blamed | undefined {
    if (((nowMs - this.lookedMs) | 0) < LOOK_MS) return undefined;
    this.lookedMs = nowMs;
    const { used_heap_size: inHeap, heap_size_limit: whole } = getHeapStatistics();
    const used = inHeap + Math.max(0, bufferBytes() - this.ownBytes);
    const limit = Math.max(whole - YOUNG_BYTES, whole * LEAST_OLD_SHARE);
    const isNarrow = used > limit * SAMPLED_SHARE;
    sample(isNarrow);
    if (!isNarrow) {
      this.shares.fill(0);
      return undefined;
    }
    if (used < limit * TRIPPED_SHARE || ((nowMs - this.restUntilMs) | 0) < 0) return undefined;
    const place = this.shares.indexOf(Math.max(...this.shares));
    const bytes = this.shares[place]!;
    if (bytes < limit * BLAMED_SHARE) return undefined;
    this.restUntilMs = (nowMs + REST_MS) | 0;
    this.shares.fill(0);
    const [usedMb, limitMb, shareMb] = [used, limit, bytes].map((size) => Math.round(size / MEGABYTE));
    return {
      place,
      message: `${usedMb} of ${limitMb} MB of memory are in use, and it took about ${shareMb} MB of the last`,
    };
  }
}

function heapBytes(): number {
  return getHeapStatistics().used_heap_size;
}

/** Of array buffers and whatever else lies outside of the heap for something in it; those that are shared count, too. */
function bufferBytes(): number {
  const { external, arrayBuffers } = process.memoryUsage();
  return Math.max(external, arrayBuffers);
}
