/**
 * libreswan as the other end of `ipsec` tunnels, by a pre-shared key and by certificates, beside a site with the very same
 * addresses whose other end is strongSwan: traffic both ways, rekeying by either end, a peer that dies and comes back. Runs in
 * the guest of `scripts/lab`.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { TunnelBody } from '../../../src/api/schemas/gateway.ts';
import { CHILD_NAME, connectionName } from '../../../src/tunnel/ipsec/connection.ts';
import { ViciClient } from '../../../src/vici/client.ts';
import { PROTOCOL_UDP } from '../../../src/wire/packet.ts';
import type { SeenIp } from '../../support/lab/captured-packets.ts';
import { assertComplete, assertNoLeak, labOptions, useNetwork } from '../../support/lab/lab-test.ts';
import { describeOutcome, identicalFlows, Run, runFlows } from '../../support/lab/traffic.ts';
import type { LibreswanPeer } from '../../support/libreswan-peer.ts';
import { libreswanObstacle } from '../../support/libreswan-peer.ts';
import { eventually, PATIENCE } from '../../support/patience.ts';

const DESTINATIONS = ['datacenter', 'internet'];
/** By default an end that does not answer for two seconds is dead; here it may only be slow. */
const IKE = { dpd: '20s' };
const SITES = [
  {
    name: 'paris',
    attachment: 'ipsec-kernel',
    ipsec: { libreswan: true, ike: IKE },
  },
  { name: 'lyon', attachment: 'ipsec-kernel', ipsec: { ike: IKE } },
  { name: 'nice', attachment: 'ipsec', ipsec: { libreswan: true, certificates: true, ike: IKE } },
] as const;
const PROTOCOL_ESP = 50;
/** An exchange of every flow in so many milliseconds. */
const INTERVAL_MS = 20 * PATIENCE;

const skip = libreswanObstacle();
describe('libreswan at the other end', skip === undefined ? labOptions() : { skip }, () => {
  const test = useNetwork({ sites: SITES });
  let firstPort = 30_000;

  /** Datagrams and connections with identical five-tuples from all sites that go on until they are stopped. */
  async function startFlows(): Promise<Run> {
    firstPort += 100;
    const flows = identicalFlows(test.network, test.experiment.tokens, {
      from: test.sites,
      to: DESTINATIONS,
      kinds: ['tcp', 'udp'],
      count: 100_000,
      intervalMs: INTERVAL_MS,
      graceMs: 20_000,
      firstPort,
    });
    const run = await Run.start(test.network, flows);
    await run.answered(3);
    return run;
  }

  async function tunnel(site: string): Promise<TunnelBody> {
    const status = await test.network.gateway.status();
    const found = status?.tunnels.find(({ name }) => name === test.network.tunnelName(site));
    assert.ok(found, `no tunnel of ${site}`);
    return found;
  }

  async function untilState(site: string, state: string, reason = /^/): Promise<number> {
    const began = performance.now();
    let seen = '';
    const wait = eventually(
      `${site} is ${state}`,
      async () => {
        const now = await tunnel(site);
        seen = `${now.state}: ${now.reason}`;
        return now.state === state && reason.test(now.reason ?? '');
      },
      30_000,
    );
    await wait.catch((error: Error) => {
      throw new Error(`${error.message} (${seen}):\n${test.network.gateway.output}`);
    });
    return Math.round(performance.now() - began);
  }

  /** The gateway's end begins: its daemon for all tunnels of the kernel's is told to. */
  async function rekeyByGateway(site: string): Promise<void> {
    const socketPath = join(test.network.gateway.runtimeDirectory, 'ipsec/kernel/vici');
    const client = new ViciClient({ socketPath });
    client.start();
    try {
      await eventually('the daemon answers', () => client.state === 'up');
      const ike = connectionName(test.network.tunnelName(site));
      await client.request('rekey', { ike, child: CHILD_NAME });
    } finally {
      client.stop();
    }
  }

  /** Every flow goes on by the same sockets, and then is ended. */
  async function assertSurvived(run: Run): Promise<void> {
    await run.progressed(await run.outcomes(), 5);
    for (const outcome of await run.stop()) {
      assert.equal(outcome.wrong, 0, describeOutcome(outcome));
      if (outcome.flow.kind === 'tcp') assert.equal(outcome.error, null, describeOutcome(outcome));
    }
  }

  const libreswan = (site: string): LibreswanPeer => test.network.ipsec.libreswanPeers.get(site)!;

  it('answers TCP, UDP, ICMP and fragments of all sites, IPv4 and IPv6', async () => {
    const flows = identicalFlows(test.network, test.experiment.tokens, {
      from: test.sites,
      to: DESTINATIONS,
      count: 5,
    });
    await assertComplete(test.network, await runFlows(test.network, flows));
  });

  it('goes on while its SAs are rekeyed', async (t) => {
    const run = await startFlows();
    for (const site of ['paris', 'nice']) {
      const peer = libreswan(site);
      const before = peer.log;
      const rekeyed = async (what: RegExp): Promise<void> => {
        await eventually(`libreswan of ${site} has rekeyed`, () => what.test(peer.log.slice(before.length)));
      };
      peer.whack('--asynchronous', '--name', 'gateway-0', '--rekey-ipsec');
      await rekeyed(/"gateway-0" #\d+: initiator rekeyed Child SA/);
      peer.whack('--asynchronous', '--name', 'gateway-0', '--rekey-ike');
      await rekeyed(/initiator rekeyed IKE SA/);
      if (site === 'paris') {
        await rekeyByGateway(site);
        await rekeyed(/responder rekeyed Child SA/);
      }
      assert.equal((await tunnel(site)).state, 'up');
    }
    await assertSurvived(run);
    for (const site of test.sites) t.diagnostic(`${site}: ${(await tunnel(site)).state}`);
    await assertNoLeak(test.experiment);
  });

  it('that is killed is known to be dead, alone, and used again when it is back', async (t) => {
    const run = await startFlows();
    await libreswan('paris').kill();
    t.diagnostic(`down after ${await untilState('paris', 'down', /the peer does not answer/)} ms`);
    for (const site of ['lyon', 'nice']) assert.equal((await tunnel(site)).state, 'up');
    await libreswan('paris').start();
    libreswan('paris').begin();
    t.diagnostic(`up again after ${await untilState('paris', 'up')} ms`);
    await libreswan('paris').connected();
    // Before there are routes: what was sent unseen would not explain what comes back.
    await test.experiment.resume('host-paris');
    await test.network.ipsecIsUp();
    await assertSurvived(run);
    await assertNoLeak(test.experiment);
  });

  it('has nothing in clear text on the wire', async () => {
    for (const site of test.sites) {
      for (const direction of ['in', 'out'] as const) {
        const frames = (await test.experiment.frames(`wan-${site}`, direction)).filter(
          ({ what }) => what !== 'neighbor',
        );
        assert.ok(frames.length > 100, `${frames.length} frames`);
        const clear = frames.filter(
          (frame) =>
            frame.what !== 'ip' ||
            // A host whose daemon is dead says so, and quotes what was sent.
            !isIpsec(frame.quoted ?? frame) ||
            test.experiment.tokens.areIn(frame.payload),
        );
        assert.deepEqual(clear, [], `${site} ${direction}`);
      }
    }
  });
});

/** IKE, ESP, or ESP in UDP. */
function isIpsec({ protocol, sourcePort }: SeenIp): boolean {
  return protocol === PROTOCOL_ESP || (protocol === PROTOCOL_UDP && [500, 4500].includes(sourcePort));
}
