/**
 * Plugins one by one, for the API: what the configuration says of them and how they do, and their views.
 *
 * Only members that are named here leave control, and options, which stand in the configuration's text as well.
 */
import type { PluginStatus } from '../../dataplane/plugin-messages.ts';
import { type FailureCause, type FailurePolicy, type Json, PluginQueryError } from '../../plugin/contract.ts';
import type { Config, PluginConfig } from '../config/config.ts';
import type { DiversionStatus } from '../diversions/diversions.ts';
import { RequestError } from '../request-error.ts';
import { findNamed } from '../unknown-name.ts';
import { type ControlHalfStatus, ViewFailedError } from './control-half.ts';
import type { Manifest } from './manifest-schema.ts';
import { checkBySchema, NO_MEMBERS } from './schema-check.ts';

export interface PluginOverview {
  readonly name: string;
  /** The order in which they run, from 1; those that are disabled would run there. */
  readonly position: number;
  readonly version: string;
  readonly phase: string;
  /** `unknown`: no data plane could be asked. */
  readonly state: 'running' | 'tripped' | 'disabled' | 'unknown';
  /** Of both halves. */
  readonly failures: number;
}

export interface PluginDetails extends PluginOverview {
  readonly description: string | null;
  /** Absolute path. */
  readonly manifest: string;
  readonly hooks: readonly string[];
  readonly runsBefore: readonly string[];
  readonly runsAfter: readonly string[];
  /** As configured; null: all. */
  readonly sites: readonly string[] | null;
  readonly tunnels: readonly string[] | null;
  readonly onFailure: FailurePolicy;
  readonly options: Readonly<Record<string, unknown>>;
  /** Why it is not called any more; null: it is. */
  readonly tripped: { readonly cause: FailureCause; readonly message: string } | null;
  readonly failuresByCause: Readonly<Record<string, number>>;
  /** Of hooks of the data half; null: nobody could be asked. */
  readonly calls: number | null;
  /** Mean time of one, microseconds: an estimate. */
  readonly callMicroseconds: number | null;
  /** Flows that wait for its decision. */
  readonly held: number;
  /** The plugin's own: of the data half, then of the control half. */
  readonly counters: Readonly<Record<string, number>>;
  /** null: it has none, or does not run. */
  readonly controlHalf: Omit<ControlHalfStatus, 'counters'> | null;
  /** Empty too while the control half does not run. */
  readonly diversions: readonly DiversionStatus[];
  readonly views: readonly { readonly name: string; readonly summary: string; readonly half: string }[];
  readonly commands: Readonly<
    Record<string, Manifest['commands'][string] & { readonly description: string }>
  >;
}

/** What this needs of a gateway. */
export interface PluginSources {
  readonly config: () => Config;
  /** What the data plane says; undefined: it could not be asked. */
  readonly statuses: () => Promise<readonly PluginStatus[] | undefined>;
  readonly controlHalf: (plugin: string) => ControlHalfStatus | undefined;
  /** Undefined: there is no such half. */
  readonly diversions: (plugin: string) => readonly DiversionStatus[] | undefined;
  /** Undefined: there is no such half. */
  readonly controlView: (plugin: string, view: string, parameters: Json) => Promise<Json> | undefined;
  readonly dataView: (plugin: string, view: string, parameters: Json) => Promise<DataAnswer>;
}

/** What a data half has answered. */
export interface DataAnswer {
  readonly result: Json;
  readonly error?: { readonly kind: 'query' | 'failed' | 'unavailable'; readonly message: string };
}

export class PluginService {
  readonly #sources: PluginSources;

  constructor(sources: PluginSources) {
    this.#sources = sources;
  }

  /** In the order in which they run. */
  async list(): Promise<readonly PluginOverview[]> {
    const statuses = await this.#sources.statuses();
    return this.#sources.config().plugins.map((plugin, at) => this.#overview(plugin, at, statuses));
  }

  /** @throws RequestError `no_such_plugin` */
  async show(name: string): Promise<PluginDetails> {
    const statuses = await this.#sources.statuses();
    const { plugins } = this.#sources.config();
    const plugin = this.#configured(name);
    const { manifest, sites, tunnels, onFailure, options } = plugin;
    const status = statuses?.find((one) => one.name === name);
    const controlHalf = this.#sources.controlHalf(name);
    return {
      ...this.#overview(plugin, plugins.indexOf(plugin), statuses),
      description: manifest.description ?? null,
      manifest: plugin.installedManifest,
      hooks: manifest.hooks,
      runsBefore: manifest.runs_before ?? [],
      runsAfter: manifest.runs_after ?? [],
      sites,
      tunnels,
      onFailure,
      options,
      tripped: status?.tripped ?? null,
      failuresByCause: status?.failuresByCause ?? {},
      calls: status?.calls ?? null,
      callMicroseconds: status === undefined ? null : meanMicroseconds(status),
      held: status?.held ?? 0,
      counters: { ...status?.counters, ...controlHalf?.counters },
      controlHalf:
        controlHalf === undefined
          ? null
          : {
              state: controlHalf.state,
              failures: controlHalf.failures,
              lastFailure: controlHalf.lastFailure,
            },
      diversions: this.#sources.diversions(name) ?? [],
      views: Object.entries(manifest.views).map(([view, { summary, half }]) => ({
        name: view,
        summary,
        half,
      })),
      commands: Object.fromEntries(
        Object.entries(manifest.commands).map(([verb, { description = '', ...command }]) => [
          verb,
          { ...command, description },
        ]),
      ),
    };
  }

  /** @throws RequestError `no_such_plugin` */
  isEnabled(name: string): boolean {
    return this.#configured(name).enabled;
  }

  /**
   * Asks a view of a plugin.
   *
   * @throws RequestError `no_such_plugin`, `no_such_view`, `wrong_parameters`, `plugin_disabled`, `view_failed`,
   * `data_plane_gone`
   */
  async view(name: string, view: string, parameters: Json): Promise<Json> {
    const { manifest, enabled } = this.#configured(name);
    const declared = Object.hasOwn(manifest.views, view) ? manifest.views[view] : undefined;
    if (declared === undefined) {
      const known = Object.keys(manifest.views);
      const there = known.length === 0 ? 'it has none' : `there are ${known.join(', ')}`;
      throw new RequestError('not_found', 'no_such_view', `${name} has no view ${view}; ${there}`);
    }
    const checked = checkBySchema(declared.parameters ?? NO_MEMBERS, parameters);
    if (checked.findings.length > 0) {
      const problems = checked.findings.map(({ path, atKey, text }) => {
        const words = (atKey ? path.slice(0, -1) : path).join('.');
        return words === '' ? text : `${words}: ${text}`;
      });
      throw new RequestError('invalid', 'wrong_parameters', problems.join('\n'), problems);
    }
    if (!enabled) {
      throw new RequestError(
        'conflict',
        'plugin_disabled',
        `${name} is disabled; enable it first (homeward plugins enable ${name})`,
      );
    }
    return declared.half === 'control'
      ? await this.#controlView(name, view, checked.value as Json)
      : await this.#dataView(name, view, checked.value as Json);
  }

  async #controlView(name: string, view: string, parameters: Json): Promise<Json> {
    try {
      const answer = this.#sources.controlView(name, view, parameters);
      if (answer === undefined) throw new ViewFailedError(`the control half of ${name} does not run`);
      return (await answer) ?? null;
    } catch (error) {
      if (error instanceof PluginQueryError)
        throw new RequestError('invalid', 'wrong_parameters', error.message);
      if (error instanceof ViewFailedError)
        throw new RequestError('unavailable', 'view_failed', error.message);
      throw error;
    }
  }

  async #dataView(name: string, view: string, parameters: Json): Promise<Json> {
    const { result, error } = await this.#sources.dataView(name, view, parameters);
    if (error === undefined) return result;
    if (error.kind === 'query') throw new RequestError('invalid', 'wrong_parameters', error.message);
    throw new RequestError('unavailable', 'view_failed', error.message);
  }

  #configured(name: string): PluginConfig {
    return findNamed('plugin', name, this.#sources.config().plugins);
  }

  #overview(
    { name, manifest, enabled }: PluginConfig,
    at: number,
    statuses: readonly PluginStatus[] | undefined,
  ): PluginOverview {
    const status = statuses?.find((one) => one.name === name);
    return {
      name,
      position: at + 1,
      version: status?.version ?? manifest.version,
      phase: manifest.phase,
      state: enabled ? (status?.state ?? 'unknown') : 'disabled',
      failures: (status?.failures ?? 0) + (this.#sources.controlHalf(name)?.failures ?? 0),
    };
  }
}

function meanMicroseconds({ calls, timeMs }: PluginStatus): number | null {
  return calls === 0 ? null : (timeMs * 1000) / calls;
}
