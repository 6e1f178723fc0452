/**
 * A port for each egress: its next hops, its external addresses, its port forwards, and what of the uplink is
 * ours and what stays the host's.
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

import type { PlanPool } from '../../pipeline/plan.ts';
import { formatPrefix, prefixContains, prefixOf } from '../../wire/address.ts';
import type {
  Config,
  ConfigPath,
  EgressConfig,
  FamilyAddresses,
  GreTunnelConfig,
  IpsecTunnelConfig,
  PortRange,
  TunnelConfig,
} from '../config/config.ts';
import { familyKey, familyOf, isLinkLocal, knownAddress } from '../config/ip.ts';
import type { HostFacts, LinkAddressFacts, LinkFacts } from '../facts.ts';
import { type DeviceDrafts, type EgressShare, isEthernet } from './devices.ts';
import { asDown, type EgressDraft, type LinkDraft, type PortForwardDraft } from './drafts.ts';
import type { HostFindings } from './host-findings.ts';
import { limitMtu, neighbourSources, UNKNOWN_MTU } from './tunnels.ts';

/** Ports of an address that nobody else uses; the well-known ones are left to port forwards. */
const WHOLE_RANGE: PortRange = { min: 1024, max: 65535 };
/** Above Linux's own range for outgoing connections, unless that has been changed. */
const PREFERRED_RESERVED: PortRange = { min: 61000, max: 65535 };
/** Fewer are not chosen without being asked. */
const MIN_AUTOMATIC_PORTS = 1024;
/** IKE, and IKE and ESP behind translators (RFC 7296, RFC 3948). */
const IKE_PORTS: readonly number[] = [500, 4500];
/** An explicit range leaves the host at least as many ports for its own connections. */
const MIN_LOCAL_PORTS = 1024;

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
        : new EgressCompiler(config, facts, findings, egress, link, path).draft();
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
  readonly #config: Config;
  readonly #facts: HostFacts;
  readonly #findings: HostFindings;
  readonly #egress: EgressConfig;
  readonly #link: LinkFacts;
  readonly #path: ConfigPath;

  constructor(
    config: Config,
    facts: HostFacts,
    findings: HostFindings,
    egress: EgressConfig,
    link: LinkFacts,
    path: ConfigPath,
  ) {
    this.#config = config;
    this.#facts = facts;
    this.#findings = findings;
    this.#egress = egress;
    this.#link = link;
    this.#path = path;
  }

  draft(): DraftedEgress {
    const egress = this.#egress;
    const addresses = this.#addresses();
    const own = hostAddresses(this.#facts);
    const shared = addresses.filter((address) => own.has(address));
    const routed = addresses.filter((address) => !own.has(address));
    const reserved = shared.length > 0 ? this.#reservedPorts() : WHOLE_RANGE;
    this.#leaveIkePorts(shared, reserved);
    const pools = addresses.map((address) => this.#pool(address, own.has(address) ? reserved : WHOLE_RANGE));
    const forwards = this.#portForwards(addresses);
    const share: EgressShare = {
      poolAddresses: routed,
      sharedAddresses: shared.map((address) => ({ address, ports: reserved })),
      portForwards: forwards
        .filter(({ address }) => own.has(address))
        .map(({ protocol, address, port }) => ({ protocol, address, port })),
      untranslatedPrefixes: untranslatedPrefixes(this.#config, egress.nat),
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
      device: this.#egress.device,
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
    const remotes = this.#config.sites
      .flatMap(({ tunnels }) => tunnels)
      .flatMap((tunnel) => ('remote' in tunnel && tunnel.remote !== null ? [tunnel.remote] : []));
    for (const address of routed) {
      const owner = nextHops.includes(address)
        ? 'the next hop'
        : remotes.includes(address)
          ? "a tunnel's remote end"
          : undefined;
      if (owner === undefined) continue;
      this.#findings.mistake(
        [...this.#path, 'addresses'],
        `${address} is ${owner}; write addresses that nobody else has`,
      );
    }
  }

  #layer3Link(): LinkDraft {
    const { nextHop, device } = this.#egress;
    if (nextHop !== 'auto') {
      this.#findings.mistake(
        [...this.#path, 'next_hop'],
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
    const { nextHop, device } = this.#egress;
    const path = [...this.#path, 'next_hop'];
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
      this.#findings.lack(path, `${hop} is not a neighbour on ${device}; ${remedy}`);
    }
    return nextHop;
  }

  /** The default route by this device, of each family the one that the host prefers. */
  #automaticNextHops(path: ConfigPath): FamilyAddresses {
    const hops: { ipv4?: string; ipv6?: string } = {};
    for (const family of FAMILIES) {
      const number = family === 'ipv4' ? 4 : 6;
      const best = this.#facts.defaultRoutes
        .filter((route) => route.device === this.#egress.device && route.family === number)
        .sort((a, b) => a.metric - b.metric)
        .find(({ nextHop }) => nextHop !== null);
      if (best?.nextHop) hops[family] = best.nextHop;
    }
    if (hops.ipv4 === undefined && hops.ipv6 === undefined) {
      this.#findings.lack(
        path,
        `auto finds no default route by ${this.#egress.device}; add one on the host or write the next hop's address`,
      );
    }
    return hops;
  }

  /** External addresses, in order of preference. */
  #addresses(): string[] {
    const { addresses, nat, device } = this.#egress;
    if (addresses !== 'auto') return [...addresses];
    const chosen = FAMILIES.flatMap((family) => {
      if (nat[family] === 'none') return [];
      const first = this.#usable().find(({ address }) => familyKey(address) === family);
      return first ? [first.address] : [];
    });
    if (chosen.length === 0 && FAMILIES.some((family) => nat[family] === 'source')) {
      this.#findings.lack(
        [...this.#path, 'addresses'],
        `auto finds no address on ${device}; add one there or write the addresses that are routed to it`,
      );
    }
    return chosen;
  }

  #reservedPorts(): PortRange {
    const wanted = this.#egress.reservedPorts;
    const local = this.#facts.localPortRange;
    const localText = `${local.min}-${local.max}`;
    const path = [...this.#path, 'reserved_ports'];
    if (wanted === 'auto') {
      const above = { min: Math.max(PREFERRED_RESERVED.min, local.max + 1), max: PREFERRED_RESERVED.max };
      const free = local.min > PREFERRED_RESERVED.max ? PREFERRED_RESERVED : above;
      if (free.max - free.min + 1 >= MIN_AUTOMATIC_PORTS) return free;
      this.#findings.mistake(
        path,
        `auto finds no room above the host's own ports (net.ipv4.ip_local_port_range ${localText}); write a range or make the host's smaller`,
      );
      return PREFERRED_RESERVED;
    }
    const common = Math.min(wanted.max, local.max) - Math.max(wanted.min, local.min) + 1;
    if (local.max - local.min + 1 - Math.max(0, common) < MIN_LOCAL_PORTS) {
      this.#findings.mistake(
        path,
        `${wanted.min}-${wanted.max} leaves the host too few of its own ports (net.ipv4.ip_local_port_range ${localText}); write a range that leaves it at least ${MIN_LOCAL_PORTS}`,
      );
    }
    return wanted;
  }

  /** What comes to the IKE ports of an IPsec tunnel's address must reach its daemon. */
  #leaveIkePorts(shared: readonly string[], { min, max }: PortRange): void {
    for (const address of shared) {
      const tunnel = this.#ipsecTunnelAt(address);
      const port = IKE_PORTS.find((candidate) => candidate >= min && candidate <= max);
      if (tunnel === undefined || port === undefined) continue;
      this.#findings.mistake(
        [...this.#path, 'reserved_ports'],
        `${min}-${max} has port ${port}, which tunnel ${tunnel} needs on ${address} for IKE and ESP; write a range without it`,
      );
    }
  }

  #ipsecTunnelAt(address: string): string | undefined {
    const tunnels = this.#config.sites.flatMap((site) => site.tunnels);
    return tunnels.find((tunnel) => speaksIke(tunnel) && tunnel.enabled && tunnel.local === address)?.name;
  }

  #pool(address: string, ports: PortRange): PlanPool {
    const { min, max } = ports;
    const quotaPerSite = Math.max(1, Math.floor((max - min + 1) * this.#egress.siteQuota));
    return { address, portMin: min, portMax: max, quotaPerSite };
  }

  #portForwards(addresses: readonly string[]): PortForwardDraft[] {
    const taken = new Set<string>();
    return this.#egress.portForwards.flatMap((forward, at): PortForwardDraft[] => {
      const path = [...this.#path, 'port_forwards', at];
      const { protocol, port, to } = forward;
      const family = familyOf(to.address);
      const address = forward.address ?? addresses.find((candidate) => familyOf(candidate) === family);
      // Without any address the whole egress is down, and that has been said.
      if (addresses.length === 0) return [];
      if (address === undefined) {
        this.#lackForward(
          path,
          `has no external IPv${family} address to listen on; add one to ${this.#egress.name}`,
        );
        return [];
      }
      if (!addresses.includes(address)) {
        this.#lackForward(
          [...path, 'address'],
          `${address} is not an address of ${this.#egress.name}; write one of ${addresses.join(', ')}`,
        );
        return [];
      }
      const tunnel = this.#ipsecTunnelAt(address);
      if (tunnel !== undefined && protocol === 'udp' && IKE_PORTS.includes(port)) {
        this.#findings.mistake(
          [...path, 'port'],
          `tunnel ${tunnel} needs UDP port ${port} of ${address} for IKE and ESP; write another port or address`,
        );
        return [];
      }
      const identity = `${protocol} ${address} ${port}`;
      if (taken.has(identity)) {
        this.#findings.mistake(
          [...path, 'port'],
          `${port} is already forwarded from ${address}; write each protocol, address and port once`,
        );
        return [];
      }
      taken.add(identity);
      return [{ protocol, address, port, to }];
    });
  }

  /** A port forward that has to wait for its address; one that is written down will not change. */
  #lackForward(path: ConfigPath, text: string): void {
    if (this.#egress.addresses === 'auto') this.#findings.lackPart(path, text);
    else this.#findings.mistake(path, text);
  }

  #mtu(): number {
    const { mtu, device } = this.#egress;
    const most = this.#link.mtu;
    if (mtu === null) return most;
    return limitMtu(mtu, most, `${device} carries at most ${most}`, [...this.#path, 'mtu'], this.#findings);
  }

  /** For the families without translation, the device's own address: our ICMP errors come from it. */
  #untranslatedAddresses(): string[] {
    return FAMILIES.flatMap((family) => {
      if (this.#egress.nat[family] === 'source') return [];
      const first = this.#usable().find(({ address }) => familyKey(address) === family);
      return first ? [first.address] : [];
    });
  }
}

function networkText(address: string, prefixLength: number): string {
  return formatPrefix(prefixOf(knownAddress(address), prefixLength));
}

function speaksIke(tunnel: TunnelConfig): tunnel is IpsecTunnelConfig | GreTunnelConfig {
  return tunnel.type === 'ipsec' || (tunnel.type === 'gre' && tunnel.ipsec !== null);
}
