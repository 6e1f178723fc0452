/** Options prepared in a thread: what comes out, when it is made anew, and what is refused. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { EXAMPLE_FILE } from '../../../test/fixtures/example-gateway.ts';
import { pluginFolder } from '../../../test/support/plugin-folder.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { planPlugins } from '../compile/plugins.ts';
import type { Config } from '../config/config.ts';
import { parseConfig } from '../config/load.ts';
import { PlanRefusedError } from '../runtime/data-plane-session.ts';
import { Preparations } from './preparations.ts';

const PREPARE = `import { readFileSync } from 'node:fs';
import { PluginOptionsError } from 'homeward/plugin';
export function prepareOptions({ options, topology }) {
  if (options.rate === 1) throw new PluginOptionsError('rate', 'one is too few');
  if (options.rate === 2) for (;;);
  if (options.rate === 3) process.exit(1);
  if (options.rate === 4) return 'a text';
  if (options.rate === 5) return new Uint8Array(129 * 1024 * 1024);
  const text = options.file === undefined ? '' : readFileSync(options.file, 'utf8');
  return Buffer.from(JSON.stringify([options.rate, topology.maxFlows, text]));
}
`;

/** A plugin that prepares its options, and what is prepared of it. */
class Rig {
  readonly directory: string;
  readonly preparations: Preparations;
  private readonly folder: string;

  constructor(t: TestContext, module = PREPARE, limitMs = 2000) {
    const properties = { rate: { type: 'integer' }, file: { type: 'string' } };
    this.folder = pluginFolder(t, {
      manifest: { prepare: './prepare.ts', options: { type: 'object', properties } },
      files: { 'prepare.ts': module },
    });
    const parent = mkdtempSync(join(tmpdir(), 'hw-prepared-'));
    t.after(() => rmSync(parent, { recursive: true }));
    this.directory = join(parent, 'prepared');
    this.preparations = new Preparations(this.directory, limitMs);
  }

  planOf(options: object, maxFlows = 1024): { plan: Plan; config: Config } {
    const text = JSON.stringify(options);
    const config = parseConfig(
      `version: 1\nplugins: [ { name: probe, from: ${this.folder}, options: ${text} } ]\n`,
      EXAMPLE_FILE,
    );
    const rest = { ports: [], spaces: [], flowTable: { maxFlows } };
    return { plan: { plugins: planPlugins(config.plugins), ...rest } as unknown as Plan, config };
  }

  given(options: object, readings = 0, maxFlows = 1024): Parameters<Preparations['prepare']> {
    const { plan, config } = this.planOf(options, maxFlows);
    return [plan, config, new Map([['probe', readings]])];
  }

  /** The plan that the data plane gets. */
  prepare(options: object, readings = 0, maxFlows = 1024): Promise<Plan> {
    return this.preparations.prepare(...this.given(options, readings, maxFlows));
  }
}

/** The file that a plan names in place of the options of the plugin. */
function fileOf({ plugins }: Plan): string {
  const plugin = plugins.find(({ name }) => name === 'probe')!;
  assert.equal(plugin.options, undefined);
  return plugin.prepared!;
}

test('what a plugin has prepared is in a file that the plan names in place of the options', async (t) => {
  const rig = new Rig(t);
  const plan = await rig.prepare({ rate: 7 });
  const file = fileOf(plan);
  assert.equal(readFileSync(file, 'utf8'), '[7,1024,""]');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(rig.directory).length, 1);
  // Others are as they were.
  const { plan: whole } = rig.planOf({ rate: 7 });
  const others = ({ plugins }: Plan): unknown => plugins.filter(({ name }) => name !== 'probe');
  assert.deepEqual(others(plan), others(whole));
});

test('it is prepared anew for other options, another topology, and when files are read anew', async (t) => {
  const rig = new Rig(t);
  const file = join(rig.directory, '../listed');
  writeFileSync(file, 'one');
  const first = fileOf(await rig.prepare({ rate: 7, file }));
  const second = fileOf(await rig.prepare({ rate: 8, file }));
  assert.notEqual(second, first);
  assert.notEqual(fileOf(await rig.prepare({ rate: 7, file }, 0, 2048)), first);
  writeFileSync(file, 'two');
  assert.equal(fileOf(await rig.prepare({ rate: 8, file })), fileOf(await rig.prepare({ rate: 8, file })));
  const read = fileOf(await rig.prepare({ rate: 8, file }, 1));
  assert.equal(readFileSync(read, 'utf8'), '[8,1024,"two"]');
  // The same content is the same file, whenever it was made.
  writeFileSync(file, 'one');
  assert.equal(fileOf(await rig.prepare({ rate: 8, file }, 2)), second);
});

test('a file that is gone is made again, and files that no plan names go', async (t) => {
  const rig = new Rig(t);
  rig.preparations.keepOnly(await rig.prepare({ rate: 7 }));
  const [former, plan] = [await rig.prepare({ rate: 7 }), await rig.prepare({ rate: 8 })];
  rig.preparations.keepOnly(plan);
  assert.deepEqual([existsSync(fileOf(former)), existsSync(fileOf(plan))], [false, true]);
  assert.ok(existsSync(fileOf(await rig.prepare({ rate: 7 }))));
  rmSync(rig.directory, { recursive: true });
  assert.ok(existsSync(fileOf(await rig.prepare({ rate: 7 }))));
});

test('what was made for plans that were refused goes, but for the last of it', async (t) => {
  const rig = new Rig(t);
  const runs = await rig.prepare({ rate: 7 });
  const refused = [await rig.prepare({ rate: 8 }), await rig.prepare({ rate: 9 })].map(fileOf);
  rig.preparations.keepOnly(runs, undefined);
  assert.deepEqual([fileOf(runs), ...refused].map(existsSync), [true, false, true]);
  // A data plane that is being started anew gets another plan than the one that ran last.
  const next = await rig.prepare({ rate: 10 });
  await rig.prepare({ rate: 11 });
  rig.preparations.keepOnly(runs, next);
  assert.deepEqual([runs, next].map(fileOf).map(existsSync), [true, true]);
});

test('where there is no room, nothing half-written takes some', async (t) => {
  const rig = new Rig(t);
  const file = fileOf(await rig.prepare({ rate: 7 }));
  rmSync(file);
  mkdirSync(file);
  writeFileSync(join(file, 'in the way'), '');
  await assert.rejects(new Preparations(rig.directory).prepare(...rig.given({ rate: 7 })), /plugin probe: E/);
  assert.deepEqual(readdirSync(rig.directory), [basename(file)]);
});

test('an end is not held up by what is being prepared, and begins no more of it', async (t) => {
  const rig = new Rig(t, PREPARE, 600_000);
  const refused = { message: 'plugin probe: the gateway is being stopped' };
  const [first, second] = [rig.prepare({ rate: 2 }), rig.prepare({ rate: 2 })];
  rig.preparations.end();
  await Promise.all([first, second, rig.prepare({ rate: 7 })].map((plan) => assert.rejects(plan, refused)));
});

test('what cannot be prepared refuses the plan, and says why', async (t) => {
  const rig = new Rig(t);
  const cases: readonly [number, string][] = [
    [1, 'plugin probe: rate: one is too few'],
    [2, 'plugin probe: its prepare did not return within 2 s'],
    [3, 'plugin probe: its prepare has ended without an answer'],
    [4, 'plugin probe: its prepareOptions returns no Uint8Array'],
    [5, 'plugin probe: its prepareOptions returns 135266304 bytes, and 134217728 are the most'],
  ];
  for (const [rate, message] of cases) {
    await assert.rejects(rig.prepare({ rate }), (error) => {
      assert.ok(error instanceof PlanRefusedError, String(error));
      assert.equal(error.message, message);
      return true;
    });
  }
  const without = new Rig(t, 'export const other = 1;');
  await assert.rejects(without.prepare({}), /its prepare module exports no prepareOptions/);
});
