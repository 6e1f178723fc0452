/**
 * One control process an instance: a lock on a file, held by the open descriptor, so that it ends with the
 * process however that ends. The file says the holder's pid. It is never removed while another may open it:
 * whoever gets the lock of a file that is not the one at the path tries again.
 */
import { fstatSync, ftruncateSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { closeFd, lockFile } from '../../device/native.ts';

/** Another control process runs for this network namespace. */
export class LockHeldError extends Error {
  override readonly name = 'LockHeldError';
  readonly code = 'already_running';
  /** Its pid, if it has said so. */
  readonly pid: number | undefined;

  /** @param what is locked: a path, or words */
  constructor(what: string, pid: number | undefined) {
    super(`homeward runs here already${pid === undefined ? '' : `: process ${pid}`} (${what})`);
    this.pid = pid;
  }
}

export interface InstanceLock {
  /** Lets the next one in. */
  release(): void;
  /** As `release`, and removes the file: nothing of the instance is left. */
  remove(): void;
}

/** @throws LockHeldError; NativeError if the file cannot be made. */
export function acquireLock(path: string): InstanceLock {
  for (;;) {
    const fd = lockFile(path);
    if (fd === null) throw new LockHeldError(path, readPid(path));
    if (!isStillAt(path, fd)) {
      closeFd(fd);
      continue;
    }
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`, 0);
    return {
      release: () => closeFd(fd),
      remove: () => {
        rmSync(path, { force: true });
        closeFd(fd);
      },
    };
  }
}

function isStillAt(path: string, fd: number): boolean {
  const status = statSync(path, { throwIfNoEntry: false });
  return status !== undefined && status.ino === fstatSync(fd).ino;
}

function readPid(path: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(path, 'latin1'), 10);
    return pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}
