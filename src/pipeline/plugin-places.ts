/**
 * Which flows plugins are asked about, and where they may divert them to.
 *
 * A flow is judged by the plugins of the port that it comes in by; one that comes out of a diversion, by those of its
 * site. A plugin names one of its own diversions by its place in the manifest. What its proxy sends on is judged by all
 * plugins again, but diverted only by those that run behind it: otherwise it would never get anywhere.
 *
 * Neighbours: `plugin-chain.ts` (asks), `diversions.ts` (where diverted flows go).
 */
import { type ChainPlan, enabledPlugins, type FlowDraft, type LoadedPlugin } from './plugin-link.ts';

const NOBODY = -1;

export class PluginPlaces {
  private readonly everyone: number;
  /** By port: bits of the plugins that are asked about flows that come in there. Empty: all of them everywhere. */
  private readonly enabledAt: Int32Array;
  /** By plugin, by place in its manifest: ports. */
  private readonly ports: readonly (readonly number[])[];
  /** By port of a diversion: place of its plugin, -1 if that does not run. */
  private readonly owners = new Map<number, number>();
  /** By address space: bits of the plugins that are asked about flows by a port of it. */
  private readonly enabledIn = new Map<number, number>();

  constructor(plugins: readonly LoadedPlugin[], ports: ChainPlan['ports']) {
    this.everyone = (1 << plugins.length) - 1;
    this.enabledAt = enabledPlugins(plugins, ports);
    for (const { index, plugin } of ports) if (plugin !== undefined) this.owners.set(index, NOBODY);
    this.ports = plugins.map(({ name }, place) => {
      const own: number[] = [];
      for (const port of ports) {
        if (port.plugin !== name || port.place === undefined) continue;
        own[port.place] = port.index;
        this.owners.set(port.index, place);
      }
      return own;
    });
    plugins.forEach(({ ports: names = 'all' }, place) => {
      for (const { name, space = 0 } of ports) {
        if (names !== 'all' && !names.includes(name)) continue;
        this.enabledIn.set(space, (this.enabledIn.get(space) ?? 0) | (1 << place));
      }
    });
  }

  /** Bits of the plugins that are asked about a flow. */
  enabled({ ingressPort, originatorSpace }: FlowDraft): number {
    if (this.enabledAt.length === 0) return this.everyone;
    if (this.owners.has(ingressPort)) return this.enabledIn.get(originatorSpace) ?? 0;
    return this.enabledAt[ingressPort] | 0;
  }

  /** The port to which the plugin at `place` diverts by its manifest's diversion `which`; -1: it has none there. */
  portOf(place: number, which: number): number {
    return this.ports[place]?.[which] ?? NOBODY;
  }

  /** Whether the plugin at `place` may divert what comes in by this port. */
  mayDivert(place: number, ingressPort: number): boolean {
    return place > (this.owners.get(ingressPort) ?? NOBODY);
  }
}
