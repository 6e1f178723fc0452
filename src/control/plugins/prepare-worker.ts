/**
 * The thread in which a plugin's `prepare` module runs: it leaves what that has made in a file, and says which.
 *
 * The file is named after its content, so that what comes out the same is the same: then nothing needs to be taken anew.
 *
 * Neighbours: `preparations.ts` (begins it, and ends it if it takes too long).
 */
import { createHash } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, threadId, workerData } from 'node:worker_threads';
import {
  type OptionsPreparation,
  type PluginConfiguration,
  PluginOptionsError,
} from '../../plugin/contract.ts';
import { PluginFiles } from '../../plugin/module-loader.ts';

/** What a plugin may prepare: it stays in memory, and the data plane reads it at once. */
const MAX_BYTES = 128 * 1024 * 1024;

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
    if (bytes.length > MAX_BYTES)
      throw new Error(`its prepareOptions returns ${bytes.length} bytes, and ${MAX_BYTES} are the most`);
    const digest = createHash('sha256').update(bytes).digest('hex');
    const path = join(directory, `${name}-${digest}`);
    const half = `${path}.${threadId}.tmp`;
    try {
      writeFileSync(half, bytes, { mode: 0o600 });
      renameSync(half, path);
    } catch (error) {
      // No room: what there is of it takes some.
      rmSync(half, { force: true });
      throw error;
    }
    return { file: path };
  } catch (error) {
    const { message = String(error) } = (error ?? {}) as { message?: string };
    // Errors of the system have a path, too: that of a file.
    return { message, path: error instanceof PluginOptionsError ? error.path : '' };
  }
}

parentPort!.postMessage(answer(workerData as PreparationWork));
