/** A created plugin works as it is: its own test passes, its types are right, a configuration takes it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import { EXAMPLE_FILE } from '../../../test/fixtures/example-gateway.ts';
import { parseConfig } from '../config/load.ts';
import { createPlugin } from './create.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const directory = mkdtempSync(join(tmpdir(), 'homeward-created-'));
const folder = join(directory, 'my-plugin');
after(() => rmSync(directory, { recursive: true }));

test('its own test passes out of the box', () => {
  const { files } = createPlugin('my-plugin', folder);
  assert.deepEqual(files, [
    'manifest.json',
    'data.ts',
    'data.test.ts',
    'README.md',
    'package.json',
    '.gitignore',
  ]);
  // Not as a part of this run, which the variable would make it.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const output = execFileSync(process.execPath, ['--test'], { cwd: folder, env, encoding: 'utf8' });
  assert.match(output, /pass 2\n/);
  assert.match(output, /fail 0\n/);
});

test('its types are right', () => {
  const { compilerOptions } = {
    compilerOptions: { strict: true, noEmit: true, module: 'nodenext', target: 'es2024' },
  };
  const options = {
    ...compilerOptions,
    allowImportingTsExtensions: true,
    erasableSyntaxOnly: true,
    skipLibCheck: true,
  };
  const types = { types: ['node'], typeRoots: [join(ROOT, 'node_modules/@types')] };
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: { ...options, ...types }, include: ['*.ts'] }),
  );
  execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['--project', folder], {
    encoding: 'utf8',
    stdio: 'pipe',
  });
});

test('a configuration takes it, and its options are checked', () => {
  const text = (options: string): string =>
    `version: 1\nplugins: [ { name: my-plugin, from: ${folder}, options: ${options} } ]\n`;
  assert.deepEqual(parseConfig(text('{}'), EXAMPLE_FILE).plugins[0]?.options, { refused_ports: [] });
  assert.throws(() => parseConfig(text('{ refused_ports: [0] }'), EXAMPLE_FILE), /0 is out of range/);
});

test('names and places that cannot be are refused', () => {
  assert.throws(
    () => createPlugin('My Plugin', join(directory, 'other')),
    /is not a name of a plugin; write/,
  );
  assert.throws(() => createPlugin('return-routing', join(directory, 'other')), /choose another name/);
  assert.throws(() => createPlugin('my-plugin', folder), /is not empty; name a folder/);
});
