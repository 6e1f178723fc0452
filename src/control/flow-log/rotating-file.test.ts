import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { RotatingFile } from './rotating-file.ts';

function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'homeward-test-'));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

test('is put aside when it is full, and the oldest goes', async (t) => {
  const folder = directory(t);
  const file = new RotatingFile(join(folder, 'flows'), { sizeBytes: 10, keep: 3 });
  for (let line = 0; line < 12; line++) await file.append(`line ${line}\n`);
  await file.close();
  const lines = (name: string) => readFileSync(join(folder, name), 'utf8').trim().split('\n');
  assert.deepEqual(readdirSync(folder).sort(), ['flows.1', 'flows.2', 'flows.3']);
  assert.deepEqual(lines('flows.3'), ['line 6', 'line 7']);
  assert.deepEqual(lines('flows.1'), ['line 10', 'line 11']);
  assert.equal(file.writtenBytes, 10 * 7 + 2 * 8);
  assert.equal(statSync(join(folder, 'flows.1')).mode & 0o777, 0o640);
});

test('goes on where it was left; what a killed process left of a line is ended first', async (t) => {
  const path = join(directory(t), 'flows');
  writeFileSync(path, 'whole\nhal');
  const file = new RotatingFile(path, { sizeBytes: 1e6, keep: 1 });
  await file.append('next\n');
  await file.append('last\n');
  await file.close();
  assert.equal(readFileSync(path, 'utf8'), 'whole\nhal\nnext\nlast\n');
});

test('is opened anew when somebody else has put it aside', async (t) => {
  const path = join(directory(t), 'flows');
  const file = new RotatingFile(path, { sizeBytes: 1e6, keep: 1 });
  await file.append('one\n');
  renameSync(path, `${path}.old`);
  await file.append('two\n');
  file.reopen();
  await file.append('three\n');
  await file.close();
  assert.equal(readFileSync(`${path}.old`, 'utf8'), 'one\ntwo\n');
  assert.equal(readFileSync(path, 'utf8'), 'three\n');
});

test('a failure is told, counted, and over when its cause is', async (t) => {
  const folder = directory(t);
  const file = new RotatingFile(join(folder, 'missing', 'flows'), { sizeBytes: 1e6, keep: 1 });
  await assert.rejects(file.append('one\n'), { code: 'ENOENT' });
  assert.equal(file.errors, 1);
  mkdirSync(join(folder, 'missing'));
  await file.append('two\n');
  await file.close();
  assert.equal(readFileSync(file.path, 'utf8'), 'two\n');
});

test('a full disk leaves no half lines', async () => {
  const file = new RotatingFile('/dev/full', { sizeBytes: 1e6, keep: 1 });
  await assert.rejects(file.append('one\n'), { code: 'ENOSPC' });
  assert.deepEqual([file.errors, file.writtenBytes], [1, 0]);
});
