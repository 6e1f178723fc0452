/**
 * Whether the host's own firewall would let a kernel tunnel's outer packets through, judged by its rules (nftables, and what
 * iptables-nft writes there). A packet of a protocol without ports takes this way:
 *
 * ```
 *  in:   prerouting chains --> input chains --> the kernel's tunnel
 *  out:  the kernel's tunnel --> output chains --> postrouting chains
 * ```
 *
 * Each condition holds, does not, or is not known here: a set's elements, connection tracking, limits. What might drop the
 * packet counts as doing so, what might accept it does not: the answer is on the safe side, where there is another driver.
 *
 * Neighbours: `gre.ts` (asks), `../host/collect-host-rules.ts` (reads the rules). Format: libnftables-json(5).
 */
import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { familyOf } from '../config/ip.ts';

/** The rules of a network namespace, as far as packets for and from the host go by them. */
export interface HostRules {
  readonly chains: readonly HostChain[];
  /** Families of which there are rules of the older kind (iptables-legacy), which nobody reads. */
  readonly legacy: readonly (4 | 6)[];
}

export interface HostChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /** Base chains. */
  readonly hook?: string | undefined;
  readonly policy?: string | undefined;
  /** Statements of each rule, as nftables' JSON has them. */
  readonly rules: readonly (readonly unknown[])[];
}

/** An outer packet of a tunnel. */
export interface OuterPacket {
  readonly direction: 'in' | 'out';
  /** IP protocol, by number and by the name that nftables gives it. */
  readonly protocol: { readonly number: number; readonly name: string };
  readonly source: string;
  readonly destination: string;
  /** The interface that it comes in or leaves by. */
  readonly device: string;
}

/** A condition holds, does not, or it is not known. */
type Answer = boolean | undefined;
/** What becomes of a packet in a chain: `undefined` where it comes out at the end. */
type Fate = 'accepted' | 'dropped' | undefined;

const HOOKS = { in: ['prerouting', 'input'], out: ['output', 'postrouting'] } as const;
/** Jumps within jumps; the kernel allows 16. */
const MAX_DEPTH = 16;
/** Headers that a packet of a protocol without ports does not have. */
const OTHER_HEADERS = new Set([
  'tcp',
  'udp',
  'udplite',
  'sctp',
  'dccp',
  'icmp',
  'icmpv6',
  'igmp',
  'ah',
  'comp',
]);

/** The chain that may drop it, for people; undefined: it passes. */
export function dropperOf(rules: HostRules, packet: OuterPacket): string | undefined {
  const family = familyOf(packet.source);
  if (rules.legacy.includes(family)) return 'rules of iptables-legacy, which are not read';
  const families = ['inet', family === 4 ? 'ip' : 'ip6'];
  const hooks: readonly string[] = HOOKS[packet.direction];
  const dropper = rules.chains.find((chain) => {
    if (chain.hook === undefined || !hooks.includes(chain.hook) || !families.includes(chain.family))
      return false;
    const fate =
      new Walk(rules, packet).through(chain, 0) ?? (chain.policy === 'drop' ? 'dropped' : undefined);
    return fate === 'dropped';
  });
  return dropper === undefined
    ? undefined
    : `table ${dropper.family} ${dropper.table}, chain ${dropper.name}`;
}

class Walk {
  readonly #rules: HostRules;
  readonly #packet: OuterPacket;

  constructor(rules: HostRules, packet: OuterPacket) {
    this.#rules = rules;
    this.#packet = packet;
  }

  through(chain: HostChain, depth: number): Fate {
    for (const statements of chain.rules) {
      const step = this.#rule(chain, statements, depth);
      if (step === 'return') return undefined;
      if (step !== undefined) return step;
    }
    return undefined;
  }

  #rule(chain: HostChain, statements: readonly unknown[], depth: number): Fate | 'return' {
    let isSure = true;
    for (const statement of statements) {
      const [kind, value] = entryOf(statement);
      if (kind === 'match') {
        const holds = this.#matches(value);
        if (holds === false) return undefined;
        isSure &&= holds === true;
      } else if (kind === 'limit' || (kind === 'xt' && property(value, 'type') === 'match')) {
        isSure = false;
      } else if (kind === 'vmap') {
        const step = this.#map(chain, value, isSure, depth);
        if (step !== undefined) return step;
      } else {
        const step = this.#verdict(chain, kind, value, isSure, depth);
        if (step !== undefined) return step;
      }
    }
    return undefined;
  }

  /** undefined: the packet goes on with the next statement or rule. */
  #verdict(chain: HostChain, kind: string, value: unknown, isSure: boolean, depth: number): Fate | 'return' {
    switch (kind) {
      case 'accept':
        return isSure ? 'accepted' : undefined;
      case 'return':
        return isSure ? 'return' : undefined;
      case 'drop':
      case 'reject':
      // Another program decides.
      case 'queue':
        return 'dropped';
      case 'xt':
        return ['DROP', 'REJECT', 'NFQUEUE'].includes(String(property(value, 'name')))
          ? 'dropped'
          : undefined;
      case 'jump':
      case 'goto': {
        const name = property(value, 'target');
        const { family, table } = chain;
        const target = this.#rules.chains.find(
          (other) => other.family === family && other.table === table && other.name === name,
        );
        if (target === undefined || depth >= MAX_DEPTH) return undefined;
        const fate = this.through(target, depth + 1);
        if (fate === 'dropped') return fate;
        if (!isSure) return undefined;
        // Behind a chain that it was sent to for good, it is as at the end of this one.
        return fate ?? (kind === 'goto' ? 'return' : undefined);
      }
      default:
        return undefined;
    }
  }

  /** `KEY vmap { VALUE : VERDICT, ... }`. */
  #map(chain: HostChain, value: unknown, isSure: boolean, depth: number): Fate | 'return' {
    const elements = property(property(value, 'data'), 'set');
    // A map by name, whose elements are not read.
    if (!Array.isArray(elements)) return 'dropped';
    for (const element of elements) {
      if (!Array.isArray(element)) continue;
      const holds = this.#compares(property(value, 'key'), element[0]);
      if (holds === false) continue;
      const [kind, target] = entryOf(element[1]);
      const step = this.#verdict(chain, kind, target, isSure && holds === true, depth);
      if (step !== undefined) return step;
    }
    return undefined;
  }

  #matches(value: unknown): Answer {
    const holds = this.#compares(property(value, 'left'), property(value, 'right'));
    switch (property(value, 'op')) {
      case '==':
      case 'in':
        return holds;
      case '!=':
        return holds === undefined ? undefined : !holds;
      default:
        return undefined;
    }
  }

  #compares(left: unknown, right: unknown): Answer {
    const values = valuesOf(right);
    if (values === undefined) return undefined;
    const [kind, field] = entryOf(left);
    switch (kind) {
      case 'meta':
        return this.#meta(String(property(field, 'key')), values);
      case 'payload':
        return this.#payload(String(property(field, 'protocol')), String(property(field, 'field')), values);
      case 'ct':
        // The first packet of a tunnel is as good as any; it is not known whether the host has spoken before.
        return property(field, 'key') === 'state' && values.every((state) => state === 'invalid')
          ? false
          : undefined;
      default:
        return undefined;
    }
  }

  #meta(key: string, values: readonly unknown[]): Answer {
    const { source, direction, device } = this.#packet;
    const family = familyOf(source);
    switch (key) {
      case 'l4proto':
        return this.#isProtocol(values);
      case 'nfproto':
        return values.includes(family === 4 ? 'ipv4' : 'ipv6');
      case 'protocol':
        return values.includes(family === 4 ? 'ip' : 'ip6');
      case 'iif':
      case 'iifname':
        return direction === 'in' ? values.some((name) => isNameOf(device, name)) : undefined;
      case 'oif':
      case 'oifname':
        return direction === 'out' ? values.some((name) => isNameOf(device, name)) : undefined;
      default:
        return undefined;
    }
  }

  #payload(protocol: string, field: string, values: readonly unknown[]): Answer {
    if (OTHER_HEADERS.has(protocol)) return false;
    const { source, destination } = this.#packet;
    const own = familyOf(source) === 4 ? 'ip' : 'ip6';
    if ((protocol === 'ip' || protocol === 'ip6') && protocol !== own) return false;
    if (protocol !== own) return undefined;
    switch (field) {
      case 'protocol':
      case 'nexthdr':
        return this.#isProtocol(values);
      case 'saddr':
        return isAddressIn(source, values);
      case 'daddr':
        return isAddressIn(destination, values);
      default:
        return undefined;
    }
  }

  #isProtocol(values: readonly unknown[]): boolean {
    const { number, name } = this.#packet.protocol;
    return values.includes(name) || values.includes(number);
  }
}

/** A statement or expression is an object with one key. */
function entryOf(statement: unknown): [kind: string, value: unknown] {
  if (typeof statement === 'string') return [statement, undefined];
  if (typeof statement !== 'object' || statement === null) return ['', undefined];
  return Object.entries(statement)[0] ?? ['', undefined];
}

function property(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** What a field is compared with; undefined if that is written somewhere else (`@set`). */
function valuesOf(right: unknown): readonly unknown[] | undefined {
  if (typeof right === 'string' && right.startsWith('@')) return undefined;
  if (Array.isArray(right)) return right;
  const [kind, value] = entryOf(right);
  if (kind === 'set' && Array.isArray(value)) {
    // An element with a comment or a time-out.
    return value.map((element) => property(property(element, 'elem'), 'val') ?? element);
  }
  return [right];
}

/** `eth0`, or `eth*`. */
function isNameOf(device: string, name: unknown): boolean {
  if (typeof name !== 'string') return false;
  return name.endsWith('*') ? device.startsWith(name.slice(0, -1)) : device === name;
}

/** Addresses, prefixes and ranges; a name (a host's, a set's) is not known. */
function isAddressIn(address: string, values: readonly unknown[]): Answer {
  const family = isIPv4(address) ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  let isUnknown = false;
  for (const value of values) {
    const [kind, inner] = entryOf(value);
    try {
      if (typeof value === 'string' && (isIPv4(value) || isIPv6(value))) list.addAddress(value, family);
      else if (kind === 'prefix') {
        list.addSubnet(String(property(inner, 'addr')), Number(property(inner, 'len')), family);
      } else if (kind === 'range' && Array.isArray(inner)) {
        list.addRange(String(inner[0]), String(inner[1]), family);
      } else isUnknown = true;
    } catch {
      isUnknown = true;
    }
  }
  return list.check(address, family) || (isUnknown ? undefined : false);
}
