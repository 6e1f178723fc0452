/**
 * Runs a test file again in a network namespace of its own, without a name, which disappears with its last
 * process: nothing is left behind, however the test ends. Devices that the file makes are in there.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';

const MARK = 'HOMEWARD_TEST_NAMESPACE';
/** Longer than any test file may take. */
const LIMIT_MS = 120_000;

/** Why tests with devices cannot run here; undefined if they can. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  if (!existsSync('/dev/net/tun')) return 'needs /dev/net/tun';
  return undefined;
}

/**
 * True in the process that is in its own namespace: define the tests then. Else defines one test, which runs
 * the file there and fails with its output, and returns false.
 */
export function inOwnNamespace(moduleUrl: string): boolean {
  if (process.env[MARK] === moduleUrl) {
    // The kernel's own IPv6 traffic would come between the frames that are counted.
    writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1');
    return true;
  }
  const skip = obstacle();
  it('passes in a network namespace of its own', { ...(skip === undefined ? {} : { skip }) }, () => {
    const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
    const run = spawnSync('unshare', ['--net', process.execPath, fileURLToPath(moduleUrl)], {
      env: { ...environment, [MARK]: moduleUrl },
      encoding: 'utf8',
      timeout: LIMIT_MS,
    });
    assert.equal(run.status, 0, `status ${run.status}, signal ${run.signal}\n${run.stdout}\n${run.stderr}`);
  });
  return false;
}
