/**
 * The flow memory as control sees it: the data plane's file, mapped for reading only.
 *
 * Reading takes nothing from the data plane but memory bandwidth: no message, no lock. Records change while one
 * reads; {@link snapshot} says whether what was copied was one flow's from the first word to the last.
 *
 * Neighbours: `dataplane/flow-memory-file.ts` (who makes the file, and puts a new one in its place when sizes
 * change), `flow/record.ts`.
 */
import { statSync } from 'node:fs';
import { mapFile } from '../../device/native.ts';
import { FlowMemory } from '../../flow/flow-memory.ts';
import { RECORD_WORDS, SHARED_ID, SHARED_STATE } from '../../flow/layout.ts';
import { isValidRecord } from '../../flow/record.ts';

/** Keeps the mapping of one path up to date. */
export class MappedFlowMemory {
  readonly #path: string;
  #memory: FlowMemory | undefined;
  #identity = '';

  constructor(path: string) {
    this.#path = path;
  }

  /** The flow memory that is at the path now; undefined if there is none that can be read. */
  get(): FlowMemory | undefined {
    const found = statSync(this.#path, { throwIfNoEntry: false });
    if (found === undefined) return undefined;
    const identity = `${found.dev}.${found.ino}.${found.size}`;
    if (identity !== this.#identity || this.#memory === undefined) {
      this.#memory = mapped(this.#path, found.size);
      this.#identity = identity;
    }
    return this.#memory;
  }
}

function mapped(path: string, size: number): FlowMemory | undefined {
  if (size === 0) return undefined;
  try {
    const result = FlowMemory.open(mapFile(path, size, { readOnly: true }));
    return result.usable ? result.memory : undefined;
  } catch {
    // Replaced or removed since it was looked at: there will be another one.
    return undefined;
  }
}

/**
 * Copies a record of a memory that another process writes into `copy`. False if it holds no flow, or became
 * another one's meanwhile. A record's id and state are the first things to go when its flow ends, and its state the
 * last to come: the same id with a state before and behind the copy means one flow in between. Counters and
 * times of a flow may be a packet apart.
 */
export function snapshot(words: Int32Array, record: number, copy: Int32Array): boolean {
  const base = record * RECORD_WORDS;
  const id = Atomics.load(words, base + SHARED_ID);
  if (id === 0 || Atomics.load(words, base + SHARED_STATE) === 0) return false;
  for (let word = 0; word < RECORD_WORDS; word++) copy[word] = words[base + word]!;
  if (Atomics.load(words, base + SHARED_STATE) === 0 || Atomics.load(words, base + SHARED_ID) !== id) {
    return false;
  }
  return copy[SHARED_ID] === id && isValidRecord(copy, 0);
}
