/**
 * What a gateway does beside forwarding, each for sites with equal addresses at once: ping, traceroute, path MTU,
 * port forwards, hairpins, and refusing what is ambiguous. What must not answer is asked in the same way.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ICMP_FRAGMENTATION_NEEDED, ICMP_UNREACHABLE } from '../../src/wire/icmp.ts';
import { ICMPV6_PACKET_TOO_BIG } from '../../src/wire/icmpv6.ts';
import { assertComplete, assertNoLeak, labOptions, useNetwork } from '../support/lab/lab-test.ts';
import { SITE_ADDRESSES, SITE_GATEWAY, UPLINK_ADDRESSES } from '../support/lab/sites.ts';
import { type Flow, identicalFlows, isComplete, runFlows } from '../support/lab/traffic.ts';

const FORWARDED_PORT = 8443;
const SERVICE_PORT = 443;
const NARROW_MTU = 1400;

describe('services to sites with equal addresses', labOptions(), () => {
  const test = useNetwork({
    sites: [
      { name: 'paris', attachment: 'gre' },
      { name: 'lyon', attachment: 'on-link' },
      { name: 'nice', attachment: 'next-hop' },
    ],
    portForwards: (['tcp', 'udp'] as const).flatMap((protocol) =>
      SITE_ADDRESSES.map((address, at) => ({
        protocol,
        // TCP is lyon's, UDP is paris's: the same address and port outside.
        address: UPLINK_ADDRESSES[at],
        port: FORWARDED_PORT,
        to: { site: protocol === 'tcp' ? 'lyon' : 'paris', address, port: SERVICE_PORT },
      })),
    ),
  });

  /** Flows as from `identicalFlows`, but to an address and port of our choice. */
  function flowsTo(
    from: readonly string[],
    owner: string,
    kinds: readonly ('tcp' | 'udp' | 'icmp')[],
    addresses: readonly string[],
    destinationPort: number,
    firstPort: number,
  ): Flow[] {
    const flows = identicalFlows(test.network, test.experiment.tokens, {
      from,
      to: [owner],
      kinds,
      firstPort,
    });
    return flows.map((flow) => ({
      ...flow,
      destination: addresses[flow.family === 4 ? 0 : 1]!,
      destinationPort,
      graceMs: 2000,
    }));
  }

  it('answers ping at its own address, to each site for itself', async () => {
    const { network } = test;
    // The next hop router of nice has the gateway's address there.
    const flows = flowsTo(['paris', 'lyon'], 'lyon', ['icmp'], SITE_GATEWAY, 0, 21_000);
    const own = flows.map((flow) => ({ ...flow, token: test.experiment.tokens.issue(flow.from) }));
    await assertComplete(network, await runFlows(network, own));
    await assertNoLeak(test.experiment);
  });

  it('brings "time exceeded" to the site that asked, wherever it comes from', async () => {
    const { network, experiment, sites } = test;
    const before = await experiment.report();
    for (const hopLimit of [1, 2, 3]) {
      const flows = identicalFlows(network, experiment.tokens, {
        from: sites,
        to: ['internet'],
        kinds: ['udp', 'icmp'],
        count: 2,
        graceMs: 500,
        firstPort: 21_100 + hopLimit * 10,
      });
      await runFlows(
        network,
        flows.map((flow) => ({ ...flow, hopLimit })),
      );
    }
    const { delivered } = await assertNoLeak(experiment);
    for (const site of sites) {
      const errors = delivered[site]!.icmpErrors - before.delivered[site]!.icmpErrors;
      assert.ok(errors >= 12, `${site} got ${errors} errors`);
    }
  });

  it('brings "packet too big" to the right site, and TCP goes on', async () => {
    const { network, experiment, sites, lab } = test;
    await lab.ip('net', [`link set srv mtu ${NARROW_MTU}`]);
    await lab.ip('internet', [`link set eth0 mtu ${NARROW_MTU}`]);
    const pattern = { from: sites, to: ['internet'], count: 3 };
    const probes = identicalFlows(network, experiment.tokens, {
      ...pattern,
      kinds: ['udp'],
      size: NARROW_MTU,
      graceMs: 500,
      firstPort: 21_200,
    });
    await runFlows(
      network,
      probes.map((flow) => ({ ...flow, dontFragment: true })),
    );
    for (const site of sites) {
      const frames = await experiment.frames(`host-${site}`, 'in');
      const errors = frames.filter(
        (frame) =>
          frame.what === 'ip' &&
          ((frame.family === 4 &&
            frame.icmpType === ICMP_UNREACHABLE &&
            frame.icmpCode === ICMP_FRAGMENTATION_NEEDED) ||
            (frame.family === 6 && frame.icmpType === ICMPV6_PACKET_TOO_BIG)),
      );
      assert.ok(errors.length >= 2, `${site} was told ${errors.length} times`);
      for (const address of network.host('internet').addresses) {
        const route = await lab.exec(site, 'ip', ['route', 'get', address]);
        assert.match(route, new RegExp(`mtu ${NARROW_MTU}`), site);
      }
    }
    const large = identicalFlows(network, experiment.tokens, {
      ...pattern,
      kinds: ['tcp'],
      size: 20_000,
      firstPort: 21_210,
    });
    await assertComplete(network, await runFlows(network, large));
    await assertNoLeak(experiment);
  });

  it('forwards ports to the site that they name', async () => {
    const { network } = test;
    for (const site of ['paris', 'lyon']) {
      await network.serve(site, 'tcp', SERVICE_PORT);
      await network.serve(site, 'udp', SERVICE_PORT);
    }
    const flows = [
      ...flowsTo(['internet'], 'lyon', ['tcp'], UPLINK_ADDRESSES, FORWARDED_PORT, 21_300),
      ...flowsTo(['internet'], 'paris', ['udp'], UPLINK_ADDRESSES, FORWARDED_PORT, 21_300),
    ];
    await assertComplete(network, await runFlows(network, flows));
    await assertNoLeak(test.experiment);
  });

  it('lets a site use its own forwarded port, and no other site', async () => {
    const { network } = test;
    const own = flowsTo(['lyon'], 'lyon', ['tcp'], UPLINK_ADDRESSES, FORWARDED_PORT, 21_400);
    await assertComplete(network, await runFlows(network, own));
    const others = flowsTo(['nice'], 'nice', ['tcp', 'udp'], UPLINK_ADDRESSES, FORWARDED_PORT, 21_410);
    const outcomes = await runFlows(network, others);
    assert.ok(outcomes.every(({ received }) => received === 0));
    await assertNoLeak(test.experiment);
  });

  it('delivers new flows towards equal addresses to nobody', async () => {
    const { network, experiment } = test;
    const before = await experiment.report();
    const flows = flowsTo(
      ['datacenter'],
      'datacenter',
      ['tcp', 'udp', 'icmp'],
      SITE_ADDRESSES,
      SERVICE_PORT,
      21_500,
    );
    const outcomes = await runFlows(network, flows);
    assert.ok(outcomes.every((outcome) => !isComplete(outcome) && outcome.received === 0));
    const { delivered } = await assertNoLeak(experiment);
    for (const site of test.sites) {
      for (const kind of ['tcp', 'udp', 'icmp'] as const) {
        assert.equal(delivered[site]![kind], before.delivered[site]![kind], `${site} was sent ${kind}`);
      }
    }
  });

  it('is a hop of traceroute, and the destination is reached', async () => {
    const { lab, sites } = test;
    const trace = async (site: string, family: '-4' | '-6', address: string): Promise<string[]> => {
      const args = [family, '-n', '-q', '1', '-w', '2', '-m', '8', address];
      const lines = (await lab.exec(site, 'traceroute', args)).trim().split('\n').slice(1);
      return lines.map((line) => line.trim().split(/\s+/)[1]!);
    };
    const [ipv4, ipv6] = await Promise.all([
      Promise.all(sites.map((site) => trace(site, '-4', '203.0.113.10'))),
      Promise.all(sites.map((site) => trace(site, '-6', '2001:db8:113::10'))),
    ]);
    const outside = ['198.51.100.254', '203.0.113.10'];
    assert.deepEqual(ipv4, [
      ['10.0.1.1', '169.254.240.0', ...outside],
      ['10.0.1.1', ...outside],
      ['10.0.1.1', '172.20.0.1', ...outside],
    ]);
    const outside6 = ['2001:db8:100::ff', '2001:db8:113::10'];
    assert.deepEqual(ipv6, [
      ['fd00:1::1', 'fd00:a::', ...outside6],
      ['fd00:1::1', ...outside6],
      ['fd00:1::1', 'fd00:172:20::1', ...outside6],
    ]);
  });
});
