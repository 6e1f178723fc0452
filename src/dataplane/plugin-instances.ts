/**
 * The plugins of the plan that runs, and their change from one plan to the next: all or nothing.
 *
 * ```
 *   prepare   every plugin: a new instance, configured, with its predecessor's state;     a failure: nothing has changed
 *             or the same one, which prepares other options or another topology
 *   (apply)   the pipeline takes the plan                                                 a failure: nothing has changed
 *   commit    what was prepared comes into force                                          a failure: that plugin is tripped
 * ```
 *
 * All of it between two bursts: no packet is judged by half of it.
 *
 * Neighbours: `plugin-instance.ts` (one of them), `data-plane.ts` (when), `plugin-desk.ts` (what else is asked of them).
 */
import { readFileSync } from 'node:fs';
import type { PlanPlugin } from '../pipeline/plan.ts';
import type { LoadedPlugin } from '../pipeline/plugin-link.ts';
import type { Json, PluginConfiguration, PluginTopology } from '../plugin/contract.ts';
import { HOOK_COMMIT, HOOK_CONFIGURE, HOOK_EXPORT, HOOK_IMPORT, NO_PLACE } from '../plugin/running-plugin.ts';
import type { PluginCalls } from './plugin-calls.ts';
import type { PluginFault } from './plugin-faults.ts';
import { type PluginHost, PluginInstance } from './plugin-instance.ts';

/** What a plugin has exported, by whom. */
export interface ExportedState {
  readonly version: string;
  readonly state: Json;
}

/** Plugins of a plan that are ready for it. */
export interface PreparedPlugins {
  /** For the chain, in the order in which they run. */
  readonly plugins: readonly LoadedPlugin[];
  readonly instances: readonly PluginInstance[];
  /** Those of them that do not know the state of flows from before. */
  readonly strangers: readonly PluginInstance[];
  /** What is still to be called, with the place of the plugin. Taken out before it is called. */
  readonly commits: { readonly place: number; readonly commit: () => void }[];
}

/** What a plugin was configured with, as text of JSON can have it. */
interface SavedConfiguration {
  readonly options: unknown;
  readonly topology: PluginTopology;
  /** Path of what was prepared. */
  readonly prepared: string | undefined;
}

export class PluginInstances {
  /** In the order in which they run. */
  all: readonly PluginInstance[] = [];
  private readonly host: PluginHost;
  private readonly calls: PluginCalls;
  private readonly faults: ReadonlyMap<string, PluginFault>;
  /** What plugins of a former data plane have left, by name. */
  private readonly left: Map<string, ExportedState>;

  constructor(
    host: PluginHost,
    calls: PluginCalls,
    faults: ReadonlyMap<string, PluginFault> = new Map(),
    left: ReadonlyMap<string, ExportedState> = new Map(),
  ) {
    this.host = host;
    this.calls = calls;
    this.faults = faults;
    this.left = new Map(left);
  }

  /** The instance of this name. */
  find(name: string): PluginInstance | undefined {
    return this.all.find((instance) => instance.name === name);
  }

  /**
   * Prepares the plugins of a plan.
   *
   * @throws Error that names the plugin and what is wrong with it
   */
  prepare(plugins: readonly PlanPlugin[], topology: PluginTopology): PreparedPlugins {
    const strangers: PluginInstance[] = [];
    const commits: { name: string; commit: () => void }[] = [];
    const ready = plugins.map((plugin) => {
      try {
        const before = this.find(plugin.name);
        const { options, prepared } = plugin;
        const configuration: SavedConfiguration = { options, topology, prepared };
        const text = JSON.stringify(configuration);
        if (before?.serves(plugin)) {
          const isSame = before.configured === text && before.revision === plugin.revision;
          if (!isSame && !before.standing.isTripped) {
            const place = this.all.indexOf(before);
            const given = withPrepared(configuration);
            const commit = this.calls.call(plugin.name, place, HOOK_CONFIGURE, () =>
              before.half.configure(given),
            );
            const made = usable(commit);
            commits.push({
              name: plugin.name,
              commit: () => {
                // Before it may be ended: the plan comes again then, and this instance, tripped, goes on in it.
                before.revision = plugin.revision;
                made();
                before.configured = text;
              },
            });
          }
          return { plugin, instance: before };
        }
        const made = this.make(plugin, before, configuration);
        if (!made.knowsFlows) strangers.push(made.instance);
        const { instance } = made;
        return { plugin, instance };
      } catch (error) {
        throw new Error(`plugin ${plugin.name}: ${(error as Error).message}`, { cause: error });
      }
    });
    const ordered = [
      ...ready.filter(({ instance }) => instance.phase === 'policy'),
      ...ready.filter(({ instance }) => instance.phase === 'routing'),
    ];
    if (ordered.at(-1)?.instance.phase !== 'routing')
      throw new Error('no plugin decides how replies are routed (return-routing)');
    const instances = ordered.map(({ instance }) => instance);
    return {
      plugins: ordered.map(({ plugin, instance }) => instance.loaded(plugin)),
      instances,
      strangers,
      commits: commits.map(({ name, commit }) => ({
        place: instances.findIndex((instance) => instance.name === name),
        commit,
      })),
    };
  }

  /** A new instance, configured, with what its predecessor has left. */
  private make(
    plugin: PlanPlugin,
    before: PluginInstance | undefined,
    configuration: SavedConfiguration,
  ): { instance: PluginInstance; knowsFlows: boolean } {
    const { calls, host } = this;
    const instance = new PluginInstance(plugin, host, calls, before, this.faults.get(plugin.name));
    const given = withPrepared(configuration);
    const commit = calls.call(plugin.name, NO_PLACE, HOOK_CONFIGURE, () => instance.half.configure(given));
    // Nobody calls it yet: nothing is in force before the plan is.
    calls.call(plugin.name, NO_PLACE, HOOK_COMMIT, usable(commit));
    instance.configured = JSON.stringify(configuration);
    try {
      return { instance, knowsFlows: this.inherit(instance, before) };
    } catch (error) {
      if (before !== undefined) throw error;
      // What a former process has left must not keep this one from running.
      host.log(
        plugin.name,
        'error',
        `what it left at the last stop is lost: ${(error as Error).message}`,
        '',
      );
      return this.make(plugin, before, configuration);
    }
  }

  /**
   * The pipeline has taken the plan: these are the plugins that run.
   *
   * @param onFailure told of a plugin, by its place, whose commit has failed
   */
  commit(prepared: PreparedPlugins, onFailure: (place: number, error: unknown) => void): void {
    this.all = prepared.instances;
    this.left.clear();
    for (let next = prepared.commits.shift(); next !== undefined; next = prepared.commits.shift()) {
      const { place, commit } = next;
      try {
        this.calls.call(this.all[place]!.name, place, HOOK_COMMIT, commit);
      } catch (error) {
        onFailure(place, error);
      }
    }
  }

  /**
   * Has a plugin read anew what its options name; returns the commit.
   *
   * @throws whatever its `configure` does: it goes on as it is
   */
  configureAnew(place: number): () => void {
    const { half, name, configured } = this.all[place]!;
    const configuration = withPrepared(JSON.parse(configured) as SavedConfiguration);
    const commit = this.calls.call(name, place, HOOK_CONFIGURE, () => half.configure(configuration));
    const made = usable(commit);
    return () => this.calls.call(name, place, HOOK_COMMIT, made);
  }

  /** What the plugins that run want to leave to others. One that fails leaves nothing. */
  export(): Map<string, ExportedState> {
    const states = new Map<string, ExportedState>();
    this.all.forEach((instance, place) => {
      if (instance.standing.isTripped) return;
      try {
        const state = this.exportOf(instance, place);
        if (state !== undefined) states.set(instance.name, { version: instance.version, state });
      } catch (error) {
        this.host.log(instance.name, 'error', `its state is lost: ${(error as Error).message}`, '');
      }
    });
    return states;
  }

  private exportOf(instance: PluginInstance, place: number): Json | undefined {
    const { half, name } = instance;
    return this.calls.call(name, place, HOOK_EXPORT, () => plain(half.exportState?.()));
  }

  /** Gives a new instance what its predecessor has left. False if it does not know the state of flows then. */
  private inherit(instance: PluginInstance, before: PluginInstance | undefined): boolean {
    const { half, name, standing } = instance;
    let left = this.left.get(name);
    this.left.delete(name);
    if (before !== undefined) {
      if (before.standing.isTripped) return false;
      const state = this.exportOf(before, this.all.indexOf(before));
      left = state === undefined ? undefined : { version: before.version, state };
    }
    if (left === undefined || half.importState === undefined) return false;
    const { state, version } = left;
    const keepsFlowState = before !== undefined && before.standing.stateWords === standing.stateWords;
    this.calls.call(name, NO_PLACE, HOOK_IMPORT, () => half.importState!(state, version, keepsFlowState));
    if (keepsFlowState) standing.inherit(before.standing);
    return keepsFlowState;
  }
}

/** @throws Error if what was prepared cannot be read */
function withPrepared({ prepared, ...rest }: SavedConfiguration): PluginConfiguration {
  return prepared === undefined ? rest : { ...rest, prepared: readFileSync(prepared) };
}

/** What a plugin gives away as it will be read by others, while reading it may still run code of its. */
function plain(state: Json | undefined): Json | undefined {
  const text = JSON.stringify(state) as string | undefined;
  return text === undefined ? undefined : (JSON.parse(text) as Json);
}

function usable(commit: unknown): () => void {
  if (typeof commit !== 'function')
    throw new Error('its configure does not return the function that commits');
  return commit as () => void;
}
