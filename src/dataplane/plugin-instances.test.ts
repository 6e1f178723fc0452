import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { planPlugin } from '../../test/support/plugins.ts';
import { COUNTERS_BYTES, Counters } from '../flow/counters.ts';
import type { PlanPlugin } from '../pipeline/plan.ts';
import { PluginChain } from '../pipeline/plugin-chain.ts';
import { PluginMeter } from '../pipeline/plugin-meter.ts';
import { type Json, type PluginTopology, RETURN_PINNED } from '../plugin/contract.ts';
import { CAUSE_MEMORY, CAUSE_TIMEOUT } from '../plugin/failure-numbers.ts';
import { RunningPlugin } from '../plugin/running-plugin.ts';
import { PluginCalls } from './plugin-calls.ts';
import { parsePluginFaults } from './plugin-faults.ts';
import { type ExportedState, PluginInstances } from './plugin-instances.ts';

const folder = mkdtempSync(join(tmpdir(), 'homeward-plugins-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const topology: PluginTopology = { ports: [], spaces: [], maxFlows: 1024 };

/** Plugins in a data plane that runs nothing else. */
class Tested {
  readonly logged: string[] = [];
  readonly sent: Json[] = [];
  readonly running = new RunningPlugin(new Int32Array(1), new Int32Array(1));
  readonly instances: PluginInstances;
  readonly failed: [number, unknown][] = [];

  constructor(left: ReadonlyMap<string, ExportedState> = new Map()) {
    this.instances = new PluginInstances(
      {
        nowMs: () => 77,
        log: (plugin, level, text) => this.logged.push(`${plugin} ${level} ${text}`),
        send: (_plugin, body) => this.sent.push(body) <= 2,
      },
      new PluginCalls(this.running),
      undefined,
      left,
    );
  }

  take(plugins: readonly PlanPlugin[], within = topology): void {
    const prepared = this.instances.prepare(plugins, within);
    this.instances.commit(prepared, (place, error) => this.failed.push([place, error]));
    assert.equal(this.running.word[0], 0);
  }

  /** What a plugin says when it judges. */
  ask(name: string): number {
    const flow = { returnRouting: 0 };
    const verdict = this.instances.find(name)!.half.flowSetup({} as never, flow as never);
    assert.equal(flow.returnRouting, RETURN_PINNED);
    return verdict;
  }
}

function write(
  name: string,
  files: Readonly<Record<string, string>>,
  manifest: Readonly<Record<string, unknown>> = {},
): void {
  const place = join(folder, name);
  mkdirSync(place, { recursive: true });
  const whole = {
    name,
    version: '1.0.0',
    homeward: 1,
    data: './half.ts',
    phase: 'routing',
    hooks: ['flowSetup'],
    ...manifest,
  };
  writeFileSync(join(place, 'manifest.json'), JSON.stringify(whole));
  writeFileSync(join(place, 'package.json'), '{"type":"module"}');
  for (const [file, text] of Object.entries(files)) writeFileSync(join(place, file), text);
}

/** Writes a plugin with these files beside its manifest, which names `half.ts`; returns how a plan names it. */
function plugin(
  name: string,
  files: Readonly<Record<string, string>>,
  manifest: Readonly<Record<string, unknown>> = {},
): PlanPlugin {
  write(name, files, manifest);
  return again(name);
}

function again(name: string, options: unknown = {}, rest: Partial<PlanPlugin> = {}): PlanPlugin {
  return planPlugin('', options, {
    name,
    version: '1.0.0',
    manifest: join(folder, name, 'manifest.json'),
    ...rest,
  });
}

/** Answers the verdict of its options; keeps how often it was asked. */
const counting = (offset: number): string => `
  export const createDataHalf = ({ counter, nowMs }) => {
    let verdict = 0;
    let asked = 0;
    const loaded = counter('loaded');
    loaded();
    const kept = counter('kept');
    return {
      configure({ options, topology }) {
        if (options.verdict === 'bad') throw Object.assign(new Error('is bad; write a number'), { path: 'verdict' });
        const next = (options.verdict ?? 0) + topology.maxFlows;
        return () => {
          if (options.verdict === 'late') throw new Error('too late');
          verdict = next;
        };
      },
      flowSetup: (packet, flow) => {
        flow.returnRouting = 1;
        asked++;
        return verdict + asked * 10000 + ${offset};
      },
      exportState: () => ({ asked }),
      importState: (state, version, keepsFlowState) => {
        if (keepsFlowState) kept();
        if (version !== '1.0.0') throw new Error('unknown version ' + version);
        asked = state.asked;
      },
    };
  };`;

const half = (mark: number): string =>
  `export const createDataHalf = () => ({ configure: () => () => {}, flowSetup: (packet, flow) => { flow.returnRouting = ${mark}; return 0; } });`;

describe('loading plugins', () => {
  it('takes the source that the manifest names, or the module that was compiled from it', () => {
    for (const file of ['half.ts', 'half.js']) {
      const name = `only-${file.replace('.', '-')}`;
      const tested = new Tested();
      tested.take([plugin(name, { [file]: half(1) })]);
      assert.equal(tested.ask(name), 0);
    }
  });

  it('puts policy before routing, and otherwise keeps the declared order', () => {
    const routing = plugin('routing', { 'half.ts': half(1) });
    const policies = ['b', 'a'].map((name) => plugin(name, { 'half.ts': half(0) }, { phase: 'policy' }));
    const tested = new Tested();
    tested.take([routing, ...policies]);
    assert.deepEqual(
      tested.instances.all.map(({ name }) => name),
      ['b', 'a', 'routing'],
    );
  });

  it('names the plugin that cannot be loaded, and why', () => {
    const tested = new Tested();
    const refuses = (wrong: PlanPlugin, why: RegExp): void =>
      assert.throws(() => tested.instances.prepare([wrong], topology), why);
    refuses(plugin('missing', {}), /^Error: plugin missing: there is no file \.\/half\.ts/);
    refuses(
      plugin('empty', { 'half.ts': 'export {};' }),
      /plugin empty: its data half exports no createDataHalf/,
    );
    refuses(plugin('other', { 'half.ts': half(1) }, { name: 'another' }), /its manifest names it another/);
    refuses(
      plugin('policy', { 'half.ts': half(1) }, { phase: 'policy' }),
      /no plugin decides how replies are routed/,
    );
    refuses(
      plugin('rigid', { 'half.ts': 'export const createDataHalf = () => ({ flowSetup: () => 0 });' }),
      /plugin rigid: its data half has no configure/,
    );
    const open = plugin('open', { 'half.ts': half(1) });
    chmodSync(join(folder, 'open/half.ts'), 0o666);
    refuses(open, /plugin open: others than root may write .*open\/half\.ts \(mode 0666\); do "chmod go-w /);
    assert.deepEqual(tested.instances.all, []);
  });
});

describe('plugins from one plan to the next', () => {
  it('live on, and are configured when options or topology are others', () => {
    const tested = new Tested();
    tested.take([plugin('lives', { 'half.ts': counting(0) })]);
    assert.equal(tested.ask('lives'), 11_024);
    tested.take([again('lives', { verdict: 5 })]);
    assert.equal(tested.ask('lives'), 21_029);
    tested.take([again('lives', { verdict: 5 })], { ...topology, maxFlows: 1 });
    assert.equal(tested.ask('lives'), 30_006);
    assert.equal(tested.instances.find('lives')!.counters.get('loaded'), 1);
  });

  it('are prepared all or nothing', () => {
    const tested = new Tested();
    const plugins = ['one', 'two'].map((name) => plugin(name, { 'half.ts': counting(0) }));
    tested.take(plugins);
    assert.throws(
      () =>
        tested.instances.prepare([again('one', { verdict: 1 }), again('two', { verdict: 'bad' })], topology),
      /^Error: plugin two: verdict: is bad; write a number$/,
    );
    assert.equal(tested.ask('one'), 11_024);
    // A plan of which the pipeline wants nothing to know is never committed.
    tested.instances.prepare([again('one', { verdict: 1 }), again('two', { verdict: 2 })], topology);
    assert.equal(tested.ask('one'), 21_024);
    tested.take([again('one', { verdict: 1 }), again('two', { verdict: 2 })]);
    assert.equal(tested.ask('one'), 31_025);
    assert.equal(tested.ask('two'), 11_026);
  });

  it('say that a commit has failed, and commit the others', () => {
    const tested = new Tested();
    tested.take(['uno', 'due'].map((name) => plugin(name, { 'half.ts': counting(0) })));
    tested.take([again('uno', { verdict: 'late' }), again('due', { verdict: 2 })]);
    assert.deepEqual(
      tested.failed.map(([place, error]) => [place, (error as Error).message]),
      [[0, 'too late']],
    );
    assert.equal(tested.ask('due'), 11_026);
  });

  it('are read anew when asked, and hand their state on if their code has changed', () => {
    const tested = new Tested();
    tested.take([plugin('anew', { 'half.ts': counting(0) })]);
    tested.ask('anew');
    const before = tested.instances.find('anew');
    tested.take([again('anew', {}, { revision: 1 })]);
    assert.equal(tested.instances.find('anew'), before);
    write('anew', { 'half.ts': counting(5) });
    tested.take([again('anew', {}, { revision: 1 })]);
    assert.equal(tested.ask('anew'), 21_024);
    tested.take([again('anew', {}, { revision: 2 })]);
    assert.equal(tested.ask('anew'), 31_029);
    // Its counters go on.
    assert.equal(tested.instances.find('anew')!.counters.get('loaded'), 2);
    // And its flows have their state.
    assert.equal(tested.instances.find('anew')!.counters.get('kept'), 1);
    // What is no plugin changes nothing.
    write('anew', { 'half.ts': 'export const createDataHalf = 5;' });
    assert.throws(
      () => tested.instances.prepare([again('anew', {}, { revision: 3 })], topology),
      /exports no createDataHalf/,
    );
    assert.equal(tested.ask('anew'), 41_029);
  });

  it('begin anew after they were tripped', () => {
    const tested = new Tested();
    tested.take([plugin('tripped', { 'half.ts': counting(0) })]);
    tested.ask('tripped');
    tested.instances.find('tripped')!.standing.tripFor(CAUSE_TIMEOUT, 'it stood still');
    // Not called, and not refused: what is wrong with it is known.
    tested.take([again('tripped', { verdict: 'bad' })]);
    tested.take([again('tripped', { verdict: 3 }, { revision: 1 })]);
    assert.equal(tested.instances.find('tripped')!.standing.isTripped, false);
    assert.equal(tested.ask('tripped'), 11_027);
  });

  it('keep their place in flows when they were let go, whatever plan comes then', () => {
    const looking = plugin('looking', {
      'half.ts': `export const createDataHalf = () =>
        ({ configure: () => () => {}, flowSetup: () => 0, packet: () => 0, stream: () => 0 });`,
    });
    const tested = new Tested();
    tested.take([looking]);
    const instance = tested.instances.find('looking')!;
    instance.standing.tripFor(CAUSE_MEMORY, 'it took too much');
    instance.release();
    const { plugins } = tested.instances.prepare([looking], { ...topology, maxFlows: 7 });
    const counters = new Counters(new Float64Array(COUNTERS_BYTES / 8));
    const chain = new PluginChain(plugins, () => {}, new PluginMeter(counters, tested.running));
    assert.deepEqual([chain.inspectorAt('looking'), chain.readerAt('looking')], [0, 0]);
  });

  it('leave their state to the next process', () => {
    const first = new Tested();
    first.take([plugin('stays', { 'half.ts': counting(0) })]);
    first.ask('stays');
    const left = first.instances.export();
    assert.deepEqual(left, new Map([['stays', { version: '1.0.0', state: { asked: 1 } }]]));
    const second = new Tested(left);
    second.take([again('stays')]);
    assert.equal(second.ask('stays'), 21_024);
    assert.equal(second.instances.find('stays')!.counters.get('kept'), 0);
    const other = new Tested(new Map([['stays', { version: '3.0.0', state: {} }]]));
    other.take([again('stays')]);
    assert.equal(other.ask('stays'), 11_024);
    assert.deepEqual(other.logged, [
      'stays error what it left at the last stop is lost: unknown version 3.0.0',
    ]);
  });
});

it('reads which plugins fail on purpose', () => {
  assert.deepEqual(
    parsePluginFaults('firewall:exception:3, dlp:stall'),
    new Map([
      ['firewall', { cause: 'exception', every: 3 }],
      ['dlp', { cause: 'stall', every: 1 }],
    ]),
  );
  assert.equal(parsePluginFaults(undefined).size, 0);
  for (const wrong of ['firewall', 'firewall:none', 'a:stall:0', 'a:stall:1:2', ':stall']) {
    assert.throws(() => parsePluginFaults(wrong), /NAME:CAUSE\[:EVERY\]; CAUSE is one of exception, timeout/);
  }
});
