/**
 * Calls of plugins between two bursts: loading, configuring, messages, views. Like the hooks on the packet's way they
 * are written down before they begin, so that one that does not return can be ended, and named.
 *
 * Neighbours: `plugin/running-plugin.ts` (what is written), `pipeline/plugin-meter.ts` (the same for hooks),
 * `data-plane.ts` (what follows when a call was ended).
 */

import { HOOK_COMMIT, HOOK_CONFIGURE, HOOK_LOAD, type RunningPlugin } from '../plugin/running-plugin.ts';
import { readThrown, type Thrown } from '../plugin/thrown.ts';
import type { BuiltIns } from './confinement.ts';
import type { HeapWatch } from './heap-watch.ts';

/** What a plugin has thrown, as something that can be handled: its message has the place in the options, if there is one. */
export class PluginThrewError extends Error {
  override readonly name = 'PluginThrewError';
  readonly thrown: Thrown;

  constructor(thrown: Thrown) {
    const { path, text } = thrown;
    super(path !== '' && !text.startsWith(path) ? `${path}: ${text}` : text);
    this.thrown = thrown;
  }
}

/** Calls in which modules are loaded, or may be. */
const PREPARING: ReadonlySet<number> = new Set([HOOK_LOAD, HOOK_CONFIGURE, HOOK_COMMIT]);

export class PluginCalls {
  /** What plugins must leave as it is; undefined: nobody looks. */
  builtIns: BuiltIns | undefined = undefined;
  /** Who writes it down. */
  running: RunningPlugin;
  /** Looks at what the calls allocate; undefined: nobody does. */
  sampler: HeapWatch | undefined = undefined;
  /** Name of the plugin that is being called; of the last one between calls. */
  name = '';

  constructor(running: RunningPlugin) {
    this.running = running;
  }

  /**
   * Calls a plugin. What it answers may be anything: whoever needs more of it than to hand it on looks at it within `body`.
   *
   * @param place in the chain, or `NO_PLACE`
   * @param hook one of `HOOK_...`; `HOOK_SLOW` is in it
   * @throws PluginThrewError if it throws
   */
  call<T>(name: string, place: number, hook: number, body: () => T): T {
    this.name = name;
    this.sampler?.begin();
    this.running.enter(place, hook);
    let answer: T;
    try {
      answer = body();
      const changed = PREPARING.has(hook) ? this.builtIns?.restore() : undefined;
      if (changed !== undefined)
        throw new Error(`it changes ${changed}, which everybody here uses; leave what is built in as it is`);
    } catch (error) {
      const thrown = readThrown(error);
      this.running.leave();
      throw new PluginThrewError(thrown);
    }
    this.running.leave();
    this.sampler?.end(place, 1);
    return answer;
  }
}
