/**
 * Calls of plugins between two bursts: loading, configuring, messages, views. Like the hooks on the packet's way they
 * are written down before they begin, so that one that does not return can be ended, and named.
 *
 * Neighbours: `plugin/running-plugin.ts` (what is written), `pipeline/plugin-meter.ts` (the same for hooks),
 * `data-plane.ts` (what follows when a call was ended).
 */
import type { RunningPlugin } from '../plugin/running-plugin.ts';

export class PluginCalls {
  /** Who writes it down. */
  running: RunningPlugin;
  /** Name of the plugin that is being called; of the last one between calls. */
  name = '';

  constructor(running: RunningPlugin) {
    this.running = running;
  }

  /**
   * Calls a plugin.
   *
   * @param place in the chain, or `NO_PLACE`
   * @param hook one of `HOOK_...`; `HOOK_SLOW` is in it
   * @throws whatever it throws
   */
  call<T>(name: string, place: number, hook: number, body: () => T): T {
    this.name = name;
    this.running.enter(place, hook);
    try {
      return body();
    } finally {
      this.running.leave();
    }
  }
}
