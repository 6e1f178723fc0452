/**
 * Files that a configuration names, read where nobody may wait: a named pipe without a writer would hold up its reader
 * for ever, and a device such as `/dev/zero` has no end.
 *
 * Neighbours: `control/given-file.ts` (secrets, keys, certificates), the firewall's sets.
 */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';

/** It is there, and cannot be used; the message ends the sentence "FILE ...". */
export class FileKindError extends Error {
  override readonly name = 'FileKindError';
  readonly code = 'file_kind';
}

/**
 * The content of a regular file, and what the system says of the file that was read.
 *
 * @param maxBytes more is refused
 * @throws FileKindError if it is something else, or larger; what the system says if it cannot be read
 */
export function readRegularFile(
  path: string,
  maxBytes: number,
): { readonly content: Buffer; readonly stats: Stats } {
  // Opening a pipe waits for its other end unless this says otherwise; reading a regular file knows no such flag.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stats = fstatSync(file);
    if (stats.isDirectory()) throw new FileKindError('is a directory; name a file');
    if (!stats.isFile()) throw new FileKindError('is no regular file; name one');
    const chunks: Buffer[] = [];
    // The system may say that a file is empty which is not (procfs), and it may grow.
    for (let length = 0; ; ) {
      const chunk = Buffer.alloc(Math.min(maxBytes + 1 - length, 65_536));
      const count = readSync(file, chunk);
      if (count === 0) return { content: Buffer.concat(chunks), stats };
      length += count;
      if (length > maxBytes) throw new FileKindError(`has more than ${maxBytes} bytes`);
      chunks.push(chunk.subarray(0, count));
    }
  } finally {
    closeSync(file);
  }
}
