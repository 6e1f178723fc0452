/** So many at a time, in their order, whatever becomes of them. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Gate } from './gate.ts';

it('lets so many pass at a time, also behind one that failed', async () => {
  const gate = new Gate(2);
  const begun: number[] = [];
  const ends: PromiseWithResolvers<void>[] = [];
  const jobs = [0, 1, 2, 3].map((at) => {
    ends[at] = Promise.withResolvers();
    return gate.pass(() => {
      begun.push(at);
      return ends[at]!.promise;
    });
  });
  const settled = Promise.allSettled(jobs);
  assert.deepEqual(begun, [0, 1]);
  ends[1]!.reject(new Error('no'));
  await assert.rejects(jobs[1]!, /no/);
  assert.deepEqual(begun, [0, 1, 2]);
  ends[0]!.resolve();
  await jobs[0];
  assert.deepEqual(begun, [0, 1, 2, 3]);
  for (const at of [2, 3]) ends[at]!.resolve();
  await settled;
  assert.equal(await gate.pass(async () => 'done'), 'done');
});
