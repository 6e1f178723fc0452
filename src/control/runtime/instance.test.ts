/** The locks of one instance, in a network namespace of this test's own. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { inOwnNamespace } from '../../../test/support/own-namespace.ts';
import { lockNamespace } from '../../device/native.ts';
import { runCommand } from '../host/command.ts';
import { acquireInstance } from './instance.ts';
import { LockHeldError } from './lock.ts';
import { openRuntimeDirectory, type RuntimeDirectory } from './runtime-directory.ts';

const NATIVE = new URL('../../device/native.ts', import.meta.url).href;

function newDirectory(t: TestContext): RuntimeDirectory {
  // On a tmpfs: the flow memory's directory is the same.
  const base = mkdtempSync('/dev/shm/homeward-test-');
  t.after(() => rmSync(base, { recursive: true }));
  return openRuntimeDirectory({ HOMEWARD_RUNTIME_DIR: join(base, 'run') });
}

if (inOwnNamespace(import.meta.url)) {
  test('one a directory and one a namespace; what could not be had whole is not held in part', (t) => {
    const [one, other] = [newDirectory(t), newDirectory(t)];
    const lock = acquireInstance(one);
    assert.throws(() => acquireInstance(one), LockHeldError);
    assert.throws(
      () => acquireInstance(other),
      (error) => error instanceof LockHeldError && error.pid === process.pid,
    );
    assert.equal(existsSync(other.directory), false, 'what was made in vain is left');
    assert.equal(existsSync(one.lockPath), true);
    lock.release();
    const second = acquireInstance(openRuntimeDirectory({ HOMEWARD_RUNTIME_DIR: other.directory }));
    second.remove();
    acquireInstance(one).release();
  });

  test('it is held until the commands that its holder began are at their end', async (t) => {
    const runtime = newDirectory(t);
    const lock = acquireInstance(runtime);
    const command = runCommand('sh', ['-c', 'sleep 0.5; echo done']);
    lock.release();
    assert.equal(lockNamespace('homeward'), null);
    assert.equal(await command, 'done\n');
    acquireInstance(runtime).release();
  });

  test('of a holder that was killed, only its commands are waited for', async (t) => {
    const runtime = newDirectory(t);
    // Takes the lock, gives it to a child that lives for half a second, and is killed.
    const program = `
      const { lockNamespace } = await import(${JSON.stringify(NATIVE)});
      const { spawn } = await import('node:child_process');
      spawn('sleep', ['0.5'], { stdio: ['ignore', 'ignore', 'ignore', lockNamespace('homeward')], detached: true });
      process.kill(process.pid, 'SIGKILL');
    `;
    const holder = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'ignore' });
    await new Promise((resolve) => holder.once('exit', resolve));
    assert.equal(lockNamespace('homeward'), null);
    acquireInstance(runtime).release();
  });
}
