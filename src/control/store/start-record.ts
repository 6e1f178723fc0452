/**
 * What a start has found is a revision, too, and a configuration that nobody confirmed in time is not in the file any
 * more.
 *
 * Neighbours: `starting-config.ts` (what a start runs), `history.ts`, `configuration.ts` (from then on).
 */
import { ConfigError } from '../config/errors.ts';
import { type LoadedConfig, readConfig } from '../config/load.ts';
import type { Logger } from '../runtime/logger.ts';
import { difference, summaryOf } from './difference.ts';
import type { History } from './history.ts';
import type { StartingConfig } from './starting-config.ts';
import { writeFileAtomic } from './state-directory.ts';

/** Makes what was started the newest revision, unless it is that already. What runs, runs, whether that works or not. */
export function recordStart(
  path: string,
  { history, loaded, from }: StartingConfig,
  logger: Logger,
): readonly string[] {
  if (history === undefined) return [];
  try {
    record(path, history, loaded, from, logger);
    return [];
  } catch (error) {
    const problem = `what was started is not in the history: ${(error as Error).message}`;
    logger.error(problem);
    return [problem];
  }
}

function record(
  path: string,
  history: History,
  loaded: LoadedConfig,
  from: StartingConfig['from'],
  logger: Logger,
): void {
  const { text } = loaded;
  const runningText = history.running === null ? undefined : history.text(history.running);
  if (from === 'last_good' || runningText === text) return;
  const { pending } = history;
  const before = runningText === undefined ? undefined : tryRead(runningText, path);
  const summary = before === undefined ? [] : summaryOf(difference(before, loaded, null));
  if (from === 'file') {
    history.add(text, { cause: 'found', by: '', comment: 'found in the file at a start', summary });
    return;
  }
  writeFileAtomic(path, text, 0o600);
  history.add(text, {
    cause: 'reverted',
    by: '',
    comment: `revision ${pending?.revision} was not confirmed`,
    summary,
  });
  logger.error(
    { revision: pending?.revision },
    'a configuration was not confirmed in time: the one before it runs again',
  );
}

/** A former text, which another version of homeward may have taken. */
function tryRead(text: string, file: string): LoadedConfig | undefined {
  try {
    return readConfig(text, file);
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}
