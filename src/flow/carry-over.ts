/**
 * From one flow memory into another of other sizes: when a plan asks for more or fewer flows, or for more external
 * ports, than the memory that is there was made for.
 *
 * ```
 *   records         copied one behind the other; those without room end: their tuples are held
 *   translation     every chunk keeps its number, so slots in records stay right; never fewer chunks
 *   held tuples     a bucket goes to every bucket that its tuples may now belong to; never fewer buckets
 *   counters, ids   copied
 * ```
 *
 * Nothing that is held may be lost, so the sections of translation and held tuples only grow ({@link roomyOptions}),
 * until the memory is removed. Nothing here is for the packet path. The old memory is only read: whoever is
 * killed in between finds it as it was.
 *
 * Neighbours: `flow/flow-memory.ts`; `dataplane/flow-memory-file.ts` (the files).
 */
import { holdFlow } from './flow-holds.ts';
import type { FlowMemory, FlowMemoryOptions } from './flow-memory.ts';
import { carryHeldTuples, HeldTuples } from './held-tuples.ts';
import { RECORD_WORDS, SHARED_STATE, SHARED_TRANSLATION } from './layout.ts';
import { isValidRecord, nextLiveRecord } from './record.ts';
import { ENDED_CRASH, holdMs, timeoutClassOf } from './timeouts.ts';
import { carryTranslation } from './translation-heap.ts';

/** Sizes of a memory for `planned` into which everything of `found` can be carried over. */
export function roomyOptions(planned: FlowMemoryOptions, found: FlowMemory): FlowMemoryOptions {
  return {
    ...planned,
    translationBytes: Math.max(planned.translationBytes, found.translation.byteLength),
    heldTupleBytes: Math.max(planned.heldTupleBytes, found.heldTuples.byteLength),
    hashSeed: [found.hashSeed0, found.hashSeed1],
  };
}

/**
 * Copies what is worth keeping of `from` into `to`, which is empty and was made with {@link roomyOptions}. Returns
 * the number of flows that found no room.
 */
export function carryOver(from: FlowMemory, to: FlowMemory, nowMs: number): number {
  to.counters.set(from.counters);
  carryTranslation(from.translation, to.translation);
  carryHeldTuples(from.heldTuples, to.heldTuples);
  let held: HeldTuples | undefined;
  const words = from.records;
  let copied = 0;
  let ended = 0;
  let record = nextLiveRecord(words, from.capacity, -1);
  for (; record >= 0; record = nextLiveRecord(words, from.capacity, record)) {
    const base = record * RECORD_WORDS;
    if (!isValidRecord(words, base)) continue;
    if (copied < to.capacity) {
      to.records.set(words.subarray(base, base + RECORD_WORDS), copied * RECORD_WORDS);
      copied++;
      continue;
    }
    ended++;
    // An external port without a flow is held by whoever opens the translation section.
    if (words[base + SHARED_TRANSLATION] !== 0) continue;
    held ??= new HeldTuples(to.heldTuples, to.hashSeed0);
    holdFlow(held, words, record, holdMs(timeoutClassOf(words[base + SHARED_STATE]!), ENDED_CRASH), nowMs);
  }
  to.lastAliveMs = from.lastAliveMs;
  to.newestFlowId = from.newestFlowId;
  to.plugins = from.plugins;
  return ended;
}
