/** Copies of plugins: which is chosen, that they are whole, and that what runs from one is what was copied. */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { pluginFolder, writePlugin } from '../../../test/support/plugin-folder.ts';
import { keptFault } from '../../plugin/kept-plugin.ts';
import { PluginFiles } from '../../plugin/module-loader.ts';
import type { Config } from '../config/config.ts';
import { type Chosen, KeptPlugins, type Reading } from './kept-plugins.ts';

const START: Reading = { why: 'start' };
const CHANGE: Reading = { why: 'change' };
const RELOAD: Reading = { why: 'reload', plugin: 'probe' };

class Tested {
  readonly folder: string;
  readonly directory: string;
  kept: KeptPlugins;

  constructor(t: TestContext, files: Readonly<Record<string, string>> = {}) {
    this.folder = pluginFolder(t, { files: { 'data.ts': 'export const version = 1;\n', ...files } });
    this.directory = join(pluginFolder(t), 'state', 'plugins');
    this.kept = new KeptPlugins(this.directory);
  }

  get located() {
    const manifest = join(this.folder, 'manifest.json');
    return existsSync(manifest) ? { manifest } : { problem: `${this.folder} has no manifest.json` };
  }

  choose(reading: Reading): Chosen {
    const chosen = this.kept.choose('probe', this.located, reading);
    assert.ok('manifest' in chosen, JSON.stringify(chosen));
    return chosen;
  }

  /** As a gateway does. */
  run(reading: Reading): string {
    const { isNew, manifest } = this.choose(reading);
    const manifestPath = isNew ? this.kept.keep(manifest) : manifest;
    this.kept.applied({ plugins: [{ name: 'probe', manifestPath }] } as unknown as Config);
    return dirname(manifestPath);
  }

  restart(): void {
    this.kept = new KeptPlugins(this.directory);
  }
}

const load = (folder: string): unknown => new PluginFiles(folder).load(join(folder, 'data.ts')).version;

describe('what runs of a plugin', () => {
  it('is what was applied, until it is read anew', (t) => {
    const tested = new Tested(t);
    const first = tested.run(START);
    assert.equal(load(first), 1);
    writeFileSync(join(tested.folder, 'data.ts'), 'export const version = (\n');
    for (const reading of [START, CHANGE]) {
      tested.restart();
      assert.equal(tested.run(reading), first);
      const { notice } = tested.choose(reading);
      assert.equal(
        notice,
        `runs as it was when it was applied, for ${tested.folder} has changed; "homeward plugins reload probe" takes what is there`,
      );
    }
    assert.equal(load(first), 1);
    writeFileSync(join(tested.folder, 'data.ts'), 'export const version = 2;\n');
    const second = tested.run(RELOAD);
    assert.equal(load(second), 2);
    assert.equal(tested.choose(CHANGE).notice, '');
    // Nobody needs it any more.
    assert.equal(existsSync(first), false);
    assert.deepEqual(readdirSync(tested.directory).length, 2);
  });

  it('is another version when a configuration is applied, and not at a start', (t) => {
    const tested = new Tested(t);
    const first = tested.run(START);
    writePlugin(tested.folder, { manifest: { version: '1.0.1' } });
    assert.equal(tested.run(START), first);
    assert.notEqual(tested.run(CHANGE), first);
  });

  it('starts from its copy where the folder is gone, or others may write it', (t) => {
    const tested = new Tested(t);
    const first = tested.run(START);
    chmodSync(join(tested.folder, 'data.ts'), 0o666);
    assert.equal(tested.run(START), first);
    assert.match(tested.choose(START).notice, /others than root may write/);
    rmSync(tested.folder, { recursive: true });
    assert.equal(tested.run(START), first);
    assert.match(tested.choose(START).notice, /has no manifest.json/);
    assert.deepEqual(tested.kept.choose('probe', tested.located, RELOAD), tested.located);
  });

  it('is refused if its copy is damaged and its folder is another one', (t) => {
    const tested = new Tested(t);
    const folder = tested.run(START);
    assert.equal(keptFault(folder), undefined);
    appendFileSync(join(folder, 'data.ts'), '// more\n');
    assert.equal(keptFault(folder), `${folder} is not what it was when it was applied`);
    // The folder is what was applied: copied again.
    assert.equal(tested.run(START), folder);
    assert.equal(keptFault(folder), undefined);
    writeFileSync(join(folder, 'more.ts'), '');
    writeFileSync(join(tested.folder, 'data.ts'), '');
    const chosen = tested.kept.choose('probe', tested.located, START);
    assert.match('problem' in chosen ? chosen.problem : '', /its copy is damaged .* remove .*applied\.json/);
  });

  it('says so if what was applied cannot be read', (t) => {
    const tested = new Tested(t);
    tested.run(START);
    writeFileSync(join(tested.directory, 'applied.json'), '{');
    assert.throws(
      () => tested.restart(),
      /nobody can say which plugins were applied: .*applied\.json is no JSON/,
    );
  });
});

describe('a copy', () => {
  it('has the packages that the plugin depends on, and what lies outside stays where it is', (t) => {
    const tested = new Tested(t);
    const top = join(tested.folder, 'top');
    const folder = join(top, 'node_modules/probe');
    const write = (name: string, files: Readonly<Record<string, string>>): void => {
      mkdirSync(join(top, 'node_modules', name), { recursive: true });
      for (const [file, text] of Object.entries(files))
        writeFileSync(join(top, 'node_modules', name, file), text);
    };
    write('one', {
      'package.json': '{"name":"one","type":"module","main":"one.js","dependencies":{"two":"1","probe":"1"}}',
      'one.js': `import { two } from 'two'; export const one = two + 1;`,
    });
    write('two', {
      'package.json': '{"name":"two","type":"module","main":"two.js","dependencies":{"one":"1"}}',
      'two.js': 'export const two = 2;',
    });
    writeFileSync(join(top, 'outside.js'), 'export const outside = 10;');
    writePlugin(folder, {
      manifest: { data: './data.js' },
      files: {
        'package.json': '{"type":"module","dependencies":{"one":"1","homeward":"*"}}',
        'data.js': `import { one } from 'one';
import { outside } from '../../outside.js';
import { readFileSync } from 'node:fs';
export const version = one + outside + Number(readFileSync(new URL('./number', import.meta.url), 'utf8'));
`,
        number: '100',
      },
    });
    symlinkSync(top, join(folder, 'around'));
    const copy = dirname(tested.kept.keep(join(folder, 'manifest.json')));
    for (const name of ['one', 'two']) rmSync(join(top, 'node_modules', name), { recursive: true });
    for (const name of ['number', 'data.js']) rmSync(join(folder, name));
    assert.equal(new PluginFiles(copy).load(join(copy, 'data.js')).version, 113);
  });

  it('does not load what came into the folder later', (t) => {
    const tested = new Tested(t, {
      'data.ts': `export const version = (() => 1)(); import('./later.ts').catch(() => {});\n`,
    });
    const copy = tested.run(START);
    writeFileSync(join(tested.folder, 'later.ts'), 'export {};');
    writeFileSync(join(copy, 'again.ts'), `import './later.ts';`);
    assert.throws(() => new PluginFiles(copy).load(join(copy, 'again.ts')), /later\.ts/);
  });

  it('is refused if there is too much of it', (t) => {
    const tested = new Tested(t);
    writeFileSync(join(tested.folder, 'ballast'), new Uint8Array(65 * 1024 * 1024));
    assert.throws(
      () => tested.kept.keep(join(tested.folder, 'manifest.json')),
      /has more than 20000 files or 64 MiB .*; take out what it does not run with/,
    );
  });
});
