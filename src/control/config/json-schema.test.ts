/** The published JSON Schema is the one of this version. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { configJsonSchema } from './json-schema.ts';

const PUBLISHED = resolve(import.meta.dirname, '../../../docs/homeward.schema.json');

test('docs/homeward.schema.json is up to date', () => {
  assert.equal(
    readFileSync(PUBLISHED, 'utf8'),
    `${JSON.stringify(configJsonSchema(), null, 2)}\n`,
    'write it anew: scripts/homeward config schema > docs/homeward.schema.json',
  );
});

test('what may stand alone or as a list, and what may be auto, is said so', () => {
  const text = JSON.stringify(configJsonSchema());
  assert.equal(text.includes('x-homeward'), false);
  const { properties } = configJsonSchema() as {
    properties: Record<string, { items: { properties: Record<string, { anyOf: object[] }> } }>;
  };
  assert.deepEqual(
    properties.sites!.items.properties.prefixes!.anyOf.map((one) => (one as { type: string }).type),
    ['string', 'array'],
  );
  assert.deepEqual(properties.egress!.items.properties.next_hop!.anyOf[0], { const: 'auto' });
});
