/**
 * The configuration file of a gateway that runs, as it is written and looked at: it has the text that runs, comments and
 * all, and is what the next start reads.
 *
 * What somebody has written into it but not applied is kept beside the history before it is written over: one file
 * for each text, named after the time, the newest {@link KEPT_UNAPPLIED} of them.
 *
 * Neighbours: `configuration.ts` (the owner), `state-directory.ts` (how files are written).
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../config/errors.ts';
import { readConfigText } from '../config/source.ts';
import { RequestError } from '../request-error.ts';
import type { Logger } from '../runtime/logger.ts';
import type { ConfigurationView } from './change.ts';
import { type StagedFile, stageFile, writeFileAtomic } from './state-directory.ts';

/** Of texts that did not run. */
const KEPT_UNAPPLIED = 10;
/** Sorts by time. */
const UNAPPLIED_NAME = /^unapplied-[-0-9T.]+Z(-\d+)?\.yaml$/;
/** Of a file that is new. */
const MODE = 0o600;

export class ConfigurationFile {
  readonly path: string;
  readonly #logger: Logger;

  constructor(path: string, logger: Logger) {
    this.path = path;
    this.#logger = logger;
  }

  /** Whether it has this text. */
  state(text: string): ConfigurationView['file'] {
    try {
      return readConfigText(this.path) === text ? 'same' : 'differs';
    } catch (error) {
      if (error instanceof ConfigError) return 'unreadable';
      throw error;
    }
  }

  /**
   * Writes a text, which {@link put} puts in place.
   *
   * @throws RequestError if that cannot be done.
   */
  stage(text: string): StagedFile {
    try {
      return stageFile(this.path, text, MODE);
    } catch (error) {
      throw new RequestError(
        'unavailable',
        'file_unwritable',
        `nothing was changed, as ${this.path} cannot be written: ${(error as Error).message}`,
      );
    }
  }

  /** Puts a staged text in place. Returns what the user must know, or an empty string. */
  put(file: StagedFile): string {
    try {
      file.commit();
      return '';
    } catch (error) {
      file.discard();
      const problem = `${this.path} does not have the configuration that runs, and the next start will read it: it cannot be written: ${(error as Error).message}`;
      this.#logger.error(problem);
      return problem;
    }
  }

  /** Puts a former text back as far as that can be done. */
  restore(text: string): void {
    try {
      writeFileAtomic(this.path, text, MODE);
    } catch (error) {
      this.#logger.error(`${this.path} cannot be written: ${(error as Error).message}`);
    }
  }

  /**
   * Saves what is in the file, unless it is one of these texts.
   *
   * @returns where; null if there was nothing to save.
   */
  keepUnapplied(directory: string, known: readonly string[]): string | null {
    let text: string;
    try {
      text = readConfigText(this.path);
    } catch {
      return null;
    }
    if (known.includes(text)) return null;
    const kept = readdirSync(directory)
      .filter((name) => UNAPPLIED_NAME.test(name))
      .sort();
    const same = kept.findLast((name) => readFileSync(join(directory, name), 'utf8') === text);
    if (same !== undefined) return join(directory, same);
    const time = new Date().toISOString().replaceAll(':', '-');
    const path = join(directory, unusedName(`unapplied-${time}`, kept));
    writeFileAtomic(path, text, MODE);
    for (const name of kept.slice(0, Math.max(0, kept.length + 1 - KEPT_UNAPPLIED))) {
      rmSync(join(directory, name), { force: true });
    }
    this.#logger.warn({ path }, 'the configuration file had a text that did not run: it is kept');
    return path;
  }
}

/** Within one millisecond, or where the clock was set back, a number tells names apart. */
function unusedName(base: string, used: readonly string[]): string {
  for (let number = 1; ; number++) {
    const name = number === 1 ? `${base}.yaml` : `${base}-${number}.yaml`;
    if (!used.includes(name)) return name;
  }
}
