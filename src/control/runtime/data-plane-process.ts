/**
 * The data plane as a process: how it is started, how one that control did not start is known again, and how
 * one is ended.
 *
 * A pid alone says little after a crash: it may belong to somebody else by now. `dataplane.json` has the pid
 * and the time when that process began, in the kernel's count; only if both still hold it is ours.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatDataPlaneArguments } from '../../dataplane/messages.ts';
import { childEnvironment } from '../child-environment.ts';
import type { RuntimeDirectory } from './runtime-directory.ts';

/** Of a failed data plane's output, into the log. */
const MAX_OUTPUT_CHARACTERS = 2000;

export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot. */
  readonly startTime: string;
}

/** The program of the data plane, in TypeScript or built, as this file is. */
export function dataPlaneMain(): string {
  return fileURLToPath(new URL(`../../dataplane/main${extname(import.meta.url)}`, import.meta.url));
}

/**
 * Starts a data plane in a session of its own, so that what is typed at control's terminal does not reach it.
 * What it prints goes to a file in the runtime directory, anew with each start.
 *
 * @throws Error if it cannot be started at all.
 */
export function spawnDataPlane(runtime: RuntimeDirectory, main: string): ChildProcess {
  rmSync(runtime.dataPlaneLogPath, { force: true });
  const log = openSync(runtime.dataPlaneLogPath, 'a', 0o600);
  try {
    const child = spawn(
      process.execPath,
      [
        main,
        ...formatDataPlaneArguments({
          runtimeDirectory: runtime.directory,
          socketPath: runtime.dataPlaneSocketPath,
          flowMemoryPath: runtime.flowMemoryPath,
        }),
      ],
      { detached: true, stdio: ['ignore', log, log], env: childEnvironment() },
    );
    // Control may end without it.
    child.unref();
    const identity = child.pid === undefined ? undefined : identify(child.pid);
    if (identity !== undefined) rememberProcess(runtime, identity);
    return child;
  } finally {
    closeSync(log);
  }
}

/** The end of what the last data plane printed: nothing, unless it failed. */
export function lastOutput(runtime: RuntimeDirectory): string {
  try {
    return readFileSync(runtime.dataPlaneLogPath, 'utf8').trim().slice(-MAX_OUTPUT_CHARACTERS);
  } catch {
    return '';
  }
}

/** The data plane that runs for this instance, whoever started it; undefined if none does. */
export function findDataPlane(runtime: RuntimeDirectory): ProcessIdentity | undefined {
  let known: ProcessIdentity;
  try {
    known = JSON.parse(readFileSync(runtime.dataPlaneProcessPath, 'utf8'));
  } catch {
    return undefined;
  }
  return isAlive(known) ? known : undefined;
}

export function forgetProcess(runtime: RuntimeDirectory): void {
  rmSync(runtime.dataPlaneProcessPath, { force: true });
}

/** Whether this very process, or a thread of it, still runs. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startTime === identity.startTime;
}

/** Ends the process, if it is still the same, at once; resolves when it is gone. */
export async function killProcess(identity: ProcessIdentity): Promise<void> {
  while (isAlive(identity)) {
    try {
      process.kill(identity.pid, 'SIGKILL');
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Resolves to true when the process is gone, to false when that takes longer. */
export async function waitForEnd(identity: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (isAlive(identity)) {
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return true;
}

/**
 * Identity of a running process; undefined if there is none, or only a zombie is left, which holds nothing any more.
 * One whose first thread has ended before the others is no such zombie: devices and files stay open until they are
 * gone, too.
 */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name in parentheses, which may contain anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, threads, startTime] = [fields[0], Number(fields[17]), fields[19]!];
    const hasEnded = state === 'X' || (state === 'Z' && threads <= 1);
    return hasEnded ? undefined : { pid, startTime };
  } catch {
    return undefined;
  }
}

function rememberProcess(runtime: RuntimeDirectory, identity: ProcessIdentity): void {
  const temporary = `${runtime.dataPlaneProcessPath}.tmp`;
  writeFileSync(temporary, JSON.stringify(identity), { mode: 0o600 });
  renameSync(temporary, runtime.dataPlaneProcessPath);
}
