/** Modules of plugins: read anew with what they import, the contract by its name, failures that do not stick. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { VERDICT_DROP } from './contract.ts';
import { PluginFiles } from './module-loader.ts';

function folder(t: { after(end: () => void): void }, files: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), 'hw plugin+'));
  t.after(() => rmSync(directory, { recursive: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  return directory;
}

test('a plugin outside the project gets the contract by its name', (t) => {
  const directory = folder(t, {
    'data.ts':
      "import { VERDICT_DROP } from 'homeward/plugin';\nexport const verdict: number = VERDICT_DROP;\n",
  });
  assert.equal(new PluginFiles(directory).load(join(directory, 'data.ts')).verdict, VERDICT_DROP);
});

test('a new reading sees what has changed, also in what a module imports; the former one stays as it was', (t) => {
  const directory = folder(t, {
    'data.ts': "export { value } from './part.ts';\nexport const object = {};\n",
    'part.ts': 'export const value: number = 1;\n',
  });
  const file = join(directory, 'data.ts');
  const first = new PluginFiles(directory);
  const before = first.load(file);
  writeFileSync(join(directory, 'part.ts'), 'export const value: number = 2;\n');
  assert.equal(new PluginFiles(directory).load(file).value, 2);
  assert.equal(before.value, 1);
  assert.equal(first.load(file).object, before.object, 'one reading loads a module once');
});

test('what is outside the folder is not read anew', (t) => {
  const directory = folder(t, {
    'data.ts': `export { PluginFiles } from ${JSON.stringify(join(import.meta.dirname, 'module-loader.ts'))};\n`,
  });
  const { PluginFiles: theirs } = new PluginFiles(directory).load(join(directory, 'data.ts'));
  assert.equal(theirs, PluginFiles);
});

test('a module that fails says so, and is loaded when it is put right', (t) => {
  const directory = folder(t, { 'data.ts': "throw new Error('not today');\n" });
  const file = join(directory, 'data.ts');
  assert.throws(() => new PluginFiles(directory).load(file), /not today/);
  writeFileSync(file, 'const = ;\n');
  assert.throws(() => new PluginFiles(directory).load(file), SyntaxError);
  writeFileSync(file, 'export const works: boolean = true;\n');
  assert.equal(new PluginFiles(directory).load(file).works, true);
});
