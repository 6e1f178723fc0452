/** What is said of options before anything runs with them: of files of sets as well. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { OptionsFinding } from '../../src/plugin/contract.ts';
import { checkOptions } from './check.ts';
import { TOPOLOGY } from './firewall.fixture.ts';

const folder = mkdtempSync(join(tmpdir(), 'homeward-check-'));
after(() => rmSync(folder, { recursive: true }));

/** What is found of a set that is read from this file. */
function check(file: string): readonly OptionsFinding[] {
  const options = {
    default: 'accept',
    sets: { listed: { file } },
    rules: [{ match: 'src in @listed', action: 'drop' }],
  };
  return checkOptions({ options, topology: TOPOLOGY });
}

describe('the check', () => {
  it('reads files of sets, and names the line', () => {
    const file = join(folder, 'listed.txt');
    writeFileSync(file, '10.0.0.1\nnonsense\n');
    const [finding, ...others] = check(file);
    assert.deepEqual(others, []);
    assert.equal(finding?.path, 'sets.listed.file');
    assert.ok(finding.message.startsWith(`${file}:2: column 1: "nonsense"`), finding.message);
    writeFileSync(file, '10.0.0.1\n');
    assert.deepEqual(check(file), []);
    assert.match(check(folder)[0]!.message, / is a directory; name a file$/);
  });

  it('says nothing of a file that is not here: it may be on the host that the configuration is for', () => {
    assert.deepEqual(check(join(folder, 'none')), []);
  });

  it('refuses a path that is relative', () => {
    assert.deepEqual(check('listed.txt'), [
      {
        path: 'sets.listed.file',
        message:
          '"listed.txt" is relative, and nobody could say to what; write an absolute path such as /etc/homeward/listed.txt',
      },
    ]);
  });
});
