/** Where the plugins that come with homeward lie, in a checkout and when built. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { PlanPlugin } from '../../pipeline/plan.ts';
import type { PluginConfig } from '../config/config.ts';

/**
 * `plugins/` beside `src/`. The build puts the compiled modules into `dist/plugins` and may leave the manifests
 * where they are: then the package's own folder has them.
 */
const PLACES = ['../../../plugins', '../../../../plugins'].map((path) => resolve(import.meta.dirname, path));

/** Plugins in their order, with the absolute path of each manifest. */
export function planPlugins(plugins: readonly PluginConfig[]): PlanPlugin[] {
  return plugins.map(({ name, options }) => {
    const candidates = PLACES.map((place) => resolve(place, name, 'manifest.json'));
    return { name, manifest: candidates.find(existsSync) ?? candidates[0]!, options };
  });
}
