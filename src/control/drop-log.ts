/**
 * Dropped packets in the log: at debug, a line for each reason and port, every ten seconds at most, however many
 * were dropped. Read from the mapped counters: nobody counts or writes for it on a packet's way.
 */
import { Counters } from '../flow/counters.ts';
import type { FlowMemory } from '../flow/flow-memory.ts';
import type { Plan } from '../pipeline/plan.ts';
import { DROP_REASON_NAMES } from '../plugin/drop-reasons.ts';
import type { Logger } from './runtime/logger.ts';

const INTERVAL_MS = 10_000;

export class DropLog {
  readonly #logger: Logger;
  readonly #sources: () => { readonly plan: Plan | undefined; readonly memory: FlowMemory | undefined };
  readonly #timer: NodeJS.Timeout;
  /** Counts at the last look, by `port generation reason`. */
  #seen: Map<string, number> | undefined;

  constructor(
    logger: Logger,
    sources: () => { readonly plan: Plan | undefined; readonly memory: FlowMemory | undefined },
    intervalMs = INTERVAL_MS,
  ) {
    this.#logger = logger;
    this.#sources = sources;
    this.#timer = setInterval(() => this.look(), intervalMs);
    this.#timer.unref();
  }

  /** Tells what was dropped since the last look. The first one after debug was switched on only looks. */
  look(): void {
    const { plan, memory } = this.#sources();
    if (!this.#logger.isLevelEnabled('debug') || plan === undefined || memory === undefined) {
      this.#seen = undefined;
      return;
    }
    const counters = new Counters(memory.counters);
    const seen = new Map<string, number>();
    const ports = [{ index: 0, generation: 0, name: null }, ...plan.ports];
    for (const { index, generation, name } of ports) {
      DROP_REASON_NAMES.forEach((reason, number) => {
        const count = counters.drops(index, number);
        if (count === 0) return;
        const key = `${index} ${generation} ${reason}`;
        seen.set(key, count);
        const packets = count - (this.#seen?.get(key) ?? 0);
        if (this.#seen !== undefined && packets > 0) {
          this.#logger.debug({ reason, port: name, packets }, 'packets dropped');
        }
      });
    }
    this.#seen = seen;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
