/** What children of control find in their environment. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { childEnvironment } from './child-environment.ts';

test('what a child needs is handed on, and nothing else: secrets may stand in the environment', () => {
  const own = {
    PATH: '/usr/sbin:/usr/bin',
    LANG: 'de_DE.UTF-8',
    TZ: 'Europe/Paris',
    NODE_OPTIONS: '--max-old-space-size=128',
    HOMEWARD_PATIENCE: '20',
    HOMEWARD_PLUGIN_FAULTS: 'firewall:exception',
  };
  const secrets = { PSK: 'a', HOMEWARD_PSK: 'b', NODE_SECRET: 'c', LC_SECRET: 'd' };
  assert.deepEqual(childEnvironment({ ...own, ...secrets }), own);
});
