/**
 * Keeps peers from our daemon until it knows their tunnels: it would refuse them, and many a peer that was refused does not call
 * again. What they send meanwhile is dropped, as if it were lost; IKE sends it again.
 *
 * ```
 *  hold ── daemon started ── connections loaded ── release
 *   └── also when the daemon ends, until the next one has them
 * ```
 *
 * Neighbours: `kernel.ts` (when); `user-space.ts` steers packets to a daemon in a namespace of its own, and needs none of this.
 */
import type { RunTool } from './host-tools.ts';

/** Name of the nftables table, `inet`. */
export const HOLD_TABLE = 'homeward_ike';
const IKE_PORTS = [500, 4500];
/** Before anything else of the host's looks at them. */
const PRIORITY = -450;

/** Ends of a tunnel; `remote` null: any. */
export interface HeldEnds {
  readonly local: string;
  readonly remote: string | null;
}

/** Drops what these peers send to IKE, and nothing else, from now on. @throws Error by the tool */
export async function holdPeers(run: RunTool, ends: readonly HeldEnds[]): Promise<void> {
  await run('nft', ['-f', '-'], { input: `${REMOVAL}\n${holdRules(ends)}` });
}

/** Succeeds also if nobody is held. @throws Error by the tool */
export async function releasePeers(run: RunTool): Promise<void> {
  await run('nft', ['-f', '-'], { input: `${REMOVAL}\n` });
}

const REMOVAL = `add table inet ${HOLD_TABLE}\ndelete table inet ${HOLD_TABLE}`;

/** No sets: in new rules they are empty for a moment. */
function holdRules(ends: readonly HeldEnds[]): string {
  const rules = ends.flatMap(({ local, remote }) => {
    const header = local.includes(':') ? 'ip6' : 'ip';
    const from = remote === null ? '' : `${header} saddr ${remote} `;
    return IKE_PORTS.map((port) => `    ${from}${header} daddr ${local} udp dport ${port} drop`);
  });
  return [
    `table inet ${HOLD_TABLE} {`,
    '  chain input {',
    `    type filter hook input priority ${PRIORITY}; policy accept;`,
    ...new Set(rules),
    '  }',
    '}',
    '',
  ].join('\n');
}
