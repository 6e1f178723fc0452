/**
 * The order in which plugins run: as they are written, but where `runs_before` and `runs_after` of their manifests
 * demand otherwise; policy always before routing.
 *
 * A stable topological sort: of all that may come next, the first written comes. So plugins that nothing orders keep
 * their places, and the same configuration always gives the same order.
 */
import type { PluginPhase } from '../../plugin/contract.ts';

/** A plugin to be put in order. */
export interface Ordered {
  readonly name: string;
  readonly phase: PluginPhase;
  /** Names; those that are not among the plugins demand nothing. */
  readonly runsBefore: readonly string[];
  readonly runsAfter: readonly string[];
}

/** The order, as places in the given list; or the names that form a cycle, each running before the next. */
export type Ordering = { readonly order: readonly number[] } | { readonly cycle: readonly string[] };

/** Puts plugins of different names in order. */
export function orderPlugins(plugins: readonly Ordered[]): Ordering {
  const places = new Map(plugins.map(({ name }, at) => [name, at]));
  const predecessors = plugins.map(() => new Set<number>());
  plugins.forEach(({ phase, runsBefore, runsAfter }, at) => {
    for (const name of runsBefore) {
      const other = places.get(name);
      if (other !== undefined) predecessors[other]!.add(at);
    }
    for (const name of runsAfter) {
      const other = places.get(name);
      if (other !== undefined) predecessors[at]!.add(other);
    }
    if (phase === 'policy') return;
    plugins.forEach((other, otherAt) => {
      if (other.phase === 'policy') predecessors[at]!.add(otherAt);
    });
  });
  const order: number[] = [];
  const placed = new Set<number>();
  while (order.length < plugins.length) {
    const next = plugins.findIndex(
      (_, at) => !placed.has(at) && [...predecessors[at]!].every((before) => placed.has(before)),
    );
    if (next < 0) return { cycle: cycleIn(predecessors, placed).map((at) => plugins[at]!.name) };
    order.push(next);
    placed.add(next);
  }
  return { order };
}

/** A cycle among those that are not placed: each of them waits for another one. */
function cycleIn(predecessors: readonly ReadonlySet<number>[], placed: ReadonlySet<number>): number[] {
  const waiting = (at: number): number => [...predecessors[at]!].find((before) => !placed.has(before))!;
  const walked: number[] = [];
  let at = predecessors.findIndex((_, place) => !placed.has(place));
  while (!walked.includes(at)) {
    walked.push(at);
    at = waiting(at);
  }
  return walked.slice(walked.indexOf(at)).reverse();
}
