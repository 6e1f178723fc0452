/**
 * What stands of our nftables tables: known by the kernel's own numbers, which costs a fraction of a millisecond, or, where it does
 * not say them, by nft's listing. Whoever sets rules at every look without knowing what stands would never come to an end: each
 * setting is a change of the host, and leads to another look.
 *
 * Neighbours: `control/host/guard.ts`, `ipsec/user-space-host.ts` (who set them), `device/native.ts` (the numbers).
 */
import { nftState } from '../device/native.ts';
import type { RunTool } from './ipsec/host-tools.ts';

/** Two of the same fingerprint are the same rules. */
export interface StandingRules {
  /** Each change of any rules of the namespace, whoever makes it, adds one; undefined where the kernel does not say. */
  readonly generation: number | undefined;
  /** '': none stand, or `nft` does not say. */
  readonly fingerprint: bigint | string;
}

/**
 * The tables of this name in this network namespace.
 *
 * @param families that the listing is to have, such as `inet`
 */
export async function standingRules(
  table: string,
  families: readonly string[],
  run: RunTool,
  ask: typeof nftState = nftState,
): Promise<StandingRules> {
  try {
    return ask(table);
  } catch {
    let listing = '';
    for (const family of families) {
      listing += await run('nft', ['--handle', 'list', 'table', family, table], { mayFail: true });
    }
    return { generation: undefined, fingerprint: listing };
  }
}

/**
 * The fingerprint of what was set, by so many changes between two looks; undefined where it may be somebody else's: damage
 * that was done meanwhile must not pass for what was set. A listing cannot tell that.
 */
export function fingerprintOfSet(
  before: StandingRules,
  after: StandingRules,
  changes: number,
): StandingRules['fingerprint'] | undefined {
  const { generation } = before;
  const isOurs = generation === undefined ? undefined : generation + changes;
  return after.generation === isOurs ? after.fingerprint : undefined;
}
