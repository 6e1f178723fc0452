/**
 * The wait for a change's confirmation: how much of it is left, and what follows when it is over.
 *
 * ```
 *  armed ---- the deadline ----> onDue, which goes back ---- that failed ----> onDue again after RETRY_MS, for ever
 *    ^                                  |
 *    +------- another change -----------+
 * ```
 *
 * What waits stands in the history, so that a wait outlives the process; here is its clock only.
 *
 * Neighbours: `configuration.ts` (goes back), `history.ts`, `starting-config.ts` (a deadline that passed while nobody ran).
 */
import type { PendingView } from './change.ts';
import type { History } from './history.ts';

/** A reversion that fails is tried again. */
const RETRY_MS = 10_000;

export class ConfirmationWait {
  readonly #history: History | undefined;
  readonly #onDue: () => void;
  #timer: NodeJS.Timeout | undefined;
  #problem = '';
  #stopped = false;

  /** Waits from now on if anything in the history does. */
  constructor(history: History | undefined, onDue: () => void) {
    this.#history = history;
    this.#onDue = onDue;
    this.arm();
  }

  /** What waits now; null: nothing does. */
  get pending(): PendingView | null {
    const pending = this.#history?.pending;
    if (pending == null) return null;
    const { revision, previous, deadline, timeoutMs } = pending;
    return {
      revision,
      previous,
      deadline: new Date(deadline).toISOString(),
      // A clock that was set back does not make the wait longer.
      leftMs: Math.max(0, Math.min(timeoutMs, deadline - Date.now())),
    };
  }

  /** Why what was not confirmed still runs; empty if nothing of that kind does. */
  get problem(): string {
    return this.#problem;
  }

  /** What waits may be another change now, or none. */
  arm(): void {
    this.#problem = '';
    clearTimeout(this.#timer);
    const { pending } = this;
    if (pending !== null) this.#dueIn(pending.leftMs);
  }

  /** Going back has failed. */
  failed(problem: string): void {
    this.#problem = problem;
    this.#dueIn(RETRY_MS);
  }

  /** Nothing follows any more; what waits goes on waiting in the history. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** By the clock that nobody sets. */
  #dueIn(delayMs: number): void {
    if (!this.#stopped) this.#timer = setTimeout(this.#onDue, delayMs);
  }
}
