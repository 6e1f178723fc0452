/** Modules that manifests name: the source, or what was compiled from it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { moduleFile } from './module-file.ts';

test('the source comes before what was compiled from it', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'hw-module-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const manifest = join(directory, 'manifest.json');
  assert.equal(moduleFile(manifest, './data.ts'), undefined);
  writeFileSync(join(directory, 'data.js'), '');
  assert.equal(moduleFile(manifest, './data.ts'), join(directory, 'data.js'));
  writeFileSync(join(directory, 'data.ts'), '');
  assert.equal(moduleFile(manifest, './data.ts'), join(directory, 'data.ts'));
});
