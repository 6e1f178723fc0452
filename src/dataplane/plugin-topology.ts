/**
 * What the numbers of a plan mean, for plugins: they are given names in their options, and numbers with every flow.
 *
 * Neighbours: `plugin/contract.ts` (what plugins see of it), `plugin-side.ts` and `control/plugins/control-halves.ts` (hand it over).
 */
import type { Plan } from '../pipeline/plan.ts';
import type { PluginTopology } from '../plugin/contract.ts';

/** The ports and address spaces of a plan. */
export function topologyOf(plan: Plan): PluginTopology {
  const sites = new Map(plan.spaces.flatMap(({ id, kind, name }) => (kind === 'site' ? [[id, name]] : [])));
  return {
    ports: plan.ports.map(({ index, generation, name, role, space }) => ({
      index,
      generation,
      name,
      kind: role,
      site: sites.get(space),
      space,
    })),
    spaces: plan.spaces.map(({ id, prefixes }) => ({ id, site: sites.get(id), prefixes })),
    maxFlows: plan.flowTable.maxFlows,
  };
}
