/**
 * What the pipeline remembers of a plugin from one plan to the next: the state that flows have for it, and whether it
 * may still be called.
 *
 * A plugin that fails again and again is tripped: not called any more, until somebody resets it. In its place acts its
 * policy for exceptions, as if every call failed.
 *
 * Neighbours: `plugin-chain.ts` (asks, and counts failures here), `dataplane/plugin-instances.ts` (makes and keeps one for
 * each instance).
 */
import { FAILURE_CAUSES, type FailureCause } from '../plugin/contract.ts';
import { CAUSE_EXCEPTION, CAUSE_MEMORY, CAUSE_TIMEOUT } from '../plugin/failure-numbers.ts';

/** So many exceptions and time-outs ... */
export const TRIP_FAILURES = 10;
/** ... within so many milliseconds trip a plugin. */
export const TRIP_WINDOW_MS = 10_000;

const NOTHING = new Int32Array(0);
const NOBODY = new Uint8Array(0);

/** Why a plugin was tripped. */
export interface TripReason {
  readonly cause: FailureCause;
  /** A sentence. */
  readonly message: string;
}

export class PluginStanding {
  /** Not called any more. */
  isTripped = false;
  /** Words of state that each flow has. */
  readonly stateWords: number;
  /** By record, `stateWords` each; behind the last one those of the flow that is being set up. */
  state: Int32Array = NOTHING;
  /** Where those of the flow that is being set up begin. */
  scratchAt = 0;
  /** By record: 1 if this plugin has not seen how the flow began, or its state is lost. Empty if there is no such flow. */
  unseen: Uint8Array = NOBODY;
  private reason: TripReason | undefined = undefined;
  /** When it failed, milliseconds since boot: a ring. */
  private readonly failedMs = new Int32Array(TRIP_FAILURES);
  private failures = 0;

  /** @param flowStateBytes a multiple of 4 */
  constructor(flowStateBytes = 0) {
    this.stateWords = flowStateBytes >> 2;
  }

  /** Why it is tripped; undefined if it is not. */
  get trip(): TripReason | undefined {
    return this.reason;
  }

  /** Makes room for flow records. */
  fit(capacity: number): void {
    if (this.stateWords === 0 || this.state.length !== 0) return;
    this.scratchAt = capacity * this.stateWords;
    this.state = new Int32Array(this.scratchAt + this.stateWords);
  }

  /** Takes over what flows have for another instance, with as many words for each of them. */
  inherit(before: PluginStanding): void {
    this.state = before.state;
    this.scratchAt = before.scratchAt;
    this.unseen = before.unseen;
  }

  /** It will be told that it has not seen the beginning of this flow. */
  markUnseen(record: number, capacity: number): void {
    if (this.unseen.length === 0) this.unseen = new Uint8Array(capacity);
    this.unseen[record] = 1;
  }

  /**
   * Counts a failure (`CAUSE_...`). Returns true if that trips the plugin. What says nothing about the plugin's health - a
   * packet that nobody can parse, a flow from before it, too little room - does not.
   */
  failed(cause: number, nowMs: number, message: string): boolean {
    if (this.isTripped || (cause !== CAUSE_EXCEPTION && cause !== CAUSE_TIMEOUT && cause !== CAUSE_MEMORY))
      return false;
    this.failedMs[this.failures % TRIP_FAILURES] = nowMs;
    this.failures++;
    // The next one to be overwritten: of the last so many, the first.
    const earliestMs = this.failedMs[this.failures % TRIP_FAILURES]!;
    if (this.failures < TRIP_FAILURES || ((nowMs - earliestMs) | 0) > TRIP_WINDOW_MS) return false;
    this.tripFor(
      cause,
      `it failed ${TRIP_FAILURES} times in ${Math.max(1, Math.round((nowMs - earliestMs) / 1000))} s, at last: ${message}`,
    );
    return true;
  }

  /** Trips it for a cause (`CAUSE_...`). */
  tripFor(cause: number, message: string): void {
    this.isTripped = true;
    this.reason = { cause: FAILURE_CAUSES[cause]!, message };
  }

  /** It may be called again, as if it had never failed. */
  reset(): void {
    this.isTripped = false;
    this.reason = undefined;
    this.failures = 0;
  }
}
