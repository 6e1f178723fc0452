/**
 * What a gateway tells of itself beside its status: metrics, the flow log, dropped packets in the log.
 *
 * Follows the configuration as it is applied. Nothing here can keep a gateway from running: what does not work (an
 * address that cannot be listened on, a file that cannot be written) is a problem in the status, and tried again.
 *
 * Neighbours: `gateway.ts` (the owner), `metrics/`, `flow-log/`, `drop-log.ts`.
 */
import { rmSync } from 'node:fs';
import { flowEventsPath } from '../dataplane/flow-events-file.ts';
import { RUNNING_VERSION } from '../dataplane/version.ts';
import type { Plan } from '../pipeline/plan.ts';
import type { PortCondition } from '../tunnel/port-state.ts';
import { BootClock } from './boot-clock.ts';
import type { Config, SocketAddress } from './config/config.ts';
import { DropLog } from './drop-log.ts';
import { FlowLog } from './flow-log/flow-log.ts';
import { FlowLogNames } from './flow-log/names.ts';
import { MappedFlowMemory } from './flows/mapped-flow-memory.ts';
import type { TunnelHealthStatus } from './health/tunnel-health.ts';
import { collectMetrics, type MetricSources, type PluginSample } from './metrics/collect.ts';
import { MetricsServer } from './metrics/server.ts';
import type { DataPlaneReport } from './runtime/data-plane-requests.ts';
import type { Logger } from './runtime/logger.ts';
import type { RuntimeDirectory } from './runtime/runtime-directory.ts';

const RETRY_MS = 5000;
const PROBLEMS_INTERVAL_MS = 1000;

export interface TelemetryOptions {
  readonly runtime: RuntimeDirectory;
  readonly logger: Logger;
  readonly report: () => DataPlaneReport;
  /** Problems of the gateway, these here not included. */
  readonly problems: () => number;
  /** Of a tunnel; null: it is not checked. */
  readonly health: (tunnel: string) => TunnelHealthStatus | null;
  /** null: no `ipsec` tunnel of this name runs. */
  readonly ipsec: MetricSources['ipsec'];
  /** Of a tunnel or an egress. */
  readonly condition: (port: string) => PortCondition | undefined;
  /** What was last heard of plugins. */
  readonly plugins: () => readonly PluginSample[];
}

export class Telemetry {
  readonly #options: TelemetryOptions;
  readonly #memory: MappedFlowMemory;
  readonly #ringPath: string;
  readonly #names = new FlowLogNames();
  readonly #dropLog: DropLog;
  readonly #clock = new BootClock();
  readonly #startedAtMs = Date.now();
  #plan: Plan | undefined;
  #flowLog: FlowLog | undefined;
  #listen: SocketAddress | null = null;
  #server: MetricsServer | undefined;
  #listenProblem = '';
  #retry: NodeJS.Timeout | undefined;
  readonly #problemTimer: NodeJS.Timeout;
  #told = '';
  /** Changes run one after the other. */
  #work: Promise<void> = Promise.resolve();

  constructor(options: TelemetryOptions) {
    this.#options = options;
    const { flowMemoryPath } = options.runtime;
    this.#memory = new MappedFlowMemory(flowMemoryPath);
    this.#ringPath = flowEventsPath(flowMemoryPath);
    this.#dropLog = new DropLog(options.logger, () => ({ plan: this.#plan, memory: this.#memory.get() }));
    this.#problemTimer = setInterval(() => this.#tellProblems(), PROBLEMS_INTERVAL_MS);
    this.#problemTimer.unref();
  }

  /** Takes the configuration that runs, and the plan made from it. Never rejects. */
  configure(config: Config, plan: Plan): Promise<void> {
    this.#work = this.#work.then(async () => {
      const { logger } = this.#options;
      if (logger.level !== config.log.level) logger.level = config.log.level;
      this.#plan = plan;
      this.#names.learn(plan, this.#memory.get()?.plugins ?? []);
      await this.#configureFlowLog(config);
      if (JSON.stringify(config.metrics.listen) !== JSON.stringify(this.#listen)) {
        this.#listen = config.metrics.listen;
        await this.#serveMetrics();
      }
    });
    return this.#work;
  }

  /** What does not work now, one line each. */
  get problems(): readonly string[] {
    return [...(this.#listenProblem === '' ? [] : [this.#listenProblem]), ...(this.#flowLog?.problems ?? [])];
  }

  /** The metrics as the text that Prometheus reads. */
  metrics(): string {
    const { report, problems, health, ipsec, condition, plugins } = this.#options;
    return collectMetrics({
      version: RUNNING_VERSION,
      startedAtMs: this.#startedAtMs,
      nowMs: this.#clock.read().nowMs | 0,
      plan: this.#plan,
      memory: this.#memory.get(),
      dataPlane: report(),
      problems: problems() + this.problems.length,
      health,
      ipsec,
      condition,
      plugins: plugins(),
      flowLog: this.#flowLog?.statistics,
    });
  }

  /** Opens files of logs anew: somebody has put them aside. */
  reopenFiles(): void {
    this.#flowLog?.reopen();
  }

  /** Ends; what the data plane has told until now is written. */
  async close(): Promise<void> {
    await this.#work;
    clearTimeout(this.#retry);
    clearInterval(this.#problemTimer);
    this.#dropLog.stop();
    this.#listen = null;
    await this.#server?.close();
    await this.#flowLog?.close();
  }

  async #configureFlowLog(config: Config): Promise<void> {
    const { flowLog } = config;
    if (flowLog === null) {
      const former = this.#flowLog;
      this.#flowLog = undefined;
      if (former !== undefined) await former.remove();
      else rmSync(this.#ringPath, { force: true });
    } else if (this.#flowLog === undefined) {
      this.#flowLog = new FlowLog(this.#ringPath, flowLog, this.#names);
    } else {
      // A disk that hangs keeps no configuration from being applied.
      void this.#flowLog.configure(flowLog);
    }
  }

  #tellProblems(): void {
    const problems = this.problems.join('; ');
    if (problems === this.#told) return;
    if (problems !== '') this.#options.logger.warn(problems);
    else this.#options.logger.info('metrics and flow log work again');
    this.#told = problems;
  }

  /** The address may be free later: it is tried until it works or is not wanted any more. */
  async #serveMetrics(): Promise<void> {
    clearTimeout(this.#retry);
    await this.#server?.close();
    this.#server = undefined;
    this.#listenProblem = '';
    const listen = this.#listen;
    if (listen === null) return;
    try {
      this.#server = await MetricsServer.start(listen, () => this.metrics());
    } catch (error) {
      this.#listenProblem = `the metrics cannot be served: ${(error as Error).message}`;
      this.#retry = setTimeout(() => {
        this.#work = this.#work.then(() => (this.#listen === listen ? this.#serveMetrics() : undefined));
      }, RETRY_MS);
    }
  }
}
