/**
 * What plugins leave to the next data plane when this one stops in order: a file in the runtime directory, written at
 * the end and taken away by the first plan of the next process.
 *
 * Neighbours: `plugin-instances.ts` (exports and imports), `data-plane.ts` (when).
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExportedState } from './plugin-instances.ts';

/** More than this is not kept, bytes. */
const MAX_BYTES = 16 * 1024 * 1024;

function pathIn(runtimeDirectory: string): string {
  return join(runtimeDirectory, 'plugin-state.json');
}

/**
 * Writes the states. Those that would make the file too long are left out, and named in what is returned.
 *
 * @throws Error if the file cannot be written
 */
export function leavePluginStates(
  runtimeDirectory: string,
  states: ReadonlyMap<string, ExportedState>,
): string[] {
  const path = pathIn(runtimeDirectory);
  const parts: string[] = [];
  const lost: string[] = [];
  let bytes = 2;
  for (const [name, state] of states) {
    const part = `${JSON.stringify(name)}:${JSON.stringify(state)}`;
    if (bytes + Buffer.byteLength(part) + 1 > MAX_BYTES) {
      lost.push(name);
      continue;
    }
    bytes += Buffer.byteLength(part) + 1;
    parts.push(part);
  }
  if (parts.length === 0) return lost;
  writeFileSync(`${path}.next`, `{${parts.join(',')}}`, { mode: 0o600 });
  renameSync(`${path}.next`, path);
  return lost;
}

/** What the former data plane has left, and nobody has taken; whatever cannot be read is nothing. */
export function takePluginStates(runtimeDirectory: string): ReadonlyMap<string, ExportedState> {
  const path = pathIn(runtimeDirectory);
  try {
    const states = JSON.parse(readFileSync(path, 'utf8')) as Record<string, ExportedState>;
    return new Map(Object.entries(states));
  } catch {
    return new Map();
  } finally {
    rmSync(path, { force: true });
  }
}
