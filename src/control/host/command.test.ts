/** Running the host's tools. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runCommand } from './command.ts';

test('what a tool says, with input and without', async () => {
  assert.equal(await runCommand('cat', [], { input: 'some rules\n' }), 'some rules\n');
  assert.equal(await runCommand('true', []), '');
});

test("what goes wrong is told in the tool's own words", async () => {
  await assert.rejects(runCommand('no-such-tool', []), {
    code: 'command_missing',
    message: 'no-such-tool is not installed, or not in PATH',
  });
  await assert.rejects(runCommand('sh', ['-c', 'echo bad line 1 >&2; exit 3']), {
    code: 'command_failed',
    message: 'sh -c echo bad line 1 >&2; exit 3: bad line 1',
  });
  assert.equal(await runCommand('sh', ['-c', 'echo half; exit 3'], { mayFail: true }), 'half\n');
});

test('a signal for the whole process group of the gateway does not reach a tool', async () => {
  const group = (stat: string): string => stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]!;
  const [tool, own] = await Promise.all([
    runCommand('cat', ['/proc/self/stat']),
    runCommand('cat', [`/proc/${process.pid}/stat`]),
  ]);
  assert.notEqual(group(tool), group(own));
});
