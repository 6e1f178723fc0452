import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, statfsSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  clearRuntimeDirectory,
  makeFlowMemoryDirectory,
  networkNamespaceInode,
  openRuntimeDirectory,
} from './runtime-directory.ts';

test('directories are private, the flow memory lies on tmpfs, and clearing leaves the lock only', (t) => {
  const base = mkdtempSync(join(tmpdir(), 'homeward-test-'));
  t.after(() => rmSync(base, { recursive: true }));
  const directory = join(base, 'a', 'b');
  const runtime = openRuntimeDirectory({ HOMEWARD_RUNTIME_DIR: directory });
  assert.equal(runtime.directory, directory);
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  if (runtime.flowMemoryDirectory !== directory) assert.equal(existsSync(runtime.flowMemoryDirectory), false);
  makeFlowMemoryDirectory(runtime);
  assert.equal(statfsSync(runtime.flowMemoryDirectory).type, 0x01021994);
  assert.equal(statSync(runtime.flowMemoryDirectory).mode & 0o777, 0o700);
  for (const path of [
    runtime.lockPath,
    runtime.flowMemoryPath,
    runtime.identitiesPath,
    runtime.hostStatePath,
    runtime.dataPlaneSocketPath,
  ]) {
    writeFileSync(path, 'x');
  }
  assert.deepEqual(openRuntimeDirectory({ HOMEWARD_RUNTIME_DIR: directory }), runtime);
  clearRuntimeDirectory(runtime);
  assert.deepEqual(
    [runtime.lockPath, runtime.flowMemoryPath, runtime.identitiesPath, runtime.hostStatePath].map(existsSync),
    [true, false, false, false],
  );
  if (runtime.flowMemoryDirectory !== directory) assert.equal(existsSync(runtime.flowMemoryDirectory), false);
});

test('on tmpfs, the flow memory lies in the runtime directory itself', (t) => {
  const directory = mkdtempSync('/dev/shm/homeward-test-');
  t.after(() => rmSync(directory, { recursive: true }));
  const runtime = openRuntimeDirectory({ HOMEWARD_RUNTIME_DIR: directory });
  assert.equal(runtime.flowMemoryPath, join(directory, 'flow-memory'));
});

test('a link in place of the directory is refused', (t) => {
  const base = mkdtempSync(join(tmpdir(), 'homeward-test-'));
  t.after(() => rmSync(base, { recursive: true }));
  symlinkSync(base, join(base, 'link'));
  assert.throws(
    () => openRuntimeDirectory({ HOMEWARD_RUNTIME_DIR: join(base, 'link') }),
    /belongs to someone else/,
  );
});

test('where no directory can be made, that is said at once', () => {
  assert.throws(
    () => openRuntimeDirectory({ HOMEWARD_RUNTIME_DIR: '/proc/x' }),
    /^Error: \/proc\/x cannot be made \(ENOENT\): .*HOMEWARD_RUNTIME_DIR/,
  );
});

test('a network namespace is known by its inode', () => {
  assert.equal(networkNamespaceInode(process.pid), networkNamespaceInode());
});
