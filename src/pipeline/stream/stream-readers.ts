/**
 * Shows new bytes of a stream to the plugins that read it, and finds out how far they may be delivered.
 *
 * ```
 *                 FROM of plugin a           NEXT (a FIN counts)
 *   ────────────────────┼──────────────────────┼──────>
 *                FROM of plugin b              │
 *   ─────────────┼─────────────────────────────┤        each plugin gets its bytes once, unless it needs more
 *                └─ JUDGED: the least of those that need more, else NEXT
 * ```
 *
 * Bytes lie in packet memory as they came, or are gathered from their pages if a plugin has to see them again or they
 * were held back. Neighbours: `streams.ts` (when), `pipeline/plugin-chain.ts` (calls the plugins).
 */
import {
  FOLLOWS_END,
  FOLLOWS_MORE,
  FOLLOWS_NO_ROOM,
  FOLLOWS_NOTHING_WANTED,
  FOLLOWS_TOO_LATE,
  STREAM_DONE,
  STREAM_DROP_FLOW,
  STREAM_NEED_MORE,
  STREAM_PASS,
  STREAM_RESET_FLOW,
  STREAM_UNPARSABLE,
  type StreamHandle,
} from '../../plugin/contract.ts';
import { DROP } from '../../plugin/drop-reasons.ts';
import {
  ACTION_DROP_FLOW,
  ACTION_PASS_FLOW,
  ACTION_PASS_PACKET,
  ACTION_REJECT,
  CAUSE_MEMORY,
  CAUSE_TIMEOUT,
  CAUSE_UNPARSABLE,
} from '../../plugin/failure-numbers.ts';
import type { FrameMemory } from '../../wire/frame.ts';
import {
  DONE_AT,
  FIN_AT,
  FINISHED,
  FIRST_HELD,
  FLAGS,
  FROM,
  JUDGED,
  LIMIT,
  NEXT,
  READERS,
  START,
  UNLIMITED,
  UNREAD,
} from './stream-layout.ts';
import type { StreamTable } from './stream-table.ts';

/** No answer of the contract. */
export const STREAM_UNKNOWN = 99;
/** A plugin that is shown so many bytes must decide; so fewer are ever held back for one. */
export const STREAM_HOLD_BYTES = 65_536;
/**
 * What can be shown at once: what is held, the longest segment behind it, and another in front of that on which nobody has
 * decided, because a plugin was ended while it was shown.
 */
export const GATHER_BYTES = STREAM_HOLD_BYTES + 2 * 65_536;

/** Instead of where fresh bytes lie in packet memory: in pages only. */
export const GATHERED = -1;

/** Who calls the plugins. */
export interface StreamReaders {
  /** The answer of the plugin at this place of the chain; if it fails, the complement of an action (`ACTION_...`). */
  read(
    plugin: number,
    flow: ReadFlow,
    bytes: Uint8Array,
    offset: number,
    length: number,
    follows: number,
  ): number;
  /** Counts a failure for this cause (`CAUSE_...`) and returns the action (`ACTION_...`) of the plugin's policy. */
  failed(plugin: number, cause: number, what: string): number;
}

/** The flow that bytes are shown of, and where among its bytes they begin. */
export type ReadFlow = { -readonly [Field in keyof StreamHandle]: StreamHandle[Field] };

export class StreamShow {
  /** After {@link show} did not answer 0: why the flow ends (a drop reason), and whether its ends are told. */
  reason = 0;
  reset = false;
  private readonly bytes: Uint8Array;
  private readonly table: StreamTable;
  private readonly gatherOffset: number;
  private readers: StreamReaders;

  /** `gatherOffset`: where {@link GATHER_BYTES} of packet memory begin. */
  constructor(memory: FrameMemory, table: StreamTable, gatherOffset: number, readers: StreamReaders) {
    this.bytes = memory.bytes;
    this.table = table;
    this.gatherOffset = gatherOffset;
    this.readers = readers;
  }

  setReaders(readers: StreamReaders): void {
    this.readers = readers;
  }

  /**
   * Shows what plugins have not seen or not decided on, up to NEXT, and sets JUDGED. The last bytes, from number `fresh`
   * on, lie at `freshOffset` of packet memory, or {@link GATHERED}. `limit` says what keeps plugins from needing more:
   * {@link FOLLOWS_MORE} for nothing. Returns 0, or 1 if the flow ends.
   */
  show(at: number, flow: ReadFlow, fresh: number, freshOffset: number, limit: number): number {
    const words = this.table.words;
    const next = words[at + NEXT];
    const isEnd = (words[at + FLAGS] & FINISHED) !== 0 && next === ((words[at + FIN_AT] + 1) | 0);
    const dataEnd = isEnd ? words[at + FIN_AT] : next;
    let readers = words[at + READERS];
    let judged = next;
    for (let i = 0; readers >>> i !== 0; i++) {
      if ((readers & (1 << i)) === 0) continue;
      const from = words[at + FROM + i];
      const last = words[at + LIMIT + i];
      const isLast = (words[at + UNLIMITED] & (1 << i)) === 0 && ((dataEnd - last) | 0) >= 0;
      const to = isLast ? last : dataEnd;
      const length = (to - from) | 0;
      let follows = limit;
      if (isEnd && to === dataEnd) follows = FOLLOWS_END;
      else if (isLast) follows = FOLLOWS_NOTHING_WANTED;
      else if (length === 0) continue;
      else if (follows === FOLLOWS_MORE && length >= STREAM_HOLD_BYTES) follows = FOLLOWS_NO_ROOM;
      flow.position = (from - words[at + START]) & 0x7fffffff;
      let answer = this.ask(at, i, flow, from, length, fresh, freshOffset, follows);
      if (answer === STREAM_NEED_MORE && follows === FOLLOWS_MORE) {
        if (((from - judged) | 0) < 0) judged = from;
        continue;
      }
      if (answer !== STREAM_PASS && answer !== STREAM_DONE) answer = this.judge(i, answer, follows);
      if (answer === STREAM_PASS) words[at + FROM + i] = to;
      else if (answer !== STREAM_DONE) return 1;
      if (answer !== STREAM_DONE && !isLast && !isEnd) continue;
      readers &= ~(1 << i);
      // At once: a plugin behind it may be ended in its call, and what follows here is not done.
      words[at + READERS] = readers;
    }
    words[at + JUDGED] = judged;
    if (readers === 0) this.finish(at);
    return 0;
  }

  /** Nobody reads any more: everything that is held may go. */
  finish(at: number): void {
    const words = this.table.words;
    const held = this.table.held;
    words[at + FLAGS] |= UNREAD;
    words[at + DONE_AT] = words[at + NEXT];
    let judged = words[at + NEXT];
    for (let one = words[at + FIRST_HELD]; one >= 0; one = held.next(one)) {
      if (((held.end(one) - judged) | 0) > 0) judged = held.end(one);
    }
    words[at + JUDGED] = judged;
  }

  /** The answer of a plugin to these bytes, as of {@link StreamReaders.read}; where there is no place to gather them, its flow ends. */
  private ask(
    at: number,
    plugin: number,
    flow: ReadFlow,
    from: number,
    length: number,
    fresh: number,
    freshOffset: number,
    follows: number,
  ): number {
    let offset = freshOffset + ((from - fresh) | 0);
    if (freshOffset === GATHERED || ((from - fresh) | 0) < 0) {
      if (length > GATHER_BYTES) return ~ACTION_DROP_FLOW;
      offset = this.gatherOffset;
      this.table.pages.read(at, from, length, offset);
    }
    return this.readers.read(plugin, flow, this.bytes, offset, length, follows);
  }

  /** What becomes of the flow by an answer that ends it, or by the plugin's failure policy: an answer again. */
  private judge(plugin: number, answer: number, follows: number): number {
    this.reset = answer === STREAM_RESET_FLOW;
    this.reason = DROP.policy;
    if (answer === STREAM_DROP_FLOW || answer === STREAM_RESET_FLOW) return STREAM_DROP_FLOW;
    if (answer === STREAM_NEED_MORE) {
      this.reason = DROP.stream_undecided;
      return this.act(this.readers.failed(plugin, causeOf(follows), UNDECIDED));
    }
    this.reason = DROP.plugin_failed;
    if (answer < 0) return this.act(~answer);
    if (answer === STREAM_UNPARSABLE)
      return this.act(this.readers.failed(plugin, CAUSE_UNPARSABLE, UNPARSABLE));
    this.reason = DROP.verdict_unsupported;
    return STREAM_DROP_FLOW;
  }

  /** A segment cannot be left out of a stream: what drops a packet elsewhere ends the flow here. */
  private act(action: number): number {
    if (action === ACTION_PASS_PACKET) return STREAM_PASS;
    if (action === ACTION_PASS_FLOW) return STREAM_DONE;
    this.reset = action === ACTION_REJECT;
    return STREAM_DROP_FLOW;
  }
}

const UNDECIDED = 'it needs more of a stream than it can have';
const UNPARSABLE = 'it cannot make sense of a stream';

/** Why it is a failure to need more when this follows. */
function causeOf(follows: number): number {
  if (follows === FOLLOWS_TOO_LATE) return CAUSE_TIMEOUT;
  return follows === FOLLOWS_NO_ROOM ? CAUSE_MEMORY : CAUSE_UNPARSABLE;
}
