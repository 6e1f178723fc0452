/**
 * What the data plane last said of its plugins: for the metrics, so that no scrape asks it, and for the problems of the
 * gateway.
 */
import type { PluginStatus } from '../../dataplane/plugin-messages.ts';

const INTERVAL_MS = 5000;

export class PluginWatch {
  readonly #ask: () => Promise<readonly PluginStatus[] | undefined>;
  readonly #timer: NodeJS.Timeout;
  #last: readonly PluginStatus[] = [];
  #asking = false;

  /** @param ask never rejects; undefined: there is nobody to ask */
  constructor(ask: () => Promise<readonly PluginStatus[] | undefined>) {
    this.#ask = ask;
    this.#timer = setInterval(() => void this.look(), INTERVAL_MS).unref();
  }

  /** As of the last look; empty while no data plane answers. */
  get statuses(): readonly PluginStatus[] {
    return this.#last;
  }

  async look(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    this.#last = (await this.#ask()) ?? [];
    this.#asking = false;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** Plugins that are out of use, one line each. */
export function trippedPlugins(statuses: readonly PluginStatus[]): string[] {
  return statuses.flatMap(({ name, tripped }) =>
    tripped === null
      ? []
      : [
          `plugin ${name} is out of use since it failed (${tripped.cause}: ${tripped.message}); its failure policy stands for it until "homeward plugins enable ${name}" or "reload ${name}"`,
        ],
  );
}
