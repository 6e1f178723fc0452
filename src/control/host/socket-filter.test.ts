import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compile, example } from '../../../test/support/compile-example.ts';
import { classify } from './classifier.ts';
import { socketFilter } from './socket-filter.ts';

/**
 * Kernels up to 6.6 give a socket 20 KiB (`net.core.optmem_max`) for what they make of the filter: 40 bytes for one of
 * these instructions, on average.
 */
const MOST_INSTRUCTIONS = 20_480 / 40;

test('the filter of an uplink with a hundred GRE tunnels fits into an older kernel’s limit', () => {
  const uplink = compile(example()).host.devices.find(({ role }) => role === 'shared');
  assert.ok(uplink?.role === 'shared' && uplink.gre.length > 0);
  const { local } = uplink.gre[0]!;
  const gre = Array.from({ length: 100 }, (_, at) => ({ local, remote: `198.51.100.${at}` }));
  const { length } = socketFilter(classify({ ...uplink, gre })!);
  assert.ok(length <= MOST_INSTRUCTIONS, `${length} instructions`);
});
