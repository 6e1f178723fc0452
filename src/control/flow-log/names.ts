/**
 * Names for the numbers in flow events. Events may be older than the plan that is in force: what former plans of
 * this process named is remembered, as a port's number and generation, or a space's number, never mean another.
 */
import type { Plan, PlanSpace } from '../../pipeline/plan.ts';
import { portIndex, portWord } from '../../pipeline/port-table.ts';

/** Ports of former plans that are remembered: far more than events can be late for. */
const MAX_PORTS = 16384;

export class FlowLogNames {
  /** By port word, the ones named last at the end. */
  readonly #ports = new Map<number, string>();
  readonly #spaces = new Map<number, { readonly name: string; readonly kind: PlanSpace['kind'] }>();
  #plugins: readonly string[] = [];
  #generation = 0;

  /** Takes the names of a plan. `plugins` in the order of the flow records. */
  learn(plan: Plan, plugins: readonly string[]): void {
    this.#plugins = plugins;
    if (plan.generation === this.#generation) return;
    this.#generation = plan.generation;
    for (const port of plan.ports) {
      const word = portWord(port);
      this.#ports.delete(word);
      this.#ports.set(word, port.name);
    }
    for (const { id, name, kind } of plan.spaces) this.#spaces.set(id, { name, kind });
    for (const word of this.#ports.keys()) {
      if (this.#ports.size <= MAX_PORTS) break;
      this.#ports.delete(word);
    }
  }

  /** Generation of the plan learned last: who passes names on knows by it that there are others. */
  get generation(): number {
    return this.#generation;
  }

  /** Name of a port word's tunnel or egress; `port N` if nobody can say; null for no port. */
  port(word: number): string | null {
    if (word === 0) return null;
    return this.#ports.get(word) ?? `port ${portIndex(word)}`;
  }

  /** Name of an address space; null for none. */
  space(id: number): string | null {
    return id === 0 ? null : (this.#spaces.get(id)?.name ?? `space ${id}`);
  }

  /** The site of a flow: the originator's; of a port forward the one that it leads to. */
  site(fromSpace: number, toSpace: number): string | null {
    return this.space(this.#spaces.get(fromSpace)?.kind === 'egress' && toSpace !== 0 ? toSpace : fromSpace);
  }

  isEgress(space: number): boolean {
    return this.#spaces.get(space)?.kind === 'egress';
  }

  /** Name of the plugin at place + 1; null for 0. */
  plugin(decider: number): string | null {
    return decider === 0 ? null : (this.#plugins[decider - 1] ?? `plugin ${decider}`);
  }

  /** Interfaces for IPFIX: port index and name, of the ports named last. */
  ports(): ReadonlyMap<number, string> {
    return new Map([...this.#ports].map(([word, name]) => [portIndex(word), name]));
  }

  spaces(): ReadonlyMap<number, string> {
    return new Map([...this.#spaces].map(([id, { name }]) => [id, name]));
  }
}
