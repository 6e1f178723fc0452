/** The daemon as a child: what is said when it cannot run, and that it never outlives its parent. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { eventually } from '../../../test/support/patience.ts';
import { Charon, endingWith } from './charon.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-charon-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** What is said of a program that is no daemon. */
async function saidOf(program: string, command: readonly string[] = []): Promise<string> {
  const said: string[] = [];
  const charon = new Charon({
    directory: join(directory, 'daemon'),
    command,
    program,
    userSpace: true,
    label: '',
    log: () => {},
    prepare: async () => {},
    attach: async () => {},
    onRunning: () => {},
    onDown: (reason) => said.push(reason),
  });
  charon.start();
  try {
    await eventually('it has failed twice', () => said.length > 1);
  } finally {
    await charon.stop();
  }
  return said[0]!;
}

describe('a daemon that cannot run', () => {
  it('is named, with what is wrong', async () => {
    assert.match(await saidOf(join(directory, 'none')), /^the IKE daemon has ended \(status 127\): .*none/);
    const program = join(directory, 'fails');
    writeFileSync(program, '#!/bin/sh\necho no such plugin >&2\nexit 3\n', { mode: 0o700 });
    assert.equal(await saidOf(program), 'the IKE daemon has ended (status 3): no such plugin');
  });

  it('also where nothing can be started at all', async () => {
    const { PATH } = process.env;
    process.env.PATH = directory;
    try {
      assert.match(await saidOf('/bin/true'), /cannot be started \(spawn setpriv ENOENT\)/);
    } finally {
      process.env.PATH = PATH;
    }
  });
});

it('a daemon whose parent was gone before it began does not begin', () => {
  const mark = join(directory, 'ran');
  const run = (parent: number) => {
    const [program, ...args] = endingWith(parent, ['touch', mark]);
    return spawnSync(program, args).status;
  };
  assert.notEqual(run(process.ppid), 0);
  assert.equal(existsSync(mark), false);
  assert.equal(run(process.pid), 0);
  assert.equal(existsSync(mark), true);
});
