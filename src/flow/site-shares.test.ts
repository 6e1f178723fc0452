import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { guaranteeOf, SiteShares } from './site-shares.ts';

const SITES = [1, 2, 3];
const OTHER = 9;

test('a site gets its guarantee whatever the others take', () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 200 }),
      fc.array(
        fc.record({
          space: fc.constantFrom(...SITES, OTHER),
          gives: fc.nat({ max: 3 }),
          amount: fc.integer({ min: 1, max: 9 }),
        }),
        { maxLength: 400 },
      ),
      (total, steps) => {
        const shares = new SiteShares();
        shares.configure(total, SITES);
        const used = new Map<number, number>();
        for (const { space, gives, amount } of steps) {
          const before = used.get(space) ?? 0;
          if (gives === 0 && before > 0) {
            shares.add(space, -1);
            used.set(space, before - 1);
          } else if (shares.mayTake(space, amount)) {
            shares.add(space, amount);
            used.set(space, before + amount);
          } else {
            assert.ok(
              space === OTHER || before + amount > guaranteeOf(total, SITES.length),
              `${space} has ${before}`,
            );
          }
          const taken = [...used.values()].reduce((sum, one) => sum + one, 0);
          assert.ok(taken <= total, `${taken} of ${total}`);
          assert.equal(shares.usedBy(space), used.get(space) ?? 0);
        }
      },
    ),
    { seed: 31, numRuns: 300 },
  );
});

test('one site alone gets everything; of two each half', () => {
  const take = (shares: SiteShares, space: number): number => {
    let taken = 0;
    for (; shares.mayTake(space); taken++) shares.add(space, 1);
    return taken;
  };
  const alone = new SiteShares();
  alone.configure(100, [1]);
  assert.equal(take(alone, OTHER), 50, 'who is no site leaves it what it is owed');
  assert.equal(take(alone, 1), 50);
  const three = new SiteShares();
  three.configure(120, SITES);
  assert.deepEqual([take(three, 1), take(three, 2), take(three, 3)], [80, 20, 20]);
});

test('sites that come and go change what the others are owed', () => {
  const shares = new SiteShares();
  shares.configure(100, [1]);
  for (let i = 0; i < 100; i++) shares.add(1, 1);
  shares.configure(100, [1, 2]);
  assert.equal(shares.mayTake(2), false, 'nothing is free');
  shares.add(1, -1);
  assert.equal(shares.mayTake(1), false, 'what is free is owed to the other');
  assert.equal(shares.mayTake(2), true);
  shares.configure(100, [1]);
  assert.equal(shares.mayTake(1), true);
  shares.clear();
  assert.equal(shares.usedBy(1), 0);
  assert.equal(shares.mayTake(1), true);
});
