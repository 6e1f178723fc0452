/**
 * Options of plugins, checked before anything runs with them: by the JSON Schema of the manifest, then by the plugin's
 * own `check` module.
 *
 * Neighbours: `schema-check.ts`, `../config/checks/plugins.ts` (the caller), docs/plugins.md (what a `check` module is).
 */
import { dirname } from 'node:path';
import type { OptionsCheck, PluginTopology } from '../../plugin/contract.ts';
import { moduleFile } from '../../plugin/module-file.ts';
import { readThrown } from '../../plugin/thrown.ts';
import type { ConfigPath } from '../config/config.ts';
import type { Findings } from '../config/findings.ts';
import type { ConfigDocument } from '../config/schema.ts';
import { filesOf } from './files.ts';
import type { Manifest } from './manifest-schema.ts';
import { checkBySchema, NO_MEMBERS } from './schema-check.ts';
import { withinTime } from './time-limit.ts';

/** Whoever takes longer does not come to an end; less than the 15 s after which the service manager takes control for stuck. */
const CHECK_LIMIT_MS = 10_000;

/** Something wrong, by its path below the plugin. */
interface OptionProblem {
  readonly path: ConfigPath;
  readonly message: string;
}

/**
 * Checks the options of one plugin.
 *
 * @returns them with the defaults of the schema.
 */
export function checkOptions(
  { name, options: given }: { readonly name: string; readonly options: Readonly<Record<string, unknown>> },
  manifestPath: string,
  manifest: Manifest,
  document: ConfigDocument,
  path: ConfigPath,
  findings: Findings,
): Readonly<Record<string, unknown>> {
  const { value, findings: wrong } = checkBySchema(manifest.options ?? NO_MEMBERS, given);
  const options = value as Readonly<Record<string, unknown>>;
  for (const finding of wrong) {
    const at = [...path, 'options', ...finding.path];
    if (finding.atKey) findings.problemAtKey(at, finding.text);
    else findings.problem(at, finding.text);
  }
  if (wrong.length > 0 || manifest.check === undefined) return options;
  for (const { path: at, message } of ownCheck(name, manifestPath, manifest.check, options, document)) {
    findings.problem([...path, ...at], message);
  }
  return options;
}

/** What the plugin's own module says, by paths below the plugin. One that fails has found the options wrong, too. */
function ownCheck(
  name: string,
  manifestPath: string,
  module: string,
  options: unknown,
  document: ConfigDocument,
): OptionProblem[] {
  const file = moduleFile(manifestPath, module) ?? module;
  try {
    return withinTime(CHECK_LIMIT_MS, () => {
      const { checkOptions: check } = filesOf(dirname(manifestPath)).load(file);
      if (typeof check !== 'function') {
        return [{ path: ['name'], message: `${file} exports no checkOptions; ask who wrote ${name}` }];
      }
      const problems = (check as OptionsCheck)({
        options: structuredClone(options),
        topology: topologyOf(document),
      });
      return problems.map(({ path, message }) => ({ path: ['options', ...optionPath(path)], message }));
    });
  } catch (error) {
    const why = readThrown(error).text;
    return [{ path: ['name'], message: `the check of ${name} (${file}) fails: ${why}; ask who wrote it` }];
  }
}

/** `rules[3].match` as a path. */
export function optionPath(text: string): ConfigPath {
  return [...text.matchAll(/\[(\d+)\]|([^.[\]]+)/g)].map(([, index, key]) =>
    index === undefined ? key! : Number(index),
  );
}

/** Sites, tunnels and egresses by name. The numbers are of nobody's but the check's: the gateway gives others. */
function topologyOf({ sites, egress, flow_table: flowTable }: ConfigDocument): PluginTopology {
  const spaces = [
    ...sites.map(({ name, prefixes }, at) => ({ id: at + 1, site: name, prefixes })),
    ...egress.map((_, at) => ({ id: sites.length + at + 1, site: undefined, prefixes: [] })),
  ];
  const tunnels = sites.flatMap((site, at) =>
    site.tunnels.map(({ name }) => ({ name, kind: 'tunnel' as const, site: site.name, space: at + 1 })),
  );
  const egresses = egress.map(({ name }, at) => ({
    name,
    kind: 'egress' as const,
    site: undefined,
    space: sites.length + at + 1,
  }));
  return {
    ports: [...tunnels, ...egresses].map((port, index) => ({ index, generation: 1, ...port })),
    spaces,
    maxFlows: flowTable.max_flows,
  };
}
