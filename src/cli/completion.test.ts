/** Completion scripts in the shells that they are for. A shell that is not installed is skipped by name. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { EXAMPLE_CONFIG } from '../../test/fixtures/example-gateway.ts';
import { EXAMPLE_STATUS } from '../../test/fixtures/example-status.ts';
import { homeward } from '../../test/support/command-line.ts';
import { stubControl } from '../../test/support/stub-control.ts';
import { serveApi } from '../api/server.ts';
import { parseConfig } from '../control/config/load.ts';
import { Overview } from '../control/overview.ts';
import commands from './commands/index.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-completion-'));
const main = resolve(import.meta.dirname, '../main.ts');
const gateway = {
  config: parseConfig(EXAMPLE_CONFIG, 'example.yaml'),
  status: async () => EXAMPLE_STATUS,
  ipsec: () => null,
};
const server = await serveApi(stubControl({ overview: new Overview(gateway) }), {
  socketPath: join(directory, 'api.sock'),
});
// What the scripts call for names, on the path of the shells.
writeFileSync(join(directory, 'homeward'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`, {
  mode: 0o755,
});
after(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

async function script(shell: string): Promise<string> {
  const { status, stdout } = await homeward(directory, 'completion', shell);
  assert.equal(status, 0);
  const path = join(directory, shell === 'zsh' ? '_homeward' : `homeward.${shell}`);
  writeFileSync(path, stdout);
  return path;
}

/** What a shell offers for each of these lines, sorted. */
type Completes = (line: string) => Promise<string[]>;

async function check(completes: Completes): Promise<void> {
  // Plugins that come with homeward have commands, too.
  const topics = [...new Set(['firewall', ...Object.keys(commands).map((id) => id.split(':')[0]!)])].sort();
  assert.deepEqual(await completes('homeward '), topics);
  assert.deepEqual(await completes('homeward tun'), ['tunnels']);
  const verbs = Object.keys(commands).flatMap((id) => (id.startsWith('tunnels:') ? [id.slice(8)] : []));
  assert.deepEqual(await completes('homeward tunnels '), verbs.sort());
  assert.deepEqual(await completes('homeward tunnels add --ty'), ['--type']);
  assert.deepEqual(await completes('homeward tunnels add --type '), [
    'device',
    'gre',
    'interconnect',
    'ipsec',
  ]);
  assert.deepEqual(await completes('homeward tunnels add --type int'), ['interconnect']);
  assert.ok((await completes('homeward tunnels show ')).includes('paris-gre'));
  assert.deepEqual(await completes('homeward sites show da'), ['datacenter']);
  assert.ok((await completes('homeward config check hom')).some((file) => file.startsWith('homeward.')));
}

/** Not `execFileSync`: the server that is asked for names runs in this process. */
async function run(shell: string, args: readonly string[]): Promise<string> {
  const path = `${directory}:${process.env.PATH}`;
  const env = { ...process.env, PATH: path, HOMEWARD_RUNTIME_DIR: directory, HOME: directory };
  const { stdout } = await promisify(execFile)(shell, args, { cwd: directory, env });
  return stdout;
}

function lines(text: string): string[] {
  return [...new Set(text.split('\n').map((line) => line.trim()))].filter((line) => line !== '').sort();
}

const missing = (shell: string): string | false =>
  ['/bin', '/usr/bin'].some((place) => existsSync(join(place, shell))) ? false : `${shell} is not installed`;

test('bash', { skip: missing('bash') }, async () => {
  const path = await script('bash');
  await check(async (line) => {
    const words = line.split(' ').map((word) => `'${word}'`);
    const call = `COMP_WORDS=(${words.join(' ')}); COMP_CWORD=${words.length - 1}; _homeward; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return lines(await run('bash', ['-c', `source ${path}; ${call}`]));
  });
});

test('fish', { skip: missing('fish') }, async () => {
  const path = await script('fish');
  await check(async (line) => {
    const offered = await run('fish', ['-c', `source ${path}; complete -C "${line}"`]);
    return lines(offered.replaceAll(/\t.*$/gm, ''));
  });
});

test('zsh', { skip: missing('zsh') }, async () => {
  await script('zsh');
  await check(async (line) => {
    const [current = '', ...before] = line.split(' ').reverse();
    // The functions of zsh's own that take what is offered, as plain lists that match the current word.
    const catchers = `
      offer() { for word in "$@"; do [[ $word == ${current}* ]] && print -r -- $word; done }
      compadd() { [[ $1 == -- ]] && shift; offer "$@" }
      _describe() { local -a found=(\${(P)2}); offer \${found%%:*} }
      _files() { offer *(N) }
      compdef() {}`;
    const words = [...before.reverse(), current].map((word) => `'${word}'`);
    const call = `fpath=(${directory} $fpath); ${catchers}; words=(${words.join(' ')}); CURRENT=${words.length}; source ${directory}/_homeward; _homeward; true`;
    return lines(await run('zsh', ['-fc', call]));
  });
});
