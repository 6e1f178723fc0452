/** Files that whoever types a command names: read, or told in words why they cannot be. */
import { readFileSync } from 'node:fs';
import { wrongUsage } from './wrong-usage.ts';

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file; write the path of one that exists',
  ENOTDIR: 'a part of the path is no directory; write the path of a file that exists',
  EISDIR: 'it is a directory; write the path of a file',
  EACCES: 'this user may not; let it be read, or run the command as root',
  EPERM: 'this user may not; let it be read, or run the command as root',
};

/**
 * @param what what messages begin with, such as the flag that names the file; default: nothing
 * @throws an error of wrong usage that says what would be right
 */
export function readNamedFile(path: string, what = ''): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw wrongUsage(`${what}${path} cannot be read: ${fileReason(error)}`);
  }
}

/** Why a file cannot be read or written, in words where there are any. */
export function fileReason(error: unknown): string {
  const { code = '', message } = error as NodeJS.ErrnoException;
  return REASONS[code] ?? message;
}
