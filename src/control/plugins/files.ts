/**
 * The files of plugins as this process has last read them: the `check` and the control half of one plugin share the
 * modules they both import, until the plugin is read anew.
 */
import { PluginFiles } from '../../plugin/module-loader.ts';

const readings = new Map<string, PluginFiles>();

/** The last reading of a plugin's folder; the first one, if there was none. */
export function filesOf(folder: string): PluginFiles {
  return readings.get(folder) ?? readAnew(folder);
}

/** From now on its modules are loaded anew. */
export function readAnew(folder: string): PluginFiles {
  const files = new PluginFiles(folder);
  readings.set(folder, files);
  return files;
}
