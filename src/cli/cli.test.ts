import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EXAMPLE_CONFIG } from '../../test/fixtures/example-gateway.ts';
import { EXAMPLE_STATUS } from '../../test/fixtures/example-status.ts';
import { homeward, homewardReading, TerminalSession } from '../../test/support/command-line.ts';
import { stubControl } from '../../test/support/stub-control.ts';
import { serveApi } from '../api/server.ts';
import type { ApiHandle } from '../control/daemon.ts';
import commands from './commands/index.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-cli-'));
const socket = join(directory, 'api.sock');
const good = join(directory, 'good.yaml');
const bad = join(directory, 'bad.yaml');
let server: ApiHandle;
let downs = 0;

before(async () => {
  writeFileSync(good, EXAMPLE_CONFIG.replace('/run/homeward/api.sock', socket));
  writeFileSync(
    bad,
    EXAMPLE_CONFIG.replace('10.50.0.0/16', '10.50.1.0/16').replace('device: wg0', 'devise: wg0'),
  );
  const down = async (): Promise<void> => {
    downs++;
  };
  server = await serveApi(stubControl({ status: async () => EXAMPLE_STATUS, down }), { socketPath: socket });
});
after(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

test('config schema: JSON, asked for or not', async () => {
  const plain = await homeward(directory, 'config', 'schema');
  const asked = await homeward(directory, 'config', 'schema', '--json');
  assert.deepEqual([plain.status, asked.status], [0, 0]);
  assert.equal(JSON.parse(plain.stdout).type, 'object');
  assert.deepEqual(JSON.parse(asked.stdout), JSON.parse(plain.stdout));
});

test('config check: a good file', async () => {
  const { status, stdout } = await homeward(directory, 'config', 'check', good);
  assert.equal(status, 0);
  assert.equal(stdout.match(/ambiguous/g)?.length, 2, 'once with its reason, once in the sum');
  assert.match(stdout, /^ {2}10\.0\.1\.0\/24 belongs to paris and lyon\. .* ambiguous and dropped/m);
  assert.match(stdout, /good\.yaml is right: 3 sites, 3 tunnels, 1 egress\.\n$/);
  // Wherever this test runs.
  assert.match(stdout, /good\.yaml:25:46: sites\.datacenter\.tunnels\.dc-wg\.device: wg0 does not exist; /);
});

test('config check: the standard input', async () => {
  const right = await homewardReading(EXAMPLE_CONFIG, directory, 'config', 'check', '-');
  assert.equal(right.status, 0);
  assert.match(right.stdout, /^standard input:25:46: .*dc-wg\.device: wg0 does not exist; /m);
  assert.match(right.stdout, /^standard input is right: 3 sites, 3 tunnels, 1 egress\.$/m);
  const wrong = await homewardReading('version: 2\n', directory, 'config', 'check', '-');
  assert.deepEqual([wrong.status, wrong.stdout], [2, '']);
  assert.match(wrong.stderr, /^standard input:1:10: version: /);
});

test('config check: what is missing on this host is wrong in a strict check', async () => {
  const { status, stderr } = await homeward(directory, 'config', 'check', '--strict', good);
  assert.equal(status, 2);
  assert.match(stderr, /good\.yaml:25:46: sites\.datacenter\.tunnels\.dc-wg\.device: wg0 does not exist; /);
});

test('config check: a bad file, as lines and as JSON', async () => {
  const lines = [
    `${bad}:23:16: sites.datacenter.prefixes[0]: 10.50.1.0/16 has bits set behind its length; write 10.50.0.0/16`,
    `${bad}:25:9: sites.datacenter.tunnels.dc-wg.device: is missing; write a name as \`ip link\` shows it, such as eth0`,
    `${bad}:25:38: sites.datacenter.tunnels.dc-wg: devise is not a known key; did you mean device?`,
  ];
  const plain = await homeward(directory, 'config', 'check', bad);
  assert.deepEqual(plain, { status: 2, stdout: '', stderr: `${lines.join('\n')}\n` });
  const json = await homeward(directory, 'config', 'check', bad, '--json');
  assert.equal(json.status, 2);
  const { error } = JSON.parse(json.stdout);
  assert.equal(error.code, 'config_invalid');
  assert.equal(error.message, lines.join('\n'));
  assert.equal(error.problems.length, 3);
});

test('status: for people, and as JSON', async () => {
  const plain = await homeward(directory, 'status');
  assert.deepEqual(plain, {
    status: 0,
    stderr: '',
    stdout: `gateway     gw1 (homeward 1.2.3, pid 100, up 5s)
data plane  forwarding (homeward 1.2.2, pid 101, up 1h02m, restarts 1)
flows       12 of 262144

PORT       TYPE    SITE   STATE  FLOWS  IN    OUT   DROPPED
paris-gre  gre     paris  up     12     3000  2900  4
internet   egress  -      down   0      2900  3000  0

DROPPED AT  REASON       PACKETS
paris-gre   no_flow      3
paris-gre   ttl_expired  1

What is not as the configuration has it:
homeward.yaml:9:3: egress.internet: something that the host lacks

Notices:
homeward.yaml:7:3: sites.a: something worth knowing
`,
  });
  const json = await homeward(directory, 'status', '--json', '--config', good);
  assert.equal(json.status, 0);
  assert.deepEqual(JSON.parse(json.stdout), EXAMPLE_STATUS);
});

test('status: nobody there', async () => {
  const { status, stderr } = await homeward(directory, 'status', '--socket', join(directory, 'nobody.sock'));
  assert.equal(status, 1);
  assert.match(stderr, /^no gateway listens on .*nobody\.sock; .*homeward run.*\n$/);
  const json = await homeward(directory, 'status', '--json', '--socket', join(directory, 'nobody.sock'));
  assert.equal(json.status, 1);
  assert.equal(JSON.parse(json.stdout).error.code, 'not_running');
});

test('down: asks the running gateway', async () => {
  const { status, stdout } = await homeward(directory, 'down', '--json');
  assert.equal(status, 0);
  assert.deepEqual(JSON.parse(stdout), { taken_down: 'running' });
  assert.equal(downs, 1);
});

test('run: a wrong configuration is told before anything is done', async () => {
  const { status, stderr } = await homeward(join(directory, 'other'), 'run', '--config', bad);
  assert.equal(status, 2);
  assert.match(stderr, /bad\.yaml:23:16: sites\.datacenter\.prefixes\[0\]: 10\.50\.1\.0\/16 has bits set/);
});

test('wrong usage ends with 2', async () => {
  const wrong = [
    ['bogus'],
    ['config', 'check'],
    ['status', '--bogus'],
    ['down', 'now'],
    ['status', '--timeout', '3'],
  ];
  const outcomes = await Promise.all(wrong.map((args) => homeward(directory, ...args)));
  outcomes.forEach(({ status, stdout }, at) => {
    assert.deepEqual([status, stdout], [2, ''], wrong[at]!.join(' '));
  });
  assert.equal(outcomes[0]!.stderr.trim(), 'bogus is not a command; "homeward --help" lists them');
  const told: [string[], string][] = [
    [
      ['tunnels', 'list', 'extra'],
      'tunnels list takes no argument, and was given extra; see "homeward tunnels list --help"',
    ],
    [['tunels', 'list'], 'tunels list is not a command; did you mean "homeward tunnels list"?'],
    [
      ['config', 'apply', '/none/there.yaml'],
      '/none/there.yaml cannot be read: there is no such file; write the path of one that exists',
    ],
    [
      ['status', '--socket', `/${'x'.repeat(200)}`],
      `/${'x'.repeat(200)} is too long for a socket; a path has at most 107 bytes`,
    ],
  ];
  for (const [args, text] of told) assert.equal((await homeward(directory, ...args)).stderr.trim(), text);
  const json = await homeward(directory, 'status', '--json', '--bogus');
  assert.equal(json.status, 2);
  assert.equal(JSON.parse(json.stdout).error.code, 'wrong_usage');
});

test('every command has help with an example', async () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/command-line.md'), 'utf8');
  for (const [id, command] of Object.entries(commands)) {
    assert.ok(command.summary, id);
    const isShown = page.includes(`| \`${id.replaceAll(':', ' ')}\` | ${command.summary} |`);
    assert.ok(isShown || 'hidden' in command, `docs/command-line.md lacks ${id}`);
    const examples = (command.examples ?? []) as string[];
    const call = `<%= config.bin %> ${id.replaceAll(':', ' ')}`;
    assert.ok(
      examples.some((example) => example.includes(call)),
      `${id} has no example`,
    );
  }
  for (const args of [
    ['tunnels', 'add', '--help'],
    ['help', 'tunnels', 'add'],
  ]) {
    const { status, stdout } = await homeward(directory, ...args);
    assert.equal(status, 0);
    assert.match(stdout, /EXAMPLES\n {2}\$ homeward tunnels add/);
    assert.match(stdout, /--json/);
  }
});

test('colours are for terminals, unless NO_COLOR is set', async () => {
  for (const [extra, isColoured] of [
    [{}, true],
    [{ NO_COLOR: '1' }, false],
  ] as const) {
    const terminal = new TerminalSession(directory, ['status'], extra);
    assert.equal(await terminal.end(), 0, terminal.shown);
    assert.equal(terminal.shown.includes('\u001b[32mforwarding\u001b[39m'), isColoured);
  }
});
