/** Every tunnel has an id of its own, and keeps it. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { EXAMPLE_FACTS } from '../../../test/fixtures/example-gateway.ts';
import { isOwnId } from '../../tunnel/ipsec/kernel-host.ts';
import type { HostFacts } from '../facts.ts';
import { KernelIdDrafts } from './kernel-ids.ts';

function withIds(ids: Readonly<Record<string, number>>): HostFacts {
  const links = Object.entries(ids).map(([name, interfaceId]) => [
    name,
    { ifindex: 50, kind: 'layer3', mtu: 1400, up: true, interfaceId, addresses: [] },
  ]);
  return { ...EXAMPLE_FACTS, links: { ...EXAMPLE_FACTS.links, ...Object.fromEntries(links) } };
}

const hashed = new KernelIdDrafts(EXAMPLE_FACTS).take('paris');

it('is the same in every process, and ours', () => {
  assert.equal(new KernelIdDrafts(EXAMPLE_FACTS).take('paris', 'x0'), hashed);
  assert.ok(isOwnId(hashed));
});

it("is no other tunnel's, and none of the host's", () => {
  const ids = new KernelIdDrafts(withIds({ other0: hashed, other1: hashed + 2 }));
  assert.deepEqual([ids.take('paris', 'x0'), ids.take('paris', 'x1')], [hashed + 1, hashed + 3]);
  assert.ok(![hashed, hashed + 1, hashed + 2, hashed + 3].includes(ids.take('lyon')));
});

it('stays with its interface, whatever others there are now', () => {
  const ids = new KernelIdDrafts(withIds({ x1: hashed + 1 }));
  assert.equal(ids.take('paris', 'x1'), hashed + 1);
  assert.equal(ids.take('paris', 'x0'), hashed);
});

it('is a new one where the interface has one that is not ours', () => {
  assert.equal(new KernelIdDrafts(withIds({ x0: 7 })).take('paris', 'x0'), hashed);
});
