/** Plugins as the data plane needs them. */
import type { PlanPlugin } from '../../pipeline/plan.ts';
import type { PluginConfig } from '../config/config.ts';

/**
 * Those that run, in their order.
 *
 * @param revisions how often each was read anew, by name
 */
export function planPlugins(
  plugins: readonly PluginConfig[],
  revisions: ReadonlyMap<string, number> = new Map(),
): PlanPlugin[] {
  return plugins
    .filter(({ enabled }) => enabled)
    .map(({ name, manifestPath, manifest, options, onFailure, ports }) => ({
      name,
      manifest: manifestPath,
      version: manifest.version,
      options,
      failurePolicy: onFailure,
      ports,
      revision: revisions.get(name) ?? 0,
    }));
}
