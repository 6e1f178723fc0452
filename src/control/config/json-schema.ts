/**
 * The schema of the configuration file as JSON Schema, for editors: `docs/homeward.schema.json` is this, and
 * `homeward config schema` prints it.
 *
 * It says what keys there are and what kind of value each takes. What is checked beyond that (`schema.ts` reads
 * addresses, prefixes and so on; `checks/` compares) is not in it: what an editor finds right may still be refused by
 * `homeward config check`.
 */
import * as z from 'zod';
import { AUTO_OR, ONE_OR_MORE } from './leaves.ts';
import { configSchema } from './schema.ts';

type JsonSchema = Record<string, unknown>;

/** Draft 7: what the YAML language servers of editors know best. */
export function configJsonSchema(): JsonSchema {
  const { $schema, ...schema } = toJsonSchema(configSchema);
  return { $schema, title: 'Configuration of homeward', ...schema };
}

function toJsonSchema(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, {
    io: 'input',
    target: 'draft-7',
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema }) => {
      const marks = z.globalRegistry.get(zodSchema) ?? {};
      if (marks[ONE_OR_MORE] === true) asOneOrMore(jsonSchema as JsonSchema);
      const other = marks[AUTO_OR];
      if (other instanceof z.ZodType) asAutoOr(jsonSchema as JsonSchema, other);
    },
  }) as JsonSchema;
}

/** One value may stand for a list of one. */
function asOneOrMore(json: JsonSchema): void {
  const { type, items } = json;
  delete json[ONE_OR_MORE];
  delete json.type;
  delete json.items;
  json.anyOf = [items, { type, items }];
}

function asAutoOr(json: JsonSchema, other: z.ZodType): void {
  const { $schema: _, ...alternative } = toJsonSchema(other);
  delete json[AUTO_OR];
  json.anyOf = [{ const: 'auto' }, alternative];
}
