/** The words and signs of a capture filter, and its errors. */

/** A filter that cannot be understood. The message has the expression and a mark under the place. */
export class FilterError extends Error {
  override readonly name = 'FilterError';
  readonly code = 'filter_invalid';
  /** What is wrong, and what would be right. */
  readonly reason: string;
  /** First column is 1. */
  readonly column: number;

  constructor(text: string, at: number, reason: string) {
    super(`the filter, column ${at + 1}: ${reason}\n  ${text}\n  ${' '.repeat(at)}^`);
    this.reason = reason;
    this.column = at + 1;
  }
}

export type TokenKind = 'word' | 'number' | 'address' | 'sign' | 'end';

export interface Token {
  readonly kind: TokenKind;
  /** Words in small letters, without a backslash in front. */
  readonly text: string;
  /** Where it begins. */
  readonly at: number;
}

/** Longer ones are no expressions that anybody has written. */
export const MAX_FILTER_CHARACTERS = 4096;

const IPV6 = /(?=[0-9a-f.]*:[0-9a-f.]*:)[0-9a-f:.]+(?:\/\d+)?/iy;
/** Whole or in part (`10.1`), with a length or without; `10/8` too. */
const IPV4 = /\d+(?:\.\d+){1,}(?:\/\d+)?|\d+\/\d+/y;
const NUMBER = /0x[0-9a-f]+|\d+/iy;
const WORD = /\\?[a-z_][a-z0-9_.-]*/iy;
const SIGN = /&&|\|\||==|!=|<=|>=|<<|>>|[()[\]:!&|<>=+*-]/y;
const SPACE = /\s+/y;

/** The signs and words that say the same, by what the parser knows. */
const SYNONYMS: Readonly<Record<string, string>> = { '&&': 'and', '||': 'or', '!': 'not', '=': '==' };

/** @throws FilterError for a character that begins nothing. */
export function tokensOf(text: string): Token[] {
  if (text.length > MAX_FILTER_CHARACTERS) {
    throw new FilterError(
      `${text.slice(0, 40)}...`,
      0,
      `it is longer than ${MAX_FILTER_CHARACTERS} characters`,
    );
  }
  const tokens: Token[] = [];
  /** Within brackets a colon stands between offset and size. */
  let brackets = 0;
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(text)?.[0];
  };
  while (at < text.length) {
    const space = take(SPACE);
    if (space !== undefined) {
      at += space.length;
      continue;
    }
    const address = brackets === 0 ? (take(IPV6) ?? take(IPV4)) : undefined;
    const number = address === undefined ? take(NUMBER) : undefined;
    const word = (address ?? number) === undefined ? take(WORD) : undefined;
    const sign = (address ?? number ?? word) === undefined ? take(SIGN) : undefined;
    const found = address ?? number ?? word ?? sign;
    if (found === undefined) throw new FilterError(text, at, `"${text[at]}" has no meaning here`);
    if (address !== undefined) tokens.push({ kind: 'address', text: address, at });
    else if (number !== undefined) tokens.push({ kind: 'number', text: number, at });
    else if (word !== undefined)
      tokens.push({ kind: 'word', text: word.replace('\\', '').toLowerCase(), at });
    else {
      if (sign === '[') brackets++;
      if (sign === ']') brackets--;
      const known = SYNONYMS[sign!] ?? sign!;
      tokens.push({ kind: /^[a-z]/.test(known) ? 'word' : 'sign', text: known, at });
    }
    at += found.length;
  }
  tokens.push({ kind: 'end', text: '', at: text.length });
  return tokens;
}

/** How an error names a token. */
export function found(token: Token): string {
  return token.kind === 'end' ? 'the filter ends' : `"${token.text}" stands`;
}
