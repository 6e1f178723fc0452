/**
 * The health of one tunnel, from the outcomes of its probes alone.
 *
 * ```
 *              first answer              2 or more of the last 256 lost, and 0.1 % of them
 *   unknown ----------------> healthy -------------------------------------------> degraded
 *      no penalty                |  <-------------------------------------------    |    ^
 *                                |     they have left the window; after `down`:     |    |
 *                                |               30 answered in a row               |    |
 *                                |                                                  |    |
 *                                +--------- 3 lost in a row ---------> down <-------+    |
 *                                                                        |               |
 *                                                                        +---------------+
 *                                                                       2 answered in a row
 * ```
 *
 * `unknown` until the first answer: who never answers ping tells nothing about the tunnel. An answer to a probe that was
 * sent before a lost one does not end a row; outcomes come in the order in which they are known, which is nearly that.
 * What was lost while it was down does not count against it for long: only whether it stays.
 *
 * Neighbours: `tunnel-health.ts` (sends the probes).
 */

/** Outcomes that are remembered. */
export const WINDOW_PROBES = 256;
const DOWN_LOSSES = 3;
const UP_ANSWERS = 2;
const RECOVERED_ANSWERS = 30;
const DEGRADED_LOSSES = 2;
const DEGRADED_LOSS_RATIO = 0.001;
/** Weight of a new round-trip time in the smoothed one (as in RFC 6298, 2). */
const RTT_GAIN = 1 / 8;

export type Health = 'unknown' | 'healthy' | 'degraded' | 'down';

export class HealthRecord {
  /** Smoothed, milliseconds; null before the first answer. */
  rttMs: number | null = null;
  /** Probes since the record was made, and how many of them were lost. */
  sent = 0;
  lost = 0;
  #remembered = 0;
  #state: Health = 'unknown';
  /** 1 where a probe was lost. */
  readonly #outcomes = new Uint8Array(WINDOW_PROBES);
  #lostInWindow = 0;
  #lossesInARow = 0;
  #answersInARow = 0;
  /** It was down, and has not answered for long enough since. */
  #recovers = false;

  get state(): Health {
    return this.#state;
  }

  /** Share of the last {@link WINDOW_PROBES} probes that were lost, 0 to 1. */
  get lossRatio(): number {
    return this.#remembered === 0 ? 0 : this.#lostInWindow / Math.min(this.#remembered, WINDOW_PROBES);
  }

  /** A probe was answered. @returns whether the state has changed */
  answered(rttMs: number): boolean {
    // What was lost before tells of a peer that was not there yet.
    if (this.#state === 'unknown') this.#forget();
    this.#remember(0);
    this.#lossesInARow = 0;
    this.#answersInARow++;
    this.rttMs = this.rttMs === null ? rttMs : this.rttMs + (rttMs - this.rttMs) * RTT_GAIN;
    return this.#judge();
  }

  /** No answer came in time. @returns whether the state has changed */
  unanswered(): boolean {
    this.lost++;
    this.#remember(1);
    this.#lossesInARow++;
    this.#answersInARow = 0;
    return this.#judge();
  }

  #remember(outcome: 0 | 1): void {
    const at = this.#remembered % WINDOW_PROBES;
    this.#lostInWindow += outcome - this.#outcomes[at]!;
    this.#outcomes[at] = outcome;
    this.#remembered++;
    this.sent++;
  }

  #forget(): void {
    this.#outcomes.fill(0);
    this.#remembered = 0;
    this.#lostInWindow = 0;
  }

  #judge(): boolean {
    const before = this.#state;
    this.#state = this.#next(before);
    return this.#state !== before;
  }

  #next(before: Health): Health {
    if (before === 'unknown' && this.#answersInARow === 0) return 'unknown';
    if (this.#lossesInARow >= DOWN_LOSSES) return 'down';
    if (before === 'down') {
      if (this.#answersInARow < UP_ANSWERS) return 'down';
      this.#forget();
      this.#recovers = true;
    }
    if (this.#answersInARow >= RECOVERED_ANSWERS) this.#recovers = false;
    const loses = this.#lostInWindow >= DEGRADED_LOSSES && this.lossRatio >= DEGRADED_LOSS_RATIO;
    return loses || this.#recovers ? 'degraded' : 'healthy';
  }
}
