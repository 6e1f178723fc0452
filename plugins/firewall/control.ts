/**
 * The control half: looks after the files of sets, and has the options prepared anew when one has changed.
 *
 * Files are looked at, not watched: they may be replaced, linked, or on a file system that tells nothing. A file that has
 * just changed may be half written, so it must have stayed as it is from one look to the next.
 */
import { type Stats, statSync } from 'node:fs';
import type { ControlHalf, ControlHalfFactory, PluginControlEnvironment } from '../../src/plugin/contract.ts';
import { isRecord } from './options-check.ts';

const LOOK_MS = 2000;
/** So long ago, at most, files were read for the configuration that is told of now. */
const READ_BEFORE_MS = 60_000;

class FileWatch implements ControlHalf {
  private readonly environment: PluginControlEnvironment;
  private readonly timer: NodeJS.Timeout;
  private files: readonly string[] = [];
  /** What the files looked like when they were read last, and at the last look. */
  private read = '';
  private seen = '';

  constructor(environment: PluginControlEnvironment, lookMs: number) {
    this.environment = environment;
    this.timer = setInterval(() => this.look(), lookMs);
    this.timer.unref();
  }

  configure({ options }: { readonly options: unknown }): void {
    this.files = filesOf(options);
    this.read = signature(this.files, Date.now() - READ_BEFORE_MS);
    this.seen = this.read;
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    const now = signature(this.files, Number.POSITIVE_INFINITY);
    const isSettled = now === this.seen;
    this.seen = now;
    if (!isSettled || now === this.read) return;
    this.read = now;
    this.environment.prepareAnew();
  }
}

function filesOf(options: unknown): string[] {
  const sets = isRecord(options) && isRecord(options.sets) ? Object.values(options.sets) : [];
  return sets.flatMap((set) => (isRecord(set) && typeof set.file === 'string' ? [set.file] : []));
}

/** What files look like. Those that changed after `sinceMs` look like none: they may have changed behind the reader. */
function signature(files: readonly string[], sinceMs: number): string {
  return files
    .map((file) => {
      const stats = statsOf(file);
      if (stats === undefined) return 'missing';
      return stats.mtimeMs > sinceMs ? 'new' : `${stats.ino} ${stats.size} ${stats.mtimeMs} ${stats.ctimeMs}`;
    })
    .join('|');
}

function statsOf(file: string): Stats | undefined {
  return statSync(file, { throwIfNoEntry: false });
}

/** As {@link createControlHalf}, for tests. */
export function createFileWatch(environment: PluginControlEnvironment, lookMs: number): ControlHalf {
  return new FileWatch(environment, lookMs);
}

export const createControlHalf: ControlHalfFactory = (environment) => createFileWatch(environment, LOOK_MS);
