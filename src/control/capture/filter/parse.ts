/**
 * Reads a capture filter: a subset of the language of pcap filters, as docs/captures.md has it.
 *
 * ```
 *  expression   term { (and | or) term }            both bind alike, leftmost first, as in pcap
 *  term         not term | ( expression ) | test | relation | identifier
 *  test         [protocol] [direction] [host | net | port | portrange | proto] identifier
 *               protocol | less N | greater N
 *  relation     value (== | != | < | > | <= | >=) value
 *  value        N | name | len | protocol [ value : 1|2|4 ] | ( value ) | value (& | + - * << >>) value
 * ```
 *
 * An identifier alone, behind `and` or `or`, means what the one before it meant: `port 80 or 443`.
 *
 * Where an opening parenthesis stands, a condition or a value may follow: both are tried, and of two errors the one
 * that came further is told.
 */
import { nearest } from '../../config/suggest.ts';
import { type Qualifiers, readIdentifiers, readQualifiers } from './qualified.ts';
import {
  type Condition,
  LOADABLE,
  type Operator,
  PROTOCOL_WORDS,
  protocolCondition,
  type Relation,
  VALUE_NAMES,
  type Value,
} from './syntax.ts';
import { FilterError, found, type Token, tokensOf } from './tokens.ts';

/** Parentheses within parentheses. */
const MAX_DEPTH = 50;
const RELATIONS: readonly string[] = ['==', '!=', '<', '>', '<=', '>='];
/** Loosest first; those of one level bind alike. */
const OPERATORS: readonly (readonly string[])[] = [['&', '|'], ['<<', '>>'], ['+', '-'], ['*']];
const WORDS = [
  ...PROTOCOL_WORDS,
  ...[
    'host',
    'net',
    'port',
    'portrange',
    'proto',
    'src',
    'dst',
    'and',
    'or',
    'not',
    'less',
    'greater',
    'len',
  ],
];

/**
 * The condition that an expression states; undefined for an empty one, which every packet meets.
 *
 * @throws FilterError
 */
export function parseFilter(text: string): Condition | undefined {
  const parser = new Parser(text);
  return parser.peek().kind === 'end' ? undefined : parser.whole();
}

/** A position in the tokens of one expression. */
export class Parser {
  readonly text: string;
  private readonly tokens: readonly Token[];
  private position = 0;
  private depth = 0;
  /** What an identifier alone means now. */
  private qualifiers: Qualifiers | undefined;

  constructor(text: string) {
    this.text = text;
    this.tokens = tokensOf(text);
  }

  whole(): Condition {
    const condition = this.expression();
    const rest = this.peek();
    if (rest.kind !== 'end') {
      throw this.error(rest, `"${rest.text}" is too much here; join conditions with "and" or "or"`);
    }
    return condition;
  }

  peek(ahead = 0): Token {
    return this.tokens[Math.min(this.position + ahead, this.tokens.length - 1)]!;
  }

  next(): Token {
    const token = this.peek();
    this.position++;
    return token;
  }

  /** Takes the next token if it is this word or sign. */
  accept(text: string): boolean {
    const token = this.peek();
    if (token.kind === 'end' || token.text !== text) return false;
    this.position++;
    return true;
  }

  expect(text: string, why: string): void {
    if (!this.accept(text)) throw this.error(this.peek(), `${found(this.peek())} where "${text}" ${why}`);
  }

  error(token: Token, reason: string): FilterError {
    return new FilterError(this.text, token.at, reason);
  }

  expression(): Condition {
    let left = this.term();
    for (;;) {
      const kind = this.accept('and') ? 'and' : this.accept('or') ? 'or' : undefined;
      if (kind === undefined) return left;
      left = { kind, left, right: this.term() };
    }
  }

  private term(): Condition {
    const token = this.peek();
    if (this.accept('not')) return this.deeper(token, () => ({ kind: 'not', of: this.term() }));
    if (token.text === '(') return this.group();
    if (this.beginsValue()) return this.relation();
    if (this.accept('less')) return this.lengthTest('<=');
    if (this.accept('greater')) return this.lengthTest('>=');
    const isIdentifier = token.kind === 'number' || token.kind === 'address';
    if (isIdentifier && this.qualifiers !== undefined) return readIdentifiers(this, this.qualifiers);
    return this.test(token, isIdentifier);
  }

  private test(token: Token, isIdentifier: boolean): Condition {
    const isQualifier = ['src', 'dst', 'host', 'net', 'port', 'portrange', 'proto'].includes(token.text);
    if (!isIdentifier && !isQualifier && !PROTOCOL_WORDS.includes(token.text)) {
      if (token.kind === 'end')
        throw this.error(token, 'something is missing at the end, such as "host 10.0.0.1"');
      const meant = token.kind === 'word' ? nearest(token.text, WORDS) : undefined;
      const hint =
        meant === undefined ? 'write a condition such as "host 10.0.0.1"' : `did you mean "${meant}"?`;
      throw this.error(token, `"${token.text}" is not known here; ${hint}`);
    }
    const qualifiers = readQualifiers(this);
    if (qualifiers.isProtocolOnly) return protocolCondition(qualifiers.protocol!);
    this.qualifiers = qualifiers;
    return readIdentifiers(this, qualifiers);
  }

  private group(): Condition {
    const opening = this.peek();
    return this.deeper(opening, () => {
      const start = this.position;
      let asRelation: FilterError;
      try {
        return this.relation();
      } catch (error) {
        asRelation = error as FilterError;
      }
      this.position = start;
      try {
        this.expect('(', 'was');
        const condition = this.expression();
        this.expect(')', 'should stand');
        return condition;
      } catch (error) {
        const asCondition = error as FilterError;
        throw asRelation.column > asCondition.column ? asRelation : asCondition;
      }
    });
  }

  private deeper<T>(token: Token, read: () => T): T {
    if (++this.depth > MAX_DEPTH) throw this.error(token, `more than ${MAX_DEPTH} levels are too deep`);
    try {
      return read();
    } finally {
      this.depth--;
    }
  }

  private lengthTest(relation: Relation): Condition {
    const token = this.peek();
    const right: Value = { kind: 'number', value: this.number('a length in bytes, such as 100') };
    if (token.kind !== 'number') throw this.error(token, 'a length in bytes is missing, such as 100');
    return { kind: 'relation', relation, left: { kind: 'length' }, right };
  }

  private beginsValue(): boolean {
    const token = this.peek();
    const after = this.peek(1).text;
    if (token.text === 'len' || VALUE_NAMES.has(token.text)) return true;
    if (token.kind === 'number') return [...RELATIONS, ...OPERATORS.flat()].includes(after);
    return token.kind === 'word' && after === '[';
  }

  private relation(): Condition {
    const left = this.value(0);
    const token = this.next();
    if (!RELATIONS.includes(token.text)) {
      throw this.error(token, `${found(token)} where a comparison should stand, such as "!= 0"`);
    }
    return { kind: 'relation', relation: token.text as Relation, left, right: this.value(0) };
  }

  private value(level: number): Value {
    const operators = OPERATORS[level];
    if (operators === undefined) return this.operand();
    let left = this.value(level + 1);
    while (this.peek().kind === 'sign' && operators.includes(this.peek().text)) {
      const operator = this.next().text as Operator;
      left = { kind: 'operation', operator, left, right: this.value(level + 1) };
    }
    return left;
  }

  private operand(): Value {
    const token = this.peek();
    if (this.accept('(')) {
      return this.deeper(token, () => {
        const inner = this.value(0);
        this.expect(')', 'should stand');
        return inner;
      });
    }
    if (this.accept('len')) return { kind: 'length' };
    if (token.kind === 'word' && this.peek(1).text === '[') return this.load();
    return { kind: 'number', value: this.number('a number, "len", or a place such as tcp[tcpflags]') };
  }

  private load(): Value {
    const token = this.next();
    if (!LOADABLE.includes(token.text)) {
      throw this.error(token, `"${token.text}" has no bytes here; write one of ${LOADABLE.join(', ')}`);
    }
    this.expect('[', 'should stand');
    return this.deeper(token, () => {
      const offset = this.value(0);
      const size = this.accept(':') ? this.next() : undefined;
      if (size !== undefined && !['1', '2', '4'].includes(size.text)) {
        throw this.error(size, `${found(size)} is no size; write 1, 2 or 4`);
      }
      this.expect(']', 'should stand');
      return { kind: 'load', protocol: token.text, offset, bytes: Number(size?.text ?? 1) as 1 | 2 | 4 };
    });
  }

  /** A number or a name for one. */
  private number(wanted: string): number {
    const token = this.next();
    const named = VALUE_NAMES.get(token.text);
    if (named !== undefined) return named;
    if (token.kind !== 'number') {
      const meant = token.kind === 'word' ? nearest(token.text, VALUE_NAMES.keys()) : undefined;
      const hint = meant === undefined ? '' : `; did you mean "${meant}"?`;
      throw this.error(token, `${found(token)} where ${wanted} should stand${hint}`);
    }
    const value = Number(token.text);
    if (value > 0xffffffff) throw this.error(token, `${token.text} has more than 32 bits`);
    return value;
  }
}
