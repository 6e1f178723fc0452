/** IP protocols by name, for what operators read and write. */
import {
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../../wire/packet.ts';

const NAMES: ReadonlyMap<number, string> = new Map([
  [PROTOCOL_ICMP, 'icmp'],
  [PROTOCOL_TCP, 'tcp'],
  [PROTOCOL_UDP, 'udp'],
  [PROTOCOL_ICMPV6, 'icmpv6'],
  [PROTOCOL_SCTP, 'sctp'],
]);
const NUMBERS: ReadonlyMap<string, number> = new Map([...NAMES].map(([number, name]) => [name, number]));

/** The name of a protocol, or its number as text. */
export function protocolName(number: number): string {
  return NAMES.get(number) ?? String(number);
}

/** The protocol that a name or a number from 0 to 255 stands for; undefined for anything else. */
export function protocolNumber(text: string): number | undefined {
  const named = NUMBERS.get(text.toLowerCase());
  if (named !== undefined) return named;
  const number = /^\d{1,3}$/.test(text) ? Number(text) : 256;
  return number < 256 ? number : undefined;
}
