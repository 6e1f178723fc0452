/**
 * homeward itself in a namespace of the lab: `src/main.ts run`, as a user starts it, with ways to end either of
 * its two processes well or badly.
 */
import type { ChildProcess } from 'node:child_process';
import { readlinkSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { ApiClient, ApiError } from '../../../src/api/client.ts';
import type { StatusBody } from '../../../src/api/schemas/gateway.ts';
import type { CommandResult, Lab } from '../lab.ts';
import { eventually, PATIENCE } from '../patience.ts';
import { pinned } from '../processor.ts';

const PROJECT = join(import.meta.dirname, '../../..');
const STATUS_TIMEOUT_MS = 2000;

/** A configuration as the YAML file has it. */
export type Configuration = Readonly<Record<string, unknown>>;

export interface HomewardOptions {
  /** Where `src/` is; default: this project. */
  readonly project?: string;
}

export class HomewardProcess {
  readonly configPath: string;
  readonly runtimeDirectory: string;
  readonly #lab: Lab;
  readonly #label: string;
  #project: string;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #client: ApiClient;
  #child: ChildProcess | undefined;
  #ended: Promise<number | null> = Promise.resolve(null);
  #output = '';

  constructor(lab: Lab, label: string, configuration: Configuration, options: HomewardOptions = {}) {
    this.runtimeDirectory = join(lab.directory, `run-${label}`);
    this.#lab = lab;
    this.#label = label;
    this.#project = options.project ?? PROJECT;
    this.configPath = join(lab.directory, `${label}.yaml`);
    this.#environment = {
      ...process.env,
      HOMEWARD_RUNTIME_DIR: this.runtimeDirectory,
      HOMEWARD_STATE_DIR: join(lab.directory, `state-${label}`),
    };
    this.#client = new ApiClient(join(this.runtimeDirectory, 'api.sock'), STATUS_TIMEOUT_MS * PATIENCE);
    this.configure(configuration);
  }

  /** What control has logged and printed so far, of all its lives. */
  get output(): string {
    return this.#output;
  }

  /** Pid of the control process that was started last. */
  get controlPid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Writes the configuration file; a running gateway reads it at its next start. */
  configure(configuration: Configuration): void {
    writeFileSync(this.configPath, stringify(configuration));
  }

  /** Starts control and waits until every device is open and packets are forwarded. */
  async start(options: HomewardOptions = {}): Promise<void> {
    this.launch(options);
    await this.forwarding();
  }

  /** Starts control: of this project, or of another one from now on. */
  launch(options: HomewardOptions = {}): void {
    this.#project = options.project ?? this.#project;
    const command = pinned('last', process.execPath, [this.#main(), 'run', '--config', this.configPath]);
    const child = this.#lab.spawn(this.#label, ...command, this.#environment);
    this.#child = child;
    this.#ended = new Promise((resolve) => child.once('close', resolve));
    const keep = (data: Buffer): void => {
      this.#output += data.toString();
    };
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
  }

  /** What is built, if HOMEWARD_TEST_BUILT says so: where all is slow, a start from TypeScript takes much longer. */
  #main(): string {
    const isBuilt = process.env.HOMEWARD_TEST_BUILT !== undefined && this.#project === PROJECT;
    return join(this.#project, isBuilt ? 'dist/src/main.js' : 'src/main.ts');
  }

  /** Waits until the gateway forwards; throws, with its log, if it ends instead. */
  async forwarding(): Promise<StatusBody> {
    const forwards = eventually(
      `${this.#label} forwards`,
      async () => {
        if (this.#child?.exitCode !== null || this.#child.signalCode !== null) {
          throw new Error(`homeward in ${this.#label} has ended:\n${this.#output}`);
        }
        const status = await this.status();
        const ready =
          status?.dataPlane.state === 'forwarding' && status.devices.every(({ state }) => state === 'open');
        return ready ? status : undefined;
      },
      30_000,
    );
    return await forwards.catch((error: Error) => {
      throw new Error(`${error.message}; its log:\n${this.#output}`);
    });
  }

  /** The API's answer; undefined while nobody answers. */
  async status(): Promise<StatusBody | undefined> {
    try {
      return await this.#client.status();
    } catch (error) {
      if (error instanceof ApiError) return undefined;
      throw error;
    }
  }

  /** Pid of the data plane, which must run. */
  async dataPlanePid(): Promise<number> {
    const pid = (await this.status())?.dataPlane.pid;
    if (!pid) throw new Error(`no data plane runs in ${this.#label}`);
    return pid;
  }

  /** SIGKILL, and nothing more. */
  async kill(what: 'control' | 'dataPlane' | 'both'): Promise<void> {
    const dataPlane = what === 'control' ? undefined : await this.dataPlanePid();
    if (what !== 'dataPlane') process.kill(this.controlPid, 'SIGKILL');
    if (dataPlane !== undefined) process.kill(dataPlane, 'SIGKILL');
    if (what !== 'dataPlane') await this.#ended;
  }

  /** SIGKILL for control and for every data plane there is, also for one of which no status tells yet. */
  async killAll(): Promise<void> {
    // Control first: it would start another data plane.
    if (this.#child?.exitCode === null && this.#child.signalCode === null) {
      process.kill(this.controlPid, 'SIGKILL');
    }
    for (const pid of await this.pids()) killIfThere(pid);
    await this.#ended;
  }

  /** Of all processes of homeward that run in the gateway's namespace. */
  async pids(): Promise<number[]> {
    const pids = await this.#lab.exec(this.#label, 'ip', ['netns', 'pids', this.#lab.name(this.#label)]);
    return pids.split('\n').filter(Boolean).map(Number).filter(isNode);
  }

  /** Sends a signal to control and waits for its end. Resolves to the exit status. */
  async end(signal: 'SIGTERM' | 'SIGINT'): Promise<number | null> {
    this.#child?.kill(signal);
    return this.#ended;
  }

  /** Waits for the end of control, whatever ends it. Resolves to the exit status. */
  ended(): Promise<number | null> {
    return this.#ended;
  }

  /** Runs a command line of homeward in the gateway's namespace. */
  command(...args: readonly string[]): Promise<CommandResult> {
    const main = this.#main();
    const environment = Object.entries(this.#environment).filter(([name]) => name.startsWith('HOMEWARD_'));
    return this.#lab.attempt(this.#label, 'env', [
      ...environment.map(([name, value]) => `${name}=${value}`),
      process.execPath,
      main,
      ...args,
    ]);
  }
}

/** Whether this is a process of homeward, and not a command that one has begun. */
function isNode(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/exe`) === realpathSync(process.execPath);
  } catch {
    return false;
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
