/**
 * The thread in which a plugin's `prepare` module runs: it leaves what that has made in a file, and says which.
 *
 * The file is named after its content, so that what comes out the same is the same: then nothing needs to be taken anew.
 *
 * Neighbours: `preparations.ts` (begins it, and ends it if it takes too long).
 */
import { createHash } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, threadId, workerData } from 'node:worker_threads';
import type { OptionsPreparation, PluginConfiguration } from '../../plugin/contract.ts';
import { PluginFiles } from '../../plugin/module-loader.ts';

/** What the thread is given. */
export interface PreparationWork {
  readonly name: string;
  /** Of the plugin, absolute. */
  readonly folder: string;
  /** The module, absolute. */
  readonly file: string;
  readonly configuration: PluginConfiguration;
  /** Where files go. */
  readonly directory: string;
}

/** What it answers. */
export type PreparationAnswer =
  | { readonly file: string }
  | {
      /** In the plugin's words. */
      readonly message: string;
      /** Where in the options; empty for all of them, or for no fault of theirs. */
      readonly path: string;
    };

function answer({ name, folder, file, configuration, directory }: PreparationWork): PreparationAnswer {
  try {
    const { prepareOptions: prepare } = new PluginFiles(folder).load(file);
    if (typeof prepare !== 'function') throw new Error('its prepare module exports no prepareOptions');
    const bytes = (prepare as OptionsPreparation)(configuration);
    if (!(bytes instanceof Uint8Array)) throw new Error('its prepareOptions returns no Uint8Array');
    const digest = createHash('sha256').update(bytes).digest('hex');
    const path = join(directory, `${name}-${digest}`);
    const half = `${path}.${threadId}.tmp`;
    writeFileSync(half, bytes, { mode: 0o600 });
    renameSync(half, path);
    return { file: path };
  } catch (error) {
    const { message = String(error), path = '' } = (error ?? {}) as { message?: string; path?: unknown };
    return { message, path: typeof path === 'string' ? path : '' };
  }
}

parentPort!.postMessage(answer(workerData as PreparationWork));
