/**
 * The minute of the week, for rules with `time` and `weekday`: wall clock time in a time zone.
 *
 * Packets bring the milliseconds since boot. The wall clock is read once a second at most, and days and hours are
 * worked out once a minute: summer time begins where the zone says, and a clock that is set is noticed.
 */
import { MINUTES_A_DAY } from './condition.ts';
import { WEEKDAYS } from './values.ts';

const LOOK_MS = 1000;
const MINUTE_MS = 60_000;

export class WeekClock {
  private readonly format: Intl.DateTimeFormat;
  private readonly wallClockMs: () => number;
  private lookedMs = 0;
  private hasLooked = false;
  private epochMinute = -1;
  private minute = 0;

  /** `wallClockMs`: as `Date.now`. */
  constructor(timeZone: string, wallClockMs: () => number) {
    this.wallClockMs = wallClockMs;
    this.format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    });
  }

  /** Minutes since Monday, 00:00; `nowMs` since boot, int32. */
  minuteOfWeek(nowMs: number): number {
    if (this.hasLooked && (nowMs - this.lookedMs) >>> 0 < LOOK_MS) return this.minute;
    this.hasLooked = true;
    this.lookedMs = nowMs;
    const wallMs = this.wallClockMs();
    const epochMinute = Math.floor(wallMs / MINUTE_MS);
    if (epochMinute !== this.epochMinute) {
      this.epochMinute = epochMinute;
      this.minute = this.minuteAt(wallMs);
    }
    return this.minute;
  }

  private minuteAt(wallMs: number): number {
    const parts = new Map(this.format.formatToParts(wallMs).map(({ type, value }) => [type, value]));
    const day = WEEKDAYS.indexOf(parts.get('weekday')!.toLowerCase());
    return day * MINUTES_A_DAY + Number(parts.get('hour')) * 60 + Number(parts.get('minute'));
  }
}
