import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  NEIGHBOR_FAILED,
  NEIGHBOR_FREE,
  NEIGHBOR_INCOMPLETE,
  NEIGHBOR_REACHABLE,
  NEIGHBOR_STALE,
  NeighborTable,
} from './neighbor-table.ts';

test('behaves as a plain map under random use', () => {
  const operations = fc.array(
    fc.record({
      kind: fc.constantFrom('insert', 'remove', 'find'),
      device: fc.integer({ min: 0, max: 2 }),
      address: fc.integer({ min: -3, max: 40 }),
    }),
    { maxLength: 200 },
  );
  fc.assert(
    fc.property(operations, fc.integer(), (list, seed) => {
      const table = new NeighborTable(32, seed);
      table.setDevices(3, 3);
      const model = new Map<string, number>();
      const counts = [0, 0, 0];
      for (const { kind, device, address } of list) {
        const name = `${device} ${address}`;
        const found = table.find(device, 0, 0, 0, address);
        assert.equal(found, model.get(name) ?? -1);
        if (kind === 'insert' && found < 0) {
          const entry = table.insert(device, 0, 0, 0, address);
          const isFull = (counts[device] as number) >= table.deviceShare;
          assert.equal(entry >= 0, !isFull);
          if (entry < 0) continue;
          model.set(name, entry);
          counts[device]++;
        } else if (kind === 'remove' && found >= 0) {
          table.remove(found);
          model.delete(name);
          counts[device]--;
        }
        assert.equal(table.count(device), counts[device]);
      }
      const used = [...table.state].filter((state) => state !== NEIGHBOR_FREE).length;
      assert.equal(used, model.size);
    }),
    { seed: 1, numRuns: 200 },
  );
});

test('who was heard last is named first, and only who answered', () => {
  const table = new NeighborTable(32, 1);
  table.setDevices(2, 2);
  const states = [NEIGHBOR_REACHABLE, NEIGHBOR_STALE, NEIGHBOR_INCOMPLETE, NEIGHBOR_REACHABLE];
  const nowMs = -0x7fffffff | 0;
  const entries = states.map((state, at) => {
    const entry = table.insert(at === 3 ? 1 : 0, 0, 0, 0, 10 + at);
    table.state[entry] = state;
    // Across the wrap of the clock.
    table.confirmedAt[entry] = (nowMs - 5000 + at * 1000) | 0;
    return entry;
  });
  assert.deepEqual(table.heardOf(0, nowMs), [entries[1], entries[0]]);
  assert.deepEqual(table.heardOf(1, nowMs), [entries[3]]);
});

test('the same address behind two devices is two neighbours', () => {
  const table = new NeighborTable(32, 1);
  table.setDevices(2, 2);
  const first = table.insert(0, 0, 0, 0, 99);
  const second = table.insert(1, 0, 0, 0, 99);
  assert.notEqual(first, second);
  assert.equal(table.find(0, 0, 0, 0, 99), first);
  assert.equal(table.find(1, 0, 0, 0, 99), second);
});

test('a device that uses up its share pushes out its own entries only, and none in use', () => {
  const table = new NeighborTable(32, 1);
  table.setDevices(2, 2);
  const victim = table.insert(1, 0, 0, 0, 1);
  table.state[victim] = NEIGHBOR_STALE;
  const share = table.deviceShare;
  const entries: number[] = [];
  for (let address = 0; address < share; address++) {
    const entry = table.insert(0, 0, 0, 0, address);
    table.state[entry] = NEIGHBOR_REACHABLE;
    entries.push(entry);
  }
  assert.equal(table.insert(0, 0, 0, 0, 1000), -1);
  assert.equal(table.evictable(0), -1, 'all are in use');
  table.state[entries[5] as number] = NEIGHBOR_FAILED;
  assert.equal(table.evictable(0), entries[5]);
  table.state[entries[5] as number] = NEIGHBOR_INCOMPLETE;
  table.requests[entries[5] as number] = 1;
  assert.equal(table.evictable(0), entries[5], 'was asked for just now: better than none');
  table.state[entries[6] as number] = NEIGHBOR_STALE;
  assert.equal(table.evictable(0), entries[6], 'not the first to go');
  assert.equal(table.find(1, 0, 0, 0, 1), victim);
});
