/**
 * Requests made from an OpenAPI description: ones that fit it, ones that nearly do, and nonsense. With a seed, so that
 * what was found once is found again.
 */
import fc from 'fast-check';

type Schema = Readonly<Record<string, unknown>>;

export interface DescribedOperation {
  readonly operationId: string;
  readonly parameters: readonly {
    readonly name: string;
    readonly in: 'path' | 'query';
    readonly required: boolean;
    readonly schema: Schema;
  }[];
  readonly requestBody?: { readonly content: { readonly 'application/json': { readonly schema: Schema } } };
  readonly responses: Readonly<Record<string, { readonly content: Readonly<Record<string, unknown>> }>>;
}

export interface Description {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DescribedOperation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

export interface FuzzedRequest {
  readonly method: string;
  /** With its query. */
  readonly target: string;
  readonly contentType: string | undefined;
  readonly body: string | undefined;
}

/** Names and numbers that mean something to the gateway at hand. */
export interface Vocabulary {
  readonly texts: readonly string[];
}

/** Requests for one operation. */
export function requestsFor(
  description: Description,
  path: string,
  method: string,
  vocabulary: Vocabulary,
): fc.Arbitrary<FuzzedRequest> {
  const operation = description.paths[path]![method]!;
  const values = new Values(description, vocabulary);
  const named = (place: 'path' | 'query') =>
    operation.parameters.filter((parameter) => parameter.in === place);
  const pathValues = fc.tuple(...named('path').map(({ schema }) => values.text(schema)));
  const query = fc.tuple(
    ...named('query').map(({ name, required, schema }) =>
      fc.option(
        values.text(schema).map((text) => [name, text] as const),
        { nil: undefined, freq: required ? 20 : 1 },
      ),
    ),
  );
  const strayQuery = fc.option(fc.tuple(values.word(), values.word()), { freq: 1, nil: undefined });
  return fc
    .record({ pathValues, query, strayQuery, body: values.body(operation) })
    .map(({ pathValues: inPath, query: inQuery, strayQuery: stray, body }) => {
      let at = 0;
      const filled = path.replaceAll(/\{[^}]+\}/g, () => encodeURIComponent(inPath[at++]!) || '%20');
      const pairs = [...inQuery, stray].filter((pair) => pair !== undefined);
      const search = pairs.map((pair) => pair.map(encodeURIComponent).join('=')).join('&');
      return {
        method: method.toUpperCase(),
        target: search === '' ? filled : `${filled}?${search}`,
        contentType: body.contentType,
        body: body.text,
      };
    });
}

class Values {
  readonly #description: Description;
  readonly #vocabulary: Vocabulary;

  constructor(description: Description, vocabulary: Vocabulary) {
    this.#description = description;
    this.#vocabulary = vocabulary;
  }

  /** Text of any kind, as far as a URL can carry it. */
  word(): fc.Arbitrary<string> {
    return fc.oneof(
      fc.constantFrom(
        ...this.#vocabulary.texts,
        '',
        '..',
        '../..',
        '__proto__',
        'constructor',
        '%00',
        '0',
        '-1',
        '1e9',
      ),
      fc.string({ unit: 'grapheme', maxLength: 40 }),
      fc.string({ minLength: 200, maxLength: 300 }),
    );
  }

  /** A parameter: mostly as its schema says. */
  text(schema: Schema): fc.Arbitrary<string> {
    return fc.oneof(
      {
        weight: 3,
        arbitrary: this.of(schema).map((value) =>
          typeof value === 'string' ? value : JSON.stringify(value),
        ),
      },
      { weight: 1, arbitrary: this.word() },
    );
  }

  body(
    operation: DescribedOperation,
  ): fc.Arbitrary<{ contentType: string | undefined; text: string | undefined }> {
    const schema = operation.requestBody?.content['application/json'].schema;
    const json = 'application/json';
    const none = fc.constant({ contentType: undefined, text: undefined });
    const anything = fc
      .jsonValue({ maxDepth: 3 })
      .map((value) => ({ contentType: json, text: JSON.stringify(value) }));
    const broken = fc
      .constantFrom(
        '{',
        '"',
        '[[[[',
        '{"a":1,}',
        '\u0000',
        '{"__proto__":{"x":1}}',
        '{"constructor":{"prototype":1}}',
        'NaN',
      )
      .map((text) => ({ contentType: json, text }));
    const foreign = fc
      .constantFrom(
        'text/plain',
        'application/xml',
        'multipart/form-data; boundary=x',
        'application/json; charset=utf-16',
      )
      .map((contentType) => ({ contentType, text: '{}' }));
    if (schema === undefined) {
      return fc.oneof({ weight: 6, arbitrary: none }, anything, broken, foreign);
    }
    const fitting = this.of(schema).map((value) => ({ contentType: json, text: JSON.stringify(value) }));
    const nearly = fc
      .tuple(this.of(schema), fc.jsonValue({ maxDepth: 2 }), fc.nat())
      .map(([value, other, at]) => ({ contentType: json, text: JSON.stringify(spoilt(value, other, at)) }));
    return fc.oneof(
      { weight: 6, arbitrary: fitting },
      { weight: 4, arbitrary: nearly },
      { weight: 1, arbitrary: anything },
      { weight: 1, arbitrary: broken },
      { weight: 1, arbitrary: foreign },
      { weight: 1, arbitrary: none },
    );
  }

  /** Values that fit a JSON Schema, as far as the description's schemas go. */
  of(schema: Schema, depth = 0): fc.Arbitrary<unknown> {
    if (typeof schema.$ref === 'string') {
      return this.of(this.#description.components.schemas[schema.$ref.split('/').at(-1)!]!, depth + 1);
    }
    if ('const' in schema) return fc.constant(schema.const);
    if (Array.isArray(schema.enum)) return fc.constantFrom(...schema.enum);
    const alternatives = (schema.anyOf ?? schema.oneOf) as Schema[] | undefined;
    if (alternatives !== undefined) return fc.oneof(...alternatives.map((one) => this.of(one, depth + 1)));
    if (depth > 8) return fc.constant(null);
    switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
      case 'string':
        return this.#string(schema);
      case 'integer':
      case 'number': {
        const min = Math.max(Number(schema.minimum ?? 0), -1e9);
        return fc.oneof(
          fc.integer({ min, max: Math.max(min, Math.min(Number(schema.maximum ?? 1e9), min + 100)) }),
          fc.constantFrom(min, Number(schema.maximum ?? 1e9)),
        );
      }
      case 'boolean':
        return fc.boolean();
      case 'null':
        return fc.constant(null);
      case 'array':
        return fc.array(this.of((schema.items ?? {}) as Schema, depth + 1), { maxLength: 4 });
      case 'object':
        return this.#object(schema, depth);
      default:
        return fc.jsonValue({ maxDepth: 2 });
    }
  }

  #string(schema: Schema): fc.Arbitrary<string> {
    const known = fc.constantFrom(...this.#vocabulary.texts);
    if (schema.format === 'ipv4') return fc.ipV4();
    if (schema.format === 'ipv6') return fc.ipV6();
    const { pattern } = schema;
    const fitting =
      typeof pattern === 'string' && pattern.length < 60
        ? fc.stringMatching(new RegExp(pattern))
        : fc.string({ unit: 'grapheme', maxLength: Math.min(Number(schema.maxLength ?? 60), 60) });
    return fc.oneof({ weight: 3, arbitrary: known }, { weight: 1, arbitrary: fitting });
  }

  #object(schema: Schema, depth: number): fc.Arbitrary<unknown> {
    const properties = (schema.properties ?? {}) as Record<string, Schema>;
    const required = (schema.required ?? []) as string[];
    const members = fc.record(
      Object.fromEntries(Object.entries(properties).map(([name, one]) => [name, this.of(one, depth + 1)])),
      { requiredKeys: required },
    );
    const more = schema.additionalProperties;
    if (more === false || more === undefined) return members;
    const others = fc.dictionary(this.word(), this.of(more === true ? {} : (more as Schema), depth + 1), {
      maxKeys: 3,
    });
    return fc.tuple(members, others).map(([known, strange]) => ({ ...strange, ...known }));
  }
}

/** The same with one member replaced, removed or added. */
function spoilt(value: unknown, other: unknown, at: number): unknown {
  if (value === null || typeof value !== 'object') return other;
  const keys = Object.keys(value);
  const key = keys[at % (keys.length + 1)];
  if (key === undefined) return { ...value, stranger: other };
  const copy: Record<string, unknown> = { ...value };
  if (at % 3 === 0) delete copy[key];
  else copy[key] = other;
  return copy;
}
