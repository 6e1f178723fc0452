/**
 * Follows changes of interfaces, addresses and routes by one subscription: an `ip monitor` child for as long as
 * control runs. What changed is not read from it; the facts are collected anew, at most every half second.
 */
import { type ChildProcess, spawn } from 'node:child_process';

/** Changes come in swarms (one command, many messages): wait until they have settled. */
const SETTLE_MS = 100;
/** Between two reports. */
const INTERVAL_MS = 500;
/** A subscription that ended is made anew. */
const RESTART_MS = 1000;

export class HostWatch {
  readonly #onChange: () => void;
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lastReport = 0;
  #stopped = false;

  /** @param onChange called after something may have changed; once, too, when a lost subscription is back. */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  start(): void {
    const child = spawn('ip', ['monitor', 'link', 'address', 'route'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    this.#child = child;
    child.stdout.on('data', () => this.#report());
    child.on('error', () => {});
    child.on('close', () => {
      if (this.#stopped) return;
      setTimeout(() => {
        if (this.#stopped) return;
        this.start();
        this.#report();
      }, RESTART_MS).unref();
    });
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#child?.kill();
  }

  #report(): void {
    if (this.#stopped || this.#timer !== undefined) return;
    const delay = Math.max(SETTLE_MS, this.#lastReport + INTERVAL_MS - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#lastReport = performance.now();
      this.#onChange();
    }, delay);
  }
}
