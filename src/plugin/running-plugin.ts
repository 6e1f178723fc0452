/**
 * Which plugin is running: a word in the flow memory that is written around every call of a hook, so that whoever
 * ends a data plane that stands still, or finds one that has ended, can say where it was.
 *
 * ```
 *   31 ............ 8 7 .............. 0
 *  +-----------------+------------------+
 *  | hook            | place in the     |   0: none
 *  | (`HOOK_...`)    | chain + 1        |
 *  +-----------------+------------------+
 * ```
 *
 * Neighbours: `flow/flow-memory.ts` (where it stands, and the plugins' names), `pipeline/plugin-meter.ts` (writes),
 * `control/runtime/running-plugin.ts` (reads).
 */

export const HOOK_FLOW_SETUP = 0;
export const HOOK_PACKET = 1;
export const HOOK_INGRESS_CHANGED = 2;
export const HOOK_FLOW_END = 3;
export const HOOK_FLOW_START = 4;
export const HOOK_STREAM = 5;

/** Names by number, as in the contract. */
const HOOK_NAMES = ['flowSetup', 'packet', 'ingressChanged', 'flowEnd', 'flowStart', 'stream'] as const;

/** The word while this hook of the plugin at this place of the chain runs. */
export function runningWord(plugin: number, hook: number): number {
  return (hook << 8) | (plugin + 1);
}

/** What a word says: the plugin by name, or by place where the names are not known; undefined for none. */
export function describeRunning(word: number, names: readonly string[] | undefined): string | undefined {
  if (word === 0) return undefined;
  const place = (word & 0xff) - 1;
  return `plugin ${names?.[place] ?? `number ${place + 1}`} (${HOOK_NAMES[word >>> 8] ?? 'unknown hook'})`;
}
