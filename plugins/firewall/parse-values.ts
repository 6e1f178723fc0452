/**
 * What stands to the right of a comparison: values and ranges of one field, as a condition on it.
 *
 * ```
 *  items  = item { [","] item }
 *  item   = "@" name | value [ ".." value ]
 * ```
 *
 * Neighbours: `parse-expression.ts` (fields and operators), `match-fields.ts` (the same values in YAML).
 */
import {
  type AddressValues,
  addressTest,
  both,
  type Condition,
  EGRESS,
  either,
  INGRESS,
  LINES,
  MINUTE_OF_WEEK,
  MINUTES_A_DAY,
  NEVER,
  not,
  numberTest,
} from './condition.ts';
import type { AddressField, Field, NumberField, PlaceField } from './fields.ts';
import type { Names } from './names.ts';
import { intersection, numberLine, type Ranges, rangesOf } from './ranges.ts';
import { didYouMean, ExpressionError, found, type Token } from './tokens.ts';
import { mergeAddresses, readAddresses, readNumber, readTime, readWeekday } from './values.ts';

/** A value, or a range where `to` is there. */
export interface Item {
  readonly from: Token;
  readonly to: Token | undefined;
}

/** How the values of a field are compared. */
export type Operator = '==' | '!=' | '<' | '>' | '<=' | '>=' | 'in';

const DIRECTIONS = ['outbound', 'inbound', 'internal'] as const;
const NEXT: Readonly<Record<string, number>> = { '<': -1, '>': 1 };

/** The condition that a field compares so with these items. */
export function compared(
  field: Exclude<Field, { type: 'kind' | 'bit' }>,
  operator: Operator,
  items: readonly Item[],
  names: Names,
): Condition {
  switch (field.type) {
    case 'address':
      return addresses(field, operator, items, names);
    case 'number':
      return numbers(field, operator, items, names);
    case 'place':
      return places(field, operator, items, names);
    case 'direction':
      return directions(operator, items, names);
    case 'time':
      return times(operator, items);
    case 'weekday':
      return weekdays(operator, items);
  }
}

/** `!=` asks all values of the field, everything else one of them. */
function joined(operator: Operator, tests: readonly Condition[]): Condition {
  return operator === '!=' ? both(...tests.map(not)) : either(...tests);
}

function setNamed<Kind extends 'prefixes' | 'ports'>(
  token: Token,
  kind: Kind,
  names: Names,
): Extract<NonNullable<ReturnType<Names['sets']['get']>>, { kind: Kind }>['values'] {
  const name = token.text.slice(1);
  const set = names.sets.get(name);
  if (set === undefined) {
    const hint = didYouMean(name, names.sets.keys());
    throw new ExpressionError(token.at, `there is no set "${name}" in "sets"${hint}`);
  }
  if (set.kind !== kind) {
    throw new ExpressionError(
      token.at,
      `"${name}" is a set of ${set.kind}, and a set of ${kind} should stand here`,
    );
  }
  return set.values as never;
}

const isSet = ({ from }: Item): boolean => from.kind === 'word' && from.text.startsWith('@');

function addresses(field: AddressField, operator: Operator, items: readonly Item[], names: Names): Condition {
  if (operator in NEXT || operator === '<=' || operator === '>=') {
    throw new ExpressionError(
      items[0]!.from.at,
      'addresses are compared by "==", "!=" and "in"; a range is "in {a..b}"',
    );
  }
  const values = mergeAddresses(
    items.map((item): AddressValues => {
      if (!isSet(item)) return readAddresses(item.from.text, item.from.at, item.to, field.family);
      const set = setNamed(item.from, 'prefixes', names);
      if (field.family === 0) return set;
      return ofFamily(set, field.family);
    }),
  );
  const tests = field.dimensions.map((dimension) => addressTest(dimension, values));
  if (operator !== '!=' || field.family === 0) return joined(operator, tests);
  // A packet of the other family has no such field.
  const all = field.family === 4 ? { ipv4: [0, 0xffffffff], ipv6: [] } : { ipv4: [], ipv6: ALL_IPV6 };
  return both(addressTest(field.dimensions[0]!, all), joined(operator, tests));
}

const ALL_IPV6: Ranges<bigint> = [0n, (1n << 128n) - 1n];

/** The part of a set that is of one family: always the same object for the same set. */
const parts = new WeakMap<AddressValues, readonly [AddressValues, AddressValues]>();
function ofFamily(set: AddressValues, family: 4 | 6): AddressValues {
  let both_ = parts.get(set);
  if (both_ === undefined) {
    both_ = [
      { ipv4: set.ipv4, ipv6: [] },
      { ipv4: [], ipv6: set.ipv6 },
    ];
    parts.set(set, both_);
  }
  return both_[family === 4 ? 0 : 1];
}

function numbers(field: NumberField, operator: Operator, items: readonly Item[], names: Names): Condition {
  const read = (token: Token): number =>
    readNumber(token.text, token.at, field.max, field.names) + field.offset;
  const pairs: [number, number][] = [];
  const line = LINES[field.dimensions[0]!]!;
  for (const item of items) {
    if (isSet(item)) {
      const set = setNamed(item.from, 'ports', names);
      for (let i = 0; i < set.length; i += 2) pairs.push([set[i]!, set[i + 1]!]);
      continue;
    }
    const low = read(item.from);
    const high = item.to === undefined ? low : read(item.to);
    if (high < low) {
      throw new ExpressionError(item.from.at, `the range ${item.from.text}..${item.to!.text} is empty`);
    }
    pairs.push([low, high]);
  }
  const values = ordered(operator, rangesOf(line, pairs), line.max);
  return both(
    field.has,
    joined(
      operator,
      field.dimensions.map((dimension) => numberTest(dimension, values)),
    ),
  );
}

/** What is smaller or larger than the one value in `values`. */
function ordered(operator: Operator, values: Ranges<number>, max: number): Ranges<number> {
  const value = values[0]!;
  if (operator === '<') return value === 0 ? [] : [0, value - 1];
  if (operator === '<=') return [0, value];
  if (operator === '>') return value >= max ? [] : [value + 1, max];
  return operator === '>=' ? [value, max] : values;
}

function refuseOrder(operator: Operator, items: readonly Item[], what: string): void {
  if (operator === '==' || operator === '!=' || operator === 'in') return;
  throw new ExpressionError(items[0]!.from.at, `${what} are compared by "==", "!=" and "in"`);
}

function refuseRange({ from, to }: Item, what: string): void {
  if (to !== undefined) throw new ExpressionError(from.at, `${what} have no ranges`);
}

function places(field: PlaceField, operator: Operator, items: readonly Item[], names: Names): Condition {
  refuseOrder(operator, items, 'names');
  const known = names.places(field.of);
  const pairs: [number, number][] = [];
  for (const item of items) {
    refuseRange(item, 'names');
    const { text, at } = item.from;
    const ports = known.get(text);
    if (ports === undefined) {
      const others = known.size > 0 && known.size <= 5 ? ` (there is ${[...known.keys()].join(', ')})` : '';
      throw new ExpressionError(
        at,
        `there is no ${field.of} "${text}"${didYouMean(text, known.keys()) || others}`,
      );
    }
    for (let i = 0; i < ports.length; i += 2) pairs.push([ports[i]!, ports[i + 1]!]);
  }
  const line = LINES[field.dimension]!;
  const is = numberTest(field.dimension, rangesOf(line, pairs));
  if (operator !== '!=') return is;
  const all = field.of === 'egress' ? names.allEgresses : names.allTunnels;
  return both(numberTest(field.dimension, all), not(is));
}

function directions(operator: Operator, items: readonly Item[], names: Names): Condition {
  refuseOrder(operator, items, 'directions');
  const { allTunnels, allEgresses } = names;
  const is = either(
    ...items.map((item) => {
      refuseRange(item, 'directions');
      const { text, at } = item.from;
      switch (text) {
        case 'outbound':
          return both(numberTest(INGRESS, allTunnels), numberTest(EGRESS, allEgresses));
        case 'inbound':
          return both(numberTest(INGRESS, allEgresses), numberTest(EGRESS, allTunnels));
        case 'internal':
          return both(numberTest(INGRESS, allTunnels), numberTest(EGRESS, allTunnels));
        default:
          throw new ExpressionError(
            at,
            `"${text}" is no direction; they are ${DIRECTIONS.join(', ')}${didYouMean(text, DIRECTIONS)}`,
          );
      }
    }),
  );
  return operator === '!=' ? not(is) : is;
}

/** The same minutes of these days of the week. */
function minutes(days: readonly number[], daily: Ranges<number>): Ranges<number> {
  const pairs: [number, number][] = [];
  for (const day of days) {
    for (let i = 0; i < daily.length; i += 2) {
      pairs.push([day * MINUTES_A_DAY + daily[i]!, day * MINUTES_A_DAY + daily[i + 1]!]);
    }
  }
  return rangesOf(LINES[MINUTE_OF_WEEK]!, pairs);
}

const EVERY_DAY = [0, 1, 2, 3, 4, 5, 6];
const DAY = numberLine(MINUTES_A_DAY - 1);

/** A range of times ends in front of its end, and may go over midnight. */
function times(operator: Operator, items: readonly Item[]): Condition {
  const pairs: [number, number][] = [];
  for (const { from, to } of items) {
    const begin = readTime(from.text, from.at);
    const end = to === undefined ? begin + 1 : readTime(to.text, to.at);
    if (begin === end) {
      throw new ExpressionError(from.at, `the time from ${from.text} to ${to!.text} is empty`);
    }
    if (begin < end) pairs.push([begin, end - 1]);
    else {
      pairs.push([begin, MINUTES_A_DAY - 1]);
      if (end > 0) pairs.push([0, end - 1]);
    }
  }
  const values = intersection(
    [0, MINUTES_A_DAY - 1],
    ordered(operator, rangesOf(DAY, pairs), MINUTES_A_DAY - 1),
  );
  if (values.length === 0) return operator === '!=' ? not(NEVER) : NEVER;
  const is = numberTest(MINUTE_OF_WEEK, minutes(EVERY_DAY, values));
  return operator === '!=' ? not(is) : is;
}

function weekdays(operator: Operator, items: readonly Item[]): Condition {
  refuseOrder(operator, items, 'days');
  const days = new Set<number>();
  for (const { from, to } of items) {
    const first = readWeekday(from.text, from.at);
    const last = to === undefined ? first : readWeekday(to.text, to.at);
    for (let day = first; ; day = (day + 1) % 7) {
      days.add(day);
      if (day === last) break;
    }
  }
  const is = numberTest(MINUTE_OF_WEEK, minutes([...days], [0, MINUTES_A_DAY - 1]));
  return operator === '!=' ? not(is) : is;
}

/** An item of a list, and what follows it. */
export interface ItemReader {
  peek(): Token;
  take(): Token;
}

/** Reads one item. */
export function readItem(tokens: ItemReader): Item {
  const value = (): Token => {
    const token = tokens.take();
    if (token.kind !== 'word' && token.kind !== 'string') {
      throw new ExpressionError(token.at, `${found(token)} where a value should stand`);
    }
    return token;
  };
  const from = value();
  if (tokens.peek().text !== '..' || tokens.peek().kind !== 'sign') return { from, to: undefined };
  tokens.take();
  if (isSet({ from, to: undefined })) throw new ExpressionError(from.at, 'a set is no end of a range');
  return { from, to: value() };
}
