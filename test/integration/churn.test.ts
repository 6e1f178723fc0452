/**
 * Tunnels that flap and connections that come and go with the same five-tuples, while other sites with the same
 * addresses go on: nothing that was meant for one site reaches another.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { assertComplete, assertNoLeak, labOptions, useNetwork } from '../support/lab/lab-test.ts';
import {
  describeOutcome,
  type Flow,
  identicalFlows,
  isComplete,
  type Outcome,
  Run,
  runFlows,
} from '../support/lab/traffic.ts';
import { eventually } from '../support/patience.ts';

const ROUNDS = 12;
/** As small as the configuration allows. */
const MAX_FLOWS = 1024;
/** Times eight sites and two destinations: more than the table holds, and what fits when some have ended. */
const TOO_MANY_IDENTIFIERS = 68;
const FEW_IDENTIFIERS = 4;

describe('flapping and churn', labOptions(), () => {
  const test = useNetwork({
    sites: [
      { name: 'paris', attachment: 'gre' },
      { name: 'lyon', attachment: 'on-link' },
      { name: 'nice', attachment: 'on-link' },
      { name: 'lille', attachment: 'next-hop' },
    ],
  });

  /** Runs `disturb` while all sites send, then waits for every flow to go on. */
  async function whileSending(
    t: TestContext,
    firstPort: number,
    disturbed: string,
    disturb: () => Promise<void>,
  ): Promise<void> {
    const { network, experiment, sites } = test;
    const run = await Run.start(
      network,
      identicalFlows(network, experiment.tokens, {
        from: sites,
        to: ['internet', 'datacenter'],
        count: 100_000,
        intervalMs: 25,
        graceMs: 20_000,
        firstPort,
      }),
    );
    await run.answered(3);
    await disturb();
    await run.progressed(await run.outcomes(), 10);
    const outcomes = await run.stop();
    for (const outcome of outcomes) {
      assert.equal(outcome.wrong, 0, describeOutcome(outcome));
      if (outcome.flow.kind === 'tcp') assert.equal(outcome.error, null, describeOutcome(outcome));
    }
    t.diagnostic(
      `longest gap: ${disturbed} ${longestGap(outcomes, disturbed)} ms, others ${longestGap(outcomes)} ms`,
    );
    await assertNoLeak(experiment);

    function longestGap(all: readonly Outcome[], site?: string): number {
      const chosen = all.filter(({ flow }) =>
        site === undefined ? flow.from !== disturbed : flow.from === site,
      );
      return Math.max(...chosen.map(({ longestGapMs }) => longestGapMs));
    }
  }

  it('a link that goes down and up again', async (t) => {
    const { lab } = test;
    await whileSending(t, 22_000, 'lyon', async () => {
      for (let round = 0; round < 3; round++) {
        await lab.ip('lyon', ['link set eth0 down']);
        await lab.ip('lyon', [
          'link set eth0 up',
          // The kernel has dropped what stood on the device.
          'addr replace fd00:1::10/64 dev eth0 nodad',
          'route replace 0.0.0.0/0 via 10.0.1.1 dev eth0',
          'route replace ::/0 via fd00:1::1 dev eth0',
        ]);
      }
    });
  });

  it('a device that is removed and made anew', async (t) => {
    const { lab } = test;
    await whileSending(t, 22_100, 'nice', async () => {
      await lab.ip('nice', ['link del eth0']);
      await lab.addLinks([
        [
          { namespace: 'gw', device: 'ic2' },
          { namespace: 'nice', device: 'eth0' },
        ],
      ]);
      await test.experiment.resume('host-nice', 'gw-ic2');
      await lab.ip('nice', [
        'addr add 10.0.1.10/24 dev eth0',
        'addr add fd00:1::10/64 dev eth0 nodad',
        'route add 0.0.0.0/0 via 10.0.1.1 dev eth0',
        'route add ::/0 via fd00:1::1 dev eth0',
      ]);
    });
  });

  it("a GRE site's own gateway that is killed and started anew", async (t) => {
    const siteGateway = test.network.siteGateways.get('paris')!;
    await whileSending(t, 22_200, 'paris', async () => {
      await siteGateway.kill('both');
      await siteGateway.start();
    });
  });

  it('connections that come and go with the same five-tuples', async () => {
    const { network, experiment, sites } = test;
    for (let round = 0; round < ROUNDS; round++) {
      const flows = identicalFlows(network, experiment.tokens, {
        from: sites,
        to: ['internet', 'datacenter'],
        count: 2,
        intervalMs: 5,
        firstPort: 22_300,
      });
      // Another site is first each time.
      const turned = flows.map((_, at) => flows[(at + round) % flows.length]!);
      await assertComplete(network, await runFlows(network, turned));
    }
    await assertNoLeak(experiment);
  });
});

describe('flows that expire', labOptions(), () => {
  const test = useNetwork({
    sites: Array.from({ length: 8 }, (_, at) => ({ name: `s${at}`, attachment: 'on-link' as const })),
    // Small enough to be filled, so that idle flows end within seconds.
    configuration: { flow_table: { max_flows: MAX_FLOWS, per_tunnel: '100%' } },
  });

  /** Echo requests with the same identifiers from all sites, to the internet and to the data centre. */
  function echoes(identifiers: number, firstPort: number): Flow[] {
    const { network, experiment, sites } = test;
    return Array.from({ length: identifiers }, (_, at) =>
      identicalFlows(network, experiment.tokens, {
        from: sites,
        to: ['internet', 'datacenter'],
        families: [4],
        kinds: ['icmp'],
        count: 1,
        graceMs: 1500,
        firstPort: firstPort + 2 * at,
      }),
    ).flat();
  }

  it('a full table refuses by reason, recovers, and leaves tuples to nobody who could get late packets', async (t) => {
    const { network, experiment } = test;
    const { gateway } = network;
    const outcomes = await runFlows(network, echoes(TOO_MANY_IDENTIFIERS, 23_000));
    const answered = outcomes.filter(isComplete).length;
    const status = await gateway.status();
    const refused = (status?.tunnels ?? []).reduce(
      (sum, { drops }) => sum + (drops.table_full ?? 0) + (drops.site_share ?? 0),
      0,
    );
    assert.equal(answered + refused, outcomes.length, `${answered} answered, ${refused} refused`);
    assert.ok(refused > 0);
    // The data centre begins no flows, but its share is kept for it.
    const keptForDatacenter = Math.floor(MAX_FLOWS / 2 / (test.sites.length + 1));
    const room = 2 * test.sites.length * FEW_IDENTIFIERS + keptForDatacenter;
    const left = await eventually(
      'idle flows have ended',
      async () => {
        const current = (await gateway.status())?.flows?.current ?? MAX_FLOWS;
        return current <= MAX_FLOWS - room ? { current } : undefined;
      },
      60_000,
    );
    t.diagnostic(`${answered} answered, ${refused} refused; then ${left.current} flows`);
    await assertComplete(network, await runFlows(network, echoes(FEW_IDENTIFIERS, 24_000)));
    // The same tuples as before, some of flows that have ended, the other way round: another site is first.
    const again = await runFlows(network, echoes(TOO_MANY_IDENTIFIERS, 23_000).toReversed());
    assert.ok(again.every(({ wrong }) => wrong === 0));
    await assertNoLeak(experiment);
  });
});
