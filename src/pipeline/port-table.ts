/**
 * Ports as the pipeline needs them: flat arrays indexed by port number, and the choice among a space's ports.
 *
 * A **port word** is `generation << 16 | index`. Records store port words, so that a slot which was given to
 * another tunnel meanwhile is noticed: `wordOf[index]` holds the word of the port that stands there now, 0 while
 * it is disabled or absent. Comparing both is the whole check.
 */
import { isProxy, spaceOfSource } from '../plugin/diversion-addresses.ts';
import type { Address } from '../wire/address.ts';
import { IPV4, type PacketView } from '../wire/packet.ts';
import type { Plan, PlanPort } from './plan.ts';
import { planAddress } from './plan-address.ts';

export const MAX_PORTS = 1024;
const MAX_SPACES = 65536;

/**
 * How much a tunnel is to be avoided, by its name: what health checks have found out. Priorities count among equal
 * penalties only. The last tunnel of a site is used whatever its penalty.
 */
export type Penalties = ReadonlyMap<string, number>;
/** Loses packets. */
export const PENALTY_DEGRADED = 1;
/** Carries nothing: flows that may, leave it. */
export const PENALTY_DOWN = 2;

export class PortTable {
  /** Port word of a usable port, else 0. */
  readonly wordOf = new Int32Array(MAX_PORTS);
  /** Address space, 0 where there is no port. Stays known while a port is disabled. */
  readonly spaceOf = new Int32Array(MAX_PORTS);
  /** The same for looking packets up that come in: 0 at a diversion, where {@link spaceAt} has to be asked. */
  readonly arrivalSpace = new Int32Array(MAX_PORTS);
  /** 1 where the port is a diversion. */
  readonly isDiversion = new Uint8Array(MAX_PORTS);
  /** 1 where the port is an egress. */
  readonly isEgress = new Uint8Array(MAX_PORTS);
  /** 1 where replies are pinned. */
  readonly isPinned = new Uint8Array(MAX_PORTS);
  /** By address space: 1 for sites. */
  private readonly isSite = new Uint8Array(MAX_SPACES);
  private readonly ports: (PlanPort | undefined)[] = [];
  private readonly addresses: (readonly Address[])[] = [];
  /** Usable ports of a space, least penalty and best priority only, by space id. */
  private readonly candidates = new Map<number, Int32Array>();
  private readonly down = new Set<number>();
  private penalties: Penalties;
  private readonly portOfSpace = new Map<number, number>();
  private readonly anyIpv4: Address | undefined;
  private readonly anyIpv6: Address | undefined;

  constructor(plan: Plan, down: Iterable<number> = [], penalties: Penalties = new Map()) {
    this.penalties = penalties;
    for (const { id, kind } of plan.spaces) if (kind === 'site') this.isSite[id] = 1;
    for (const port of plan.ports) {
      this.ports[port.index] = port;
      this.addresses[port.index] = port.addresses.map(planAddress);
      this.spaceOf[port.index] = port.space;
      if (!this.portOfSpace.has(port.space)) this.portOfSpace.set(port.space, port.index);
      this.isEgress[port.index] = port.role === 'egress' ? 1 : 0;
      this.isDiversion[port.index] = port.role === 'diversion' ? 1 : 0;
      this.arrivalSpace[port.index] = port.role === 'diversion' ? 0 : port.space;
      this.isPinned[port.index] = port.role !== 'tunnel' || port.automaticReturnRouting ? 1 : 0;
    }
    const external = plan.ports.flatMap((port) => (port.role === 'egress' ? port.pools : []));
    const addresses = external.map((pool) => planAddress(pool.address));
    this.anyIpv4 = addresses.find(({ family }) => family === IPV4);
    this.anyIpv6 = addresses.find(({ family }) => family !== IPV4);
    for (const index of down) this.down.add(index);
    for (const port of plan.ports) this.refresh(port);
  }

  /**
   * Address space that an address (wire-order words; IPv4 in `word3`) behind a port is in. In a diversion there is the
   * proxy, and an address for each site; 0: none of them.
   */
  spaceAt(port: number, family: number, word0: number, word1: number, word2: number, word3: number): number {
    if (this.isDiversion[port] === 0) return this.spaceOf[port];
    if (isProxy(family, word0, word1, word2, word3)) return this.spaceOf[port];
    const space = spaceOfSource(family, word0, word1, word2, word3);
    return this.isSite[space] !== 0 ? space : 0;
  }

  /** Address space of a packet that came in by a port; 0: a diversion must not send it. */
  spaceOfArrived(port: number, view: PacketView): number {
    return this.spaceAt(port, view.family, view.src0, view.src1, view.src2, view.src3);
  }

  get(index: number): PlanPort | undefined {
    return this.ports[index];
  }

  all(): readonly PlanPort[] {
    return this.ports.filter((port) => port !== undefined);
  }

  /** The spaces of all tunnels. */
  siteSpaces(): readonly number[] {
    return [...new Set(this.all().flatMap(({ role, space }) => (role === 'tunnel' ? [space] : [])))];
  }

  addressesOf(index: number): readonly Address[] {
    return this.addresses[index] ?? [];
  }

  /** An address of this family on any egress: the gateway's own name towards the world. */
  anyAddress(family: number): Address | undefined {
    return family === IPV4 ? this.anyIpv4 : this.anyIpv6;
  }

  /** Some port of a space, 0 if there is none: for counting what only the space is known of. */
  anyPortOf(space: number): number {
    return this.portOfSpace.get(space) ?? 0;
  }

  /** Marks a port's device as usable or not. Flows keep their pin and wait. */
  setUp(index: number, up: boolean): void {
    if (up) this.down.delete(index);
    else this.down.add(index);
    const port = this.ports[index];
    if (port) this.refresh(port);
  }

  /** Takes the penalties that hold from now on. */
  setPenalties(penalties: Penalties): void {
    const former = this.penalties;
    this.penalties = penalties;
    for (const port of this.all()) {
      if ((former.get(port.name) ?? 0) !== this.penaltyOf(port.index)) this.refresh(port);
    }
  }

  penaltyOf(index: number): number {
    return this.penalties.get(this.ports[index]?.name ?? '') ?? 0;
  }

  /** The ports of another plan, with what is known of them now: which are down, which to avoid. */
  heir(plan: Plan): PortTable {
    return new PortTable(plan, this.down, this.penalties);
  }

  /**
   * The port through which a space is reached: of the usable ones with the least penalty that with the best priority,
   * equal ones chosen by `hash` (of the flow, so that a flow stays with its tunnel). Never a port of another space. -1 if none is up.
   */
  select(space: number, hash: number): number {
    const candidates = this.candidates.get(space);
    if (candidates === undefined || candidates.length === 0) return -1;
    return candidates[(hash >>> 1) % candidates.length];
  }

  /** What {@link select} chooses among. */
  candidatesOf(space: number): readonly number[] {
    return [...(this.candidates.get(space) ?? [])];
  }

  private refresh(port: PlanPort): void {
    const usable = port.enabled && !this.down.has(port.index);
    this.wordOf[port.index] = usable ? portWord(port) : 0;
    const inSpace = this.ports.filter(
      (other): other is PlanPort =>
        other !== undefined && other.space === port.space && this.wordOf[other.index] !== 0,
    );
    const rankOf = (other: PlanPort): number => this.penaltyOf(other.index) * RANKS + priorityOf(other);
    const best = Math.min(...inSpace.map(rankOf));
    const chosen = inSpace.filter((other) => rankOf(other) === best).map((other) => other.index);
    this.candidates.set(port.space, Int32Array.from(chosen));
  }
}

export function portWord(port: { readonly index: number; readonly generation: number }): number {
  return (port.generation << 16) | port.index;
}

/** Index part of a port word. */
export function portIndex(word: number): number {
  return word & 0xffff;
}

/** More than there are priorities. */
const RANKS = 65536;

function priorityOf(port: PlanPort): number {
  return port.role === 'tunnel' ? port.priority : 0;
}

/** Whether `address` equals the destination given in wire-order words. */
export function isAddress(
  address: Address,
  family: number,
  word0: number,
  word1: number,
  word2: number,
  word3: number,
): boolean {
  if (address.family !== family || address.words[3] !== word3) return false;
  if (family === IPV4) return true;
  return address.words[0] === word0 && address.words[1] === word1 && address.words[2] === word2;
}
