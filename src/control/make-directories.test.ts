import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeDirectories } from './make-directories.ts';

test('directories are made with those above them, and may be there', (t) => {
  const base = mkdtempSync(join(tmpdir(), 'homeward-test-'));
  t.after(() => rmSync(base, { recursive: true }));
  const path = join(base, 'a', 'b');
  for (let i = 0; i < 2; i++) makeDirectories(path, 0o700);
  assert.deepEqual(
    [path, join(base, 'a')].map((made) => statSync(made).mode & 0o777),
    [0o700, 0o700],
  );
  symlinkSync(path, join(base, 'link'));
  makeDirectories(join(base, 'link', 'c'), 0o700);
  assert.ok(statSync(join(path, 'c')).isDirectory());
  makeDirectories('/', 0o700);
});

test('where none can be made, that is said at once', (t) => {
  const base = mkdtempSync(join(tmpdir(), 'homeward-test-'));
  t.after(() => rmSync(base, { recursive: true }));
  writeFileSync(join(base, 'file'), '');
  assert.throws(() => makeDirectories(join(base, 'file'), 0o700), { code: 'EEXIST' });
  assert.throws(() => makeDirectories(join(base, 'file', 'a'), 0o700), { code: 'ENOTDIR' });
  for (const path of ['/proc/x', '/proc/x/y/z']) {
    assert.throws(() => makeDirectories(path, 0o700), { code: 'ENOENT' }, path);
  }
});
