/**
 * Runs the host's own tools (`ip`, `nft`) in this process's network namespace. One process for a whole batch,
 * never one for a packet, neighbour or event.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { childEnvironment } from '../child-environment.ts';

/** A tool could not be started, or said no. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly code: 'command_missing' | 'command_failed';
  /** What the tool wrote to its standard error. */
  readonly stderr: string;

  constructor(code: CommandError['code'], message: string, stderr = '') {
    super(message);
    this.code = code;
    this.stderr = stderr;
  }
}

export interface CommandOptions {
  readonly input?: string;
  /** Resolve with what was written even if the exit status is not 0. */
  readonly mayFail?: boolean;
}

let heldByCommands: number | undefined;

/**
 * Every command from now on gets this descriptor, too, and with it holds the lock behind it: should this process be
 * killed, what it was doing to the host comes to its end before anybody else begins.
 */
export function holdInCommands(descriptor: number | undefined): void {
  heldByCommands = descriptor;
}

/**
 * Standard output of a command.
 *
 * @throws CommandError with the tool's own words.
 */
export function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      // In a group of its own: what is typed at the terminal ends the gateway, not half of what it was doing.
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe', ...(heldByCommands === undefined ? [] : [heldByCommands])],
      env: { ...childEnvironment(), LC_ALL: 'C' },
    }) as ChildProcessWithoutNullStreams;
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'ENOENT' ? 'is not installed, or not in PATH' : `cannot be started: ${error.code}`;
      reject(new CommandError('command_missing', `${command} ${why}`));
    });
    child.on('close', (status) => {
      if (status === 0 || options.mayFail) return resolve(stdout);
      const said = stderr.trim() === '' ? `exit status ${status}` : stderr.trim();
      reject(new CommandError('command_failed', `${command} ${args.join(' ')}: ${said}`, stderr));
    });
    // A tool that ends early closes its input: its exit status says why.
    child.stdin.on('error', () => {});
    child.stdin.end(options.input ?? '');
  });
}
