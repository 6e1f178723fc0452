/**
 * Keeps a data plane running and gives it its plan.
 *
 * ```
 *            adopt (one runs already, it answers)
 *          +---------------------------------------+
 *          |                                       v
 *  start --+-> starting -- ready --> running -- plan-applied --> forwarding
 *              ^   |                    |                            |
 *              |   | start time-out     | exit, connection lost,     | the same
 *              |   v                    v no heartbeat: SIGKILL      v
 *              +-- waiting <------------+----------------------------+
 *                  (0 ms the first times, longer if it fails again and again)
 *
 *  stop: `stop` is sent; after STOP_TIMEOUT_MS SIGKILL.       leave: the connection is closed, it goes on.
 * ```
 *
 * Nothing is forwarded without a data plane, and the guard keeps the host out all the same: a gateway that does
 * not come up again fails closed.
 *
 * Neighbours: `data-plane-process.ts` (the process), `data-plane-session.ts` (what is said to it),
 * `data-plane-requests.ts` (what may be asked of it).
 */
import type { ChildProcess } from 'node:child_process';
import type { Plan } from '../../pipeline/plan.ts';
import { PATIENCE } from '../../tunnel/patience.ts';
import { DataPlaneLink } from './data-plane-link.ts';
import {
  dataPlaneMain,
  findDataPlane,
  forgetProcess,
  identify,
  killProcess,
  type ProcessIdentity,
  spawnDataPlane,
  waitForEnd,
} from './data-plane-process.ts';
import { type DataPlaneReport, DataPlaneRequests, type DataPlaneState } from './data-plane-requests.ts';
import { DataPlaneGoneError, DataPlaneSession, PlanRefusedError } from './data-plane-session.ts';
import { runningPlugin } from './running-plugin.ts';
import type { RuntimeDirectory } from './runtime-directory.ts';

/** From the start of the process until it listens and says `ready`: a second, and much more where all is slow. */
const START_TIMEOUT_MS = 60_000 * PATIENCE;
/** A running data plane that does not say `ready` in this time is not adopted but replaced. */
const ADOPT_TIMEOUT_MS = 1_000 * PATIENCE;
const CONNECT_RETRY_MS = 20;
const STOP_TIMEOUT_MS = 2_000 * PATIENCE;
/** A run that lasted so long ends a series of failures. */
const STABLE_MS = 10_000;
/** Pause before the n-th start in a series of failures; the last one for all further ones. */
const RESTART_DELAYS_MS = [0, 0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000];

export interface SupervisorOptions {
  /** Program of the data plane; default {@link dataPlaneMain}. */
  readonly main?: string;
}

export class Supervisor extends DataPlaneRequests {
  readonly #runtime: RuntimeDirectory;
  readonly #main: string;
  #state: DataPlaneState = 'stopped';
  #restarts = 0;
  #adopted = false;
  #lastFailure: string | null = null;
  #process: ProcessIdentity | undefined;
  #session: DataPlaneSession | undefined;
  #plan: Plan | undefined;
  #penalties: Readonly<Record<string, number>> = {};
  #startedAt = 0;
  #failuresInARow = 0;
  #restartTimer: NodeJS.Timeout | undefined;
  /** Set by `stop` and `leave`: what ends from now on is not started again. */
  #ending = true;

  constructor(runtime: RuntimeDirectory, options: SupervisorOptions = {}) {
    super();
    this.#runtime = runtime;
    this.#main = options.main ?? dataPlaneMain();
  }

  protected override get session(): DataPlaneSession | undefined {
    return this.#session;
  }

  get report(): DataPlaneReport {
    return {
      state: this.#state,
      pid: this.#process?.pid ?? null,
      restarts: this.#restarts,
      lastFailure: this.#lastFailure,
    };
  }

  /** What a restarted data plane gets. */
  get plan(): Plan | undefined {
    return this.#plan;
  }

  /** Whether the data plane is one that an earlier control process started. */
  get adopted(): boolean {
    return this.#adopted;
  }

  /**
   * Adopts the data plane that runs, or starts one. Resolves when it is ready for a plan.
   *
   * @throws Error if the first start fails; no data plane is left then.
   */
  async start(): Promise<void> {
    this.#ending = false;
    try {
      if (await this.#adopt()) return;
      await this.#launch();
    } catch (error) {
      this.#ending = true;
      this.#setState('stopped');
      throw error;
    }
  }

  /**
   * Gives the data plane a plan; a restarted one gets it again.
   *
   * @throws PlanRefusedError: the former plan stays the one that a restarted data plane gets.
   * @throws DataPlaneGoneError if it ended meanwhile: it gets the new plan when it is back.
   */
  async apply(plan: Plan): Promise<void> {
    const former = this.#plan;
    this.#plan = plan;
    try {
      await this.#sendPlan(plan);
    } catch (error) {
      if (error instanceof PlanRefusedError && this.#plan === plan) this.#plan = former;
      throw error;
    }
  }

  /** A restarted data plane gets this plan, not the one of an {@link apply} that it did not survive. */
  restartWith(plan: Plan | undefined): void {
    this.#plan = plan;
  }

  /** Tunnels to avoid from now on, by name. A restarted data plane gets the same. */
  penalise(penalties: Readonly<Record<string, number>>): void {
    this.#penalties = penalties;
    this.#session?.send({ type: 'penalties', penalties });
  }

  /** Ends the data plane; resolves when its process is gone. Flow memory stays. */
  async stop(): Promise<void> {
    this.#end();
    const running = this.#process;
    this.#session?.send({ type: 'stop' });
    if (running !== undefined && !(await waitForEnd(running, STOP_TIMEOUT_MS))) await killProcess(running);
    this.#disconnect('the data plane was stopped');
    this.#process = undefined;
    forgetProcess(this.#runtime);
    this.#setState('stopped');
  }

  /** Lets go of the data plane, which goes on forwarding. */
  leave(): void {
    this.#end();
    this.#disconnect('control has let go of the data plane');
    this.#setState('stopped');
  }

  async #adopt(): Promise<boolean> {
    const running = findDataPlane(this.#runtime);
    if (running === undefined) return false;
    try {
      const link = await DataPlaneLink.open(this.#runtime.dataPlaneSocketPath, ADOPT_TIMEOUT_MS);
      if (link.ready.pid === running.pid) {
        this.#adopted = true;
        this.#use(link, running);
        return true;
      }
      link.close();
    } catch {
      // It does not listen or does not answer.
    }
    await killProcess(running);
    return false;
  }

  async #launch(): Promise<void> {
    this.#setState('starting');
    this.#adopted = false;
    this.#startedAt = performance.now();
    const child = spawnDataPlane(this.#runtime, this.#main);
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(`the data plane cannot be started: ${error.message}`));
      child.once('exit', (status, signal) => resolve(exitReason(status, signal)));
    });
    this.#process = child.pid === undefined ? undefined : identify(child.pid);
    let failure: string | undefined;
    void ended.then((reason) => {
      failure = reason;
    });
    const link = await this.#connect(() => failure).catch(async (error: Error) => {
      await endChild(child);
      this.#process = undefined;
      throw error;
    });
    if (this.#ending || this.#process === undefined) {
      link.close();
      await endChild(child);
      throw new DataPlaneGoneError('the data plane was stopped while it started');
    }
    const session = this.#use(link, this.#process);
    void ended.then((reason) => this.#failed(session, reason));
  }

  /** Tries until it listens, or has failed, or takes too long. */
  async #connect(failure: () => string | undefined): Promise<DataPlaneLink> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      const reason = failure();
      if (reason !== undefined) throw new Error(`${reason}; see ${this.#runtime.dataPlaneLogPath}`);
      if (this.#ending) throw new DataPlaneGoneError('the data plane was stopped while it started');
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`the data plane did not get ready within ${START_TIMEOUT_MS / 1000} s`);
      try {
        const link = await DataPlaneLink.open(this.#runtime.dataPlaneSocketPath, left);
        if (link.ready.pid === this.#process?.pid) return link;
        link.close();
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (code !== 'ENOENT' && code !== 'ECONNREFUSED' && code !== 'ECONNRESET') throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MS));
    }
  }

  #use(link: DataPlaneLink, identity: ProcessIdentity): DataPlaneSession {
    const session = new DataPlaneSession(link);
    this.#session = session;
    this.#process = identity;
    this.#startedAt = performance.now();
    session.on('plan-applied', () => {
      session.send({ type: 'penalties', penalties: this.#penalties });
      this.#setState('forwarding');
    });
    session.on('log', (message) => this.emit('log', message));
    session.on('probe', (message) => this.emit('probe', message));
    session.on('plugin-message', (message) => this.emit('plugin-message', message));
    session.on('plugin-failed', (message) => this.emit('plugin-failed', message));
    session.on('failed', (reason) => this.#failed(session, reason));
    this.#setState('running');
    return session;
  }

  /** The session is of no use any more: the process behind it is ended and another one started. */
  #failed(session: DataPlaneSession, reason: string): void {
    if (this.#session !== session || this.#ending) return;
    const failed = this.#process;
    const why = this.#withPlugin(reason);
    this.#disconnect(why);
    this.#process = undefined;
    this.#failuresInARow = performance.now() - this.#startedAt >= STABLE_MS ? 0 : this.#failuresInARow + 1;
    this.#setState('waiting');
    void (async () => {
      if (failed !== undefined) await killProcess(failed);
      this.#reportFailure(why);
      this.#restartLater();
    })();
  }

  /** Adds the plugin in which it happened. One that has not taken its plan has not run any. */
  #withPlugin(reason: string): string {
    if (this.#state !== 'forwarding' && !this.#adopted) return reason;
    const plugin = runningPlugin(this.#runtime.flowMemoryPath);
    return plugin === undefined ? reason : `${reason}, in ${plugin}`;
  }

  #restartLater(): void {
    if (this.#ending) return;
    const delay = RESTART_DELAYS_MS[Math.min(this.#failuresInARow, RESTART_DELAYS_MS.length - 1)]!;
    this.#setState('waiting');
    this.#restartTimer = setTimeout(() => void this.#restart(), delay);
  }

  async #restart(): Promise<void> {
    this.#restarts++;
    try {
      await this.#launch();
    } catch (error) {
      this.#failuresInARow++;
      this.#reportFailure((error as Error).message);
      this.#restartLater();
      return;
    }
    if (this.#plan === undefined) return;
    try {
      await this.#sendPlan(this.#plan);
    } catch (error) {
      if (error instanceof PlanRefusedError) this.emit('plan-refused', error.message);
    }
  }

  #reportFailure(reason: string): void {
    if (this.#ending) return;
    this.#lastFailure = reason;
    this.emit('failure', reason);
  }

  async #sendPlan(plan: Plan): Promise<void> {
    if (this.#session === undefined) throw new DataPlaneGoneError('no data plane runs');
    await this.#session.sendPlan(plan);
  }

  #end(): void {
    this.#ending = true;
    clearTimeout(this.#restartTimer);
  }

  #disconnect(reason: string): void {
    this.#session?.close(reason);
    this.#session = undefined;
  }

  #setState(state: DataPlaneState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.emit('state', this.report);
  }
}

function exitReason(status: number | null, signal: NodeJS.Signals | null): string {
  return `the data plane ended with ${signal === null ? `status ${status}` : signal}`;
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.ref();
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}
