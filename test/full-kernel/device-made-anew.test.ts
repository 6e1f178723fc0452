/**
 * A site's Ethernet device that is made anew under its name, before control has followed: Linux 6.1 hooks no ingress chain
 * by name, and yet the host neither answers a site's ARP nor takes its packets. Runs in the guest of `scripts/lab`.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { HostSetup } from '../../src/control/compile/host-setup.ts';
import { GUARD_TABLE, guardRules } from '../../src/control/host/guard-rules.ts';
import { INTERCONNECT } from '../fixtures/classifier-cases.ts';
import { NetworkNamespace } from '../support/network-namespace.ts';

const SETUP: HostSetup = { devices: [INTERCONNECT] };
const HOST = '172.20.0.1';
const SITE = '172.20.0.2';

let gateway: NetworkNamespace;
let site: NetworkNamespace;

before(() => {
  gateway = new NetworkNamespace();
  site = new NetworkNamespace();
});
after(async () => {
  for (const namespace of [gateway, site]) await namespace?.remove();
});

/** As a host's own network set-up does it: with an address, and up at once. */
function makeDevice(): void {
  gateway.ip(
    `link add ic0 type veth peer name ic0 netns ${site.name}`,
    `address add ${HOST}/30 dev ic0`,
    'link set ic0 up',
  );
  site.ip(`address add ${SITE}/30 dev ic0`, 'link set ic0 up');
}

/** Whether a neighbour's address is known, after somebody has asked for it. */
async function knows(asking: NetworkNamespace, address: string): Promise<boolean> {
  const { status } = await asking.attempt('ping', ['-c1', '-W1', address]);
  assert.notEqual(status, 0, 'nothing is answered');
  return asking.exec('ip', ['neigh', 'show', address]).includes('lladdr');
}

test('the host answers no ARP of a site before control has followed', async () => {
  makeDevice();
  gateway.nft(guardRules(SETUP, new Set(['ic0']), 'test'));
  assert.deepEqual([await knows(site, HOST), await knows(gateway, SITE)], [false, false]);

  gateway.ip('link del ic0');
  makeDevice();
  assert.doesNotMatch(gateway.exec('nft', ['list', 'table', 'netdev', GUARD_TABLE]), /ic0/);
  assert.deepEqual([await knows(site, HOST), await knows(gateway, SITE)], [false, false]);

  gateway.nft(`delete table arp ${GUARD_TABLE}`);
  assert.equal(await knows(site, HOST), true, 'what keeps it from answering is that table');
});
