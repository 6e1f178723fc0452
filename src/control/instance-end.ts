/** What becomes of an instance's files and locks when its control process ends. */
import { rmdirSync } from 'node:fs';
import { readHostState } from './host/host-state.ts';
import type { InstanceLock } from './runtime/lock.ts';
import { clearRuntimeDirectory, type RuntimeDirectory } from './runtime/runtime-directory.ts';

/** After a failure: what an earlier run has left stays; of this one, which left nothing, not even a directory. */
export function leaveInstance(runtime: RuntimeDirectory, lock: InstanceLock): void {
  if (readHostState(runtime.hostStatePath) === undefined) {
    clearRuntimeDirectory(runtime);
    removeInstance(runtime, lock);
  } else {
    lock.release();
  }
}

/** The last traces. The directory stays if somebody else keeps something there. */
export function removeInstance(runtime: RuntimeDirectory, lock: InstanceLock): void {
  lock.remove();
  try {
    rmdirSync(runtime.directory);
  } catch {
    // Not empty.
  }
}
