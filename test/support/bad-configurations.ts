/** One test for each mistake: the example configuration with one text replaced gives exactly these lines. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from '../../src/control/config/errors.ts';
import { parseConfig } from '../../src/control/config/load.ts';
import { EXAMPLE_CONFIG, EXAMPLE_FILE } from '../fixtures/example-gateway.ts';

/** What it is about, the text to replace, what stands there instead, and the lines without the file's name. */
export type BadConfiguration = readonly [name: string, from: string, to: string, lines: readonly string[]];

/** Every case that was given to {@link badConfigurations} in this process: for tests of more than the lines. */
export const ALL_BAD_CONFIGURATIONS: BadConfiguration[] = [];

export function badConfigurations(cases: readonly BadConfiguration[]): void {
  ALL_BAD_CONFIGURATIONS.push(...cases);
  for (const [name, from, to, lines] of cases) {
    test(name, () => {
      assert.ok(EXAMPLE_CONFIG.includes(from), 'the text to replace is there');
      const text = EXAMPLE_CONFIG.replace(from, () => to);
      assert.throws(
        () => parseConfig(text, EXAMPLE_FILE),
        (error) => {
          assert.ok(error instanceof ConfigError, String(error));
          assert.deepEqual(
            error.message.split('\n'),
            lines.map((line) => `${EXAMPLE_FILE}:${line}`),
          );
          return true;
        },
      );
    });
  }
}
