/**
 * Options of plugins prepared for the data plane: what takes long in taking them is done here, before the plan is sent, in a
 * thread of its own. So packets never wait for it, and neither does anything else in control.
 *
 * ```
 *  plan ──► plugins with a `prepare` module: options, topology ──► thread ──► file ──► the plan names the file
 *                                            │                                           instead of the options
 *                                            └── the same as last time: the file is there
 * ```
 *
 * Files are memory (tmpfs), beside the flow memory: a data plane that is started anew finds them.
 *
 * Neighbours: `prepare-worker.ts` (the thread), `../running-plan.ts` (the owner), `dataplane/plugin-instances.ts` (reads
 * the files).
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { topologyOf } from '../../dataplane/plugin-topology.ts';
import type { Plan, PlanPlugin } from '../../pipeline/plan.ts';
import type { PluginTopology } from '../../plugin/contract.ts';
import { moduleFile } from '../../plugin/module-file.ts';
import { PATIENCE } from '../../tunnel/patience.ts';
import type { Config } from '../config/config.ts';
import { PlanRefusedError } from '../runtime/data-plane-session.ts';
import type { PreparationAnswer, PreparationWork } from './prepare-worker.ts';

const WORKER = new URL(`./prepare-worker${extname(import.meta.filename)}`, import.meta.url);
/** Tens of thousands of rules on a machine that is slow and busy; who takes longer does not come to an end. */
const LIMIT_MS = 60_000 * PATIENCE;
/** What a thread may have as heap. */
const HEAP_MIB = 1024;

const STOPPED: PreparationAnswer = { message: 'the gateway is being stopped', path: '' };

interface Made {
  /** Of what it was made of. */
  readonly key: string;
  readonly file: string;
}

export class Preparations {
  readonly #directory: string;
  readonly #limitMs: number;
  /** By name of the plugin. */
  readonly #made = new Map<string, Made>();
  /** Ends a thread that runs. */
  readonly #running = new Set<() => void>();
  #ended = false;

  /** @param directory of this object's alone; made when it is needed */
  constructor(directory: string, limitMs = LIMIT_MS) {
    this.#directory = directory;
    this.#limitMs = limitMs;
  }

  /**
   * The plan as the data plane gets it.
   *
   * @param readings how often what options name was read anew, by plugin
   * @throws PlanRefusedError that names the plugin and what is wrong with its options
   */
  async prepare(plan: Plan, config: Config, readings: ReadonlyMap<string, number>): Promise<Plan> {
    const topology = topologyOf(plan);
    const plugins = plan.plugins.map((plugin) => {
      const module = config.plugins.find(({ name }) => name === plugin.name)?.manifest.prepare;
      if (module === undefined) return plugin;
      return this.#prepared(plugin, module, topology, readings.get(plugin.name) ?? 0);
    });
    return { ...plan, plugins: await Promise.all(plugins) };
  }

  /** Threads that run are ended, and their plans refused; likewise whatever needs a thread from now on. */
  end(): void {
    this.#ended = true;
    for (const end of this.#running) end();
  }

  /**
   * Removes what no data plane will ask for any more: all but what these plans name, and what was made last of their plugins,
   * as a plan that was refused may be tried again. To be called while nothing is being prepared.
   */
  keepOnly(...plans: readonly (Plan | undefined)[]): void {
    const prepared = plans.flatMap((plan) => plan?.plugins ?? []).filter((plugin) => plugin.prepared);
    const names = new Set(prepared.map(({ name }) => name));
    for (const name of this.#made.keys()) if (!names.has(name)) this.#made.delete(name);
    const kept = new Set([...prepared.map((plugin) => plugin.prepared), ...this.#lastFiles()]);
    for (const name of this.#files()) {
      const file = join(this.#directory, name);
      if (!kept.has(file)) rmSync(file, { force: true });
    }
  }

  #lastFiles(): string[] {
    return [...this.#made.values()].map(({ file }) => file);
  }

  #files(): string[] {
    try {
      return readdirSync(this.#directory);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  async #prepared(
    plugin: PlanPlugin,
    module: string,
    topology: PluginTopology,
    reading: number,
  ): Promise<PlanPlugin> {
    const { name, manifest, options, version, revision } = plugin;
    const key = createHash('sha256')
      .update(JSON.stringify([manifest, module, version, revision, reading, options, topology]))
      .digest('hex');
    let made = this.#made.get(name);
    if (made?.key !== key || !existsSync(made.file)) {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      const answer = await this.#run({
        name,
        folder: dirname(manifest),
        file: moduleFile(manifest, module) ?? module,
        configuration: { options, topology },
        directory: this.#directory,
      });
      if (!('file' in answer)) {
        const { path, message } = answer;
        throw new PlanRefusedError(`plugin ${name}: ${path === '' ? '' : `${path}: `}${message}`);
      }
      made = { key, file: answer.file };
      this.#made.set(name, made);
    }
    return { ...plugin, options: undefined, prepared: made.file };
  }

  /** Has a thread do it, and ends it if it does not come to an end. Never rejects. */
  #run(work: PreparationWork): Promise<PreparationAnswer> {
    if (this.#ended) return Promise.resolve(STOPPED);
    return new Promise((resolve) => {
      const worker = new Worker(WORKER, {
        workerData: work,
        resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB },
      });
      const end = (answer: PreparationAnswer): void => {
        clearTimeout(timer);
        this.#running.delete(stop);
        resolve(answer);
        void worker.terminate();
      };
      const stop = (): void => end(STOPPED);
      this.#running.add(stop);
      const timer = setTimeout(
        () => end({ message: `its prepare did not return within ${this.#limitMs / 1000} s`, path: '' }),
        this.#limitMs,
      );
      worker.once('message', end);
      worker.once('error', (error: Error) => end({ message: error.message, path: '' }));
      worker.once('exit', () => end({ message: 'its prepare has ended without an answer', path: '' }));
    });
  }
}
