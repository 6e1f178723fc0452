/**
 * Reads the rules of the host's firewall, without homeward's own: by `nft`, and only when they have changed since the last
 * time, which the kernel's number of changes tells.
 *
 * Neighbours: `../compile/host-rules.ts` (judges them), `../../device/native.ts` (the number).
 */
import { readFileSync } from 'node:fs';
import * as z from 'zod';
import { networkNamespaceCookie, nftState } from '../../device/native.ts';
import type { HostChain, HostRules } from '../compile/host-rules.ts';
import { runCommand } from './command.ts';
import { GUARD_TABLE } from './guard-rules.ts';

const chainSchema = z.object({
  family: z.string(),
  table: z.string(),
  name: z.string(),
  hook: z.string().optional(),
  policy: z.string().optional(),
});
const ruleSchema = z.object({
  family: z.string(),
  table: z.string(),
  chain: z.string(),
  expr: z.array(z.unknown()).optional(),
});
const rulesetSchema = z.object({ nftables: z.array(z.record(z.string(), z.unknown())) });

/** Which rules were read last: of which namespace, after which change. */
let read: { readonly state: string; readonly rules: HostRules } | undefined;

/**
 * @returns the rules; none where `nft` cannot say them as JSON: it is not known then that anything would be dropped.
 * @throws CommandError if `nft` is missing.
 */
export async function collectHostRules(): Promise<HostRules> {
  const state = currentState();
  if (state !== undefined && read?.state === state) return read.rules;
  const listed = await runCommand('nft', ['--json', '--terse', 'list', 'ruleset'], { mayFail: true });
  const rules: HostRules = { chains: parseChains(listed), legacy: legacyFamilies() };
  // Rules that changed meanwhile are read again the next time.
  read = state === undefined ? undefined : { state, rules };
  return rules;
}

/** undefined where it cannot be told. */
function currentState(): string | undefined {
  try {
    const legacy = legacyFamilies().join(' ');
    return `${networkNamespaceCookie()} ${nftState(GUARD_TABLE).generation} ${legacy}`;
  } catch {
    return undefined;
  }
}

/** None where that is no list of rules: `nft` may be built without JSON, or give up at rules that it cannot say in it. */
function parseChains(json: string): HostChain[] {
  let nftables: z.infer<typeof rulesetSchema>['nftables'];
  try {
    ({ nftables } = rulesetSchema.parse(JSON.parse(json)));
  } catch {
    return [];
  }
  const chains = new Map<string, HostChain & { readonly rules: (readonly unknown[])[] }>();
  for (const entry of nftables) {
    if ('chain' in entry) {
      const chain = chainSchema.parse(entry.chain);
      if (chain.table.startsWith(GUARD_TABLE)) continue;
      chains.set(`${chain.family} ${chain.table} ${chain.name}`, { ...chain, rules: [] });
    } else if ('rule' in entry) {
      const { family, table, chain, expr } = ruleSchema.parse(entry.rule);
      chains.get(`${family} ${table} ${chain}`)?.rules.push(expr ?? []);
    }
  }
  return [...chains.values()];
}

/** The older kind of iptables is not nftables; the kernel names the tables that somebody has used. */
function legacyFamilies(): (4 | 6)[] {
  return ([4, 6] as const).filter((family) => {
    try {
      return readFileSync(`/proc/net/ip${family === 6 ? '6' : ''}_tables_names`, 'latin1').trim() !== '';
    } catch {
      return false;
    }
  });
}
