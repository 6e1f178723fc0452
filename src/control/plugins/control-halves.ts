/**
 * The control halves of all plugins that have one, kept in step with what runs.
 *
 * ```
 *  plan applied ──► made (new plugin, other code) ──► configured ── messages, views ──► stopped (gone, other code)
 *                   configured anew (other options or topology)
 *  data plane ended and came back ──► dataPlaneStarted
 * ```
 *
 * Neighbours: `control-half.ts` (one of them), `../gateway.ts` (the owner), `dataplane/plugin-messages.ts`.
 */
import { dirname } from 'node:path';
import { LogLimiter } from '../../dataplane/log-limiter.ts';
import { topologyOf } from '../../dataplane/plugin-topology.ts';
import type { Plan, PlanPlugin } from '../../pipeline/plan.ts';
import type { DecidedVerdict, Json, PluginControlEnvironment } from '../../plugin/contract.ts';
import type { PluginDiversionManifest } from '../../plugin/diversion.ts';
import { moduleFile } from '../../plugin/module-file.ts';
import type { Config } from '../config/config.ts';
import type { DiversionStatus, Diversions, OpenDiversions } from '../diversions/diversions.ts';
import type { Logger } from '../runtime/logger.ts';
import { type ControlHalfStatus, halfOfException, keepFromEnding, RunningHalf } from './control-half.ts';
import { filesOf } from './files.ts';

/** The data plane, and who gives it its plan, as far as halves are concerned. */
export interface DataHalves {
  sendToPlugin(plugin: string, body: Json): void;
  /** See {@link PluginControlEnvironment.prepareAnew}. */
  prepareAnew(plugin: string): void;
  decide(plugin: string, holdToken: number, verdict: DecidedVerdict, reason: string): void;
}

interface Kept {
  readonly diversions: OpenDiversions;
  readonly half: RunningHalf;
  /** Of the code that runs. */
  readonly code: string;
  configuration: string;
}

export class ControlHalves {
  readonly #dataHalves: DataHalves;
  readonly #diversions: Pick<Diversions, 'open'>;
  readonly #logger: Logger;
  readonly #limiter = new LogLimiter();
  readonly #halves = new Map<string, Kept>();
  readonly #onException = (error: unknown): void => this.#uncaught(error);
  #watches = false;

  constructor(dataHalves: DataHalves, diversions: Pick<Diversions, 'open'>, logger: Logger) {
    this.#dataHalves = dataHalves;
    this.#diversions = diversions;
    this.#logger = logger;
  }

  /** Takes what runs now. Resolves when every half has taken it or has failed; never rejects. */
  async configure(config: Config, plan: Plan): Promise<void> {
    const wanted = plan.plugins.flatMap((plugin) => {
      const manifest = config.plugins.find(({ name }) => name === plugin.name)?.manifest;
      const module = manifest?.control;
      return module === undefined ? [] : [{ plugin, module, declared: manifest!.diversions }];
    });
    const names = new Set(wanted.map(({ plugin }) => plugin.name));
    for (const [name, kept] of [...this.#halves]) {
      if (names.has(name)) continue;
      this.#halves.delete(name);
      await end(kept);
    }
    const topology = topologyOf(plan);
    for (const { plugin, module, declared } of wanted) {
      const kept = await this.#half(plugin, module, declared);
      const configuration = { options: plugin.options, topology };
      const text = JSON.stringify(configuration);
      if (kept.configuration !== text) {
        kept.configuration = text;
        await kept.half.configure(structuredClone(configuration));
      }
      for (const diversion of await kept.diversions.untold()) await kept.half.diversionMade(diversion);
    }
  }

  /** What a data half has sent. */
  deliver(plugin: string, body: Json): void {
    this.#halves.get(plugin)?.half.message(body);
  }

  /** A data plane has begun in the place of a former one. */
  dataPlaneStarted(): void {
    for (const { half } of this.#halves.values()) half.dataPlaneStarted();
  }

  /** @returns undefined if the plugin has no control half, or does not run. */
  status(plugin: string): ControlHalfStatus | undefined {
    return this.#halves.get(plugin)?.half.status;
  }

  /** Undefined as for {@link status}. */
  diversions(plugin: string): readonly DiversionStatus[] | undefined {
    return this.#halves.get(plugin)?.diversions.statuses;
  }

  /** Asks a view; as {@link RunningHalf.view}. Undefined: there is no such half. */
  view(plugin: string, view: string, parameters: Json): Promise<Json> | undefined {
    return this.#halves.get(plugin)?.half.view(view, parameters);
  }

  async stop(): Promise<void> {
    const halves = [...this.#halves.values()];
    this.#halves.clear();
    await Promise.all(halves.map(end));
    process.off('uncaughtException', this.#onException);
    this.#watches = false;
  }

  async #half(
    plugin: PlanPlugin,
    module: string,
    declared: readonly PluginDiversionManifest[],
  ): Promise<Kept> {
    const { name, manifest, version, revision } = plugin;
    const code = JSON.stringify([manifest, module, version, revision, declared]);
    const former = this.#halves.get(name);
    if (former?.code === code) return former;
    if (former !== undefined) await end(former);
    this.#watch();
    const diversions = this.#diversions.open(name, declared);
    const half = new RunningHalf(
      () => filesOf(dirname(manifest)).load(moduleFile(manifest, module) ?? module),
      {
        name,
        log: (level, message) => this.#log(name, level, message),
        send: (body) => this.#dataHalves.sendToPlugin(name, body),
        prepareAnew: () => this.#dataHalves.prepareAnew(name),
        decide: (token, verdict, reason = '') => this.#dataHalves.decide(name, token, verdict, reason),
        diversion: (diversion) => diversions.of(diversion),
      },
    );
    const kept: Kept = { half, diversions, code, configuration: '' };
    this.#halves.set(name, kept);
    return kept;
  }

  #log(plugin: string, level: 'debug' | 'info' | 'warn' | 'error', message: string): void {
    const heldBack = this.#limiter.allow(plugin, Math.floor(performance.now()) | 0);
    if (heldBack < 0) return;
    this.#logger[level]({ plugin, half: 'control', ...(heldBack === 0 ? {} : { heldBack }) }, message);
  }

  /** From the first half on: before that an exception ends control as it always does. */
  #watch(): void {
    if (this.#watches) return;
    this.#watches = true;
    process.on('uncaughtException', this.#onException);
    keepFromEnding();
  }

  #uncaught(error: unknown): void {
    const half = halfOfException();
    if (half !== undefined) {
      half.failed(error);
      return;
    }
    // Control's own: it ends, as if nobody had listened.
    process.off('uncaughtException', this.#onException);
    setImmediate(() => {
      throw error;
    });
  }
}

/** It stops, and nothing of it stays in a namespace. */
async function end({ half, diversions }: Kept): Promise<void> {
  await half.stop();
  await diversions.close();
}
