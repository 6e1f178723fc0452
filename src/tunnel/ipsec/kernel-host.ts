/**
 * What of IPsec is in the kernel: SAs and policies. The daemon makes them and takes them away; what a daemon has left that
 * was killed is found here, and removed.
 *
 * Ours are known by their number alone (`reqid` of an SA and of a policy's template, `if_id`), so that also what is left of
 * tunnels that nobody knows any more is found.
 *
 * ```
 *  0x68......      24 bits: a tunnel's
 * ```
 *
 * Neighbours: `kernel.ts` (when), `control/compile/kernel-ids.ts` (which tunnel has which number).
 */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import type { RunTool } from './host-tools.ts';

/** Numbers that are given to nobody else: `h` in front. Those of marks, too, that our SAs give to what they have decrypted. */
export const OWN_IDS = { first: 0x68000000, count: 0x1000000 } as const;
/** The bits that an id of ours has from {@link OWN_IDS}. */
export const OWN_ID_MASK = -OWN_IDS.count >>> 0;

export function isOwnId(id: number): boolean {
  return id >= OWN_IDS.first && id < OWN_IDS.first + OWN_IDS.count;
}

/**
 * Removes SAs and policies of ours from this network namespace.
 *
 * @param isGone which of them; default: all
 */
export async function removeSas(run: RunTool, isGone: (id: number) => boolean = () => true): Promise<void> {
  // To ask the kernel would load its modules, where there cannot be anything yet.
  if (!hasXfrm()) return;
  const isOurs = (id: number): boolean => isOwnId(id) && isGone(id);
  const [states, policies] = await Promise.all([
    run('ip', ['xfrm', 'state', 'list', 'nokeys'], { mayFail: true }),
    run('ip', ['-stats', 'xfrm', 'policy', 'list'], { mayFail: true }),
  ]);
  const commands = [...policyRemovals(policies, isOurs), ...stateRemovals(states, isOurs)];
  if (commands.length === 0) return;
  const input = `${commands.join('\n')}\n`;
  await run('ip', ['-force', '-batch', '-'], { input, mayFail: true });
}

function hasXfrm(): boolean {
  if (existsSync('/sys/module/xfrm_user')) return true;
  try {
    return /\/xfrm_user\.ko/.test(readFileSync(`/lib/modules/${release()}/modules.builtin`, 'latin1'));
  } catch {
    return false;
  }
}

/** For `ip -batch`, from `ip xfrm state list nokeys`. */
export function stateRemovals(shown: string, isOurs: (id: number) => boolean): string[] {
  return entries(shown).flatMap((entry) => {
    const ends = /^src (\S+) dst (\S+)/.exec(entry);
    const sa = /\bproto (\S+) spi (0x[0-9a-f]+)\S* reqid (\d+)/.exec(entry);
    if (ends === null || sa === null || !isOurs(Number(sa[3]))) return [];
    return [`xfrm state delete src ${ends[1]} dst ${ends[2]} proto ${sa[1]} spi ${sa[2]}`];
  });
}

/** For `ip -batch`, from `ip -stats xfrm policy list`. */
export function policyRemovals(shown: string, isOurs: (id: number) => boolean): string[] {
  return entries(shown).flatMap((entry) => {
    const index = /\bdir (\S+) .*?\bindex (\d+)/.exec(entry);
    const requestId = /\breqid (\d+)/.exec(entry)?.[1];
    const interfaceId = /\bif_id (0x[0-9a-f]+)/.exec(entry)?.[1];
    if (index === null || ![requestId, interfaceId].some((id) => id !== undefined && isOurs(Number(id))))
      return [];
    const of = interfaceId === undefined ? '' : ` if_id ${interfaceId}`;
    return [`xfrm policy delete dir ${index[1]} index ${index[2]}${of}`];
  });
}

/** An entry begins a line; what belongs to it is indented. */
function entries(shown: string): string[] {
  return shown.split(/\n(?=\S)/).filter((entry) => entry.trim() !== '');
}
