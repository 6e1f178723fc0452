/** Control halves: made, configured, told, stopped; and what they throw, at once or later, ends nothing. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { EXAMPLE_FILE } from '../../../test/fixtures/example-gateway.ts';
import { eventually } from '../../../test/support/patience.ts';
import { pluginFolder } from '../../../test/support/plugin-folder.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { type Json, PluginQueryError } from '../../plugin/contract.ts';
import { planPlugins } from '../compile/plugins.ts';
import { parseConfig } from '../config/load.ts';
import { diversionDevice } from '../diversion-names.ts';
import { Diversions } from '../diversions/diversions.ts';
import { ViewFailedError } from './control-half.ts';
import { ControlHalves } from './control-halves.ts';
import { readAnew } from './files.ts';

const RECORDING = `import { PluginQueryError } from 'homeward/plugin';
export function createControlHalf(environment) {
  const count = environment.counter('told');
  return {
    async configure({ options, topology }) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      environment.send(['configured', options.rate, topology.maxFlows]);
    },
    message(body) {
      count();
      if (body === 'throw') throw new Error('a message');
      if (body === 'prepare') environment.prepareAnew();
      else if (body === 'decide') environment.decide(7, 'accept', 'it is right');
      else environment.send(['heard', body]);
    },
    dataPlaneStarted() { environment.send(['again']); },
    async stop() { environment.send(['stopped']); },
    views: {
      async twice({ n }) {
        if (n < 0) throw new PluginQueryError('n is negative');
        if (n > 9) throw new Error('too much');
        return n * 2;
      },
    },
  };
}
`;

/** Halves of one plugin in a folder, with a record of what they send. */
class Rig {
  readonly sent: unknown[] = [];
  readonly lines: Record<string, unknown>[] = [];
  readonly folder: string;
  readonly halves: ControlHalves;
  /** Why namespaces cannot be made. */
  refusal: string | undefined;
  /** By device: how often the namespace behind it was made. */
  readonly generations = new Map<string, number>();

  constructor(t: TestContext, control: string, manifest: Readonly<Record<string, unknown>> = {}) {
    this.folder = pluginFolder(t, {
      manifest: {
        control: './control.ts',
        options: { type: 'object', properties: { rate: { type: 'integer' } } },
        ...manifest,
      },
      files: { 'control.ts': control },
    });
    this.halves = new ControlHalves(
      {
        sendToPlugin: (plugin, body) => this.sent.push([plugin, body]),
        prepareAnew: (plugin) => this.sent.push([plugin, 'prepared anew']),
        decide: (...decision) => this.sent.push(decision),
      },
      new Diversions({
        generation: (device) => this.generations.get(device) ?? 0,
        refusal: () => this.refusal,
        lookup: async (request) => {
          this.sent.push(request);
          return null;
        },
        onChange: () => this.sent.push('changed'),
        endProcesses: async (namespace) => void this.sent.push(namespace),
        logger: pino({ level: 'silent' }),
        instance: 7,
      }),
      pino({ level: 'debug' }, { write: (line: string) => void this.lines.push(JSON.parse(line)) }),
    );
    t.after(() => this.halves.stop());
  }

  /** Runs the plugin with these options; undefined: takes it out. */
  async run(options: string | undefined, revision = 0): Promise<void> {
    const plugin = options === undefined ? '' : `{ name: probe, from: ${this.folder}, options: ${options} }`;
    const config = parseConfig(`version: 1\nplugins: [ ${plugin} ]\n`, EXAMPLE_FILE);
    const plugins = planPlugins(config.plugins, new Map([['probe', revision]]));
    const plan = { plugins, ports: [], spaces: [], flowTable: { maxFlows: 1024 } } as unknown as Plan;
    await this.halves.configure(config, plan);
  }

  /** What was sent since the last time. */
  async taken(count: number): Promise<unknown[]> {
    await eventually(`${count} are sent`, () => this.sent.length >= count);
    return this.sent.splice(0);
  }
}

/** Everything that is ready to run has run. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

test('configured once, then only for other options; stopped when the plugin goes', async (t) => {
  const rig = new Rig(t, RECORDING);
  await rig.run('{ rate: 1 }');
  await rig.run('{ rate: 1 }');
  assert.deepEqual(await rig.taken(1), [['probe', ['configured', 1, 1024]]]);
  await rig.run('{ rate: 2 }');
  assert.deepEqual(await rig.taken(1), [['probe', ['configured', 2, 1024]]]);
  rig.halves.dataPlaneStarted();
  assert.deepEqual(await rig.taken(1), [['probe', ['again']]]);
  await rig.run(undefined);
  assert.deepEqual(await rig.taken(1), [['probe', ['stopped']]]);
  assert.equal(rig.halves.status('probe'), undefined);
});

test('messages come in their order, behind the configuration', async (t) => {
  const rig = new Rig(t, RECORDING);
  const configured = rig.run('{ rate: 1 }');
  await eventually('it is made', () => rig.halves.status('probe') !== undefined);
  for (const body of [1, 2, 'decide', 3]) rig.halves.deliver('probe', body);
  await configured;
  assert.deepEqual(await rig.taken(5), [
    ['probe', ['configured', 1, 1024]],
    ['probe', ['heard', 1]],
    ['probe', ['heard', 2]],
    ['probe', 7, 'accept', 'it is right'],
    ['probe', ['heard', 3]],
  ]);
  assert.deepEqual(rig.halves.status('probe')?.counters, { told: 4 });
});

test('views: answered, refused, failed', async (t) => {
  const rig = new Rig(t, RECORDING);
  await rig.run('{}');
  const view = (name: string, parameters: Json) => rig.halves.view('probe', name, parameters);
  assert.equal(await view('twice', { n: 4 }), 8);
  await assert.rejects(view('twice', { n: -1 })!, new PluginQueryError('n is negative'));
  await assert.rejects(view('twice', { n: 10 })!, new ViewFailedError('probe cannot answer: too much'));
  await assert.rejects(view('once', {})!, /has no view once, which its manifest declares/);
  assert.equal(rig.halves.view('other', 'twice', {}), undefined);
  assert.equal(rig.halves.status('probe')?.failures, 1);
});

test('a half that throws is counted and goes on', async (t) => {
  const rig = new Rig(t, RECORDING);
  await rig.run('{}');
  rig.halves.deliver('probe', 'throw');
  rig.halves.deliver('probe', 'next');
  await rig.taken(2);
  const { state, failures, lastFailure } = rig.halves.status('probe')!;
  assert.deepEqual(
    { state, failures, lastFailure },
    { state: 'running', failures: 1, lastFailure: 'a message' },
  );
  const { plugin, half, msg } = rig.lines.at(-1)!;
  assert.deepEqual({ plugin, half, msg }, { plugin: 'probe', half: 'control', msg: 'failed: a message' });
});

test('one that takes for ever is not waited for: changes and messages go on', async (t) => {
  const rig = new Rig(
    t,
    `export const createControlHalf = (environment) => ({
      configure({ options }) { return options.rate === 1 ? new Promise(() => {}) : undefined; },
      dataPlaneStarted() { return new Promise(() => {}); },
      message(body) { environment.send(['heard', body]); },
    });`,
  );
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const configured = rig.run('{ rate: 1 }');
  await turns();
  rig.halves.deliver('probe', 'next');
  t.mock.timers.tick(10_000);
  await configured;
  await turns();
  assert.deepEqual(rig.sent.splice(0), [['probe', ['heard', 'next']]]);
  assert.equal(rig.halves.status('probe')?.lastFailure, 'configure was not done within 10 s');
  rig.halves.dataPlaneStarted();
  await turns();
  rig.halves.deliver('probe', 'last');
  t.mock.timers.tick(10_000);
  await rig.run('{ rate: 2 }');
  assert.deepEqual(rig.sent, [['probe', ['heard', 'last']]]);
  assert.equal(rig.halves.status('probe')?.lastFailure, 'dataPlaneStarted was not done within 10 s');
  t.mock.timers.reset();
});

test('one that cannot be made says so, and is made when its files are right', async (t) => {
  const rig = new Rig(t, 'export const createControlHalf = 1;\n');
  await rig.run('{}');
  assert.equal(rig.halves.status('probe')?.state, 'failed');
  assert.match(rig.halves.status('probe')?.lastFailure ?? '', /exports no createControlHalf/);
  await assert.rejects(rig.halves.view('probe', 'twice', {})!, /does not run: its control module exports no/);
  writeFileSync(join(rig.folder, 'control.ts'), RECORDING);
  readAnew(rig.folder);
  await rig.run('{ rate: 3 }', 1);
  assert.deepEqual(await rig.taken(1), [['probe', ['configured', 3, 1024]]]);
});

test('what a half throws later, from a timer or a promise, does not end the process; what others throw does', async (t) => {
  const folder = pluginFolder(t, {
    manifest: { control: './control.ts' },
    files: {
      'control.ts': `export const createControlHalf = () => ({
        configure() {
          setTimeout(() => { throw new Error('from a timer'); }, 1);
          (async () => { await new Promise((done) => setTimeout(done, 2)); throw new Error('from a promise'); })();
        },
      });`,
      // In a process of its own: the test runner listens for exceptions, too.
      'main.ts': `
        import { ControlHalves } from ${JSON.stringify(join(import.meta.dirname, 'control-halves.ts'))};
        import { parseConfig } from ${JSON.stringify(join(import.meta.dirname, '../config/load.ts'))};
        import { planPlugins } from ${JSON.stringify(join(import.meta.dirname, '../compile/plugins.ts'))};
        const config = parseConfig('version: 1\\nplugins: [ { name: probe, from: ' + import.meta.dirname + ' } ]', 'x.yaml');
        const logger = { error: (_, text) => console.log(text) };
        const halves = new ControlHalves({ sendToPlugin() {}, decide() {} }, { open: () => ({ untold: async () => [], close: async () => {} }) }, logger);
        await halves.configure(config, { plugins: planPlugins(config.plugins), ports: [], spaces: [], flowTable: { maxFlows: 1 } });
        while (halves.status('probe').failures < 2) await new Promise((done) => setTimeout(done, 5));
        console.log('still here');
        setTimeout(() => { throw new Error('of control itself'); }, 1);
        setTimeout(() => console.log('not reached'), 200);
      `,
    },
  });
  const result = await promisify(execFile)(process.execPath, [join(folder, 'main.ts')]).catch(
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
  assert.equal(result.stdout, 'failed: from a timer\nfailed: from a promise\nstill here\n');
  assert.match(result.stderr, /Error: of control itself/);
  assert.equal((result as { code?: number }).code, 1);
});

const DIVERTING = `export const createControlHalf = (environment) => {
  const relay = environment.diversion('relay');
  return {
    diversionMade: (name) => environment.send({ made: name, namespace: relay.namespace, to: relay.sourceFor(258) }),
    message: async (body) => {
      if (body === 'ready') relay.ready();
      else if (body === 'gone') relay.gone('it wanted to');
      else if (body === 'other') environment.diversion('other');
      else environment.send({ flow: (await relay.lookup('tcp', '198.18.1.1', 99)) ?? 'nobody' });
    },
    stop: () => relay.ready(),
  };
};`;

test('diversions are ready when their half says so, of the namespace that stands, while it lives', async (t) => {
  const host = new Rig(t, DIVERTING, { diversions: [{ name: 'relay', tcp: 8080 }] });
  const device = diversionDevice('probe/relay');
  const namespace = `${device}-7`;
  const states = () => host.halves.diversions('probe')?.map(({ state, reason }) => [state, reason]);
  const said = async (body: Json): Promise<void> => {
    host.halves.deliver('probe', body);
    await new Promise((resolve) => setTimeout(resolve, 20));
  };
  await host.run('{}');
  assert.deepEqual(host.sent, [], 'nobody is told of what is not there');
  host.refusal = 'Operation not permitted';
  await host.run('{}');
  assert.deepEqual(states(), [['gone', 'its namespace cannot be made: Operation not permitted']]);
  host.refusal = undefined;

  host.generations.set(device, 1);
  await host.run('{}');
  const made = [
    'probe',
    { made: 'relay', namespace, to: { ipv4: '198.19.1.2', ipv6: 'fd68:6f6d:6577:2::102' } },
  ];
  assert.deepEqual(host.sent.splice(0), [namespace, made], 'whoever was left there is ended first');
  assert.deepEqual(states(), [['gone', 'its control half has not said that it is ready']]);
  await host.run('{}');
  assert.deepEqual(host.sent, []);

  await said('ready');
  assert.deepEqual([host.sent.splice(0), states()], [['changed'], [['ready', null]]]);
  await said('ready');
  assert.deepEqual(host.sent, []);
  await said('gone');
  assert.deepEqual([host.sent.splice(0), states()], [['changed'], [['gone', 'it wanted to']]]);
  await said('whose');
  assert.deepEqual(host.sent.splice(0), [
    { type: 'diverted', port: 'probe/relay', protocol: 'tcp', address: '198.18.1.1', sourcePort: 99 },
    ['probe', { flow: 'nobody' }],
  ]);
  await said('other');
  assert.match(host.halves.status('probe')?.lastFailure ?? '', /no diversion other; it declares relay/);

  // Another namespace: whoever was ready was so elsewhere.
  await said('ready');
  host.generations.set(device, 2);
  host.sent.splice(0);
  await host.run('{}');
  assert.deepEqual(host.sent.splice(0), ['changed', namespace, made]);
  await said('ready');
  host.sent.splice(0);

  // What it says while it is ended counts no more.
  await host.run(undefined);
  assert.deepEqual(host.sent, ['changed', namespace]);
});
