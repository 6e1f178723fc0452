/**
 * The firewall in a gateway that runs, with two sites that have the same addresses: rules for one of them, wrong rules,
 * files of sets that change, and what the command line says.
 */
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { askPluginView } from '../../src/api/client/plugins.ts';
import { benchRules } from '../bench/firewall-rules.ts';
import { labOptions } from '../support/lab/lab-test.ts';
import { ECHO_PORT } from '../support/lab/network.ts';
import { NumberedDatagrams } from '../support/lab/numbered-datagrams.ts';
import { SITES, TwoSites } from '../support/lab/two-sites.ts';
import { eventually, PATIENCE } from '../support/patience.ts';

/** Reloads of ten thousand rules while numbered datagrams pass. */
const RELOADS = 5;
const RULES = 10_000;

describe('the firewall of a gateway that runs', labOptions(), () => {
  let sites: TwoSites;

  before(async () => {
    sites = await TwoSites.start();
  });
  after(() => sites?.remove());

  const run = (options: object): Promise<void> => sites.run({ name: 'firewall', options });
  const answered = (): Promise<string[]> => sites.answered();

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
    const { rules } = (await askPluginView(sites.client, 'firewall', 'rules', {})) as {
      rules: { flows: number }[];
    };
    // Paris begins one flow; each datagram of lyon is judged anew.
    assert.deepEqual(
      rules.map(({ flows }) => flows),
      [4, 1],
    );
    const said = await sites.network.gateway.command(
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
    const file = join(sites.lab.directory, 'listed');
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

  it('takes ten thousand rules without keeping packets waiting', async (t) => {
    const datagrams = await NumberedDatagrams.start(sites.lab);
    const options = (reload: number): object => ({
      default: 'accept',
      anti_spoofing: false,
      rules: [
        { name: `reload ${reload}`, match: 'proto == gre', action: 'drop' },
        ...benchRules('mix', RULES).map(({ match }) => ({ match, action: 'accept' })),
      ],
    });
    await run({ default: 'accept' });
    await datagrams.during({ paris: 1000 }, () => sleep(500));
    const { paris: calm } = await datagrams.during({ paris: 1000 }, () => sleep(3000));
    const took: number[] = [];
    const { paris: reloaded } = await datagrams.during({ paris: 1000 }, async () => {
      for (let reload = 1; reload <= RELOADS; reload++) {
        const began = performance.now();
        await run(options(reload));
        took.push(Math.round(performance.now() - began));
        // The rules are those of this reload, and it was the same data plane that took them.
        const { rules } = (await askPluginView(sites.client, 'firewall', 'rules', { limit: 1 })) as {
          rules: { name: string }[];
        };
        assert.equal(rules[0]?.name, `reload ${reload}`);
      }
    });
    t.diagnostic(`without reloads: ${JSON.stringify(calm)}`);
    t.diagnostic(
      `${RELOADS} reloads of ${RULES} rules, ms each: ${took.join(', ')}: ${JSON.stringify(reloaded)}`,
    );
    // Compiling them there would take longer than that; on a machine that is busy otherwise nothing else can be told.
    assert.ok(reloaded.longestGapMs < 1000 * PATIENCE, `nothing came for ${reloaded.longestGapMs} ms`);
    const status = await sites.network.gateway.status();
    assert.equal(status?.dataPlane.restarts, 0);
    assert.deepEqual(await answered(), SITES);
  });
});
