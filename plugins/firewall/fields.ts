/**
 * The fields of expressions: their names, as in Wireshark's display filters where it has them, and what they test.
 *
 * A field that a packet lacks meets no comparison: `tcp.dstport != 80` is false for UDP, and `not tcp.dstport == 80` is
 * true. `ip.addr` and the other fields with two values meet `==` and `in` with one of them, and `!=` with both, as in
 * Wireshark since version 4.
 */
import {
  ALWAYS,
  both,
  type Condition,
  DESTINATION,
  DESTINATION_PORT,
  DSCP,
  EGRESS,
  familyTest,
  ICMP_CODE,
  ICMP_TYPE,
  INGRESS,
  LENGTH,
  PROTOCOL,
  protocolTest,
  SOURCE,
  SOURCE_PORT,
  TCP_FLAGS,
  TTL,
} from './condition.ts';
import { DSCP_NAMES, ICMP_TYPE_NAMES, ICMPV6_TYPE_NAMES, PROTOCOL_NAMES, TCP_FLAG_NAMES } from './values.ts';

/** Addresses; `family` 0 takes either. */
export interface AddressField {
  readonly type: 'address';
  readonly dimensions: readonly number[];
  readonly family: 0 | 4 | 6;
}

export interface NumberField {
  readonly type: 'number';
  readonly dimensions: readonly number[];
  /** Largest value that can be written. */
  readonly max: number;
  /** What is added to a written value: `ipv6.plen` does not count the header. */
  readonly offset: number;
  readonly names?: ReadonlyMap<string, number>;
  /** That a packet has this field. */
  readonly has: Condition;
}

/** One bit of a number. */
export interface BitField {
  readonly type: 'bit';
  readonly dimension: number;
  readonly mask: number;
  readonly has: Condition;
}

/** Stands by itself: that a packet is of a protocol. */
export interface KindField {
  readonly type: 'kind';
  readonly condition: Condition;
}

/** Names of the configuration. */
export interface PlaceField {
  readonly type: 'place';
  readonly dimension: number;
  readonly of: 'site' | 'tunnel' | 'egress';
}

export interface PlainField {
  readonly type: 'direction' | 'time' | 'weekday';
}

export type Field = AddressField | NumberField | BitField | KindField | PlaceField | PlainField;

const IP = familyTest(4);
const IP6 = familyTest(6);
const TCP = protocolTest(6);
const UDP = protocolTest(17);
/** Protocols whose ports are known. */
export const WITH_PORTS = protocolTest(6, 17);
const ICMP = both(IP, protocolTest(1));
const ICMP6 = both(IP6, protocolTest(58));

function address(family: 0 | 4 | 6, ...dimensions: readonly number[]): AddressField {
  return { type: 'address', dimensions, family };
}

function number(
  has: Condition,
  max: number,
  dimensions: readonly number[],
  rest: { names?: ReadonlyMap<string, number>; offset?: number } = {},
): NumberField {
  return { type: 'number', has, max, dimensions, offset: 0, ...rest };
}

function ports(prefix: string, has: Condition): [string, Field][] {
  return [
    [`${prefix}srcport`, number(has, 65535, [SOURCE_PORT])],
    [`${prefix}dstport`, number(has, 65535, [DESTINATION_PORT])],
    [`${prefix}port`, number(has, 65535, [SOURCE_PORT, DESTINATION_PORT])],
  ];
}

const fields: readonly (readonly [name: string, field: Field])[] = [
  ['ip', { type: 'kind', condition: IP }],
  ['ipv6', { type: 'kind', condition: IP6 }],
  ['tcp', { type: 'kind', condition: TCP }],
  ['udp', { type: 'kind', condition: UDP }],
  ['icmp', { type: 'kind', condition: ICMP }],
  ['icmpv6', { type: 'kind', condition: ICMP6 }],
  ['ip.src', address(4, SOURCE)],
  ['ip.dst', address(4, DESTINATION)],
  ['ip.addr', address(4, SOURCE, DESTINATION)],
  ['ipv6.src', address(6, SOURCE)],
  ['ipv6.dst', address(6, DESTINATION)],
  ['ipv6.addr', address(6, SOURCE, DESTINATION)],
  ['src', address(0, SOURCE)],
  ['dst', address(0, DESTINATION)],
  ['addr', address(0, SOURCE, DESTINATION)],
  ...ports('tcp.', TCP),
  ...ports('udp.', UDP),
  ...ports('', WITH_PORTS),
  ['tcp.flags', number(TCP, 255, [TCP_FLAGS])],
  ...TCP_FLAG_NAMES.map((name, bit): [string, Field] => [
    `tcp.flags.${name}`,
    { type: 'bit', dimension: TCP_FLAGS, mask: 1 << bit, has: TCP },
  ]),
  ['icmp.type', number(ICMP, 255, [ICMP_TYPE], { names: ICMP_TYPE_NAMES })],
  ['icmp.code', number(ICMP, 255, [ICMP_CODE])],
  ['icmpv6.type', number(ICMP6, 255, [ICMP_TYPE], { names: ICMPV6_TYPE_NAMES })],
  ['icmpv6.code', number(ICMP6, 255, [ICMP_CODE])],
  ['ip.proto', number(IP, 255, [PROTOCOL], { names: PROTOCOL_NAMES })],
  ['ipv6.nxt', number(IP6, 255, [PROTOCOL], { names: PROTOCOL_NAMES })],
  ['proto', number(ALWAYS, 255, [PROTOCOL], { names: PROTOCOL_NAMES })],
  ['ip.dsfield.dscp', number(IP, 63, [DSCP], { names: DSCP_NAMES })],
  ['ipv6.tclass.dscp', number(IP6, 63, [DSCP], { names: DSCP_NAMES })],
  ['dscp', number(ALWAYS, 63, [DSCP], { names: DSCP_NAMES })],
  ['ip.len', number(IP, 65535, [LENGTH])],
  ['ipv6.plen', number(IP6, 65535, [LENGTH], { offset: 40 })],
  ['length', number(ALWAYS, 65575, [LENGTH])],
  ['ip.ttl', number(IP, 255, [TTL])],
  ['ipv6.hlim', number(IP6, 255, [TTL])],
  ['ttl', number(ALWAYS, 255, [TTL])],
  ...(['site', 'tunnel', 'egress'] as const).flatMap((of): [string, Field][] => [
    [`from.${of}`, { type: 'place', dimension: INGRESS, of }],
    [`to.${of}`, { type: 'place', dimension: EGRESS, of }],
  ]),
  ['direction', { type: 'direction' }],
  ['time', { type: 'time' }],
  ['weekday', { type: 'weekday' }],
];

/** Fields by name. */
export const FIELDS: ReadonlyMap<string, Field> = new Map(fields);
