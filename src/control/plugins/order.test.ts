/** Plugins in order: as written, constraints kept, cycles named. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Ordered, orderPlugins } from './order.ts';

const SEED = 20_260_501;

function plugin(name: string, rest: Partial<Ordered> = {}): Ordered {
  return { name, phase: 'policy', runsBefore: [], runsAfter: [], ...rest };
}

function namesOf(plugins: readonly Ordered[]): string[] {
  const ordering = orderPlugins(plugins);
  assert.ok('order' in ordering, JSON.stringify(ordering));
  return ordering.order.map((at) => plugins[at]!.name);
}

test('plugins that nothing orders stay as they are written', () => {
  assert.deepEqual(namesOf([plugin('b'), plugin('a'), plugin('c')]), ['b', 'a', 'c']);
});

test('constraints move as little as possible', () => {
  assert.deepEqual(namesOf([plugin('a', { runsAfter: ['c'] }), plugin('b'), plugin('c')]), ['b', 'c', 'a']);
  assert.deepEqual(namesOf([plugin('a'), plugin('b'), plugin('c', { runsBefore: ['b'] })]), ['a', 'c', 'b']);
});

test('names that are not there demand nothing', () => {
  assert.deepEqual(namesOf([plugin('a', { runsAfter: ['z'] }), plugin('b')]), ['a', 'b']);
});

test('policy comes before routing, wherever it is written', () => {
  assert.deepEqual(namesOf([plugin('r', { phase: 'routing' }), plugin('a'), plugin('b')]), ['a', 'b', 'r']);
});

test('a cycle is told by its members alone, each before the next', () => {
  const plugins = [
    plugin('first'),
    plugin('a', { runsBefore: ['b'] }),
    plugin('b', { runsBefore: ['c'] }),
    plugin('c', { runsBefore: ['a', 'last'] }),
    plugin('last'),
  ];
  const ordering = orderPlugins(plugins);
  assert.ok('cycle' in ordering);
  assert.deepEqual([...ordering.cycle].sort(), ['a', 'b', 'c']);
  assert.match(`${ordering.cycle.join('')}${ordering.cycle.join('')}`, /abc/);
});

test('a policy plugin cannot run after a routing plugin', () => {
  const plugins = [plugin('a', { runsAfter: ['r'] }), plugin('r', { phase: 'routing' })];
  assert.deepEqual(orderPlugins(plugins), { cycle: ['r', 'a'] });
});

test('whatever the constraints: all of them hold, or there is a cycle whose links are constraints', () => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  const some = fc.subarray(names, { maxLength: 2 });
  const plugins = fc.tuple(
    ...names.map((name) =>
      fc.record<Ordered>({
        name: fc.constant(name),
        phase: fc.constantFrom('policy', 'routing'),
        runsBefore: some.map((list) => list.filter((other) => other !== name)),
        runsAfter: some.map((list) => list.filter((other) => other !== name)),
      }),
    ),
  );
  fc.assert(
    fc.property(plugins, (list) => {
      const runsBefore = (one: Ordered, other: Ordered): boolean =>
        one.runsBefore.includes(other.name) ||
        other.runsAfter.includes(one.name) ||
        (one.phase === 'policy' && other.phase === 'routing');
      const byName = (name: string): Ordered => list.find((one) => one.name === name)!;
      const ordering = orderPlugins(list);
      if ('cycle' in ordering) {
        ordering.cycle.forEach((name, at) => {
          const next = ordering.cycle[(at + 1) % ordering.cycle.length]!;
          assert.ok(runsBefore(byName(name), byName(next)), `${name} before ${next}`);
        });
        return;
      }
      assert.deepEqual([...ordering.order].sort(), [0, 1, 2, 3, 4]);
      ordering.order.forEach((at, place) => {
        for (const later of ordering.order.slice(place + 1)) {
          assert.equal(runsBefore(list[later]!, list[at]!), false);
        }
      });
    }),
    { seed: SEED, numRuns: 300 },
  );
});
