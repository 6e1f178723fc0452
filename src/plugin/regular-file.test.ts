/** Files of configurations are read whole, or refused at once: nothing is waited for, and nothing is read without end. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readRegularFile } from './regular-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-regular-file-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function path(name: string): string {
  return join(directory, name);
}

describe('a regular file', () => {
  it('is read whole, by a link, too', () => {
    const text = 'x'.repeat(200_000);
    writeFileSync(path('whole'), text, { mode: 0o640 });
    symlinkSync(path('whole'), path('link'));
    const { content, stats } = readRegularFile(path('link'), text.length);
    assert.equal(content.toString(), text);
    assert.equal(stats.mode & 0o777, 0o640);
  });

  it('may be empty, or say that it is', () => {
    writeFileSync(path('empty'), '');
    assert.equal(readRegularFile(path('empty'), 10).content.length, 0);
    assert.ok(readRegularFile('/proc/self/status', 65_536).content.length > 0);
  });

  it('is refused if it is too large', () => {
    writeFileSync(path('large'), '12345678901');
    assert.throws(() => readRegularFile(path('large'), 10), /^FileKindError: has more than 10 bytes$/);
  });

  it('is no pipe that nobody writes to', () => {
    execFileSync('mkfifo', [path('pipe')]);
    assert.throws(() => readRegularFile(path('pipe'), 10), /^FileKindError: is no regular file; name one$/);
  });

  it('is no device and no directory', () => {
    assert.throws(() => readRegularFile('/dev/zero', 10), /is no regular file/);
    assert.throws(() => readRegularFile(directory, 10), /is a directory; name a file/);
  });

  it('is there', () => assert.throws(() => readRegularFile(path('none'), 10), { code: 'ENOENT' }));
});
