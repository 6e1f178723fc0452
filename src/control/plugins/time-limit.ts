/**
 * Code of plugins that control runs in its own thread, at once: a regular expression of a schema, a check of options. What does
 * not come to an end is ended, or nobody could reach the API any more.
 *
 * Neighbours: `schema-check.ts`, `check-options.ts` (the callers), `dataplane/interruptible.ts` (the same for the data plane).
 */
import { Script } from 'node:vm';
import { PATIENCE } from '../../tunnel/patience.ts';

/** By which the script finds what to run. */
const BODY = Symbol.for('homeward.time-limit');
const script = new Script(`globalThis[Symbol.for('homeward.time-limit')]()`, {
  filename: 'homeward:time-limit',
});

/** It took too long. */
export class TimeLimitError extends Error {
  override readonly name = 'TimeLimitError';
}

/**
 * Runs `body`, for so long at most, wherever in it that is then.
 *
 * @throws TimeLimitError, or whatever `body` throws
 */
export function withinTime<T>(limitMs: number, body: () => T): T {
  const place = globalThis as Record<symbol, unknown>;
  const former = place[BODY];
  const timeout = limitMs * PATIENCE;
  place[BODY] = body;
  try {
    return script.runInThisContext({ timeout }) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException | undefined)?.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    throw new TimeLimitError(`it did not return within ${timeout / 1000} s`);
  } finally {
    place[BODY] = former;
  }
}
