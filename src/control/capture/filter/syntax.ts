/**
 * A capture filter as a tree: what the parser makes and the compiler takes. And its names.
 */

import type { Prefix } from '../../../wire/address.ts';
import {
  PROTOCOL_AH,
  PROTOCOL_ESP,
  PROTOCOL_GRE,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_IPIP,
  PROTOCOL_IPV6,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../../../wire/packet.ts';

/** What is true or false of a packet. */
export type Condition =
  | { readonly kind: 'and' | 'or'; readonly left: Condition; readonly right: Condition }
  | { readonly kind: 'not'; readonly of: Condition }
  | { readonly kind: 'family'; readonly family: 4 | 6 }
  | { readonly kind: 'protocol'; readonly number: number }
  | { readonly kind: 'has_ports' | 'has_transport' }
  | { readonly kind: 'network'; readonly side: Side; readonly prefix: Prefix }
  | { readonly kind: 'port'; readonly side: Side; readonly lowest: number; readonly highest: number }
  | { readonly kind: 'relation'; readonly relation: Relation; readonly left: Value; readonly right: Value };

export type Side = 'source' | 'destination';
export type Relation = '==' | '!=' | '<' | '>' | '<=' | '>=';
export type Operator = '&' | '|' | '+' | '-' | '*' | '<<' | '>>';

/** A number of a packet, 32 bits without a sign. */
export type Value =
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'length' }
  | { readonly kind: 'load'; readonly protocol: string; readonly offset: Value; readonly bytes: 1 | 2 | 4 }
  | { readonly kind: 'operation'; readonly operator: Operator; readonly left: Value; readonly right: Value };

export const both = (left: Condition, right: Condition): Condition => ({ kind: 'and', left, right });
export const either = (left: Condition, right: Condition): Condition => ({ kind: 'or', left, right });

/** The words that stand for a protocol. `icmp` and `icmp6` belong to one family each. */
const PROTOCOL_CONDITIONS: Readonly<Record<string, Condition>> = {
  ip: { kind: 'family', family: 4 },
  ip6: { kind: 'family', family: 6 },
  tcp: { kind: 'protocol', number: PROTOCOL_TCP },
  udp: { kind: 'protocol', number: PROTOCOL_UDP },
  sctp: { kind: 'protocol', number: PROTOCOL_SCTP },
  esp: { kind: 'protocol', number: PROTOCOL_ESP },
  ah: { kind: 'protocol', number: PROTOCOL_AH },
  icmp: both({ kind: 'family', family: 4 }, { kind: 'protocol', number: PROTOCOL_ICMP }),
  icmp6: both({ kind: 'family', family: 6 }, { kind: 'protocol', number: PROTOCOL_ICMPV6 }),
};

export const PROTOCOL_WORDS: readonly string[] = Object.keys(PROTOCOL_CONDITIONS);
/** The protocols that `[offset]` may stand behind. */
export const LOADABLE: readonly string[] = ['ip', 'ip6', 'tcp', 'udp', 'sctp', 'icmp', 'icmp6'];

export function protocolCondition(word: string): Condition {
  return PROTOCOL_CONDITIONS[word]!;
}

/** Behind `proto`, beside numbers. */
export const PROTOCOL_NUMBERS: ReadonlyMap<string, number> = new Map([
  ['icmp', PROTOCOL_ICMP],
  ['ipip', PROTOCOL_IPIP],
  ['tcp', PROTOCOL_TCP],
  ['udp', PROTOCOL_UDP],
  ['ipv6', PROTOCOL_IPV6],
  ['gre', PROTOCOL_GRE],
  ['esp', PROTOCOL_ESP],
  ['ah', PROTOCOL_AH],
  ['icmp6', PROTOCOL_ICMPV6],
  ['sctp', PROTOCOL_SCTP],
]);

/** Behind `port`, beside numbers: the services that one looks for most. */
export const PORT_NAMES: ReadonlyMap<string, number> = new Map([
  ['ftp', 21],
  ['ssh', 22],
  ['telnet', 23],
  ['smtp', 25],
  ['domain', 53],
  ['http', 80],
  ['ntp', 123],
  ['snmp', 161],
  ['bgp', 179],
  ['ldap', 389],
  ['https', 443],
  ['isakmp', 500],
  ['syslog', 514],
]);

/** Offsets and values in arithmetic. */
export const VALUE_NAMES: ReadonlyMap<string, number> = new Map([
  ['tcpflags', 13],
  ['tcp-fin', 0x01],
  ['tcp-syn', 0x02],
  ['tcp-rst', 0x04],
  ['tcp-push', 0x08],
  ['tcp-ack', 0x10],
  ['tcp-urg', 0x20],
  ['tcp-ece', 0x40],
  ['tcp-cwr', 0x80],
  ['icmptype', 0],
  ['icmpcode', 1],
  ['icmp-echoreply', 0],
  ['icmp-unreach', 3],
  ['icmp-redirect', 5],
  ['icmp-echo', 8],
  ['icmp-timxceed', 11],
  ['icmp-paramprob', 12],
  ['icmp6type', 0],
  ['icmp6code', 1],
  ['icmp6-destinationunreach', 1],
  ['icmp6-packettoobig', 2],
  ['icmp6-timeexceeded', 3],
  ['icmp6-parameterproblem', 4],
  ['icmp6-echo', 128],
  ['icmp6-echoreply', 129],
]);
