/**
 * What plugins cost: calls, failures and time by plugin, counted in the flow memory.
 *
 * Reading a clock twice costs more than many a hook, so one call in {@link PLUGIN_TIMED_CALLS} is timed and stands
 * for the others: over many calls the sum is right. Neighbours: `plugin-chain.ts` calls around every hook;
 * `flow/counters.ts`.
 */
import {
  type Counters,
  PLUGIN_CALLS,
  PLUGIN_FAILURES,
  PLUGIN_TIME_MS,
  PLUGIN_TIMED_CALLS,
} from '../flow/counters.ts';

export class PluginMeter {
  private readonly counters: Counters;
  /** When the call that is being timed began; a field would be a new object for every number. */
  private readonly beganMs = new Float64Array(1);
  private timing = false;

  constructor(counters: Counters) {
    this.counters = counters;
  }

  /** A hook of the plugin at this place of the chain is about to be called. */
  begin(plugin: number): void {
    const calls = this.counters.addPlugin(plugin, PLUGIN_CALLS, 1);
    this.timing = calls % PLUGIN_TIMED_CALLS === 0;
    if (this.timing) this.beganMs[0] = performance.now();
  }

  /** It has returned or thrown. */
  end(plugin: number): void {
    if (!this.timing) return;
    const tookMs = performance.now() - this.beganMs[0]!;
    this.counters.addPlugin(plugin, PLUGIN_TIME_MS, tookMs * PLUGIN_TIMED_CALLS);
  }

  /** It has thrown. */
  failed(plugin: number): void {
    this.counters.addPlugin(plugin, PLUGIN_FAILURES, 1);
  }
}
