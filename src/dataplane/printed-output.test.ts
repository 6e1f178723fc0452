/** What a data plane prints stays within bounds, and its last words are there. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const MODULE = join(import.meta.dirname, 'printed-output.ts');

/** Runs a program whose output goes to a file, as that of the data plane does; what is in the file then. */
function printed(program: string, elsewhere = false): { text: string; bytes: number } {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-printed-'));
  const path = join(directory, 'dataplane.log');
  const bounded = elsewhere ? join(directory, 'other') : path;
  const log = openSync(path, 'a', 0o600);
  try {
    const source = `import { boundPrintedOutput } from ${JSON.stringify(MODULE)};
boundPrintedOutput(${JSON.stringify(bounded)}, 10_000);
${program}`;
    spawnSync(process.execPath, ['--input-type=module', '--eval', source], { stdio: ['ignore', log, log] });
    return { text: readFileSync(path, 'utf8'), bytes: statSync(path).size };
  } finally {
    closeSync(log);
    rmSync(directory, { recursive: true });
  }
}

const MANY = `for (let at = 0; at < 5000; at++) {
  if (at % 2 === 0) console.log('packet', at);
  else console.error('packet', at);
}
`;

test('a line for every packet begins the file anew when it is full, and the last lines are in it', () => {
  const { text, bytes } = printed(`${MANY}process.stdout.write(new Uint8Array(20_000));`);
  assert.equal(bytes, 0);
  assert.equal(text, '');
  const lines = printed(MANY);
  assert.ok(lines.bytes <= 10_000, String(lines.bytes));
  assert.match(lines.text, /^packet \d+\n(packet \d+\n)*packet 4998\npacket 4999\n$/);
});

test('what a process dies of is told behind all that was printed', () => {
  const { text } = printed(`${MANY}throw new Error('the end');`);
  assert.match(text, /packet 4999\n[\s\S]*Error: the end/);
});

test('another file than the one of this data plane is left alone', () => {
  assert.ok(printed(MANY, true).bytes > 50_000);
});
