/**
 * A lab for the tests of one file: made before them, removed after them, whatever happens; a test is skipped by
 * name where the machine cannot make one.
 */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { compileProgram } from '../../bench/native-programs.ts';
import { Lab, labObstacle } from '../lab.ts';
import { describeLeaks, Experiment, type ExperimentReport } from './experiment.ts';
import type { LeakCheckOptions } from './leak-check.ts';
import { Network } from './network.ts';
import type { NetworkSpec } from './sites.ts';
import { failuresOf, type Outcome } from './traffic.ts';

/** What the tests of a file share. The members are there when the first of them runs. */
export interface LabTest {
  readonly lab: Lab;
  readonly network: Network;
  readonly experiment: Experiment;
  /** Names of all sites. */
  readonly sites: readonly string[];
}

/** Options of `describe`: skips, and says why, where there can be no lab. */
export function labOptions(): { skip?: string } {
  const skip = labObstacle();
  return skip === undefined ? {} : { skip };
}

/** Call within `describe`: a running network with captures on all devices and neighbours known. */
export function useNetwork(spec: NetworkSpec): LabTest {
  const test: { -readonly [Key in keyof LabTest]?: LabTest[Key] } = {
    sites: spec.sites.map(({ name }) => name),
  };
  before(async () => {
    test.lab = new Lab();
    test.network = await startNetwork(test.lab, spec);
    test.experiment = new Experiment(test.network);
    await test.experiment.capture();
    await test.experiment.warmUp(test.sites!);
  });
  after(() => test.lab?.remove());
  return test as LabTest;
}

/** Builds and starts a network; compiles the GRE peer if a site has one. */
export async function startNetwork(lab: Lab, spec: NetworkSpec): Promise<Network> {
  const needsPeer = spec.sites.some(({ attachment }) => attachment === 'gre-peer');
  const peer = needsPeer ? { grePeer: compileProgram(lab.directory, 'gre-raw') } : {};
  const network = await Network.create(lab, { ...spec, ...peer });
  await network.start();
  return network;
}

/** Every message of every flow was answered once and rightly; if not, says what the gateways dropped. */
export async function assertComplete(network: Network, outcomes: readonly Outcome[]): Promise<void> {
  assert.ok(outcomes.length > 0);
  const failures = failuresOf(outcomes);
  if (failures.length === 0) return;
  const drops = await Promise.all(
    [network.gateway, ...network.siteGateways.values()].map(async (homeward) => {
      const status = await homeward.status();
      return [
        ...[...(status?.tunnels ?? []), ...(status?.egresses ?? [])].map(
          (port) => `${port.name}: ${JSON.stringify(port.drops)}`,
        ),
        ...(status?.devices ?? []).map(
          ({ name, rxErrors, txErrors }) => `${name}: ${rxErrors} not received, ${txErrors} not sent`,
        ),
      ];
    }),
  );
  assert.fail(['not complete:', ...failures, 'dropped so far:', ...drops.flat()].join('\n'));
}

/** Nothing was delivered anywhere that the receiver's own traffic does not explain. */
export async function assertNoLeak(
  experiment: Experiment,
  options: LeakCheckOptions = {},
): Promise<ExperimentReport> {
  const report = await experiment.report(options);
  assert.equal(report.leaks.length, 0, describeLeaks(report.leaks));
  return report;
}
