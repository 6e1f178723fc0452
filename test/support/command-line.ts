/** The executable as a user calls it: from a script, or on a terminal. */
import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { eventually } from './patience.ts';

const MAIN = resolve(import.meta.dirname, '../../src/main.ts');
const PTY = join(import.meta.dirname, 'on-terminal.py');

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs it to its end. `runtimeDirectory` stands for the one of this host. */
export function homeward(runtimeDirectory: string, ...args: string[]): Promise<Outcome> {
  return homewardReading('', runtimeDirectory, ...args);
}

/** The same with a standard input. */
export function homewardReading(
  input: string,
  runtimeDirectory: string,
  ...args: string[]
): Promise<Outcome> {
  return homewardWith({}, input, runtimeDirectory, ...args);
}

/** The same with more in its environment. */
export function homewardWith(
  extra: NodeJS.ProcessEnv,
  input: string,
  runtimeDirectory: string,
  ...args: string[]
): Promise<Outcome> {
  const env = environment(runtimeDirectory, { NO_COLOR: '1', ...extra });
  return new Promise((done) => {
    const child = execFile(process.execPath, [MAIN, ...args], { env }, (error, stdout, stderr) => {
      done({ status: error ? Number(error.code) : 0, stdout, stderr });
    });
    // One that does not read may be gone before it is written.
    child.stdin!.on('error', () => {}).end(input);
  });
}

/** It on a terminal of 100 columns and 30 rows. */
export class TerminalSession {
  /** Everything shown so far, control characters and all. */
  shown = '';
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<number | null>;

  constructor(runtimeDirectory: string, args: readonly string[], extra: NodeJS.ProcessEnv = {}) {
    const env = environment(runtimeDirectory, {
      TERM: 'xterm',
      NO_COLOR: undefined,
      CI: undefined,
      ...extra,
    });
    this.#process = spawn('python3', [PTY, '100', '30', process.execPath, MAIN, ...args], { env });
    this.#process.stdout.on('data', (part: Buffer) => {
      this.shown += part.toString();
    });
    this.#ended = new Promise((resolve) => this.#process.once('close', resolve));
  }

  /** Waits until the text is shown behind what was waited for before; answers with `typed`. */
  async type(prompt: string, typed: string): Promise<void> {
    await eventually(`"${prompt}" is shown`, () => {
      const at = this.shown.indexOf(prompt, this.#seen);
      if (at < 0) return false;
      this.#seen = at + prompt.length;
      return true;
    });
    this.#process.stdin.write(typed);
  }

  #seen = 0;

  /** The exit status, once it has ended. */
  end(): Promise<number | null> {
    return this.#ended;
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }
}

function environment(runtimeDirectory: string, more: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...process.env, HOMEWARD_RUNTIME_DIR: runtimeDirectory, FORCE_COLOR: undefined, ...more };
}
