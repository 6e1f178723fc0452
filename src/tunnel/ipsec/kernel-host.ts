/**
 * What of IPsec is in the kernel: SAs and policies. The daemon makes them and takes them away; what a daemon has left that
 * was killed is found here, and removed; and so it is seen when somebody else has removed what the daemon believes in.
 *
 * Ours are known by their number alone (`reqid` of an SA and of a policy's template, `if_id`), so that also what is left of
 * tunnels that nobody knows any more is found.
 *
 * ```
 *  0x68......      24 bits: a tunnel's
 * ```
 *
 * That the kernel could not be asked is never taken for "nothing there": with SAs, but without its interface or its guard,
 * a tunnel's packets would be anybody's.
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

/** How often in a row it is tried to remove what is there, and how long is waited between. */
const REMOVALS = 3;
const REMOVAL_PAUSE_MS = 200;

export function isOwnId(id: number): boolean {
  return id >= OWN_IDS.first && id < OWN_IDS.first + OWN_IDS.count;
}

/** An SA of ours. */
export interface KernelState {
  /** Its `reqid`: the tunnel's. */
  readonly id: number;
  readonly source: string;
  readonly destination: string;
  readonly protocol: string;
  /** Hexadecimal, with `0x`, eight digits. */
  readonly spi: string;
}

/** A policy of ours. */
export interface KernelPolicy {
  /** The tunnel's. */
  readonly id: number;
  readonly direction: string;
  readonly index: string;
  /** `if_id`, as it was shown; undefined: none. */
  readonly interfaceId: string | undefined;
}

export interface KernelSas {
  readonly states: readonly KernelState[];
  readonly policies: readonly KernelPolicy[];
}

/**
 * SAs and policies of ours in this network namespace; undefined: the kernel has no IPsec, or nobody has used it yet.
 *
 * @param hasXfrm whether the kernel's part of it is loaded
 * @throws Error if the kernel cannot be asked
 */
export async function listSas(run: RunTool, hasXfrm = isXfrmLoaded): Promise<KernelSas | undefined> {
  // To ask the kernel would load its modules, where there cannot be anything yet.
  if (!hasXfrm()) return undefined;
  const [states, policies] = await Promise.all([
    run('ip', ['xfrm', 'state', 'list', 'nokeys']),
    run('ip', ['-stats', 'xfrm', 'policy', 'list']),
  ]);
  return { states: ownStates(states), policies: ownPolicies(policies) };
}

/**
 * Removes SAs and policies of ours from this network namespace.
 *
 * @param isGone which of them; default: all
 * @param hasXfrm see {@link listSas}
 * @throws Error if the kernel cannot be asked, or if some are there all the same
 */
export async function removeSas(
  run: RunTool,
  isGone: (id: number) => boolean = () => true,
  hasXfrm = isXfrmLoaded,
): Promise<void> {
  let said = '';
  for (let attempt = 0; ; attempt++) {
    const { states, policies } = (await listSas(run, hasXfrm)) ?? { states: [], policies: [] };
    const gone = ({ id }: { id: number }): boolean => isGone(id);
    const commands = [...policies.filter(gone).map(policyRemoval), ...states.filter(gone).map(stateRemoval)];
    if (commands.length === 0) return;
    if (attempt === REMOVALS) {
      const why = said === '' ? '' : `: ${said}`;
      throw new Error(
        `${commands.length} SAs and policies of tunnels that are gone stay in the kernel${why}`,
      );
    }
    if (attempt > 0) await new Promise((resolve) => setTimeout(resolve, REMOVAL_PAUSE_MS));
    // Some may have gone by themselves meanwhile: what is there then is what counts.
    said = await run('ip', ['-force', '-batch', '-'], { input: `${commands.join('\n')}\n` }).then(
      () => '',
      (error: Error) => error.message,
    );
  }
}

function isXfrmLoaded(): boolean {
  if (existsSync('/sys/module/xfrm_user')) return true;
  try {
    return /\/xfrm_user\.ko/.test(readFileSync(`/lib/modules/${release()}/modules.builtin`, 'latin1'));
  } catch {
    return false;
  }
}

/**
 * From `ip xfrm state list nokeys`. Without what the kernel only waits for: such an entry has no SPI, carries nothing and
 * passes by itself.
 */
export function ownStates(shown: string): KernelState[] {
  return entries(shown).flatMap((entry) => {
    const ends = /^src (\S+) dst (\S+)/.exec(entry);
    const sa = /\bproto (\S+) spi (0x[0-9a-f]+)\S* reqid (\d+)/.exec(entry);
    if (ends === null || sa === null || Number(sa[2]) === 0 || !isOwnId(Number(sa[3]))) return [];
    return [{ id: Number(sa[3]), source: ends[1]!, destination: ends[2]!, protocol: sa[1]!, spi: sa[2]! }];
  });
}

/** From `ip -stats xfrm policy list`. */
export function ownPolicies(shown: string): KernelPolicy[] {
  return entries(shown).flatMap((entry) => {
    const index = /\bdir (\S+) .*?\bindex (\d+)/.exec(entry);
    const interfaceId = /\bif_id (0x[0-9a-f]+)/.exec(entry)?.[1];
    const ids = [/\breqid (\d+)/.exec(entry)?.[1], interfaceId].map(Number);
    const id = ids.find(isOwnId);
    if (index === null || id === undefined) return [];
    return [{ id, direction: index[1]!, index: index[2]!, interfaceId }];
  });
}

/** For `ip -batch`. */
export function stateRemoval({ source, destination, protocol, spi }: KernelState): string {
  return `xfrm state delete src ${source} dst ${destination} proto ${protocol} spi ${spi}`;
}

/** For `ip -batch`. */
export function policyRemoval({ direction, index, interfaceId }: KernelPolicy): string {
  const of = interfaceId === undefined ? '' : ` if_id ${interfaceId}`;
  return `xfrm policy delete dir ${direction} index ${index}${of}`;
}

/** An entry begins a line; what belongs to it is indented. */
function entries(shown: string): string[] {
  return shown.split(/\n(?=\S)/).filter((entry) => entry.trim() !== '');
}
