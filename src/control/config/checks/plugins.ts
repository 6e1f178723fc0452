/**
 * Plugins: that they are there, what their manifests and options say, and the order in which they run.
 *
 * Reads manifests and loads the `check` modules of plugins: what a gateway would refuse when it starts is found here.
 *
 * Neighbours: `../../plugins/` (manifests, options, order), `../plugin-schema.ts` (the file's shape).
 */
import { dirname } from 'node:path';
import { COUNTED_PLUGINS } from '../../../flow/counters.ts';
import { DEFAULT_FAILURE_ACTION, FAILURE_CAUSES, type FailurePolicy } from '../../../plugin/contract.ts';
import { DIVERSION_PREFIXES } from '../../../plugin/diversion-addresses.ts';
import { isOwnPlugin } from '../../../plugin/module-file.ts';
import { untrustedFile } from '../../../plugin/trusted-files.ts';
import { type Prefix, prefixContainsWords } from '../../../wire/address.ts';
import { checkOptions } from '../../plugins/check-options.ts';
import { isKnownPlugin, type Located, locatePlugin, RETURN_ROUTING } from '../../plugins/installed.ts';
import type { KeptReading } from '../../plugins/kept-plugins.ts';
import { readManifest } from '../../plugins/manifest.ts';
import type { Manifest } from '../../plugins/manifest-schema.ts';
import { orderPlugins } from '../../plugins/order.ts';
import type { ConfigPath, PluginConfig } from '../config.ts';
import { ConfigError } from '../errors.ts';
import type { Findings } from '../findings.ts';
import { knownPrefix } from '../ip.ts';
import type { ConfigDocument } from '../schema.ts';

type PluginDocument = ConfigDocument['plugins'][number];

/**
 * Checks the plugins.
 *
 * @returns them in the order in which they run, `return-routing` among them; of use only if there were no problems.
 */
export function checkPlugins(
  document: ConfigDocument,
  findings: Findings,
  kept?: KeptReading,
): PluginConfig[] {
  checkDoubles(document, findings);
  const written = document.plugins.some(({ name }) => name === RETURN_ROUTING)
    ? document.plugins
    : [...document.plugins, { name: RETURN_ROUTING, enabled: true, on_failure: {}, options: {} }];
  if (written.length > COUNTED_PLUGINS) {
    const text = `${written.length} plugins with ${RETURN_ROUTING} are too many; write at most ${COUNTED_PLUGINS}`;
    findings.problem(['plugins'], text);
  }
  const plugins = written.flatMap((plugin, at) => {
    const path = ['plugins', at];
    const located = locatePlugin(plugin.name, plugin.from, document.gateway.plugin_dir);
    const file =
      plugin.from === undefined ? foundFile(located) : chosenFile(plugin, located, kept, path, findings);
    if ('problem' in file) {
      findings.problem([...path, plugin.from === undefined ? 'name' : 'from'], file.problem);
      return [];
    }
    const manifest = manifestOf(plugin, file.manifest, path, findings);
    if (manifest === undefined) return [];
    checkPlaces(plugin, document, path, findings);
    const options = checkOptions(plugin, file.manifest, manifest, document, path, findings);
    return [{ at, manifest, config: pluginConfig(plugin, file, manifest, options, document) }];
  });
  checkDiversions(document, plugins, findings);
  const names = new Set(written.map(({ name }) => name));
  for (const { at, manifest, config } of plugins) {
    for (const key of ['runs_before', 'runs_after'] as const) {
      for (const name of manifest[key] ?? []) {
        if (names.has(name) || isKnownPlugin(name)) continue;
        const when = key.replace('_', ' ');
        const text = `${config.installedManifest} says that it ${when} ${name}, which is no plugin of homeward's own and not configured; configure ${name}, or take it out of ${key}`;
        findings.problem(['plugins', at, 'name'], text);
      }
    }
  }
  return inOrder(
    plugins.map(({ config }) => config),
    findings,
  );
}

/** Where a plugin is read. */
type PluginFile = { readonly manifest: string; readonly installed: string } | { readonly problem: string };

function foundFile(located: Located): PluginFile {
  return 'problem' in located ? located : { manifest: located.manifest, installed: located.manifest };
}

/** Of a plugin that is not homeward's own: before anything of it is loaded. */
function chosenFile(
  plugin: PluginDocument,
  located: Located,
  kept: KeptReading | undefined,
  path: ConfigPath,
  findings: Findings,
): PluginFile {
  if ('manifest' in located && isOwnPlugin(dirname(located.manifest))) return foundFile(located);
  const chosen = kept?.plugins.choose(plugin.name, located, kept.reading) ?? foundFile(located);
  if ('problem' in chosen) return chosen;
  const { manifest } = chosen;
  if ('isNew' in chosen && !chosen.isNew) {
    if (chosen.notice !== '') findings.notice([...path, 'from'], chosen.notice);
    return { manifest, installed: 'manifest' in located ? located.manifest : manifest };
  }
  const fault = untrustedFile(dirname(manifest));
  if (fault !== undefined) return { problem: `its code would run with all rights, and ${fault}` };
  if (kept === undefined) return { manifest, installed: manifest };
  // Errors name the file that can be put right.
  const problems = findings.problems.length;
  if (manifestOf(plugin, manifest, path, findings) === undefined) {
    findings.problems.splice(problems);
    return { manifest, installed: manifest };
  }
  try {
    return { manifest: kept.plugins.keep(manifest), installed: manifest };
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    if (code === undefined) return { problem: `no copy of it can be kept: ${message}` };
    // As without a history: better than no gateway.
    const text = `runs from its folder, for no copy of it can be kept (${message}): after a crash, what is there then`;
    findings.notice([...path, 'from'], text);
    return { manifest, installed: manifest };
  }
}

/** No site may have the addresses that stand for sites behind a proxy. */
function checkDiversions(
  document: ConfigDocument,
  plugins: readonly { readonly config: PluginConfig }[],
  findings: Findings,
): void {
  const diverts = plugins.find(({ config }) => config.enabled && config.manifest.diversions.length > 0);
  if (diverts === undefined) return;
  document.sites.forEach(({ prefixes }, site) => {
    prefixes.forEach((prefix, at) => {
      const taken = DIVERSION_PREFIXES.find((own) => doOverlap(knownPrefix(own), knownPrefix(prefix)));
      if (taken === undefined) return;
      const text = `${prefix} meets ${taken}, which the plugin ${diverts.config.name} needs for its proxy; take it out, or leave out the plugin`;
      findings.problem(['sites', site, 'prefixes', at], text);
    });
  });
}

function checkDoubles(document: ConfigDocument, findings: Findings): void {
  const seen = new Set<string>();
  document.plugins.forEach(({ name, enabled, sites, tunnels }, at) => {
    if (seen.has(name)) {
      findings.problem(['plugins', at, 'name'], `${name} stands here twice; write each plugin once`);
    }
    seen.add(name);
    if (name !== RETURN_ROUTING) return;
    const why = 'without it no flow could come about; leave it out';
    if (!enabled) findings.problem(['plugins', at, 'enabled'], `${name} always runs, ${why}`);
    if (sites !== undefined)
      findings.problem(['plugins', at, 'sites'], `${name} runs for every flow, ${why}`);
    if (tunnels !== undefined)
      findings.problem(['plugins', at, 'tunnels'], `${name} runs for every flow, ${why}`);
  });
}

function manifestOf(
  plugin: PluginDocument,
  file: string,
  path: ConfigPath,
  findings: Findings,
): Manifest | undefined {
  try {
    const manifest = readManifest(file);
    if (manifest.name === plugin.name) return manifest;
    findings.problem([...path, 'name'], `${file} names the plugin ${manifest.name}; write that name`);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    findings.problems.push(...error.problems);
  }
  return undefined;
}

/** Sites and tunnels for whose flows it runs. */
function checkPlaces(
  plugin: PluginDocument,
  document: ConfigDocument,
  path: ConfigPath,
  findings: Findings,
): void {
  const sites = document.sites.map(({ name }) => name);
  const ports = portNames(document);
  const check = (key: 'sites' | 'tunnels', known: readonly string[], what: string): void => {
    plugin[key]?.forEach((name, at) => {
      if (known.includes(name)) return;
      const there = known.length === 0 ? 'there is none' : `there are ${known.join(', ')}`;
      findings.problem([...path, key, at], `${name} is not ${what}; ${there}`);
    });
    if (plugin[key]?.length === 0) {
      findings.problem([...path, key], 'is empty; write at least one name, or leave it out for all');
    }
  };
  check('sites', sites, 'a site');
  check('tunnels', ports, 'a tunnel or an egress');
}

function portNames({ sites, egress }: ConfigDocument): string[] {
  return [
    ...sites.flatMap(({ tunnels }) => tunnels.map(({ name }) => name)),
    ...egress.map(({ name }) => name),
  ];
}

function pluginConfig(
  plugin: PluginDocument,
  { manifest: manifestPath, installed }: Exclude<PluginFile, { readonly problem: string }>,
  manifest: Manifest,
  options: Readonly<Record<string, unknown>>,
  document: ConfigDocument,
): PluginConfig {
  const { name, enabled, sites, tunnels } = plugin;
  const ofSites = document.sites.flatMap((site) =>
    sites?.includes(site.name) === true ? site.tunnels.map((tunnel) => tunnel.name) : [],
  );
  const ports =
    sites === undefined && tunnels === undefined ? null : new Set([...ofSites, ...(tunnels ?? [])]);
  const onFailure = Object.fromEntries(
    FAILURE_CAUSES.map((cause) => [
      cause,
      plugin.on_failure[cause] ?? manifest.failure_policy[cause] ?? DEFAULT_FAILURE_ACTION,
    ]),
  ) as unknown as FailurePolicy;
  return {
    name,
    manifestPath,
    installedManifest: installed,
    manifest,
    enabled,
    sites: sites ?? null,
    tunnels: tunnels ?? null,
    ports: ports === null ? 'all' : portNames(document).filter((port) => ports.has(port)),
    onFailure,
    options,
  };
}

function inOrder(plugins: readonly PluginConfig[], findings: Findings): PluginConfig[] {
  const ordering = orderPlugins(
    plugins.map(({ name, manifest }) => ({
      name,
      phase: manifest.phase,
      runsBefore: manifest.runs_before ?? [],
      runsAfter: manifest.runs_after ?? [],
    })),
  );
  if ('order' in ordering) return ordering.order.map((at) => plugins[at]!);
  const [first, ...others] = ordering.cycle;
  const ring = [...others, first!].map((name) => ` before ${name}`).join(', and that');
  findings.problem(
    ['plugins'],
    `${first} has to run${ring}: no order is right (plugins of the routing phase run behind the others); change runs_before or runs_after in a manifest of theirs, or leave one of them out`,
  );
  return [];
}

function doOverlap(a: Prefix, b: Prefix): boolean {
  const [wide, narrow] = a.length <= b.length ? [a, b] : [b, a];
  const [word0, word1, word2, word3] = narrow.words as unknown as [number, number, number, number];
  return prefixContainsWords(wide, narrow.family, word0, word1, word2, word3);
}
