/**
 * Words and signs of a rule's expression, and its errors.
 *
 * A word is anything without blanks and signs: `tcp.dstport`, `443`, `10.0.0.0/8`, `08:00`, `@servers`, `paris-gre`.
 * What it means is up to the place where it stands (`values.ts`).
 */

/** An expression, or a value in one, that cannot be understood. */
export class ExpressionError extends Error {
  override readonly name = 'ExpressionError';
  /** First column is 1. */
  readonly column: number;
  /** What is wrong, and what would be right. */
  readonly reason: string;

  constructor(at: number, reason: string) {
    super(`column ${at + 1}: ${reason}`);
    this.column = at + 1;
    this.reason = reason;
  }
}

export interface Token {
  readonly kind: 'word' | 'string' | 'sign' | 'end';
  /** Strings without their quotes. */
  readonly text: string;
  /** Where it begins. */
  readonly at: number;
}

/** Longer ones have a set that belongs into `sets`. */
export const MAX_EXPRESSION_CHARACTERS = 16_384;

const STRING = /"([^"\n]*)"/y;
const SIGN = /&&|\|\||==|!=|<=|>=|\.\.|[(){},!&<>]/y;

const BLANK = 1;
const OF_WORDS = 2;
const DOT = 3;
const LETTER_A = 97;
const LETTER_Z = 122;
/** What each character of ASCII is; 0: a sign, or nothing. */
const CLASSES = Uint8Array.from({ length: 128 }, (_, code) => {
  const character = String.fromCharCode(code);
  if (/\s/.test(character)) return BLANK;
  if (character === '.') return DOT;
  return /[\w@/:-]/.test(character) ? OF_WORDS : 0;
});

/** What means the same; Wireshark has words for its signs. */
const SYNONYMS: ReadonlyMap<string, string> = new Map([
  ['&&', 'and'],
  ['||', 'or'],
  ['!', 'not'],
  ['eq', '=='],
  ['ne', '!='],
  ['lt', '<'],
  ['gt', '>'],
  ['le', '<='],
  ['ge', '>='],
  ['bitand', '&'],
]);

/** @throws ExpressionError for a character that begins nothing, or an expression that is too long */
export function tokensOf(text: string): Token[] {
  if (text.length > MAX_EXPRESSION_CHARACTERS) {
    throw new ExpressionError(
      MAX_EXPRESSION_CHARACTERS,
      `an expression has at most ${MAX_EXPRESSION_CHARACTERS} characters; put long lists into "sets"`,
    );
  }
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    if (classAt(text, at) === BLANK) {
      at++;
      continue;
    }
    const end = wordEnd(text, at);
    if (end > at) {
      const word = text.slice(at, end);
      const known = SYNONYMS.get(word) ?? word;
      tokens.push({ kind: known === word ? 'word' : 'sign', text: known, at });
      at = end;
      continue;
    }
    const string = match(STRING, text, at);
    const sign = string === null ? match(SIGN, text, at) : null;
    if (string !== null) tokens.push({ kind: 'string', text: string[1]!, at });
    else if (sign === null) throw new ExpressionError(at, complaint(text[at]!));
    else {
      const known = SYNONYMS.get(sign[0]) ?? sign[0];
      const first = known.charCodeAt(0);
      tokens.push({ kind: first >= LETTER_A && first <= LETTER_Z ? 'word' : 'sign', text: known, at });
    }
    at += (string ?? sign)![0].length;
  }
  tokens.push({ kind: 'end', text: '', at: text.length });
  return tokens;
}

function classAt(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code < 128 ? CLASSES[code]! : 0;
}

/** Where a word that begins at `at` ends; `at` if none does. Two dots end it: they are the sign of a range. */
function wordEnd(text: string, at: number): number {
  let end = at;
  for (;;) {
    const kind = end < text.length ? classAt(text, end) : 0;
    if (kind !== OF_WORDS && (kind !== DOT || text[end + 1] === '.')) return end;
    end++;
  }
}

function match(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

function complaint(character: string): string {
  if (character === '"') return 'the string has no closing quote';
  if (character === '=') return '"=" has no meaning here; equal is "=="';
  if (character === '|') return '"|" has no meaning here; or is "||" or "or"';
  return `"${character}" has no meaning here`;
}

/** How an error names a token. */
export function found(token: Token): string {
  return token.kind === 'end' ? 'the expression ends' : `"${token.text}" stands`;
}

/** The candidate nearest to a mistyped name, as `; did you mean "..."?`; nothing if none is near. */
export function didYouMean(name: string, candidates: Iterable<string>): string {
  let best = '';
  let bestDistance = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = edits(name, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best === '' ? '' : `; did you mean "${best}"?`;
}

/** Levenshtein distance. */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
