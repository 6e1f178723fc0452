/**
 * Addresses, networks, ports and protocols of a capture filter, with what stands in front of them:
 * `tcp src portrange 1-1024`, `dst net 10.0.0.0/8`, `ip proto 89`, `host 10.0.0.1`, `10.0.0.1`.
 */
import {
  addressBits,
  formatPrefix,
  type Prefix,
  parseAddress,
  parsePrefix,
  prefixMaskWord,
  prefixOf,
} from '../../../wire/address.ts';
import type { Parser } from './parse.ts';
import {
  both,
  type Condition,
  either,
  PORT_NAMES,
  PROTOCOL_NUMBERS,
  PROTOCOL_WORDS,
  protocolCondition,
  type Side,
} from './syntax.ts';
import { found, type Token } from './tokens.ts';

type Type = 'host' | 'net' | 'port' | 'portrange' | 'proto';
type Direction = 'src' | 'dst' | 'either' | 'both';

/** What stands in front of an identifier. */
export interface Qualifiers {
  readonly protocol: string | undefined;
  readonly direction: Direction;
  /** Undefined: a host, or a network if a length is given. */
  readonly type: Type | undefined;
  /** Nothing follows the protocol: it is a condition by itself. */
  readonly isProtocolOnly: boolean;
}

const TYPES: readonly string[] = ['host', 'net', 'port', 'portrange', 'proto'];
const MAX_PORT = 65535;

export function readQualifiers(parser: Parser): Qualifiers {
  const first = parser.peek();
  const protocol = PROTOCOL_WORDS.includes(first.text) ? parser.next().text : undefined;
  const direction = readDirection(parser);
  const typeToken = parser.peek();
  const type = TYPES.includes(typeToken.text) ? (parser.next().text as Type) : undefined;
  const isProtocolOnly = protocol !== undefined && direction === undefined && type === undefined;
  const follows = parser.peek();
  if (isProtocolOnly && (follows.kind === 'number' || follows.kind === 'address')) {
    throw parser.error(
      follows,
      `what ${follows.text} is has to be said; write "${protocol} port" or "and host"`,
    );
  }
  if (!isProtocolOnly && protocol !== undefined) checkProtocol(parser, first, protocol, type);
  if (type === 'proto' && direction !== undefined) {
    throw parser.error(typeToken, 'a protocol has no direction; leave src and dst away');
  }
  return { protocol, direction: direction ?? 'either', type, isProtocolOnly };
}

function readDirection(parser: Parser): Direction | undefined {
  const first = parser.peek().text;
  if (first !== 'src' && first !== 'dst') return undefined;
  parser.next();
  const joint = parser.peek().text;
  const second = parser.peek(1).text;
  const isPair = (joint === 'or' || joint === 'and') && (second === 'src' || second === 'dst');
  if (!isPair || second === first) return first;
  parser.next();
  parser.next();
  return joint === 'or' ? 'either' : 'both';
}

/** Addresses belong to ip and ip6, ports to the protocols that have them. */
function checkProtocol(parser: Parser, token: Token, protocol: string, type: Type | undefined): void {
  const isPort = type === 'port' || type === 'portrange';
  const fitting = isPort ? ['tcp', 'udp', 'sctp'] : ['ip', 'ip6'];
  if (fitting.includes(protocol)) return;
  const what = isPort ? 'ports' : type === 'proto' ? 'protocols' : 'addresses';
  throw parser.error(
    token,
    `"${protocol}" has no ${what}; write ${fitting.join(', ')} or nothing, or "${protocol} and"`,
  );
}

/** An identifier, or several in parentheses: `port (80 or 443)`. */
export function readIdentifiers(parser: Parser, qualifiers: Qualifiers): Condition {
  if (!parser.accept('(')) return readIdentifier(parser, qualifiers);
  let left = readOne(parser, qualifiers);
  for (;;) {
    const kind = parser.accept('and') ? 'and' : parser.accept('or') ? 'or' : undefined;
    if (kind === undefined) break;
    left = { kind, left, right: readOne(parser, qualifiers) };
  }
  parser.expect(')', 'should stand');
  return left;
}

function readOne(parser: Parser, qualifiers: Qualifiers): Condition {
  return parser.accept('not')
    ? { kind: 'not', of: readIdentifier(parser, qualifiers) }
    : readIdentifier(parser, qualifiers);
}

function readIdentifier(parser: Parser, { protocol, direction, type }: Qualifiers): Condition {
  const restriction = protocol === undefined ? undefined : protocolCondition(protocol);
  const restricted = (condition: Condition): Condition =>
    restriction === undefined ? condition : both(restriction, condition);
  switch (type) {
    case 'port': {
      const port = readPort(parser);
      return ports(restricted, direction, port, port);
    }
    case 'portrange': {
      const token = parser.peek();
      const lowest = readPort(parser);
      const highest = parser.accept('-') ? readPort(parser) : lowest;
      if (lowest > highest) throw parser.error(token, `the range ${lowest}-${highest} is empty`);
      return ports(restricted, direction, lowest, highest);
    }
    case 'proto':
      return restricted({ kind: 'protocol', number: readProtocol(parser) });
    default: {
      const token = parser.peek();
      const prefix = readNetwork(parser, type);
      const family = protocol === 'ip' ? 4 : protocol === 'ip6' ? 6 : prefix.family;
      if (family !== prefix.family) throw parser.error(token, `${token.text} is no IPv${family} address`);
      return networks(restricted, direction, prefix);
    }
  }
}

function sides<T extends Condition>(direction: Direction, test: (side: Side) => T): Condition {
  if (direction === 'src') return test('source');
  if (direction === 'dst') return test('destination');
  return (direction === 'both' ? both : either)(test('source'), test('destination'));
}

function ports(
  restricted: (condition: Condition) => Condition,
  direction: Direction,
  lowest: number,
  highest: number,
): Condition {
  const test = sides(direction, (side) => ({ kind: 'port', side, lowest, highest }));
  return restricted(both({ kind: 'has_ports' }, test));
}

function networks(
  restricted: (condition: Condition) => Condition,
  direction: Direction,
  prefix: Prefix,
): Condition {
  return restricted(sides(direction, (side) => ({ kind: 'network', side, prefix })));
}

function readPort(parser: Parser): number {
  const token = parser.next();
  const port = PORT_NAMES.get(token.text) ?? (token.kind === 'number' ? Number(token.text) : undefined);
  if (port === undefined) {
    throw parser.error(token, `${found(token)} where a port should stand; write a number such as 443`);
  }
  if (port > MAX_PORT) throw parser.error(token, `${token.text} is no port; they end with ${MAX_PORT}`);
  return port;
}

function readProtocol(parser: Parser): number {
  const token = parser.next();
  const number =
    PROTOCOL_NUMBERS.get(token.text) ?? (token.kind === 'number' ? Number(token.text) : undefined);
  if (number === undefined) {
    throw parser.error(
      token,
      `${found(token)} where a protocol should stand; write a number or a name such as gre`,
    );
  }
  if (number > 255) throw parser.error(token, `${token.text} is no protocol; they end with 255`);
  return number;
}

function readNetwork(parser: Parser, type: Type | undefined): Prefix {
  const token = parser.next();
  if (token.kind !== 'address' && !(type === 'net' && token.kind === 'number')) {
    const hint =
      token.kind === 'word' ? '; names are not looked up, write the address' : ', such as 10.0.0.1';
    throw parser.error(token, `${found(token)} where an address should stand${hint}`);
  }
  const address = token.text.includes('/') ? undefined : parseAddress(token.text);
  if (address !== undefined) {
    return type === 'net' && parser.accept('mask')
      ? masked(parser, token, parseMask(parser))
      : prefixOf(address, addressBits(address.family));
  }
  if (type === 'host') {
    const what = token.text.includes('/') ? 'a network; write "net" in front of it' : 'not a whole address';
    throw parser.error(token, `${token.text} is ${what}`);
  }
  if (type === 'net' && !token.text.includes('/')) return shortNetwork(parser, token);
  const result = parsePrefix(withAllParts(token.text));
  if (!result.ok) {
    const shown = result.code === 'host_bits' ? result.message : `${token.text} is no address or network`;
    throw parser.error(token, shown);
  }
  return result.prefix;
}

/** `10/8` is 10.0.0.0/8, as pcap reads it. */
function withAllParts(text: string): string {
  const [address, length] = text.split('/') as [string, string | undefined];
  if (address.includes(':') || length === undefined) return text;
  const parts = address.split('.');
  return `${[...parts, ...Array.from({ length: 4 - Math.min(parts.length, 4) }, () => '0')].join('.')}/${length}`;
}

/** `net 10`, `net 172.16`: as many bits as are written. */
function shortNetwork(parser: Parser, token: Token): Prefix {
  const parts = token.text.split('.');
  const result = parsePrefix(withAllParts(`${token.text}/${parts.length * 8}`));
  if (!result.ok || parts.length > 4) throw parser.error(token, `${token.text} is no network`);
  return result.prefix;
}

function parseMask(parser: Parser): { readonly token: Token; readonly length: number } {
  const token = parser.next();
  const mask = parseAddress(token.text);
  const length = Array.from({ length: 33 }, (_, bits) => bits).find(
    (bits) => mask?.family === 4 && prefixMaskWord(4, bits, 3) === mask.words[3],
  );
  if (length === undefined) {
    throw parser.error(token, `${found(token)} where a mask should stand, such as 255.255.0.0`);
  }
  return { token, length };
}

function masked(
  parser: Parser,
  token: Token,
  mask: { readonly token: Token; readonly length: number },
): Prefix {
  const address = parseAddress(token.text)!;
  if (address.family !== 4)
    throw parser.error(mask.token, 'IPv6 networks have a length: write address/length');
  const result = parsePrefix(`${token.text}/${mask.length}`);
  if (!result.ok)
    throw parser.error(
      token,
      `bits behind the mask are set; write ${formatPrefix(prefixOf(address, mask.length))}`,
    );
  return result.prefix;
}
