/**
 * Which ports of an egress's external addresses are ours: those that are reserved where the host has the address, too,
 * those that translation may use, and those that are forwarded. None of them is a port that IKE needs.
 *
 * Neighbours: `egress.ts` (the addresses, the link), `host/reserved-ports.ts` (reserves them in the host).
 */
import type { PlanPool } from '../../pipeline/plan.ts';
import type {
  Config,
  ConfigPath,
  EgressConfig,
  GreTunnelConfig,
  IpsecTunnelConfig,
  PortRange,
  TunnelConfig,
} from '../config/config.ts';
import { familyOf } from '../config/ip.ts';
import type { HostFacts } from '../facts.ts';
import type { PortForwardDraft } from './drafts.ts';
import type { HostFindings } from './host-findings.ts';

/** Ports of an address that nobody else uses; the well-known ones are left to port forwards. */
export const WHOLE_RANGE: PortRange = { min: 1024, max: 65535 };
/** Above Linux's own range for outgoing connections, unless that has been changed. */
const PREFERRED_RESERVED: PortRange = { min: 61000, max: 65535 };
/** Fewer are not chosen without being asked. */
const MIN_AUTOMATIC_PORTS = 1024;
/** IKE, and IKE and ESP behind translators (RFC 7296, RFC 3948). */
const IKE_PORTS: readonly number[] = [500, 4500];
/** An explicit range leaves the host at least as many ports for its own connections. */
const MIN_LOCAL_PORTS = 1024;

/** An egress and what there is to know for compiling it. */
export interface EgressContext {
  readonly config: Config;
  readonly facts: HostFacts;
  readonly findings: HostFindings;
  readonly egress: EgressConfig;
  /** Of the egress. */
  readonly path: ConfigPath;
}

export class EgressPorts {
  readonly #given: EgressContext;

  constructor(context: EgressContext) {
    this.#given = context;
  }

  /**
   * Ports that are ours of addresses that are the host's as well; all of them where there is none.
   *
   * @param shared the host's own among the egress's addresses
   */
  reserved(shared: readonly string[]): PortRange {
    const range = shared.length > 0 ? this.#reservedPorts() : WHOLE_RANGE;
    this.#leaveIkePorts(shared, range);
    return range;
  }

  /** An external address with the ports of it that translation may use. */
  pool(address: string, { min, max }: PortRange): PlanPool {
    const quotaPerSite = Math.max(1, Math.floor((max - min + 1) * this.#given.egress.siteQuota));
    return { address, portMin: min, portMax: max, quotaPerSite };
  }

  #reservedPorts(): PortRange {
    const wanted = this.#given.egress.reservedPorts;
    const local = this.#given.facts.localPortRange;
    const localText = `${local.min}-${local.max}`;
    const path = [...this.#given.path, 'reserved_ports'];
    if (wanted === 'auto') {
      const above = { min: Math.max(PREFERRED_RESERVED.min, local.max + 1), max: PREFERRED_RESERVED.max };
      const free = local.min > PREFERRED_RESERVED.max ? PREFERRED_RESERVED : above;
      if (free.max - free.min + 1 >= MIN_AUTOMATIC_PORTS) return free;
      this.#given.findings.mistake(
        path,
        `auto finds no room above the host's own ports (net.ipv4.ip_local_port_range ${localText}); write a range or make the host's smaller`,
      );
      return PREFERRED_RESERVED;
    }
    const common = Math.min(wanted.max, local.max) - Math.max(wanted.min, local.min) + 1;
    if (local.max - local.min + 1 - Math.max(0, common) < MIN_LOCAL_PORTS) {
      this.#given.findings.mistake(
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
      this.#given.findings.mistake(
        [...this.#given.path, 'reserved_ports'],
        `${min}-${max} has port ${port}, which tunnel ${tunnel} needs on ${address} for IKE and ESP; write a range without it`,
      );
    }
  }

  #ipsecTunnelAt(address: string): string | undefined {
    const tunnels = this.#given.config.sites.flatMap((site) => site.tunnels);
    return tunnels.find((tunnel) => speaksIke(tunnel) && tunnel.enabled && tunnel.local === address)?.name;
  }

  /** Each with the address that it listens on; what is wrong with one is reported. */
  forwards(addresses: readonly string[]): PortForwardDraft[] {
    const taken = new Set<string>();
    return this.#given.egress.portForwards.flatMap((forward, at): PortForwardDraft[] => {
      const path = [...this.#given.path, 'port_forwards', at];
      const { protocol, port, to } = forward;
      const family = familyOf(to.address);
      const address = forward.address ?? addresses.find((candidate) => familyOf(candidate) === family);
      // Without any address the whole egress is down, and that has been said.
      if (addresses.length === 0) return [];
      if (address === undefined) {
        this.#lackForward(
          path,
          `has no external IPv${family} address to listen on; add one to ${this.#given.egress.name}`,
        );
        return [];
      }
      if (!addresses.includes(address)) {
        this.#lackForward(
          [...path, 'address'],
          `${address} is not an address of ${this.#given.egress.name}; write one of ${addresses.join(', ')}`,
        );
        return [];
      }
      const tunnel = this.#ipsecTunnelAt(address);
      if (tunnel !== undefined && protocol === 'udp' && IKE_PORTS.includes(port)) {
        this.#given.findings.mistake(
          [...path, 'port'],
          `tunnel ${tunnel} needs UDP port ${port} of ${address} for IKE and ESP; write another port or address`,
        );
        return [];
      }
      const identity = `${protocol} ${address} ${port}`;
      if (taken.has(identity)) {
        this.#given.findings.mistake(
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
    if (this.#given.egress.addresses === 'auto') this.#given.findings.lackPart(path, text);
    else this.#given.findings.mistake(path, text);
  }
}

function speaksIke(tunnel: TunnelConfig): tunnel is IpsecTunnelConfig | GreTunnelConfig {
  return tunnel.type === 'ipsec' || (tunnel.type === 'gre' && tunnel.ipsec !== null);
}
