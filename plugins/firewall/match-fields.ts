/**
 * Rules as YAML fields: `match: { source: "@servers", protocol: tcp, destination_port: [80, "8000..8080"] }`.
 *
 * Every field has a value or a list of values; a packet must meet all fields, and of each one of its values. The values
 * are those of expressions, and so is what comes out. Neighbours: `fields.ts`, `parse-values.ts`.
 */
import { both, type Condition, not, numberTest, TCP_FLAGS } from './condition.ts';
import { FIELDS, type Field } from './fields.ts';
import type { Names } from './names.ts';
import { isRecord, type Problems } from './options-check.ts';
import { compared, type Item, readItem } from './parse-values.ts';
import { rangesOf } from './ranges.ts';
import { didYouMean, ExpressionError, found, tokensOf } from './tokens.ts';
import { TCP_FLAG_NAMES } from './values.ts';

/** YAML names by the expression's. */
const NAMES: ReadonlyMap<string, string> = new Map([
  ['from_site', 'from.site'],
  ['from_tunnel', 'from.tunnel'],
  ['from_egress', 'from.egress'],
  ['to_site', 'to.site'],
  ['to_tunnel', 'to.tunnel'],
  ['to_egress', 'to.egress'],
  ['source', 'src'],
  ['destination', 'dst'],
  ['address', 'addr'],
  ['source_port', 'srcport'],
  ['destination_port', 'dstport'],
  ['port', 'port'],
  ['protocol', 'proto'],
  ['icmp_type', 'icmp.type'],
  ['icmp_code', 'icmp.code'],
  ['icmpv6_type', 'icmpv6.type'],
  ['icmpv6_code', 'icmpv6.code'],
  ['dscp', 'dscp'],
  ['length', 'length'],
  ['ttl', 'ttl'],
  ['direction', 'direction'],
  ['time', 'time'],
  ['weekday', 'weekday'],
]);

/** All keys of a `match`. */
export const MATCH_KEYS: readonly string[] = [...NAMES.keys(), 'family', 'tcp_flags', 'not'];

/** Reads a `match` that is a mapping; undefined if something of it is wrong, which `problems` has then. */
export function matchFields(
  match: Readonly<Record<string, unknown>>,
  path: string,
  names: Names,
  problems: Problems,
): Condition | undefined {
  const before = problems.count;
  const all = Object.entries(match).flatMap(([key, value]): Condition[] => {
    const at = `${path}.${key}`;
    const condition = oneField(key, value, at, names, problems);
    return condition === undefined ? [] : [condition];
  });
  return problems.count === before ? both(...all) : undefined;
}

function oneField(
  key: string,
  value: unknown,
  path: string,
  names: Names,
  problems: Problems,
): Condition | undefined {
  if (key === 'not') {
    if (!isRecord(value)) {
      problems.add(path, 'fields should stand here, as in "match"');
      return undefined;
    }
    const of = matchFields(value, path, names, problems);
    return of === undefined ? undefined : not(of);
  }
  const values = Array.isArray(value) ? (value as readonly unknown[]) : [value];
  if (values.length === 0) {
    problems.add(path, 'the list is empty: no packet would match');
    return undefined;
  }
  const texts = values.map((item, index) => ({
    item,
    at: Array.isArray(value) ? `${path}[${index}]` : path,
  }));
  for (const { item, at } of texts) {
    if (typeof item === 'string' || typeof item === 'number') continue;
    problems.add(at, `a value should stand here, not ${kindOf(item)}`);
    return undefined;
  }
  if (key === 'family') return family(texts, problems);
  if (key === 'tcp_flags') return flags(texts, problems);
  const name = NAMES.get(key);
  if (name === undefined) {
    problems.add(path, `there is no such field${didYouMean(key, MATCH_KEYS)}`);
    return undefined;
  }
  const field = FIELDS.get(name) as Exclude<Field, { type: 'kind' | 'bit' }>;
  const conditions: Condition[] = [];
  for (const { item, at } of texts) {
    const condition = problems.attempt(at, () => compared(field, 'in', [oneItem(String(item))], names));
    if (condition !== undefined) conditions.push(condition);
  }
  return conditions.length === 1 ? conditions[0] : { kind: 'or', of: conditions };
}

interface Text {
  readonly item: unknown;
  readonly at: string;
}

function family(texts: readonly Text[], problems: Problems): Condition | undefined {
  const conditions = texts.flatMap(({ item, at }) => {
    const field = FIELDS.get(item === 'ipv4' ? 'ip' : item === 'ipv6' ? 'ipv6' : '');
    if (field?.type === 'kind') return [field.condition];
    problems.add(at, `"${item}" is no family; they are ipv4, ipv6`);
    return [];
  });
  return { kind: 'or', of: conditions };
}

/** `[syn, "!ack"]`: all of these hold. */
function flags(texts: readonly Text[], problems: Problems): Condition {
  let set = 0;
  let unset = 0;
  for (const { item, at } of texts) {
    const text = String(item);
    const isUnset = text.startsWith('!');
    const bit = TCP_FLAG_NAMES.indexOf(isUnset ? text.slice(1) : text);
    if (bit < 0) {
      const hint = didYouMean(text, TCP_FLAG_NAMES);
      problems.add(at, `"${text}" is no flag; they are ${TCP_FLAG_NAMES.join(', ')}, or "!" and one${hint}`);
    } else if (isUnset) unset |= 1 << bit;
    else set |= 1 << bit;
  }
  const pairs = Array.from({ length: 256 }, (_, value) => value)
    .filter((value) => (value & set) === set && (value & unset) === 0)
    .map((value): [number, number] => [value, value]);
  const tcp = FIELDS.get('tcp') as Extract<Field, { type: 'kind' }>;
  return both(tcp.condition, numberTest(TCP_FLAGS, rangesOf({ ...BYTE }, pairs)));
}

const BYTE = {
  min: 0,
  max: 255,
  next: (value: number) => value + 1,
  previous: (value: number) => value - 1,
};

/** Reads the one item that a text holds. */
function oneItem(text: string): Item {
  const tokens = tokensOf(text);
  let next = 0;
  const item = readItem({
    peek: () => tokens[next]!,
    take: () => (tokens[next]!.kind === 'end' ? tokens[next]! : tokens[next++]!),
  });
  const rest = tokens[next]!;
  if (rest.kind !== 'end') {
    throw new ExpressionError(rest.at, `${found(rest)} behind the value; several values are a list`);
  }
  return item;
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  return Array.isArray(value) ? 'a list' : `a ${typeof value === 'object' ? 'mapping' : typeof value}`;
}
