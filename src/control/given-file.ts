/**
 * Files that the configuration names and somebody else keeps: secrets, keys, certificates. What is wrong with one is
 * said by its path; no message repeats what was read.
 *
 * Neighbours: `ipsec/ike-credentials.ts`, `api/network-access.ts`.
 */
import { readFileSync, statSync } from 'node:fs';

/** Far more than a chain of certificates has. */
const MAX_FILE_BYTES = 65_535;
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'it may not be read',
  EISDIR: 'it is a directory',
};

/** A file is missing, unreadable, too large or unsafe; the message names it. */
export class GivenFileError extends Error {
  override readonly name = 'GivenFileError';
  readonly code = 'given_file';
}

/** @throws GivenFileError */
export function readGivenFile(path: string): Buffer {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    throw new GivenFileError(`${path} cannot be read: ${REASONS[code] ?? code}`);
  }
  if (content.length <= MAX_FILE_BYTES) return content;
  throw new GivenFileError(`${path} has more than ${MAX_FILE_BYTES} bytes`);
}

/**
 * A file that others than its owner and group may read is no secret.
 *
 * @throws GivenFileError
 */
export function readSecretFile(path: string): Buffer {
  const content = readGivenFile(path);
  if ((statSync(path).mode & 0o007) === 0) return content;
  throw new GivenFileError(`everybody may use ${path}; do "chmod o= ${path}"`);
}
