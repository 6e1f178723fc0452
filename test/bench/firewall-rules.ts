/**
 * Rule sets for measuring the firewall, as options and for nftables, the same in every run.
 *
 * - `mix`: what access lists look like: prefixes of many lengths, ports, ranges of ports. A packet meets few of them.
 * - `worst`: every rule overlaps all others in source or destination and in ports, and none holds a packet, so that
 *   nothing can be left out and nothing ends the search.
 */

export const RULE_COUNTS = [10, 1000, 10_000] as const;
export const RULE_KINDS = ['mix', 'worst'] as const;
export type RuleKind = (typeof RULE_KINDS)[number];

/** One rule; all accept, and so does the default. */
export interface BenchRule {
  readonly match: string;
  readonly nft: string;
}

export function benchRules(kind: RuleKind, count: number): BenchRule[] {
  let state = 0x5eed1234;
  const random = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  return Array.from({ length: count }, (_, at) => (kind === 'mix' ? mixed(random) : overlapping(at)));
}

function mixed(random: (below: number) => number): BenchRule {
  const parts: BenchRule[] = [];
  const which = random(4);
  if (which !== 0) {
    const prefix = prefixText(0x0a000000 | random(1 << 24), [12, 16, 20, 24, 24, 28, 32, 32][random(8)]!);
    parts.push({ match: `ip.src == ${prefix}`, nft: `ip saddr ${prefix}` });
  }
  if (which !== 1) {
    const prefix = prefixText(0x10000000 | random(1 << 26), [12, 16, 24, 24, 24, 32, 32, 32][random(8)]!);
    parts.push({ match: `ip.dst == ${prefix}`, nft: `ip daddr ${prefix}` });
  }
  const port = [443, 80, 22, 25, 53, 1024 + random(60_000)][random(6)]!;
  const low = 1024 + random(50_000);
  const high = low + random(5000);
  switch (random(4)) {
    case 0:
      parts.push({ match: `tcp.dstport in {${low}..${high}}`, nft: `tcp dport ${low}-${high}` });
      break;
    case 1:
      parts.push({ match: `udp.dstport == ${port}`, nft: `udp dport ${port}` });
      break;
    case 2:
      parts.push({ match: `tcp.dstport == ${port}`, nft: `tcp dport ${port}` });
      break;
    default:
      parts.push({ match: 'tcp', nft: 'meta l4proto tcp' });
  }
  return joined(parts);
}

function overlapping(at: number): BenchRule {
  const [ours, theirs, other, otherTheirs] =
    at % 2 === 0
      ? ['ip.src', 'ip saddr', 'ip.dst', 'ip daddr']
      : ['ip.dst', 'ip daddr', 'ip.src', 'ip saddr'];
  const from = addressText(0x01000000 + at * 3);
  const to = addressText(0xdf000000 - at * 5);
  const low = at % 1900;
  const high = 65_535 - (at % 1500);
  return joined([
    { match: `${ours} in {${from}..${to}}`, nft: `${theirs} ${from}-${to}` },
    { match: `tcp.srcport in {${low}..${high}}`, nft: `tcp sport ${low}-${high}` },
    { match: `${other} == 1.1.1.1`, nft: `${otherTheirs} 1.1.1.1` },
  ]);
}

function joined(parts: readonly BenchRule[]): BenchRule {
  return {
    match: parts.map(({ match }) => match).join(' and '),
    nft: parts.map(({ nft }) => nft).join(' '),
  };
}

function addressText(word: number): string {
  return [24, 16, 8, 0].map((shift) => (word >>> shift) & 255).join('.');
}

function prefixText(word: number, length: number): string {
  return `${addressText(word & (-1 << (32 - length)))}/${length}`;
}
