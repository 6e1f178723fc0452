/**
 * The firewall in a gateway that runs, with two sites that have the same addresses: rules for one of them, wrong rules,
 * files of sets that change, and what the command line says.
 */
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { stringify } from 'yaml';
import { applyConfig } from '../../src/api/client/config.ts';
import { askPluginView } from '../../src/api/client/plugins.ts';
import { ApiClient } from '../../src/api/client.ts';
import { labOptions, startNetwork } from '../support/lab/lab-test.ts';
import { ECHO_PORT, type Network } from '../support/lab/network.ts';
import { gatewayConfiguration } from '../support/lab/sites.ts';
import { Tokens } from '../support/lab/tokens.ts';
import { identicalFlows, runFlows } from '../support/lab/traffic.ts';
import { Lab } from '../support/lab.ts';
import { eventually, PATIENCE } from '../support/patience.ts';

const SPEC = {
  sites: [
    { name: 'paris', attachment: 'on-link' },
    { name: 'lyon', attachment: 'on-link' },
  ],
} as const;
const SITES = SPEC.sites.map(({ name }) => name);

describe('the firewall of a gateway that runs', labOptions(), () => {
  const tokens = new Tokens();
  let lab: Lab;
  let network: Network;
  let client: ApiClient;
  let firstPort = 20_000;

  before(async () => {
    lab = new Lab();
    network = await startNetwork(lab, SPEC);
    client = new ApiClient(join(network.gateway.runtimeDirectory, 'api.sock'), 30_000 * PATIENCE);
    await eventually('everybody is known', async () => (await answered()).join() === SITES.join());
  });
  after(() => lab?.remove());

  async function run(options: object): Promise<void> {
    const plugins = [{ name: 'firewall', options }];
    await applyConfig(client, { text: stringify({ ...gatewayConfiguration(SPEC), plugins }) });
  }

  /** Sends the same new flow from both sites; the sites that were answered. */
  async function answered(): Promise<string[]> {
    const flows = identicalFlows(network, tokens, {
      from: SITES,
      to: ['datacenter'],
      kinds: ['udp'],
      families: [4],
      count: 3,
      graceMs: 700,
      firstPort: firstPort++,
    });
    const outcomes = await runFlows(network, flows);
    for (const { wrong, flow } of outcomes) assert.equal(wrong, 0, flow.from);
    return outcomes.filter(({ received }) => received > 0).map(({ flow }) => flow.from);
  }

  const echo = `udp.dstport == ${ECHO_PORT}`;

  it('judges the flows of one site by rules of its own', async () => {
    await run({
      default: 'drop',
      rules: [
        { name: 'all', action: 'count' },
        { name: 'echo of paris', match: `from.site == paris and ${echo}`, action: 'accept' },
      ],
    });
    assert.deepEqual(await answered(), ['paris']);
    const { rules } = (await askPluginView(client, 'firewall', 'rules', {})) as {
      rules: { flows: number }[];
    };
    // Paris begins one flow; each datagram of lyon is judged anew.
    assert.deepEqual(
      rules.map(({ flows }) => flows),
      [4, 1],
    );
    const said = await network.gateway.command(
      ...['firewall', 'test', '--from-tunnel', 'lyon-ic', '--src', '10.0.1.10', '--dst', '10.50.0.10'],
      ...['--proto', 'udp', '--dport', String(ECHO_PORT)],
    );
    assert.equal(said.status, 0, said.stderr);
    assert.match(
      said.stdout,
      /^from lyon-ic to .*\nrules\[0\] "all" matches: count, and goes on\ndrop: default: drop\n$/,
    );
  });

  it('says where a rule is wrong, and goes on with those that it has', async () => {
    await assert.rejects(
      run({ default: 'accept', rules: [{ match: 'from.site == lyon and udp.dport == 7', action: 'drop' }] }),
      (error: Error) => {
        assert.match(
          JSON.stringify(error, Object.getOwnPropertyNames(error)),
          /rules\[0\]\.match.*column 23: .*udp\.dport/,
        );
        return true;
      },
    );
    assert.deepEqual(await answered(), ['paris']);
  });

  it('follows the files of sets', async () => {
    const file = join(lab.directory, 'listed');
    const write = (text: string): void => {
      writeFileSync(`${file}.new`, text);
      renameSync(`${file}.new`, file);
    };
    write('10.0.0.0/8\n');
    await run({
      default: 'accept',
      sets: { listed: { file } },
      rules: [{ match: 'from.site == lyon and src in @listed', action: 'reject' }],
    });
    assert.deepEqual(await answered(), ['paris']);
    write('203.0.113.0/24 # nobody\n');
    await eventually('lyon is let through', async () => (await answered()).join() === SITES.join(), 30_000);
  });
});
