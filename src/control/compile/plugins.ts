/** Where the plugins that come with homeward lie, in a checkout and when built. */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { PlanPlugin } from '../../pipeline/plan.ts';
import { DEFAULT_FAILURE_ACTION, type FailurePolicy, type PluginManifest } from '../../plugin/contract.ts';
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
    const path = candidates.find(existsSync) ?? candidates[0]!;
    const manifest = JSON.parse(readFileSync(path, 'utf8')) as PluginManifest;
    return {
      name,
      manifest: path,
      version: manifest.version,
      options,
      failurePolicy: { ...CLOSED, ...manifest.failure_policy },
      ports: 'all',
      revision: 0,
    };
  });
}

/** What applies where neither manifest nor configuration says anything. */
const CLOSED: FailurePolicy = {
  exception: DEFAULT_FAILURE_ACTION,
  timeout: DEFAULT_FAILURE_ACTION,
  memory: DEFAULT_FAILURE_ACTION,
  midstream: DEFAULT_FAILURE_ACTION,
  unparsable: DEFAULT_FAILURE_ACTION,
};
