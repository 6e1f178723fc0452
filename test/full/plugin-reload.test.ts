/**
 * A plugin read anew again and again under load: one gigabit a second of TCP through it, a thousand new flows a second beside
 * that, from two sites with the same addresses. What the load got is printed, with and without reloads.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { applyConfig } from '../../src/api/client/config.ts';
import { reloadPlugin, showPlugin } from '../../src/api/client/plugins.ts';
import { ApiClient } from '../../src/api/client.ts';
import { labOptions, startNetwork } from '../support/lab/lab-test.ts';
import type { Network } from '../support/lab/network.ts';
import { FIRST_PORT, type NewFlows, sendNewFlows } from '../support/lab/new-flows.ts';
import { DATA_CENTER_ADDRESSES, gatewayConfiguration } from '../support/lab/sites.ts';
import { Lab } from '../support/lab.ts';
import { eventually, PATIENCE } from '../support/patience.ts';
import { writeTornPlugin } from '../support/torn-plugin.ts';

const SPEC = {
  sites: [
    { name: 'paris', attachment: 'on-link' },
    { name: 'lyon', attachment: 'on-link' },
  ],
} as const;
const SITES = SPEC.sites.map(({ name }) => name);
const SECONDS = 20;
const RELOADS = 20;
/** Of both sites together, a second. */
const NEW_FLOWS = 1000;
const BITS_PER_SECOND = 1e9;

interface Load {
  readonly gigabits: number;
  readonly flows: readonly NewFlows[];
}

describe('reloads under load', labOptions(), () => {
  let lab: Lab;
  let network: Network;
  let client: ApiClient;
  let nextPort = FIRST_PORT;

  before(async () => {
    lab = new Lab();
    network = await startNetwork(lab, SPEC);
    client = new ApiClient(join(network.gateway.runtimeDirectory, 'api.sock'), 30_000 * PATIENCE);
    lab.spawn('datacenter', 'iperf3', ['--server', '--bind', DATA_CENTER_ADDRESSES[0]]);
    await eventually('the gateway lets iperf3 through', async () => (await sendGigabit(1)) > 0);
  });
  after(() => lab?.remove());

  /** Gigabits a second that the receiver got; 0: there was no connection. */
  async function sendGigabit(seconds: number): Promise<number> {
    const { status, stdout } = await lab.attempt('paris', 'iperf3', [
      ...['--client', DATA_CENTER_ADDRESSES[0], '--json', '--connect-timeout', '2000'],
      ...['--time', String(seconds), '--bitrate', String(BITS_PER_SECOND)],
    ]);
    return status === 0 ? JSON.parse(stdout).end.sum_received.bits_per_second / 1e9 : 0;
  }

  /** The load, while `meanwhile` runs. */
  async function underLoad(meanwhile: () => Promise<void>): Promise<Load> {
    const rate = NEW_FLOWS / SITES.length;
    const firstPort = nextPort;
    nextPort += rate * SECONDS;
    const [gigabits, flows] = await Promise.all([
      sendGigabit(SECONDS),
      Promise.all(SITES.map((site) => sendNewFlows(lab, site, rate, SECONDS, firstPort))),
      meanwhile(),
    ]);
    return { gigabits, flows };
  }

  it('costs no flow its pin, and judges none by half', async (t) => {
    const folder = join(lab.directory, 'torn');
    const rules = join(lab.directory, 'rules.json');
    writeTornPlugin(folder, rules, 0);
    const text = stringify({
      ...gatewayConfiguration(SPEC),
      flow_table: { create_rate: { per_tunnel: '20000/s', per_source: '20000/s' } },
      plugins: [{ name: 'torn', from: folder, options: { rules } }],
    });
    await applyConfig(client, { text });
    const restarts = (await network.gateway.status())?.dataPlane.restarts;
    const alone = await underLoad(async () => {});
    t.diagnostic(`without reloads: ${JSON.stringify(alone)}`);

    const took: number[] = [];
    const loaded = await underLoad(async () => {
      for (let number = 1; number <= RELOADS; number++) {
        writeTornPlugin(folder, rules, number);
        const began = performance.now();
        await reloadPlugin(client, 'torn', false, false);
        took.push(performance.now() - began);
        await sleep(Math.max(0, (SECONDS * 1000) / RELOADS - (performance.now() - began)));
      }
    });
    took.sort((one, other) => one - other);
    const { counters, failures } = await showPlugin(client, 'torn');
    t.diagnostic(`with ${RELOADS} reloads: ${JSON.stringify(loaded)}`);
    t.diagnostic(
      `a reload took ${Math.round(took[RELOADS / 2]!)} ms (median), ${Math.round(took.at(-1)!)} ms at most; ${JSON.stringify(counters)}`,
    );
    assert.deepEqual({ torn: counters.torn, failures }, { torn: 0, failures: 0 });
    assert.ok(counters.generations! >= RELOADS - 1, `${counters.generations} generations have judged`);
    for (const { foreign } of [...alone.flows, ...loaded.flows]) assert.equal(foreign, 0);
    const lost = ({ flows }: Load): number =>
      flows.reduce(
        (sum, { begun, answered, again, answeredAgain }) => sum + begun - answered + again - answeredAgain,
        0,
      );
    // On a machine that is busy otherwise something is lost anyhow.
    const most = Math.max(2 * lost(alone), (NEW_FLOWS * SECONDS) / 1000);
    assert.ok(lost(loaded) <= most, `${lost(loaded)} lost, ${lost(alone)} without reloads`);
    assert.ok(loaded.gigabits >= 0.8 * alone.gigabits, `${loaded.gigabits} of ${alone.gigabits} Gbit/s`);
    const { dataPlane, tunnels } = (await network.gateway.status())!;
    t.diagnostic(`dropped: ${JSON.stringify(tunnels.map(({ name, drops }) => ({ name, ...drops })))}`);
    assert.equal(dataPlane.restarts, restarts, dataPlane.lastFailure ?? '');
  });
});
