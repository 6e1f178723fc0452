/**
 * The main job: sites with the very same addresses send the very same five-tuples at the same time, by every
 * kind of tunnel, and every reply comes back to the site that asked, and to no other.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assertComplete, assertNoLeak, labOptions, useNetwork } from '../support/lab/lab-test.ts';
import type { Attachment, NetworkSpec } from '../support/lab/sites.ts';
import { identicalFlows, runFlows } from '../support/lab/traffic.ts';

const DESTINATIONS = ['datacenter', 'internet'];

function manySites(count: number, attachment: Attachment): NetworkSpec['sites'] {
  return Array.from({ length: count }, (_, at) => ({ name: `s${at}`, attachment }));
}

function works(title: string, spec: NetworkSpec, exchanges: number): void {
  describe(title, labOptions(), () => {
    const test = useNetwork(spec);

    it('answers TCP, UDP, ICMP and fragments, to the internet and to the data centre', async () => {
      const flows = identicalFlows(test.network, test.experiment.tokens, {
        from: test.sites,
        to: DESTINATIONS,
        count: exchanges,
      });
      await assertComplete(test.network, await runFlows(test.network, flows));
    });

    it('delivers nothing to anybody that is not theirs', async () => {
      const { delivered } = await assertNoLeak(test.experiment);
      for (const site of test.sites) {
        const counts = delivered[site]!;
        for (const kind of ['tcp', 'udp', 'icmp', 'fragments'] as const) {
          assert.ok(counts[kind] > 0, `${site} was sent no ${kind}`);
        }
      }
    });
  });
}

works(
  'two sites, GRE and interconnect',
  {
    sites: [
      { name: 'paris', attachment: 'gre' },
      { name: 'lyon', attachment: 'on-link' },
    ],
  },
  20,
);

works(
  'every kind of tunnel, a pool of external addresses, a host that does not forward',
  {
    sites: [
      { name: 'paris', attachment: 'gre' },
      { name: 'lyon', attachment: 'on-link' },
      { name: 'nice', attachment: 'next-hop' },
      { name: 'lille', attachment: 'next-hop' },
      { name: 'metz', attachment: 'device' },
      { name: 'brest', attachment: 'gre-peer' },
    ],
    hostForwards: false,
    externalAddresses: ['198.51.100.16/31', '2001:db8:100::16/127'],
  },
  10,
);

works(
  'GRE with checksums and sequence numbers, between homeward and homeward and with another program',
  {
    sites: [
      { name: 'paris', attachment: 'gre' },
      { name: 'brest', attachment: 'gre-peer' },
      { name: 'caen', attachment: 'gre-peer' },
    ],
    gre: { checksum: true, sequence: true },
  },
  10,
);

works('a hundred sites on link', { sites: manySites(100, 'on-link') }, 5);
works('a hundred sites by next hop', { sites: manySites(100, 'next-hop') }, 5);
works('a hundred sites by GRE', { sites: manySites(100, 'gre-peer') }, 5);
