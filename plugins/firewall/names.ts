/**
 * What names in rules stand for: sites, tunnels and egresses of the configuration, and sets.
 *
 * Rules are compiled against one topology; another plan means other numbers and so compiling anew.
 */
import type { PluginTopology } from '../../src/plugin/contract.ts';
import type { AddressValues } from './condition.ts';
import { numberLine, type Ranges, rangesOf } from './ranges.ts';

/** A set of the options, as far as rules are concerned. */
export type NamedSet =
  | { readonly kind: 'prefixes'; readonly values: AddressValues }
  | { readonly kind: 'ports'; readonly values: Ranges<number> };

const PORT_INDEXES = numberLine(65535);

export class Names {
  readonly sets: ReadonlyMap<string, NamedSet>;
  /** Port indexes by name. */
  readonly sites: ReadonlyMap<string, Ranges<number>>;
  readonly tunnels: ReadonlyMap<string, Ranges<number>>;
  readonly egresses: ReadonlyMap<string, Ranges<number>>;
  readonly allTunnels: Ranges<number>;
  readonly allEgresses: Ranges<number>;

  constructor(topology: PluginTopology, sets: ReadonlyMap<string, NamedSet>) {
    const { ports, spaces } = topology;
    const indexes = (chosen: typeof ports): Ranges<number> =>
      rangesOf(
        PORT_INDEXES,
        chosen.map(({ index }) => [index, index]),
      );
    const tunnels = ports.filter(({ kind }) => kind === 'tunnel');
    const egresses = ports.filter(({ kind }) => kind === 'egress');
    this.sets = sets;
    this.tunnels = new Map(tunnels.map((port) => [port.name, indexes([port])]));
    this.egresses = new Map(egresses.map((port) => [port.name, indexes([port])]));
    this.sites = new Map(
      spaces.flatMap(({ site }) =>
        site === undefined ? [] : [[site, indexes(tunnels.filter((port) => port.site === site))]],
      ),
    );
    this.allTunnels = indexes(tunnels);
    this.allEgresses = indexes(egresses);
  }

  /** Port indexes by name, of everything that a place can be. */
  places(of: 'site' | 'tunnel' | 'egress'): ReadonlyMap<string, Ranges<number>> {
    if (of === 'site') return this.sites;
    return of === 'tunnel' ? this.tunnels : this.egresses;
  }
}
