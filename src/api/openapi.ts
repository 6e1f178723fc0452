/**
 * The API's description (OpenAPI 3.1), made from the schemas that requests and answers are checked by.
 * `GET /v1/openapi.json` gives it.
 */
import * as z from 'zod';
import {
  type AnyOperation,
  bodySchema,
  changesSomething,
  paramsSchema,
  querySchema,
  roleOf,
} from './operation.ts';
import { problemSchema } from './schemas/problem.ts';

type Json = Record<string, unknown>;

/** Version of the API: the `v1` of the paths, and what was added since. */
const API_VERSION = '1.0.0';

export function describeApi(operations: readonly AnyOperation[]): Json {
  const components = new Components();
  const problem = components.add(problemSchema, 'output');
  const paths: Record<string, Json> = {};
  for (const operation of operations) {
    const path = operation.path.replaceAll(/:([a-zA-Z_]+)/g, '{$1}');
    paths[path] ??= {};
    paths[path][operation.method.toLowerCase()] = describe(operation, components, problem);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'homeward',
      version: API_VERSION,
      description:
        'Served on a Unix socket, and where the configuration says so on TCP with TLS and bearer tokens. Programs pass over members of answers that they do not know.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    security: [{}, { token: [] }],
    paths,
    components: {
      schemas: components.schemas,
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'On TCP. Roles: read, admin.' },
      },
    },
  };
}

function describe(operation: AnyOperation, components: Components, problem: Json): Json {
  const takesBody = operation.method !== 'GET' && operation.body !== undefined;
  return {
    operationId: operation.id,
    summary: operation.summary,
    ...(operation.description === undefined ? {} : { description: operation.description }),
    tags: [operation.path.split('/')[2] ?? operation.path.slice(1)],
    'x-homeward-role': roleOf(operation),
    'x-homeward-changes': changesSomething(operation),
    parameters: [
      ...parameters('path', paramsSchema(operation), components),
      ...parameters('query', querySchema(operation), components),
    ],
    ...(takesBody
      ? {
          requestBody: {
            required: !bodySchema(operation).safeParse(undefined).success,
            content: { 'application/json': { schema: components.add(bodySchema(operation), 'input') } },
          },
        }
      : {}),
    responses: {
      200: {
        description: operation.answerDescription ?? 'Done.',
        content:
          operation.answer === undefined
            ? { [operation.contentType!]: { schema: { type: 'string' } } }
            : { 'application/json': { schema: components.add(operation.answer, 'output') } },
      },
      default: {
        description: 'What is wrong.',
        content: { 'application/problem+json': { schema: problem } },
      },
    },
  };
}

function parameters(place: 'path' | 'query', schema: z.ZodObject, components: Components): Json[] {
  return Object.entries(schema.shape).map(([name, member]) => {
    const described = components.add(member as z.ZodType, 'input');
    const { description, ...rest } = described as { description?: string };
    return {
      name,
      in: place,
      required: place === 'path' || !(member as z.ZodType).safeParse(undefined).success,
      ...(description === undefined ? {} : { description }),
      schema: rest,
    };
  });
}

/** Schemas that have an id stand once, under `components`; everything else where it is used. */
class Components {
  readonly schemas: Record<string, unknown> = {};

  /** The JSON Schema of `schema`, or a reference to it. */
  add(schema: z.ZodType, io: 'input' | 'output'): Json {
    const made = z.toJSONSchema(schema, {
      io,
      unrepresentable: 'any',
      reused: 'inline',
      override: ({ zodSchema, jsonSchema }) => {
        // Only strict objects refuse what they do not know.
        const { type, catchall } = zodSchema._zod.def as { type: string; catchall?: unknown };
        if (type === 'object' && catchall === undefined) delete jsonSchema.additionalProperties;
      },
    }) as Json;
    const { $schema: _, $defs, ...rest } = made;
    for (const [name, definition] of Object.entries(($defs ?? {}) as Record<string, unknown>)) {
      this.#define(name, definition);
    }
    if (typeof rest.id === 'string') {
      const { id, ...definition } = rest;
      this.#define(id as string, definition);
      return { $ref: `#/components/schemas/${id}` };
    }
    return referring(rest) as Json;
  }

  #define(name: string, definition: unknown): void {
    const { id: _, ...plain } = definition as Json;
    const made = referring(plain);
    const known = this.schemas[name];
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(made)) {
      throw new Error(`two different schemas are called ${name}`);
    }
    this.schemas[name] = made;
  }
}

/** The same with references into `components`. */
function referring(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value).replaceAll('"#/$defs/', '"#/components/schemas/'));
}
