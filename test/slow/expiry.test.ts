/**
 * The real time-outs, waited for: flows end, their tuples and external ports are held, and the same five-tuples
 * are sent again by another site first. Ten minutes, nearly all of them asleep.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assertComplete, assertNoLeak, labOptions, useNetwork } from '../support/lab/lab-test.ts';
import { identicalFlows, runFlows } from '../support/lab/traffic.ts';
import { eventually } from '../support/patience.ts';

/** The longest of what the flows here wait for: UDP that was answered (RFC 4787, REQ-5), and a sweep's delay. */
const LONGEST_TIMEOUT_MS = 330_000;

describe('flows that expire by the real time-outs', labOptions(), () => {
  const test = useNetwork({
    sites: [
      { name: 'paris', attachment: 'gre' },
      { name: 'lyon', attachment: 'on-link' },
      { name: 'nice', attachment: 'next-hop' },
    ],
  });

  async function send(first: number): Promise<void> {
    const { network, experiment, sites } = test;
    const flows = identicalFlows(network, experiment.tokens, {
      from: [...sites.slice(first), ...sites.slice(0, first)],
      to: ['internet', 'datacenter'],
      count: 3,
      intervalMs: 5,
      firstPort: 25_000,
    });
    await assertComplete(network, await runFlows(network, flows));
    await assertNoLeak(experiment);
  }

  async function expire(): Promise<number> {
    const begin = performance.now();
    await eventually(
      'all flows have ended',
      async () => (await test.network.gateway.status())?.flows?.current === 0,
      LONGEST_TIMEOUT_MS,
    );
    return performance.now() - begin;
  }

  for (let round = 0; round < 3; round++) {
    it(`the same five-tuples, site ${round} first`, async (t) => {
      await send(round);
      const { flows } = (await test.network.gateway.status())!;
      assert.ok(flows !== null && flows.current > 0, 'no flow was remembered');
      // After the last one nobody looks any more.
      if (round === 2) return;
      t.diagnostic(`${flows.current} flows have ended after ${Math.round((await expire()) / 1000)} s`);
      // Hosts have forgotten path MTUs, too.
      await test.experiment.warmUp(test.sites);
    });
  }
});
