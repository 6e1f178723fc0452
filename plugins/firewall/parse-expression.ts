/**
 * Rules as expressions: `ip.src in @servers and tcp.dstport == 443`, in the language of Wireshark's display filters.
 *
 * ```
 *  or         = and { "or" and }
 *  and        = unary { "and" unary }
 *  unary      = "not" unary | "(" or ")" | comparison
 *  comparison = field
 *             | field [ "&" number ] [ operator value ]
 *             | field [ "not" ] "in" ( set | "{" items "}" )
 * ```
 *
 * `and` binds closer than `or`. Fields are in `fields.ts`, values in `parse-values.ts`; what is wrong is said with the
 * column at which it stands ({@link ExpressionError}).
 */
import { both, type Condition, either, LINES, not, numberTest } from './condition.ts';
import { type BitField, FIELDS, type Field, type NumberField } from './fields.ts';
import type { Names } from './names.ts';
import { compared, type Item, type Operator, readItem } from './parse-values.ts';
import { type Ranges, rangesOf } from './ranges.ts';
import { didYouMean, ExpressionError, found, type Token, tokensOf } from './tokens.ts';
import { readNumber } from './values.ts';

/** Deeper ones are not written by people, and would be recursed into. */
const MAX_DEPTH = 50;
const OPERATORS: readonly string[] = ['==', '!=', '<', '>', '<=', '>='];
/** Words that stand between conditions, and never at the place of a field. */
const JOINTS: readonly string[] = ['and', 'or', 'in'];

/**
 * Reads an expression into a condition.
 *
 * @throws ExpressionError
 */
export function parseExpression(text: string, names: Names): Condition {
  return new Parser(text, names).parse();
}

class Parser {
  private readonly tokens: readonly Token[];
  private readonly names: Names;
  private next = 0;
  private depth = 0;

  constructor(text: string, names: Names) {
    this.tokens = tokensOf(text);
    this.names = names;
  }

  parse(): Condition {
    if (this.peek().kind === 'end') {
      throw new ExpressionError(0, 'the expression is empty; a rule without "match" matches everything');
    }
    const condition = this.or();
    const rest = this.peek();
    if (rest.kind !== 'end') {
      const hint = rest.text === ')' ? 'no "(" belongs to it' : 'join conditions with "and" or "or"';
      throw new ExpressionError(rest.at, `"${rest.text}" stands behind the end of a condition; ${hint}`);
    }
    return condition;
  }

  peek(): Token {
    return this.tokens[this.next]!;
  }

  take(): Token {
    const token = this.peek();
    if (token.kind !== 'end') this.next++;
    return token;
  }

  private takes(kind: 'word' | 'sign', text: string): boolean {
    const token = this.peek();
    if (token.kind !== kind || token.text !== text) return false;
    this.next++;
    return true;
  }

  private or(): Condition {
    const all = [this.and()];
    while (this.takes('word', 'or')) all.push(this.and());
    return either(...all);
  }

  private and(): Condition {
    const all = [this.unary()];
    while (this.takes('word', 'and')) all.push(this.unary());
    return both(...all);
  }

  private unary(): Condition {
    const token = this.peek();
    if (this.depth >= MAX_DEPTH) {
      throw new ExpressionError(token.at, `more than ${MAX_DEPTH} conditions within each other`);
    }
    this.depth++;
    const condition = this.nested();
    this.depth--;
    return condition;
  }

  private nested(): Condition {
    if (this.takes('word', 'not')) return not(this.unary());
    const open = this.peek();
    if (!this.takes('sign', '(')) return this.comparison();
    const condition = this.or();
    const close = this.peek();
    if (!this.takes('sign', ')')) {
      throw new ExpressionError(
        close.at,
        `${found(close)} where ")" should stand, for the "(" of column ${open.at + 1}`,
      );
    }
    return condition;
  }

  private comparison(): Condition {
    const token = this.take();
    const field = this.field(token);
    if (field.type === 'kind') return this.kind(token, field.condition);
    if (field.type === 'bit') return this.bit(token, field);
    if (this.takes('sign', '&')) return this.masked(token, field);
    if (this.takes('word', 'in')) return compared(field, 'in', this.set(), this.names);
    if (this.peek().text === 'not' && this.peek().kind === 'word') {
      const { at } = this.take();
      if (!this.takes('word', 'in')) throw new ExpressionError(at, '"not" stands where "not in" should');
      return not(compared(field, 'in', this.set(), this.names));
    }
    const operator = this.operator(token);
    const item = readItem(this);
    if (item.to !== undefined) {
      throw new ExpressionError(item.from.at, `a range is "in {${item.from.text}..${item.to.text}}"`);
    }
    if (item.from.kind === 'word' && item.from.text.startsWith('@')) {
      throw new ExpressionError(item.from.at, `a set stands behind "in", not behind "${operator}"`);
    }
    return compared(field, operator, [item], this.names);
  }

  private field(token: Token): Field {
    const field = token.kind === 'word' ? FIELDS.get(token.text) : undefined;
    if (field !== undefined) return field;
    if (token.kind === 'word' && !JOINTS.includes(token.text)) {
      throw new ExpressionError(
        token.at,
        `"${token.text}" is no field${didYouMean(token.text, FIELDS.keys()) || '; docs/firewall.md lists them'}`,
      );
    }
    throw new ExpressionError(token.at, `${found(token)} where a field should stand`);
  }

  private kind(token: Token, condition: Condition): Condition {
    const next = this.peek();
    if (OPERATORS.includes(next.text) || next.text === '&' || (next.kind === 'word' && next.text === 'in')) {
      throw new ExpressionError(next.at, `"${token.text}" stands by itself: it has no value to compare`);
    }
    return condition;
  }

  private operator(field: Token): Operator {
    const token = this.peek();
    if (token.kind === 'sign' && OPERATORS.includes(token.text)) return this.take().text as Operator;
    if (token.text === 'contains' || token.text === 'matches') {
      throw new ExpressionError(token.at, `"${token.text}" is not known here: rules see headers only`);
    }
    throw new ExpressionError(
      token.at,
      `${found(token)} where a comparison of "${field.text}" should: ==, !=, <, >, <=, >=, in or &`,
    );
  }

  private bit(token: Token, { dimension, mask, has }: BitField): Condition {
    const operator = this.operator(token);
    const value = this.take();
    if (operator !== '==' && operator !== '!=') {
      throw new ExpressionError(value.at, 'a flag is compared by "==" and "!="');
    }
    const wanted = ['0', 'false'].includes(value.text) ? 0 : ['1', 'true'].includes(value.text) ? 1 : -1;
    if (wanted < 0) throw new ExpressionError(value.at, `${found(value)} where 0 or 1 should`);
    const isSet = (wanted === 1) === (operator === '==');
    const values = chosen(dimension, (flags) => ((flags & mask) !== 0) === isSet);
    return both(has, numberTest(dimension, values));
  }

  /** `tcp.flags & 0x12`: one of the bits; `tcp.flags & 0x12 == 0x02`: compared behind the mask. */
  private masked(token: Token, field: Field): Condition {
    const maskToken = this.take();
    if (field.type !== 'number' || field.dimensions.length !== 1) {
      throw new ExpressionError(maskToken.at, `"${token.text}" is no number that a mask could be laid on`);
    }
    const read = (from: Token): number => readNumber(from.text, from.at, field.max, field.names);
    const mask = read(maskToken);
    if (!OPERATORS.includes(this.peek().text)) return this.maskTest(field, (value) => (value & mask) !== 0);
    const { text: operator } = this.take();
    const value = read(this.take());
    return this.maskTest(field, (whole) => holds(operator, whole & mask, value));
  }

  private maskTest({ dimensions, has, offset }: NumberField, test: (value: number) => boolean): Condition {
    const dimension = dimensions[0]!;
    const values = chosen(dimension, (value) => value >= offset && test(value - offset));
    return both(has, numberTest(dimension, values));
  }

  private set(): Item[] {
    const first = this.peek();
    if (first.kind === 'word' && first.text.startsWith('@')) return [readItem(this)];
    if (!this.takes('sign', '{')) {
      throw new ExpressionError(first.at, `${found(first)} where a set should: "@name" or "{...}"`);
    }
    const items: Item[] = [];
    while (!this.takes('sign', '}')) {
      if (items.length > 0) this.takes('sign', ',');
      if (this.peek().kind === 'end') {
        throw new ExpressionError(this.peek().at, `the set of column ${first.at + 1} has no "}"`);
      }
      items.push(readItem(this));
    }
    if (items.length === 0) throw new ExpressionError(first.at, 'the set is empty');
    return items;
  }
}

/** The values of a dimension that a test chooses. */
function chosen(dimension: number, test: (value: number) => boolean): Ranges<number> {
  const line = LINES[dimension]!;
  const pairs: [number, number][] = [];
  for (let value = 0; value <= line.max; value++) if (test(value)) pairs.push([value, value]);
  return rangesOf(line, pairs);
}

function holds(operator: string, a: number, b: number): boolean {
  switch (operator) {
    case '==':
      return a === b;
    case '!=':
      return a !== b;
    case '<':
      return a < b;
    case '>':
      return a > b;
    case '<=':
      return a <= b;
    default:
      return a >= b;
  }
}
