/**
 * The configuration of a running gateway: applied, confirmed, gone back. The gateway is a stand-in that can fail;
 * with a real one: test/integration/configuration.test.ts.
 */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eventually } from '../../../test/support/patience.ts';
import { pluginFolder, writePlugin } from '../../../test/support/plugin-folder.ts';
import type { Config } from '../config/config.ts';
import { ControlEvents } from '../events.ts';
import type { PlanEffect, Reevaluation } from '../live-change.ts';
import { createLogger } from '../runtime/logger.ts';
import type { Applied } from './change.ts';
import { Configuration, type RunningGateway } from './configuration.ts';
import { chooseConfig, previousOf, type StartOptions } from './starting-config.ts';

const ONE = 'version: 1   # one\ngateway: { name: one }\n';
const TWO = 'version: 1   # two\ngateway: { name: two }\n';
const THREE = 'version: 1\ngateway: { name: three }\n';
const BY = { by: 'ann', comment: '' };
const NO_EFFECT: PlanEffect = { flows: [], restartsDataPlane: false };

/** Runs whatever it is told, or fails. */
class Gateway implements RunningGateway {
  readonly events = new ControlEvents();
  readonly ran: string[] = [];
  failure: Error | undefined;
  /** What happens meanwhile. */
  meanwhile: (name: string) => void = () => {};

  /** Plugins that were read anew, and `all flows` where flows were judged anew. */
  readonly anew: string[] = [];

  async apply({ gateway }: Config, readAnew: readonly string[] = []): Promise<PlanEffect> {
    if (this.failure !== undefined) throw this.failure;
    this.anew.push(...readAnew);
    this.meanwhile(gateway.name);
    this.ran.push(gateway.name);
    return NO_EFFECT;
  }

  async preview(): Promise<PlanEffect> {
    return NO_EFFECT;
  }

  async reevaluate(): Promise<Reevaluation> {
    this.anew.push('all flows');
    return { flows: 9, ended: 2 };
  }
}

/** A file, its history, and one life after the other of a gateway that runs it. */
class Host {
  readonly directory = mkdtempSync(join(tmpdir(), 'homeward-configuration-'));
  readonly path = join(this.directory, 'homeward.yaml');
  readonly state = join(this.directory, 'state');
  readonly log: string[] = [];
  gateway = new Gateway();
  #configuration: Configuration | undefined;

  constructor(t: TestContext, text = ONE) {
    writeFileSync(this.path, text);
    t.after(async () => {
      await this.stop();
      rmSync(this.directory, { recursive: true, force: true });
    });
  }

  get configuration(): Configuration {
    return this.#configuration!;
  }

  get file(): string {
    return readFileSync(this.path, 'utf8');
  }

  /** Ends the life before, if there was one, and begins another; the name of what was started. */
  async start(options: StartOptions = {}): Promise<string> {
    await this.stop();
    const stream = { write: (line: string) => this.log.push(line) } as unknown as NodeJS.WritableStream;
    const logger = createLogger({ stream });
    this.gateway = new Gateway();
    const environment = { HOMEWARD_STATE_DIR: this.state };
    const starting = chooseConfig(this.path, logger, { environment, ...options });
    this.#configuration = new Configuration(this.path, starting, this.gateway, logger);
    return starting.loaded.config.gateway.name;
  }

  async stop(): Promise<void> {
    await this.#configuration?.close();
    this.#configuration = undefined;
  }

  apply(text: string, confirmMs?: number): Promise<Applied> {
    return this.configuration.apply(text, { ...BY, confirmMs });
  }

  /** Numbers, oldest first, with why each was made. */
  revisions(): string[] {
    return this.configuration
      .revisions()
      .map(({ number, cause }) => `${number} ${cause}`)
      .reverse();
  }
}

test('what runs already makes no revision when it is applied again, and is put back into the file', async (t) => {
  const host = new Host(t);
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
  const host = new Host(t);
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
  const host = new Host(t);
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
  const host = new Host(t);
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
  const host = new Host(t);
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

test('what waits for its confirmation and does not run any more is not confirmed', async (t) => {
  const host = new Host(t);
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

test('every text that was in the file and did not run is kept, the newest ten', async (t) => {
  const host = new Host(t);
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

test('without confirmation it goes back by itself', async (t) => {
  const host = new Host(t);
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
  const host = new Host(t);
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
  const host = new Host(t);
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
  const host = new Host(t);
  await host.start();
  await host.apply(TWO, 60_000);
  writeFileSync(host.path, THREE);
  assert.equal(await host.start(), 'three');
  assert.equal(host.configuration.show().pending, null);
  assert.deepEqual(host.revisions(), ['1 found', '2 applied', '3 found']);
});

test('an unconfirmed revision that does not start gives way to the one before', async (t) => {
  const host = new Host(t);
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
  const host = new Host(t);
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
  const host = new Host(t);
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
  const host = new Host(t);
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
  const host = new Host(t);
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
  const host = new Host(t);
  await host.start();
  await host.apply(TWO);
  await host.apply(THREE, 60_000);
  const { pending } = await host.configuration.rollback(1, { ...BY, confirmMs: 60_000 });
  assert.equal(pending!.previous, 2);
});

test('a start with a broken file runs the last good revision, and says so', async (t) => {
  const host = new Host(t);
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
  const host = new Host(t, 'nonsense: 1\n');
  await assert.rejects(host.start(), { code: 'config_invalid' });
});

test('the state directory is found in a broken file, too', async (t) => {
  const host = new Host(t);
  const other = join(host.directory, 'elsewhere');
  const named = ONE.replace('name: one', `name: one, state_dir: ${other}`);
  writeFileSync(host.path, named);
  await host.start();
  writeFileSync(host.path, `${named}nonsense: 1\n`);
  assert.equal(await host.start(), 'one');
});

test('without a state directory the gateway runs, but nothing can be applied', async (t) => {
  const host = new Host(t);
  writeFileSync(host.state, 'a file, no directory');
  assert.equal(await host.start(), 'one');
  assert.match(host.configuration.problems[0]!, /no history of the configuration is kept/);
  await assert.rejects(host.apply(TWO), { code: 'no_history' });
  assert.deepEqual([host.file, host.gateway.ran], [ONE, []]);
});

test('edits are made in the running text, and never over what somebody wrote', async (t) => {
  const host = new Host(t);
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
  const host = new Host(t);
  await host.start();
  await host.apply(TWO);
  const { configuration } = host;
  assert.deepEqual((await configuration.diff(1, 2)).lines, ['~ option gateway.name one -> two']);
  assert.deepEqual((await configuration.diff(undefined, 1)).lines, ['~ option gateway.name two -> one']);
  const { lines, effect } = await configuration.diff(undefined, { text: THREE });
  assert.deepEqual([lines, effect], [['~ option gateway.name two -> three'], NO_EFFECT]);
  await assert.rejects(configuration.diff(7, 1), { code: 'no_such_revision' });
});

function chosen(host: Host): ReturnType<typeof chooseConfig> {
  const environment = { HOMEWARD_STATE_DIR: `${host.state}` };
  const logger = createLogger({ level: 'silent' });
  return chooseConfig(host.path, logger, { environment });
}

function chosenDirectory(host: Host): string {
  return host.configuration.directory!.slice(host.state.length + 1);
}

test('a plugin is read anew without a revision, if its files are right', async (t) => {
  const folder = pluginFolder(t);
  const text = `version: 1\nplugins: [ { name: probe, from: ${folder}, options: {} } ]\n`;
  const host = new Host(t, text);
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
});

test('a change has live flows judged anew if somebody wants that', async (t) => {
  const host = new Host(t);
  await host.start();
  assert.equal((await host.apply(TWO)).reevaluated, null);
  const applied = await host.configuration.apply(THREE, { ...BY, reevaluate: true });
  assert.deepEqual(applied.reevaluated, { flows: 9, ended: 2 });
});

test('who needs no plugins is not kept waiting for them', async (t) => {
  const host = new Host(t, 'version: 1\nplugins: [ { name: probe, from: /nonexistent/probe } ]\n');
  await assert.rejects(host.start(), { code: 'config_invalid' });
  assert.equal(await host.start({ withoutPlugins: true }), 'homeward');
});
