import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  closeFd,
  lockFile,
  mapFile,
  NativeError,
  unixAccept,
  unixListen,
  unixRead,
  unixWrite,
} from './native.ts';
import { NativeIo } from './native-io.ts';

const folder = mkdtempSync(join(tmpdir(), 'homeward-native-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function code(expected: string) {
  return (error: unknown) => error instanceof NativeError && error.code === expected;
}

/** Waits for something that another end of a socket has to do first. */
async function until<T>(get: () => T, isThere: (value: T) => boolean): Promise<T> {
  for (let look = 0; look < 500; look++) {
    const value = get();
    if (isThere(value)) return value;
    await sleep(10);
  }
  throw new Error('did not come');
}

function readyAfter(io: NativeIo, waitMs: number): number {
  io.burst(waitMs);
  return io.readyCount;
}

async function connected(path: string): Promise<Socket> {
  const socket = connect(path);
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

describe('mapFile', () => {
  it('shares its contents between mappings and with the file', () => {
    const path = join(folder, 'shared');
    const first = new Int32Array(mapFile(path, 8192, { create: true }));
    const second = new Int32Array(mapFile(path, 8192));
    const reader = new Int32Array(mapFile(path, 4096, { readOnly: true }));
    first[1000] = 42;
    assert.equal(second[1000], 42);
    assert.equal(reader[1000], 42);
    assert.equal(readFileSync(path).readInt32LE(4000), 42);
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  it('keeps what is in a file that exists, extends it, and does not shorten it', () => {
    const path = join(folder, 'kept');
    writeFileSync(path, 'contents');
    const mapped = new Uint8Array(mapFile(path, 4096, { create: true }));
    assert.equal(Buffer.from(mapped.subarray(0, 8)).toString(), 'contents');
    assert.equal(statSync(path).size, 4096);
    mapFile(path, 1024, { create: true });
    assert.equal(statSync(path).size, 4096);
  });

  it('refuses a file that is not there, or too short', () => {
    assert.throws(() => mapFile(join(folder, 'none'), 4096), code('ENOENT'));
    const path = join(folder, 'short');
    writeFileSync(path, 'x');
    truncateSync(path, 100);
    assert.throws(() => mapFile(path, 4096), code('EINVAL'));
    assert.throws(() => mapFile(path, 4096, { readOnly: true }), /shorter/);
  });
});

describe('lockFile', () => {
  it('is held by one descriptor at a time, also against other processes', () => {
    const path = join(folder, 'lock');
    const held = lockFile(path);
    assert.ok(held !== null);
    assert.equal(lockFile(path), null);
    assert.equal(spawnSync('flock', ['--nonblock', path, 'true']).status, 1);
    closeFd(held);
    assert.equal(spawnSync('flock', ['--nonblock', path, 'true']).status, 0);
    const again = lockFile(path);
    assert.ok(again !== null);
    closeFd(again);
    assert.throws(() => lockFile(join(folder, 'none', 'lock')), code('ENOENT'));
  });
});

describe('Unix sockets', () => {
  it('talk to Node, and end the wait of a loop', async () => {
    const path = join(folder, 'talk');
    const io = new NativeIo();
    const listener = unixListen(path);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(unixAccept(listener), -1);
    io.watch(listener, 70000);
    const client = await connected(path);
    io.burst(-1);
    assert.deepEqual([...io.readyIds.subarray(0, io.readyCount)], [70000]);
    const peer = unixAccept(listener);
    assert.ok(peer >= 0);
    io.watch(peer, 3);
    const bytes = new Uint8Array(16);
    assert.equal(unixRead(peer, bytes), -1);
    io.burst(0);
    assert.equal(io.readyCount, 0);

    client.write('hello');
    await until(
      () => readyAfter(io, 10),
      (count) => count === 1,
    );
    assert.equal(io.readyIds[0], 3);
    assert.equal(unixRead(peer, bytes), 5);
    assert.equal(Buffer.from(bytes.subarray(0, 5)).toString(), 'hello');

    assert.equal(unixWrite(peer, Buffer.from('..answer'), 2, 6), 6);
    const [answer] = await new Promise<Buffer[]>((resolve) => client.once('data', (data) => resolve([data])));
    assert.equal(answer!.toString(), 'answer');

    client.destroy();
    await until(
      () => unixRead(peer, bytes),
      (count) => count === 0,
    );
    assert.equal(unixWrite(peer, bytes, 0, 4), -1);
    io.unwatch(peer);
    io.unwatch(listener);
    closeFd(peer);
    closeFd(listener);
    io.close();
  });

  it('write only what fits, and are watched for room', async () => {
    const path = join(folder, 'full');
    const io = new NativeIo();
    const listener = unixListen(path);
    const client = await connected(path);
    client.pause();
    const peer = await until(
      () => unixAccept(listener),
      (fd) => fd >= 0,
    );
    const bytes = new Uint8Array(1 << 20);
    let written = 0;
    for (let count = 1; count > 0; written += count) count = unixWrite(peer, bytes, 0, bytes.length);
    assert.ok(written > 0);
    io.watch(peer, 1, true);
    io.burst(0);
    assert.equal(io.readyCount, 0);
    client.resume();
    await until(
      () => readyAfter(io, 0),
      (count) => count === 1,
    );
    assert.ok(unixWrite(peer, bytes, 0, 100) > 0);
    io.close();
    client.destroy();
    closeFd(peer);
    closeFd(listener);
  });

  it('take over from a process that died, but not from one that listens', async () => {
    const path = join(folder, 'stale');
    const first = unixListen(path);
    assert.throws(() => unixListen(path), code('EADDRINUSE'));
    closeFd(first);
    const second = unixListen(path);
    closeFd(second);
    const file = join(folder, 'no-socket');
    writeFileSync(file, 'precious');
    assert.throws(() => unixListen(file), code('EADDRINUSE'));
    assert.equal(readFileSync(file, 'utf8'), 'precious');
    assert.throws(() => unixListen(join(folder, 'x'.repeat(120))), code('ENAMETOOLONG'));
    const server = createServer().listen(join(folder, 'node'));
    await new Promise((resolve) => server.once('listening', resolve));
    assert.throws(() => unixListen(join(folder, 'node')), code('EADDRINUSE'));
    server.close();
  });

  it('throw for descriptors that are none', () => {
    assert.throws(() => unixAccept(9999), code('EBADF'));
    assert.throws(() => unixRead(9999, new Uint8Array(1)), code('EBADF'));
    assert.throws(() => closeFd(9999), code('EBADF'));
    assert.throws(() => unixWrite(1, new Uint8Array(4), 2, 3), TypeError);
  });
});

describe('the loop', () => {
  it('is woken, once', () => {
    const io = new NativeIo();
    io.wake();
    io.wake();
    assert.equal(io.burst(-1), 0);
    const before = io.nowMs;
    io.burst(30);
    assert.ok(((io.nowMs - before) | 0) >= 25, 'the second burst waited');
    io.close();
  });

  it('tells how long it has waited: nothing for a burst that must not', () => {
    const io = new NativeIo();
    for (let i = 0; i < 3; i++) io.burst(0);
    assert.equal(io.waitedUs, 0);
    io.burst(5);
    const waited = io.waitedUs;
    assert.ok(waited >= 1000, `${waited} us of 5 ms`);
    io.wake();
    io.burst(0);
    assert.equal(io.waitedUs, waited);
    io.close();
  });

  it('tells the time since boot', () => {
    const io = new NativeIo();
    io.burst(0);
    const uptimeMs = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
    assert.ok(Math.abs((io.nowMs - uptimeMs) | 0) < 5000, `${io.nowMs} against ${uptimeMs}`);
    io.close();
  });

  it('gives its descriptors back when it is forgotten', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const count = () => readdirSync('/proc/self/fd').length;
    const before = count();
    for (let round = 0; round < 20; round++) new NativeIo({ scratchBytes: 4096 }).burst(0);
    assert.ok(count() > before);
    const collected = () => {
      collect();
      return count();
    };
    await until(collected, (now) => now <= before);
  });
});
