/** docs/flow-logs.md knows every reason, template, element and member, and its example is right. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { eventNames, flowEvent } from '../../../test/fixtures/flow-events.ts';
import { END_REASON_NAMES, END_REASON_TEXTS } from '../../flow/flow-event-layout.ts';
import { parseConfig } from '../config/load.ts';
import { FIELDS, TEMPLATES, VARIABLE } from './ipfix/templates.ts';
import { jsonLine } from './json-lines.ts';

const page = readFileSync(resolve(import.meta.dirname, '../../../docs/flow-logs.md'), 'utf8');

test('every reason of an end', () => {
  END_REASON_NAMES.forEach((name, reason) => {
    if (reason !== 0) assert.ok(page.includes(`| \`${name}\` | ${END_REASON_TEXTS[reason]} |`), name);
  });
});

test('every member of a line', () => {
  for (const kind of ['start', 'end', 'refused'] as const) {
    for (const member of Object.keys(JSON.parse(jsonLine(flowEvent({ kind }), eventNames())))) {
      assert.match(page, new RegExp(`^\\| (?:\`\\w+\`, )*\`${member}\``, 'm'), member);
    }
  }
});

test('every template and element', () => {
  for (const { id } of TEMPLATES)
    assert.match(page, new RegExp(`^\\| (?:\\d+, )?${id}(?:, \\d+)? \\|`, 'm'), String(id));
  for (const { name, element, enterprise, bytes } of Object.values(FIELDS)) {
    // Names are spoken of in a sentence of their own.
    if (enterprise !== 0 || bytes === VARIABLE) continue;
    const known = page.includes(`\`${name}\``) || page.includes(`\`${name.replace('IPv6', 'IPv4')}\``);
    assert.ok(known, name);
    assert.match(page, new RegExp(`\\b${element}\\b`), name);
  }
});

test('the example', () => {
  const [, example] = /```yaml\n([\s\S]*?)```/.exec(page)!;
  const { flowLog } = parseConfig(`version: 1\n${example}`, 'example');
  assert.equal(flowLog?.ipfix?.collector.port, 4739);
});
