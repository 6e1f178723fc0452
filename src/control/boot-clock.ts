/**
 * From the data plane's clock, which counts from boot, to the time of day.
 *
 * The two are compared now and then: the distance stays as it is as long as it is right to a tenth of a second, so
 * that times of one flow fit together, and follows when somebody sets the clock.
 */
import { uptime } from 'node:os';

const SLACK_MS = 100;

export class BootClock {
  /** Milliseconds from 1970 to the boot. */
  bootedAtMs = 0;
  /** At the last {@link read}, milliseconds since boot. */
  nowMs = 0;

  constructor() {
    this.read();
  }

  /** Looks at both clocks; returns this. */
  read(): this {
    this.nowMs = Math.round(uptime() * 1000);
    const bootedAtMs = Date.now() - this.nowMs;
    if (Math.abs(bootedAtMs - this.bootedAtMs) > SLACK_MS) this.bootedAtMs = bootedAtMs;
    return this;
  }
}
