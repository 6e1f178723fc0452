/**
 * Hold times: until when an external port or a tuple stays with its last owner.
 *
 * Late packets of an ended flow may still come; what it used is not given to another site before they are
 * gone (RFC 6888, REQ-8, asks for the same among subscribers). Times are int32 milliseconds since boot, which
 * wrap every 49.7 days, so "still running" is a difference, and differences mean something only near the
 * present. Holds are therefore bounded by {@link MAX_HOLD_MS}: an end further ahead than that cannot have been
 * set by us and lies in the distant past.
 *
 * Neighbours: `translation.ts` (external ports), `hold-wheel.ts` (their ends).
 */

/** The longest hold, milliseconds: 74 hours. Longer ones are cut to it. */
export const MAX_HOLD_MS = 1 << 28;

/** End of a hold that begins now. */
export function holdEnd(nowMs: number, holdMs: number): number {
  if (holdMs <= 0) return nowMs | 0;
  return (nowMs + Math.min(holdMs, MAX_HOLD_MS)) | 0;
}

/** Whether a hold that ends at `untilMs` is still running: it ends at that very millisecond. */
export function holdRuns(untilMs: number, nowMs: number): boolean {
  const left = (untilMs - nowMs) | 0;
  return left > 0 && left <= MAX_HOLD_MS;
}

/** The later of a stored end, which may be stale, and one computed now. */
export function laterHoldEnd(storedMs: number, freshMs: number, nowMs: number): number {
  return holdRuns(storedMs, nowMs) && ((storedMs - freshMs) | 0) > 0 ? storedMs : freshMs;
}
