import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  describeRunning,
  HOOK_FLOW_END,
  HOOK_FLOW_SETUP,
  HOOK_PACKET,
  RunningPlugin,
  runningHook,
  runningPlace,
  runningWord,
} from './running-plugin.ts';

test('a word names plugin and hook', () => {
  const names = ['firewall', 'return-routing'];
  assert.equal(describeRunning(0, names), undefined);
  assert.equal(describeRunning(runningWord(0, HOOK_FLOW_SETUP), names), 'plugin firewall (flowSetup)');
  assert.equal(describeRunning(runningWord(1, HOOK_FLOW_END), names), 'plugin return-routing (flowEnd)');
  assert.equal(describeRunning(runningWord(15, HOOK_PACKET), undefined), 'plugin number 16 (packet)');
  assert.equal(describeRunning(-1, names), 'a plugin that is being loaded (unknown hook)');
  assert.equal(describeRunning(0x12340000 | runningWord(0, HOOK_PACKET), names), 'plugin firewall (packet)');
});

test('every call has a word of its own, and none is left behind', () => {
  const word = new Int32Array([77]);
  const running = new RunningPlugin(word, new Int32Array(1));
  assert.equal(word[0], 0);
  running.enter(2, HOOK_PACKET);
  const first = word[0];
  assert.equal(runningPlace(first), 2);
  assert.equal(runningHook(first), HOOK_PACKET);
  running.leave();
  assert.equal(word[0], 0);
  running.enter(2, HOOK_PACKET);
  assert.notEqual(word[0], first);
  for (let i = 0; i < 0x10000; i++) running.enter(0, HOOK_FLOW_SETUP);
  assert.equal(describeRunning(word[0], ['a']), 'plugin a (flowSetup)');
});
