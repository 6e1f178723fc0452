/** The history on disk: what survives, and what a crash leaves. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { History, type NewRevision } from './history.ts';
import { historyDirectory, stageFile, writeFileAtomic } from './state-directory.ts';

function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-history-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function change(comment: string): NewRevision {
  return { cause: 'applied', by: 'ann', comment, summary: ['+ site nice'] };
}

test('revisions are numbered, and are there again', (t) => {
  const directory = join(temporaryDirectory(t), 'state', 'homeward.yaml-1');
  const first = History.open(directory);
  assert.equal(first.running, null);
  first.add('one', change('a'));
  const second = first.add('two', change('b'));
  assert.equal(second.number, 2);
  assert.throws(() => History.open(directory), { code: 'history_in_use' });
  first.close();

  const again = History.open(directory);
  assert.deepEqual(
    again.revisions.map(({ number, comment, by }) => [number, comment, by]),
    [
      [1, 'a', 'ann'],
      [2, 'b', 'ann'],
    ],
  );
  assert.deepEqual([again.running, again.text(1), again.text(2)], [2, 'one', 'two']);
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  for (const name of ['history.json', '1.yaml', '2.yaml']) {
    assert.equal(statSync(join(directory, name)).mode & 0o777, 0o600, name);
  }
  again.close();
});

test('a pending revision: confirmed, abandoned, superseded', (t) => {
  const directory = temporaryDirectory(t);
  const history = History.open(directory);
  history.add('one', change(''));
  const before = Date.now();
  history.add('two', change(''), 60_000);
  const { deadline, ...pending } = history.pending!;
  assert.deepEqual(pending, { revision: 2, previous: 1, timeoutMs: 60_000 });
  assert.ok(deadline >= before + 60_000 && deadline <= Date.now() + 60_000);
  assert.deepEqual([history.running, history.lastGood], [2, 1]);
  history.close();

  const again = History.open(directory);
  assert.equal(again.pending!.deadline, deadline, 'the deadline survives');
  again.confirm();
  assert.deepEqual([again.running, again.lastGood, again.pending], [2, 2, null]);
  again.add('three', change(''), 60_000);
  again.abandon();
  assert.deepEqual([again.running, again.pending], [2, null]);
  again.add('four', change(''), 60_000);
  again.add('two', { ...change(''), cause: 'rolled_back' });
  assert.deepEqual([again.running, again.pending], [5, null]);
  again.close();
});

test('a hundred revisions are kept, and the one to go back to', (t) => {
  const directory = temporaryDirectory(t);
  const history = History.open(directory);
  for (let number = 1; number <= 105; number++) history.add(`text ${number}`, change(''));
  assert.deepEqual([history.revisions.length, history.revisions[0]!.number], [100, 6]);
  assert.equal(readdirSync(directory).filter((name) => name.endsWith('.yaml')).length, 100);
  assert.equal(history.text(6), 'text 6');
  assert.throws(() => history.text(5), { code: 'ENOENT' });
  history.close();
});

test('what a crash has left is cleared away, and numbers go on', (t) => {
  const directory = temporaryDirectory(t);
  const history = History.open(directory);
  history.add('one', change(''));
  history.close();
  writeFileSync(join(directory, '2.yaml'), 'half of a revis');
  writeFileSync(join(directory, 'history.json.123.tmp'), '{');
  const again = History.open(directory);
  assert.deepEqual(readdirSync(directory).sort(), ['1.yaml', 'history.json', 'lock']);
  assert.equal(again.add('two', change('')).number, 2);
  assert.equal(again.text(2), 'two');
  again.close();
});

test('a damaged history is put aside whole', (t) => {
  const damages: [string, (directory: string) => void][] = [
    ['no JSON', (directory) => writeFileSync(join(directory, 'history.json'), '{"version": 1, ')],
    ['another shape', (directory) => writeFileSync(join(directory, 'history.json'), '{"version": 2}')],
    ['a text is gone', (directory) => rmSync(join(directory, '1.yaml'))],
  ];
  for (const [what, damage] of damages) {
    const parent = temporaryDirectory(t);
    const directory = join(parent, 'h');
    const history = History.open(directory);
    history.add('one', change(''));
    history.close();
    damage(directory);
    const again = History.open(directory);
    assert.match(again.damage, /is damaged; it is put aside as/, what);
    assert.deepEqual([again.running, again.revisions], [null, []], what);
    assert.ok(
      readdirSync(parent).some((name) => name.startsWith('h.damaged-')),
      what,
    );
    assert.equal(again.add('new', change('')).number, 1, what);
    again.close();
  }
});

test('files are replaced whole; mode, owner and links stay', (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'homeward.yaml');
  writeFileAtomic(path, 'one', 0o640);
  assert.equal(statSync(path).mode & 0o777, 0o640);
  symlinkSync('homeward.yaml', join(directory, 'link.yaml'));
  const staged = stageFile(join(directory, 'link.yaml'), 'two', 0o600);
  assert.equal(readFileSync(path, 'utf8'), 'one', 'nothing is in place yet');
  staged.commit();
  assert.equal(readFileSync(path, 'utf8'), 'two');
  assert.equal(statSync(path).mode & 0o777, 0o640);
  stageFile(path, 'three', 0o600).discard();
  assert.deepEqual(readdirSync(directory).sort(), ['homeward.yaml', 'link.yaml']);
  assert.equal(readFileSync(path, 'utf8'), 'two');
});

test('each configuration file has a history of its own', () => {
  const of = (path: string, dir: string | null = null): string =>
    historyDirectory(path, dir, { HOMEWARD_STATE_DIR: '/state' });
  assert.match(of('/etc/a/homeward.yaml'), /^\/state\/homeward\.yaml-[0-9a-f]{8}$/);
  assert.notEqual(of('/etc/a/homeward.yaml'), of('/etc/b/homeward.yaml'));
  assert.match(of('/etc/a/homeward.yaml', '/srv'), /^\/srv\/homeward\.yaml-/);
  assert.match(historyDirectory('/etc/x', null, {}), /^\/var\/lib\/homeward\/x-/);
});

test('without a revision, what else was kept stays', (t) => {
  const directory = join(temporaryDirectory(t), 'state', 'homeward.yaml-1');
  const history = History.open(directory);
  const kept = join(directory, 'unapplied.yaml');
  writeFileSync(kept, 'version: 1\n');
  history.close();
  assert.ok(existsSync(kept));
});
