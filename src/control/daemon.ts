/**
 * The control process in the foreground: lock, gateway, API, signals.
 *
 * ```
 *  SIGTERM                stop forwarding; guard, devices and flow memory stay (a service restart)
 *  SIGINT, POST /v1/down  take everything down
 *  SIGHUP                 open the flow log's file anew, read the API's certificate and tokens anew
 *  killed                 the data plane goes on; the next start adopts it
 * ```
 *
 * The API's server is given to {@link runDaemon}: it stands above this in the order of imports.
 */

import { removeKernelLeftovers } from '../tunnel/ipsec/kernel.ts';
import { removeLeftovers } from '../tunnel/ipsec/user-space-host.ts';
import type { AuditReport } from './audit/audit.ts';
import type { CaptureService } from './capture/capture-service.ts';
import type { ApiListenConfig } from './config/config.ts';
import type { ControlEvents } from './events.ts';
import type { FlowService } from './flows/flow-service.ts';
import type { Gateway } from './gateway.ts';
import type { GatewayStatus } from './gateway-status.ts';
import { runCommand } from './host/command.ts';
import { guardMark } from './host/guard.ts';
import { HostSide } from './host/host-side.ts';
import { readHostState } from './host/host-state.ts';
import { leaveInstance, removeInstance } from './instance-end.ts';
import { readDaemonSocket } from './ipsec/daemon-socket.ts';
import { Overview } from './overview.ts';
import type { PluginService } from './plugins/plugin-service.ts';
import { RequestError } from './request-error.ts';
import type { RouteService } from './routes/route-service.ts';
import { findDataPlane, killProcess } from './runtime/data-plane-process.ts';
import { acquireInstance } from './runtime/instance.ts';
import type { Logger } from './runtime/logger.ts';
import {
  clearRuntimeDirectory,
  networkNamespaceInode,
  openRuntimeDirectory,
  type RuntimeDirectory,
} from './runtime/runtime-directory.ts';
import { ServiceNotifier } from './runtime/service-notifier.ts';
import type { SupervisorOptions } from './runtime/supervisor.ts';
import { startGateway } from './start.ts';
import type { Configuration } from './store/configuration.ts';
import type { TunnelTests } from './tunnel-test/tunnel-tests.ts';

/** What the API may ask for: one member for each topic (`api/routes/`). */
export interface GatewayControl {
  status(): Promise<GatewayStatus>;
  /** Resolves when everything is down; the process ends afterwards. */
  down(): Promise<void>;
  /** What changes, as it happens. */
  readonly events: ControlEvents;
  readonly captures: CaptureService;
  readonly flows: FlowService;
  readonly routes: RouteService;
  /** Which addresses several sites declare, and which in traffic nobody does. */
  audit(): Promise<AuditReport>;
  /** Tunnels and sites one by one. */
  readonly overview: Overview;
  readonly plugins: PluginService;
  readonly tunnelTests: TunnelTests;
  /** What runs, what ran, and changes of it. */
  readonly configuration: Configuration;
  /** Counters and gauges as the text that Prometheus reads. */
  metrics(): string;
}

export interface ApiHandle {
  /** Takes no more requests; resolves when the running ones are answered. */
  close(): Promise<void>;
  /** Reads certificate and tokens anew. */
  reload(): void;
}

export interface ApiServerOptions {
  readonly socketPath: string;
  /** Where on the network; null: nowhere. */
  readonly listen?: ApiListenConfig | null;
  /** Private to us; if the socket lies in it, the API's group is let through. */
  readonly runtimeDirectory?: string;
  readonly logger?: Logger;
}

export type ServeApi = (control: GatewayControl, options: ApiServerOptions) => Promise<ApiHandle>;

const STOPPED_INSTEAD =
  'the gateway was being stopped already, which leaves guard, devices and flows for the next start; "homeward down" takes them down when it has ended';

export interface DaemonOptions {
  readonly configPath: string;
  readonly logger: Logger;
  /** `serveApi` of `api/server.ts`. */
  readonly serveApi: ServeApi;
  /** Default: the process's own. */
  readonly environment?: NodeJS.ProcessEnv;
  readonly supervisor?: SupervisorOptions;
  /** Refuse to start while the host lacks anything, or with another configuration than the file's. */
  readonly strict?: boolean;
}

/**
 * Runs until a signal or the API ends it.
 *
 * @throws ConfigError, LockHeldError, CommandError, PlanRefusedError or Error if it cannot
 * start; the host is then as it was found.
 */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const { configPath, logger } = options;
  const runtime = openRuntimeDirectory(options.environment);
  const lock = acquireInstance(runtime);
  const { promise: asked, resolve: ask } = Promise.withResolvers<'suspend' | 'down'>();
  const onTerminate = (): void => ask('suspend');
  const onInterrupt = (): void => ask('down');
  const readAnew: (() => void)[] = [];
  const onHangUp = (): void => {
    for (const read of readAnew) read();
  };
  // From here on, so that a signal during the start does not leave half of it.
  process.on('SIGTERM', onTerminate).on('SIGINT', onInterrupt).on('SIGHUP', onHangUp);
  const service = new ServiceNotifier(options.environment ?? process.env, (error) => {
    logger.warn({ problem: error.message }, 'the service manager is not told how this service stands');
  });
  try {
    const { gateway, configuration } = await startGateway(configPath, runtime, logger, {
      supervisor: options.supervisor,
      strict: options.strict,
      environment: options.environment,
    });
    readAnew.push(() => gateway.telemetry.reopenFiles());
    const isDown = Promise.withResolvers<void>();
    // Mostly nobody has asked by the API.
    isDown.promise.catch(() => {});
    const api = await serveOrUndo(options, gateway, runtime, {
      captures: gateway.captures,
      events: gateway.events,
      flows: gateway.inspection.flows,
      routes: gateway.inspection.routes,
      audit: () => gateway.inspection.audit(),
      overview: new Overview(gateway),
      plugins: gateway.plugins,
      tunnelTests: gateway.tunnelTests,
      configuration,
      metrics: () => gateway.telemetry.metrics(),
      status: async () => withConfiguration(await gateway.status(), configuration),
      down: () => {
        ask('down');
        return isDown.promise;
      },
    });
    readAnew.push(() => api.reload());
    logger.info({ gateway: gateway.config.gateway.name, pid: process.pid }, 'homeward is up');
    service.ready(`gateway ${gateway.config.gateway.name}`);
    const what = await asked;
    const ending = what === 'down' ? 'taking everything down' : 'stopping: guard, devices and flows stay';
    service.stopping(ending);
    logger.info(ending);
    try {
      await configuration.close();
      await (what === 'suspend' ? gateway.suspend() : gateway.down());
      if (what === 'down') isDown.resolve();
      else isDown.reject(new RequestError('unavailable', 'ending', STOPPED_INSTEAD));
    } catch (error) {
      isDown.reject(error);
      throw error;
    } finally {
      // Who has asked for the end is told what has come of it.
      await api.close();
    }
    if (what === 'suspend') lock.release();
    else removeInstance(runtime, lock);
    logger.info('homeward has ended');
  } catch (error) {
    leaveInstance(runtime, lock);
    throw error;
  } finally {
    service.close();
    process.off('SIGTERM', onTerminate).off('SIGINT', onInterrupt).off('SIGHUP', onHangUp);
  }
}

/**
 * Takes down what a control process that is gone has left in this network namespace: data plane, links, ports,
 * guard and files.
 *
 * @returns whether there was anything.
 * @throws LockHeldError if a control process runs: ask that one, by the API.
 * @throws CommandError if `ip` or `nft` fail.
 */
export async function takeDown(runtime: RuntimeDirectory = openRuntimeDirectory()): Promise<boolean> {
  const lock = acquireInstance(runtime);
  try {
    const orphan = findDataPlane(runtime);
    const found =
      orphan !== undefined ||
      readHostState(runtime.hostStatePath) !== undefined ||
      (await guardMark()) !== undefined;
    const host = HostSide.open(runtime.hostStatePath);
    await host.takeDown(async () => {
      if (orphan !== undefined) await killProcess(orphan);
      // Before the devices that their packets come out of.
      const tools = { run: runCommand, log: () => {} };
      await removeKernelLeftovers(tools, readDaemonSocket(runtime.directory));
    });
    await removeLeftovers(String(networkNamespaceInode()), runCommand);
    clearRuntimeDirectory(runtime);
    removeInstance(runtime, lock);
    return found;
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** The status, with what there is to know of the configuration. */
function withConfiguration(status: GatewayStatus, configuration: Configuration): GatewayStatus {
  const { problems, pendingNotice } = configuration;
  return {
    ...status,
    problems: [...problems, ...status.problems],
    notices: [...(pendingNotice === null ? [] : [pendingNotice]), ...status.notices],
  };
}

async function serveOrUndo(
  { serveApi, logger }: DaemonOptions,
  gateway: Gateway,
  runtime: RuntimeDirectory,
  control: GatewayControl,
): Promise<ApiHandle> {
  try {
    return await serveApi(control, {
      listen: gateway.config.api.listen,
      socketPath: gateway.config.api.socket ?? runtime.defaultApiSocketPath,
      runtimeDirectory: runtime.directory,
      logger,
    });
  } catch (error) {
    await control.configuration.close();
    await gateway.undo();
    throw error;
  }
}
