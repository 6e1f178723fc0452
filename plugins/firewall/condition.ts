/**
 * What a rule asks of a packet: tests of single dimensions, joined by `and`, `or` and `not`.
 *
 * A dimension is one value that every packet has, whatever it is: a packet without ports has port 0, so whoever
 * tests a port tests the protocol beside it. `packet-values.ts` reads the values off a packet.
 *
 * ```
 *  expression ─┐                              ┌─► linear.ts   one after the other: the oracle of the tests
 *              ├─► Condition (here) ──────────┤
 *  YAML fields ┘                              └─► boxes.ts ─► classifier.ts
 * ```
 */
import {
  complement,
  everything,
  IPV4_LINE,
  IPV6_LINE,
  intersection,
  isEverything,
  type Line,
  numberLine,
  type Ranges,
  sameRanges,
  union,
} from './ranges.ts';

export const SOURCE = 0;
export const DESTINATION = 1;
export const SOURCE_PORT = 2;
export const DESTINATION_PORT = 3;
export const PROTOCOL = 4;
/** Port (tunnel or egress) that the first packet came in by. */
export const INGRESS = 5;
/** Port that it will leave by. */
export const EGRESS = 6;
export const TCP_FLAGS = 7;
export const ICMP_TYPE = 8;
export const ICMP_CODE = 9;
export const DSCP = 10;
/** Of the IP packet, bytes. */
export const LENGTH = 11;
/** TTL or hop limit. */
export const TTL = 12;
/** Minutes since Monday, 00:00, in the firewall's time zone. */
export const MINUTE_OF_WEEK = 13;
export const DIMENSIONS = 14;

export const MINUTES_A_DAY = 24 * 60;
export const MINUTES_A_WEEK = 7 * MINUTES_A_DAY;

/** Values of the dimensions that are numbers; undefined for addresses. */
export const LINES: readonly (Line<number> | undefined)[] = [
  undefined,
  undefined,
  numberLine(65535),
  numberLine(65535),
  numberLine(255),
  numberLine(65535),
  numberLine(65535),
  numberLine(255),
  numberLine(255),
  numberLine(255),
  numberLine(63),
  numberLine(65575),
  numberLine(255),
  numberLine(MINUTES_A_WEEK - 1),
];

/** Addresses of either family. */
export interface AddressValues {
  readonly ipv4: Ranges<number>;
  readonly ipv6: Ranges<bigint>;
}

/** A test of one of {@link SOURCE} and {@link DESTINATION}. */
export interface AddressTest {
  readonly kind: 'address';
  readonly dimension: number;
  readonly values: AddressValues;
}

/** A test of another dimension. */
export interface NumberTest {
  readonly kind: 'number';
  readonly dimension: number;
  readonly values: Ranges<number>;
}

export type Test = AddressTest | NumberTest;

export type Condition =
  | Test
  | { readonly kind: 'and' | 'or'; readonly of: readonly Condition[] }
  | { readonly kind: 'not'; readonly of: Condition };

export const ALWAYS: Condition = { kind: 'and', of: [] };
export const NEVER: Condition = { kind: 'or', of: [] };

const IPV4_ONLY: AddressValues = { ipv4: everything(IPV4_LINE), ipv6: [] };
const IPV6_ONLY: AddressValues = { ipv4: [], ipv6: everything(IPV6_LINE) };

export function both(...of: readonly Condition[]): Condition {
  return of.length === 1 ? of[0]! : { kind: 'and', of };
}

export function either(...of: readonly Condition[]): Condition {
  return of.length === 1 ? of[0]! : { kind: 'or', of };
}

export function not(of: Condition): Condition {
  return { kind: 'not', of };
}

export function addressTest(dimension: number, values: AddressValues): AddressTest {
  return { kind: 'address', dimension, values };
}

export function numberTest(dimension: number, values: Ranges<number>): NumberTest {
  return { kind: 'number', dimension, values };
}

/** That a packet is of one of these protocols. */
export function protocolTest(...protocols: readonly number[]): NumberTest {
  const sorted = protocols.toSorted((a, b) => a - b);
  return numberTest(
    PROTOCOL,
    sorted.reduce<Ranges<number>>(
      (values, protocol) => union(LINES[PROTOCOL]!, values, [protocol, protocol]),
      [],
    ),
  );
}

/** That a packet is of IP version 4 or 6. */
export function familyTest(family: 4 | 6): AddressTest {
  return addressTest(SOURCE, family === 4 ? IPV4_ONLY : IPV6_ONLY);
}

/** Everything else in this dimension. */
export function negated(test: Test): Test {
  if (test.kind === 'number') {
    return numberTest(test.dimension, complement(LINES[test.dimension]!, test.values));
  }
  const { ipv4, ipv6 } = test.values;
  return addressTest(test.dimension, {
    ipv4: complement(IPV4_LINE, ipv4),
    ipv6: complement(IPV6_LINE, ipv6),
  });
}

/** What meets both tests, which are of one dimension. */
export function narrowed(a: Test, b: Test): Test {
  if (a.kind === 'number') {
    return numberTest(a.dimension, intersection(a.values, (b as NumberTest).values));
  }
  const other = (b as AddressTest).values;
  return addressTest(a.dimension, {
    ipv4: intersection(a.values.ipv4, other.ipv4),
    ipv6: intersection(a.values.ipv6, other.ipv6),
  });
}

/** What meets one of the tests, which are of one dimension. */
export function widened(a: Test, b: Test): Test {
  if (a.kind === 'number') {
    return numberTest(a.dimension, union(LINES[a.dimension]!, a.values, (b as NumberTest).values));
  }
  const other = (b as AddressTest).values;
  return addressTest(a.dimension, {
    ipv4: union(IPV4_LINE, a.values.ipv4, other.ipv4),
    ipv6: union(IPV6_LINE, a.values.ipv6, other.ipv6),
  });
}

/** Whether two tests of one dimension ask the same. */
export function sameTest(a: Test, b: Test): boolean {
  if (a.kind === 'number') return sameRanges(a.values, (b as NumberTest).values);
  const other = (b as AddressTest).values;
  return (
    a.values === other || (sameRanges(a.values.ipv4, other.ipv4) && sameRanges(a.values.ipv6, other.ipv6))
  );
}

/** Whether no packet meets the test. */
export function isImpossible(test: Test): boolean {
  if (test.kind === 'number') return test.values.length === 0;
  return test.values.ipv4.length === 0 && test.values.ipv6.length === 0;
}

/** Whether every packet meets the test. */
export function isTrivial(test: Test): boolean {
  if (test.kind === 'number') return isEverything(LINES[test.dimension]!, test.values);
  return isEverything(IPV4_LINE, test.values.ipv4) && isEverything(IPV6_LINE, test.values.ipv6);
}
