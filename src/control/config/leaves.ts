/**
 * Building blocks of the schema: single values and objects whose every error text already says what is wrong
 * and, after a semicolon, what would be right. `load.ts` puts file, line and path in front.
 */
import * as z from 'zod';
import { nearest } from './suggest.ts';

/** What a value should have been. */
export interface Expected {
  /** `a prefix`: ends the sentence "VALUE is not ...". */
  readonly what: string;
  /** `an address and a length, such as 10.0.1.0/24`: ends the sentence "write ..."; default: `what`. */
  readonly write?: string;
}

/** Outcome of reading one value: what it means, or what is wrong with it. */
export type Reading<T> = { readonly value: T } | { readonly problem: string };

/** A value as it appears in a message: short, on one line. */
export function show(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (value !== null && typeof value === 'object') return 'a map';
  const text = String(value);
  if (typeof value !== 'string') return text;
  const short = text.length > 60 ? `${text.slice(0, 57)}...` : text;
  return /^[\w.:/%+@-]+$/.test(short) ? short : JSON.stringify(short);
}

/** The text for a value of the wrong kind. */
export function mismatch(value: unknown, expected: Expected): string {
  const { what, write } = expected;
  if (value === undefined) return `is missing; write ${write ?? what}`;
  if (value === null) return `has no value; write ${write ?? what}`;
  return `${show(value)} is not ${what}; write ${write ?? 'one'}`;
}

/** For editors: `a prefix: an address and a length, such as 10.0.1.0/24`. */
function describe({ what, write }: Expected): string {
  return write === undefined ? what : `${what}: ${write}`;
}

function typeError(expected: Expected): { error: (issue: { readonly input?: unknown }) => string } {
  return { error: (issue) => mismatch(issue.input, expected) };
}

/** A text that `read` understands; undefined from it means "not what was expected". */
export function text<T>(expected: Expected, read: (text: string) => Reading<T> | undefined) {
  const described = z.string(typeError(expected)).meta({ description: describe(expected) });
  return described.transform((value, context): T => {
    const reading = read(value) ?? { problem: mismatch(value, expected) };
    if ('value' in reading) return reading.value;
    context.addIssue({ code: 'custom', message: reading.problem });
    return z.NEVER;
  });
}

/** Makes a reader of {@link text} from one that returns undefined for what it does not understand. */
export function found<T>(value: T | undefined): Reading<T> | undefined {
  return value === undefined ? undefined : { value };
}

export function integer(min: number, max: number) {
  const expected = { what: `a whole number from ${min} to ${max}` };
  return z.int(typeError(expected)).min(min, typeError(expected)).max(max, typeError(expected));
}

export function boolean() {
  return z.boolean(typeError({ what: 'true or false' }));
}

export function oneOf<const T extends readonly [string, ...string[]]>(values: T) {
  const write = values.length > 1 ? `one of ${values.join(', ')}` : values[0];
  return z.enum(values, {
    error: (issue) => mismatch(issue.input, { what: 'known here', write }),
  });
}

/** Mark of what {@link oneOrMore} makes, for `json-schema.ts`. */
export const ONE_OR_MORE = 'x-homeward-one-or-more';
/** Mark of a value that may be `auto`: the schema of what else it may be. */
export const AUTO_OR = 'x-homeward-auto-or';

/** A list of values; one alone may stand without the brackets. `what`: "an address", say. */
export function oneOrMore<T extends z.ZodType>(entry: T, what: string) {
  const list = z.array(entry, typeError({ what: `${what} or a list of them` }));
  return z
    .preprocess(
      (value) => (value === undefined || value === null || Array.isArray(value) ? value : [value]),
      list,
    )
    .meta({ [ONE_OR_MORE]: true });
}

export function listOf<T extends z.ZodType>(entry: T, write: string) {
  return z.array(entry, typeError({ what: 'a list', write }));
}

/** Keys that are known but that this version cannot do: what it says instead of ignoring them. */
export type Unbuilt = Readonly<Record<string, string>>;

/**
 * A map with exactly these keys. The text for unknown ones has a line for each, in the order that zod lists
 * them.
 */
export function map<S extends z.core.$ZodLooseShape>(what: string, shape: S, unbuilt: Unbuilt = {}) {
  const expected = {
    what: `a map of ${what}`,
    write: `a map with the keys ${Object.keys(shape).join(', ')}`,
  };
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? (issue.keys as string[]).map((key) => unknownKey(key, Object.keys(shape), unbuilt)).join('\n')
        : mismatch(issue.input, expected),
  });
}

function unknownKey(key: string, known: readonly string[], unbuilt: Unbuilt): string {
  if (Object.hasOwn(unbuilt, key)) return unbuilt[key]!;
  if (known.length === 0) return `${show(key)} is not a known key; leave it out, there are none here`;
  const near = nearest(key, known);
  const remedy = near === undefined ? `the keys here are ${known.join(', ')}` : `did you mean ${near}?`;
  return `${show(key)} is not a known key; ${remedy}`;
}
