/**
 * One gateway, from its configuration to a data plane that forwards, and back.
 *
 * ```
 *  start:    configuration -> plan -> host prepared -> data plane -> plan applied (`running-plan.ts`)
 *  apply:    the same with another configuration
 *  suspend:  the data plane ends; guard, devices and flow memory stay for the next start
 *  down:     links, data plane, ports, guard, flow memory: nothing is left
 * ```
 *
 * A start that fails leaves the host as it was found: as before it, or as the run before left it.
 *
 * Neighbours: `running-plan.ts` (what runs), `host/` (what is done to the host), `runtime/` (processes and files),
 * `daemon.ts` (signals, lock, API).
 */

import { RUNNING_VERSION } from '../dataplane/version.ts';
import { Counters } from '../flow/counters.ts';
import { CaptureService } from './capture/capture-service.ts';
import type { Config } from './config/config.ts';
import { formatProblem } from './config/errors.ts';
import { Diversions } from './diversions/diversions.ts';
import { ControlEvents } from './events.ts';
import { MappedFlowMemory } from './flows/mapped-flow-memory.ts';
import { type GatewayStatus, portStatuses } from './gateway-status.ts';
import { TunnelHealth } from './health/tunnel-health.ts';
import { runCommand } from './host/command.ts';
import { HostSide } from './host/host-side.ts';
import { endProcesses } from './host/namespaces.ts';
import { Inspection } from './inspection.ts';
import { IpsecService } from './ipsec/ipsec-service.ts';
import type { IpsecView } from './ipsec/ipsec-view.ts';
import type { PlanEffect, Reevaluation } from './live-change.ts';
import { ControlHalves } from './plugins/control-halves.ts';
import type { KeptPlugins } from './plugins/kept-plugins.ts';
import { PluginService } from './plugins/plugin-service.ts';
import { PluginWatch, trippedPlugins } from './plugins/plugin-watch.ts';
import { PortStates } from './port-states/port-states.ts';
import { RunningPlan } from './running-plan.ts';
import { findDataPlane, killProcess, lastOutput } from './runtime/data-plane-process.ts';
import type { Logger } from './runtime/logger.ts';
import {
  clearRuntimeDirectory,
  forgetFlows,
  makeFlowMemoryDirectory,
  networkNamespaceInode,
  type RuntimeDirectory,
} from './runtime/runtime-directory.ts';
import { Supervisor, type SupervisorOptions } from './runtime/supervisor.ts';
import { Telemetry } from './telemetry.ts';
import { ipsecConnection } from './tunnel-test/ipsec-connection.ts';
import { Prober } from './tunnel-test/prober.ts';
import { TunnelTests } from './tunnel-test/tunnel-tests.ts';

export interface GatewayOptions {
  readonly supervisor?: SupervisorOptions | undefined;
  /** Refuse to start while the host lacks anything; default: those ports are down. */
  readonly strict?: boolean | undefined;
  /** Copies of the plugins, told which of them run; by default there are none. */
  readonly kept?: KeptPlugins | undefined;
}

export class Gateway {
  /** What changes, as it happens. */
  readonly events = new ControlEvents();
  /** Packets for operators to look at. */
  readonly captures: CaptureService;
  /** Flows, routes and address plans to look into. */
  readonly inspection: Inspection;
  readonly tunnelTests: TunnelTests;
  /** Plugins one by one. */
  readonly plugins: PluginService;
  /** Metrics and the flow log. */
  readonly telemetry: Telemetry;
  readonly #configPath: string;
  readonly #runtime: RuntimeDirectory;
  readonly #logger: Logger;
  readonly #supervisor: Supervisor;
  readonly #host: HostSide;
  readonly #running: RunningPlan;
  readonly #health: TunnelHealth;
  readonly #ipsec: IpsecService;
  readonly #portStates: PortStates;
  readonly #halves: ControlHalves;
  readonly #pluginWatch: PluginWatch;
  readonly #startedAt = performance.now();

  private constructor(
    configPath: string,
    initial: Config,
    runtime: RuntimeDirectory,
    logger: Logger,
    host: HostSide,
    { supervisor: supervisorOptions, kept }: GatewayOptions,
  ) {
    this.#configPath = configPath;
    this.#runtime = runtime;
    this.#logger = logger;
    this.#host = host;
    const supervisor = new Supervisor(runtime, supervisorOptions);
    const { events } = this;
    this.#supervisor = supervisor;
    this.#ipsec = new IpsecService({
      directory: runtime.directory,
      instance: String(networkNamespaceInode()),
      run: runCommand,
      logger,
      onChange: () => {
        this.#portStates.look();
        void this.#running.followHost();
      },
    });
    const diversions = new Diversions({
      generation: (device) => host.namespaceGeneration(device),
      refusal: (device) => host.refusedLinks[device],
      lookup: async (request) =>
        (await supervisor.ask(request, 'diverted').catch(() => undefined))?.flow ?? null,
      onChange: () => void this.#running.followHost(),
      endProcesses,
      logger,
      instance: networkNamespaceInode(),
    });
    this.#running = new RunningPlan(initial, {
      runtime,
      logger,
      events,
      supervisor,
      host,
      ipsec: this.#ipsec,
      diversions,
      onApplied: async (config, plan) => {
        this.#health.configure(config);
        this.#portStates.look();
        await this.telemetry.configure(config, plan);
        await this.#halves.configure(config, plan);
        try {
          kept?.applied(config);
        } catch (error) {
          logger.error(`which copies of plugins run cannot be written down: ${(error as Error).message}`);
        }
      },
    });
    const config = (): Config => this.#running.config;
    const plan = (): RunningPlan['plan'] => this.#running.plan;
    this.captures = new CaptureService({
      gatewayName: () => this.config.gateway.name,
      directory: runtime.flowMemoryDirectory,
      plan,
      supervisor,
      events,
    });
    this.inspection = new Inspection({ flowMemoryPath: runtime.flowMemoryPath, config, plan, supervisor });
    const prober = new Prober(supervisor);
    this.tunnelTests = new TunnelTests({
      config,
      supervisor,
      prober,
      flows: this.inspection.flows,
      problems: () => this.#running.report.problems,
      ipsec: (tunnel) => {
        const [status, view] = [this.#ipsec.status(tunnel), this.#ipsec.view(tunnel)];
        const port = this.#running.plan?.ports.find(({ name }) => name === tunnel);
        if (status === undefined || view === null || port === undefined) return null;
        return ipsecConnection(status, view, port.mtu);
      },
      logger,
    });
    this.#health = new TunnelHealth({
      prober,
      penalise: (penalties) => supervisor.penalise(penalties),
      onChange: () => this.#portStates.look(),
    });
    const memory = new MappedFlowMemory(runtime.flowMemoryPath);
    this.#portStates = new PortStates({
      plan,
      counters: () => {
        const mapped = supervisor.report.state === 'forwarding' ? memory.get() : undefined;
        return mapped === undefined ? undefined : new Counters(mapped.counters);
      },
      connection: (tunnel) => this.#ipsec.status(tunnel),
      health: (tunnel) => this.#health.status(tunnel),
      lack: (role, name) => this.#running.report.lackOf(role, name),
      logger,
      events,
    });
    this.telemetry = new Telemetry({
      runtime,
      logger,
      report: () => supervisor.report,
      problems: () => this.#running.report.problems.length,
      health: (tunnel) => this.#health.status(tunnel),
      ipsec: (tunnel) => this.#ipsec.view(tunnel),
      condition: (port) => this.#portStates.of(port),
      plugins: () =>
        this.#pluginWatch.statuses.map((status) => ({
          ...status,
          controlHalf: this.#halves.status(status.name),
        })),
    });
    this.#halves = new ControlHalves(
      {
        sendToPlugin: (plugin, body) => supervisor.sendToPlugin(plugin, body),
        decide: (...decision) => supervisor.decide(...decision),
        prepareAnew: (plugin) => void this.#running.prepareAnew(plugin),
      },
      diversions,
      logger,
    );
    supervisor.on('plugin-failed', ({ type: _, ...failure }) =>
      this.events.publish({ type: 'plugin_failure', ...failure }),
    );
    supervisor.on('plugin-message', (message) => this.#halves.deliver(message.plugin, message.body));
    const statuses = async () => (await supervisor.status().catch(() => undefined))?.plugins;
    this.#pluginWatch = new PluginWatch(statuses);
    this.plugins = new PluginService({
      config,
      statuses,
      controlHalf: (name) => this.#halves.status(name),
      diversions: (name) => this.#halves.diversions(name),
      controlView: (name, view, parameters) => this.#halves.view(name, view, parameters),
      dataView: (plugin, view, parameters) =>
        supervisor.ask({ type: 'plugin-query', id: 0, plugin, view, parameters }, 'plugin-answer'),
    });
    this.#logSupervisor();
  }

  /**
   * Starts the gateway. The caller holds the instance's lock.
   *
   * @throws ConfigError, CommandError, PlanRefusedError, Error; nothing is half set up then.
   */
  static async start(
    configPath: string,
    config: Config,
    runtime: RuntimeDirectory,
    logger: Logger,
    options: GatewayOptions = {},
  ): Promise<Gateway> {
    makeFlowMemoryDirectory(runtime);
    const host = HostSide.open(runtime.hostStatePath, () => {
      logger.warn('somebody has changed the guard (nft table homeward): setting it again');
    });
    if (!host.takesOver) {
      // Written in another namespace or before the last boot: nothing of it can be trusted.
      const orphan = findDataPlane(runtime);
      if (orphan !== undefined) await killProcess(orphan);
      forgetFlows(runtime);
    }
    const gateway = new Gateway(configPath, config, runtime, logger, host, options);
    try {
      await gateway.#running.start(options.strict ? 'nothing' : 'lacks');
    } catch (error) {
      await gateway.undo();
      throw error;
    }
    return gateway;
  }

  /** What there is to know now; asks the data plane. */
  async status(): Promise<GatewayStatus> {
    const status = await this.#supervisor.status().catch(() => undefined);
    this.#portStates.look();
    const { config, plan, drivers, report } = this.#running;
    return {
      gateway: config.gateway.name,
      version: RUNNING_VERSION,
      pid: process.pid,
      uptimeMs: Math.round(performance.now() - this.#startedAt),
      configPath: this.#configPath,
      planGeneration: plan?.generation ?? 0,
      dataPlane: {
        ...this.#supervisor.report,
        version: status?.version ?? null,
        uptimeMs: status?.uptimeMs ?? null,
      },
      ...(plan === undefined
        ? { tunnels: [], egresses: [] }
        : portStatuses(plan, status, config, drivers, {
            health: (tunnel) => this.#health.status(tunnel),
            condition: (port) => this.#portStates.of(port),
          })),
      flows:
        status === undefined
          ? null
          : { current: status.flows, max: status.maxFlows, created: status.flowsCreated },
      devices: status?.devices ?? [],
      plugins: status?.plugins ?? [],
      problems: [...report.problems, ...trippedPlugins(status?.plugins ?? []), ...this.telemetry.problems],
      notices: [...config.notices.map(formatProblem), ...report.notices],
    };
  }

  /** null: no `ipsec` tunnel of this name runs. */
  ipsec(tunnel: string): IpsecView | null {
    return this.#ipsec.view(tunnel);
  }

  /** The configuration that runs. */
  get config(): Config {
    return this.#running.config;
  }

  /** See {@link RunningPlan.apply}. */
  apply(config: Config, readAnew: readonly string[] = []): Promise<PlanEffect> {
    return this.#running.apply(config, readAnew);
  }

  /** See {@link Supervisor.reevaluate}. */
  reevaluate(): Promise<Reevaluation> {
    return this.#supervisor.reevaluate();
  }

  /** See {@link RunningPlan.preview}. */
  preview(config: Config): Promise<PlanEffect> {
    return this.#running.preview(config);
  }

  /** Stops forwarding; the next start finds guard, devices and flow memory. */
  async suspend(): Promise<void> {
    await this.#endChanges();
    await this.#supervisor.stop();
    await this.#endIpsec();
    await this.telemetry.close();
  }

  /**
   * Takes everything down.
   *
   * @throws Error, CommandError if something stays; the guard does, too, then.
   */
  async down(): Promise<void> {
    await this.#endChanges();
    await this.#host.takeDown(async () => {
      // What is logged of flows has an end.
      if (this.config.flowLog !== null) await this.#supervisor.flush({}).catch(() => 0);
      await this.#supervisor.stop();
      await this.#ipsec.stop();
    });
    await this.telemetry.close();
    clearRuntimeDirectory(this.#runtime);
  }

  /** After a start that failed: the host as it was found. */
  async undo(): Promise<void> {
    await this.#endChanges();
    const isClean = await this.#endIpsec();
    await this.telemetry.close();
    if (this.#host.takesOver || !isClean) {
      // As the run before left it, and with its data plane if that still runs.
      if (this.#supervisor.adopted) this.#supervisor.leave();
      else await this.#supervisor.stop();
      return;
    }
    await this.#host.takeDown(() => this.#supervisor.stop());
    clearRuntimeDirectory(this.#runtime);
  }

  /** Nothing follows the configuration, the host or the data plane any more. */
  async #endChanges(): Promise<void> {
    await this.#running.end();
    // The change under way may have begun some of these.
    this.#portStates.stop();
    this.#pluginWatch.stop();
    this.#health.stop();
    await this.#halves.stop();
  }

  /** @returns whether nothing of it is left; if not, guard and devices have to stay. */
  async #endIpsec(): Promise<boolean> {
    try {
      await this.#ipsec.stop();
      return true;
    } catch (error) {
      this.#logger.error({ error: (error as Error).message }, 'ipsec tunnels');
      return false;
    }
  }

  #logSupervisor(): void {
    const supervisor = this.#supervisor;
    supervisor.on('state', ({ state, pid }) => {
      this.#logger.debug({ state, pid }, 'data plane');
      this.events.publish({ type: 'data_plane_state', state, pid });
      this.#portStates.look();
      // The host may have changed while there was none to take the plan.
      if (state !== 'forwarding') return;
      void this.#running.followHost();
      // There is none yet at the first start, and an adopted one has forgotten nothing.
      this.#halves.dataPlaneStarted();
    });
    supervisor.on('failure', (reason) => {
      const output = lastOutput(this.#runtime);
      this.#logger.error(
        { restarts: supervisor.report.restarts, ...(output === '' ? {} : { output }) },
        `${reason}; starting it anew`,
      );
      const { restarts } = supervisor.report;
      this.events.publish({ type: 'data_plane_failure', reason, restarts });
    });
    supervisor.on('plan-refused', (error) => {
      this.#logger.error({ error }, 'the restarted data plane refuses the plan: nothing is forwarded');
    });
    supervisor.on('log', ({ level, msg, fields }) => {
      this.#logger[level]({ ...fields, process: 'data plane' }, msg);
    });
  }
}
