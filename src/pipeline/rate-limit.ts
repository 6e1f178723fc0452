/**
 * Token buckets in a typed array: integer arithmetic, no timer. A bucket is two words, the level in thousandths
 * of a token and the time of the last refill; it is refilled when it is looked at.
 *
 * ```
 *  word 2i      level, 0 .. burst * 1000
 *  word 2i + 1  last refill, milliseconds since boot as int32
 * ```
 *
 * A bucket that was not touched for longer than int32 time can tell is full: elapsed time is read as unsigned,
 * which is right for up to 49 days, and beyond that only the phase is lost.
 *
 * Neighbours: `icmp-errors.ts`, `echo-responder.ts`.
 */
export class TokenBuckets {
  readonly count: number;
  private readonly cells: Int32Array;
  private readonly ratePerSecond: number;
  private readonly full: number;
  /** From empty to full, milliseconds. */
  private readonly fillMs: number;

  /**
   * `count` buckets, all full. `ratePerSecond` tokens come back each second, at most `burst` are kept; both
   * 1..1000000.
   */
  constructor(count: number, ratePerSecond: number, burst: number) {
    if (!(ratePerSecond >= 1 && ratePerSecond <= 1_000_000 && burst >= 1 && burst <= 1_000_000)) {
      throw new RangeError(`a token bucket of ${ratePerSecond}/s, burst ${burst}: both must be 1..1000000`);
    }
    this.count = count;
    this.cells = new Int32Array(count * 2);
    this.ratePerSecond = ratePerSecond | 0;
    this.full = (burst | 0) * 1000;
    this.fillMs = Math.ceil(this.full / this.ratePerSecond);
    for (let bucket = 0; bucket < count; bucket++) this.cells[bucket * 2] = this.full;
  }

  /** Whether a token is there; takes none. */
  peek(bucket: number, nowMs: number): boolean {
    return this.refill(bucket, nowMs) >= 1000;
  }

  /** Takes a token if one is there. */
  take(bucket: number, nowMs: number): boolean {
    const level = this.refill(bucket, nowMs);
    if (level < 1000) return false;
    this.cells[bucket << 1] = level - 1000;
    return true;
  }

  /** Makes the bucket full again, for another owner. */
  reset(bucket: number, nowMs: number): void {
    this.cells[bucket << 1] = this.full;
    this.cells[(bucket << 1) + 1] = nowMs;
  }

  private refill(bucket: number, nowMs: number): number {
    const at = bucket << 1;
    const cells = this.cells;
    const elapsed = (nowMs - cells[at + 1]) >>> 0;
    let level = cells[at];
    if (elapsed === 0) return level;
    if (elapsed >= this.fillMs) {
      level = this.full;
    } else {
      // A thousandth of a token a millisecond for each token a second. At most `full + full`: below 2^31.
      level = (level + Math.imul(elapsed, this.ratePerSecond)) | 0;
      if (level > this.full) level = this.full;
    }
    cells[at] = level;
    cells[at + 1] = nowMs;
    return level;
  }
}
