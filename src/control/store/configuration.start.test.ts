/** With which configuration a gateway starts: of a broken file, without a history, without its plugins. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ConfigurationHost, ONE, THREE, TWO } from '../../../test/support/configuration-host.ts';

test('a start with a broken file runs the last good revision, and says so', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  await host.apply(TWO);
  const broken = `${THREE}nonsense: 1\n`;
  writeFileSync(host.path, broken);
  await assert.rejects(host.start({ strict: true }), { code: 'config_invalid' });
  assert.equal(await host.start(), 'two');
  const [first, second] = host.configuration.problems;
  assert.match(first!, /homeward\.yaml is broken: revision 2 of .* runs instead/);
  assert.match(second!, /homeward\.yaml:3:1: nonsense is not a known key/);
  assert.ok(host.log.some((line) => line.includes('"level":50') && line.includes('is broken')));
  assert.equal(host.file, broken, 'nobody touches it');
  assert.equal(host.configuration.show().file, 'differs');
  assert.deepEqual(host.revisions(), ['1 found', '2 applied']);

  rmSync(host.path);
  assert.equal(await host.start(), 'two', 'no file at all');
  assert.equal(host.configuration.show().file, 'unreadable');
  await host.apply(THREE);
  assert.deepEqual([host.file, host.configuration.problems], [THREE, []]);
});

test('without a history a broken file is refused', async (t) => {
  const host = new ConfigurationHost(t, 'nonsense: 1\n');
  await assert.rejects(host.start(), { code: 'config_invalid' });
});

test('the state directory is found in a broken file, too', async (t) => {
  const host = new ConfigurationHost(t);
  const other = join(host.directory, 'elsewhere');
  const named = ONE.replace('name: one', `name: one, state_dir: ${other}`);
  writeFileSync(host.path, named);
  await host.start();
  writeFileSync(host.path, `${named}nonsense: 1\n`);
  assert.equal(await host.start(), 'one');
});

test('without a state directory the gateway runs, but nothing can be applied', async (t) => {
  const host = new ConfigurationHost(t);
  writeFileSync(host.state, 'a file, no directory');
  assert.equal(await host.start(), 'one');
  assert.match(host.configuration.problems[0]!, /no history of the configuration is kept/);
  await assert.rejects(host.apply(TWO), { code: 'no_history' });
  assert.deepEqual([host.file, host.gateway.ran], [ONE, []]);
});

test('who needs no plugins is not kept waiting for them', async (t) => {
  const host = new ConfigurationHost(
    t,
    'version: 1\nplugins: [ { name: probe, from: /nonexistent/probe } ]\n',
  );
  await assert.rejects(host.start(), { code: 'config_invalid' });
  assert.equal(await host.start({ withoutPlugins: true }), 'homeward');
});
