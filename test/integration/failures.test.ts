/**
 * Whatever dies, no packet of one site reaches another, flows survive, and forwarding resumes. Traffic with
 * identical five-tuples goes on all the time; the gateway's host forwards (`ip_forward`), which is the worst case
 * if it got hold of a packet.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { hostState } from '../support/lab/host-state.ts';
import { assertNoLeak, labOptions, useNetwork } from '../support/lab/lab-test.ts';
import { describeOutcome, identicalFlows, type Outcome, Run } from '../support/lab/traffic.ts';
import { eventually } from '../support/patience.ts';

/** Far more than it takes; how long it took is said as a diagnostic. */
const GAP_LIMIT_MS = 15_000;

describe('failures under traffic', labOptions(), () => {
  const test = useNetwork({
    sites: [
      { name: 'paris', attachment: 'gre' },
      { name: 'lyon', attachment: 'on-link' },
      { name: 'nice', attachment: 'on-link' },
    ],
  });
  let firstPort = 20_000;

  /** Flows that go on until they are stopped; every call uses other ports. */
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

  /** Every flow goes on: it has more answers than before, by the same sockets. */
  async function assertSurvived(t: TestContext, run: Run, before: readonly Outcome[]): Promise<void> {
    await run.progressed(before, 20);
    const outcomes = await run.stop();
    for (const outcome of outcomes) {
      assert.equal(outcome.wrong, 0, describeOutcome(outcome));
      assert.ok(outcome.longestGapMs < GAP_LIMIT_MS, describeOutcome(outcome));
      if (outcome.flow.kind === 'tcp') assert.equal(outcome.error, null, describeOutcome(outcome));
    }
    for (const kind of ['tcp', 'udp', 'icmp']) {
      const gaps = outcomes.filter(({ flow }) => flow.kind === kind).map(({ longestGapMs }) => longestGapMs);
      t.diagnostic(`${kind}: longest gap ${Math.max(...gaps)} ms`);
    }
    await assertNoLeak(test.experiment);
  }

  /** Ports and identifiers under which the internet server has seen a run's flows. */
  async function seenBy(run: Run): Promise<string[]> {
    const seen = await Promise.all(
      (['tcp', 'udp'] as const).flatMap((kind) =>
        test.network
          .host('internet')
          .addresses.map((address) => test.network.seen('internet', kind, address, 7)),
      ),
    );
    const tokens = new Set(run.flows.map(({ token }) => token));
    return seen
      .flat()
      .filter(({ token }) => tokens.has(token))
      .map(({ address, port, token }) => `${address} ${port} ${token}`)
      .sort();
  }

  for (const victim of ['dataPlane', 'control', 'both'] as const) {
    it(`kill -9 of ${victim}: no leak, flows survive`, async (t) => {
      const { gateway } = test.network;
      const run = await startFlows();
      const external = await seenBy(run);
      const before = await run.outcomes();
      const started = performance.now();
      const dataPlane = await gateway.dataPlanePid();
      await gateway.kill(victim);
      if (victim === 'dataPlane') {
        await eventually('another data plane runs', async () => {
          const pid = (await gateway.status())?.dataPlane.pid;
          return typeof pid === 'number' && pid !== dataPlane;
        });
        await gateway.forwarding();
      } else {
        if (victim === 'control') assert.ok(existsSync(`/proc/${dataPlane}`), 'the data plane goes on');
        await gateway.start();
        if (victim === 'control') assert.equal(await gateway.dataPlanePid(), dataPlane, 'it is adopted');
      }
      t.diagnostic(`forwarding and answering again after ${Math.round(performance.now() - started)} ms`);
      await assertSurvived(t, run, before);
      assert.deepEqual(await seenBy(run), external, 'flows keep their external ports');
    });
  }

  it('SIGTERM and a new start keep connections; nothing passes in between', async (t) => {
    const { gateway } = test.network;
    const run = await startFlows();
    assert.equal(await gateway.end('SIGTERM'), 0);
    const stopped = await run.outcomes();
    // Long enough for many messages, none of which may be answered by anyone.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const later = await run.outcomes();
    for (const [index, { received }] of later.entries()) {
      // What was on its way when the gateway ended may still have come.
      assert.ok(received <= stopped[index]!.received + 2, describeOutcome(later[index]!));
    }
    await gateway.start();
    await assertSurvived(t, run, stopped);
  });
});

describe('down', labOptions(), () => {
  const test = useNetwork({ sites: [{ name: 'lyon', attachment: 'on-link' }] });
  const state = (): Promise<string> => hostState(test.lab, 'gw');

  it('leaves nothing behind, and the next start works', async () => {
    const { gateway } = test.network;
    assert.equal(await gateway.end('SIGINT'), 0);
    const clean = await state();
    assert.doesNotMatch(clean, /homeward/);
    assert.ok(!existsSync(gateway.runtimeDirectory), 'the runtime directory is gone');

    await gateway.start();
    assert.notEqual(await state(), clean);
    await test.experiment.warmUp(test.sites);
    const { status, stderr } = await gateway.command('down');
    assert.equal(status, 0, stderr);
    assert.equal(await gateway.ended(), 0);
    assert.equal(await state(), clean);
    assert.ok(!existsSync(gateway.runtimeDirectory), 'the runtime directory is gone');
  });

  it('cleans up after both processes were killed', async () => {
    const { gateway } = test.network;
    const clean = await state();
    await gateway.start();
    await gateway.kill('both');
    assert.notEqual(await state(), clean, 'the guard holds');
    const { status, stderr } = await gateway.command('down');
    assert.equal(status, 0, stderr);
    assert.equal(await state(), clean);
    assert.ok(!existsSync(gateway.runtimeDirectory), 'the runtime directory is gone');
  });
});
