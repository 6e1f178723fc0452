/**
 * From the data plane's clock, which counts from boot, to the time of day.
 *
 * The two are compared now and then: the distance stays as it is as long as it is right to a tenth of a second, so
 * that times of one flow fit together, and follows when somebody sets the clock.
 */
import { uptime } from 'node:os';

const SLACK_MS = 100;
/** Two looks further apart than this had somebody else on the processor between them. */
const APART_MS = 5;
const ATTEMPTS = 5;

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
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      this.nowMs = Math.round(uptime() * 1000);
      const wallMs = Date.now();
      if (uptime() * 1000 - this.nowMs > APART_MS) continue;
      const bootedAtMs = wallMs - this.nowMs;
      if (Math.abs(bootedAtMs - this.bootedAtMs) > SLACK_MS) this.bootedAtMs = bootedAtMs;
      break;
    }
    return this;
  }
}
