/**
 * The plan that runs, kept in step with the configuration and with the host.
 *
 * ```
 *  configuration -> facts -> plan -> identities saved -> host prepared -> data plane has the plan -> host finished
 *        ^            ^
 *        |            +-- the host has changed (links, addresses, routes, guard), if that makes another plan
 *        +-- apply; if anything fails, once more with the former configuration
 * ```
 *
 * Changes run one after the other. What the host lacks only takes ports down, but for a start that is told otherwise.
 *
 * Neighbours: `gateway.ts` (the owner), `compile/`, `host/host-side.ts`, `runtime/supervisor.ts`, `host-report.ts`.
 */
import { RUNNING_VERSION } from '../dataplane/version.ts';
import type { Plan } from '../pipeline/plan.ts';
import {
  type Compilation,
  compilePlan,
  type KnownPorts,
  needsHostRules,
  routeQueries,
} from './compile/compile.ts';
import type { Tolerance } from './compile/host-findings.ts';
import type { TunnelDriver } from './compile/linked-tunnel.ts';
import type { Config } from './config/config.ts';
import { formatProblem } from './config/errors.ts';
import type { ControlEvents } from './events.ts';
import type { HostFacts } from './facts.ts';
import { collectFacts } from './host/collect-facts.ts';
import { CommandError } from './host/command.ts';
import type { HostSide } from './host/host-side.ts';
import { withSocketFilters } from './host/socket-filter.ts';
import { HostWatch } from './host/watch-host.ts';
import { HostReport } from './host-report.ts';
import { Identities, IdentityError } from './identities.ts';
import { collectIpsecFacts } from './ipsec/ipsec-facts.ts';
import type { IpsecService } from './ipsec/ipsec-service.ts';
import { checkLiveChange, type PlanEffect, planEffect } from './live-change.ts';
import { Preparations } from './plugins/preparations.ts';
import { DataPlaneGoneError, PlanRefusedError } from './runtime/data-plane-session.ts';
import type { Logger } from './runtime/logger.ts';
import { forgetFlows, type RuntimeDirectory } from './runtime/runtime-directory.ts';
import type { Supervisor } from './runtime/supervisor.ts';

/** A device that came or went under the hands of a command: how often the change is tried with the host as it is then. */
const MAX_ATTEMPTS = 3;
/** An interface is made, hooked by the guard and set up, and then its packets are let in: each sees the one before. */
const MAX_LOOKS = 4;
/** Until a change of the host that could not be followed is tried again, if nothing else happens. */
const RETRY_MS = 5000;

export interface RunningPlanOptions {
  readonly runtime: RuntimeDirectory;
  readonly logger: Logger;
  readonly events: ControlEvents;
  readonly supervisor: Supervisor;
  readonly host: HostSide;
  readonly ipsec: IpsecService;
  /** Which proxies of plugins are ready. */
  readonly diversions: { readonly ready: ReadonlySet<string> };
  /** Called with what runs, options of plugins included, after every change; the next change waits for it. Never rejects. */
  readonly onApplied: (config: Config, plan: Plan) => Promise<void>;
}

export class RunningPlan {
  /** What is to be said about the host. */
  readonly report: HostReport;
  readonly #options: RunningPlanOptions;
  readonly #watch: HostWatch;
  #config: Config;
  #identities: Identities;
  #plan: Plan | undefined;
  /** How often plugins were read anew, by name. */
  #pluginRevisions: ReadonlyMap<string, number> = new Map();
  /** How often what their options name was prepared anew, by name. */
  #readings: ReadonlyMap<string, number> = new Map();
  readonly #preparations: Preparations;
  #drivers: ReadonlyMap<string, TunnelDriver> = new Map();
  /** Whether the data plane has `#plan`, or will get it from the supervisor. */
  #delivered = false;
  /** What is remembered of ports that are down. */
  #known: KnownPorts | undefined;
  /** Changes run one after the other. */
  #work: Promise<void> = Promise.resolve();
  #ended = false;
  #retry: NodeJS.Timeout | undefined;
  /** Whether a look at the host waits for its turn already: it will see whatever has changed until then. */
  #followsSoon = false;

  /** Reads the identities; nothing runs yet. */
  constructor(config: Config, options: RunningPlanOptions) {
    this.#options = options;
    this.#config = config;
    this.#preparations = new Preparations(options.runtime.preparationsDirectory);
    this.#identities = loadIdentities(options.runtime, options.logger);
    this.report = new HostReport(options.logger, options.events);
    this.#watch = new HostWatch(() => void this.followHost());
    for (const notice of config.notices) this.report.note(formatProblem(notice));
  }

  /** The configuration that runs. */
  get config(): Config {
    return this.#config;
  }

  /** Undefined before the first. */
  get plan(): Plan | undefined {
    return this.#plan;
  }

  /** What does the work of tunnels that have a choice, by name. */
  get drivers(): ReadonlyMap<string, TunnelDriver> {
    return this.#drivers;
  }

  /**
   * Runs the first plan, and follows the host from now on.
   *
   * @throws ConfigError, CommandError, PlanRefusedError, Error; the caller takes down what stands then.
   */
  async start(tolerate: Tolerance): Promise<void> {
    this.#watch.start();
    await this.#inTurn(() => this.#update(tolerate));
  }

  /** Follows nothing any more; resolves when the change under way is done. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#preparations.end();
    await this.#watch.stop();
    await this.#work;
    clearTimeout(this.#retry);
  }

  /**
   * Runs another configuration. Tunnels that are the same in both keep forwarding; what cannot be changed without a
   * new data plane (`flow_table.max_flows`) starts one, which takes the flows over.
   *
   * @param readAnew names of plugins whose files the data plane reads anew
   * @returns what that did to flows.
   * @throws ConfigError, CommandError, PlanRefusedError, DataPlaneGoneError, Error; the former configuration runs on
   * then.
   */
  async apply(config: Config, readAnew: readonly string[] = []): Promise<PlanEffect> {
    checkLiveChange(this.#config, config);
    const former = this.#plan;
    let applied: Plan | undefined;
    await this.#inTurn(async () => {
      await this.#replace(config, readAnew);
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
    const facts = await this.#look(config);
    const { plan } = compilePlan(config, facts, this.#identities.copy(), {
      known: this.#known,
      pluginRevisions: this.#pluginRevisions,
      readyDiversions: this.#options.diversions.ready,
    });
    return planEffect(this.#plan, plan);
  }

  /**
   * The host has changed: ports go down and come up. What cannot be done at all now leaves the former plan, and is
   * tried again at the next change, or after a while.
   */
  async followHost(): Promise<void> {
    if (this.#followsSoon) return;
    this.#followsSoon = true;
    await this.#inTurn(() => {
      this.#followsSoon = false;
      return this.#settle();
    });
  }

  /**
   * Has what a plugin's options name prepared anew, and the data plane take it. What is wrong is logged, and what runs
   * goes on. Never rejects.
   */
  async prepareAnew(plugin: string): Promise<void> {
    const { logger } = this.#options;
    await this.#inTurn(async () => {
      const [former, formerPlan] = [this.#readings, this.#plan];
      this.#readings = new Map([...former, [plugin, (former.get(plugin) ?? 0) + 1]]);
      try {
        await this.#update('everything');
        if (this.#plan !== formerPlan) {
          logger.info({ plugin }, 'what its options name was read anew and is in force');
        }
      } catch (error) {
        this.#readings = former;
        const why = (error as Error).message;
        logger.error({ plugin }, `what its options name was read anew, and is not used: ${why}`);
      }
    });
  }

  async #replace(config: Config, readAnew: readonly string[]): Promise<void> {
    const { runtime, supervisor } = this.#options;
    const formerRevisions = this.#pluginRevisions;
    this.#pluginRevisions = new Map([
      ...formerRevisions,
      ...readAnew.map((name) => [name, (formerRevisions.get(name) ?? 0) + 1] as const),
    ]);
    const [former, formerPlan, formerIdentities] = [this.#config, this.#plan, this.#identities.copy()];
    this.#config = config;
    try {
      await this.#update('lacks');
    } catch (error) {
      this.#config = former;
      this.#pluginRevisions = formerRevisions;
      // The next one is being started already.
      if (error instanceof DataPlaneGoneError) supervisor.restartWith(formerPlan);
      // Numbers that no data plane has seen are free again; those of a plan that may have run are used up.
      if (this.#plan === formerPlan && !(error instanceof DataPlaneGoneError)) {
        this.#identities = formerIdentities;
        this.#identities.save(runtime.identitiesPath);
      }
      await this.#settle();
      throw error;
    }
    this.report.followed();
  }

  /** From the host as it is now to a data plane that runs the plan for it. */
  async #update(tolerate: Tolerance): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#updateOnce(tolerate);
      } catch (error) {
        const mayHaveMoved = error instanceof CommandError && error.code === 'command_failed';
        if (!mayHaveMoved || attempt === MAX_ATTEMPTS) throw error;
      } finally {
        this.#preparations.keepOnly(this.#plan, this.#options.supervisor.plan);
      }
    }
  }

  async #updateOnce(tolerate: Tolerance): Promise<void> {
    const { host, supervisor, ipsec, logger, events, onApplied } = this.#options;
    let facts = await this.#look(this.#config);
    let compilation = this.#compile(facts, tolerate);
    // A device that was made or set up now has an index, addresses and routes.
    for (let look = 1; (await host.prepare(compilation.host, facts)) && look < MAX_LOOKS; look++) {
      facts = await this.#look(this.#config);
      compilation = this.#compile(facts, tolerate);
    }
    const whole = withSocketFilters(compilation.plan, compilation.host);
    this.report.notes(compilation.notices.map(formatProblem));
    this.report.lacks(compilation.problems.map(formatProblem));
    const preparing = this.#preparations.prepare(whole, this.#config, this.#readings);
    // Beside the start; what is wrong is told behind it.
    preparing.catch(() => {});
    if (supervisor.report.state === 'stopped') await supervisor.start();
    const plan = await preparing;
    if (!this.#delivered || JSON.stringify(plan) !== JSON.stringify(this.#plan)) {
      await this.#resizeFlowMemory(plan);
      await this.#give(plan);
      this.#plan = plan;
      this.#delivered = true;
      logger.info(
        { generation: plan.generation, ports: plan.ports.length, devices: plan.devices.length },
        'plan applied',
      );
      events.publish({ type: 'plan_applied', generation: plan.generation });
    }
    this.#known = compilation.known;
    this.#drivers = compilation.drivers;
    await ipsec.retire(compilation.ipsec, this.#config.ipsec);
    await host.finish(compilation.host, facts);
    this.#lookAgainIn(host.retryInMs);
    // Behind the guard, which knows their devices now.
    await ipsec.apply(compilation.ipsec);
    await onApplied(this.#config, whole);
  }

  /** To a data plane that takes it: one of another version, from before an upgrade, may not know what is in it. */
  async #give(plan: Plan): Promise<void> {
    const { supervisor, logger } = this.#options;
    try {
      await supervisor.apply(plan);
    } catch (error) {
      if (!(error instanceof PlanRefusedError) || !supervisor.adopted) throw error;
      const version = (await supervisor.status().catch(() => undefined))?.version ?? RUNNING_VERSION;
      if (version === RUNNING_VERSION) throw error;
      logger.warn(
        { version, problem: error.message },
        'the data plane is of another version and refuses the plan: starting another one, which takes the flows over',
      );
      this.#delivered = false;
      await supervisor.stop();
      await supervisor.start();
      await supervisor.apply(plan);
    }
  }

  async #look(config: Config): Promise<HostFacts> {
    const { host, ipsec } = this.#options;
    const facts = await collectFacts(routeQueries(config), needsHostRules(config));
    return {
      ...facts,
      refusedLinks: host.refusedLinks,
      ipsec: collectIpsecFacts(config, ipsec.running()),
    };
  }

  /** The size of the flow memory is a data plane's for life: another one takes over, with the flows. */
  async #resizeFlowMemory(plan: Plan): Promise<void> {
    const { supervisor, logger } = this.#options;
    // One that does not answer is being started anew, and gets the plan then.
    const maxFlows = (await supervisor.status().catch(() => undefined))?.maxFlows ?? 0;
    if (maxFlows === 0 || maxFlows === plan.flowTable.maxFlows) return;
    logger.warn(
      { from: maxFlows, to: plan.flowTable.maxFlows },
      'flow_table.max_flows has changed: starting another data plane, which takes the flows over',
    );
    this.#delivered = false;
    await supervisor.stop();
    await supervisor.start();
  }

  /** The numbers of a new plan are on disk before anybody uses them. */
  #compile(facts: HostFacts, tolerate: Tolerance): Compilation {
    const compilation = compilePlan(this.#config, facts, this.#identities, {
      tolerate,
      known: this.#known,
      pluginRevisions: this.#pluginRevisions,
      readyDiversions: this.#options.diversions.ready,
    });
    if (compilation.plan.generation !== this.#plan?.generation) {
      this.#identities.save(this.#options.runtime.identitiesPath);
    }
    return compilation;
  }

  async #settle(): Promise<void> {
    try {
      await this.#update('everything');
      this.report.followed();
    } catch (error) {
      // It gets its plan when it is back.
      if (error instanceof DataPlaneGoneError) return;
      this.report.failed(error instanceof Error ? error.message : String(error));
      this.#lookAgainIn(RETRY_MS);
    }
  }

  /** Follows the host once more after so many milliseconds, whether or not it has told of a change by then. */
  #lookAgainIn(delayMs: number | undefined): void {
    clearTimeout(this.#retry);
    if (delayMs !== undefined) this.#retry = setTimeout(() => void this.followHost(), delayMs);
  }

  /** Runs a change behind those that are under way. */
  #inTurn(change: () => Promise<void>): Promise<void> {
    const done = this.#work.then(() => (this.#ended ? undefined : change()));
    this.#work = done.catch(() => {});
    return done;
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
