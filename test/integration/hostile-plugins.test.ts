/**
 * What the author of a plugin may do, by mistake or not, that the platform keeps from harming others: the data plane goes on,
 * and says what was wrong.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { PlanPlugin } from '../../src/pipeline/plan.ts';
import { DataPlaneRig } from '../support/data-plane-rig.ts';
import { eventually } from '../support/patience.ts';
import { pluginFolder } from '../support/plugin-folder.ts';
import { ALL_CLOSED } from '../support/plugins.ts';

const PORT = 7001;

/** A plugin whose code is these lines: at its loading, and in `flowSetup` of a flow to {@link PORT}. */
function plugin(t: TestContext, { load = '', setup = '', message = '' }): PlanPlugin {
  const folder = pluginFolder(t, {
    files: {
      'data.ts': `import { VERDICT_CONTINUE } from 'homeward/plugin';
export const createDataHalf = (environment: any): any => {
  ${load};
  return {
    configure: () => () => {},
    flowSetup(packet: any, flow: any) {
      if (packet.destinationPort === ${PORT}) { ${setup}; }
      return VERDICT_CONTINUE;
    },
    message(body: any) { ${message}; },
  };
};
`,
    },
  });
  return {
    name: 'probe',
    manifest: `${folder}/manifest.json`,
    version: '1.0.0',
    options: {},
    failurePolicy: { ...ALL_CLOSED, exception: 'pass-flow' },
    ports: 'all',
    revision: 0,
  };
}

const AT_LOADING: readonly (readonly [string, string, RegExp])[] = [
  ['process.exit', 'process.exit(3)', /a data half may not call process\.exit/],
  ['process.on', `process.on('SIGINT', () => {})`, /a data half may not call process\.on/],
  ['process.kill', `process.kill(process.pid, 'SIGKILL')`, /a data half may not call process\.kill/],
  ['setInterval', 'setInterval(() => {}, 10)', /a data half has no setInterval/],
  ['Array.prototype.push', 'Array.prototype.push = () => 0', /it changes Array\.prototype\.push,/],
  ['Object.prototype', '(Object.prototype as any).extra = 1', /it changes Object\.prototype\.extra,/],
  ['Date', 'globalThis.Date = class {} as any', /it changes globalThis\.Date,/],
  ['Map.prototype.get', 'delete (Map.prototype as any).get', /it changes Map\.prototype\.get,/],
  ['a counter without a name', `environment.counter('')`, /a counter .* cannot be/],
  [
    'a thousand counters',
    'for (let i = 0; i < 1000; i++) environment.counter("c" + i)',
    /it has 256 counters already/,
  ],
  ['a promise', 'throw Promise.reject(new Error("no"))', /plugin probe: /],
];

const IN_CALLS: readonly (readonly [string, string])[] = [
  ['process.exit', 'process.exit(3)'],
  ['process.abort', 'process.abort()'],
  ['an unhandled rejection', 'Promise.reject(new Error("no"))'],
  ['microtasks without end', 'const next = () => { Promise.resolve().then(next); }; next()'],
  ['a message of a proxy', 'environment.send(new Proxy({}, { get() { throw new Error("no"); } }))'],
  ['a reason that is no text', 'environment.reason({ toString() { throw new Error("no"); } })'],
  ['a long reason', 'environment.reason("x".repeat(10_000_000))'],
  ['a log line of an object', 'environment.log("shout", { toString() { throw new Error("no"); } })'],
  ['a timer', 'setTimeout(() => {}, 1)'],
  ['frozen handles', 'Object.freeze(environment)'],
];

const skip = process.getuid?.() === 0 ? false : 'needs root';

describe('a hostile plugin', { skip }, () => {
  it('is refused when it is loaded, and what ran before goes on', async (t) => {
    const rig = await DataPlaneRig.start([], [PORT]);
    t.after(() => rig.remove());
    const { pid } = rig.child!;
    for (const [what, load, why] of AT_LOADING) {
      await assert.rejects(rig.apply([plugin(t, { load })]), why, what);
      assert.equal((await rig.status()).plugins.length, 1, what);
    }
    const report = await rig.answered();
    assert.equal(report.received, report.sent);
    assert.equal(rig.child!.pid, pid);
    assert.equal(rig.child!.exitCode, null);
  });

  it('does no harm in a call', async (t) => {
    const rig = await DataPlaneRig.start([], [PORT]);
    t.after(() => rig.remove());
    for (const [what, setup] of IN_CALLS) {
      await rig.apply([plugin(t, { setup })]);
      await rig.answered(PORT);
      const report = await rig.answered();
      assert.equal(report.received, report.sent, what);
      assert.equal(rig.child!.exitCode, null, what);
      await rig.ask({ type: 'flush' }, ['flushed']);
    }
  });

  it('does no harm in a message', async (t) => {
    const rig = await DataPlaneRig.start([plugin(t, { message: 'process.exit(0)' })], [PORT]);
    t.after(() => rig.remove());
    rig.send({ type: 'plugin-message', plugin: 'probe', body: 1 });
    const failure = await eventually('it is told', () =>
      rig.said.find(({ type }) => type === 'plugin-failed'),
    );
    assert.match(JSON.stringify(failure), /a data half may not call process\.exit/);
    assert.equal(rig.child!.exitCode, null);
  });
});
