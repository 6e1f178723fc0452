/** The systemd units: that systemd understands them, that their commands exist, and that what they allow is enough. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { DaemonHost } from '../support/daemon-host.ts';
import { eventually } from '../support/patience.ts';

const ROOT = join(import.meta.dirname, '../..');
const UNITS = join(ROOT, 'appliance/systemd');
const PROGRAM = '/usr/bin/homeward';

function isMissing(program: string): false | string {
  return spawnSync(program, ['--version']).error === undefined ? false : `needs ${program}`;
}

function unit(name: string): string {
  return readFileSync(join(UNITS, name), 'utf8');
}

/** Values of a setting, one for each line that gives it. */
function settings(name: string, key: string): string[] {
  return [...unit(name).matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map((line) => line[1]!);
}

test('systemd finds nothing wrong', { skip: isMissing('systemd-analyze') }, (t: TestContext) => {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-units-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const names = readdirSync(UNITS).filter((name) => name.endsWith('.service'));
  assert.deepEqual(names.toSorted(), ['homeward-guard.service', 'homeward.service']);
  // The program is not installed where tests run.
  for (const name of names) {
    writeFileSync(join(directory, name), unit(name).replaceAll(PROGRAM, process.execPath));
  }
  const { status, stdout, stderr } = spawnSync(
    'systemd-analyze',
    ['verify', '--man=no', ...names.map((name) => join(directory, name))],
    { encoding: 'utf8', env: { ...process.env, SYSTEMD_UNIT_PATH: `${directory}:` } },
  );
  assert.equal(`${stdout}${stderr}`, '');
  assert.equal(status, 0);
});

test('their commands exist', () => {
  const commands = ['homeward.service', 'homeward-guard.service'].flatMap((name) => [
    ...settings(name, 'ExecStart'),
    ...settings(name, 'ExecReload'),
  ]);
  assert.equal(commands.length, 3);
  for (const command of commands) {
    const [program, ...words] = command.split(' ');
    assert.equal(program, PROGRAM);
    const names = words.filter((word) => /^[a-z]+$/.test(word));
    const { status, stdout } = spawnSync(process.execPath, [join(ROOT, 'src/main.ts'), ...names, '--help'], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, command);
    for (const flag of words.filter((word) => word.startsWith('--'))) {
      assert.match(stdout, new RegExp(`${flag}\\b`), command);
    }
  }
});

test('the capabilities are enough for a whole life', { skip: isMissing('setpriv') }, async (t) => {
  const host = new DaemonHost(t);
  host.answer();
  const before = host.picture();
  const [bounding] = settings('homeward.service', 'CapabilityBoundingSet');
  const names = bounding!.split(' ').map((name) => name.replace('CAP_', '+').toLowerCase());
  assert.ok(names.includes('+net_admin') && !names.includes('+sys_admin'));
  const daemon = host.start(`--bounding-set=${['-all', ...names].join(',')}`, '--no-new-privs');
  await eventually('all tunnels are up', async () => {
    const { tunnels } = await host.forwarding();
    return tunnels.every(({ state }) => state === 'up');
  });
  const ended = new Promise((resolve) => daemon.once('close', resolve));
  await host.api.down();
  assert.equal(await ended, 0);
  assert.equal(host.picture(), before);
});
