/**
 * Makes directories where a user said, wherever that is.
 *
 * Neighbours: `runtime/runtime-directory.ts`, `store/state-directory.ts`, `api/unix-socket.ts`.
 */
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a directory, and those above it, unless they are there. Node's own `recursive` does not return where one above is there
 * and the kernel says "no such file" of what is made in it, as in /proc.
 *
 * @param mode of what is made
 * @throws Error with the code of the failed system call
 */
export function makeDirectories(path: string, mode: number): void {
  try {
    makeDirectory(path, mode);
  } catch (error) {
    const above = dirname(path);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || above === path) throw error;
    makeDirectories(above, mode);
    makeDirectory(path, mode);
  }
}

function makeDirectory(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    const isThere = (error as NodeJS.ErrnoException).code === 'EEXIST' && statSync(path).isDirectory();
    if (!isThere) throw error;
  }
}
