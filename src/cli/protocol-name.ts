/** IP protocol numbers by their usual names. */
const NAMES: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6', 132: 'sctp' };

export function protocolName(protocol: number): string {
  return NAMES[protocol] ?? String(protocol);
}
