/**
 * One instance a runtime directory and one a network namespace: two locks, held by the control process.
 *
 * | lock | belongs to | ends with |
 * | --- | --- | --- |
 * | `lock` in the runtime directory | the files there | the process |
 * | abstract socket `homeward` | the network namespace: guard, links, ports | the process and the commands it has begun |
 * | abstract socket `homeward data plane` | the network namespace: the packets | the data plane (`dataplane/main.ts`) |
 *
 * So two runtime directories (HOMEWARD_RUNTIME_DIR) do not make two instances, not even when the control process of
 * one has died and its data plane goes on.
 */

import { readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { DATA_PLANE_LOCK } from '../../dataplane/messages.ts';
import { closeFd, lockNamespace, namespaceLockHolder } from '../../device/native.ts';
import { holdInCommands } from '../host/command.ts';
import { findDataPlane, identify } from './data-plane-process.ts';
import { acquireLock, type InstanceLock, LockHeldError } from './lock.ts';
import type { RuntimeDirectory } from './runtime-directory.ts';

const CONTROL_LOCK = 'homeward';
/** For commands that a killed control process has begun. */
const COMMANDS_TIMEOUT_MS = 10_000;
const RETRY_MS = 20;

/** @throws LockHeldError, which names the process; NativeError if a lock cannot be made. */
export function acquireInstance(runtime: RuntimeDirectory): InstanceLock {
  const lock = acquireLock(runtime.lockPath);
  try {
    const fd = acquireNamespace();
    try {
      refuseOthersDataPlane(runtime);
    } catch (error) {
      closeFd(fd);
      throw error;
    }
    holdInCommands(fd);
    const release = (): void => {
      holdInCommands(undefined);
      closeFd(fd);
    };
    return {
      release: () => {
        release();
        lock.release();
      },
      remove: () => {
        release();
        lock.remove();
      },
    };
  } catch (error) {
    leave(runtime, lock);
    throw error;
  }
}

/** Lets go of a directory that was opened in vain: if there is nothing else in it, it was made for this. */
function leave(runtime: RuntimeDirectory, lock: InstanceLock): void {
  const isEmpty = readdirSync(runtime.directory).every(
    (name) => join(runtime.directory, name) === runtime.lockPath,
  );
  if (!isEmpty) {
    lock.release();
    return;
  }
  lock.remove();
  try {
    rmdirSync(runtime.directory);
  } catch {
    // Somebody keeps something there.
  }
}

/** A descriptor that holds this network namespace's lock. */
function acquireNamespace(): number {
  const deadline = performance.now() + COMMANDS_TIMEOUT_MS;
  for (;;) {
    const fd = lockNamespace(CONTROL_LOCK);
    if (fd !== null) return fd;
    const holder = namespaceLockHolder(CONTROL_LOCK);
    const isGone = holder !== undefined && identify(holder) === undefined;
    if (!isGone || performance.now() > deadline) {
      throw new LockHeldError('in this network namespace, with another HOMEWARD_RUNTIME_DIR', holder);
    }
    // Its commands are at their end in a moment.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
  }
}

/** One of this runtime directory is ours, to be adopted or ended. */
function refuseOthersDataPlane(runtime: RuntimeDirectory): void {
  const holder = namespaceLockHolder(DATA_PLANE_LOCK);
  if (holder === undefined || holder === findDataPlane(runtime)?.pid || identify(holder) === undefined)
    return;
  throw new LockHeldError(
    'a data plane that was left behind with another HOMEWARD_RUNTIME_DIR; "homeward down" with that one ends it',
    holder,
  );
}
