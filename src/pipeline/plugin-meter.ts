/**
 * What plugins cost: calls, failures and time by plugin, counted in the flow memory. And which one is running. What they
 * are only asked, for an explanation, is no traffic and not counted.
 *
 * Reading a clock twice costs more than many a hook, so one call in {@link PLUGIN_TIMED_CALLS} is timed and stands
 * for the others: over many calls the sum is right. Neighbours: `plugin-chain.ts` calls around every hook;
 * `flow/counters.ts`, `plugin/running-plugin.ts`.
 */
import {
  type Counters,
  PLUGIN_CALLS,
  PLUGIN_FAILURES,
  PLUGIN_TIME_MS,
  PLUGIN_TIMED_CALLS,
} from '../flow/counters.ts';
import { runningWord } from '../plugin/running-plugin.ts';

export class PluginMeter {
  private readonly counters: Counters;
  /** When the call that is being timed began; a field would be a new object for every number. */
  private readonly beganMs = new Float64Array(1);
  private timing = false;
  /** Whether calls count. */
  counts = true;

  private readonly running: Int32Array;

  /** `running`: the word of the flow memory that says which plugin is running. */
  constructor(counters: Counters, running: Int32Array) {
    this.counters = counters;
    this.running = running;
    running[0] = 0;
  }

  /** A hook (`HOOK_...`) of the plugin at this place of the chain is about to be called. */
  begin(plugin: number, hook: number): void {
    this.running[0] = runningWord(plugin, hook);
    if (!this.counts) {
      this.timing = false;
      return;
    }
    const calls = this.counters.addPlugin(plugin, PLUGIN_CALLS, 1);
    this.timing = calls % PLUGIN_TIMED_CALLS === 0;
    if (this.timing) this.beganMs[0] = performance.now();
  }

  /** It has returned or thrown. */
  end(plugin: number): void {
    this.running[0] = 0;
    if (!this.timing) return;
    const tookMs = performance.now() - this.beganMs[0]!;
    this.counters.addPlugin(plugin, PLUGIN_TIME_MS, tookMs * PLUGIN_TIMED_CALLS);
  }

  /** It has thrown. */
  failed(plugin: number): void {
    this.counters.addPlugin(plugin, PLUGIN_FAILURES, 1);
  }
}
