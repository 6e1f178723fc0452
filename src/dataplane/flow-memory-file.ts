/**
 * The flow memory's file: opened if it is right for the plan, carried over into a new one if it has other sizes,
 * made anew if it cannot be used.
 *
 * ```
 *   file ── of this boot and layout? ── large enough for the plan? ──► used as it is
 *             │ no                        │ no
 *             ▼                           ▼
 *          new, empty                  new, everything carried over      both: written beside, then renamed
 * ```
 *
 * Always a new file, not the old one cut to size: control may have that mapped, and whoever is killed in between
 * leaves it as it was. Neighbours: `flow/carry-over.ts`, `data-plane.ts`.
 */
import { existsSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { mapFile } from '../device/native.ts';
import { carryOver, roomyOptions } from '../flow/carry-over.ts';
import { FlowMemory, type FlowMemoryOptions, flowMemoryBytes } from '../flow/flow-memory.ts';
import { heldTupleWords } from '../flow/held-tuples.ts';
import { CHUNK_SLOTS, chunksOfRange, translationWords } from '../flow/translation-layout.ts';
import type { Plan } from '../pipeline/plan.ts';

/** Below this there is no header, and nothing to map. */
const LEAST_BYTES = 4096;
const UNUSABLE = 'the flow memory found cannot be used and is made anew';

/**
 * The flow memory at `path`, for a plan.
 *
 * @param warn told what is lost, if anything is
 * @throws NativeError if the file cannot be made or mapped
 */
export function openFlowMemory(
  path: string,
  plan: Plan,
  nowMs: number,
  warn: (text: string) => void,
): FlowMemory {
  const planned = flowMemoryOptions(plan);
  const found = findFlowMemory(path, planned.bootId, warn);
  const options = found === undefined ? planned : roomyOptions(planned, found);
  if (found !== undefined && hasSizes(found, options)) return found;

  const beside = `${path}.next`;
  rmSync(beside, { force: true });
  const memory = FlowMemory.create(mapFile(beside, flowMemoryBytes(options), { create: true }), options);
  if (found !== undefined) {
    const ended = carryOver(found, memory, nowMs);
    if (ended > 0) warn(`${ended} flows have no room in a flow memory for ${options.capacity}`);
  }
  renameSync(beside, path);
  return memory;
}

function findFlowMemory(path: string, bootId: string, warn: (text: string) => void): FlowMemory | undefined {
  if (!existsSync(path)) return undefined;
  const { size } = statSync(path);
  if (size < LEAST_BYTES) {
    warn(`${UNUSABLE}: ${size} bytes hold no header`);
    return undefined;
  }
  const buffer = mapFile(path, size);
  let found = FlowMemory.open(buffer);
  if (found.usable) {
    const { capacity, translation, heldTuples } = found.memory;
    const sizes = { translationBytes: translation.byteLength, heldTupleBytes: heldTuples.byteLength };
    found = FlowMemory.open(buffer, { capacity, ...sizes, bootId });
  }
  if (found.usable) {
    const { counters } = found.memory;
    const wrong = repairCounters(counters);
    if (wrong > 0)
      warn(`${wrong} of ${counters.length} counters in the flow memory were damaged and begin anew`);
    return found.memory;
  }
  warn(`${UNUSABLE}: ${found.text}`);
  return undefined;
}

/**
 * Sets what no counter can be to 0: those who read them expect numbers. Times are counted in fractions of a
 * millisecond. Returns how many there were.
 */
function repairCounters(counters: Float64Array): number {
  let wrong = 0;
  for (let at = 0; at < counters.length; at++) {
    const value = counters[at]!;
    if (value >= 0 && value <= Number.MAX_SAFE_INTEGER) continue;
    counters[at] = 0;
    wrong++;
  }
  return wrong;
}

function hasSizes(memory: FlowMemory, options: FlowMemoryOptions): boolean {
  return (
    memory.capacity === options.capacity &&
    memory.translation.byteLength === options.translationBytes &&
    memory.heldTuples.byteLength === options.heldTupleBytes
  );
}

/**
 * Sizes of a flow memory for a plan. Translation gets a slot for three of four flows, or what the plan's external
 * ports ask for if that is more; held tuples get room for the holds of every flow.
 */
function flowMemoryOptions(plan: Plan): FlowMemoryOptions {
  const capacity = plan.flowTable.maxFlows;
  let chunks = Math.ceil((capacity * 3) / 4 / CHUNK_SLOTS);
  let asked = 0;
  for (const port of plan.ports) {
    if (port.role !== 'egress') continue;
    // Twice: an address that was replaced keeps its place until its holds have ended.
    for (const pool of port.pools) asked += 2 * chunksOfRange(pool.portMin, pool.portMax);
  }
  if (asked > chunks) chunks = asked;
  return {
    capacity,
    translationBytes: translationWords(chunks) * 4,
    heldTupleBytes: heldTupleWords(capacity) * 4,
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
  };
}
