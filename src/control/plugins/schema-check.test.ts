/** Values judged by JSON Schemas, in the words of a configuration. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { checkBySchema, schemaFault } from './schema-check.ts';

const SCHEMA = {
  type: 'object',
  additionalProperties: false,
  required: ['rules'],
  properties: {
    default: { enum: ['allow', 'deny'], default: 'deny' },
    rate: { type: 'integer', minimum: 1, maximum: 1000 },
    name: { type: 'string', pattern: '^[a-z]+$', description: 'a word of small letters' },
    rules: {
      type: 'array',
      description: 'a list of rules',
      minItems: 1,
      maxItems: 2,
      uniqueItems: true,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['action'],
        description: 'A rule is tried after those before it.',
        properties: {
          action: { enum: ['allow', 'deny'] },
          port: {
            description: 'a port, or a list of ports',
            anyOf: [
              { type: 'integer', minimum: 0, maximum: 65535 },
              { type: 'array', items: { type: 'integer', minimum: 0, maximum: 65535 } },
            ],
          },
        },
      },
    },
  },
};

function lines(value: unknown, schema: object = SCHEMA): string[] {
  return checkBySchema(schema, value).findings.map(
    ({ path, atKey, text }) => `${path.join('.')}${atKey ? ' (key)' : ''}: ${text}`,
  );
}

const RULES = [{ action: 'allow' }];

test('what is right gets its defaults, and the given value stays as it was', () => {
  const given = { rules: RULES };
  const { value, findings } = checkBySchema(SCHEMA, given);
  assert.deepEqual(findings, []);
  assert.deepEqual(value, { rules: RULES, default: 'deny' });
  assert.deepEqual(given, { rules: RULES });
});

const CASES: readonly (readonly [what: string, value: unknown, lines: readonly string[]])[] = [
  ['nothing', {}, ['rules: is missing; write a list of rules']],
  [
    'a misspelt key',
    { rules: RULES, rats: 3 },
    ['rats (key): rats is not a known option; did you mean rate?'],
  ],
  [
    'an unknown key',
    { rules: RULES, zoo: 3 },
    ['zoo (key): zoo is not a known option; the options here are default, rate, name, rules'],
  ],
  [
    'a wrong word',
    { rules: RULES, default: 'maybe' },
    ['default: maybe is not known here; write one of allow, deny'],
  ],
  ['out of range', { rules: RULES, rate: 0 }, ['rate: 0 is out of range; write at least 1 and at most 1000']],
  ['another type', { rules: RULES, rate: '5' }, ['rate: 5 is not a whole number; write a whole number']],
  [
    'a pattern',
    { rules: RULES, name: 'A' },
    ['name: A is not a word of small letters; write a word of small letters'],
  ],
  ['a sentence is no name for a value', { rules: ['allow'] }, ['rules.0: allow is not a map; write a map']],
  ['too few', { rules: [] }, ['rules: has 0 entries; write at least 1']],
  [
    'too many, and twice the same',
    { rules: [...RULES, ...RULES, { action: 'deny' }] },
    [
      'rules: has 3 entries; write at most 2',
      'rules: entry 0 stands there again as entry 1; write each once',
    ],
  ],
  ['missing below', { rules: [{}] }, ['rules.0.action: is missing; write one of allow, deny']],
  [
    'none of the alternatives',
    { rules: [{ action: 'deny', port: 'http' }] },
    ['rules.0.port: http is not a port, or a list of ports; write a port, or a list of ports'],
  ],
  [
    'the alternative that was meant',
    { rules: [{ action: 'deny', port: [80, 70000] }] },
    ['rules.0.port.1: 70000 is out of range; write at least 0 and at most 65535'],
  ],
];

for (const [what, value, expected] of CASES) {
  test(`refused: ${what}`, () => assert.deepEqual(lines(value), expected));
}

test('a schema that cannot be used is found', () => {
  assert.equal(schemaFault(SCHEMA), undefined);
  assert.match(schemaFault({ type: 'objekt' }) ?? '', /type/);
  assert.match(schemaFault({ typo: 'object' }) ?? '', /typo/);
  assert.match(schemaFault({ $ref: 'https://example.com/other.json' }) ?? '', /can't resolve reference/);
});

test('what was checked once does not stay for ever', async () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const used = Array.from({ length: 150 }, (_, at) => {
    const schema = { $id: 'https://example.net/one', properties: { n: { maximum: at } } };
    assert.equal(schemaFault(schema), undefined);
    assert.equal(checkBySchema(schema, { n: at + 1 }).findings.length, 1);
    assert.deepEqual(checkBySchema(structuredClone(schema), { n: at }).findings, []);
    return new WeakRef(schema);
  });
  // What a reference has been asked for lives until the turn is over.
  await new Promise((resolve) => setImmediate(resolve));
  collectGarbage();
  const kept = used.filter((schema) => schema.deref() !== undefined).length;
  assert.ok(kept <= 64, `${kept} of 150 schemas are kept`);
});
