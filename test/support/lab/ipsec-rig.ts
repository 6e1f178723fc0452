/**
 * What tests of IPsec sites in the lab have in common: flows with identical five-tuples that go on while something fails,
 * the states of tunnels and how long they took, the gateway's daemons, and the judgement of what was on the wire.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { TunnelBody } from '../../../src/api/schemas/gateway.ts';
import { type UserSpaceNames, userSpaceNames } from '../../../src/tunnel/ipsec/user-space-host.ts';
import { PROTOCOL_UDP } from '../../../src/wire/packet.ts';
import { eventually } from '../patience.ts';
import type { SeenFrame, SeenIp } from './captured-packets.ts';
import { assertNoLeak, type LabTest } from './lab-test.ts';
import { describeOutcome, type FlowPattern, identicalFlows, type Outcome, Run } from './traffic.ts';

export const NAMESPACES = '/run/netns';
/** Far more than it takes; how long it took is said as a diagnostic. */
const LIMIT_MS = 40_000;
/** Inside of tunnels, and of the data centre: none of them is ever an outer address. */
const INNER = /^(10\.|fd)/;

export class IpsecRig {
  readonly #test: LabTest;
  #firstPort = 30_000;

  constructor(test: LabTest) {
    this.#test = test;
  }

  /** Flows with identical five-tuples from all sites that go on until they are stopped. */
  async startFlows(pattern: Partial<FlowPattern> = {}): Promise<Run> {
    const { network, experiment, sites } = this.#test;
    this.#firstPort += 100;
    const run = await Run.start(
      network,
      identicalFlows(network, experiment.tokens, {
        from: sites,
        to: ['internet', 'datacenter'],
        kinds: ['tcp', 'udp', 'icmp'],
        count: 100_000,
        intervalMs: 25,
        graceMs: 20_000,
        firstPort: this.#firstPort,
        ...pattern,
      }),
    );
    await run.answered(3);
    return run;
  }

  async tunnel(site: string): Promise<TunnelBody | undefined> {
    const { gateway } = this.#test.network;
    const name = this.#test.network.tunnelName(site);
    return (await gateway.status())?.tunnels.find((tunnel) => tunnel.name === name);
  }

  /** Waits until a site's tunnel is in this state, and says how long that took and what the log says of it. */
  async untilState(t: TestContext, site: string, state: string, reason = /^/): Promise<void> {
    const { network } = this.#test;
    const started = performance.now();
    let seen = '';
    const wait = eventually(
      `${site} is ${state}`,
      async () => {
        const now = await this.tunnel(site);
        seen = `${now?.state}: ${now?.reason}`;
        return now?.state === state && reason.test(now.reason ?? '');
      },
      LIMIT_MS,
    );
    await wait.catch((error: Error) => {
      throw new Error(`${error.message} (${seen}):\n${network.gateway.output}`);
    });
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    t.diagnostic(`${site} ${state} after ${seconds} s; log: ${await this.#logged(site, state, reason)}`);
  }

  /** The last line of the gateway's log that tells this state for this reason. */
  async #logged(site: string, state: string, reason: RegExp): Promise<string> {
    const text = `${this.#test.network.tunnelName(site)} is ${state}`;
    const line = await eventually('the log says so', () =>
      this.#test.network.gateway.output
        .split('\n')
        .findLast((one) => one.includes(text) && one.endsWith('}') && new RegExp(reason.source).test(one)),
    );
    return (JSON.parse(line) as { msg: string }).msg;
  }

  names(site: string): UserSpaceNames {
    const inode = statSync(join(NAMESPACES, this.#test.lab.name('gw'))).ino;
    return userSpaceNames(String(inode), this.#test.network.tunnelName(site));
  }

  /** Pid of the gateway's daemon for a site, by the configuration that it was started with. */
  daemonOf(site: string): number {
    const { gateway } = this.#test.network;
    const directory = join(gateway.runtimeDirectory, 'ipsec', this.names(site).wire.slice(-8));
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

  /** Every flow goes on by the same sockets, and nothing was delivered to anybody that is not theirs. */
  async assertSurvived(t: TestContext, run: Run): Promise<Outcome[]> {
    await run.progressed(await run.outcomes(), 10);
    const outcomes = await run.stop();
    for (const outcome of outcomes) {
      assert.equal(outcome.wrong, 0, describeOutcome(outcome));
      if (outcome.flow.kind === 'tcp') assert.equal(outcome.error, null, describeOutcome(outcome));
    }
    for (const site of this.#test.sites) {
      const own = outcomes.filter(({ flow }) => flow.from === site);
      const [sent, received] = (['sent', 'received'] as const).map((what) =>
        own.reduce((sum, outcome) => sum + outcome[what], 0),
      );
      const gap = Math.max(...own.map(({ longestGapMs }) => longestGapMs));
      t.diagnostic(`${site}: ${received} of ${sent} answered, longest gap ${gap} ms`);
    }
    await assertNoLeak(this.#test.experiment);
    return outcomes;
  }

  /** Nothing between the gateway and the sites was in clear text, in either direction, at any time. */
  async assertSealed(): Promise<void> {
    const { experiment, sites } = this.#test;
    for (const direction of ['in', 'out'] as const) {
      for (const site of sites) {
        const frames = (await experiment.frames(`wan-${site}`, direction)).filter(
          (frame) => frame.what !== 'neighbor',
        );
        assert.ok(frames.length > 100, `${frames.length} frames`);
        assert.deepEqual(
          frames.filter((frame) => !this.#isSealed(frame)),
          [],
        );
      }
      // Here is the sites' translated traffic with the internet, too.
      const uplink = await experiment.frames('gw-up0', direction);
      assert.ok(uplink.length > 100, `${uplink.length} frames`);
      const inner = uplink.filter(
        (frame) => frame.what === 'ip' && (INNER.test(frame.source) || INNER.test(frame.destination)),
      );
      assert.deepEqual(inner, []);
    }
  }

  #isSealed(frame: SeenFrame): boolean {
    if (frame.what !== 'ip') return false;
    // A host whose daemon is dead says so, and quotes what was sent.
    return isIpsec(frame.quoted ?? frame) && !this.#test.experiment.tokens.areIn(frame.payload);
  }
}

/** IKE, or ESP in UDP; later fragments have no ports. */
function isIpsec({ protocol, sourcePort, destinationPort, fragment }: SeenIp): boolean {
  const ports = [500, 4500];
  return (
    protocol === PROTOCOL_UDP &&
    (fragment === 2 || ports.includes(sourcePort) || ports.includes(destinationPort))
  );
}
