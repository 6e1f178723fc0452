import assert from 'node:assert/strict';
import { it } from 'node:test';
import { memoryPlan } from '../../test/support/memory-gateway.ts';
import { topologyOf } from './plugin-topology.ts';

it('says which ports and spaces have which names', () => {
  const plan = memoryPlan({
    sites: [
      { name: 'paris', prefixes: ['10.0.1.0/24'], tunnels: [{ name: 'paris-a' }, { name: 'paris-b' }] },
    ],
    egress: [{ name: 'internet', pools: [{ address: '192.0.2.1' }] }],
    maxFlows: 2048,
  });
  assert.deepEqual(topologyOf(plan), {
    ports: [
      { index: 1, generation: 1, name: 'paris-a', kind: 'tunnel', site: 'paris', space: 1 },
      { index: 2, generation: 1, name: 'paris-b', kind: 'tunnel', site: 'paris', space: 1 },
      { index: 3, generation: 1, name: 'internet', kind: 'egress', site: undefined, space: 2 },
    ],
    spaces: [
      { id: 1, site: 'paris', prefixes: ['10.0.1.0/24'] },
      { id: 2, site: undefined, prefixes: [] },
    ],
    maxFlows: 2048,
  });
});
