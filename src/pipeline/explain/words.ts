/** Names and addresses of one plan, in the words of an explanation. */
import type { FlowKey } from '../../flow/layout.ts';
import { formatAddressWords } from '../../wire/address.ts';
import { swap16 } from '../../wire/byte-order.ts';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../../wire/packet.ts';
import type { Plan } from '../plan.ts';
import type { ExplainedTuple } from './explanation.ts';

const PROTOCOLS: ReadonlyMap<number, string> = new Map([
  [PROTOCOL_TCP, 'TCP'],
  [PROTOCOL_UDP, 'UDP'],
  [PROTOCOL_ICMP, 'ICMP'],
  [PROTOCOL_ICMPV6, 'ICMPv6'],
]);

export class Words {
  readonly #plan: Plan;

  constructor(plan: Plan) {
    this.#plan = plan;
  }

  /** Name of an address space. */
  space(id: number): string {
    return this.#plan.spaces.find((space) => space.id === id)?.name ?? `space ${id}`;
  }

  /** `site paris` or `egress internet`. */
  spaceOfKind(id: number): string {
    const space = this.#plan.spaces.find((candidate) => candidate.id === id);
    return space === undefined ? `space ${id}` : `${space.kind} ${space.name}`;
  }

  /** Name of a port. */
  port(index: number): string {
    return this.#plan.ports.find((port) => port.index === index)?.name ?? `port ${index}`;
  }

  /** `tunnel paris-gre` or `egress internet`. */
  portOfKind(index: number): string {
    const port = this.#plan.ports.find((candidate) => candidate.index === index);
    return port === undefined ? `port ${index}` : `${port.role} ${port.name}`;
  }
}

/** A protocol as people write it. */
export function protocolWord(protocol: number): string {
  return PROTOCOLS.get(protocol) ?? `protocol ${protocol}`;
}

/** The tuple of a key, as its packets look when they arrive. */
export function tupleOf(key: FlowKey): ExplainedTuple {
  const family = key.meta & 0xff;
  return {
    source: formatAddressWords(family, key.src0, key.src1, key.src2, key.src3),
    sourcePort: swap16(key.ports & 0xffff),
    destination: formatAddressWords(family, key.dst0, key.dst1, key.dst2, key.dst3),
    destinationPort: swap16(key.ports >>> 16),
  };
}

/** A tuple the other way round. */
export function reversedTuple({
  source,
  sourcePort,
  destination,
  destinationPort,
}: ExplainedTuple): ExplainedTuple {
  return {
    source: destination,
    sourcePort: destinationPort,
    destination: source,
    destinationPort: sourcePort,
  };
}

/** The tuple behind a translation; null where it is the one before. */
export function translatedTuple(before: ExplainedTuple, after: ExplainedTuple): ExplainedTuple | null {
  const isSame =
    before.source === after.source &&
    before.destination === after.destination &&
    before.sourcePort === after.sourcePort &&
    before.destinationPort === after.destinationPort;
  return isSame ? null : after;
}

/** `10.0.0.1:80 to [2001:db8::1]:53`; without ports where there are none. */
export function tupleWords(tuple: ExplainedTuple, protocol: number): string {
  const end = (address: string, port: number): string => {
    if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP) return address;
    return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  };
  const identifier =
    protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6
      ? `, identifier ${tuple.sourcePort || tuple.destinationPort}`
      : '';
  return `${end(tuple.source, tuple.sourcePort)} to ${end(tuple.destination, tuple.destinationPort)}${identifier}`;
}

/** `a, b and c`. */
export function listed(names: readonly string[]): string {
  if (names.length < 2) return names.join('');
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}
