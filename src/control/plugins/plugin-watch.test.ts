/** What was last heard of plugins, and what is said of those that are out of use. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXAMPLE_STATUS } from '../../../test/fixtures/example-status.ts';
import { PluginWatch, trippedPlugins } from './plugin-watch.ts';

const RUNNING = EXAMPLE_STATUS.plugins[0]!;

test('the last answer counts, and none while nobody answers', async (t) => {
  const answers = [[RUNNING], undefined, [RUNNING, RUNNING]];
  const watch = new PluginWatch(async () => answers.shift());
  t.after(() => watch.stop());
  assert.deepEqual(watch.statuses, []);
  await watch.look();
  assert.equal(watch.statuses.length, 1);
  await watch.look();
  assert.equal(watch.statuses.length, 0);
  // Two looks at a time are one question.
  await Promise.all([watch.look(), watch.look()]);
  assert.equal(watch.statuses.length, 2);
});

test('a tripped plugin is a problem that says what to do', () => {
  const tripped = { cause: 'timeout', message: 'flowSetup did not return' } as const;
  const problems = trippedPlugins([RUNNING, { ...RUNNING, name: 'limiter', state: 'tripped', tripped }]);
  assert.deepEqual(problems, [
    'plugin limiter is out of use since it failed (timeout: flowSetup did not return); its failure policy stands for it until "homeward plugins enable limiter" or "reload limiter"',
  ]);
});
