/**
 * Which daemon of the host's is used for IPsec, for whoever takes down what a killed process has left there: a file in the
 * runtime directory.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** @param directory the runtime directory */
export function keepDaemonSocket(directory: string, socket: string | null): void {
  const path = pathIn(directory);
  if (socket === null) {
    rmSync(path, { force: true });
    return;
  }
  mkdirSync(join(directory, 'ipsec'), { recursive: true, mode: 0o700 });
  writeFileSync(path, `${socket}\n`, { mode: 0o600 });
}

/** null: none is used. */
export function readDaemonSocket(directory: string): string | null {
  try {
    return readFileSync(pathIn(directory), 'utf8').trimEnd();
  } catch {
    return null;
  }
}

function pathIn(directory: string): string {
  return join(directory, 'ipsec', 'daemon');
}
