/**
 * Loads plugins by manifest and puts them in order.
 *
 * Synchronously: the data plane has no event loop to wait in. `require` of an ES module gives its exports at
 * once, as long as it has no top-level `await`.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, resolve } from 'node:path';
import type { PlanPlugin } from '../pipeline/plan.ts';
import type { LoadedPlugin } from '../pipeline/plugin-link.ts';
import type { DataHalfFactory, PluginManifest, PluginTopology } from '../plugin/contract.ts';

const require = createRequire(import.meta.url);

/** What the data plane gives to all plugins. */
export interface PluginHost {
  /** Of the plan whose plugins are loaded. */
  readonly topology: PluginTopology;
  /** Milliseconds since boot as int32. */
  nowMs(): number;
  log(plugin: string, level: 'debug' | 'info' | 'warn' | 'error', message: string): void;
}

/** A plugin with its own counters, for status. */
export interface HostedPlugin extends LoadedPlugin {
  readonly version: string;
  readonly counters: Map<string, number>;
  failures: number;
}

/**
 * Loads the plugins of a plan, in the order in which they run: as declared, policy before routing.
 *
 * @throws Error that names the plugin and what is wrong with it; then nothing was loaded
 */
export function loadPlugins(plugins: readonly PlanPlugin[], host: PluginHost): HostedPlugin[] {
  const loaded = plugins.map((plugin) => loadPlugin(plugin, host));
  const policy = loaded.filter((plugin) => plugin.phase === 'policy');
  const routing = loaded.filter((plugin) => plugin.phase === 'routing');
  if (routing.length === 0) throw new Error('no plugin decides how replies are routed (return-routing)');
  return [...policy, ...routing];
}

/**
 * Where the data half lies that a manifest names. Manifests name the source; a build has the compiled module beside
 * the manifest, or in its own `plugins` folder, while the manifest stayed in the package's.
 */
function dataModule(manifest: string, data: string): string {
  const source = resolve(dirname(manifest), data);
  const compiled = source.replace(/\.ts$/, '.js');
  const inBuild = resolve(
    import.meta.dirname,
    '../../plugins',
    basename(dirname(manifest)),
    basename(compiled),
  );
  const isBuild = import.meta.filename.endsWith('.js');
  const candidates = isBuild ? [compiled, inBuild, source] : [source, compiled];
  return candidates.find(existsSync) ?? source;
}

function loadPlugin(plugin: PlanPlugin, host: PluginHost): HostedPlugin {
  try {
    const manifest = JSON.parse(readFileSync(plugin.manifest, 'utf8')) as PluginManifest;
    if (manifest.name !== plugin.name) throw new Error(`its manifest names it ${manifest.name}`);
    const module = require(dataModule(plugin.manifest, manifest.data)) as {
      createDataHalf?: DataHalfFactory;
    };
    if (typeof module.createDataHalf !== 'function')
      throw new Error('its data half exports no createDataHalf');
    const counters = new Map<string, number>();
    const hosted: Omit<HostedPlugin, 'half'> = {
      name: plugin.name,
      version: manifest.version,
      phase: manifest.phase,
      failurePolicy: plugin.failurePolicy,
      counters,
      failures: 0,
      reason: '',
    };
    const half = module.createDataHalf({
      name: plugin.name,
      log: (level, message) => host.log(plugin.name, level, message),
      counter: (name) => {
        counters.set(name, 0);
        return () => counters.set(name, counters.get(name)! + 1);
      },
      reason: (text) => {
        hosted.reason = text;
      },
      nowMs: () => host.nowMs(),
      send: () => false,
    });
    half.configure({ options: plugin.options, topology: host.topology })();
    return Object.assign(hosted, { half });
  } catch (error) {
    throw new Error(`plugin ${plugin.name}: ${(error as Error).message}`, { cause: error });
  }
}
