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

  /** Removes what no data plane will ask for any more: all but what this plan names. */
  keepOnly({ plugins }: Plan): void {
    const named = new Set(plugins.map(({ prepared }) => prepared));
    for (const name of this.#files()) {
      const file = join(this.#directory, name);
      if (!named.has(file)) rmSync(file, { force: true });
    }
    for (const [name, { file }] of this.#made) if (!named.has(file)) this.#made.delete(name);
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
      const answer = await run(
        {
          name,
          folder: dirname(manifest),
          file: moduleFile(manifest, module) ?? module,
          configuration: { options, topology },
          directory: this.#directory,
        },
        this.#limitMs,
      );
      if (!('file' in answer)) {
        const { path, message } = answer;
        throw new PlanRefusedError(`plugin ${name}: ${path === '' ? '' : `${path}: `}${message}`);
      }
      made = { key, file: answer.file };
      this.#made.set(name, made);
    }
    return { ...plugin, options: undefined, prepared: made.file };
  }
}

/** Has a thread do it, and ends it if it does not come to an end. Never rejects. */
function run(work: PreparationWork, limitMs: number): Promise<PreparationAnswer> {
  return new Promise((resolve) => {
    const worker = new Worker(WORKER, {
      workerData: work,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB },
    });
    const end = (answer: PreparationAnswer): void => {
      clearTimeout(timer);
      resolve(answer);
      void worker.terminate();
    };
    const timer = setTimeout(
      () => end({ message: `its prepare did not return within ${limitMs / 1000} s`, path: '' }),
      limitMs,
    );
    worker.once('message', end);
    worker.once('error', (error: Error) => end({ message: error.message, path: '' }));
    worker.once('exit', () => end({ message: 'its prepare has ended without an answer', path: '' }));
  });
}
