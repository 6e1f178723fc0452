/**
 * What the data plane prints - Node's warnings, and whatever plugins write with `console` - goes to a file in memory
 * (`dataplane.log`). Here that file begins anew where it would get too long, so that a plugin that prints a line for every
 * packet does not fill the memory of the host.
 *
 * The last words of a process that fails come from Node itself, behind all this.
 *
 * Neighbours: `control/runtime/data-plane-process.ts` (opens the file, to be appended to), `main.ts` (calls).
 */
import { fstatSync, ftruncateSync, statSync } from 'node:fs';

/** Name of the file, in the runtime directory. */
export const PRINTED_OUTPUT = 'dataplane.log';
/** What is kept at most of what was printed: far more than anybody reads. */
const MAX_PRINTED_BYTES = 1024 * 1024;

type Write = (chunk: string | Uint8Array, ...rest: never[]) => boolean;

/**
 * From now on the file holds so many bytes at most. Does nothing where standard output and error go elsewhere.
 *
 * @param path of the file
 */
export function boundPrintedOutput(path: string, maxBytes = MAX_PRINTED_BYTES): void {
  const file = statSync(path, { throwIfNoEntry: false });
  if (file === undefined) return;
  const streams = [process.stdout, process.stderr].filter(({ fd }) => {
    const open = fstatSync(fd);
    return open.ino === file.ino && open.dev === file.dev;
  });
  let printedBytes = file.size;
  for (const stream of streams) {
    const write = stream.write.bind(stream) as Write;
    const bounded: Write = (chunk, ...rest) => {
      const bytes = typeof chunk === 'string' ? Buffer.byteLength(chunk) : chunk.length;
      if (printedBytes + bytes > maxBytes) {
        ftruncateSync(stream.fd, 0);
        printedBytes = 0;
        // One line alone that is longer is worth nothing to anybody.
        if (bytes > maxBytes) return true;
      }
      printedBytes += bytes;
      return write(chunk, ...rest);
    };
    stream.write = bounded as typeof stream.write;
  }
}
