import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { acquireLock, LockHeldError } from './lock.ts';

function newPath(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-test-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, 'lock');
}

test('one holder, who says its pid; released, it is free again', (t) => {
  const path = newPath(t);
  const lock = acquireLock(path);
  assert.equal(readFileSync(path, 'latin1'), `${process.pid}\n`);
  assert.throws(
    () => acquireLock(path),
    (error) =>
      error instanceof LockHeldError && error.pid === process.pid && error.code === 'already_running',
  );
  lock.release();
  const again = acquireLock(path);
  again.remove();
  assert.equal(existsSync(path), false);
  acquireLock(path).release();
});

test('a lock on a file that was taken away does not count', (t) => {
  const path = newPath(t);
  const former = acquireLock(path);
  rmSync(path);
  const lock = acquireLock(path);
  assert.throws(() => acquireLock(path), LockHeldError);
  former.release();
  assert.throws(() => acquireLock(path), LockHeldError);
  lock.release();
});
