/**
 * The leak tests must be able to fail: builds with the address space taken out of the flow key, or with the pin
 * taken out, leak, and the check says so. The same copy without a mutation does not.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { describeLeaks, Experiment, type ExperimentReport } from '../support/lab/experiment.ts';
import { labOptions, startNetwork } from '../support/lab/lab-test.ts';
import { copyProject, type Mutation } from '../support/lab/mutant.ts';
import { identicalFlows, runFlows } from '../support/lab/traffic.ts';
import { Lab } from '../support/lab.ts';

/** Every flow is taken to be in the same address space. */
const NO_SPACE: Mutation = {
  file: 'src/flow/layout.ts',
  text: 'return (space << 16) | (protocol << 8) | family;',
  replacement: 'return (((space >>> 31) | 1) << 16) | (protocol << 8) | family;',
};

/** Replies take the first tunnel there is, as the only route towards the sites' prefix could make them. */
const NO_PIN: Mutation = {
  file: 'src/pipeline/flow-setup.ts',
  text: 'words[base + REPLY * DIRECTION_WORDS + DIRECTION_EGRESS] = ports.wordOf[back];',
  replacement:
    'words[base + REPLY * DIRECTION_WORDS + DIRECTION_EGRESS] = ports.wordOf.find((word) => word !== 0)!;',
};

describe('the leak check on builds of homeward', labOptions(), () => {
  /** Sends from two sites through a gateway built from a copy of the project. */
  async function leaksOf(t: TestContext, mutation?: Mutation): Promise<ExperimentReport> {
    const lab = new Lab();
    t.after(() => lab.remove());
    const sites = ['paris', 'lyon'];
    const network = await startNetwork(lab, {
      sites: sites.map((name) => ({ name, attachment: 'on-link' })),
      project: copyProject(`${lab.directory}/project`, mutation),
    });
    const experiment = new Experiment(network);
    await experiment.capture();
    await runFlows(
      network,
      identicalFlows(network, experiment.tokens, {
        from: sites,
        to: ['internet', 'datacenter'],
        count: 8,
        graceMs: 1500,
      }),
    );
    return experiment.report();
  }

  it('finds no leak in an unchanged copy', async (t) => {
    const { leaks } = await leaksOf(t);
    assert.equal(leaks.length, 0, describeLeaks(leaks));
  });

  for (const [name, mutation] of [
    ['the address space taken out of the flow key', NO_SPACE],
    ['the pin taken out', NO_PIN],
  ] as const) {
    it(`finds leaks with ${name}`, async (t) => {
      const { leaks } = await leaksOf(t, mutation);
      const foreign = leaks.filter(({ host, why }) => host !== 'internet' && /token of/.test(why));
      t.diagnostic(`${leaks.length} leaks, ${foreign.length} with another site's token`);
      assert.ok(foreign.length > 0, `no leak was found: ${describeLeaks(leaks)}`);
    });
  }
});
