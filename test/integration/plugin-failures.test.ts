/**
 * Plugins that fail in a real data plane, under load: what a hang costs the flows of others, what becomes of its own.
 *
 * The times are printed: a plugin is ended after 200 ms of its own processor time, so that on a machine that others use
 * it takes longer.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { PlanPlugin } from '../../src/pipeline/plan.ts';
import { DataPlaneRig } from '../support/data-plane-rig.ts';
import { eventually } from '../support/patience.ts';
import { ALL_CLOSED, planPlugin } from '../support/plugins.ts';

const MANIFEST = 'test/fixtures/wayward-plugin/manifest.json';
const WATCHED = 7001;
const HANGS = 7002;
const HANGS_LATER = 7003;
const PORTS = { [WATCHED]: 'watch', [HANGS]: 'hang', [HANGS_LATER]: 'hang-in-packet' };

function wayward(rest: Partial<PlanPlugin> = {}, options: object = { ports: PORTS }): PlanPlugin {
  return planPlugin(MANIFEST, options, { name: 'wayward', version: '1.0.0', ...rest });
}

async function rigFor(t: TestContext, plugins: readonly PlanPlugin[]): Promise<DataPlaneRig> {
  const rig = await DataPlaneRig.start(plugins, [WATCHED, HANGS, HANGS_LATER]);
  t.after(() => rig.remove());
  return rig;
}

const skip = process.getuid?.() === 0 ? false : 'needs root';

describe('a plugin that hangs', { skip }, () => {
  for (const [hook, port] of [
    ['flowSetup', HANGS],
    ['packet', HANGS_LATER],
  ] as const) {
    it(`in ${hook} is ended and named; flows that it has nothing to do with go on`, async (t) => {
      const rig = await rigFor(t, [wayward()]);
      const { pid } = rig.child!;
      const end = await rig.ping(200);
      await new Promise((resolve) => setTimeout(resolve, 500));
      const before = await rig.status();
      const stuck = await rig.ping(20, port);
      await eventually('the plugin is tripped', async () =>
        (await rig.status()).plugins.some(({ state }) => state === 'tripped'),
      );
      await stuck();
      const report = await end();
      const [plugin] = (await rig.status()).plugins;
      t.diagnostic(
        `hang in ${hook}: longest round trip ${report.rttMs.max} ms, median ${report.rttMs.median} ms, ` +
          `${report.received} of ${report.sent} answered`,
      );
      assert.equal(rig.child!.pid, pid);
      assert.equal(rig.child!.exitCode, null);
      assert.deepEqual(plugin!.tripped, {
        cause: 'timeout',
        message: `its ${hook} did not return within ${200 * Number(process.env.HOMEWARD_PATIENCE ?? 1)} ms`,
      });
      assert.equal(plugin!.failuresByCause.timeout, 1);
      assert.equal(report.received, report.sent);
      assert.ok(before.flows >= 1);
      // Closed: nobody says yes to new flows now.
      assert.equal((await rig.answered()).received, 0);
      // Until it is used again.
      await rig.apply([wayward({ revision: 1 })]);
      const again = await rig.answered();
      assert.equal(again.received, again.sent);
    });
  }

  it('acts by its policy for exceptions from then on: open, if that says so', async (t) => {
    const open = { ...ALL_CLOSED, exception: 'pass-flow' as const };
    const rig = await rigFor(t, [wayward({ failurePolicy: open })]);
    await (await rig.ping(20, HANGS))();
    await eventually('the plugin is tripped', async () =>
      (await rig.status()).plugins.some(({ state }) => state === 'tripped'),
    );
    const report = await rig.answered(HANGS);
    assert.equal(report.received, report.sent);
  });

  it('in configure has the plan refused, and what ran before goes on', async (t) => {
    const rig = await rigFor(t, [wayward()]);
    const end = await rig.ping(50, WATCHED);
    await assert.rejects(
      rig.apply([wayward({}, { hangsInConfigure: true })]),
      /^Error: plugin wayward: its configure did not return within \d+ ms$/,
    );
    await assert.rejects(
      rig.apply([wayward({ revision: 1, name: 'wayward' }, { hangsInConfigure: true })]),
      /its configure did not return/,
    );
    const [plugin] = (await rig.status()).plugins;
    assert.equal(plugin!.state, 'running');
    const report = await end();
    t.diagnostic(`hang in configure: longest round trip ${report.rttMs.max} ms`);
    assert.equal(report.received, report.sent);
  });

  for (const [anew, why] of [
    [undefined, /^what its options name was read anew and is in force$/],
    ['throw', /^what its options name was read anew, and is not used: file: has nothing in it$/],
    [
      'hang',
      /^what its options name was read anew, and is not used: its configure did not return within \d+ ms$/,
    ],
  ] as const) {
    it(`when a message has it configured anew, runs on (${anew ?? 'in force'})`, async (t) => {
      const rig = await rigFor(t, [wayward({}, { ports: { [WATCHED]: 'drop' }, anew })]);
      rig.send({ type: 'plugin-message', plugin: 'wayward', body: 'anew' });
      await eventually('it is told', () =>
        rig.said.some((message) => message.type === 'log' && why.test(message.msg)),
      );
      const [plugin] = (await rig.status()).plugins;
      assert.deepEqual([plugin!.state, plugin!.failures], ['running', 0]);
      assert.equal((await rig.answered(WATCHED)).received, 0);
      const others = await rig.answered();
      assert.equal(others.received, others.sent);
    });
  }

  it('in a view is ended, and whoever asked is told', async (t) => {
    const rig = await rigFor(t, [wayward()]);
    const ask = (view: string, id: number) =>
      rig.ask({ type: 'plugin-query', id, plugin: 'wayward', view, parameters: { all: true } }, [
        'plugin-answer',
      ]);
    assert.deepEqual((await ask('seen', 1)).result, { seen: 0, heard: [], parameters: { all: true } });
    assert.deepEqual((await ask('none', 2)).error, { kind: 'query', message: 'there is no view none' });
    assert.deepEqual((await ask('throw', 3)).error, {
      kind: 'failed',
      message: 'plugin wayward failed at its view throw: has nothing to show',
    });
    // Two at once: the second is read before the first is ended.
    const [hung, next] = await Promise.all([ask('hang', 4), ask('seen', 5)]);
    assert.equal(hung.id, 4);
    assert.match(hung.error!.message, /out of use since it failed: its query did not return/);
    assert.equal(next.error!.kind, 'unavailable');
  });
});

for (const leak of ['leak', 'leak-buffers']) {
  it(`a plugin that takes more and more memory (${leak}) is tripped before there is none left`, {
    skip,
  }, async (t) => {
    const rig = await DataPlaneRig.start([wayward()], [], {
      HOMEWARD_PLUGIN_FAULTS: `wayward:${leak}`,
      NODE_OPTIONS: '--max-old-space-size=128',
    });
    t.after(() => rig.remove());
    // Thousands of new flows, each of which would keep 32 KiB; no faster than a source may begin them.
    let plugin = (await rig.status()).plugins[0]!;
    for (let round = 1; plugin.state !== 'tripped' && round <= 20; round++) {
      await rig.spread(100, round * 4);
      plugin = (await rig.status()).plugins[0]!;
    }
    t.diagnostic(plugin.tripped!.message);
    assert.equal(plugin.tripped!.cause, 'memory');
    assert.equal(plugin.failuresByCause.memory, 1);
    assert.equal(rig.child!.exitCode, null);
    assert.equal((await rig.status()).plugins[1]!.state, 'running');
  });
}

it('a flow that is held goes on when its control half has decided, or by its default', {
  skip,
}, async (t) => {
  const rig = await rigFor(t, [wayward({}, { ports: { [WATCHED]: 'hold' }, holdMs: 5000 })]);
  const end = await rig.ping(20, WATCHED);
  const held = await eventually('the data half asks', () =>
    rig.said.flatMap((message) => (message.type === 'plugin-message' ? [message.body] : [])).at(0),
  );
  const holdToken = (held as { held: number }).held;
  assert.equal((await rig.status()).plugins[0]!.held, 1);
  assert.equal((await rig.status()).flows, 0);
  rig.send({ type: 'plugin-decide', plugin: 'wayward', holdToken, verdict: 'accept', reason: 'known' });
  await eventually('the flow is there', async () => (await rig.status()).flows === 1);
  const report = await end();
  assert.ok(report.received > 0);
  const [plugin] = (await rig.status()).plugins;
  assert.equal(plugin!.held, 0);
  assert.equal(plugin!.failures, 0);
});

it('hands messages on, in their order', { skip }, async (t) => {
  const rig = await rigFor(t, [wayward()]);
  for (let n = 0; n < 20; n++) rig.send({ type: 'plugin-message', plugin: 'wayward', body: { n } });
  await eventually(
    'all have been answered',
    () => rig.said.filter(({ type }) => type === 'plugin-message').length === 20,
  );
  assert.deepEqual(
    rig.said.flatMap((message) => (message.type === 'plugin-message' ? [message.body] : [])),
    Array.from({ length: 20 }, (_, n) => ({ echo: { n } })),
  );
});

it('keeps the state of plugins over an orderly stop; flows whose state is lost are midstream', {
  skip,
}, async (t) => {
  const open = { ...ALL_CLOSED, midstream: 'pass-packet' as const };
  const plugins = [wayward({ failurePolicy: open })];
  const rig = await rigFor(t, plugins);
  const end = await rig.ping(50, WATCHED);
  await eventually('some packets were seen', async () => {
    const answer = await rig.ask(
      { type: 'plugin-query', id: 1, plugin: 'wayward', view: 'seen', parameters: null },
      ['plugin-answer'],
    );
    return (answer.result as { seen: number }).seen > 20;
  });
  assert.equal(await rig.stop(), 0);
  await rig.startProcess();
  await rig.apply(plugins);
  rig.connect();
  await eventually('its packets are seen again', async () => {
    const [plugin] = (await rig.status()).plugins;
    return plugin!.failuresByCause.midstream === 1;
  });
  const answer = await rig.ask(
    { type: 'plugin-query', id: 2, plugin: 'wayward', view: 'seen', parameters: null },
    ['plugin-answer'],
  );
  assert.ok((answer.result as { seen: number }).seen > 20);
  await end();
});
