/**
 * What restarts cost: the gateway's processes are killed, stopped and replaced by another build, again and again, under
 * connections with data on its way in both directions and numbered datagrams, of two sites with the same addresses, to the
 * internet, to the data centre, and from the internet by port forwards. No connection is lost, every byte of it is what was
 * sent, no packet goes astray; how long nothing was delivered is told.
 *
 * More rounds: TEST_RESTARTS=10 (of each kind), TEST_KILLS=30 (at random moments, TEST_SEED). With another checkout, whose
 * native part is built, as the one to begin with: TEST_UPGRADE_FROM=DIRECTORY.
 */
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Experiment } from '../support/lab/experiment.ts';
import { Deliveries, describeGaps, type Gaps, type Window } from '../support/lab/gaps.ts';
import { hostState, leftFiles } from '../support/lab/host-state.ts';
import { assertNoLeak, labOptions } from '../support/lab/lab-test.ts';
import { copyProject } from '../support/lab/mutant.ts';
import { Network } from '../support/lab/network.ts';
import { SITE_ADDRESSES, UPLINK_ADDRESSES } from '../support/lab/sites.ts';
import { describeOutcome, type Flow, identicalFlows, type Outcome, Run } from '../support/lab/traffic.ts';
import { Lab } from '../support/lab.ts';
import { eventually } from '../support/patience.ts';

const ROUNDS = Number(process.env.TEST_RESTARTS ?? 1);
const KILLS = Number(process.env.TEST_KILLS ?? 4);
const FORMER_BUILD = process.env.TEST_UPGRADE_FROM;
const SEED = Number(process.env.TEST_SEED ?? 1);
/** A moment from the start of a process to long after it forwards. */
const MOST_BEFORE_KILL_MS = 2500;
const SITES = ['paris', 'lyon'] as const;
const SERVICE_PORT = 443;
const FORWARDED_PORTS = { paris: 8443, lyon: 8444 } as const;
const DATAGRAM_INTERVAL_MS = 10;
/** 100 KiB/s each way for each connection. */
const PIECE_BYTES = 2048;
const PIECE_INTERVAL_MS = 20;
/** Between two rounds: packets of the time between them belong to neither. */
const PAUSE_MS = 250;
/** What goes on afterwards, of every flow, before the next round. */
const MORE = 20;

const SPEC = {
  sites: [
    { name: 'paris', attachment: 'gre' },
    { name: 'lyon', attachment: 'on-link' },
  ],
  portForwards: SITES.flatMap((site) =>
    (['tcp', 'udp'] as const).flatMap((protocol) =>
      SITE_ADDRESSES.map((address, at) => ({
        protocol,
        address: UPLINK_ADDRESSES[at],
        port: FORWARDED_PORTS[site],
        to: { site, address, port: SERVICE_PORT },
      })),
    ),
  ),
} as const;

describe('restarts under load', labOptions(), () => {
  let lab: Lab;
  let network: Network;
  let experiment: Experiment;
  let run: Run;
  let untouched: string;
  const rounds: { readonly name: string; readonly window: Window }[] = [];

  before(async () => {
    lab = new Lab();
    network = await Network.create(lab, SPEC);
    for (const site of SITES) {
      await network.serve(site, 'tcp', SERVICE_PORT);
      await network.serve(site, 'udp', SERVICE_PORT);
    }
    untouched = await hostState(lab, 'gw');
    if (FORMER_BUILD === undefined) await network.start();
    else {
      // It may answer otherwise: that packets come is what tells.
      network.gateway.launch({ project: FORMER_BUILD });
      for (const gateway of network.siteGateways.values()) await gateway.start();
    }
    experiment = new Experiment(network);
    await experiment.capture();
    await experiment.warmUp(SITES);
    run = await Run.start(network, allFlows());
    await run.answered(3);
  });
  after(() => lab?.remove());

  /** The same connections and datagrams for all rounds. */
  function allFlows(): Flow[] {
    const { tokens } = experiment;
    const endless = { count: 10_000_000, graceMs: 60_000 };
    const streams = {
      ...endless,
      kinds: ['stream'],
      size: PIECE_BYTES,
      intervalMs: PIECE_INTERVAL_MS,
    } as const;
    const datagrams = { ...endless, kinds: ['udp'], intervalMs: DATAGRAM_INTERVAL_MS } as const;
    return [streams, datagrams].flatMap((pattern) => [
      ...identicalFlows(network, tokens, { ...pattern, from: SITES, to: ['internet', 'datacenter'] }),
      ...SITES.flatMap((site, at) =>
        identicalFlows(network, tokens, {
          ...pattern,
          from: ['internet'],
          to: [site],
          firstPort: 21_000 + 10 * at,
        }).map((flow) => ({
          ...flow,
          destination: UPLINK_ADDRESSES[flow.family === 4 ? 0 : 1],
          destinationPort: FORWARDED_PORTS[site],
        })),
      ),
    ]);
  }

  /** Does something to the gateway, and waits until every flow goes on. */
  async function round(name: string, disturb: () => Promise<void>): Promise<void> {
    const fromNs = now();
    await disturb();
    await run.progressed(await run.outcomes(), MORE);
    rounds.push({ name, window: { fromNs, toNs: now() } });
    assertUnharmed(await run.outcomes());
    await sleep(PAUSE_MS);
  }

  function assertUnharmed(outcomes: readonly Outcome[]): void {
    for (const outcome of outcomes) {
      assert.equal(outcome.wrong, 0, describeOutcome(outcome));
      if (outcome.flow.kind === 'stream') assert.equal(outcome.error, null, describeOutcome(outcome));
    }
  }

  it('an upgrade from another checkout', { skip: FORMER_BUILD === undefined && 'TEST_UPGRADE_FROM' }, () =>
    round('an upgrade from another checkout', () => restart(join(import.meta.dirname, '../..'))),
  );

  for (let number = 1; number <= ROUNDS; number++) {
    it(`kill -9 of the data plane, ${number}`, () =>
      round('kill -9 of the data plane', async () => {
        const { gateway } = network;
        const former = await gateway.dataPlanePid();
        await gateway.kill('dataPlane');
        await eventually('another data plane runs', async () => {
          const pid = (await gateway.status())?.dataPlane.pid;
          return typeof pid === 'number' && pid !== former;
        });
        await gateway.forwarding();
      }));

    it(`kill -9 of control, ${number}`, () =>
      round('kill -9 of control', async () => {
        const { gateway } = network;
        const dataPlane = await gateway.dataPlanePid();
        await gateway.kill('control');
        await gateway.start();
        assert.equal(await gateway.dataPlanePid(), dataPlane, 'it is adopted');
      }));

    it(`kill -9 of both, and a start, ${number}`, () =>
      round('kill -9 of both, and a start', async () => {
        await network.gateway.kill('both');
        await network.gateway.start();
      }));

    it(`SIGTERM, and a start, ${number}`, () =>
      round('SIGTERM, and a start', async () => {
        assert.equal(await network.gateway.end('SIGTERM'), 0);
        await network.gateway.start();
      }));

    it(`an upgrade: SIGTERM, and a start of another build, ${number}`, () =>
      round('an upgrade', () => restart(anotherBuild(number))));
  }

  async function restart(project: string): Promise<void> {
    assert.equal(await network.gateway.end('SIGTERM'), 0);
    network.gateway.launch({ project });
    await run.progressed(await run.outcomes(), MORE);
    await network.gateway.forwarding();
  }

  /** The same with another version. */
  function anotherBuild(number: number): string {
    const project = copyProject(join(lab.directory, `build-${number}`));
    const path = join(project, 'package.json');
    const description = JSON.parse(readFileSync(path, 'utf8')) as { version: string };
    writeFileSync(path, JSON.stringify({ ...description, version: `99.0.${number}` }));
    return project;
  }

  it(`kill -9 of both at random moments, ${KILLS} times`, async (t) => {
    const random = randomNumbers(SEED);
    const moments: number[] = [];
    const fromNs = now();
    for (let kill = 0; kill < KILLS; kill++) {
      const { gateway } = network;
      const delayMs = Math.round(random() * MOST_BEFORE_KILL_MS);
      moments.push(delayMs);
      // From the start of a process on: in the middle of it, or when all is well.
      await sleep(delayMs);
      await gateway.killAll();
      gateway.launch();
    }
    await network.gateway.forwarding();
    await run.progressed(await run.outcomes(), MORE);
    rounds.push({
      name: 'kill -9 of both at random moments, again and again',
      window: { fromNs, toNs: now() },
    });
    t.diagnostic(`killed ${moments.join(', ')} ms after the start`);
    assertUnharmed(await run.outcomes());
  });

  it('has lost no connection and no byte, leaked nothing, and leaves nothing behind', async (t) => {
    const outcomes = await run.stop();
    assertUnharmed(outcomes);
    const streams = outcomes.filter(({ flow }) => flow.kind === 'stream');
    // Sent, echoed and come back, to the last one.
    for (const outcome of streams) assert.ok(outcome.done && outcome.sent > 0, describeOutcome(outcome));
    const pieces = streams.reduce((sum, { sent }) => sum + sent, 0);
    const { delivered } = await assertNoLeak(experiment);
    const frames = Object.values(delivered).reduce((sum, host) => sum + host.frames, 0);
    t.diagnostic(
      `${streams.length} connections, 0 lost, ${Math.round((pieces * PIECE_BYTES) / 2 ** 20)} MiB each way`,
    );
    t.diagnostic(
      `${outcomes.length - streams.length} flows of datagrams; ${frames} frames delivered and judged, 0 leaks`,
    );
    await tellGaps(t);

    const inode = String(statSync(`/run/netns/${lab.name('gw')}`).ino);
    const { status, stderr } = await network.gateway.command('down');
    assert.equal(status, 0, stderr);
    assert.equal(await network.gateway.ended(), 0);
    assert.equal(await hostState(lab, 'gw'), untouched);
    assert.deepEqual(leftFiles(network.gateway.runtimeDirectory, inode), []);
    assert.deepEqual(await network.gateway.pids(), [], 'no process is left');
  });

  async function tellGaps(t: TestContext): Promise<void> {
    const deliveries = new Deliveries();
    for (const host of network.hosts.keys()) {
      deliveries.note(host, await experiment.frames(`host-${host}`, 'in'));
    }
    const byName = new Map<string, Gaps[]>();
    for (const { name, window } of rounds) {
      byName.set(name, [...(byName.get(name) ?? []), deliveries.longest(window)]);
    }
    for (const [name, gaps] of byName) {
      for (const what of ['everything', 'datagrams', 'connections'] as const) {
        t.diagnostic(
          `${name} (${gaps.length}): gap of ${what}: ${describeGaps(gaps.map((gap) => gap[what]))}`,
        );
      }
    }
  }
});

/** The clock of captures. */
function now(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

/** Numbers in [0, 1), the same for the same seed (a linear congruential generator). */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
