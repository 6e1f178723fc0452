/** Who reaches the socket: root, and the group. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { listenOnSocket } from './unix-socket.ts';

const NOBODY = 65534;
/** A group that every Debian has; it stands for `homeward`. */
const GROUP = 'daemon';
const GROUP_ID = 1;
const CONNECT = `
import socket, sys
try:
  socket.socket(socket.AF_UNIX).connect(sys.argv[1])
  print('connected')
except PermissionError:
  print('refused')
`;

/** What a user without privileges gets, in this group beside nobody's own. */
async function asNobody(path: string, group: number): Promise<string> {
  const user = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, `--groups=${group}`];
  // The system's own programs: others may lie where only root may go.
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
  const { stdout } = await promisify(execFile)('setpriv', [...user, 'python3', '-c', CONNECT, path], { env });
  return stdout.trim();
}

/** A server on `run/api.sock`; everybody may pass through the directory above `run`. */
async function listening(
  t: TestContext,
  runtimeMode: number,
  isRuntime: boolean,
  group: string,
): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-socket-'));
  chmodSync(directory, 0o755);
  const path = join(directory, 'run', 'api.sock');
  mkdirSync(dirname(path), { mode: 0o700 });
  chmodSync(dirname(path), runtimeMode);
  const server = createServer((_, response) => response.end());
  t.after(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });
  await listenOnSocket(server, path, isRuntime ? dirname(path) : undefined, group);
  return path;
}

const skip = process.getuid?.() === 0 ? false : 'needs root';

test('without the group: nobody but its owner', { skip }, async (t) => {
  const path = await listening(t, 0o700, true, 'no-such-group');
  assert.equal(statSync(dirname(path)).mode & 0o777, 0o700);
  assert.equal(await asNobody(path, GROUP_ID), 'refused');
  // Its own mode keeps strangers out, too.
  chmodSync(dirname(path), 0o755);
  assert.equal(await asNobody(path, GROUP_ID), 'refused');
});

test('members of the group pass through the private directory, and nobody else', { skip }, async (t) => {
  const path = await listening(t, 0o700, true, GROUP);
  assert.deepEqual([statSync(dirname(path)).mode & 0o777, statSync(dirname(path)).gid], [0o710, GROUP_ID]);
  assert.deepEqual([statSync(path).mode & 0o777, statSync(path).gid], [0o660, GROUP_ID]);
  assert.equal(await asNobody(path, GROUP_ID), 'connected');
  assert.equal(await asNobody(path, NOBODY), 'refused');
});

test('a directory that is not ours alone stays as it is', { skip }, async (t) => {
  const path = await listening(t, 0o750, false, GROUP);
  assert.deepEqual(
    [statSync(dirname(path)).mode & 0o777, statSync(dirname(path)).gid],
    [0o750, process.getgid!()],
  );
});
