/** Files that are replaced: whole, and nothing is left beside them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeFileAtomic } from './state-directory.ts';

test('what a process that was killed has left beside a file goes with the next change of it', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-state-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const gone = spawnSync('true').pid;
  const others = ['gw.yaml.1.tmp', 'gw.yaml.bak.tmp', `gw.yaml.${gone}.tmp.old`, `other.yaml.${gone}.tmp`];
  for (const name of ['gw.yaml', `gw.yaml.${gone}.tmp`, ...others]) writeFileSync(join(directory, name), '');
  writeFileAtomic(join(directory, 'gw.yaml'), 'version: 1\n', 0o600);
  assert.equal(readFileSync(join(directory, 'gw.yaml'), 'utf8'), 'version: 1\n');
  // Process 1 may still be at it.
  assert.deepEqual(readdirSync(directory).sort(), ['gw.yaml', ...others].sort());
});
