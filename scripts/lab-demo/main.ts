/**
 * The demo: builds the lab, starts the gateway from a YAML file, sends the same five-tuples from both sites at the
 * same time, and shows by which tunnel everything came and went. `scripts/demo` has the usage.
 */

import { Experiment } from '../../test/support/lab/experiment.ts';
import { Network } from '../../test/support/lab/network.ts';
import { identicalFlows, runFlows } from '../../test/support/lab/traffic.ts';
import { Lab } from '../../test/support/lab.ts';
import { type DemoResult, demoResult, describeResult } from './result.ts';
import { executeIn, findDemo, forgetDemo, rememberDemo } from './running-demo.ts';

const SITES = ['paris', 'lyon'];
const PLACES = ['paris', 'lyon', 'datacenter', 'internet', 'gateway', 'paris-gateway'];
const EXCHANGES = 5;
/** A rule for one site; the other one, with the same addresses, has none. */
const RULE = {
  name: 'paris asks nobody',
  match: 'from.site == paris and udp.dstport == 9',
  action: 'reject',
};
const RULED_PORT = 9;
const EXIT_INTERRUPTED = 130;

const DRAWING = `
  paris 10.0.1.10, fd00:1::10 ── homeward ══ GRE ══╗            ╔══ datacenter 10.50.0.10, fd00:50::10
                                                 gateway (homeward)
  lyon  10.0.1.10, fd00:1::10 ══ interconnect ═════╝            ╚══ internet 203.0.113.10, 2001:db8:113::10
`;

const HINTS = `
The demo stays up until Ctrl-C. In another terminal:
  scripts/demo exec paris curl http://203.0.113.10/
  scripts/demo exec lyon curl http://10.50.0.10/
  scripts/demo exec lyon ping -c 3 2001:db8:113::10
  scripts/demo exec gateway scripts/homeward status
Places: ${PLACES.join(', ')}.`;

interface Options {
  readonly check: boolean;
  readonly json: boolean;
}

const [verb, place, ...command] = process.argv.slice(2);
if (verb === 'exec') {
  process.exitCode = executeIn(place, command);
} else {
  const args = process.argv.slice(2);
  process.exitCode = await demonstrate({ check: args.includes('--check'), json: args.includes('--json') });
}

/** The whole demo. Returns the exit status; everything is gone then. */
async function demonstrate(options: Options): Promise<number> {
  const other = options.check ? undefined : findDemo();
  if (other !== undefined) {
    process.stderr.write(`demo: one is up already (pid ${other.pid}); end it with Ctrl-C first\n`);
    return 1;
  }
  const lab = new Lab();
  const interrupted = interruption();
  try {
    const shown = show(lab, options);
    // If the lab is removed first, what was being shown fails; that is not worth a word.
    shown.catch(() => undefined);
    const result = await Promise.race([shown, interrupted.then(() => undefined)]);
    if (result === undefined) return EXIT_INTERRUPTED;
    if (options.check) return result.ok ? 0 : 1;
    await interrupted;
    say(options, 'Removing everything.');
    return 0;
  } catch (error) {
    process.stderr.write(`demo: ${(error as Error).message}\n`);
    return 1;
  } finally {
    if (!options.check) forgetDemo();
    await lab.remove();
  }
}

/** Builds, sends, prints. */
async function show(lab: Lab, options: Options): Promise<DemoResult> {
  say(options, DRAWING);
  const network = await Network.create(lab, {
    sites: [
      { name: 'paris', attachment: 'gre' },
      { name: 'lyon', attachment: 'on-link' },
    ],
    configuration: { plugins: [{ name: 'firewall', options: { default: 'accept', rules: [RULE] } }] },
  });
  await network.serve('datacenter', 'udp', RULED_PORT);
  say(options, `Starting the gateway from ${network.gateway.configPath}`);
  await network.start();
  const experiment = new Experiment(network);
  await experiment.capture();
  await experiment.warmUp(SITES);
  say(options, 'Both sites send the same five-tuples at the same time.\n');
  const outcomes = await runFlows(
    network,
    identicalFlows(network, experiment.tokens, {
      from: SITES,
      to: ['internet', 'datacenter'],
      kinds: ['tcp', 'udp', 'icmp'],
      count: EXCHANGES,
    }),
  );
  const ruled = await runFlows(
    network,
    identicalFlows(network, experiment.tokens, {
      from: SITES,
      to: ['datacenter'],
      kinds: ['udp'],
      families: [4],
      count: EXCHANGES,
      graceMs: 2000,
      firstPort: 30_000,
    }).map((flow) => ({ ...flow, destinationPort: RULED_PORT })),
  );
  const result = await demoResult(experiment, outcomes, { rule: RULE, site: 'paris', outcomes: ruled });
  // A capture that goes on for hours would fill the memory.
  await lab.agent(1).release();
  process.stdout.write(`${options.json ? toJson(result) : describeResult(result)}\n`);
  if (!options.check) {
    rememberDemo({
      pid: process.pid,
      places: Object.fromEntries(PLACES.map((name) => [name, lab.name(labelOf(name))])),
      runtimeDirectories: {
        gateway: network.gateway.runtimeDirectory,
        'paris-gateway': network.siteGateways.get('paris')!.runtimeDirectory,
      },
    });
    say(options, HINTS);
  }
  return result;
}

function labelOf(name: string): string {
  return name === 'gateway' ? 'gw' : name.replace('-gateway', '-gw');
}

/** Resolves at the first signal that asks for the end; later ones change nothing. */
function interruption(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve());
  });
}

/** Talks to people only. */
function say({ json }: Options, text: string): void {
  if (!json) process.stdout.write(`${text}\n`);
}

function toJson(result: DemoResult): string {
  return JSON.stringify(result, (_, value) => (typeof value === 'bigint' ? value.toString() : value), 2);
}
