/** The main job as a test: sites with the very same addresses send the very same five-tuples at the same time. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assertComplete, assertNoLeak, labOptions, useNetwork } from './lab-test.ts';
import type { NetworkSpec } from './sites.ts';
import { identicalFlows, runFlows } from './traffic.ts';

const DESTINATIONS = ['datacenter', 'internet'];

/**
 * Defines the tests of one network: every message is answered once, and nothing is delivered to anybody that is
 * not theirs. `exchanges` are the messages of a flow.
 */
export function answersEverySite(title: string, spec: NetworkSpec, exchanges: number): void {
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
