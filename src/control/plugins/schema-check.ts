/**
 * Values checked by the JSON Schemas of plugins (draft 2020-12), in the words of a configuration: what is wrong with a
 * value, and after a semicolon what would be right.
 *
 * The author of a plugin chooses those words: a `description` that begins with a small letter says what the values are
 * (`a port, or a list of ports`). Where a value is wrong, that is what the user reads.
 *
 * Neighbours: `manifest.ts` (the schemas), `check-options.ts` and `plugin-service.ts` (the values).
 */
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import type { ConfigPath } from '../config/config.ts';
import { mismatch, show } from '../config/leaves.ts';
import { nearest } from '../config/suggest.ts';
import { TimeLimitError, withinTime } from './time-limit.ts';

/** Something wrong with a value: where in it, and the words. */
export interface SchemaFinding {
  readonly path: ConfigPath;
  /** Whether the last part of the path is a key that should not be there. */
  readonly atKey: boolean;
  readonly text: string;
}

/** What is meant where a manifest has no schema: there is nothing to say. */
export const NO_MEMBERS = { type: 'object', properties: {}, additionalProperties: false };

/** Tens of thousands of rules on a slow machine take a second. */
const SCHEMA_LIMIT_MS = 5_000;

/** Enough to put right at once; a large wrong value would fill screens. */
const MAX_FINDINGS = 50;

/** A gateway has a few; each configuration that is looked at reads them anew, and most are as before. */
const MAX_COMPILED = 64;

type Compiled = { readonly validate: ValidateFunction } | { readonly fault: string };

/** By the schema as JSON. Ajv keeps whatever it has compiled, so that it is left together with it. */
const compiled = new Map<string, Compiled>();
let ajv = newAjv();

/** `strict` finds misspelt keywords, which would otherwise check nothing. Formats are words for people only. */
function newAjv(): Ajv2020 {
  return new Ajv2020({
    allErrors: true,
    strict: true,
    strictTypes: false,
    strictRequired: false,
    strictTuples: false,
    useDefaults: true,
    validateFormats: false,
    verbose: true,
    addUsedSchema: false,
  });
}

function compile(schema: object): Compiled {
  const text = JSON.stringify(schema);
  const known = compiled.get(text);
  if (known !== undefined) return known;
  if (compiled.size >= MAX_COMPILED) {
    compiled.clear();
    ajv = newAjv();
  }
  const made = compileNew(schema);
  compiled.set(text, made);
  return made;
}

function compileNew(schema: object): Compiled {
  try {
    return { validate: ajv.compile(schema) };
  } catch (error) {
    return { fault: (error as Error).message };
  }
}

/** Why a schema cannot be used; undefined if it can. */
export function schemaFault(schema: object): string | undefined {
  const made = compile(schema);
  return 'fault' in made ? made.fault : undefined;
}

/**
 * Checks a value by a schema that has no fault.
 *
 * @returns the value with the schema's defaults filled in (the given one stays as it is), and what is wrong with it.
 */
export function checkBySchema(
  schema: object,
  given: unknown,
  limitMs = SCHEMA_LIMIT_MS,
): { readonly value: unknown; readonly findings: readonly SchemaFinding[] } {
  const value = structuredClone(given);
  const made = compile(schema);
  if ('fault' in made) throw new Error(made.fault);
  const { validate } = made;
  try {
    if (withinTime(limitMs, () => validate(value))) return { value, findings: [] };
  } catch (error) {
    if (!(error instanceof TimeLimitError)) throw error;
    const text =
      'takes too long to be checked by the schema in the manifest (a pattern that backtracks without end?); ask who wrote it';
    return { value, findings: [{ path: [], atKey: false, text }] };
  }
  return { value, findings: findingsOf(validate.errors ?? [], value).slice(0, MAX_FINDINGS) };
}

function findingsOf(errors: readonly ErrorObject[], value: unknown): SchemaFinding[] {
  const findings: SchemaFinding[] = [];
  const seen = new Set<string>();
  for (const error of relevant(errors)) {
    const finding = describe(error, value);
    const key = JSON.stringify(finding);
    if (!seen.has(key)) findings.push(finding);
    seen.add(key);
  }
  return findings;
}

/**
 * Of alternatives (`oneOf`, `anyOf`) that all fail, each has its say: what lies deepest in the value is about the
 * alternative that was meant; where none goes deeper, the alternatives as a whole are what counts.
 */
function relevant(errors: readonly ErrorObject[]): ErrorObject[] {
  const dropped = new Set<ErrorObject>();
  for (const choice of errors) {
    if (choice.keyword !== 'oneOf' && choice.keyword !== 'anyOf') continue;
    const branches = errors.filter(({ schemaPath }) => schemaPath.startsWith(`${choice.schemaPath}/`));
    const depth = ({ instancePath }: ErrorObject): number => instancePath.split('/').length;
    const deepest = Math.max(0, ...branches.map(depth));
    const isDeeper = deepest > depth(choice);
    if (isDeeper) dropped.add(choice);
    for (const branch of branches) if (!isDeeper || depth(branch) < deepest) dropped.add(branch);
  }
  // `if` and `not` of the same: what they lead to has been said.
  return errors.filter((error) => !dropped.has(error) && error.keyword !== 'if');
}

function describe(error: ErrorObject, root: unknown): SchemaFinding {
  const path = pathOf(error.instancePath, root);
  const { keyword, params, data, parentSchema } = error;
  const at = (text: string): SchemaFinding => ({ path, atKey: false, text });
  const words = wordsOf(parentSchema);
  switch (keyword) {
    case 'required': {
      const key = String(params.missingProperty);
      const property = (parentSchema?.properties as Record<string, unknown> | undefined)?.[key];
      return { path: [...path, key], atKey: false, text: mismatch(undefined, { what: kindOf(property) }) };
    }
    case 'additionalProperties':
    case 'unevaluatedProperties':
    case 'propertyNames': {
      const key = String(params.additionalProperty ?? params.unevaluatedProperty ?? params.propertyName);
      const known = Object.keys((parentSchema?.properties as object | undefined) ?? {});
      return { path: [...path, key], atKey: true, text: unknownOption(key, known) };
    }
    case 'type':
    case 'pattern':
      return at(
        mismatch(data, { what: words ?? kindOf(parentSchema), write: words ?? remedyOf(parentSchema) }),
      );
    case 'enum':
      return at(mismatch(data, { what: 'known here', write: oneOfText(params.allowedValues as unknown[]) }));
    case 'const':
      return at(mismatch(data, { what: 'right here', write: show(params.allowedValue) }));
    case 'oneOf':
    case 'anyOf':
      return at(
        mismatch(data, {
          what: words ?? 'any of what may stand here',
          write: words ?? remedyOf(parentSchema),
        }),
      );
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
    case 'exclusiveMaximum':
      return at(`${show(data)} is out of range; write ${rangeOf(parentSchema)}`);
    case 'minItems':
    case 'maxItems':
      return at(
        `has ${counted((data as unknown[]).length, 'entry', 'entries')}; write ${limitWords(keyword, params.limit)}`,
      );
    case 'minLength':
    case 'maxLength':
      return at(
        `${show(data)} has ${counted((data as string).length, 'character', 'characters')}; write ${limitWords(keyword, params.limit)}`,
      );
    case 'uniqueItems':
      return at(`entry ${params.j} stands there again as entry ${params.i}; write each once`);
    case 'dependentRequired':
      return at(`${params.property} needs ${params.missingProperty}, which is missing; write both`);
    default:
      return at(
        `${show(data)} is wrong: it ${error.message ?? `fails ${keyword}`}; write ${words ?? remedyOf(parentSchema)}`,
      );
  }
}

function unknownOption(key: string, known: readonly string[]): string {
  if (known.length === 0) return `${show(key)} is not a known option; leave it out, there are none here`;
  const near = nearest(key, known);
  return `${show(key)} is not a known option; ${near === undefined ? `the options here are ${known.join(', ')}` : `did you mean ${near}?`}`;
}

/** A description that says what values are: `a port, or a list of ports`. One that is a sentence says something else. */
function wordsOf(schema: unknown): string | undefined {
  const { description } = (schema ?? {}) as Record<string, unknown>;
  return typeof description === 'string' && /^[^A-Z]/.test(description) ? description : undefined;
}

/** What a schema's values are, as the end of "is not ...". */
function kindOf(schema: unknown): string {
  const { type, enum: values } = (schema ?? {}) as Record<string, unknown>;
  const words = wordsOf(schema);
  if (words !== undefined) return words;
  if (Array.isArray(values)) return oneOfText(values);
  const kinds = (Array.isArray(type) ? type : [type]).map((kind) => KINDS[String(kind)] ?? 'a value');
  return [...new Set(kinds)].join(' or ');
}

const KINDS: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  object: 'a map',
  array: 'a list',
  null: 'null',
};

function remedyOf(schema: unknown): string {
  const { pattern } = (schema ?? {}) as Record<string, unknown>;
  return typeof pattern === 'string' ? `a text that matches ${pattern}` : kindOf(schema);
}

function oneOfText(values: readonly unknown[]): string {
  return values.length === 1 ? show(values[0]) : `one of ${values.map(show).join(', ')}`;
}

function rangeOf(schema: unknown): string {
  const {
    minimum,
    maximum,
    exclusiveMinimum: above,
    exclusiveMaximum: below,
  } = (schema ?? {}) as Record<string, unknown>;
  const words = [
    ...(minimum === undefined ? [] : [`at least ${minimum}`]),
    ...(above === undefined ? [] : [`more than ${above}`]),
    ...(maximum === undefined ? [] : [`at most ${maximum}`]),
    ...(below === undefined ? [] : [`less than ${below}`]),
  ];
  return words.join(' and ');
}

function limitWords(keyword: string, limit: unknown): string {
  return `at ${keyword.startsWith('min') ? 'least' : 'most'} ${limit}`;
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** The parts of a JSON pointer (RFC 6901); numbers where the value has a list. */
function pathOf(pointer: string, root: unknown): (string | number)[] {
  const path: (string | number)[] = [];
  let value = root;
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    path.push(Array.isArray(value) ? Number(key) : key);
    value = (value as Record<string, unknown> | undefined)?.[key];
  }
  return path;
}
