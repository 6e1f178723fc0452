/**
 * The guard alone, for the time before the network is up: it keeps the host out of the sites' packets from their first
 * one on, although no gateway runs yet (`homeward guard`, appliance/systemd/homeward-guard.service).
 *
 * Devices need not be there: the guard names them. What it takes for the full one - addresses, routes - comes with the
 * network, and the gateway's start replaces this guard by it in one transaction. Until then, and if that start fails,
 * this one stands.
 *
 * Neighbours: `start.ts` (what a start does), `host/host-side.ts`, `daemon.ts` (`takeDown` removes the guard).
 */
import { compilePlan, routeQueries } from './compile/compile.ts';
import type { Config } from './config/config.ts';
import { collectFacts } from './host/collect-facts.ts';
import { HostSide } from './host/host-side.ts';
import { Identities } from './identities.ts';
import { leaveInstance } from './instance-end.ts';
import { findDataPlane, killProcess } from './runtime/data-plane-process.ts';
import { acquireInstance } from './runtime/instance.ts';
import { LockHeldError } from './runtime/lock.ts';
import type { Logger } from './runtime/logger.ts';
import { forgetFlows, openRuntimeDirectory, type RuntimeDirectory } from './runtime/runtime-directory.ts';
import { chooseConfig, type StartOptions } from './store/starting-config.ts';

/**
 * Sets the guard for the configuration that a start would run.
 *
 * @returns false if a gateway runs here, whose guard stands.
 * @throws ConfigError, HistoryInUseError, CommandError; a guard that stood before stands then.
 */
export async function setBootGuard(
  configPath: string,
  logger: Logger,
  options: StartOptions = {},
): Promise<boolean> {
  const runtime = openRuntimeDirectory(options.environment);
  let lock: ReturnType<typeof acquireInstance>;
  try {
    lock = acquireInstance(runtime);
  } catch (error) {
    if (error instanceof LockHeldError) return false;
    throw error;
  }
  try {
    // The guard knows nothing of plugins, and must not wait for them.
    const { loaded, history } = chooseConfig(configPath, logger, { ...options, withoutPlugins: true });
    history?.close();
    await protect(loaded.config, runtime);
  } catch (error) {
    leaveInstance(runtime, lock);
    throw error;
  }
  lock.release();
  return true;
}

async function protect(config: Config, runtime: RuntimeDirectory): Promise<void> {
  const host = HostSide.open(runtime.hostStatePath);
  if (!host.takesOver) {
    // As at a start: this is of another boot or of a namespace that is gone.
    const orphan = findDataPlane(runtime);
    if (orphan !== undefined) await killProcess(orphan);
    forgetFlows(runtime);
  }
  const facts = await collectFacts(routeQueries(config));
  // The numbers are for the rules' names only: nobody else sees them.
  const { host: setup } = compilePlan(config, facts, new Identities(), { tolerate: 'everything' });
  await host.protect(setup, facts);
}
