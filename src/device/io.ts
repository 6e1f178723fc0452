/**
 * Burst I/O: a set of devices served by one call.
 *
 * `burst` sends everything in `tx`, waits for input at most so long, and fills `rx`. Frames in `rx` (and what
 * the pipeline built in place around them) stay valid until the next `burst`, which sends `tx` before it
 * overwrites anything. The data plane's loop is: burst, process every frame of `rx`, repeat.
 *
 * Implementations: `native-io.ts` (TUN and packet sockets), `memory-io.ts` (in memory, for tests and benches),
 * `pcap-io.ts` (replays and records captures), `fault-injector.ts` (wraps any of them). One contract suite
 * (`io.contract.ts`) holds for all.
 */
import type { FrameList, FrameMemory } from '../wire/frame.ts';

/** What the pipeline needs of an I/O's memory: where received frames lie, and room to build its own. */
export interface BurstIo {
  readonly memory: FrameMemory;
  /** Part of `memory` that belongs to whoever drives the I/O: for packets of our own. */
  readonly scratchOffset: number;
  readonly scratchBytes: number;
  /** Milliseconds since boot (`CLOCK_BOOTTIME`), truncated to int32, as of the end of the last burst. */
  readonly nowMs: number;
  readonly rx: FrameList;
  readonly tx: FrameList;
  /** Frames the devices refused or that could not be sent, since the start, by device index. */
  readonly txErrors: Float64Array;
  /**
   * Sends `tx` and empties it; then, unless frames are already waiting, waits up to `waitMs` (0: does not
   * wait, -1: for ever) and fills `rx`. Returns the number of frames received. Never throws for what a packet
   * or a peer does; a device that is gone is closed and reported by `deviceState`.
   */
  burst(waitMs: number): number;
  /** `open`, or why the device at this index is not. */
  deviceState(index: number): 'open' | 'closed' | 'gone';
  close(): void;
}
