/**
 * What operators ask to have explained, by name, and the question that it is to the data plane
 * (`pipeline/explain/explanation.ts`).
 */
import type { PacketQuestion } from '../../pipeline/explain/explanation.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { type Address, parseAddress } from '../../wire/address.ts';
import {
  IPV4,
  PROTOCOL_DESTINATION_OPTIONS,
  PROTOCOL_FRAGMENT,
  PROTOCOL_HOPOPTS,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_ROUTING,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../../wire/packet.ts';
import { RequestError } from '../request-error.ts';
import { knownProtocol, portNamed } from './flow-query.ts';

/** A flow by its id; or a packet, by the tunnel that it would come in by; or a live flow, by what it looks like. */
export interface ExplainQuery {
  readonly flow?: number | undefined;
  readonly fromTunnel?: string | undefined;
  /** Where several sites have the same five-tuple: whose flow. */
  readonly site?: string | undefined;
  readonly source?: string | undefined;
  readonly destination?: string | undefined;
  readonly protocol?: string | undefined;
  /** Of ICMP the identifier. */
  readonly sourcePort?: number | undefined;
  readonly destinationPort?: number | undefined;
  /** Length of the IP packet. */
  readonly bytes?: number | undefined;
}

/** Ports of a packet that nobody has named: what a client would use, and what it would ask for. */
const ANY_SOURCE_PORT = 49152;
const HTTPS = 443;
const DNS = 53;

/**
 * The packet that a query describes.
 *
 * @throws RequestError that says what is missing or makes no sense
 */
export function packetQuestion(query: ExplainQuery, plan: Plan): PacketQuestion {
  const { fromTunnel = '', source, destination, protocol: name = 'tcp' } = query;
  const port = portNamed(plan, fromTunnel).index;
  if (source === undefined || destination === undefined) {
    throw new RequestError(
      'invalid',
      'explain_what',
      'a packet needs a source and a destination beside the tunnel that it comes in by',
    );
  }
  const [from, to] = [addressOf(source), addressOf(destination)];
  if (from.family !== to.family) {
    throw new RequestError('invalid', 'bad_address', `${source} and ${destination} are of two families`);
  }
  const protocol = ofFamily(knownProtocol(name), from.family);
  const defaults = defaultPorts(protocol);
  return {
    kind: 'packet',
    port,
    source,
    destination,
    protocol,
    sourcePort: query.sourcePort ?? defaults.source,
    destinationPort: query.destinationPort ?? defaults.destination,
    ...(query.bytes === undefined ? {} : { bytes: query.bytes }),
  };
}

/** Reads an address. @throws RequestError `bad_address` */
export function addressOf(text: string): Address {
  const address = parseAddress(text);
  if (address !== undefined) return address;
  throw new RequestError('invalid', 'bad_address', `${text} is not an IPv4 or IPv6 address`);
}

/** Extension headers of IPv6, which no packet consists of. */
const EXTENSIONS: readonly number[] = [
  PROTOCOL_HOPOPTS,
  PROTOCOL_ROUTING,
  PROTOCOL_FRAGMENT,
  PROTOCOL_DESTINATION_OPTIONS,
];

/** Who writes icmp of IPv6 means ICMPv6. */
function ofFamily(protocol: number, family: number): number {
  if (family === IPV4) return protocol;
  if (EXTENSIONS.includes(protocol)) {
    const text = `protocol ${protocol} is an extension header of IPv6; name the protocol behind it`;
    throw new RequestError('invalid', 'bad_protocol', text);
  }
  return protocol === PROTOCOL_ICMP ? PROTOCOL_ICMPV6 : protocol;
}

function defaultPorts(protocol: number): { readonly source: number; readonly destination: number } {
  if (protocol === PROTOCOL_TCP) return { source: ANY_SOURCE_PORT, destination: HTTPS };
  if (protocol === PROTOCOL_UDP) return { source: ANY_SOURCE_PORT, destination: DNS };
  if (protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6) return { source: 1, destination: 0 };
  return { source: 0, destination: 0 };
}
