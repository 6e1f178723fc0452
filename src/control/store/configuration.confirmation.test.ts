/** Changes that go back unless they are confirmed, also over the end of the process. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  BY,
  ConfigurationHost,
  chosen,
  chosenDirectory,
  ONE,
  THREE,
  TWO,
} from '../../../test/support/configuration-host.ts';
import { eventually } from '../../../test/support/patience.ts';
import { createLogger } from '../runtime/logger.ts';
import { Configuration } from './configuration.ts';
import { previousOf } from './starting-config.ts';

test('what waits for its confirmation and does not run any more is not confirmed', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  await host.apply(TWO, 60_000);
  const obstacle = join(host.state, chosenDirectory(host), '3.yaml');
  mkdirSync(obstacle);
  host.gateway.meanwhile = () => {
    host.gateway.failure = new Error('no such device');
  };
  await assert.rejects(host.configuration.rollback(1, BY), { code: 'running_unrecorded' });
  assert.equal(host.configuration.show().text, ONE);
  assert.match(
    host.configuration.pendingNotice!,
    /revision 2 .* does not run any more; revision 1 runs from/,
  );
  await assert.rejects(host.configuration.confirm(), { code: 'pending_not_running' });
  host.gateway.failure = undefined;
  rmdirSync(obstacle);
  await host.configuration.rollback(1, BY);
  assert.deepEqual(
    [host.file, host.configuration.problems, host.configuration.pendingNotice],
    [ONE, [], null],
  );
});

test('without confirmation it goes back by itself', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  const { pending } = await host.apply(TWO, 1000);
  assert.deepEqual([pending!.revision, pending!.previous], [2, 1]);
  assert.ok(pending!.leftMs > 0 && pending!.leftMs <= 1000);
  await assert.rejects(host.apply(THREE), { code: 'confirm_pending' });
  await eventually('it goes back', () => host.configuration.show().pending === null);
  assert.deepEqual([host.file, host.gateway.ran], [ONE, ['two', 'one']]);
  assert.deepEqual(host.revisions(), ['1 found', '2 applied', '3 reverted']);
  assert.deepEqual(host.configuration.problems, []);
});

test('confirmed, it stays', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  await host.apply(TWO, 60_000);
  assert.equal((await host.configuration.confirm()).number, 2);
  await assert.rejects(host.configuration.confirm(), { code: 'nothing_pending' });
  assert.equal(host.configuration.show().pending, null);
  await host.apply(THREE, 60_000);
  await host.configuration.rollback(2, BY);
  assert.deepEqual([host.configuration.show().pending, host.file], [null, TWO]);
});

test('a confirmation that is awaited survives the process', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  const { pending } = await host.apply(TWO, 60_000);
  assert.equal(await host.start(), 'two', 'its time is not over');
  assert.equal(host.configuration.show().pending!.deadline, pending!.deadline);
  await host.configuration.confirm();
  await host.apply(THREE, 1000);
  // Nobody runs while the time passes.
  await host.stop();
  await new Promise((resolve) => setTimeout(resolve, 1100));
  assert.equal(await host.start(), 'two', 'its time is over');
  assert.equal(host.file, TWO);
  assert.deepEqual(host.revisions().slice(-2), ['3 applied', '4 reverted']);
  assert.equal(host.configuration.show().pending, null);
});

test('who edits the file by hand has decided', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  await host.apply(TWO, 60_000);
  writeFileSync(host.path, THREE);
  assert.equal(await host.start(), 'three');
  assert.equal(host.configuration.show().pending, null);
  assert.deepEqual(host.revisions(), ['1 found', '2 applied', '3 found']);
});

test('an unconfirmed revision that does not start gives way to the one before', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  await host.apply(TWO, 60_000);
  await host.stop();
  const starting = chosen(host);
  const previous = previousOf(starting);
  assert.deepEqual([previous!.loaded.text, previous!.from], [ONE, 'expired']);
  const logger = createLogger({ level: 'silent' });
  const configuration = new Configuration(host.path, previous!, host.gateway, logger);
  assert.deepEqual([host.file, configuration.show().pending], [ONE, null]);
  await configuration.close();
  const settled = chosen(host);
  assert.equal(previousOf(settled), undefined, 'nothing is awaited');
  settled.history!.close();
});

test('a going back that fails is tried again, and can be confirmed instead', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  await host.apply(TWO, 1000);
  host.gateway.failure = new Error('no such device');
  writeFileSync(host.path, THREE);
  await eventually('a problem', () => host.configuration.problems.length > 0);
  assert.match(host.configuration.problems[0]!, /going back fails: no such device/);
  assert.equal(host.file, THREE, 'what somebody writes meanwhile stays');
  await host.configuration.confirm();
  assert.deepEqual(host.configuration.problems, []);
});

test('a file that cannot be put in place keeps nothing from going back', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  host.gateway.meanwhile = () => {
    // A directory in its place; a file that is mounted of its own cannot be replaced either.
    rmSync(host.path, { recursive: true, force: true });
    mkdirSync(host.path);
  };
  const { pending } = await host.apply(TWO, 1000);
  assert.equal(pending!.previous, 1);
  assert.match(
    host.configuration.problems.join(),
    /homeward\.yaml does not have the configuration that runs/,
  );
  assert.equal(host.configuration.show().text, TWO);
  await eventually('it goes back', () => host.configuration.show().pending === null);
  assert.deepEqual(host.gateway.ran, ['two', 'one']);
  assert.deepEqual(host.revisions(), ['1 found', '2 applied', '3 reverted']);
  assert.deepEqual(readdirSync(host.directory).sort(), ['homeward.yaml', 'state'], 'nothing is left over');
});

test('the file goes back before the history says so', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  await host.apply(TWO, 60_000);
  mkdirSync(join(host.state, chosenDirectory(host), '3.yaml'));
  const files: string[] = [];
  host.gateway.meanwhile = () => files.push(host.file);
  await assert.rejects(host.configuration.rollback(1, BY), { code: 'history_unwritable' });
  assert.deepEqual(files, [TWO, ONE], 'seen when one ran, and when two ran again');
  assert.deepEqual([host.file, host.configuration.show().pending?.revision], [TWO, 2]);
});

test('an unconfirmed text that a start cannot take out of the file does not run', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  await host.apply(TWO, 1000);
  await host.stop();
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const inTheWay = `${host.path}.${process.pid}.tmp`;
  mkdirSync(inTheWay);
  for (const attempt of ['first', 'second']) {
    assert.equal(await host.start(), 'one', attempt);
    assert.match(host.configuration.problems[0]!, /not in the history/);
    assert.deepEqual([host.file, host.revisions()], [TWO, ['1 found', '2 applied']]);
  }
  rmdirSync(inTheWay);
  assert.equal(await host.start(), 'one');
  assert.deepEqual([host.file, host.configuration.problems], [ONE, []]);
});

test('what was never confirmed is nothing to go back to', async (t) => {
  const host = new ConfigurationHost(t);
  await host.start();
  await host.apply(TWO);
  await host.apply(THREE, 60_000);
  const { pending } = await host.configuration.rollback(1, { ...BY, confirmMs: 60_000 });
  assert.equal(pending!.previous, 2);
});
