import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseExposition } from '../../../test/support/exposition-parser.ts';
import { Exposition, type Metric } from './exposition.ts';

const UP: Metric = { name: 'x_up', type: 'gauge', help: 'Whether\nit is \\ up.', labels: ['port', 'site'] };
const ALL: Metric = { name: 'x_all_total', type: 'counter', help: 'All.', labels: [] };

test('families, samples and escapes', () => {
  const out = new Exposition();
  out.add(UP, 1, 'a"b', 'c\\d\ne');
  out.add(ALL, 12.5);
  out.add(UP, Number.NEGATIVE_INFINITY, '', '');
  assert.equal(
    out.toString(),
    '# HELP x_up Whether\\nit is \\\\ up.\n# TYPE x_up gauge\n' +
      'x_up{port="a\\"b",site="c\\\\d\\ne"} 1\nx_up{port="",site=""} -Inf\n' +
      '# HELP x_all_total All.\n# TYPE x_all_total counter\nx_all_total 12.5\n',
  );
});

test('whatever labels and values are, the strict parser reads them back', () => {
  const text = fc.string({ unit: 'binary' });
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(text, text, fc.double()), {
        selector: ([port, site]) => `${port.length} ${port}${site}`,
      }),
      (samples) => {
        const out = new Exposition();
        for (const [port, site, value] of samples) out.add(UP, value, port, site);
        if (samples.length === 0) return;
        const family = parseExposition(out.toString()).get('x_up')!;
        assert.equal(family.help, UP.help);
        for (const [port, site, value] of samples) {
          const read = family.samples.get(JSON.stringify({ port, site }));
          // The text has no negative zero.
          assert.ok(Object.is(read, value === 0 ? 0 : value), `${read} for ${value}`);
        }
      },
    ),
    { seed: 20260302, numRuns: 300 },
  );
});

test('our own mistakes throw', () => {
  const out = new Exposition();
  out.add(UP, 1, 'a', 'b');
  assert.throws(() => out.add(UP, 1, 'a', 'b'), /twice/);
  assert.throws(() => out.add(UP, 1, 'a'), /labels port, site/);
});

test('the strict parser refuses what it should', () => {
  const good = '# HELP a_total A.\n# TYPE a_total counter\na_total{x="1"} 1\n';
  assert.equal(parseExposition(good).get('a_total')!.samples.get('{"x":"1"}'), 1);
  for (const bad of [
    good.slice(0, -1),
    good.replace('# TYPE a_total counter\n', ''),
    good.replace('# HELP a_total A.\n', ''),
    good.replace(' counter', ' gauge'),
    good.replaceAll('a_total', 'a'),
    good.replace('} 1', '} one'),
    good.replace('} 1', '} -1'),
    good.replace('x="1"', 'x=1'),
    good.replace('x="1"', 'x="1",'),
    good.replace('x="1"', 'x="1",x="2"'),
    good.replace('x="1"', 'x="\\t"'),
    good.replace('{x="1"}', '{}'),
    `${good}a_total{x="1"} 2\n`,
    `${good}a_total{y="1"} 2\n`,
    `${good}b_total 2\n`,
    `${good}${good}`,
    `${good}\n`,
    '# HELP a_total A.\n# TYPE a_total counter\n',
  ]) {
    assert.throws(() => parseExposition(bad), Error, bad);
  }
});
