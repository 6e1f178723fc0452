/**
 * Network namespaces for tests: with names of their own, gone afterwards, also when a test fails.
 */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';

/** A network namespace and the processes that a test has started in it. */
export class NetworkNamespace {
  readonly name = `hw-${process.pid}-${randomBytes(3).toString('hex')}`;
  readonly #children: ChildProcess[] = [];

  constructor() {
    run('ip', ['netns', 'add', this.name]);
  }

  /** Runs a command to its end; its standard output. Throws with what it said if it fails. */
  exec(command: string, args: readonly string[], input?: string): string {
    return run('ip', ['netns', 'exec', this.name, command, ...args], input);
  }

  /** As {@link exec}, but resolves, whatever the exit status: `{ status, stdout, stderr }`. */
  attempt(
    command: string,
    args: readonly string[],
  ): Promise<{ status: number | null; stdout: string; stderr: string }> {
    const child = this.spawn(command, args);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    return new Promise((resolve) => child.on('close', (status) => resolve({ status, stdout, stderr })));
  }

  /** Pids of everything that runs in it. */
  pids(): number[] {
    return run('ip', ['netns', 'pids', this.name]).split('\n').filter(Boolean).map(Number);
  }

  /** Several `ip` commands, in one process. */
  ip(...commands: string[]): void {
    run('ip', ['-n', this.name, '-batch', '-'], `${commands.join('\n')}\n`);
  }

  nft(rules: string): void {
    this.exec('nft', ['-f', '-'], rules);
  }

  /** Starts a process that {@link remove} ends at the latest. */
  spawn(command: string, args: readonly string[], environment = process.env): ChildProcessWithoutNullStreams {
    const child = spawn('ip', ['netns', 'exec', this.name, command, ...args], { env: environment });
    this.#children.push(child);
    return child;
  }

  /** Ends what {@link spawn} has started. */
  async endProcesses(): Promise<void> {
    await Promise.all(
      this.#children.map((child) => {
        if (child.exitCode !== null || child.signalCode !== null) return undefined;
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        return gone;
      }),
    );
  }

  /** Ends the processes and removes the namespace with all that is in it. */
  async remove(): Promise<void> {
    await this.endProcesses();
    run('ip', ['netns', 'del', this.name]);
  }
}

/** The lines a process prints, in order; ends with it. */
export function linesOf(child: ChildProcessWithoutNullStreams): AsyncIterator<string> {
  return createInterface({ input: child.stdout })[Symbol.asyncIterator]();
}

function run(command: string, args: readonly string[], input?: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    ...(input === undefined ? {} : { input }),
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr.trim() || `status ${status}`}`);
  return stdout;
}
