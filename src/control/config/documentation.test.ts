/** docs/configuration.md knows every key, and its example is right. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import * as z from 'zod';
import { parseConfig } from './load.ts';
import { configSchema } from './schema.ts';

const page = readFileSync(resolve(import.meta.dirname, '../../../docs/configuration.md'), 'utf8');

/** Every key of a JSON Schema, at any depth. */
function keysOf(schema: unknown): string[] {
  if (schema === null || typeof schema !== 'object') return [];
  const { properties } = schema as { properties?: Record<string, unknown> };
  return [...Object.keys(properties ?? {}), ...Object.values(schema).flatMap(keysOf)];
}

test('every key is described', () => {
  const documented = new Set(page.match(/[a-z0-9_]+(?=`|:)/g));
  const keys = new Set(keysOf(z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' })));
  assert.ok(keys.size > 40, `${keys.size} keys were found`);
  assert.deepEqual(
    [...keys].filter((key) => !documented.has(key)),
    [],
  );
});

test('the example is right', () => {
  const [, example] = /```yaml\n([\s\S]*?)```/.exec(page)!;
  assert.equal(parseConfig(example!, 'example').sites.length, 3);
});

test('every whole configuration in the documentation is right', () => {
  const readme = readFileSync(resolve(import.meta.dirname, '../../../README.md'), 'utf8');
  const examples = [...`${page}\n${readme}`.matchAll(/```yaml\n(version:[\s\S]*?)```/g)].map(
    ([, text]) => text!,
  );
  assert.equal(examples.length, 3);
  for (const example of examples) parseConfig(example, 'example');
});
