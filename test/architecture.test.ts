/** Imports point one way, names are what the design says, every file can be read at a sitting. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { DROP_REASON_NAMES, DROP_REASON_TEXTS } from '../src/plugin/drop-reasons.ts';

const ROOT = resolve(import.meta.dirname, '..');
/** Each may import from itself and from those before it. */
const LAYERS = [
  'wire',
  'flow',
  'plugin',
  'pipeline',
  'device',
  'vici',
  'tunnel',
  'dataplane',
  'control',
  'api',
  'cli',
];
/** What a layer may not import although it stands further down. */
const FORBIDDEN: Record<string, readonly string[]> = {
  cli: LAYERS.slice(0, LAYERS.indexOf('api')),
};
const PLUGINS_MAY = ['wire', 'flow', 'plugin'];
/** The layers that are on the packet's way: no package from npm there. */
const WITHOUT_PACKAGES = ['wire', 'flow', 'plugin', 'pipeline', 'device', 'dataplane'];
const MAX_LINES = 500;

function files(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
}

function importsOf(file: string): string[] {
  const source = readFileSync(join(ROOT, file), 'utf8');
  return [...source.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]);
}

/** Layer of a file in src, `plugins`, or undefined for `src/main.ts`. */
function layerOf(file: string): string | undefined {
  const [top, layer, ...rest] = file.split('/');
  if (top === 'plugins') return 'plugins';
  return top === 'src' && rest.length > 0 ? layer : undefined;
}

const isTest = (file: string): boolean => /\.(test|contract|fixture)\.ts$/.test(file);

describe('architecture', () => {
  const sources = [...files('src'), ...files('plugins')].filter((file) => !isTest(file));

  it('knows every folder of src', () => {
    const folders = readdirSync(join(ROOT, 'src'), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
    assert.deepEqual(
      folders.filter((folder) => !LAYERS.includes(folder)),
      [],
    );
  });

  it('has imports that point one way', () => {
    const wrong: string[] = [];
    for (const file of sources) {
      const from = layerOf(file);
      for (const specifier of importsOf(file).filter((name) => name.startsWith('.'))) {
        const target = relative(ROOT, resolve(ROOT, dirname(file), specifier));
        const to = layerOf(target);
        if (from === undefined || from === to) continue;
        const allowed =
          from === 'plugins'
            ? to !== undefined && PLUGINS_MAY.includes(to)
            : to !== undefined &&
              LAYERS.indexOf(to) >= 0 &&
              LAYERS.indexOf(to) < LAYERS.indexOf(from) &&
              !(FORBIDDEN[from] ?? []).includes(to);
        if (!allowed) wrong.push(`${file} imports ${target}`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  it("has no package from npm on the packet's way", () => {
    const wrong: string[] = [];
    for (const file of sources) {
      if (!WITHOUT_PACKAGES.includes(layerOf(file) ?? '') && layerOf(file) !== 'plugins') continue;
      for (const specifier of importsOf(file)) {
        const isOwn = specifier === 'homeward/plugin' && file.startsWith('plugins/examples/');
        if (!isOwn && !/^(?:\.|node:)/.test(specifier)) wrong.push(`${file}: ${specifier}`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  it('has files that one can read at a sitting', () => {
    const long = sources.filter(
      (file) => readFileSync(join(ROOT, file), 'utf8').split('\n').length > MAX_LINES,
    );
    assert.deepEqual(long, []);
  });

  it('has comments that name files which are there', () => {
    const known = [...files('src'), ...files('plugins'), ...files('test'), ...files('scripts')];
    const wrong = sources.flatMap((file) =>
      [...readFileSync(join(ROOT, file), 'utf8').matchAll(/^ *(?:\*|\/\/|\/\*\*).*$/gm)]
        .flatMap(([line]) => [...line.matchAll(/`(?:\.{1,2}\/)*([\w./-]+\.ts)`/g)].map((match) => match[1]))
        .filter((name) => !known.some((there) => `/${there}`.endsWith(`/${name}`)))
        .map((name) => `${file}: ${name}`),
    );
    assert.deepEqual(wrong, []);
  });

  it('documents every drop reason, in the words of the code', () => {
    const page = readFileSync(join(ROOT, 'docs/drop-reasons.md'), 'utf8');
    const missing = DROP_REASON_NAMES.filter(
      (name, reason) => reason !== 0 && !page.includes(`| \`${name}\` | ${DROP_REASON_TEXTS[reason]} |`),
    );
    assert.deepEqual(missing, []);
  });
});
