/**
 * The configuration of a running gateway: applied, edited, compared, gone back. The gateway is a stand-in that can fail;
 * with a real one: test/integration/configuration.test.ts.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  BY,
  ConfigurationHost,
  chosenDirectory,
  NO_EFFECT,
  ONE,
  THREE,
  TWO,
} from '../../../test/support/configuration-host.ts';
import { pluginFolder, writePlugin } from '../../../test/support/plugin-folder.ts';

test('what runs already makes no revision when it is applied again, and is put back into the file', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  await host.apply(TWO);
  const again = await host.apply(TWO, 60_000);
  assert.deepEqual(
    [again.applied, again.revision, again.difference.lines, again.pending, again.unapplied],
    [false, null, [], null, null],
  );
  assert.deepEqual(host.gateway.ran, ['two', 'two'], 'files that it names may have changed');
  writeFileSync(host.path, THREE);
  const { unapplied } = await host.apply(TWO);
  assert.equal(readFileSync(unapplied!, 'utf8'), THREE);
  assert.equal(host.file, TWO);
  assert.deepEqual(host.revisions(), ['1 found', '2 applied']);
  // Another comment is another text.
  await host.apply(`${TWO}# why\n`);
  assert.deepEqual(host.revisions(), ['1 found', '2 applied', '3 applied']);
});

test('what is applied runs, is in the file as it was given, and in the history', async (t) => {
  const host = new ConfigurationHost(t);
  assert.equal(await host.start(), 'one');
  const applied = await host.configuration.apply(TWO, { by: 'ann', comment: 'for the north' });
  assert.deepEqual(applied.difference.lines, ['~ option gateway.name one -> two']);
  const { time: _, ...revision } = applied.revision!;
  assert.deepEqual(revision, {
    number: 2,
    cause: 'applied',
    by: 'ann',
    comment: 'for the north',
    summary: ['~ option gateway.name one -> two'],
  });
  assert.deepEqual([host.file, host.gateway.ran], [TWO, ['two']]);
  assert.deepEqual(host.revisions(), ['1 found', '2 applied']);
  assert.equal(host.configuration.show().text, TWO);

  const back = await host.configuration.rollback(1, BY);
  assert.deepEqual([back.revision!.cause, back.revision!.comment], ['rolled_back', 'back to revision 1']);
  assert.equal(host.file, ONE);
  await assert.rejects(host.configuration.rollback(9, BY), { code: 'no_such_revision' });
  assert.equal(host.configuration.revision(2).text, TWO);

  assert.equal(await host.start(), 'one');
  assert.deepEqual(host.revisions(), ['1 found', '2 applied', '3 rolled_back'], 'a start adds nothing');
  writeFileSync(host.path, THREE);
  await host.start();
  assert.deepEqual(host.revisions().at(-1), '4 found');
});

test('what cannot be applied changes nothing', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  await assert.rejects(host.apply('version: 2\n'), { code: 'config_invalid' });
  host.gateway.failure = new Error('the data plane refuses');
  await assert.rejects(host.apply(TWO), /refuses/);
  host.gateway.failure = undefined;
  const dry = await host.configuration.apply(TWO, { ...BY, confirmMs: 60_000, validateOnly: true });
  assert.deepEqual(dry, {
    applied: false,
    revision: null,
    difference: dry.difference,
    pending: null,
    notices: [],
    unapplied: null,
    reevaluated: null,
  });
  assert.deepEqual(dry.difference.lines, ['~ option gateway.name one -> two']);
  assert.deepEqual(dry.difference.effect, NO_EFFECT);
  assert.deepEqual([host.file, host.gateway.ran, host.revisions()], [ONE, [], ['1 found']]);
  assert.equal(host.configuration.show().text, ONE);

  // No room for the history: what ran before runs again.
  const history = join(host.state, chosenDirectory(host));
  mkdirSync(join(history, '2.yaml'));
  await assert.rejects(host.apply(TWO), { code: 'history_unwritable' });
  assert.deepEqual([host.file, host.gateway.ran], [ONE, ['two', 'one']]);
  assert.equal(host.configuration.show().text, ONE);
});

test('notices name the file that was given, and tell what is new', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  const tunnel = (name: string): string => `[ { name: ${name}-tun, type: device, device: ${name} } ]`;
  const site = (name: string): string =>
    `  - { name: ${name}, prefixes: [10.0.0.0/8], tunnels: ${tunnel(name)} }\n`;
  const text = `version: 1\nsites:\n${site('a')}${site('b')}`;
  for (const [file, named] of [
    ['new.yaml', 'new.yaml'],
    [undefined, host.path],
  ] as const) {
    const { notices } = await host.configuration.apply(text, { ...BY, file, validateOnly: true });
    assert.match(notices.join(), /^\S+:4:27: sites\.b\.prefixes\[0\]: 10\.0\.0\.0\/8 is ambiguous/);
    assert.ok(notices[0]!.startsWith(`${named}:`), notices[0]);
  }
  await host.configuration.apply(text, BY);
  const { notices } = await host.configuration.apply(`${text}${site('c')}`, { ...BY, validateOnly: true });
  assert.equal(notices.length, 1, 'what was so before is not told again');
  assert.match(notices[0]!, /sites\.c\.prefixes\[0\]/);
});

test('where neither the history nor the way back works, it says what runs, and goes on from there', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  const obstacle = join(host.state, chosenDirectory(host), '2.yaml');
  mkdirSync(obstacle);
  host.gateway.meanwhile = () => {
    host.gateway.failure = new Error('no such device');
  };
  await assert.rejects(host.apply(TWO), {
    code: 'running_unrecorded',
    message: /in no revision.*EISDIR.*no such device/,
  });
  const { configuration } = host;
  assert.deepEqual([host.gateway.ran, host.file], [['two'], ONE]);
  assert.deepEqual([configuration.show().text, configuration.show().revision], [TWO, null]);
  assert.deepEqual([configuration.show().file, configuration.problems.length], ['differs', 1]);
  assert.match(configuration.problems[0]!, /what runs is in no revision, and the next start does not run it/);

  // Whatever fails next, that is still so.
  await assert.rejects(host.apply(THREE), /no such device/);
  assert.equal(configuration.show().text, TWO);
  assert.equal(configuration.problems.length, 1);
  host.gateway.failure = undefined;
  host.gateway.meanwhile = () => {};
  rmdirSync(obstacle);
  const { difference, revision } = await host.apply(THREE);
  assert.deepEqual(difference.lines, ['~ option gateway.name two -> three'], 'from what ran to what runs');
  assert.deepEqual([revision!.number, host.file, configuration.problems], [2, THREE, []]);
  assert.equal((await configuration.rollback(1, BY)).revision!.number, 3);
  assert.deepEqual([host.file, host.gateway.ran.at(-1)], [ONE, 'one']);
});

test('every text that was in the file and did not run is kept, the newest ten', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  const written = (number: number): string => `broken: ${number}\n`;
  const kept: string[] = [];
  for (let number = 1; number <= 12; number++) {
    writeFileSync(host.path, written(number));
    const { unapplied } = await host.apply(number % 2 === 0 ? ONE : TWO);
    kept.push(unapplied!);
    writeFileSync(host.path, written(number));
    assert.equal((await host.apply(THREE)).unapplied, unapplied, 'the same text is kept once');
  }
  assert.equal(new Set(kept).size, 12);
  assert.deepEqual(
    kept.map((path) => existsSync(path)),
    kept.map((_, at) => at >= 2),
  );
  assert.equal(readFileSync(kept[11]!, 'utf8'), written(12));
  assert.match(kept[11]!, /\/unapplied-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z(-\d)?\.yaml$/);
  await host.start();
  assert.ok(existsSync(kept[11]!), 'also over a start');
});

test('edits are made in the running text, and never over what somebody wrote', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  const rename = (text: string): string => text.replace('one', 'uno').replace('name: one', 'name: due');
  const { difference } = await host.configuration.edit(rename, BY);
  assert.deepEqual(difference.lines, ['~ option gateway.name one -> due']);
  assert.equal(host.file, 'version: 1   # uno\ngateway: { name: due }\n');
  writeFileSync(host.path, THREE);
  await assert.rejects(host.configuration.edit(rename, BY), { code: 'file_differs' });
  const { unapplied } = await host.apply(TWO);
  assert.equal(readFileSync(unapplied!, 'utf8'), THREE);
  assert.equal((await host.apply(TWO)).unapplied, null);
});

test('differences between revisions, and to what runs', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  await host.apply(TWO);
  const { configuration } = host;
  assert.deepEqual((await configuration.diff(1, 2)).lines, ['~ option gateway.name one -> two']);
  assert.deepEqual((await configuration.diff(undefined, 1)).lines, ['~ option gateway.name two -> one']);
  const { lines, effect } = await configuration.diff(undefined, { text: THREE });
  assert.deepEqual([lines, effect], [['~ option gateway.name two -> three'], NO_EFFECT]);
  await assert.rejects(configuration.diff(7, 1), { code: 'no_such_revision' });
});

test('a plugin is read anew without a revision, if its files are right', async (t) => {
  const folder = pluginFolder(t);
  const text = `version: 1\nplugins: [ { name: probe, from: ${folder}, options: {} } ]\n`;
  const host = new ConfigurationHost(t, text);
  await host.start();
  const done = await host.configuration.reloadPlugin('probe', { reevaluate: true });
  assert.deepEqual([done.applied, done.revision, done.reevaluated], [true, null, { flows: 9, ended: 2 }]);
  assert.deepEqual(host.gateway.anew, ['probe', 'all flows']);
  assert.deepEqual(host.revisions(), ['1 found']);
  await assert.rejects(host.configuration.reloadPlugin('nobody', {}), { code: 'no_such_plugin' });

  writePlugin(folder, { manifest: { phase: 'early' } });
  await assert.rejects(host.configuration.reloadPlugin('probe', {}), { code: 'config_invalid' });
  writePlugin(folder, {});
  const dry = await host.configuration.reloadPlugin('probe', { validateOnly: true, reevaluate: true });
  assert.deepEqual([dry.applied, dry.reevaluated], [false, null]);
  assert.deepEqual(host.gateway.anew, ['probe', 'all flows'], 'nothing since');

  await host.configuration.apply(text.replace('options:', 'enabled: false, options:'), {
    by: 'test',
    comment: '',
  });
  await assert.rejects(host.configuration.reloadPlugin('probe', {}), { code: 'plugin_disabled' });
});

test('a change has live flows judged anew if somebody wants that', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  assert.equal((await host.apply(TWO)).reevaluated, null);
  const applied = await host.configuration.apply(THREE, { ...BY, reevaluate: true });
  assert.deepEqual(applied.reevaluated, { flows: 9, ended: 2 });
});
