import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { test } from 'node:test';

const MAIN = resolve(import.meta.dirname, '../main.ts');

/** What a command writes to the standard error, which must be all it writes, and its status 2. */
function refused(...args: string[]): Promise<string> {
  return new Promise((done, failed) => {
    execFile(process.execPath, [MAIN, ...args], (error, stdout, stderr) => {
      if (error?.code === 2 && stdout === '') done(stderr);
      else failed(new Error(`${args.join(' ')}: status ${error?.code ?? 0}, ${stdout}${stderr}`));
    });
  });
}

const CASES: readonly (readonly [command: string, line: RegExp])[] = [
  [
    'flows list --limit 0',
    /^--limit: .*greater than or equal to 1 .* 0; see "homeward flows list --help"\n$/,
  ],
  ['flows flush --id abc', /^--id: .*integer.* abc; see "homeward flows flush --help"\n$/],
  ['flows flush', /^say which flows, .* --all for every flow\n$/],
  ['flows show', /^Missing argument: id \(As `flows list` shows it\); see "homeward flows show --help"\n$/],
  ['flows show abc', /^Expected an integer but received: abc; see "homeward flows show --help"\n$/],
  ['flows explain 0', /^Expected an integer .* 0; see "homeward flows explain --help"\n$/],
  ['flows list --bogus', /^Nonexistent flag: --bogus; see "homeward flows list --help"\n$/],
  ['status --timeout 5', /^--timeout: 5 is not a duration .*; see "homeward status --help"\n$/],
  ['capture', /^Missing required flag output; see "homeward capture --help"\n$/],
  ['tunnels test --wait x', /^--wait: x is not a duration .*\n$/],
];

test('wrong arguments: one line, which says where the right ones are, and status 2', async () => {
  for (const [command, line] of CASES) assert.match(await refused(...command.split(' ')), line, command);
});
