/**
 * The flow table: records in the flow memory, found by key in either direction.
 *
 * Life of a record:
 *
 * ```
 *            create             commit
 *    free ------------> made ------------> live
 *     ^                  |                  |
 *     |      remove      |      remove      |
 *     +<-----------------+<-----------------+
 *
 *    free   SHARED_STATE 0, SHARED_ID 0, in the chain of free records
 *    made   SHARED_STATE 0, SHARED_ID set, both keys in the index: the caller fills in the rest
 *    live   SHARED_STATE set: the record counts after a restart
 * ```
 *
 * A process that is killed between `create` and `commit` leaves a record without a state: the next one finds it
 * free. Free records are used oldest freed first, so that a record number does not soon mean another flow.
 * Records are chained through their own `SHARED_LAST_SEEN`, which costs no memory.
 *
 * Nothing on the packet's way throws or allocates. Neighbours: `flow/layout.ts` (a record's words, which the
 * pipeline reads and writes directly), `flow/record.ts`, `flow/flow-index.ts`, `flow/timeouts.ts`, `flow/flow-memory.ts`.
 */
import type { PacketView } from '../wire/packet.ts';
import { FlowIndex, lineOf } from './flow-index.ts';
import type { FlowMemory } from './flow-memory.ts';
import {
  DIRECTION_WORDS,
  type FlowKey,
  keyMeta,
  ORIGINATOR,
  RECORD_WORDS,
  REPLY,
  SHARED_ID,
  SHARED_LAST_ORIGINATOR,
  SHARED_LAST_SEEN,
  SHARED_STATE,
  SHARED_TRANSLATION,
} from './layout.ts';
import { isValidRecord, nextLiveRecord, sameKey, writeKey } from './record.ts';
import { idleTimeoutMs, isTcpTimeoutClass, TIMEOUT_CLASSES, timeoutClassOf } from './timeouts.ts';

/** Answer of {@link FlowTable.create}: no record is free. */
export const CREATE_FULL = -1;
/** Answer of {@link FlowTable.create}: a flow has one of the keys already, or both keys are the same. */
export const CREATE_TAKEN = -2;

/** Link word of a free record: record + 1 of the next one, 0 at the end. */
const FREE_NEXT = SHARED_LAST_SEEN;
/** How far a flow may have been seen after the sweep's own time, without being taken for one of long ago. */
const CLOCK_SLACK_MS = 1000;

export class FlowTable {
  /** Words of all records: `record * RECORD_WORDS + ...`. */
  readonly words: Int32Array;
  /** The same bytes as float64: word `w` is element `w / 2`. */
  readonly floats: Float64Array;
  /** Records there are. */
  readonly capacity: number;
  /** Records in use, made or live. */
  live = 0;
  /** Flows found in the memory when this table was built. */
  readonly restored: number;
  /** Records that said they were live and were not usable, when this table was built. */
  readonly discarded: number;
  private readonly memory: FlowMemory;
  private readonly index: FlowIndex;
  private freeHead = 0;
  private freeTail = 0;
  private sweepAt = 0;
  private newestId: number;
  /** Idle times in force during a sweep, by class. */
  private readonly idleMs = new Int32Array(TIMEOUT_CLASSES);

  /** Builds the table over a flow memory, and its index from the records that it finds valid. */
  constructor(memory: FlowMemory) {
    this.words = memory.records;
    this.floats = memory.recordFloats;
    this.capacity = memory.capacity;
    this.memory = memory;
    this.index = new FlowIndex(memory.records, memory.capacity, memory.hashSeed0, memory.hashSeed1);
    this.newestId = memory.newestFlowId;
    this.discarded = this.rebuild();
    this.restored = this.live;
  }

  /**
   * The flow that a packet arriving from `space` belongs to: `record * 2 + direction`, or -1. A record that is
   * made and not committed is found too.
   */
  find(view: PacketView, space: number): number {
    return this.index.find(
      view.src0,
      view.src1,
      view.src2,
      view.src3,
      view.dst0,
      view.dst1,
      view.dst2,
      view.dst3,
      view.ports,
      keyMeta(space, view.protocol, view.family),
    );
  }

  /**
   * The flow of a packet that we sent **into** `space` and that an ICMP error from there quotes: looks up the
   * quoted tuple with source and destination swapped. The direction of the answer is the one in which the error
   * travels: the opposite of the quoted packet's. -1 if there is none.
   */
  findReversed(quote: PacketView, space: number): number {
    return this.index.find(
      quote.dst0,
      quote.dst1,
      quote.dst2,
      quote.dst3,
      quote.src0,
      quote.src1,
      quote.src2,
      quote.src3,
      (quote.ports >>> 16) | (quote.ports << 16),
      keyMeta(space, quote.protocol, quote.family),
    );
  }

  /** `record * 2 + direction` of the flow that has this key, or -1. */
  findKey(key: FlowKey): number {
    return this.index.find(
      key.src0,
      key.src1,
      key.src2,
      key.src3,
      key.dst0,
      key.dst1,
      key.dst2,
      key.dst3,
      key.ports,
      key.meta,
    );
  }

  /** Whether a flow has this key, in either direction. */
  has(key: FlowKey): boolean {
    return this.findKey(key) >= 0;
  }

  /**
   * Makes a record: both keys written and indexed, an id given, everything else 0, its state too. The caller
   * fills it in and calls {@link commit}, or {@link remove} to give it up. Returns the record's number,
   * {@link CREATE_FULL} or {@link CREATE_TAKEN}. IPv4 keys have 0 in the first three words of each address.
   */
  create(originator: FlowKey, reply: FlowKey): number {
    const record = this.freeHead - 1;
    if (record < 0) return CREATE_FULL;
    if (this.has(originator) || this.has(reply) || sameKey(originator, reply)) return CREATE_TAKEN;
    const words = this.words;
    const base = record * RECORD_WORDS;
    this.freeHead = words[base + FREE_NEXT]!;
    if (this.freeHead === 0) this.freeTail = 0;
    for (let at = base + RECORD_WORDS - 1; at >= base; at--) words[at] = 0;
    writeKey(words, base, originator);
    writeKey(words, base + DIRECTION_WORDS, reply);
    const id = this.newestId === -1 ? 1 : (this.newestId + 1) | 0;
    words[base + SHARED_ID] = id;
    this.newestId = id;
    this.memory.newestFlowId = id;
    this.index.insert(record * 2 + ORIGINATOR);
    this.index.insert(record * 2 + REPLY);
    this.live++;
    return record;
  }

  /**
   * Makes a record count: `state` is `FLOW_LIVE | class << 8 | flags`. The last store of a creation.
   */
  commit(record: number, state: number): void {
    this.words[record * RECORD_WORDS + SHARED_STATE] = state;
  }

  /**
   * Frees a record, made or live. Whatever else the flow holds (a translation, a place in a budget) its owner
   * gives back first; so does he read what he still needs of the record. Freeing a free record does nothing.
   */
  remove(record: number): void {
    const words = this.words;
    const base = record * RECORD_WORDS;
    if (words[base + SHARED_ID] === 0) return;
    words[base + SHARED_STATE] = 0;
    this.index.delete(record * 2 + ORIGINATOR);
    this.index.delete(record * 2 + REPLY);
    this.chainFree(record);
    this.live--;
  }

  /**
   * Looks at the next `records` records, beginning where the last call ended, and calls back for each live flow
   * that has been idle for longer than its class allows. Whoever is called back ends the flow: it must call
   * {@link remove}, else the flow is reported again by the next round. Other flows may be removed and made
   * meanwhile. The idle times shrink as the table fills (`flow/timeouts.ts`).
   *
   * A flow is refreshed by packets of either direction; one that holds a translation and is not TCP only by its
   * originator's (RFC 4787 REQ-6).
   */
  sweep(nowMs: number, records: number, onExpired: (record: number) => void): void {
    const words = this.words;
    const capacity = this.capacity;
    const idleMs = this.idleMs;
    const fillPermille = Math.floor((this.live * 1000) / capacity);
    for (let number = 0; number < TIMEOUT_CLASSES; number++) {
      idleMs[number] = idleTimeoutMs(number, fillPermille);
    }
    const count = Math.min(records, capacity);
    let record = this.sweepAt;
    for (let looked = 0; looked < count; looked++) {
      const base = record * RECORD_WORDS;
      const state = words[base + SHARED_STATE]!;
      if (state !== 0) {
        const number = timeoutClassOf(state);
        const byOriginator = words[base + SHARED_TRANSLATION] !== 0 && !isTcpTimeoutClass(number);
        const seenMs = words[base + (byOriginator ? SHARED_LAST_ORIGINATOR : SHARED_LAST_SEEN)]!;
        // Unsigned: a difference that has become negative is one of more than 24 days.
        if ((nowMs - seenMs + CLOCK_SLACK_MS) >>> 0 >= idleMs[number]! + CLOCK_SLACK_MS) onExpired(record);
      }
      record = record + 1 === capacity ? 0 : record + 1;
    }
    this.sweepAt = record;
  }

  /**
   * Calls `onMatch` for every live flow that `matches` picks. As with {@link sweep}, whoever is called back
   * ends the flow. Returns how many were picked. For the control path: it passes over the whole table.
   */
  flush(matches: (record: number) => boolean, onMatch: (record: number) => void): number {
    let picked = 0;
    for (let record = this.next(-1); record >= 0; record = this.next(record)) {
      if (!matches(record)) continue;
      picked++;
      onMatch(record);
    }
    return picked;
  }

  /** The first live record after `record` (-1 to begin), or -1. */
  next(record: number): number {
    return nextLiveRecord(this.words, this.capacity, record);
  }

  /** Checks everything the table promises about itself; returns what does not hold. For tests. */
  verify(): string[] {
    const problems: string[] = [];
    const words = this.words;
    const entries = new Uint8Array(this.capacity * 2);
    this.index.forEach((ref) => {
      if (entries[ref]! > 0) problems.push(`ref ${ref} is indexed twice`);
      entries[ref] = 1;
    });
    let used = 0;
    for (let record = 0; record < this.capacity; record++) {
      const base = record * RECORD_WORDS;
      const inUse = words[base + SHARED_ID] !== 0;
      if (inUse) used++;
      else if (words[base + SHARED_STATE] !== 0) problems.push(`record ${record} has a state and no id`);
      for (let ref = record * 2; ref < record * 2 + 2; ref++) {
        if (inUse !== (entries[ref] === 1)) problems.push(`ref ${ref}: in use ${inUse}, indexed ${!inUse}`);
        if (inUse && this.index.findLine(words, lineOf(ref)) !== ref)
          problems.push(`ref ${ref} is not found`);
      }
    }
    if (used !== this.live) problems.push(`${used} records are in use, ${this.live} counted`);
    let free = 0;
    let last = 0;
    for (let link = this.freeHead; link !== 0 && free <= this.capacity; free++) {
      const base = (link - 1) * RECORD_WORDS;
      if (words[base + SHARED_ID] !== 0) problems.push(`record ${link - 1} is free and in use`);
      last = link;
      link = words[base + FREE_NEXT]!;
    }
    if (free !== this.capacity - used) problems.push(`${free} records are chained, ${used} in use`);
    if (last !== this.freeTail) problems.push(`the chain ends at ${last - 1}, not ${this.freeTail - 1}`);
    return problems;
  }

  /** Indexes the records that are valid and frees the others. Returns how many said they were live in vain. */
  private rebuild(): number {
    const words = this.words;
    let discarded = 0;
    for (let record = 0; record < this.capacity; record++) {
      const base = record * RECORD_WORDS;
      if (words[base + SHARED_STATE] === 0) {
        this.chainFree(record);
      } else if (!isValidRecord(words, base)) {
        words[base + SHARED_STATE] = 0;
        this.chainFree(record);
        discarded++;
      } else {
        discarded += this.adopt(record);
      }
    }
    this.memory.newestFlowId = this.newestId;
    return discarded;
  }

  /** Indexes a valid record, unless a later flow has one of its keys. Returns how many records had to go. */
  private adopt(record: number): number {
    const words = this.words;
    const base = record * RECORD_WORDS;
    const id = words[base + SHARED_ID]!;
    let discarded = 0;
    for (let direction = 0; direction < 2; direction++) {
      const taken = this.index.findLine(words, base + direction * DIRECTION_WORDS);
      if (taken < 0) continue;
      discarded++;
      if (((id - words[(taken >> 1) * RECORD_WORDS + SHARED_ID]!) | 0) <= 0) {
        words[base + SHARED_STATE] = 0;
        this.chainFree(record);
        return discarded;
      }
      this.remove(taken >> 1);
    }
    this.index.insert(record * 2 + ORIGINATOR);
    this.index.insert(record * 2 + REPLY);
    this.live++;
    if (((id - this.newestId) | 0) > 0) this.newestId = id;
    return discarded;
  }

  /** Marks a record free and puts it behind all other free ones. */
  private chainFree(record: number): void {
    const words = this.words;
    const base = record * RECORD_WORDS;
    words[base + SHARED_ID] = 0;
    words[base + FREE_NEXT] = 0;
    if (this.freeTail === 0) this.freeHead = record + 1;
    else words[(this.freeTail - 1) * RECORD_WORDS + FREE_NEXT] = record + 1;
    this.freeTail = record + 1;
  }
}
