/**
 * The rules that a classification consists of: conditions on a packet's fields, which both the socket's filter
 * and the guard can express, and short ways to write them down.
 *
 * Neighbours: `classifier.ts` (which rules there are), `socket-filter.ts` and `guard-rules.ts` (what they become).
 */
import { OWN_ID_MASK, OWN_IDS } from '../../tunnel/ipsec/kernel-host.ts';
import type { PortRange } from '../config/config.ts';
import type { IpPrefix } from './prefix.ts';
import { mergeRanges } from './reserved-ports.ts';

export type Taker = 'ours' | 'host' | 'both' | 'nobody';

/** All conditions hold, in this order; then `taker` has it. */
export interface Rule {
  readonly taker: Taker;
  /** Network protocol that the rule speaks of; `any`: it looks at none. */
  readonly family: 'any' | 'arp' | 'ipv4' | 'ipv6';
  readonly conditions: readonly Condition[];
  /** For people: what this rule is. */
  readonly comment: string;
}

export type Condition = LinkCondition | MarkCondition | AddressCondition | BitsCondition;

/** What the kernel notes of a frame beside its bytes. */
export type LinkCondition =
  | { readonly kind: 'vlan'; readonly is: 'other' | 'zero' }
  /** `unicast`: to this device's MAC; `not-unicast`: anything else; `group`: multicast or broadcast. */
  | { readonly kind: 'receiver'; readonly is: 'unicast' | 'not-unicast' | 'group' };

/** The packet's mark, masked; both uint32. */
export interface MarkCondition {
  readonly kind: 'mark';
  readonly mask: number;
  readonly is: number;
}

/** The address lies in one of the prefixes. Prefixes are of the rule's family. */
export interface AddressCondition {
  readonly kind: 'address';
  readonly which: 'source' | 'destination';
  readonly prefixes: readonly IpPrefix[];
}

/** A field in network byte order, masked, lies in one of the ranges. */
export interface BitsCondition {
  readonly kind: 'bits';
  /**
   * Where `offset` counts from: the network header; IPv4 only: the transport header (behind the options) and
   * the transport header of the packet that an ICMP error quotes (behind its options).
   */
  readonly base: 'network' | 'transport' | 'quoted-transport';
  /** Bytes. */
  readonly offset: number;
  readonly bytes: 1 | 2 | 4;
  /** Applied before comparing; all ones: the field as it is. */
  readonly mask: number;
  /** Inclusive, each at least 0. */
  readonly ranges: readonly PortRange[];
}

/** What an SA of ours has decrypted has such a mark (`../../tunnel/ipsec/connection.ts`). */
export const DECRYPTED: MarkCondition = { kind: 'mark', mask: OWN_ID_MASK, is: OWN_IDS.first };

export function rule(
  taker: Taker,
  family: Rule['family'],
  conditions: readonly Condition[],
  comment: string,
): Rule {
  return { taker, family, conditions, comment };
}

export function familyOf(version: 4 | 6): 'ipv4' | 'ipv6' {
  return version === 4 ? 'ipv4' : 'ipv6';
}

export function destination(prefixes: readonly IpPrefix[]): Condition {
  return { kind: 'address', which: 'destination', prefixes };
}

export function source(prefixes: readonly IpPrefix[]): Condition {
  return { kind: 'address', which: 'source', prefixes };
}

export function equals(
  base: BitsCondition['base'],
  offset: number,
  bytes: BitsCondition['bytes'],
  value: number,
  mask = 2 ** (8 * bytes) - 1,
): Condition {
  return { kind: 'bits', base, offset, bytes, mask, ranges: [{ min: value, max: value }] };
}

export function anyOf(base: BitsCondition['base'], offset: number, values: readonly number[]): Condition {
  return {
    kind: 'bits',
    base,
    offset,
    bytes: 1,
    mask: 0xff,
    ranges: values.map((value) => ({ min: value, max: value })),
  };
}

export function inRanges(
  base: BitsCondition['base'],
  offset: number,
  bytes: BitsCondition['bytes'],
  ranges: readonly PortRange[],
  mask = 2 ** (8 * bytes) - 1,
): Condition {
  return { kind: 'bits', base, offset, bytes, mask, ranges: mergeRanges(ranges) };
}
