import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DECODE_BAD_DESTINATION,
  DECODE_BAD_IP_CHECKSUM,
  DECODE_BAD_SOURCE,
  DECODE_IP_OPTIONS,
  DECODE_MALFORMED,
  DECODE_OK,
} from '../wire/decode.ts';
import { DROP, DROP_REASON_NAMES, DROP_REASON_TEXTS } from './drop-reasons.ts';

test('what decode returns is a drop reason', () => {
  assert.equal(DECODE_OK, DROP.none);
  assert.equal(DECODE_MALFORMED, DROP.malformed);
  assert.equal(DECODE_BAD_IP_CHECKSUM, DROP.bad_ip_checksum);
  assert.equal(DECODE_IP_OPTIONS, DROP.ip_options);
  assert.equal(DECODE_BAD_SOURCE, DROP.bad_source);
  assert.equal(DECODE_BAD_DESTINATION, DROP.bad_destination);
});

test('names are unique and every reason has a sentence', () => {
  assert.equal(new Set(DROP_REASON_NAMES).size, DROP_REASON_NAMES.length);
  assert.equal(DROP_REASON_TEXTS.length, DROP_REASON_NAMES.length);
  for (const [number, name] of DROP_REASON_NAMES.entries()) {
    assert.equal(DROP[name], number);
    assert.match(name, /^[a-z_]+$/);
    assert.match(DROP_REASON_TEXTS[number] as string, /^[A-Z].*\.$/);
  }
});
