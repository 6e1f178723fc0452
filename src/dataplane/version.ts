/**
 * The version of homeward that this process runs. Control and the data plane each tell their own: after an upgrade a data
 * plane of the former version may go on forwarding for a while.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** As package.json has it, read once: what is installed later is not what runs. */
export const RUNNING_VERSION = readVersion(import.meta.dirname);

/** Of the package.json above `src/`, or above `dist/`. */
function readVersion(start: string): string {
  let directory = start;
  while (!existsSync(join(directory, 'package.json'))) {
    const parent = dirname(directory);
    if (parent === directory) return 'unknown';
    directory = parent;
  }
  const { version } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as {
    version?: unknown;
  };
  return typeof version === 'string' ? version : 'unknown';
}
