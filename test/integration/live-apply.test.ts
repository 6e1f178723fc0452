/**
 * Numbered datagrams through one tunnel while configurations are applied that add, change and remove others: what is
 * lost, beside the same without applies, and whether any reply goes astray.
 *
 * ```
 *  paris  10.0.1.10 ── GRE ── net ── up0 ┐
 *                      (new GRE tunnels) ┤ gw ── dc0 ── datacenter: echo
 *  lyon   10.0.1.10 ───────────── ic1 ───┘
 * ```
 *
 * Paris and lyon use the same addresses and ports at the same moment; lyon comes and goes with its whole site. Every GRE
 * tunnel changes the socket filter and the guard of the uplink that paris's packets come by.
 *
 * The full run: TEST_APPLIES=100.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { applyConfig } from '../../src/api/client/config.ts';
import { ApiClient } from '../../src/api/client.ts';
import type { StatusBody } from '../../src/api/schemas/gateway.ts';
import type { Configuration } from '../support/lab/homeward-process.ts';
import { labOptions, startNetwork } from '../support/lab/lab-test.ts';
import type { Network } from '../support/lab/network.ts';
import { NumberedDatagrams } from '../support/lab/numbered-datagrams.ts';
import { gatewayConfiguration } from '../support/lab/sites.ts';
import { Lab } from '../support/lab.ts';

const APPLIES = Number(process.env.TEST_APPLIES ?? 20);
const RATE = 10_000;
/** From one apply to the next, at least: the next comes when the one before is done. */
const PAUSE_MS = 50;
const CONTROL_MS = 4000;
const RATES = { paris: RATE, lyon: RATE / 10 };

const SPEC = {
  sites: [
    { name: 'paris', attachment: 'gre-peer' },
    { name: 'lyon', attachment: 'on-link' },
  ],
} as const;

describe('configurations applied under load', labOptions(), () => {
  let lab: Lab;
  let network: Network;
  let datagrams: NumberedDatagrams;

  before(async () => {
    lab = new Lab();
    network = await startNetwork(lab, SPEC);
    // The tunnel's other end is a process that others may keep from running.
    await lab.ip('paris', [`link set eth0 txqueuelen ${2 * RATE}`]);
    datagrams = await NumberedDatagrams.start(lab);
  });
  after(() => lab?.remove());

  it('other tunnels come and go, and no reply goes astray', async (t) => {
    // Neighbours are asked for, and the flow is set up, before anything is counted.
    await datagrams.during(RATES, () => sleep(500));
    const control = await datagrams.during(RATES, () => sleep(CONTROL_MS));
    t.diagnostic(`without applies: ${JSON.stringify(control)}`);

    const client = new ApiClient(join(network.gateway.runtimeDirectory, 'api.sock'), 30_000);
    const started = performance.now();
    const tried = await datagrams.during(RATES, async () => {
      for (let number = 1; number <= APPLIES; number++) {
        await applyConfig(client, { text: stringify(configuration(number)) });
        await sleep(PAUSE_MS);
        // The new tunnels have carried no packet.
        for (const tunnel of (await client.status()).tunnels.filter(({ site }) => site === 'extra')) {
          assert.deepEqual([tunnel.name, tunnel.txPackets], [tunnel.name, 0]);
        }
      }
    });
    t.diagnostic(
      `with ${APPLIES} applies in ${Math.round(performance.now() - started)} ms: ${JSON.stringify(tried)}`,
    );

    for (const { wrong, duplicates } of [control.paris, control.lyon, tried.paris, tried.lyon]) {
      assert.deepEqual({ wrong, duplicates }, { wrong: 0, duplicates: 0 });
    }
    assert.ok(tried.paris.sent > 0 && control.paris.sent > 0);
    // On a machine that is busy otherwise something is lost anyhow.
    const anyhow = Math.max(control.paris.lost / control.paris.sent, 1 / 10_000);
    assert.ok(tried.paris.lost / tried.paris.sent <= 2 * anyhow, JSON.stringify({ control, tried }));

    const status = await client.status();
    t.diagnostic(`dropped by the gateway: ${JSON.stringify(dropsOf(status))}`);
    assert.equal(status.dataPlane.restarts, 0);
  });
});

/** The lab's, with other tunnels every time. */
function configuration(number: number): Configuration {
  const base = gatewayConfiguration(SPEC) as { sites: { name: string }[] };
  const extra = [
    ...Array.from({ length: number % 3 }, (_, at) => ({
      name: `extra-gre${at}`,
      type: 'gre',
      local: '198.51.100.1',
      remote: `198.18.200.${at + 1}`,
      key: number % 5,
    })),
    ...(number % 2 === 0 ? [{ name: 'extra-tun', type: 'device', device: 'tun9', driver: 'tun' }] : []),
  ];
  return {
    ...base,
    sites: [
      ...base.sites.filter(({ name }) => name !== 'lyon' || number % 4 !== 3),
      ...(extra.length === 0 ? [] : [{ name: 'extra', prefixes: ['10.0.1.0/24'], tunnels: extra }]),
    ],
  };
}

/** What the gateway has dropped for a reason, and frames that came faster than they were read. */
function dropsOf({ tunnels, devices }: StatusBody): Record<string, unknown> {
  return Object.fromEntries([
    ...tunnels.map(({ name, drops }) => [name, drops]),
    ...devices.map(({ name, rxErrors, txErrors }) => [name, { rxErrors, txErrors }]),
  ]);
}
