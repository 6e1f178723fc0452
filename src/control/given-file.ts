/**
 * Files that the configuration names and somebody else keeps: secrets, keys, certificates. What is wrong with one is
 * said by its path; no message repeats what was read.
 *
 * Neighbours: `ipsec/ike-credentials.ts`, `api/network-access.ts`.
 */
import type { Stats } from 'node:fs';
import { FileKindError, readRegularFile } from '../plugin/regular-file.ts';

/** Far more than a chain of certificates has. */
const MAX_FILE_BYTES = 65_535;
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'it may not be read',
};

/** A file is missing, unreadable, too large or unsafe; the message names it. */
export class GivenFileError extends Error {
  override readonly name = 'GivenFileError';
  readonly code = 'given_file';
}

/** @throws GivenFileError */
export function readGivenFile(path: string): Buffer {
  return read(path).content;
}

/**
 * A file that others than its owner and group may read is no secret.
 *
 * @throws GivenFileError
 */
export function readSecretFile(path: string): Buffer {
  const { content, stats } = read(path);
  if ((stats.mode & 0o007) === 0) return content;
  throw new GivenFileError(`everybody may use ${path}; do "chmod o= ${path}"`);
}

function read(path: string): { readonly content: Buffer; readonly stats: Stats } {
  try {
    return readRegularFile(path, MAX_FILE_BYTES);
  } catch (error) {
    if (error instanceof FileKindError) throw new GivenFileError(`${path} ${error.message}`);
    const code = (error as NodeJS.ErrnoException).code ?? '';
    throw new GivenFileError(`${path} cannot be read: ${REASONS[code] ?? code}`);
  }
}
