/**
 * Begins a plugin: writes a folder that works as it is.
 *
 * `homeward/plugin` leads to this homeward from there: in a gateway by the loader (`plugin/module-loader.ts`), and in the
 * plugin's own tests by a link in its `node_modules`, which is what installing homeward there would give.
 *
 * Neighbours: `template.ts` (the files' texts), docs/plugins.md (the guide), `cli/commands/plugins/create.ts`.
 */
import { existsSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { PLUGIN_API_FILE } from '../../plugin/module-loader.ts';
import { makeDirectories } from '../make-directories.ts';
import { isKnownPlugin } from './installed.ts';
import { pluginName } from './manifest-schema.ts';
import { templateFiles } from './template.ts';

/** The name or the place of a new plugin cannot be. */
export class CreatePluginError extends Error {
  override readonly name = 'CreatePluginError';
  readonly code = 'wrong_usage';
  /** Wrong usage. */
  readonly exitStatus = 2;
}

/**
 * Writes a new plugin.
 *
 * @param directory absolute; not there yet, or empty
 * @returns what was written
 * @throws CreatePluginError; Error if it cannot be written
 */
export function createPlugin(
  name: string,
  directory: string,
): { name: string; directory: string; files: string[] } {
  const parsed = pluginName.safeParse(name);
  if (!parsed.success) throw new CreatePluginError(parsed.error.issues[0]!.message);
  if (isKnownPlugin(name)) {
    throw new CreatePluginError(`${name} is a plugin of homeward's own; choose another name`);
  }
  if (existsSync(directory) && readdirSync(directory).length > 0) {
    throw new CreatePluginError(`${directory} is not empty; name a folder that is not there yet (--dir)`);
  }
  const files = templateFiles(name);
  for (const [file, text] of Object.entries(files)) {
    makeDirectories(dirname(join(directory, file)), 0o777);
    writeFileSync(join(directory, file), text);
  }
  linkHomeward(directory);
  return { name, directory, files: Object.keys(files) };
}

/** A package with nothing but a link to the contract: types and values of the homeward that made it. */
function linkHomeward(directory: string): void {
  const folder = join(directory, 'node_modules/homeward');
  const api = `./plugin${extname(PLUGIN_API_FILE)}`;
  makeDirectories(folder, 0o777);
  symlinkSync(PLUGIN_API_FILE, join(folder, api));
  const manifest = { name: 'homeward', type: 'module', exports: { './plugin': api } };
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}
