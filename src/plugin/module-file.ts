/**
 * Where the modules lie that a plugin's manifest names.
 *
 * Manifests name the source. A build has the compiled module beside the manifest; of the plugins that come with
 * homeward it has them in its own `plugins` folder, while the manifests stay in the package's:
 *
 * ```
 *  checkout   plugins/NAME/manifest.json   plugins/NAME/data.ts
 *  build      plugins/NAME/manifest.json   dist/plugins/NAME/data.js
 *  elsewhere  FOLDER/manifest.json         FOLDER/data.ts or FOLDER/data.js
 * ```
 *
 * Neighbours: `dataplane/plugin-instance.ts` (the data half), `control/plugins/` (manifests, the other modules).
 */
import { existsSync } from 'node:fs';
import { dirname, relative, resolve, sep } from 'node:path';

/** Where a checkout has homeward's own plugins; a build has their modules there, while their manifests stay in the other place. */
const BUILT_PLUGINS = resolve(import.meta.dirname, '../../plugins');
const PACKAGE_PLUGINS = resolve(import.meta.dirname, '../../../plugins');

/**
 * The file of a module.
 *
 * @param manifest absolute path of the manifest
 * @param module as the manifest names it
 * @returns undefined if there is no such file
 */
export function moduleFile(manifest: string, module: string): string | undefined {
  const folder = dirname(manifest);
  const source = resolve(folder, module);
  const compiled = source.replace(/\.(m?)ts$/, '.$1js');
  if (!import.meta.filename.endsWith('.js')) return [source, compiled].find(existsSync);
  const inPackage = relative(PACKAGE_PLUGINS, compiled);
  const inBuild = inPackage.startsWith('..') ? [] : [resolve(BUILT_PLUGINS, inPackage)];
  return [compiled, ...inBuild, source].find(existsSync);
}

/** Whether a path lies among the plugins that come with homeward. */
export function isOwnPlugin(path: string): boolean {
  const places = import.meta.filename.endsWith('.js') ? [BUILT_PLUGINS, PACKAGE_PLUGINS] : [BUILT_PLUGINS];
  return places.some((place) => resolve(path).startsWith(place + sep));
}
