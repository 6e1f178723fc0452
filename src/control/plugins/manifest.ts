/**
 * A plugin's manifest: read from its file and checked, so that everybody behind this can rely on it.
 *
 * What is wrong is told as with a configuration, by line and path, with the manifest's own file in front.
 *
 * Neighbours: `plugin/contract.ts` (the same as types), `manifest-schema.ts` (its shape), `installed.ts` (which file),
 * `schema-check.ts` (its JSON Schemas).
 */
import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve, sep } from 'node:path';
import { moduleFile } from '../../plugin/module-file.ts';
import type { ConfigPath } from '../config/config.ts';
import { ConfigError, type Problem } from '../config/errors.ts';
import { schemaProblems } from '../config/schema-problems.ts';
import { YamlSource } from '../config/source.ts';
import { type Manifest, manifestSchema } from './manifest-schema.ts';
import { schemaFault } from './schema-check.ts';

/** Far more than any manifest needs. */
const MAX_MANIFEST_BYTES = 1024 * 1024;

/**
 * Reads a manifest.
 *
 * @throws ConfigError with a line for everything that is wrong with it.
 */
export function readManifest(file: string): Manifest {
  const text = readText(file);
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new ConfigError([wholeFile(file, `is not JSON: ${(error as Error).message}; write a JSON object`)]);
  }
  const source = locator(text, file);
  const parsed = manifestSchema.safeParse(content);
  if (!parsed.success) throw new ConfigError(schemaProblems(parsed.error, source));
  const manifest = parsed.data;
  const problems = contradictions(manifest, file).map(([path, words]) => source.problem(path, words));
  if (problems.length > 0) throw new ConfigError(problems);
  return manifest;
}

/** What every command of the command line takes. */
const COMMON_FLAGS: readonly string[] = [
  ...['config', 'socket', 'gateway', 'token-file', 'ca-file', 'timeout', 'json', 'help'],
];

type Finding = readonly [path: ConfigPath, text: string];

/** What the shape does not say. */
function contradictions(manifest: Manifest, file: string): Finding[] {
  const folder = dirname(file);
  const findings: Finding[] = [];
  for (const half of ['data', 'control', 'check', 'prepare'] as const) {
    const module = manifest[half];
    if (module === undefined) continue;
    if (!resolve(folder, module).startsWith(folder + sep)) {
      findings.push([[half], `${module} lies outside the plugin's folder; write a path inside it`]);
      continue;
    }
    const found = moduleFile(file, module);
    if (found === undefined) {
      findings.push([[half], `there is no file ${module} in ${folder}; write the path of the module`]);
    } else if (found.endsWith('ts') && folder.split(sep).includes('node_modules')) {
      const text = `Node runs no TypeScript below node_modules (${found}); compile it, and write the path of the .js file`;
      findings.push([[half], text]);
    }
  }
  for (const key of ['runs_before', 'runs_after'] as const) {
    const at = manifest[key]?.indexOf(manifest.name) ?? -1;
    if (at >= 0) findings.push([[key, at], `${manifest.name} is the plugin itself; leave it out`]);
  }
  manifest.diversions.forEach(({ name, tcp, udp }, at) => {
    const path = ['diversions', at];
    if (manifest.diversions.findIndex((other) => other.name === name) !== at)
      findings.push([[...path, 'name'], `${name} stands here twice; give each diversion a name of its own`]);
    if (tcp === undefined && udp === undefined)
      findings.push([path, 'takes nothing; write the port that its proxy listens on, tcp, udp or both']);
  });
  if (manifest.diversions.length > 0 && manifest.control === undefined)
    findings.push([['diversions'], 'need a control half, which runs the proxy; write its module as control']);
  const schemas: [ConfigPath, object | undefined][] = [
    [['options'], manifest.options],
    ...Object.entries(manifest.views).map(([view, { parameters }]): [ConfigPath, object | undefined] => [
      ['views', view, 'parameters'],
      parameters,
    ]),
  ];
  for (const [path, schema] of schemas) {
    const fault = schema === undefined ? undefined : schemaFault(schema);
    if (fault !== undefined) {
      findings.push([path, `is no usable JSON Schema (${fault}); write one of the draft 2020-12`]);
    }
  }
  for (const [verb, { view, flags }] of Object.entries(manifest.commands)) {
    for (const flag of Object.keys(flags).filter((name) => COMMON_FLAGS.includes(name))) {
      const text = `${flag} is a flag of all commands; choose another name`;
      findings.push([['commands', verb, 'flags', flag], text]);
    }
    if (manifest.views[view] !== undefined) continue;
    const known = Object.keys(manifest.views);
    const remedy = known.length === 0 ? 'declare it in views' : `write one of ${known.join(', ')}`;
    findings.push([['commands', verb, 'view'], `${view} is not a view of this plugin; ${remedy}`]);
  }
  return findings;
}

function readText(file: string): string {
  try {
    const { size } = statSync(file);
    if (size > MAX_MANIFEST_BYTES) {
      throw new ConfigError([
        wholeFile(file, `has ${size} bytes; a manifest has at most ${MAX_MANIFEST_BYTES}`),
      ]);
    }
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError([wholeFile(file, `cannot be read: ${(error as Error).message}`)]);
  }
}

/** JSON is YAML, but for tabs in places: then places are not known, and the rest is as usual. */
function locator(text: string, file: string): YamlSource {
  try {
    return new YamlSource(text, file);
  } catch {
    return new YamlSource(JSON.stringify(JSON.parse(text)), file);
  }
}

function wholeFile(file: string, text: string): Problem {
  return { file, line: 1, column: 1, path: '', text };
}
