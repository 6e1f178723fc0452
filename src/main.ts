#!/usr/bin/env node
/**
 * The executable: puts the command line and the control process together. The control process is loaded only by
 * the commands that need it.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { AuditBody } from './api/schemas/audit.ts';
import type { PluginCommandBody } from './api/schemas/plugins.ts';
import { runCli } from './cli/cli.ts';
import type { DeclaredCommands } from './cli/plugin-commands.ts';
import type { CheckedConfig, CreatedPlugin } from './cli/services.ts';
import { nearest } from './control/config/suggest.ts';
import { readDuration, readSize } from './control/config/units.ts';
import { bundledManifest, bundledPlugins } from './control/plugins/installed.ts';
import type { PluginCommandManifest, PluginManifest } from './plugin/contract.ts';

async function runDaemon(configPath: string, strict: boolean): Promise<void> {
  const [{ runDaemon: run }, { createLogger }, { serveApi }] = await Promise.all([
    import('./control/daemon.ts'),
    import('./control/runtime/logger.ts'),
    import('./api/server.ts'),
  ]);
  await run({ configPath, strict, logger: createLogger(), serveApi });
}

async function setGuard(configPath: string): Promise<boolean> {
  const [{ setBootGuard }, { createLogger }] = await Promise.all([
    import('./control/boot-guard.ts'),
    import('./control/runtime/logger.ts'),
  ]);
  return setBootGuard(configPath, createLogger());
}

async function takeDownLeftovers(): Promise<boolean> {
  const { takeDown } = await import('./control/daemon.ts');
  return takeDown();
}

async function checkConfig(path: string, strict: boolean): Promise<CheckedConfig> {
  const [
    { loadConfig, parseConfig },
    { formatProblem },
    { auditConfig },
    { checkHost },
    { readNetworkAccess },
  ] = await Promise.all([
    import('./control/config/load.ts'),
    import('./control/config/errors.ts'),
    import('./control/audit/audit.ts'),
    import('./control/check-host.ts'),
    import('./api/network-access.ts'),
  ]);
  const config = path === '-' ? parseConfig(readFileSync(0, 'utf8'), 'standard input') : loadConfig(path);
  const { down, notices } = await checkHost(config, strict);
  if (config.api.listen !== null) readNetworkAccess(config.api.listen);
  return {
    file: config.source.file,
    // What is ambiguous the audit says, and what it means.
    notices: [...config.notices.filter(({ topic }) => topic !== 'ambiguity').map(formatProblem), ...notices],
    down,
    sites: config.sites.length,
    tunnels: config.sites.reduce((sum, site) => sum + site.tunnels.length, 0),
    egresses: config.egress.length,
    audit: auditConfig(config) as AuditBody,
  };
}

async function configSchema(): Promise<unknown> {
  const { configJsonSchema } = await import('./control/config/json-schema.ts');
  return configJsonSchema();
}

/** Read from the manifests themselves: every command does this, and few need more. */
function bundledCommands(): Readonly<Record<string, DeclaredCommands>> {
  return Object.fromEntries(
    bundledPlugins().map((name) => {
      const manifest = JSON.parse(readFileSync(bundledManifest(name)!, 'utf8')) as PluginManifest;
      const commands = Object.entries(manifest.commands ?? {});
      return [name, Object.fromEntries(commands.map(([verb, command]) => [verb, commandBody(command)]))];
    }),
  );
}

function commandBody({ flags = {}, ...command }: PluginCommandManifest): PluginCommandBody {
  const whole = Object.entries(flags).map(([name, flag]) => [
    name,
    { required: false, multiple: false, ...flag },
  ]);
  const { examples = [], ...rest } = command;
  return { description: '', ...rest, examples: [...examples], flags: Object.fromEntries(whole) };
}

async function createPlugin(name: string, directory: string): Promise<CreatedPlugin> {
  const { createPlugin: create } = await import('./control/plugins/create.ts');
  return create(name, resolve(directory));
}

async function apiSocketPath(configPath: string | undefined): Promise<string> {
  if (configPath !== undefined) {
    const { loadConfig } = await import('./control/config/load.ts');
    const { socket } = loadConfig(configPath, { withoutPlugins: true }).api;
    if (socket !== null) return socket;
  }
  const { networkNamespaceInode } = await import('./control/runtime/runtime-directory.ts');
  const directory = process.env.HOMEWARD_RUNTIME_DIR || `/run/homeward/${networkNamespaceInode()}`;
  return join(resolve(directory), 'api.sock');
}

await runCli(
  {
    runDaemon,
    setGuard,
    takeDownLeftovers,
    checkConfig,
    configSchema,
    bundledCommands,
    createPlugin,
    apiSocketPath,
    readDuration,
    readSize,
    nearest,
  },
  process.argv.slice(2),
);
