/** What plugins may say to control at once: bounded, so that the connection lasts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pluginFolder } from '../../test/support/plugin-folder.ts';
import { planPlugin } from '../../test/support/plugins.ts';
import { RunningPlugin } from '../plugin/running-plugin.ts';
import type { DataPlaneMessage } from './messages.ts';
import { PluginCalls } from './plugin-calls.ts';
import { PluginDesk } from './plugin-desk.ts';
import { PluginInstances } from './plugin-instances.ts';
import type { PluginAnswerMessage } from './plugin-messages.ts';

const MIB = 1024 * 1024;

function desk(): {
  desk: PluginDesk;
  control: { backlogBytes: number };
  sent: DataPlaneMessage[];
  calls: PluginCalls;
} {
  const sent: DataPlaneMessage[] = [];
  const control = {
    connected: true,
    backlogBytes: 0,
    send: (message: DataPlaneMessage) => sent.push(message),
  };
  const calls = new PluginCalls(new RunningPlugin(new Int32Array(1), new Int32Array(1)));
  return { desk: new PluginDesk(control, calls, () => {}), control, sent, calls };
}

test('a message of more than a mebibyte is not taken, nor one that is no JSON', () => {
  const { desk: tested, sent } = desk();
  assert.equal(tested.take('probe', 'a'.repeat(MIB)), false);
  assert.equal(tested.take('probe', 'ä'.repeat(MIB / 2)), false, 'bytes, not characters');
  assert.equal(tested.take('probe', 1n as never), false);
  assert.equal(tested.take('probe', undefined as never), false);
  assert.equal(tested.take('probe', 'a'.repeat(MIB - 2)), true);
  tested.flush();
  assert.equal(sent.length, 1);
});

test('what waits of one plugin is bounded in bytes, and leaves the others room', () => {
  const { desk: tested, sent } = desk();
  const body = 'a'.repeat(MIB / 4 - 2);
  const taken = Array.from({ length: 6 }, () => tested.take('probe', body));
  assert.deepEqual(taken, [true, true, true, true, false, false]);
  assert.equal(tested.take('other', body), true);
  tested.flush();
  assert.equal(sent.length, 5);
  assert.equal(tested.take('probe', body), true, 'room again');
});

test('an answer that control could not take is refused by name', (t) => {
  const folder = pluginFolder(t, {
    manifest: { phase: 'routing' },
    files: {
      'data.ts': `export const createDataHalf = () => ({
        configure: () => () => {},
        flowSetup: () => 0,
        query: (view, bytes) => view === 'odd' ? 1n : 'a'.repeat(bytes),
      });`,
    },
  });
  const { desk: tested, control, sent, calls } = desk();
  const instances = new PluginInstances({ nowMs: () => 0, log: () => {}, send: () => false }, calls);
  const plugin = { ...planPlugin('.', {}, { name: 'probe' }), manifest: `${folder}/manifest.json` };
  instances.commit(instances.prepare([plugin], { ports: [], spaces: [], maxFlows: 1024 }), () => {});
  const ask = (view: string, bytes: number): PluginAnswerMessage => {
    tested.answer(
      { type: 'plugin-query', id: 7, plugin: 'probe', view, parameters: bytes },
      instances,
      undefined,
    );
    const answer = sent.pop();
    assert.ok(answer?.type === 'plugin-answer' && answer.id === 7);
    return answer;
  };
  assert.equal((ask('text', 1000).result as string).length, 1000);
  const large = ask('text', 2 * MIB);
  assert.equal(large.result, null);
  assert.equal(large.error?.kind, 'failed');
  assert.match(
    large.error.message,
    /^plugin probe answers its view text with 20971\d\d bytes, more than 1048576; ask for less$/,
  );
  assert.match(
    ask('odd', 0).error?.message ?? '',
    /^plugin probe answers its view odd with what is no JSON: /,
  );
  control.backlogBytes = 3 * MIB;
  assert.deepEqual(ask('text', 1000).error, {
    kind: 'unavailable',
    message: 'control has not taken earlier answers yet; ask again',
  });
});

test('a failure is told when it is news, and a trip always', () => {
  const { desk: tested, sent } = desk();
  const plugin = {
    name: 'probe',
    phase: 'policy',
    half: {},
    failurePolicy: { exception: 'pass-flow' },
  } as never;
  const fail = (cause: number, nowMs: number, trips = false): void =>
    tested.failed(plugin, { cause, error: 'oh', trips }, nowMs);
  fail(0, 0);
  fail(0, 30_000);
  fail(0, 89_000);
  fail(1, 89_000);
  fail(0, 149_000);
  fail(0, 149_001, true);
  assert.deepEqual(
    sent.map((message) =>
      message.type === 'plugin-failed' ? [message.cause, message.action, message.tripped] : [],
    ),
    [
      ['exception', 'pass-flow', false],
      ['timeout', 'drop-flow', false],
      ['exception', 'pass-flow', false],
      ['exception', 'pass-flow', true],
    ],
  );
});
