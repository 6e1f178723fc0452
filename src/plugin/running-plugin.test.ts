import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  describeRunning,
  HOOK_FLOW_END,
  HOOK_FLOW_SETUP,
  HOOK_PACKET,
  runningWord,
} from './running-plugin.ts';

test('a word names plugin and hook', () => {
  const names = ['firewall', 'return-routing'];
  assert.equal(describeRunning(0, names), undefined);
  assert.equal(describeRunning(runningWord(0, HOOK_FLOW_SETUP), names), 'plugin firewall (flowSetup)');
  assert.equal(describeRunning(runningWord(1, HOOK_FLOW_END), names), 'plugin return-routing (flowEnd)');
  assert.equal(describeRunning(runningWord(15, HOOK_PACKET), undefined), 'plugin number 16 (packet)');
  assert.equal(describeRunning(-1, names), 'plugin number 255 (unknown hook)');
});
