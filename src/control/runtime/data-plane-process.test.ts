import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { eventually } from '../../../test/support/patience.ts';
import { identify, isAlive, killProcess } from './data-plane-process.ts';

/** Its first thread ends at once, another one goes on. */
const HALF_GONE = `
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
`;

test('a process of which only the first thread has ended is alive, and is gone when all have', async (t) => {
  const child = spawn('python3', ['-c', HALF_GONE], { stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
  const pid = child.pid!;
  await eventually('the first thread has ended', () =>
    /^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'latin1')),
  );
  const identity = identify(pid);
  assert.ok(identity !== undefined && isAlive(identity));
  await killProcess(identity);
  assert.equal(isAlive(identity), false);
  assert.equal(identify(pid), undefined);
});
