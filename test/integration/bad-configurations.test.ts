/**
 * Every configuration of `test/support/bad-configurations.ts`, given to a check and to a real start on a real host: it is
 * refused with the same lines, and the host is as it was: links, addresses, settings, guard, processes, files.
 */
import assert from 'node:assert/strict';
import { globSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { EXAMPLE_CONFIG } from '../fixtures/example-gateway.ts';
import { ALL_BAD_CONFIGURATIONS } from '../support/bad-configurations.ts';
import { DaemonHost } from '../support/daemon-host.ts';
import { linesOf } from '../support/network-namespace.ts';

const PROJECT = resolve(import.meta.dirname, '../..');
const DAEMON_END = join(PROJECT, 'test/support/daemon-end.ts');

// Each file that has such cases adds them; its own tests run here once more.
for (const file of globSync('{src,test}/**/*.test.ts', { cwd: PROJECT })) {
  if (file.endsWith('bad-configurations.test.ts')) continue;
  if (readFileSync(join(PROJECT, file), 'utf8').includes('badConfigurations(')) {
    await import(join(PROJECT, file));
  }
}

test('a start with any of them is refused as by a check, and leaves the host as it was', async (t) => {
  const host = new DaemonHost(t);
  const cases = ALL_BAD_CONFIGURATIONS.map(([name, from, to, lines], at) => {
    const path = join(host.directory, `${at}.yaml`);
    writeFileSync(
      path,
      EXAMPLE_CONFIG.replace(from, () => to),
    );
    return { name, path, lines };
  });
  assert.ok(cases.length > 100, `${cases.length} cases`);
  const files = (): string[] => readdirSync(host.directory, { recursive: true }).map(String).sort();
  const { inode } = host;
  const memories = (): string[] => readdirSync('/dev/shm').filter((name) => name.includes(inode));
  // A namespace may have the number of one that is gone, and what was left of that.
  const [pictureBefore, filesBefore, memoriesBefore] = [host.picture(), files(), memories()];

  const paths = cases.map(({ path }) => path);
  const checked = host.namespace
    .exec(process.execPath, [DAEMON_END, 'check-each', ...paths])
    .trim()
    .split('\n');
  const daemon = host.namespace.spawn(process.execPath, [DAEMON_END, 'run-each', ...paths], host.environment);
  daemon.stderr.resume();
  const answers = linesOf(daemon);
  for (const [at, { name, path, lines }] of cases.entries()) {
    const { code, message } = JSON.parse(String((await answers.next()).value));
    assert.deepEqual(JSON.parse(checked[at]!), { code, message }, `${name}: the check`);
    assert.equal(code, 'config_invalid', name);
    assert.deepEqual(
      message.split('\n'),
      lines.map((line) => `${path}:${line}`),
      name,
    );
    assert.equal(host.picture(), pictureBefore, `${name}: the host is not as it was`);
    assert.deepEqual(files(), filesBefore, `${name}: files`);
    assert.deepEqual(memories(), memoriesBefore, `${name}: memory`);
    assert.deepEqual(host.namespace.pids(), [daemon.pid], `${name}: ${host.processes().join(', ')}`);
    daemon.stdin.write('\n');
  }
});
