/**
 * A plugin that hangs in any of its hooks, in a real data plane under traffic: it is named and tripped, the process goes on,
 * no flow of others is lost, and what was counted of flows adds up. In `flowSetup`, `packet`, `configure` and a view:
 * `plugin-failures.test.ts`.
 *
 * The times are printed: a plugin is ended after 200 ms (700 ms in `exportState`), of which half on the processor, so that
 * on a machine that others use it takes longer.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { Plan, PlanPlugin } from '../../src/pipeline/plan.ts';
import { CLIENT_ADDRESS, SERVER_ADDRESS } from '../bench/lab-plans.ts';
import type { Deed } from '../fixtures/hanging-plugin/hanging.ts';
import { DataPlaneRig } from '../support/data-plane-rig.ts';
import { linesOf } from '../support/network-namespace.ts';
import { eventually } from '../support/patience.ts';
import { ALL_CLOSED, planPlugin } from '../support/plugins.ts';

const MANIFEST = 'test/fixtures/hanging-plugin/manifest.json';
const PORT = 7001;
const TCP_PORT = 7002;
const TCP_ECHO = `require('net').createServer((s) => s.pipe(s)).listen(${TCP_PORT}, '${SERVER_ADDRESS}', () => console.log('ready'))`;
const TCP_SAY = `require('net').connect({ host: '${SERVER_ADDRESS}', port: ${TCP_PORT}, localAddress: '${CLIENT_ADDRESS}' }, function () { this.write('hello') }).on('error', () => {})`;

const OPEN = { ...ALL_CLOSED, exception: 'pass-flow', midstream: 'pass-flow' } as const;

function hanging(hook: string, deed: Deed = 'spin', rest: Partial<PlanPlugin> = {}, port = PORT): PlanPlugin {
  return planPlugin(
    MANIFEST,
    { in: hook, port, deed },
    { name: 'hanging', version: '1.0.0', failurePolicy: OPEN, ...rest },
  );
}

async function rigFor(t: TestContext, plugins: readonly PlanPlugin[]): Promise<DataPlaneRig> {
  const rig = await DataPlaneRig.start(plugins, [PORT]);
  t.after(() => rig.remove());
  return rig;
}

/** The second tunnel is of the first one's site. */
function oneSite(plan: Plan): Plan {
  return {
    ...plan,
    spaces: plan.spaces.filter(({ id }) => id !== 2),
    ports: plan.ports.map((port) => (port.index === 2 ? { ...port, space: 1 } : port)),
  };
}

/** The same plugin, with other code, elsewhere. */
function copyOf(t: TestContext): string {
  const folder = mkdtempSync(join(import.meta.dirname, '../fixtures/.hanging-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  cpSync(dirname(join(import.meta.dirname, '../..', MANIFEST)), folder, { recursive: true });
  return join(folder, 'manifest.json');
}

const tripped = async (rig: DataPlaneRig) =>
  (await rig.status()).plugins.find(({ state }) => state === 'tripped');

interface Case {
  readonly hook: string;
  /** As the failure names it. */
  readonly named?: string;
  /** Has the plugin called. */
  readonly provoke: (rig: DataPlaneRig) => unknown;
  readonly port?: number;
  readonly change?: (plan: Plan) => Plan;
}

const CASES: readonly Case[] = [
  { hook: 'flowStart', provoke: (rig) => rig.answered(PORT) },
  {
    hook: 'stream',
    port: TCP_PORT,
    provoke: async ({ server, client }) => {
      await linesOf(server.spawn(process.execPath, ['-e', TCP_ECHO])).next();
      client.spawn(process.execPath, ['-e', TCP_SAY]);
    },
  },
  {
    hook: 'ingressChanged',
    change: oneSite,
    provoke: ({ gateway, client }) => {
      gateway.ip(`link set t-twin netns ${client.name}`);
      client.ip('link set t-twin up', 'route replace default dev t-twin');
    },
  },
  {
    hook: 'flowEnd',
    provoke: async (rig) => {
      await rig.answered(PORT);
      await rig.ask({ type: 'flush', transportPort: PORT }, ['flushed']);
    },
  },
  { hook: 'message', provoke: (rig) => rig.send({ type: 'plugin-message', plugin: 'hanging', body: 'x' }) },
  {
    hook: 'commit',
    named: 'the commit of configure',
    provoke: (rig) => rig.apply([hanging('commit', 'spin', { revision: 1 }, 9)]),
  },
];

const skip = process.getuid?.() === 0 ? false : 'needs root';

describe('a plugin that hangs', { skip }, () => {
  for (const { hook, named = hook, provoke, port = PORT, change } of CASES) {
    it(`in ${named} is tripped by name, and flows go on`, async (t) => {
      const first = hook === 'commit' ? hanging('nowhere') : hanging(hook, 'spin', {}, port);
      const rig = await rigFor(t, [first]);
      if (change !== undefined) await rig.apply([first], change);
      const { pid } = rig.child!;
      const end = await rig.ping(100);
      await eventually('a flow is there', async () => (await rig.status()).flows > 0);
      await provoke(rig);
      const plugin = await eventually('the plugin is tripped', () => tripped(rig));
      const report = await end();
      t.diagnostic(
        `hang in ${named}: longest round trip ${report.rttMs.max} ms, median ${report.rttMs.median} ms, ` +
          `${report.received} of ${report.sent} answered`,
      );
      assert.equal(plugin.name, 'hanging');
      assert.equal(plugin.tripped!.cause, 'timeout');
      assert.match(plugin.tripped!.message, new RegExp(`^its ${named} did not return within \\d+ ms$`));
      assert.equal(plugin.failuresByCause.timeout, 1);
      const told = rig.said.filter((message) => message.type === 'plugin-failed');
      assert.deepEqual(told, [
        {
          type: 'plugin-failed',
          plugin: 'hanging',
          cause: 'timeout',
          action: 'pass-flow',
          message: plugin.tripped!.message,
          tripped: true,
        },
      ]);
      assert.equal(rig.child!.pid, pid);
      assert.equal(rig.child!.exitCode, null);
      // The packet in which it happened is dropped. Between bursts it takes longer, and nobody waits for late answers for ever.
      if (hook === 'ingressChanged') assert.equal(report.received, report.sent - 1);
      else if (hook !== 'commit' && hook !== 'message') assert.equal(report.received, report.sent);
      const later = await rig.answered();
      assert.ok(later.received > 0);
      const { flows } = await rig.status();
      assert.ok(flows >= 1);
      const { flows: flushed } = await rig.ask({ type: 'flush' }, ['flushed']);
      assert.equal(flushed, flows);
      assert.equal((await rig.status()).flows, 0);
    });
  }

  it('in exportState, when its code is changed, loses its own state only', async (t) => {
    const rig = await rigFor(t, [hanging('exportState')]);
    const end = await rig.ping(100);
    await eventually('a flow is there', async () => (await rig.status()).flows > 0);
    await rig.apply([hanging('nowhere', 'spin', { version: '1.0.0', revision: 1, manifest: copyOf(t) })]);
    const report = await end();
    t.diagnostic(`hang in exportState: longest round trip ${report.rttMs.max} ms`);
    assert.equal(report.received, report.sent);
    assert.deepEqual(
      (await rig.status()).plugins.map(({ state }) => state),
      ['running', 'running'],
    );
  });

  it('in exportState at a stop keeps nobody from stopping in order', async (t) => {
    const rig = await rigFor(t, [hanging('exportState')]);
    assert.equal(await rig.stop(), 0);
  });

  for (const deed of ['log', 'send', 'count', 'answer', 'regex'] as const) {
    it(`in a loop over what it was given (${deed}) leaves that whole`, async (t) => {
      const rig = await rigFor(t, [hanging('packet', deed)]);
      const end = await rig.ping(100);
      await (await rig.ping(50, PORT))();
      const plugin = await eventually('the plugin is tripped', () => tripped(rig));
      assert.equal(plugin.name, 'hanging');
      const report = await end();
      t.diagnostic(`hang in ${deed}: longest round trip ${report.rttMs.max} ms`);
      assert.equal(report.received, report.sent);
      // What was said is whole, or control would have been cut off.
      for (let at = 0; at < 3; at++) assert.equal((await rig.status()).plugins.length, 2);
      const rounds = rig.said.flatMap((message) =>
        message.type === 'plugin-message' ? [(message.body as { round: number }).round] : [],
      );
      assert.deepEqual(
        rounds,
        rounds.map((_, at) => at),
      );
      if (deed === 'send') assert.ok(rounds.length > 0);
    });
  }
});
