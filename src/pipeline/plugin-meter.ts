/**
 * What plugins cost: calls, failures and time by plugin, counted in the flow memory. And which one is running. What they
 * are only asked, for an explanation, is no traffic and not counted.
 *
 * Reading a clock twice costs more than many a hook, so one call in {@link PLUGIN_TIMED_CALLS} is timed and stands
 * for the others: over many calls the sum is right. Neighbours: `plugin-chain.ts` calls around every hook;
 * `flow/counters.ts`, `plugin/running-plugin.ts`.
 */
import {
  COUNTER,
  type Counters,
  PLUGIN_CALLS,
  PLUGIN_FAILURES,
  PLUGIN_FAILURES_BY_CAUSE,
  PLUGIN_TIME_MS,
  PLUGIN_TIMED_CALLS,
} from '../flow/counters.ts';
import type { RunningPlugin } from '../plugin/running-plugin.ts';

/** Looks at what timed calls allocate. */
export interface AllocationSampler {
  begin(): void;
  /** The call was of the plugin at this place. */
  end(place: number): void;
}

export class PluginMeter {
  private readonly counters: Counters;
  /** When the call that is being timed began; a field would be a new object for every number. */
  private readonly beganMs = new Float64Array(1);
  private timing = false;
  /** Whether calls count. */
  counts = true;
  /** Looks at the calls that are timed; undefined: nobody does. */
  sampler: AllocationSampler | undefined = undefined;

  private readonly running: RunningPlugin;

  /** `running`: who says which plugin is running. */
  constructor(counters: Counters, running: RunningPlugin) {
    this.counters = counters;
    this.running = running;
  }

  /** A hook (`HOOK_...`) of the plugin at this place of the chain is about to be called. */
  begin(plugin: number, hook: number): void {
    this.running.enter(plugin, hook);
    if (!this.counts) {
      this.timing = false;
      return;
    }
    const calls = this.counters.addPlugin(plugin, PLUGIN_CALLS, 1);
    this.timing = calls % PLUGIN_TIMED_CALLS === 0;
    if (!this.timing) return;
    if (this.sampler !== undefined) this.sampler.begin();
    this.beganMs[0] = performance.now();
  }

  /** It has returned or thrown. */
  end(plugin: number): void {
    this.running.leave();
    if (!this.timing) return;
    const tookMs = performance.now() - this.beganMs[0]!;
    this.counters.addPlugin(plugin, PLUGIN_TIME_MS, tookMs * PLUGIN_TIMED_CALLS);
    if (this.sampler !== undefined) this.sampler.end(plugin);
  }

  /** It has been ended by the watchdog. */
  interrupted(): void {
    this.timing = false;
  }

  /** It has failed, for this cause (`CAUSE_...`). */
  failed(plugin: number, cause: number): void {
    this.counters.add(COUNTER.plugin_failures, 1);
    this.counters.addPlugin(plugin, PLUGIN_FAILURES, 1);
    this.counters.addPlugin(plugin, PLUGIN_FAILURES_BY_CAUSE + cause, 1);
  }
}
