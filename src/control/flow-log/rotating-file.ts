/**
 * A file that is appended to, and put aside when it is full.
 *
 * ```
 *  flows.jsonl ──► flows.jsonl.1 ──► flows.jsonl.2 ── ... ──► flows.jsonl.KEEP ──► gone
 * ```
 *
 * Lines stay whole: what could not be written entirely is taken back, and what a process that was killed left of a
 * line is ended before the next one. Others may put the file aside, too (logrotate): {@link RotatingFile.reopen}.
 */
import { type FileHandle, open, rename } from 'node:fs/promises';

const MODE = 0o640;
const LINE_FEED = 0x0a;

export interface RotationOptions {
  /** The file is put aside when it has this size. */
  readonly sizeBytes: number;
  /** Former files that are kept. */
  readonly keep: number;
}

export class RotatingFile {
  readonly path: string;
  /** Bytes written since this object was made. */
  writtenBytes = 0;
  /** Failures to open, write or rotate. */
  errors = 0;
  #options: RotationOptions;
  #handle: FileHandle | undefined;
  #sizeBytes = 0;
  #mustReopen = false;

  constructor(path: string, options: RotationOptions) {
    this.path = path;
    this.#options = options;
  }

  set options(options: RotationOptions) {
    this.#options = options;
  }

  /**
   * Appends whole lines; nothing of them if it fails. One call at a time.
   *
   * @throws Error of the file system
   */
  async append(lines: string): Promise<void> {
    try {
      const handle = await this.#open();
      const bytes = Buffer.from(lines, 'utf8');
      try {
        await handle.appendFile(bytes);
      } catch (error) {
        await handle.truncate(this.#sizeBytes).catch(() => {});
        throw error;
      }
      this.#sizeBytes += bytes.length;
      this.writtenBytes += bytes.length;
    } catch (error) {
      this.errors++;
      await this.close();
      throw error;
    }
    if (this.#sizeBytes >= this.#options.sizeBytes) await this.#rotate();
  }

  /** The file under this name is another one now: opened again before the next line. */
  reopen(): void {
    this.#mustReopen = true;
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close().catch(() => {});
  }

  async #open(): Promise<FileHandle> {
    if (this.#mustReopen) await this.close();
    this.#mustReopen = false;
    if (this.#handle !== undefined) return this.#handle;
    const handle = await open(this.path, 'a+', MODE);
    try {
      const { size } = await handle.stat();
      this.#sizeBytes = size;
      if (size > 0) {
        const last = new Uint8Array(1);
        await handle.read(last, 0, 1, size - 1);
        if (last[0] !== LINE_FEED) {
          await handle.appendFile('\n');
          this.#sizeBytes++;
        }
      }
    } catch (error) {
      await handle.close();
      throw error;
    }
    this.#handle = handle;
    return handle;
  }

  /** What cannot be put aside grows on: the lines are written. */
  async #rotate(): Promise<void> {
    await this.close();
    try {
      for (let number = this.#options.keep - 1; number >= 1; number--) {
        await renameIfThere(`${this.path}.${number}`, `${this.path}.${number + 1}`);
      }
      await renameIfThere(this.path, `${this.path}.1`);
    } catch {
      this.errors++;
    }
  }
}

async function renameIfThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
