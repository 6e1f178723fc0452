/**
 * The firewall beside nftables, over devices: the same rules in homeward and in the kernel, and the same flows through
 * either, in turn.
 *
 * - New flows a second: UDP flows of one datagram each, as fast as the client can send them. Both translate the source and
 *   keep state for each flow; only a flow's first packet is judged.
 * - Established throughput: one TCP connection, with 10,000 rules in either, and in homeward without a firewall.
 */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { prepareOptions } from '../../plugins/firewall/prepare.ts';
import { topologyOf } from '../../src/dataplane/plugin-topology.ts';
import { planPlugin } from '../support/plugins.ts';
import { benchRules, RULE_COUNTS, RULE_KINDS, type RuleKind } from './firewall-rules.ts';
import type { Lab, Path } from './lab.ts';
import { measureNewFlows, measureTcp, serve } from './load.ts';
import type { PipelineFigure } from './pipeline-measures.ts';
import { median } from './statistics.ts';

/** Of one measurement: all rounds together have room in the flow table, and in the kernel's. */
const FLOWS = 10_000;
/** The client's first port; each round has another one. */
const FIRST_PORT = 40_000;
/** What comes faster than it is judged is lost in front of the gateway; of fewer nothing can be said. */
const LEAST_ARRIVED = 500;

/** Rules as nftables has them, with the usual shortcut: packets of known flows are let through at once. */
function ruleset(kind: RuleKind, count: number): string {
  return `
    table ip bench_rules {
      chain forward {
        type filter hook forward priority 0; policy accept;
        ct state established accept
        ${benchRules(kind, count)
          .map(({ nft }) => `${nft} accept`)
          .join('\n')}
      }
    }`;
}

function nftables(lab: Lab, kind: RuleKind, count: number): Path {
  const { path, load } = lab.kernelWithRules();
  load(ruleset(kind, count));
  return path;
}

/** Rules as control hands them over: prepared, in a file of `directory`. */
function homeward(lab: Lab, directory: string, kind: RuleKind, count: number): Promise<Path> {
  const rules = benchRules(kind, count).map(({ match }) => ({ match, action: 'accept' }));
  const options = { default: 'accept', anti_spoofing: false, rules };
  const prepared = join(directory, `rules-${kind}-${count}`);
  return lab.homewardEthernet((plan) => {
    writeFileSync(prepared, prepareOptions({ options, topology: topologyOf(plan) }));
    const firewall = { ...planPlugin('plugins/firewall/manifest.json'), options: undefined, prepared };
    return {
      ...plan,
      flowTable: { ...plan.flowTable, perTunnel: 262_144, createRatePerTunnel: 0, createRatePerSource: 0 },
      plugins: [firewall, ...plan.plugins],
    };
  });
}

/** A way through either, and what came of it. */
interface Variant {
  readonly name: string;
  readonly path: Path;
  readonly values: number[];
}

/** Measures all variants in turn, in an order that the next round reverses. A first round warms up. */
async function inTurn(
  variants: readonly Variant[],
  rounds: number,
  measure: (variant: Variant, round: number) => Promise<number>,
): Promise<void> {
  for (let round = 0; round <= rounds; round++) {
    for (const variant of round % 2 === 0 ? variants : variants.toReversed()) {
      const value = await measure(variant, round);
      if (round > 0) variant.values.push(value);
    }
  }
}

/** Figures of nftables and of homeward beside it. Files go where the program `udpLoad` is. */
export async function measureBesideNftables(
  lab: Lab,
  udpLoad: string,
  rounds: number,
  seconds: number,
): Promise<PipelineFigure[]> {
  const figures: PipelineFigure[] = [];
  const most = RULE_COUNTS.at(-1)!;
  const established: Variant[] = [{ name: 'no firewall', path: await lab.homewardEthernet(), values: [] }];
  for (const kind of RULE_KINDS) {
    const variants: Variant[] = [];
    for (const count of RULE_COUNTS) {
      const paths = {
        nftables: nftables(lab, kind, count),
        homeward: await homeward(lab, dirname(udpLoad), kind, count),
      };
      for (const [who, path] of Object.entries(paths)) {
        variants.push({ name: `${who}, ${count} rules (${kind})`, path, values: [] });
        if (count === most && kind === 'mix') established.push({ name: who, path, values: [] });
      }
    }
    await inTurn(variants, rounds, async ({ name, path }, round) => {
      const { arrived, perSecond } = await measureNewFlows(path, FIRST_PORT + round, FLOWS, udpLoad);
      if (arrived < LEAST_ARRIVED) throw new Error(`${name}: ${arrived} of ${FLOWS} new flows came through`);
      return perSecond;
    });
    for (const { name, values } of variants)
      figures.push({ name: `new flows: ${name}`, value: median(values), unit: 'flows/s', bar: {} });
  }
  for (const { path } of established) await serve(path);
  await inTurn(established, rounds, async ({ path }) => (await measureTcp(path, seconds)).gbitPerSecond);
  const [without, kernel, ours] = established as [Variant, Variant, Variant];
  for (const { name, values } of [without, kernel]) {
    const ratios = ours.values.map((value, round) => value / values[round]!);
    const reference = name === 'nftables' ? 'nftables' : 'no firewall';
    figures.push({
      name: `TCP, one flow, 10,000 rules, over ${reference}`,
      value: median(ratios),
      unit: 'times',
      bar: {},
    });
  }
  return figures;
}
