/** A copy of the project with one place changed, to show that a test notices. */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PROJECT = join(import.meta.dirname, '../../..');

export interface Mutation {
  /** File, relative to the project. */
  readonly file: string;
  /** Stands there exactly once. */
  readonly text: string;
  readonly replacement: string;
}

/** Copies what is needed to run homeward into `directory`, with the mutation if there is one. */
export function copyProject(directory: string, mutation?: Mutation): string {
  mkdirSync(directory);
  for (const name of ['src', 'plugins', 'package.json']) {
    cpSync(join(PROJECT, name), join(directory, name), { recursive: true });
  }
  for (const name of ['build', 'node_modules']) symlinkSync(join(PROJECT, name), join(directory, name));
  if (mutation !== undefined) {
    const path = join(directory, mutation.file);
    const parts = readFileSync(path, 'utf8').split(mutation.text);
    if (parts.length !== 2) throw new Error(`${mutation.file}: not exactly one ${mutation.text}`);
    writeFileSync(path, parts.join(mutation.replacement));
  }
  return directory;
}
