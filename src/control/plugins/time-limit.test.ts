/** Code of plugins that does not come to an end in control's own thread. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkBySchema } from './schema-check.ts';
import { TimeLimitError, withinTime } from './time-limit.ts';

test('what takes too long is ended, and what throws throws', () => {
  assert.equal(
    withinTime(1000, () => 3),
    3,
  );
  assert.throws(() => withinTime(20, () => assert.fail('no')), /no/);
  const endless = (): never => {
    for (;;) {
      try {
        for (;;);
      } catch {
        // Goes on.
      }
    }
  };
  assert.throws(() => withinTime(20, endless), TimeLimitError);
  assert.equal(
    withinTime(1000, () => withinTime(1000, () => 4)),
    4,
  );
});

test('a pattern that backtracks without end keeps nobody from the API', () => {
  const schema = { type: 'object', properties: { name: { type: 'string', pattern: '^(a+)+$' } } };
  const { findings } = checkBySchema(schema, { name: `${'a'.repeat(60)}b` }, 100);
  assert.deepEqual(findings, [
    {
      path: [],
      atKey: false,
      text: 'takes too long to be checked by the schema in the manifest (a pattern that backtracks without end?); ask who wrote it',
    },
  ]);
  assert.deepEqual(checkBySchema(schema, { name: 'aaa' }, 100).findings, []);
});
