/** Commands for a gateway on the network: a real server with TLS and tokens. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EXAMPLE_STATUS } from '../../test/fixtures/example-status.ts';
import { homewardWith, type Outcome } from '../../test/support/command-line.ts';
import { stubControl } from '../../test/support/stub-control.ts';
import { makeCertificate, SECRET, writeSecret } from '../../test/support/tls-files.ts';
import { serveApi } from '../api/server.ts';
import type { ApiHandle } from '../control/daemon.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-connection-'));
const files = { ...makeCertificate(directory, 'gateway'), other: makeCertificate(directory, 'other') };
const admin = writeSecret(join(directory, 'admin.token'), `${SECRET}-${'a'.repeat(32)}\n`);
const reader = writeSecret(join(directory, 'read.token'), `${SECRET}-${'r'.repeat(32)}\n`);
const stranger = writeSecret(join(directory, 'stranger.token'), `${SECRET}-${'s'.repeat(32)}\n`);
let server: ApiHandle;
let gateway: string;
let nobody: string;
let downs = 0;

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

before(async () => {
  const port = await freePort();
  gateway = `https://127.0.0.1:${port}`;
  nobody = `https://127.0.0.1:${await freePort()}`;
  const down = async (): Promise<void> => {
    downs++;
  };
  const listen = {
    address: '127.0.0.1',
    port,
    certificate: files.certificate,
    key: files.key,
    tokens: [
      { name: 'operator', role: 'admin' as const, file: admin },
      { name: 'monitoring', role: 'read' as const, file: reader },
    ],
  };
  const control = stubControl({ status: async () => EXAMPLE_STATUS, down });
  server = await serveApi(control, { socketPath: join(directory, 'api.sock'), listen });
});
after(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

/** Nothing that is said ever has a token in it. */
async function run(environment: NodeJS.ProcessEnv, ...args: string[]): Promise<Outcome> {
  const none = { HOMEWARD_GATEWAY: undefined, HOMEWARD_TOKEN_FILE: undefined, HOMEWARD_CA_FILE: undefined };
  const outcome = await homewardWith({ ...none, ...environment }, '', join(directory, 'nowhere'), ...args);
  assert.ok(!`${outcome.stdout}${outcome.stderr}`.includes(SECRET));
  return outcome;
}

const flags = (url: string, token: string, authority = files.certificate): string[] => [
  '--gateway',
  url,
  '--token-file',
  token,
  '--ca-file',
  authority,
];

test('a gateway on the network: by flags, and by the environment', async () => {
  const byFlags = await run({}, 'status', '--json', ...flags(gateway, reader));
  assert.equal(byFlags.status, 0, byFlags.stderr);
  assert.equal(JSON.parse(byFlags.stdout).gateway, 'gw1');
  const environment = {
    HOMEWARD_GATEWAY: gateway,
    HOMEWARD_TOKEN_FILE: admin,
    HOMEWARD_CA_FILE: files.certificate,
  };
  const down = await run(environment, 'down', '--json');
  assert.deepEqual([JSON.parse(down.stdout), downs], [{ taken_down: 'running' }, 1]);
  // A flag that means this host is stronger than the environment.
  const here = await run(environment, 'status', '--socket', join(directory, 'nobody.sock'));
  assert.match(here.stderr, /^no gateway listens on .*nobody\.sock; /);
});

test('who may not, who is not trusted, who is not there', async () => {
  const forbidden = await run({}, 'down', ...flags(gateway, reader));
  assert.deepEqual([forbidden.status, downs], [1, 1]);
  assert.match(forbidden.stderr, /needs a token of the role admin/);
  const unknown = await run({}, 'status', '--json', ...flags(gateway, stranger));
  assert.deepEqual([unknown.status, JSON.parse(unknown.stdout).error.code], [1, 'unauthorized']);
  const untrusted = await run({}, 'status', '--json', ...flags(gateway, admin, files.other.certificate));
  assert.deepEqual([untrusted.status, JSON.parse(untrusted.stdout).error.code], [1, 'not_trusted']);
  const absent = await run({}, 'status', ...flags(nobody, admin));
  assert.equal(absent.status, 1);
  assert.match(absent.stderr, /^no gateway answers at https:\/\/127\.0\.0\.1:\d+ \(ECONNREFUSED\); /);
  // What is left of a gateway here is none of theirs.
  const gone = await run({}, 'down', ...flags(nobody, admin));
  assert.deepEqual([gone.status, gone.stdout], [1, '']);
});

test('wrong usage: without TLS, without a token, with one that everybody may read', async () => {
  const open = writeSecret(join(directory, 'open.token'), SECRET);
  chmodSync(open, 0o644);
  const wrong: [args: string[], said: RegExp][] = [
    [flags('http://127.0.0.1:80', admin), /^--gateway: http:\S+ is not the place of an API; /],
    [flags(`${gateway}/v1`, admin), /^--gateway: \S+\/v1 is not the place of an API; /],
    [['--gateway', gateway], /^--gateway needs a token: /],
    [flags(gateway, join(directory, 'none')), /^--token-file: \S+none cannot be read: /],
    [flags(gateway, open), /^--token-file: everybody may use \S+; do "chmod o= \S+"/],
    [['--token-file', admin], /^--token-file is for a gateway on the network: --gateway$/m],
    [[...flags(gateway, admin), '--socket', 'x'], /cannot also be provided when using --/],
  ];
  const outcomes = await Promise.all(wrong.map(([args]) => run({}, 'status', ...args)));
  outcomes.forEach(({ status, stdout, stderr }, at) => {
    assert.deepEqual([status, stdout], [2, ''], stderr);
    assert.match(stderr, wrong[at]![1]);
  });
  const diff = await run({}, 'config', 'diff', ...flags(gateway, reader));
  assert.deepEqual([diff.status, diff.stderr.startsWith('name a file: ')], [2, true]);
});
