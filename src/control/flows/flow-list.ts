/**
 * Lists flows out of the mapped flow memory.
 *
 * ```
 *  records  ──►  state set? ──► asked for? ──► copied whole, still asked for ──► named  ──►  page
 *           in slices, other work of control in between
 * ```
 *
 * A page is in the order of the records, which is no order of time: a flow keeps its place for as long as it lives,
 * so that going on behind a cursor shows no flow twice and misses none that was there all the time. Sorted
 * listings are the top of all flows and have no next page.
 */
import { setImmediate } from 'node:timers/promises';
import type { RecordTest } from '../../flow/flow-conditions.ts';
import type { FlowMemory } from '../../flow/flow-memory.ts';
import {
  DIRECTION_BYTES,
  DIRECTION_PACKETS,
  DIRECTION_WORDS,
  RECORD_BYTES,
  RECORD_WORDS,
  SHARED_CREATED,
  SHARED_STATE,
} from '../../flow/layout.ts';
import { snapshot } from './mapped-flow-memory.ts';

/** Records looked at before other work of the process has its turn: some milliseconds. */
const SLICE_RECORDS = 32_768;

/** What a sorted listing begins with: most bytes or packets of both directions, or the youngest. */
export type FlowOrder = 'bytes' | 'packets' | 'newest';

export interface ListOptions {
  /** Most flows of a page. */
  readonly limit: number;
  /** Record behind which to go on; -1: from the beginning. Not with `order`. */
  readonly after: number;
  readonly order?: FlowOrder | undefined;
}

/** Copies of records, to be viewed one by one. */
export interface ListedRecords {
  readonly copies: readonly RecordCopy[];
  /** Flows that the conditions pick, in the whole table or up to the end of this page. */
  readonly matched: number;
  /** Where the next page goes on; undefined: there is none. */
  readonly next: number | undefined;
}

/** One record's bytes, at one moment. */
export class RecordCopy {
  readonly words: Int32Array;
  readonly floats: Float64Array;

  constructor() {
    const buffer = new ArrayBuffer(RECORD_BYTES);
    this.words = new Int32Array(buffer);
    this.floats = new Float64Array(buffer);
  }
}

/** Lists the flows that `test` picks. */
export async function listRecords(
  memory: FlowMemory,
  test: RecordTest,
  options: ListOptions,
): Promise<ListedRecords> {
  const { order, limit } = options;
  if (order !== undefined) return sortedRecords(memory, test, limit, order);
  const copies: RecordCopy[] = [];
  let last = -1;
  let hasMore = false;
  await eachMatch(memory, test, options.after, (copy, record) => {
    hasMore = copies.length === limit;
    if (hasMore) return false;
    copies.push(copy);
    last = record;
    return true;
  });
  return { copies, matched: copies.length, next: hasMore ? last : undefined };
}

/** Live flows in the table, now. */
export async function countFlows(memory: FlowMemory): Promise<number> {
  const { records, capacity } = memory;
  let flows = 0;
  for (let record = 0; record < capacity; record++) {
    if (records[record * RECORD_WORDS + SHARED_STATE] !== 0) flows++;
    if (record % SLICE_RECORDS === SLICE_RECORDS - 1) await setImmediate();
  }
  return flows;
}

async function sortedRecords(
  memory: FlowMemory,
  test: RecordTest,
  limit: number,
  order: FlowOrder,
): Promise<ListedRecords> {
  let kept: { readonly copy: RecordCopy; readonly weight: number }[] = [];
  let matched = 0;
  const shorten = (): void => {
    kept = kept.sort((one, other) => other.weight - one.weight).slice(0, limit);
  };
  await eachMatch(memory, test, -1, (copy) => {
    matched++;
    kept.push({ copy, weight: weightOf(copy, order) });
    // So that the memory which this takes depends on what is asked for, not on the table.
    if (kept.length >= 4 * limit + 1024) shorten();
    return true;
  });
  shorten();
  return { copies: kept.map(({ copy }) => copy), matched, next: undefined };
}

function weightOf({ words, floats }: RecordCopy, order: FlowOrder): number {
  if (order === 'newest') return words[SHARED_CREATED]!;
  const at = order === 'bytes' ? DIRECTION_BYTES : DIRECTION_PACKETS;
  return floats[at >> 1]! + floats[(DIRECTION_WORDS + at) >> 1]!;
}

/** Calls `visit` with a copy of every record that is meant, until it answers false. */
async function eachMatch(
  memory: FlowMemory,
  test: RecordTest,
  after: number,
  visit: (copy: RecordCopy, record: number) => boolean,
): Promise<void> {
  const { records, capacity } = memory;
  let copy = new RecordCopy();
  for (let record = after + 1; record < capacity; record++) {
    const base = record * RECORD_WORDS;
    // The first test may see two flows in one record; what it lets pass is judged again, whole.
    if (
      records[base + SHARED_STATE] !== 0 &&
      test(records, base) &&
      snapshot(records, record, copy.words) &&
      test(copy.words, 0)
    ) {
      if (!visit(copy, record)) return;
      copy = new RecordCopy();
    }
    if (record % SLICE_RECORDS === SLICE_RECORDS - 1) await setImmediate();
  }
}
