/**
 * What a plugin has thrown, in words. It may be anything: an object whose `toString` throws, a proxy, nothing at all. To be
 * asked while the plugin's call still counts as running (`running-plugin.ts`): asking may run its code, and not return.
 *
 * Neighbours: `failure-numbers.ts` (what it is counted as), who calls plugins.
 */
import { CAUSE_EXCEPTION, CAUSE_MEMORY } from './failure-numbers.ts';

/** More than this is of use to nobody, characters. */
const MAX_TEXT = 1000;

/** What was thrown: why (`CAUSE_...`), and as text; of errors of the contract also by what name, and at which path of the options. */
export interface Thrown {
  readonly cause: number;
  readonly text: string;
  readonly name: string;
  readonly path: string;
}

/** Reads what was thrown. Never throws. */
export function readThrown(thrown: unknown): Thrown {
  try {
    const text = thrownText(thrown);
    const { name, path } = (thrown ?? {}) as { name?: unknown; path?: unknown };
    return {
      cause: causeOf(thrown, text),
      text: text.slice(0, MAX_TEXT),
      name: typeof name === 'string' ? name : '',
      path: typeof path === 'string' ? path.slice(0, MAX_TEXT) : '',
    };
  } catch {
    return { cause: CAUSE_EXCEPTION, text: 'it threw something that has no text', name: '', path: '' };
  }
}

/** There was no memory for what the plugin asked for, or any other reason. */
function causeOf(thrown: unknown, text: string): number {
  return thrown instanceof RangeError && /allocation failed|Invalid (?:array|string) length/.test(text)
    ? CAUSE_MEMORY
    : CAUSE_EXCEPTION;
}

function thrownText(thrown: unknown): string {
  const { message } = (thrown ?? {}) as { message?: unknown };
  return typeof message === 'string' ? message : String(thrown);
}
