/**
 * One gateway, from its configuration to a data plane that forwards, and back.
 *
 * ```
 *  start:    configuration -> facts -> plan -> identities saved -> host prepared -> data plane -> plan applied
 *  a change of the host (links, addresses, routes, guard): the same from "facts" on, if the plan differs
 *  apply:    the same from "facts" on with another configuration; if anything fails, once more with the former one
 *  suspend:  the data plane ends; guard, devices and flow memory stay for the next start
 *  down:     links, data plane, ports, guard, flow memory: nothing is left
 * ```
 *
 * A start that fails leaves the host as it was found: as before it, or as the run before left it.
 *
 * Neighbours: `host/` (what is done to the host), `runtime/` (processes and files), `compile/`, `daemon.ts`
 * (signals, lock, API).
 */

import type { Plan } from '../pipeline/plan.ts';
import { CaptureService } from './capture/capture-service.ts';
import { type Compilation, compilePlan, type KnownPorts, routeQueries } from './compile/compile.ts';
import type { Tolerance } from './compile/host-findings.ts';
import type { Config } from './config/config.ts';
import { formatProblem } from './config/errors.ts';
import { ControlEvents } from './events.ts';
import type { HostFacts } from './facts.ts';
import { type GatewayStatus, portStatuses } from './gateway-status.ts';
import { collectFacts } from './host/collect-facts.ts';
import { CommandError } from './host/command.ts';
import { HostSide } from './host/host-side.ts';
import { withSocketFilters } from './host/socket-filter.ts';
import { HostWatch } from './host/watch-host.ts';
import { HostReport } from './host-report.ts';
import { Identities, IdentityError } from './identities.ts';
import { Inspection } from './inspection.ts';
import { checkLiveChange, type PlanEffect, planEffect } from './live-change.ts';
import { findDataPlane, killProcess, lastOutput } from './runtime/data-plane-process.ts';
import type { Logger } from './runtime/logger.ts';
import { clearRuntimeDirectory, forgetFlows, type RuntimeDirectory } from './runtime/runtime-directory.ts';
import { DataPlaneGoneError, Supervisor, type SupervisorOptions } from './runtime/supervisor.ts';
import { Telemetry } from './telemetry.ts';
import { TunnelTests } from './tunnel-test/tunnel-tests.ts';

/** A device that came or went under the hands of a command: how often the change is tried with the host as it is then. */
const MAX_ATTEMPTS = 3;
/** Until a change of the host that could not be followed is tried again, if nothing else happens. */
const RETRY_MS = 5000;

export interface GatewayOptions {
  readonly supervisor?: SupervisorOptions | undefined;
  /** Refuse to start while the host lacks anything; default: those ports are down. */
  readonly strict?: boolean | undefined;
}

export class Gateway {
  /** What changes, as it happens. */
  readonly events = new ControlEvents();
  /** Packets for operators to look at. */
  readonly captures: CaptureService;
  /** Flows, routes and address plans to look into. */
  readonly inspection: Inspection;
  readonly tunnelTests: TunnelTests;
  /** Metrics and the flow log. */
  readonly telemetry: Telemetry;
  #config: Config;
  readonly #configPath: string;
  readonly #runtime: RuntimeDirectory;
  readonly #logger: Logger;
  readonly #supervisor: Supervisor;
  readonly #host: HostSide;
  #identities: Identities;
  readonly #watch: HostWatch;
  readonly #startedAt = performance.now();
  #plan: Plan | undefined;
  /** Whether the data plane has `#plan`, or will get it from the supervisor. */
  #delivered = false;
  readonly #report: HostReport;
  /** What is remembered of ports that are down. */
  #known: KnownPorts | undefined;
  /** Changes run one after the other. */
  #work: Promise<void> = Promise.resolve();
  #ended = false;
  #retry: NodeJS.Timeout | undefined;
  /** Whether a look at the host waits for its turn already: it will see whatever has changed until then. */
  #followsSoon = false;

  private constructor(
    configPath: string,
    config: Config,
    runtime: RuntimeDirectory,
    logger: Logger,
    host: HostSide,
    identities: Identities,
    supervisorOptions: SupervisorOptions | undefined,
  ) {
    this.#configPath = configPath;
    this.#config = config;
    this.#runtime = runtime;
    this.#logger = logger;
    this.#report = new HostReport(logger, this.events);
    this.#host = host;
    this.#identities = identities;
    this.#supervisor = new Supervisor(runtime, supervisorOptions);
    this.#watch = new HostWatch(() => void this.#followHost());
    this.captures = new CaptureService({
      gatewayName: () => this.#config.gateway.name,
      directory: runtime.flowMemoryDirectory,
      plan: () => this.#plan,
      supervisor: this.#supervisor,
      events: this.events,
    });
    this.inspection = new Inspection({
      flowMemoryPath: runtime.flowMemoryPath,
      config: () => this.#config,
      plan: () => this.#plan,
      supervisor: this.#supervisor,
    });
    this.tunnelTests = new TunnelTests({
      config: () => this.#config,
      supervisor: this.#supervisor,
      logger,
    });
    this.telemetry = new Telemetry({
      runtime,
      logger,
      report: () => this.#supervisor.report,
      problems: () => this.#report.problems.length,
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
    const host = HostSide.open(runtime.hostStatePath, () => {
      logger.warn('somebody has changed the guard (nft table homeward): setting it again');
    });
    if (!host.takesOver) {
      // Written in another namespace or before the last boot: nothing of it can be trusted.
      const orphan = findDataPlane(runtime);
      if (orphan !== undefined) await killProcess(orphan);
      forgetFlows(runtime);
    }
    const identities = loadIdentities(runtime, logger);
    const gateway = new Gateway(configPath, config, runtime, logger, host, identities, options.supervisor);
    for (const notice of config.notices) gateway.#report.note(formatProblem(notice));
    try {
      gateway.#watch.start();
      await gateway.#inTurn(() => gateway.#update(options.strict ? 'nothing' : 'lacks'));
    } catch (error) {
      await gateway.undo();
      throw error;
    }
    return gateway;
  }

  /** What there is to know now; asks the data plane. */
  async status(): Promise<GatewayStatus> {
    const status = await this.#supervisor.status().catch(() => undefined);
    const plan = this.#plan;
    return {
      gateway: this.#config.gateway.name,
      pid: process.pid,
      uptimeMs: Math.round(performance.now() - this.#startedAt),
      configPath: this.#configPath,
      planGeneration: plan?.generation ?? 0,
      dataPlane: this.#supervisor.report,
      ...(plan === undefined ? { tunnels: [], egresses: [] } : portStatuses(plan, status, this.#config)),
      flows:
        status === undefined
          ? null
          : { current: status.flows, max: status.maxFlows, created: status.flowsCreated },
      devices: status?.devices ?? [],
      plugins: status?.plugins ?? [],
      problems: [...this.#report.problems, ...this.telemetry.problems],
      notices: [...this.#config.notices.map(formatProblem), ...this.#report.notices],
    };
  }

  /** The configuration that runs. */
  get config(): Config {
    return this.#config;
  }

  /**
   * Runs another configuration. Tunnels that are the same in both keep forwarding; what cannot be changed without a
   * new data plane (`flow_table.max_flows`) starts one, which takes the flows over.
   *
   * @returns what that did to flows.
   * @throws ConfigError, CommandError, PlanRefusedError, DataPlaneGoneError, Error; the former configuration runs on
   * then.
   */
  async apply(config: Config): Promise<PlanEffect> {
    checkLiveChange(this.#config, config);
    const former = this.#plan;
    let applied: Plan | undefined;
    await this.#inTurn(async () => {
      await this.#replace(config);
      applied = this.#plan;
    });
    if (applied === undefined) throw new Error('the gateway is being stopped');
    return planEffect(former, applied);
  }

  /**
   * What {@link apply} would do to flows. Changes nothing.
   *
   * @throws ConfigError, CommandError for what `apply` would refuse.
   */
  async preview(config: Config): Promise<PlanEffect> {
    checkLiveChange(this.#config, config);
    const facts = await collectFacts(routeQueries(config));
    const { plan } = compilePlan(config, facts, this.#identities.copy(), { known: this.#known });
    return planEffect(this.#plan, plan);
  }

  /** Stops forwarding; the next start finds guard, devices and flow memory. */
  async suspend(): Promise<void> {
    await this.#end();
    await this.#supervisor.stop();
    await this.telemetry.close();
  }

  /** Takes everything down. */
  async down(): Promise<void> {
    await this.#end();
    await this.#host.takeDown(async () => {
      // What is logged of flows has an end.
      if (this.#config.flowLog !== null) await this.#supervisor.flush({}).catch(() => 0);
      await this.#supervisor.stop();
    });
    await this.telemetry.close();
    clearRuntimeDirectory(this.#runtime);
  }

  async #replace(config: Config): Promise<void> {
    const [former, formerPlan, formerIdentities] = [this.#config, this.#plan, this.#identities.copy()];
    this.#config = config;
    try {
      await this.#update('lacks');
    } catch (error) {
      this.#config = former;
      // The next one is being started already.
      if (error instanceof DataPlaneGoneError) this.#supervisor.restartWith(formerPlan);
      // Numbers that no data plane has seen are free again; those of a plan that may have run are used up.
      if (this.#plan === formerPlan && !(error instanceof DataPlaneGoneError)) {
        this.#identities = formerIdentities;
        this.#identities.save(this.#runtime.identitiesPath);
      }
      await this.#settle();
      throw error;
    }
    this.#report.followed();
  }

  /** From the host as it is now to a data plane that runs the plan for it. */
  async #update(tolerate: Tolerance): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#updateOnce(tolerate);
      } catch (error) {
        const mayHaveMoved = error instanceof CommandError && error.code === 'command_failed';
        if (!mayHaveMoved || attempt === MAX_ATTEMPTS) throw error;
      }
    }
  }

  async #updateOnce(tolerate: Tolerance): Promise<void> {
    const queries = routeQueries(this.#config);
    let facts = await collectFacts(queries);
    let compilation = this.#compile(facts, tolerate);
    if (await this.#host.prepare(compilation.host, facts)) {
      // A device that was made or set up now has an index, addresses and routes.
      facts = await collectFacts(queries);
      compilation = this.#compile(facts, tolerate);
      await this.#host.prepare(compilation.host, facts);
    }
    const plan = withSocketFilters(compilation.plan, compilation.host);
    this.#report.notes(compilation.notices.map(formatProblem));
    this.#report.lacks(compilation.problems.map(formatProblem));
    if (this.#supervisor.report.state === 'stopped') await this.#supervisor.start();
    if (!this.#delivered || JSON.stringify(plan) !== JSON.stringify(this.#plan)) {
      await this.#resizeFlowMemory(plan);
      await this.#supervisor.apply(plan);
      this.#plan = plan;
      this.#delivered = true;
      this.#logger.info(
        { generation: plan.generation, ports: plan.ports.length, devices: plan.devices.length },
        'plan applied',
      );
      this.events.publish({ type: 'plan_applied', generation: plan.generation });
    }
    this.#known = compilation.known;
    await this.#host.finish(compilation.host, facts);
    await this.telemetry.configure(this.#config, plan);
  }

  /** The size of the flow memory is a data plane's for life: another one takes over, with the flows. */
  async #resizeFlowMemory(plan: Plan): Promise<void> {
    // One that does not answer is being started anew, and gets the plan then.
    const maxFlows = (await this.#supervisor.status().catch(() => undefined))?.maxFlows ?? 0;
    if (maxFlows === 0 || maxFlows === plan.flowTable.maxFlows) return;
    this.#logger.warn(
      { from: maxFlows, to: plan.flowTable.maxFlows },
      'flow_table.max_flows has changed: starting another data plane, which takes the flows over',
    );
    this.#delivered = false;
    await this.#supervisor.stop();
    await this.#supervisor.start();
  }

  /** The numbers of a new plan are on disk before anybody uses them. */
  #compile(facts: HostFacts, tolerate: Tolerance): Compilation {
    const compilation = compilePlan(this.#config, facts, this.#identities, { tolerate, known: this.#known });
    if (compilation.plan.generation !== this.#plan?.generation) {
      this.#identities.save(this.#runtime.identitiesPath);
    }
    return compilation;
  }

  /**
   * The host has changed: ports go down and come up. What cannot be done at all now leaves the former plan, and is
   * tried again at the next change, or after a while.
   */
  async #followHost(): Promise<void> {
    if (this.#followsSoon) return;
    this.#followsSoon = true;
    await this.#inTurn(() => {
      this.#followsSoon = false;
      return this.#settle();
    });
  }

  async #settle(): Promise<void> {
    try {
      await this.#update('everything');
      this.#report.followed();
    } catch (error) {
      // It gets its plan when it is back.
      if (error instanceof DataPlaneGoneError) return;
      this.#report.failed(error instanceof Error ? error.message : String(error));
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => void this.#followHost(), RETRY_MS);
    }
  }

  /** Runs a change behind those that are under way. */
  #inTurn(change: () => Promise<void>): Promise<void> {
    const done = this.#work.then(() => (this.#ended ? undefined : change()));
    this.#work = done.catch(() => {});
    return done;
  }

  async #end(): Promise<void> {
    this.#ended = true;
    await this.#watch.stop();
    await this.#work;
    clearTimeout(this.#retry);
  }

  /** After a start that failed: the host as it was found. */
  async undo(): Promise<void> {
    await this.#end();
    await this.telemetry.close();
    if (this.#host.takesOver) {
      // As the run before left it, and with its data plane if that still runs.
      if (this.#supervisor.adopted) this.#supervisor.leave();
      else await this.#supervisor.stop();
      return;
    }
    await this.#host.takeDown(() => this.#supervisor.stop());
    clearRuntimeDirectory(this.#runtime);
  }

  #logSupervisor(): void {
    const supervisor = this.#supervisor;
    supervisor.on('state', ({ state, pid }) => {
      this.#logger.debug({ state, pid }, 'data plane');
      this.events.publish({ type: 'data_plane_state', state, pid });
      // The host may have changed while there was none to take the plan.
      if (state === 'forwarding') void this.#followHost();
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

/** Identities that cannot be read take the flows, which name them, along. */
function loadIdentities(runtime: RuntimeDirectory, logger: Logger): Identities {
  try {
    return Identities.load(runtime.identitiesPath);
  } catch (error) {
    if (!(error instanceof IdentityError)) throw error;
    logger.warn({ problem: error.message }, 'forgetting all flows');
    forgetFlows(runtime);
    return Identities.load(runtime.identitiesPath);
  }
}
