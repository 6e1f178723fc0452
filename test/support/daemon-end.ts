/**
 * A program for tests: the control process, without the command line.
 *
 *   node daemon-end.ts run CONFIG [--strict]
 *                                      runs until it is ended; a failed start prints `{"code":...}` and exits with 1
 *   node daemon-end.ts take-down       cleans up; prints `{"found":...}` or `{"code":...}`
 */
import { serveApi } from '../../src/api/server.ts';
import { runDaemon, takeDown } from '../../src/control/daemon.ts';
import { createLogger } from '../../src/control/runtime/logger.ts';

const [what, configPath, strict] = process.argv.slice(2);
try {
  if (what === 'run') {
    const options = { configPath: configPath!, logger: createLogger(), serveApi };
    await runDaemon({ ...options, strict: strict === '--strict' });
  } else {
    process.stdout.write(`${JSON.stringify({ found: await takeDown() })}\n`);
  }
} catch (error) {
  const { code, message, pid } = error as Error & { code?: string; pid?: number };
  process.stdout.write(`${JSON.stringify({ code, message, pid })}\n`);
  process.exitCode = 1;
}
