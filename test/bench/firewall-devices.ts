/**
 * The firewall beside nftables, over devices: the same rules in the kernel.
 *
 * - Packets that are judged one by one: 64-byte packets through a chain of N rules without a shortcut for established
 *   connections, as many of them a second as there could be new flows; what the rules add to each.
 * - Established throughput: one TCP connection, with 10,000 rules in either, where only its first packet is judged.
 */
import { planPlugin } from '../support/plugins.ts';
import { benchRules, RULE_COUNTS, RULE_KINDS, type RuleKind } from './firewall-rules.ts';
import type { Lab } from './lab.ts';
import { measurePackets, measureTcp, serve } from './load.ts';
import type { PipelineFigure } from './pipeline-measures.ts';
import { median } from './statistics.ts';

/** Rules as nftables has them; `isStateful`: packets of known connections are let through at once. */
function ruleset(kind: RuleKind | undefined, count: number, isStateful: boolean): string {
  const rules = kind === undefined ? [] : benchRules(kind, count).map(({ nft }) => `${nft} accept`);
  return `
    table ip bench_rules
    delete table ip bench_rules
    table ip bench_rules {
      chain forward {
        type filter hook forward priority 0; policy accept;
        ${isStateful ? 'ct state established accept' : ''}
        ${rules.join('\n')}
      }
    }`;
}

/** Figures of nftables and of homeward beside it. */
export async function measureBesideNftables(
  lab: Lab,
  udpLoad: string,
  rounds: number,
  seconds: number,
): Promise<PipelineFigure[]> {
  const figures: PipelineFigure[] = [];
  const { path, load } = lab.kernelWithRules();
  const most = RULE_COUNTS.at(-1)!;
  for (const kind of RULE_KINDS) {
    const packetNs = new Map<number, number[]>();
    for (let round = 0; round < rounds; round++) {
      for (const count of [0, ...RULE_COUNTS]) {
        load(ruleset(count === 0 ? undefined : kind, count, false));
        const ns = 1e9 / (await measurePackets(path, seconds, udpLoad));
        packetNs.set(count, [...(packetNs.get(count) ?? []), ns]);
      }
    }
    const none = median(packetNs.get(0)!);
    for (const count of RULE_COUNTS) {
      const value = median(packetNs.get(count)!) - none;
      figures.push({ name: `nftables: ${count} rules, each packet (${kind})`, value, unit: 'ns', bar: {} });
    }
  }
  load(ruleset('mix', most, true));
  const rules = benchRules('mix', most).map(({ match }) => ({ match, action: 'accept' }));
  const options = { default: 'accept', anti_spoofing: false, rules };
  const homeward = await lab.homewardEthernet([planPlugin('plugins/firewall/manifest.json', options)]);
  for (const each of [path, homeward]) await serve(each);
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const theirs = await measureTcp(path, seconds);
    const ours = await measureTcp(homeward, seconds);
    ratios.push(ours.gbitPerSecond / theirs.gbitPerSecond);
  }
  figures.push({
    name: 'TCP, one flow, 10,000 rules, over nftables',
    value: median(ratios),
    unit: 'times',
    bar: {},
  });
  return figures;
}
