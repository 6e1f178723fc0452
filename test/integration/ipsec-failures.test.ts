/**
 * IPsec tunnels whose ends fail: what is said of it, that they come back by themselves, and that meanwhile no packet of
 * one site reaches another and nothing is on the wire in clear text.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { TunnelBody } from '../../src/api/schemas/gateway.ts';
import {
  STEERING_TABLE,
  type UserSpaceNames,
  userSpaceNames,
} from '../../src/tunnel/ipsec/user-space-host.ts';
import { PROTOCOL_UDP } from '../../src/wire/packet.ts';
import { ipsecObstacle } from '../support/ipsec-peer.ts';
import type { SeenIp } from '../support/lab/captured-packets.ts';
import { assertNoLeak, labOptions, useNetwork } from '../support/lab/lab-test.ts';
import { secretPath } from '../support/lab/sites.ts';
import { describeOutcome, identicalFlows, Run } from '../support/lab/traffic.ts';
import { eventually } from '../support/patience.ts';

const NAMESPACES = '/run/netns';
/** Far more than it takes; how long it took is said as a diagnostic. */
const LIMIT_MS = 30_000;

const skip = ipsecObstacle();
describe('IPsec tunnels that fail', skip === undefined ? labOptions() : { skip }, () => {
  const test = useNetwork({
    sites: [
      { name: 'paris', attachment: 'ipsec' },
      { name: 'lyon', attachment: 'ipsec' },
    ],
  });
  let firstPort = 30_000;

  /** Flows with identical five-tuples from both sites that go on until they are stopped. */
  async function startFlows(): Promise<Run> {
    const { network, experiment, sites } = test;
    firstPort += 100;
    const run = await Run.start(
      network,
      identicalFlows(network, experiment.tokens, {
        from: sites,
        to: ['internet', 'datacenter'],
        kinds: ['tcp', 'udp', 'icmp'],
        count: 100_000,
        intervalMs: 25,
        graceMs: 20_000,
        firstPort,
      }),
    );
    await run.answered(3);
    return run;
  }

  async function tunnel(site: string): Promise<TunnelBody | undefined> {
    return (await test.network.gateway.status())?.tunnels.find(
      ({ name }) => name === test.network.tunnelName(site),
    );
  }

  /** How long it took until a site's tunnel was in this state, milliseconds. */
  async function untilState(site: string, state: string, reason = /^/): Promise<number> {
    const started = performance.now();
    let seen = '';
    const wait = eventually(
      `${site} is ${state}`,
      async () => {
        const now = await tunnel(site);
        seen = `${now?.state}: ${now?.reason}`;
        return now?.state === state && reason.test(now.reason ?? '');
      },
      LIMIT_MS,
    );
    await wait.catch((error: Error) => {
      throw new Error(`${error.message} (${seen}):\n${test.network.gateway.output}`);
    });
    return Math.round(performance.now() - started);
  }

  function names(site: string): UserSpaceNames {
    const inode = statSync(join(NAMESPACES, test.lab.name('gw'))).ino;
    return userSpaceNames(String(inode), test.network.tunnelName(site));
  }

  /** Pid of the gateway's daemon for a site, by the configuration that it was started with. */
  function daemonOf(site: string): number {
    const directory = join(test.network.gateway.runtimeDirectory, 'ipsec', names(site).wire.slice(-8));
    const pid = readdirSync('/proc').find((entry) => {
      if (!/^[1-9]\d*$/.test(entry)) return false;
      try {
        return (
          readFileSync(`/proc/${entry}/comm`, 'latin1').startsWith('charon') &&
          readFileSync(`/proc/${entry}/environ`, 'latin1').includes(`${directory}/`)
        );
      } catch {
        return false;
      }
    });
    assert.ok(pid !== undefined, `no daemon runs for ${site}`);
    return Number(pid);
  }

  /** Every flow goes on by the same sockets. */
  async function assertSurvived(t: TestContext, run: Run): Promise<void> {
    await run.progressed(await run.outcomes(), 10);
    const outcomes = await run.stop();
    for (const outcome of outcomes) {
      assert.equal(outcome.wrong, 0, describeOutcome(outcome));
      if (outcome.flow.kind === 'tcp') assert.equal(outcome.error, null, describeOutcome(outcome));
    }
    for (const site of test.sites) {
      const gaps = outcomes.filter(({ flow }) => flow.from === site).map(({ longestGapMs }) => longestGapMs);
      t.diagnostic(`${site}: longest gap ${Math.max(...gaps)} ms`);
    }
    await assertNoLeak(test.experiment);
  }

  it('a daemon that is killed takes only its own tunnel down, which comes back', async (t) => {
    const run = await startFlows();
    const other = (await tunnel('lyon'))!.since;
    process.kill(daemonOf('paris'), 'SIGKILL');
    await untilState('paris', 'down', /the IKE daemon/);
    t.diagnostic(`up again after ${await untilState('paris', 'up')} ms`);
    assert.equal((await tunnel('lyon'))!.since, other, 'the other tunnel was up all the time');
    await assertSurvived(t, run);
  });

  it('a peer that dies is known to be dead, and used again when it is back', async (t) => {
    const run = await startFlows();
    const peer = test.network.ipsecPeers.get('lyon')!;
    await peer.kill();
    t.diagnostic(`down after ${await untilState('lyon', 'down', /the peer does not answer/)} ms`);
    assert.equal((await tunnel('paris'))!.state, 'up');
    await peer.start();
    t.diagnostic(`up again after ${await untilState('lyon', 'up')} ms`);
    // Its device is another one.
    await test.experiment.resume('host-lyon');
    await assertSurvived(t, run);
  });

  it('says which end refuses a wrong secret, and connects when it was put right', async (t) => {
    const { lab, network } = test;
    const path = secretPath(lab.directory, 'paris');
    const secret = readFileSync(path);
    writeFileSync(path, 'not the right one');
    network.ipsecPeers.get('paris')!.swanctl('--terminate', '--ike', 'gateway', '--force');
    await untilState('paris', 'down', /refuses our authentication|does not answer|closed/);
    process.kill(daemonOf('paris'), 'SIGKILL');
    await untilState('paris', 'down', /refuses our authentication/);
    const shown = await network.gateway.command('tunnels', 'show', network.tunnelName('paris'));
    assert.match(shown.stdout, /^state +down since .*: the peer refuses our authentication/m);
    assert.equal((await tunnel('lyon'))!.state, 'up');
    writeFileSync(path, secret);
    t.diagnostic(`up again after ${await untilState('paris', 'up')} ms`);
    await test.experiment.warmUp(['paris']);
    await assertNoLeak(test.experiment);
  });

  it('comes back with the control process, when that was killed', async (t) => {
    const { gateway } = test.network;
    const run = await startFlows();
    await gateway.kill('control');
    await gateway.start();
    const started = performance.now();
    await test.network.ipsecIsUp();
    t.diagnostic(`up after ${Math.round(performance.now() - started)} ms`);
    await assertSurvived(t, run);
  });

  it('has nothing in clear text on the wire', async () => {
    for (const direction of ['in', 'out'] as const) {
      for (const site of test.sites) {
        const frames = (await test.experiment.frames(`wan-${site}`, direction)).filter(
          (frame) => frame.what !== 'neighbor',
        );
        assert.ok(frames.length > 100, `${frames.length} frames`);
        const clear = frames.filter(
          (frame) =>
            frame.what !== 'ip' ||
            // A host whose daemon is dead says so, and quotes what was sent.
            !isIpsec(frame.quoted ?? frame) ||
            test.experiment.tokens.areIn(frame.payload),
        );
        assert.deepEqual(clear, []);
      }
    }
  });

  it('tells nobody a secret', async () => {
    const { lab, network } = test;
    const { gateway } = network;
    const texts = [
      gateway.output,
      ...(await Promise.all(
        [
          ['config', 'show'],
          ['status', '--json'],
          ['tunnels', 'show', network.tunnelName('paris'), '--json'],
        ].map(async (command) => (await gateway.command(...command)).stdout),
      )),
      ...filesBelow(join(lab.directory, 'state-gw')),
    ];
    for (const text of texts) assert.doesNotMatch(text, /secret of (paris|lyon)|not the right one/);
  });

  it('leaves nothing behind', async () => {
    const all = test.sites.map((site) => names(site));
    const { lab, network } = test;
    assert.equal(await network.gateway.end('SIGINT'), 0);
    const links = await lab.exec('gw', 'ip', ['link']);
    for (const { namespace, wire, device } of all) {
      assert.ok(!readdirSync(NAMESPACES).includes(namespace), namespace);
      assert.doesNotMatch(links, new RegExp(`${wire}|${device}`));
    }
    assert.doesNotMatch(await lab.exec('gw', 'nft', ['list', 'ruleset']), new RegExp(STEERING_TABLE));
  });
});

/** IKE, or ESP in UDP. */
function isIpsec({ protocol, sourcePort }: SeenIp): boolean {
  return protocol === PROTOCOL_UDP && [500, 4500].includes(sourcePort);
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'));
}
