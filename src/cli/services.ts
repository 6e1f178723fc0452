/**
 * What the command line needs beside the API client: handed in by `main.ts`, so that no command imports the
 * control process and `status` does not load it.
 */

import type { AuditBody } from '../api/schemas/audit.ts';
import type { PluginCommandBody } from '../api/schemas/plugins.ts';

/** What `config check` found out. */
export interface CheckedConfig {
  /** What messages call it. */
  readonly file: string;
  /** One line each: legal but worth knowing, beside what the audit says. */
  readonly notices: readonly string[];
  /** One line each: why tunnels and egresses would be down on this host. */
  readonly down: readonly string[];
  readonly sites: number;
  readonly tunnels: number;
  readonly egresses: number;
  /** Which addresses several sites declare, and what that means. */
  readonly audit: AuditBody;
}

/** What `plugins create` wrote. */
export interface CreatedPlugin {
  readonly name: string;
  /** Absolute. */
  readonly directory: string;
  /** Relative to it. */
  readonly files: string[];
}

export interface CliServices {
  /** Runs the gateway in the foreground until it is stopped; rejects if it cannot start. */
  runDaemon(configPath: string, strict: boolean): Promise<void>;
  /** Sets the guard alone; resolves to false if a gateway runs, whose guard stands. */
  setGuard(configPath: string): Promise<boolean>;
  /** Cleans up what an instance left that runs no longer. Resolves to false if there was nothing. */
  takeDownLeftovers(): Promise<boolean>;
  /**
   * @param path `-`: the standard input
   * @param strict whether what is missing on this host is wrong, too
   * @throws an error with code `config_invalid` and a `problems` list if a start would refuse the file; `api_listen` if
   * the API's certificate or tokens cannot be used
   */
  checkConfig(path: string, strict: boolean): Promise<CheckedConfig>;
  /** Commands that the manifests of homeward's own plugins declare, by plugin. */
  bundledCommands(): Readonly<Record<string, Readonly<Record<string, PluginCommandBody>>>>;
  /**
   * Writes a new plugin into a directory that is not there yet, or is empty.
   *
   * @throws an error of wrong usage if it cannot be named or written so
   */
  createPlugin(name: string, directory: string): Promise<CreatedPlugin>;
  /** The JSON Schema of the configuration file. */
  configSchema(): Promise<unknown>;
  /** Milliseconds of a duration such as `30s`; undefined for anything else. */
  readDuration(text: string): number | undefined;
  /** Bytes of a size such as `64KiB`; undefined for anything else. */
  readSize(text: string): number | undefined;
  /** The candidate that was meant by a mistyped name; undefined: none is near. */
  nearest(name: string, candidates: readonly string[]): string | undefined;
  /** The API socket of this network namespace's instance; of the configuration's, if one is given. */
  apiSocketPath(configPath: string | undefined): Promise<string>;
}

let services: CliServices | undefined;

/** To be called once, before any command runs. */
export function provideServices(provided: CliServices): void {
  services = provided;
}

export function cliServices(): CliServices {
  if (!services) throw new Error('the command line was started without its services');
  return services;
}
