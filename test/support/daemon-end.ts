/**
 * A program for tests: the control process, without the command line.
 *
 *   node daemon-end.ts run CONFIG [--strict]
 *                                      runs until it is ended; a failed start prints `{"code":...}` and exits with 1
 *   node daemon-end.ts run-each CONFIG...
 *                                      starts that fail, one after the other: `{"code":...}` of each, the next one at
 *                                      the next line of the standard input
 *   node daemon-end.ts check-each CONFIG...
 *                                      what a check says of each on this host, a line each: `{"code":...}`
 *   node daemon-end.ts guard CONFIG    sets the guard alone; prints `{"guard":...}` or `{"code":...}`
 *   node daemon-end.ts take-down       cleans up; prints `{"found":...}` or `{"code":...}`
 */
import { createInterface } from 'node:readline';
import { serveApi } from '../../src/api/server.ts';
import { setBootGuard } from '../../src/control/boot-guard.ts';
import { checkHost } from '../../src/control/check-host.ts';
import { loadConfig } from '../../src/control/config/load.ts';
import { runDaemon, type ServeApi, takeDown } from '../../src/control/daemon.ts';
import { createLogger } from '../../src/control/runtime/logger.ts';

const [what, ...rest] = process.argv.slice(2);
/** Answers are held against their schemas: one that is not as described fails. */
const serveChecked: ServeApi = (control, options) => serveApi(control, { ...options, checkAnswers: true });
const common = { logger: createLogger(), serveApi: serveChecked };
try {
  if (what === 'run') await runDaemon({ ...common, configPath: rest[0]!, strict: rest[1] === '--strict' });
  else if (what === 'run-each') await runEach(rest);
  else if (what === 'check-each') await checkEach(rest);
  else if (what === 'guard') say({ guard: await setBootGuard(rest[0]!, common.logger) });
  else say({ found: await takeDown() });
} catch (error) {
  say(told(error));
  process.exitCode = 1;
}

async function runEach(configPaths: readonly string[]): Promise<void> {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  for (const configPath of configPaths) {
    await runDaemon({ ...common, configPath }).then(
      () => say({ code: 'none' }),
      (error) => say(told(error)),
    );
    await lines.next();
  }
  process.exit();
}

async function checkEach(configPaths: readonly string[]): Promise<void> {
  for (const configPath of configPaths) {
    try {
      await checkHost(loadConfig(configPath), false);
      say({ code: 'none' });
    } catch (error) {
      say(told(error));
    }
  }
}

function told(error: unknown): Record<string, unknown> {
  const { code, message, pid } = error as Error & { code?: string; pid?: number };
  return { code, message, pid };
}

function say(answer: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
