import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Plan } from './plan.ts';
import { PENALTY_DEGRADED, PENALTY_DOWN, PortTable, portIndex } from './port-table.ts';

function tableOf(
  ports: { index: number; space: number; priority?: number; enabled?: boolean; generation?: number }[],
  down: number[] = [],
): PortTable {
  const plan = {
    spaces: [],
    ports: ports.map((port) => ({
      enabled: true,
      name: `t${port.index}`,
      generation: 1,
      priority: 100,
      role: 'tunnel',
      addresses: [],
      automaticReturnRouting: true,
      ...port,
    })),
  };
  return new PortTable(plan as unknown as Plan, down);
}

describe('port table', () => {
  it('chooses the best priority of the space, equal ones by hash', () => {
    const table = tableOf([
      { index: 1, space: 7, priority: 200 },
      { index: 2, space: 7, priority: 100 },
      { index: 3, space: 7, priority: 100 },
      { index: 4, space: 8, priority: 1 },
    ]);
    const chosen = new Set(Array.from({ length: 100 }, (_, hash) => table.select(7, hash * 7919)));
    assert.deepEqual([...chosen].sort(), [2, 3]);
    assert.equal(table.select(8, 5), 4);
    assert.equal(table.select(9, 5), -1);
    assert.equal(table.select(7, -12345), table.select(7, -12345));
  });

  it('prefers what carries packets to what is preferred, and takes the last one whatever it does', () => {
    const table = tableOf([
      { index: 1, space: 7, priority: 200 },
      { index: 2, space: 7, priority: 100 },
      { index: 4, space: 8 },
    ]);
    const penalise = (penalties: Record<string, number>): void =>
      table.setPenalties(new Map(Object.entries(penalties)));
    penalise({ t2: PENALTY_DEGRADED });
    assert.equal(table.select(7, 0), 1);
    penalise({ t2: PENALTY_DEGRADED, t1: PENALTY_DOWN, t4: PENALTY_DOWN });
    assert.equal(table.select(7, 0), 2);
    assert.equal(table.select(8, 0), 4);
    table.setUp(2, false);
    assert.equal(table.select(7, 0), 1);
    penalise({});
    table.setUp(2, true);
    assert.equal(table.select(7, 0), 2);
  });

  it('falls to the next priority of the same space, and never to another space', () => {
    const table = tableOf([
      { index: 1, space: 7, priority: 200 },
      { index: 2, space: 7, priority: 100 },
      { index: 4, space: 8 },
    ]);
    table.setUp(2, false);
    assert.equal(table.select(7, 0), 1);
    table.setUp(1, false);
    assert.equal(table.select(7, 0), -1);
    table.setUp(2, true);
    assert.equal(table.select(7, 0), 2);
  });

  it('has a word only for ports that can be used, with the generation in it', () => {
    const table = tableOf(
      [
        { index: 1, space: 7, generation: 40_000 },
        { index: 2, space: 7, enabled: false },
        { index: 3, space: 7 },
      ],
      [3],
    );
    assert.equal(portIndex(table.wordOf[1]), 1);
    assert.equal(table.wordOf[1] >>> 16, 40_000);
    assert.equal(table.wordOf[2], 0);
    assert.equal(table.wordOf[3], 0);
    assert.equal(table.spaceOf[2], 7);
  });
});
