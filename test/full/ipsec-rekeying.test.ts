/** IKE and child SAs that both ends rekey every twenty seconds, under load: nothing is lost, and nothing goes astray. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ipsecObstacle } from '../support/ipsec-peer.ts';
import { IpsecRig } from '../support/lab/ipsec-rig.ts';
import { assertComplete, labOptions, useNetwork } from '../support/lab/lab-test.ts';
import type { IpsecSiteOptions } from '../support/lab/sites.ts';

const EVERY = '20s';
const DURATION_MS = 65_000;

const ipsec: IpsecSiteOptions = {
  ike: { rekey: EVERY },
  child: { rekey: EVERY },
  peer: { connection: `rekey_time = ${EVERY}`, child: `rekey_time = ${EVERY}` },
};

const skip = ipsecObstacle();
describe('IPsec tunnels that are rekeyed by both ends', skip === undefined ? labOptions() : { skip }, () => {
  const test = useNetwork({
    sites: [
      { name: 'paris', attachment: 'ipsec', ipsec },
      { name: 'lyon', attachment: 'ipsec', ipsec },
    ],
  });
  const rig = new IpsecRig(test);

  it('lose nothing', async (t) => {
    const run = await rig.startFlows({ kinds: ['tcp', 'udp', 'icmp'], intervalMs: 20 });
    await new Promise((resolve) => setTimeout(resolve, DURATION_MS));
    const outcomes = await rig.assertSurvived(t, run);
    await assertComplete(test.network, outcomes);
    for (const site of test.sites) {
      const name = test.network.tunnelName(site);
      const { stdout } = await test.network.gateway.command('tunnels', 'show', name, '--json');
      const { rekeyings } = JSON.parse(stdout).ipsec;
      t.diagnostic(`${site}: ${rekeyings.ike} rekeyings of IKE SAs, ${rekeyings.child} of child SAs`);
      assert.ok(rekeyings.ike >= 3 && rekeyings.child >= 3);
    }
    await rig.assertSealed();
  });
});
