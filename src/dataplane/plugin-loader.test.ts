import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { planPlugin } from '../../test/support/plugins.ts';
import type { PlanPlugin } from '../pipeline/plan.ts';
import { RETURN_PINNED } from '../plugin/contract.ts';
import { loadPlugins } from './plugin-loader.ts';

const folder = mkdtempSync(join(tmpdir(), 'homeward-plugins-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const host = { topology: { ports: [], spaces: [], maxFlows: 1024 }, nowMs: () => 0, log: () => {} };

/** Writes a plugin with these files beside its manifest, which names `data`; returns how a plan names it. */
function plugin(
  name: string,
  files: Readonly<Record<string, string>>,
  manifest: Readonly<Record<string, unknown>> = {},
): PlanPlugin {
  const place = join(folder, name);
  mkdirSync(place);
  const whole = {
    name,
    version: '1.0.0',
    data: './half.ts',
    phase: 'routing',
    hooks: ['flowSetup'],
    homeward: 1,
    ...manifest,
  };
  writeFileSync(join(place, 'manifest.json'), JSON.stringify(whole));
  writeFileSync(join(place, 'package.json'), '{"type":"module"}');
  for (const [file, text] of Object.entries(files)) writeFileSync(join(place, file), text);
  return planPlugin('', {}, { name, manifest: join(place, 'manifest.json') });
}

const half = (mark: number): string =>
  `export const createDataHalf = () => ({ configure: () => () => {}, flowSetup: (packet, flow) => { flow.returnRouting = ${mark}; return 0; } });`;

describe('loading plugins', () => {
  it('takes the source that the manifest names, or the module that was compiled from it', () => {
    for (const file of ['half.ts', 'half.js']) {
      const [loaded] = loadPlugins([plugin(`only-${file.replace('.', '-')}`, { [file]: half(1) })], host);
      const flow = { returnRouting: 0 };
      assert.equal(loaded.half.flowSetup({} as never, flow as never), 0);
      assert.equal(flow.returnRouting, RETURN_PINNED);
    }
  });

  it('puts policy before routing, and otherwise keeps the declared order', () => {
    const routing = plugin('routing', { 'half.ts': half(1) });
    const policies = ['b', 'a'].map((name) => plugin(name, { 'half.ts': half(0) }, { phase: 'policy' }));
    assert.deepEqual(
      loadPlugins([routing, ...policies], host).map(({ name }) => name),
      ['b', 'a', 'routing'],
    );
  });

  it('names the plugin that cannot be loaded, and why', () => {
    const missing = plugin('missing', {});
    assert.throws(() => loadPlugins([missing], host), /^Error: plugin missing: .*half\.ts/);
    const empty = plugin('empty', { 'half.ts': 'export {};' });
    assert.throws(() => loadPlugins([empty], host), /plugin empty: its data half exports no createDataHalf/);
    const other = plugin('other', { 'half.ts': half(1) }, { name: 'another' });
    assert.throws(() => loadPlugins([other], host), /plugin other: its manifest names it another/);
    const policy = plugin('policy', { 'half.ts': half(1) }, { phase: 'policy' });
    assert.throws(() => loadPlugins([policy], host), /no plugin decides how replies are routed/);
  });
});
