/**
 * Random rules in two languages, the firewall's and nftables', and random packets for them; and the kernel's answer.
 *
 * ```
 *  sender ─ a0 ═ a1 ┐ ingress chain: rule 7 matches ─► source MAC := 7, fwd ─► b0 ═ b1 ─ receiver
 *  sender ─ c0 ═ c1 ┘
 * ```
 *
 * The destination MAC carries the packet's number, so every packet comes out with the number of the rule that matched.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { PacketSpec } from '../../src/wire/build.ts';
import type { Random } from './random.fixture.ts';

/** One condition in both languages. */
export interface Said {
  readonly ours: string;
  readonly nft: string;
}

/** A rule is the first of these conjunctions that holds; of each, `except` must not hold. */
export interface RandomRule {
  readonly cases: readonly { readonly all: readonly Said[]; readonly except: readonly Said[] }[];
}

type Family = 4 | 6;
type Transport = 'tcp' | 'udp' | 'icmp' | 'other';

const ADDRESSES4 = [
  '10.0.0.1',
  '10.0.0.2',
  '10.0.1.77',
  '10.1.0.0',
  '10.255.255.255',
  '172.16.3.4',
  '192.0.2.80',
];
const ADDRESSES6 = ['fd00::1', 'fd00::2', 'fd00:0:0:1::', 'fd00:1::77', '2001:db8::1', '2001:db8:ffff::'];
const PREFIXES4 = [
  '0.0.0.0/0',
  '10.0.0.0/8',
  '10.0.0.0/16',
  '10.0.0.0/31',
  '10.1.0.0/16',
  '172.16.0.0/12',
  '192.0.2.80/32',
];
const PREFIXES6 = ['::/0', 'fd00::/8', 'fd00::/64', 'fd00::/127', 'fd00:1::/32', '2001:db8::/32'];
const RANGES4 = ['10.0.0.2..10.0.1.77', '10.0.0.0..10.0.0.1', '10.200.0.0..192.0.2.79'];
const RANGES6 = ['fd00::1..fd00::2', '2001:db8::1..fd00:1::77'];
const PORTS = [0, 1, 22, 53, 80, 443, 1023, 1024, 8080, 40000, 65535];
/** What a segment may carry. */
const FLAGS = [0x02, 0xc2, 0x12, 0x10, 0x18, 0x04, 0x14, 0x11, 0x52];
const FLAG_NAMES = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg', 'ecn', 'cwr'];
const ICMP_TYPES: Readonly<Record<Family, readonly number[]>> = { 4: [8, 13, 0, 3], 6: [128, 129, 1] };
const TTLS = [1, 2, 5, 64, 128, 255];
const DSCPS = [0, 8, 10, 34, 46, 63];
const OTHER_PROTOCOLS = [2, 89, 103, 112];

const nftRange = (range: string): string => range.replace('..', '-');
const nftSet = (items: readonly (string | number)[]): string =>
  `{ ${items.map((item) => nftRange(String(item))).join(', ')} }`;
const ourSet = (items: readonly (string | number)[]): string => `{${items.join(', ')}}`;

function address(random: Random, family: Family): Said {
  const [end, nftEnd] = random.pick([
    ['src', 'saddr'],
    ['dst', 'daddr'],
  ]);
  const [ours, nft] = family === 4 ? [`ip.${end}`, `ip ${nftEnd}`] : [`ipv6.${end}`, `ip6 ${nftEnd}`];
  const [singles, prefixes, ranges] =
    family === 4 ? [ADDRESSES4, PREFIXES4, RANGES4] : [ADDRESSES6, PREFIXES6, RANGES6];
  if (random.one(3)) {
    // Disjoint: sets of nftables have no overlaps unless told to merge them.
    const items = [random.pick(singles)];
    return { ours: `${ours} in ${ourSet(items)}`, nft: `${nft} ${nftSet(items)}` };
  }
  if (random.one(3)) {
    const range = random.pick(ranges);
    return { ours: `${ours} in {${range}}`, nft: `${nft} ${nftRange(range)}` };
  }
  const value = random.pick(random.one(2) ? singles : prefixes);
  // Everything cannot be unequal to everything: nft refuses to compare with /0.
  const usable = value.endsWith('/0') ? singles[0]! : value;
  return random.one(3)
    ? { ours: `${ours} != ${usable}`, nft: `${nft} != ${usable}` }
    : { ours: `${ours} == ${usable}`, nft: `${nft} ${usable}` };
}

/** Compares a number in one of the ways that both languages have. */
function compared(random: Random, ours: string, nft: string, values: readonly number[]): Said {
  const value = random.pick(values);
  // nft refuses ranges of one value, which is what an order makes of the ends.
  const isInner = value > 0 && value < values.at(-1)!;
  switch (random.number(6)) {
    case 0: {
      const operator = isInner ? random.pick(['<=', '>=', '!=']) : '!=';
      return { ours: `${ours} ${operator} ${value}`, nft: `${nft} ${operator} ${value}` };
    }
    case 1: {
      const operator = isInner ? random.pick(['<', '>']) : '!=';
      return { ours: `${ours} ${operator} ${value}`, nft: `${nft} ${operator} ${value}` };
    }
    case 2: {
      const items = [...new Set(random.list(4, () => random.pick(values)))];
      return { ours: `${ours} in ${ourSet(items)}`, nft: `${nft} ${nftSet(items)}` };
    }
    case 3: {
      const [low, high] = [value, random.pick(values)].toSorted((a, b) => a - b) as [number, number];
      return low === high
        ? { ours: `${ours} == ${low}`, nft: `${nft} ${low}` }
        : { ours: `${ours} in {${low}..${high}}`, nft: `${nft} ${low}-${high}` };
    }
    default:
      return { ours: `${ours} == ${value}`, nft: `${nft} ${value}` };
  }
}

function flags(random: Random): Said {
  const mask = random.pick([0x02, 0x12, 0x17, 0x04, 0xc2, 0x3f]);
  const value = random.pick(FLAGS) & mask;
  const names = (bits: number): string =>
    bits === 0 ? '0x0' : FLAG_NAMES.filter((_, bit) => (bits & (1 << bit)) !== 0).join('|');
  if (random.one(3)) return { ours: `tcp.flags & ${mask}`, nft: `tcp flags & (${names(mask)}) != 0x0` };
  const operator = random.pick(['==', '!=']);
  return {
    ours: `tcp.flags & ${mask} ${operator} ${value}`,
    nft: `tcp flags & (${names(mask)}) ${operator} ${names(value)}`,
  };
}

function one(random: Random, family: Family, transport: Transport): Said {
  const kind = random.number(10);
  if (kind < 4) return address(random, family);
  if (kind === 4) {
    const [ours, nft] = random.pick(
      family === 4
        ? [
            ['ip.ttl', 'ip ttl'],
            ['ip.len', 'ip length'],
          ]
        : [
            ['ipv6.hlim', 'ip6 hoplimit'],
            ['ipv6.plen', 'ip6 length'],
          ],
    ) as [string, string];
    return compared(random, ours, nft, ours.endsWith('len') ? [20, 28, 40, 60, 100, 1000] : TTLS);
  }
  if (kind === 5) {
    const [ours, nft] = family === 4 ? ['ip.dsfield.dscp', 'ip dscp'] : ['ipv6.tclass.dscp', 'ip6 dscp'];
    const value = random.pick(DSCPS);
    return random.one(3)
      ? { ours: `${ours} != ${value}`, nft: `${nft} != ${value}` }
      : { ours: `${ours} == ${value}`, nft: `${nft} ${value}` };
  }
  if (kind === 6) {
    return random.pick<Said>([
      { ours: 'from.tunnel == paris-gre', nft: 'iifname "a1"' },
      { ours: 'from.tunnel == lyon', nft: 'iifname "c1"' },
    ]);
  }
  switch (transport) {
    case 'tcp':
      if (random.one(3)) return flags(random);
      return compared(random, ...port(random, 'tcp'), PORTS);
    case 'udp':
      return compared(random, ...port(random, 'udp'), PORTS);
    case 'icmp': {
      const [ours, nft] = family === 4 ? ['icmp', 'icmp'] : ['icmpv6', 'icmpv6'];
      return random.one(3)
        ? compared(random, `${ours}.code`, `${nft} code`, [0, 1, 2])
        : compared(random, `${ours}.type`, `${nft} type`, ICMP_TYPES[family]);
    }
    case 'other': {
      const items = [...new Set(random.list(3, () => random.pick([1, 6, 17, 58, ...OTHER_PROTOCOLS])))];
      return { ours: `proto in ${ourSet(items)}`, nft: `meta l4proto ${nftSet(items)}` };
    }
  }
}

function port(random: Random, protocol: string): [string, string] {
  const [ours, nft] = random.pick([
    ['srcport', 'sport'],
    ['dstport', 'dport'],
  ]) as [string, string];
  return [`${protocol}.${ours}`, `${protocol} ${nft}`];
}

/**
 * Conditions that can hold together: nft refuses those of two families or protocols in one rule. And one `!=` at most:
 * nft 1.0.6 makes `type != 129 code != 0` one comparison of both bytes, which is something else.
 */
function conjunction(random: Random, most: number): Said[] {
  const family = random.pick([4, 6] as const);
  const transport = random.pick(['tcp', 'udp', 'icmp', 'other'] as const);
  const all = random.list(most, () => one(random, family, transport));
  const firstUnequal = all.findIndex(({ nft }) => nft.includes('!='));
  return all.filter(({ nft }, index) => index === firstUnequal || !nft.includes('!='));
}

export function randomRule(random: Random): RandomRule {
  const count = random.one(5) ? 2 : 1;
  return {
    cases: Array.from({ length: count }, () => ({
      all: conjunction(random, 4),
      except: random.one(4) ? conjunction(random, 2) : [],
    })),
  };
}

const joined = (all: readonly Said[]): string => all.map(({ ours }) => ours).join(' and ');

/** A rule as an expression of the firewall. */
export function expressionOf({ cases }: RandomRule): string {
  return cases
    .map(({ all, except }) => {
      const holds = joined(all);
      return except.length === 0 ? `(${holds})` : `(${holds} and not (${joined(except)}))`;
    })
    .join(' or ');
}

/** All rules as an nftables ruleset that writes the number of the matching rule, 1 the first, into the source MAC. */
export function rulesetOf(rules: readonly RandomRule[]): string {
  const chains: string[] = [];
  const lines: string[] = [];
  const mark = (rule: number): string =>
    `ether saddr set 02:00:00:00:${hex(rule >>> 8)}:${hex(rule & 255)} fwd to "b0"`;
  rules.forEach(({ cases }, index) => {
    for (const { all, except } of cases) {
      const match = all.map(({ nft }) => nft).join(' ');
      if (except.length === 0) {
        lines.push(`${match} ${mark(index + 1)}`);
        continue;
      }
      const name = `except${chains.length}`;
      chains.push(`chain ${name} { ${except.map(({ nft }) => nft).join(' ')} return; ${mark(index + 1)}; }`);
      lines.push(`${match} jump ${name}`);
    }
  });
  return `
    table netdev oracle
    delete table netdev oracle
    table netdev oracle {
      ${chains.join('\n')}
      chain ingress {
        type filter hook ingress devices = { "a1", "c1" } priority 0; policy drop;
        ${lines.join('\n')}
        ${mark(0)}
      }
    }`;
}

const hex = (byte: number): string => byte.toString(16).padStart(2, '0');

/** A packet that meets some of what random rules ask. */
export function randomPacket(random: Random): PacketSpec {
  const family = random.pick([4, 6] as const);
  const addresses = family === 4 ? ADDRESSES4 : ADDRESSES6;
  const payload = new Uint8Array(random.pick([0, 12, 20, 60, 960]));
  const ports = { sourcePort: random.pick(PORTS), destinationPort: random.pick(PORTS) };
  const transports = [
    () => ({ kind: 'tcp' as const, ...ports, flags: random.pick(FLAGS), payload }),
    () => ({ kind: 'udp' as const, ...ports, payload }),
    () => ({
      kind: 'icmp' as const,
      type: random.pick(ICMP_TYPES[family].slice(0, 2)),
      code: 0,
      rest: 0x00070001,
      payload,
    }),
    () => ({ kind: 'raw' as const, protocol: random.pick(OTHER_PROTOCOLS), payload: new Uint8Array(8) }),
  ];
  return {
    source: random.pick(addresses),
    destination: random.pick(addresses),
    ttl: random.pick(TTLS),
    trafficClass: (random.pick(DSCPS) << 2) | random.number(4),
    ...(family === 6 && random.one(6) ? { extensions: [{ protocol: 60, body: new Uint8Array(6) }] } : {}),
    transport: random.pick(transports)(),
  };
}

/** The kernel, in the network namespace of this process. */
export class Nftables {
  private readonly child: ChildProcessWithoutNullStreams;
  private pending = '';
  private waiting: ((line: string) => void) | undefined = undefined;
  private said = '';

  constructor() {
    const links = ['a0 type veth peer name a1', 'b0 type veth peer name b1', 'c0 type veth peer name c1'];
    const names = ['a0', 'a1', 'b0', 'b1', 'c0', 'c1'];
    const commands = [
      ...links.map((link) => `link add ${link}`),
      ...names.map((name) => `link set ${name} up`),
    ];
    execFileSync('ip', ['-batch', '-'], { input: `${commands.join('\n')}\n` });
    this.child = spawn('python3', [join(import.meta.dirname, 'nftables.fixture.py')]);
    this.child.stdout.on('data', (chunk: Buffer) => {
      this.pending += chunk.toString();
      const end = this.pending.indexOf('\n');
      if (end < 0) return;
      const line = this.pending.slice(0, end);
      this.pending = this.pending.slice(end + 1);
      this.waiting?.(line);
    });
    this.child.stderr.on('data', (chunk: Buffer) => {
      this.said += chunk.toString();
    });
    this.child.on('exit', () => this.waiting?.('error: it has ended'));
  }

  load(ruleset: string): void {
    execFileSync('nft', ['-f', '-'], { input: ruleset, stdio: ['pipe', 'pipe', 'pipe'] });
  }

  /** The number of the matching rule for each packet, by the device it comes in by; 0 for none. */
  async judge(
    packets: readonly { readonly device: 'a' | 'c'; readonly packet: Uint8Array }[],
  ): Promise<number[]> {
    const answer = new Promise<string>((resolve) => {
      this.waiting = resolve;
    });
    const words = packets.map(({ device, packet }) => device + Buffer.from(packet).toString('hex'));
    this.child.stdin.write(`${words.join(' ')}\n`);
    const line = await answer;
    const rules = line.split(' ').map(Number);
    if (line.startsWith('error') || rules.length !== packets.length) throw new Error(`${line}\n${this.said}`);
    return rules;
  }

  end(): void {
    this.child.stdin.end();
  }
}
