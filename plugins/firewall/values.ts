/**
 * Values as they are written in rules and sets: addresses, numbers with their names, times of day, days.
 *
 * Every reader throws an {@link ExpressionError} at the place it was given. Neighbours: `fields.ts` (which field takes
 * which), `parse-expression.ts`, `match-fields.ts`.
 */
import { parseAddress, parseInterfaceAddress, parsePrefix } from '../../src/wire/address.ts';
import { swap32 } from '../../src/wire/byte-order.ts';
import { IPV4 } from '../../src/wire/packet.ts';
import { type AddressValues, MINUTES_A_DAY } from './condition.ts';
import { IPV4_LINE, IPV6_LINE, rangesOf, union } from './ranges.ts';
import { didYouMean, ExpressionError } from './tokens.ts';

export const PROTOCOL_NAMES: ReadonlyMap<string, number> = new Map([
  ['icmp', 1],
  ['igmp', 2],
  ['tcp', 6],
  ['udp', 17],
  ['dccp', 33],
  ['gre', 47],
  ['esp', 50],
  ['ah', 51],
  ['icmpv6', 58],
  ['ospf', 89],
  ['pim', 103],
  ['vrrp', 112],
  ['l2tp', 115],
  ['sctp', 132],
  ['udplite', 136],
]);

/** RFC 2474, RFC 2597, RFC 3246, RFC 5865. */
export const DSCP_NAMES: ReadonlyMap<string, number> = new Map([
  ...Array.from({ length: 8 }, (_, at): [string, number] => [`cs${at}`, at * 8]),
  ...[1, 2, 3, 4].flatMap((of) =>
    [1, 2, 3].map((drop): [string, number] => [`af${of}${drop}`, of * 8 + drop * 2]),
  ),
  ['ef', 46],
  ['va', 44],
]);

export const ICMP_TYPE_NAMES: ReadonlyMap<string, number> = new Map([
  ['echo-reply', 0],
  ['destination-unreachable', 3],
  ['redirect', 5],
  ['echo-request', 8],
  ['time-exceeded', 11],
  ['parameter-problem', 12],
  ['timestamp-request', 13],
  ['timestamp-reply', 14],
]);

export const ICMPV6_TYPE_NAMES: ReadonlyMap<string, number> = new Map([
  ['destination-unreachable', 1],
  ['packet-too-big', 2],
  ['time-exceeded', 3],
  ['parameter-problem', 4],
  ['echo-request', 128],
  ['echo-reply', 129],
]);

export const WEEKDAYS: readonly string[] = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];

/** TCP flags, lowest bit first, as Wireshark names them. */
export const TCP_FLAG_NAMES: readonly string[] = ['fin', 'syn', 'reset', 'push', 'ack', 'urg', 'ece', 'cwr'];

/** Reads a whole number, decimal or hexadecimal, or one of `names`. */
export function readNumber(
  text: string,
  at: number,
  max: number,
  names: ReadonlyMap<string, number> | undefined,
): number {
  const named = names?.get(text);
  if (named !== undefined) return named;
  if (!/^(?:\d{1,7}|0x[0-9a-f]{1,5})$/i.test(text)) {
    const names_ = names === undefined ? '' : ' or a name';
    const hint =
      /^\d+-\d+$/.test(text) && names === undefined
        ? `; a range is "${text.replace('-', '..')}"`
        : didYouMean(text, names?.keys() ?? []);
    throw new ExpressionError(at, `"${text}" stands where a number from 0 to ${max}${names_} should${hint}`);
  }
  const value = Number(text);
  if (value > max) throw new ExpressionError(at, `${text} is too large: the largest value here is ${max}`);
  return value;
}

/** An IPv4 address as a number. */
function ipv4Number(words: Int32Array): number {
  return swap32(words[3]!) >>> 0;
}

/** An IPv6 address as a number. */
export function ipv6Number(word0: number, word1: number, word2: number, word3: number): bigint {
  const part = (word: number): bigint => BigInt(swap32(word) >>> 0);
  return (part(word0) << 96n) | (part(word1) << 64n) | (part(word2) << 32n) | part(word3);
}

/**
 * Reads an address, a prefix or (with `to`) a range of addresses.
 *
 * @param family 4 or 6 where only that one is allowed, 0 for either
 */
export function readAddresses(
  text: string,
  at: number,
  to: { readonly text: string; readonly at: number } | undefined,
  family: number,
): AddressValues {
  const values = to === undefined ? readPrefix(text, at) : readRange(text, at, to.text, to.at);
  const has = values.ipv4.length > 0 ? 4 : 6;
  if (family !== 0 && has !== family) {
    const field = has === 4 ? 'ip' : 'ipv6';
    throw new ExpressionError(
      at,
      `"${text}" is an IPv${has} address, and this field is of IPv${family}; write "${field}.src", or "src" for either`,
    );
  }
  return values;
}

function readPrefix(text: string, at: number): AddressValues {
  const isPrefix = text.includes('/');
  const whole = isPrefix ? text : `${text}/${text.includes(':') ? 128 : 32}`;
  const result = parsePrefix(whole);
  if (!result.ok) {
    if (result.code !== 'bad_address') throw new ExpressionError(at, result.message);
    const hint = rangeHint(text);
    throw new ExpressionError(at, `"${text}" stands where an address, a prefix or a set should${hint}`);
  }
  const { family, words, length } = result.prefix;
  if (family === IPV4) {
    const low = ipv4Number(words);
    return { ipv4: [low, low + 2 ** (32 - length) - 1], ipv6: [] };
  }
  const low = ipv6Number(words[0]!, words[1]!, words[2]!, words[3]!);
  return { ipv4: [], ipv6: [low, low + (1n << BigInt(128 - length)) - 1n] };
}

/** `10.0.0.1-10.0.0.9`: how others write ranges. */
function rangeHint(text: string): string {
  const parts = text.split('-');
  const isRange = parts.length === 2 && parts.every((part) => parseAddress(part) !== undefined);
  return isRange ? `; a range is "${parts.join('..')}"` : '';
}

function readRange(from: string, at: number, to: string, toAt: number): AddressValues {
  const [low, high] = [
    [from, at],
    [to, toAt],
  ].map(([text, place]) => {
    const address = parseAddress(text as string);
    if (address !== undefined) return address;
    const isPrefix = parseInterfaceAddress(text as string).ok;
    const what = isPrefix ? 'a range goes from address to address, without lengths' : 'no address';
    throw new ExpressionError(place as number, `"${text}": ${what}`);
  }) as [NonNullable<ReturnType<typeof parseAddress>>, NonNullable<ReturnType<typeof parseAddress>>];
  if (low.family !== high.family) throw new ExpressionError(toAt, 'the range ends in another family');
  if (low.family === IPV4) {
    const [first, last] = [ipv4Number(low.words), ipv4Number(high.words)];
    if (last < first) throw new ExpressionError(at, `the range ${from}..${to} is empty`);
    return { ipv4: [first, last], ipv6: [] };
  }
  const [first, last] = [low.words, high.words].map((words) =>
    ipv6Number(words[0]!, words[1]!, words[2]!, words[3]!),
  ) as [bigint, bigint];
  if (last < first) throw new ExpressionError(at, `the range ${from}..${to} is empty`);
  return { ipv4: [], ipv6: [first, last] };
}

/** Addresses of all of these. */
export function mergeAddresses(all: readonly AddressValues[]): AddressValues {
  if (all.length === 1) return all[0]!;
  if (all.length === 2) {
    const [a, b] = all as [AddressValues, AddressValues];
    return { ipv4: union(IPV4_LINE, a.ipv4, b.ipv4), ipv6: union(IPV6_LINE, a.ipv6, b.ipv6) };
  }
  const pairs4: [number, number][] = [];
  const pairs6: [bigint, bigint][] = [];
  for (const { ipv4, ipv6 } of all) {
    for (let i = 0; i < ipv4.length; i += 2) pairs4.push([ipv4[i]!, ipv4[i + 1]!]);
    for (let i = 0; i < ipv6.length; i += 2) pairs6.push([ipv6[i]!, ipv6[i + 1]!]);
  }
  return { ipv4: rangesOf(IPV4_LINE, pairs4), ipv6: rangesOf(IPV6_LINE, pairs6) };
}

/** Reads `08:00` (up to `24:00`) into minutes since midnight. */
export function readTime(text: string, at: number): number {
  const match = /^(\d{1,2}):(\d{2})$/.exec(text);
  const minutes = match === null ? -1 : Number(match[1]) * 60 + Number(match[2]);
  if (match === null || Number(match[2]) > 59 || minutes > MINUTES_A_DAY) {
    throw new ExpressionError(at, `"${text}" stands where a time of day from 00:00 to 24:00 should`);
  }
  return minutes;
}

/** Reads `mon` to `sun` into 0 to 6. */
export function readWeekday(text: string, at: number): number {
  const day = WEEKDAYS.indexOf(text);
  if (day < 0) {
    throw new ExpressionError(
      at,
      `"${text}" is no day; they are ${WEEKDAYS.join(', ')}${didYouMean(text.slice(0, 3), WEEKDAYS)}`,
    );
  }
  return day;
}
