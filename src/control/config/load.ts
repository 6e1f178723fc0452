/**
 * From a YAML file to a checked {@link Config}:
 *
 * ```
 *  file -> YAML (source.ts) -> shape and values (schema.ts) -> what holds between them (checks/) -> Config
 * ```
 *
 * Each step reports everything it finds and the next one runs only if there was nothing. Nothing here asks the
 * host, but for the files of plugins; `compile/` does.
 */
import type { KeptReading } from '../plugins/kept-plugins.ts';
import { checkAmbiguity } from './checks/ambiguity.ts';
import { checkEgress } from './checks/egress.ts';
import { checkDevices, checkNames } from './checks/names.ts';
import { checkPlugins } from './checks/plugins.ts';
import { checkRoutes } from './checks/routes.ts';
import { checkTunnels } from './checks/tunnels.ts';
import type { Config } from './config.ts';
import { ConfigError } from './errors.ts';
import { Findings } from './findings.ts';
import { toConfig } from './normalise.ts';
import { type ConfigDocument, configSchema } from './schema.ts';
import { schemaProblems } from './schema-problems.ts';
import { readConfigText, YamlSource } from './source.ts';

export interface ReadOptions {
  /**
   * Leave plugins out, and their files alone: for whoever only needs the rest. They may be on a file system that is not
   * there yet, and nobody is to be kept from what has nothing to do with them.
   */
  readonly withoutPlugins?: boolean | undefined;
  /** Copies of plugins, and why one is read: without, plugins are read where they are installed. */
  readonly kept?: KeptReading | undefined;
}

/** A configuration in all its forms. */
export interface LoadedConfig {
  /** As the file has it, comments and all. */
  readonly text: string;
  /** The file's plain values, without defaults. */
  readonly content: unknown;
  /** Checked, with defaults, in the file's spelling of keys. */
  readonly document: ConfigDocument;
  readonly config: Config;
}

/**
 * Reads and checks a configuration file.
 *
 * @throws ConfigError with a line for everything that is wrong.
 */
export function loadConfig(file: string, options?: ReadOptions): Config {
  return parseConfig(readConfigText(file), file, options);
}

/** As {@link loadConfig}, of text; `file` is only for messages. */
export function parseConfig(text: string, file: string, options?: ReadOptions): Config {
  return readConfig(text, file, options).config;
}

/** As {@link parseConfig}, with what it was made from. */
export function readConfig(text: string, file: string, options: ReadOptions = {}): LoadedConfig {
  const source = new YamlSource(text, file);
  const content = source.content();
  const parsed = configSchema.safeParse(content);
  if (!parsed.success) throw new ConfigError(schemaProblems(parsed.error, source));
  const document = parsed.data;
  const findings = new Findings(source);
  checkNames(document, findings);
  checkTunnels(document, findings);
  checkDevices(document, findings);
  checkEgress(document, findings);
  checkRoutes(document, findings);
  const plugins = options.withoutPlugins ? [] : checkPlugins(document, findings, options.kept);
  findings.throwIfAny();
  checkAmbiguity(document, findings);
  return { text, content, document, config: toConfig(document, plugins, findings.notices, source) };
}
