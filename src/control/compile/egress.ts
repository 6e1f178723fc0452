/**
 * A port for each egress: its next hops, its external addresses, and what of the uplink is ours and what stays the
 * host's (`egress-ports.ts`: which ports).
 *
 * ```
 *  an address of the pool is ...      ours of it                     the host's
 *  one of the host's own              the reserved ports             everything else
 *  routed to the gateway              everything                     nothing
 *  in the uplink's own network,       everything; we answer ARP      nothing
 *    but not the host's                 and ND for it (Ethernet)
 * ```
 *
 * A layer-3 uplink (PPP, WireGuard, TUN) has no neighbours, so no next hops: packets go to its other end.
 */

import { formatPrefix, prefixContains, prefixOf } from '../../wire/address.ts';
import type { Config, ConfigPath, EgressConfig, FamilyAddresses } from '../config/config.ts';
import { familyKey, isLinkLocal, knownAddress } from '../config/ip.ts';
import type { HostFacts, LinkAddressFacts, LinkFacts } from '../facts.ts';
import { type DeviceDrafts, type EgressShare, isEthernet } from './devices.ts';
import { asDown, type EgressDraft, type LinkDraft } from './drafts.ts';
import { type EgressContext, EgressPorts, WHOLE_RANGE } from './egress-ports.ts';
import type { HostFindings } from './host-findings.ts';
import { limitMtu, neighbourSources, UNKNOWN_MTU } from './linked-tunnel.ts';

const FAMILIES = ['ipv4', 'ipv6'] as const;

/** What {@link draftEgresses} gives for each egress. */
export interface DraftedEgress {
  readonly draft: EgressDraft;
  /** What of its uplink is ours, while the egress is not down. */
  readonly share?: EgressShare;
}

/**
 * A port for each egress, in the file's order.
 *
 * @param former the egress of this configuration as it was when it was last not down: while it lacks something, its
 *   addresses stay what they were, so that its flows wait for them and their packets stay ours
 */
export function draftEgresses(
  config: Config,
  facts: HostFacts,
  devices: DeviceDrafts,
  findings: HostFindings,
  former: (egress: EgressConfig) => DraftedEgress | undefined,
): DraftedEgress[] {
  return config.egress.map((egress, at): DraftedEgress => {
    const path = ['egress', at];
    const before = findings.count;
    const link = devices.uplink(egress.device, [...path, 'device']);
    const drafted =
      link === undefined
        ? { draft: unknownEgress(egress), share: unknownShare(config, facts, egress) }
        : new EgressCompiler({ config, facts, findings, egress, path }, link).draft();
    const isDown = findings.count > before;
    const { draft, share } = isDown ? (former(egress) ?? drafted) : drafted;
    if (share !== undefined) {
      const prefixes = untranslatedPrefixes(config, egress.nat);
      devices.addEgress(egress.device, link, { ...share, untranslatedPrefixes: prefixes });
    }
    return isDown ? { draft: asDown(draft) } : drafted;
  });
}

/** Without its device only the configuration is known. */
function unknownEgress({ name, device, mtu, nat }: EgressConfig): EgressDraft {
  return {
    spaceName: name,
    fingerprint: fingerprintOf(device),
    name,
    enabled: true,
    mtu: mtu ?? UNKNOWN_MTU,
    link: { kind: 'ip', device: null },
    addresses: [],
    role: 'egress',
    translation: nat,
    pools: [],
    portForwards: [],
  };
}

/** What arrives for us on the device should it appear. */
function unknownShare(config: Config, facts: HostFacts, { addresses, nat }: EgressConfig): EgressShare {
  const own = hostAddresses(facts);
  return {
    poolAddresses: addresses === 'auto' ? [] : addresses.filter((address) => !own.has(address)),
    sharedAddresses: [],
    portForwards: [],
    untranslatedPrefixes: untranslatedPrefixes(config, nat),
  };
}

function fingerprintOf(device: string): string {
  return `egress ${device}`;
}

/** Every address of the host, on whatever interface: packets to it are the host's. */
function hostAddresses(facts: HostFacts): Set<string> {
  return new Set(Object.values(facts.links).flatMap((link) => link.addresses.map(({ address }) => address)));
}

/** Sites' prefixes of the families that leave as they are. */
function untranslatedPrefixes(config: Config, nat: EgressConfig['nat']): string[] {
  const prefixes = config.sites.flatMap((site) => site.prefixes);
  return [...new Set(prefixes)].filter((prefix) => nat[prefix.includes(':') ? 'ipv6' : 'ipv4'] === 'none');
}

class EgressCompiler {
  readonly #given: EgressContext;
  readonly #link: LinkFacts;

  /** @param link its uplink */
  constructor(context: EgressContext, link: LinkFacts) {
    this.#given = context;
    this.#link = link;
  }

  draft(): DraftedEgress {
    const egress = this.#given.egress;
    const addresses = this.#addresses();
    const own = hostAddresses(this.#given.facts);
    const shared = addresses.filter((address) => own.has(address));
    const ports = new EgressPorts(this.#given);
    const routed = addresses.filter((address) => !own.has(address));
    const reserved = ports.reserved(shared);
    const pools = addresses.map((address) => ports.pool(address, own.has(address) ? reserved : WHOLE_RANGE));
    const forwards = ports.forwards(addresses);
    const share: EgressShare = {
      poolAddresses: routed,
      sharedAddresses: shared.map((address) => ({ address, ports: reserved })),
      portForwards: forwards
        .filter(({ address }) => own.has(address))
        .map(({ protocol, address, port }) => ({ protocol, address, port })),
      untranslatedPrefixes: untranslatedPrefixes(this.#given.config, egress.nat),
    };
    const draft: EgressDraft = {
      spaceName: egress.name,
      fingerprint: fingerprintOf(egress.device),
      name: egress.name,
      enabled: true,
      mtu: this.#mtu(),
      link: isEthernet(this.#link) ? this.#ethernetLink(routed) : this.#layer3Link(),
      addresses: [...addresses, ...this.#untranslatedAddresses()],
      role: 'egress',
      translation: egress.nat,
      pools,
      portForwards: forwards,
    };
    return { draft, share };
  }

  /** @param routed addresses that are wholly ours */
  #ethernetLink(routed: readonly string[]): LinkDraft {
    const nextHop = this.#nextHops();
    this.#checkTaken(routed, Object.values(nextHop));
    return {
      kind: 'ethernet',
      device: this.#given.egress.device,
      nextHop,
      onLink: this.#networks(),
      answers: routed.filter((address) => this.#isOnLink(address)),
      sourceAddresses: FAMILIES.flatMap((family) => {
        const hop = nextHop[family];
        return hop === undefined ? [] : neighbourSources(this.#link, hop, undefined);
      }),
    };
  }

  /** An address that is answered for must not be one that others have, as far as one can know. */
  #checkTaken(routed: readonly string[], nextHops: readonly string[]): void {
    const remotes = this.#given.config.sites
      .flatMap(({ tunnels }) => tunnels)
      .flatMap((tunnel) => ('remote' in tunnel && tunnel.remote !== null ? [tunnel.remote] : []));
    for (const address of routed) {
      const owner = nextHops.includes(address)
        ? 'the next hop'
        : remotes.includes(address)
          ? "a tunnel's remote end"
          : undefined;
      if (owner === undefined) continue;
      this.#given.findings.mistake(
        [...this.#given.path, 'addresses'],
        `${address} is ${owner}; write addresses that nobody else has`,
      );
    }
  }

  #layer3Link(): LinkDraft {
    const { nextHop, device } = this.#given.egress;
    if (nextHop !== 'auto') {
      this.#given.findings.mistake(
        [...this.#given.path, 'next_hop'],
        `${nextHop.ipv4 ?? nextHop.ipv6} cannot be a next hop: ${device} is a layer-3 interface and has no neighbours; write auto`,
      );
    }
    return { kind: 'ip', device };
  }

  /** The device's addresses that `auto` may choose from. */
  #usable(): LinkAddressFacts[] {
    return this.#link.addresses.filter(({ scope, transient }) => scope === 'global' && !transient);
  }

  #isOnLink(address: string): boolean {
    return this.#usable().some((own) =>
      prefixContains(prefixOf(knownAddress(own.address), own.prefixLength), knownAddress(address)),
    );
  }

  #networks(): string[] {
    const texts = this.#usable().map(({ address, prefixLength }) => networkText(address, prefixLength));
    return [...new Set(texts)];
  }

  #nextHops(): FamilyAddresses {
    const { nextHop, device } = this.#given.egress;
    const path = [...this.#given.path, 'next_hop'];
    if (nextHop === 'auto') return this.#automaticNextHops(path);
    for (const family of FAMILIES) {
      const hop = nextHop[family];
      if (hop === undefined || (family === 'ipv6' && isLinkLocal(knownAddress(hop)))) continue;
      if (this.#isOnLink(hop)) continue;
      const networks = this.#networks().filter((network) => network.includes(':') === (family === 'ipv6'));
      const remedy =
        networks.length > 0
          ? `write an address in ${networks.join(' or ')}`
          : `${device} has no ${family} address`;
      this.#given.findings.lack(path, `${hop} is not a neighbour on ${device}; ${remedy}`);
    }
    return nextHop;
  }

  /** The default route by this device, of each family the one that the host prefers. */
  #automaticNextHops(path: ConfigPath): FamilyAddresses {
    const hops: { ipv4?: string; ipv6?: string } = {};
    for (const family of FAMILIES) {
      const number = family === 'ipv4' ? 4 : 6;
      const best = this.#given.facts.defaultRoutes
        .filter((route) => route.device === this.#given.egress.device && route.family === number)
        .sort((a, b) => a.metric - b.metric)
        .find(({ nextHop }) => nextHop !== null);
      if (best?.nextHop) hops[family] = best.nextHop;
    }
    if (hops.ipv4 === undefined && hops.ipv6 === undefined) {
      this.#given.findings.lack(
        path,
        `auto finds no default route by ${this.#given.egress.device}; add one on the host or write the next hop's address`,
      );
    }
    return hops;
  }

  /** External addresses, in order of preference. */
  #addresses(): string[] {
    const { addresses, nat, device } = this.#given.egress;
    if (addresses !== 'auto') return [...addresses];
    const chosen = FAMILIES.flatMap((family) => {
      if (nat[family] === 'none') return [];
      const first = this.#usable().find(({ address }) => familyKey(address) === family);
      return first ? [first.address] : [];
    });
    if (chosen.length === 0 && FAMILIES.some((family) => nat[family] === 'source')) {
      this.#given.findings.lack(
        [...this.#given.path, 'addresses'],
        `auto finds no address on ${device}; add one there or write the addresses that are routed to it`,
      );
    }
    return chosen;
  }

  #mtu(): number {
    const { mtu, device } = this.#given.egress;
    const most = this.#link.mtu;
    if (mtu === null) return most;
    return limitMtu(
      mtu,
      most,
      `${device} carries at most ${most}`,
      [...this.#given.path, 'mtu'],
      this.#given.findings,
    );
  }

  /** For the families without translation, the device's own address: our ICMP errors come from it. */
  #untranslatedAddresses(): string[] {
    return FAMILIES.flatMap((family) => {
      if (this.#given.egress.nat[family] === 'source') return [];
      const first = this.#usable().find(({ address }) => familyKey(address) === family);
      return first ? [first.address] : [];
    });
  }
}

function networkText(address: string, prefixLength: number): string {
  return formatPrefix(prefixOf(knownAddress(address), prefixLength));
}
