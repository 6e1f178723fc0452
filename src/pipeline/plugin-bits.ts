/**
 * What flows remember of plugins: the bits of those that want packets, and the number of the one that decided.
 *
 * ```
 *  SHARED_PLUGINS   31                16 15                 0
 *                  +--------------------+--------------------+
 *                  | decider: index + 1 | bit i: plugin i    |    i: place in the list of plugins
 *                  |  0: nobody         |  wants packets     |
 *                  +--------------------+--------------------+
 * ```
 *
 * Places change with the list, so the flow memory keeps the names to which they belong, and flows are written anew
 * when the list is another one. Neighbours: `plugin-chain.ts`, `assembly.ts` (when), `flow/flow-memory.ts` (the names).
 */
import { RECORD_WORDS, SHARED_PLUGINS } from '../flow/layout.ts';
import type { FlowTable } from '../flow/table.ts';
import type { PluginChain } from './plugin-chain.ts';
import type { StreamStage } from './stream/stream-stage.ts';

/**
 * Gives every flow the bits of the plugins that it had, wherever they stand in `chain` now; those that are gone, or
 * look at no packets any more, want nothing. Not for the packet path.
 *
 * @param before names, in the order in which the flows know the plugins; undefined if nobody knows
 * @param onUnknown called for flows of which nobody can say who wanted their packets; must end them
 */
export function remapPlugins(
  table: FlowTable,
  before: readonly string[] | undefined,
  chain: PluginChain,
  onUnknown: (record: number) => void,
): void {
  const { words } = table;
  const names = chain.names;
  const places = before?.map((name) => chain.inspectorAt(name)) ?? [];
  const deciders = before?.map((name) => names.indexOf(name) + 1) ?? [];
  for (let record = table.next(-1); record >= 0; record = table.next(record)) {
    const at = record * RECORD_WORDS + SHARED_PLUGINS;
    const known = words[at];
    if (known === 0) continue;
    if (before === undefined && (known & 0xffff) !== 0) {
      onUnknown(record);
      continue;
    }
    let wanted = 0;
    for (let i = 0; i < places.length; i++) {
      if ((known & (1 << i)) !== 0 && places[i] >= 0) wanted |= 1 << places[i];
    }
    words[at] = ((deciders[(known >>> 16) - 1] ?? 0) << 16) | wanted;
  }
}

/**
 * The plugin at this place knows nothing of the flows that it looks at: it is told so when it would be shown the next
 * packet, or the next bytes, of each. If it keeps no state of flows, it need not know.
 */
export function markUnseen(table: FlowTable, streams: StreamStage, chain: PluginChain, place: number): void {
  const { standing } = chain.links[place]!;
  if (standing.stateWords === 0) return;
  for (let record = table.next(-1); record >= 0; record = table.next(record)) {
    const wanted = table.words[record * RECORD_WORDS + SHARED_PLUGINS]!;
    const looks = (wanted & (1 << place)) !== 0 || streams.isReadBy(record, place);
    if (looks) standing.markUnseen(record, table.capacity);
  }
}
