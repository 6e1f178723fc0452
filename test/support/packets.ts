/** Short ways to write the packets that tests send. */
import type { PacketSpec } from '../../src/wire/build.ts';

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** `address port`, IPv6 without brackets: `fd00::1 80`. */
export type Endpoint = string;

function split(endpoint: Endpoint): [address: string, port: number] {
  const [address, port] = endpoint.split(' ');
  return [address, Number(port ?? 0)];
}

type HeaderFields = Omit<PacketSpec, 'source' | 'destination' | 'transport'>;

export function udp(
  from: Endpoint,
  to: Endpoint,
  payload: string | Uint8Array = '',
  header: HeaderFields = {},
): PacketSpec {
  const [source, sourcePort] = split(from);
  const [destination, destinationPort] = split(to);
  const bytes = typeof payload === 'string' ? utf8(payload) : payload;
  return {
    source,
    destination,
    ...header,
    transport: { kind: 'udp', sourcePort, destinationPort, payload: bytes },
  };
}

export interface TcpFields {
  readonly sequence?: number;
  readonly acknowledgment?: number;
  readonly window?: number;
  readonly options?: Uint8Array;
  readonly payload?: Uint8Array;
}

export function tcp(
  from: Endpoint,
  to: Endpoint,
  flags: number,
  fields: TcpFields = {},
  header: HeaderFields = {},
): PacketSpec {
  const [source, sourcePort] = split(from);
  const [destination, destinationPort] = split(to);
  return {
    source,
    destination,
    ...header,
    transport: { kind: 'tcp', sourcePort, destinationPort, flags, ...fields },
  };
}

/** An echo request or reply; `type` as the family has it. */
export function echo(
  source: string,
  destination: string,
  type: number,
  identifier: number,
  payload = '',
  header: HeaderFields = {},
): PacketSpec {
  return {
    source,
    destination,
    ...header,
    transport: { kind: 'icmp', type, rest: (identifier << 16) | 1, payload: utf8(payload) },
  };
}

/** An ICMP error that quotes the beginning of `quoted`, an IP packet. */
export function icmpError(
  source: string,
  destination: string,
  type: number,
  code: number,
  quoted: Uint8Array,
  rest = 0,
): PacketSpec {
  return {
    source,
    destination,
    transport: { kind: 'icmp', type, code, rest, payload: quoted.slice(0, 520) },
  };
}

/** Identifier of an echo message in an IPv4 or IPv6 packet without options. */
export function echoIdentifier(packet: Uint8Array): number {
  const l4 = packet[0] >> 4 === 4 ? 20 : 40;
  return (packet[l4 + 4] << 8) | packet[l4 + 5];
}
