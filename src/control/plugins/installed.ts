/**
 * Where plugins are: those that come with homeward, folders, and packages from npm.
 *
 * ```
 *  from absent              plugins/NAME of homeward
 *  from /opt/limiter        that folder
 *  from homeward-limiter    node_modules of gateway.plugin_dir, or of a folder above homeward
 *  from @acme/limiter       the same
 * ```
 *
 * Neighbours: `manifest.ts` (what is read there), `../config/checks/plugins.ts` (who asks).
 */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

/** Decides how replies find their way; without it no flow comes about, so it always runs. */
export const RETURN_ROUTING = 'return-routing';
/** Planned: their names are known, and nobody else's. */
const UNBUILT: readonly string[] = ['gateway', 'dlp'];

/**
 * `plugins/` beside `src/`. The build puts the compiled modules into `dist/plugins` and may leave the manifests
 * where they are: then the package's own folder has them.
 */
const BUNDLED_PLACES = ['../../../plugins', '../../../../plugins'].map((path) =>
  resolve(import.meta.dirname, path),
);
const MANIFEST = 'manifest.json';

/** The manifest's absolute path, or why there is none: what is wrong, and what would be right. */
export type Located = { readonly manifest: string } | { readonly problem: string };

/** Names of the plugins that come with homeward. */
export function bundledPlugins(): string[] {
  const names = BUNDLED_PLACES.flatMap((place) => (existsSync(place) ? readdirSync(place) : []));
  return [...new Set(names)].filter((name) => bundledManifest(name) !== undefined).sort();
}

/** Whether homeward knows a plugin of this name, built or not. */
export function isKnownPlugin(name: string): boolean {
  return UNBUILT.includes(name) || bundledManifest(name) !== undefined;
}

/**
 * Finds a plugin.
 *
 * @param from as the configuration has it
 * @param pluginDir `gateway.plugin_dir`: where packages are installed
 */
export function locatePlugin(name: string, from: string | undefined, pluginDir: string | undefined): Located {
  if (from === undefined) return locateBundled(name);
  if (name === RETURN_ROUTING) {
    return { problem: `${name} is always homeward's own; leave from out` };
  }
  if (from.startsWith('/')) {
    const manifest = join(from, MANIFEST);
    if (existsSync(manifest)) return { manifest };
    return { problem: `${from} has no ${MANIFEST}; write the folder of a plugin` };
  }
  const folders = packageFolders(pluginDir).map((folder) => join(folder, 'node_modules', from));
  const found = folders.map((folder) => join(folder, MANIFEST)).find(existsSync);
  if (found !== undefined) return { manifest: found };
  const installed = folders.find(existsSync);
  if (installed !== undefined) {
    return { problem: `the package in ${installed} has no ${MANIFEST}; write one that is a plugin` };
  }
  const where = pluginDir === undefined ? ', or say with gateway.plugin_dir where it is' : ` in ${pluginDir}`;
  return { problem: `there is no package ${from}; install it${where}` };
}

function locateBundled(name: string): Located {
  const manifest = bundledManifest(name);
  if (manifest !== undefined) return { manifest };
  if (UNBUILT.includes(name)) return { problem: `plugin ${name} is not built yet; leave it out` };
  const known = bundledPlugins();
  const bundled = known.length === 1 ? known[0] : `one of ${known.join(', ')}`;
  return {
    problem: `${name} is no plugin of homeward's own; write ${bundled}, or say with from where it is`,
  };
}

/** Path of the manifest of a plugin that comes with homeward. */
export function bundledManifest(name: string): string | undefined {
  return BUNDLED_PLACES.map((place) => join(place, name, MANIFEST)).find(existsSync);
}

/** Folders whose `node_modules` is looked into. */
function packageFolders(pluginDir: string | undefined): string[] {
  const folders = pluginDir === undefined ? [] : [pluginDir];
  for (let folder = import.meta.dirname; folder !== dirname(folder); ) {
    folder = dirname(folder);
    folders.push(folder);
  }
  return folders;
}
