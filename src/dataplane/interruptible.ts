/**
 * Code that a SIGINT ends wherever it is, without a chance to go on: not by `catch`, not by `finally`.
 *
 * V8 can end a script between any two steps of it, and `vm` does so at a SIGINT. What the script had begun stays as it is;
 * the watchdog therefore sends one only while a plugin runs (`plugin/running-plugin.ts`).
 *
 * Neighbours: `data-plane.ts` (what runs, and what follows), `device/native/watchdog.c` (who interrupts).
 */
import { Script } from 'node:vm';

/** By which the script finds what to run. */
const BODY = Symbol.for('homeward.interruptible');
const script = new Script(`globalThis[Symbol.for('homeward.interruptible')]()`, {
  filename: 'homeward:interruptible',
});

/**
 * Runs `body`. Returns whether it came to its end; false: it was interrupted.
 *
 * @throws whatever `body` throws
 */
export function runInterruptible(body: () => void): boolean {
  const place = globalThis as Record<symbol, unknown>;
  place[BODY] = body;
  try {
    script.runInThisContext({ breakOnSigint: true });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_INTERRUPTED') return false;
    throw error;
  }
}
