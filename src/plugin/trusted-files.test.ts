/** Whose files are loaded as code: owners, modes, the folders above, symbolic links. */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, lchownSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { pluginFolder, writePlugin } from '../../test/support/plugin-folder.ts';
import { untrustedFile } from './trusted-files.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const STRANGER = 65_534;

test('a folder that nobody else can write is trusted, also below one like /tmp', (t) => {
  assert.equal(untrustedFile(pluginFolder(t, { files: { 'lib/part.ts': '' } })), undefined);
});

test('a symbolic link that leads nowhere keeps nothing else from being looked at', (t) => {
  const folder = pluginFolder(t);
  symlinkSync('nowhere', join(folder, 'a.ts'));
  assert.equal(untrustedFile(folder), undefined);
  chmodSync(join(folder, 'data.ts'), 0o666);
  assert.match(untrustedFile(folder) ?? '', /^others than root may write /);
});

test('what belongs to homeward is as trusted as homeward', () => {
  assert.equal(untrustedFile(join(import.meta.dirname, '../../plugins/firewall')), undefined);
});

for (const [what, path] of [
  ['the folder', ''],
  ['its manifest', 'manifest.json'],
  ['a module', 'data.ts'],
  ['a module further down', 'lib/part.ts'],
  ['a folder in it', 'lib'],
  ['what it brings along', 'node_modules/part/index.js'],
] as const) {
  test(`refused: everybody may write ${what}`, (t) => {
    const files = { 'lib/part.ts': '', 'node_modules/part/index.js': '' };
    const folder = pluginFolder(t, { files });
    const file = join(folder, path);
    chmodSync(file, 0o777);
    assert.equal(
      untrustedFile(folder),
      `others than root may write ${file} (mode 0777); do "chmod go-w ${file}"`,
    );
  });
}

test('refused: a group may write it that is not root', { skip }, (t) => {
  const folder = pluginFolder(t);
  const file = join(folder, 'data.ts');
  chmodSync(file, 0o664);
  assert.equal(untrustedFile(folder), undefined, 'the group is root');
  chownSync(file, 0, STRANGER);
  assert.match(untrustedFile(folder) ?? '', /^others than root may write .*data\.ts \(mode 0664\)/);
});

test('refused: it is somebody else’s', { skip }, (t) => {
  const folder = pluginFolder(t);
  const file = join(folder, 'data.ts');
  chownSync(file, STRANGER, 0);
  assert.equal(
    untrustedFile(folder),
    `${file} belongs to user 65534, who could change it; do "chown root ${file}"`,
  );
});

test('refused: a folder above it is open to others; one like /tmp only if it is the folder itself', {
  skip,
}, (t) => {
  const above = pluginFolder(t);
  const folder = join(above, 'limiter');
  writePlugin(folder, { files: { 'data.ts': '' } });
  chmodSync(above, 0o777);
  assert.match(
    untrustedFile(folder) ?? '',
    new RegExp(`^others than root may write ${above} \\(mode 0777\\)`),
  );
  chmodSync(above, 0o1777);
  assert.equal(untrustedFile(folder), undefined);
  chmodSync(folder, 0o1777);
  assert.match(
    untrustedFile(folder) ?? '',
    new RegExp(`^others than root may write ${folder} \\(mode 1777\\)`),
  );
  chmodSync(folder, 0o755);
  chownSync(above, STRANGER, 0);
  assert.match(untrustedFile(folder) ?? '', new RegExp(`^${above} belongs to user 65534`));
});

test('symbolic links are followed, each one and what is above its end', { skip }, (t) => {
  const open = pluginFolder(t);
  const folder = join(open, 'limiter');
  writePlugin(folder, { files: { 'data.ts': '' } });
  const links = pluginFolder(t);
  const link = join(links, 'limiter');
  symlinkSync(folder, link);
  assert.equal(untrustedFile(link), undefined);
  chmodSync(open, 0o777);
  assert.match(untrustedFile(link) ?? '', new RegExp(`^others than root may write ${open} `));
  chmodSync(open, 0o755);
  lchownSync(link, STRANGER, STRANGER);
  assert.match(untrustedFile(link) ?? '', new RegExp(`^${link} belongs to user 65534`));
  rmSync(join(folder, 'data.ts'));
  const elsewhere = join(dirname(folder), 'elsewhere');
  mkdirSync(elsewhere);
  writeFileSync(join(elsewhere, 'data.ts'), '');
  symlinkSync('../elsewhere/data.ts', join(folder, 'data.ts'));
  assert.equal(untrustedFile(folder), undefined);
  chmodSync(elsewhere, 0o777);
  assert.match(untrustedFile(folder) ?? '', new RegExp(`^others than root may write ${elsewhere} `));
});
