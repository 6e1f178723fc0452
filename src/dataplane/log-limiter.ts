/**
 * Keeps one source of log lines from drowning the others, and control: each may write some lines at once and a few
 * a minute after that. What is held back is counted, and told with the next line that passes.
 */

const BURST = 20;
const INTERVAL_MS = 3000;
/** Sources that are told apart at a time; where all of them are busy, further ones share one allowance. */
const MAX_SOURCES = 1024;
const FULL_AGAIN_MS = BURST * INTERVAL_MS;

interface Allowance {
  lines: number;
  reckonedMs: number;
  heldBack: number;
}

export class LogLimiter {
  private readonly allowances = new Map<string, Allowance>();

  /**
   * Asks for one line.
   *
   * @returns how many lines of this source were held back since its last one, or -1 if this one is to be, too
   */
  allow(source: string, nowMs: number): number {
    if (!this.allowances.has(source) && this.allowances.size >= MAX_SOURCES) this.forgetIdle(nowMs);
    const key = this.allowances.has(source) || this.allowances.size < MAX_SOURCES ? source : '';
    let allowance = this.allowances.get(key);
    if (allowance === undefined) {
      allowance = { lines: BURST, reckonedMs: nowMs, heldBack: 0 };
      this.allowances.set(key, allowance);
    }
    const elapsedMs = (nowMs - allowance.reckonedMs) | 0;
    // Negative: more than 24 days ago.
    const earned = elapsedMs < 0 ? BURST : Math.floor(elapsedMs / INTERVAL_MS);
    if (earned > 0) {
      allowance.lines = Math.min(BURST, allowance.lines + earned);
      allowance.reckonedMs = nowMs;
    }
    if (allowance.lines === 0) {
      allowance.heldBack++;
      return -1;
    }
    allowance.lines--;
    const { heldBack } = allowance;
    allowance.heldBack = 0;
    return heldBack;
  }

  /** Sources that were quiet for so long that they may write all again are as good as new ones. */
  private forgetIdle(nowMs: number): void {
    for (const [source, { lines, reckonedMs, heldBack }] of this.allowances) {
      const missingMs = FULL_AGAIN_MS - lines * INTERVAL_MS;
      if (heldBack === 0 && (nowMs - reckonedMs) >>> 0 >= missingMs) this.allowances.delete(source);
    }
  }
}
