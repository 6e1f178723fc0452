/** Commands about tunnels, against a server that answers like a gateway. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parse } from 'yaml';
import { EXAMPLE_CONFIG } from '../../test/fixtures/example-gateway.ts';
import { EXAMPLE_STATUS } from '../../test/fixtures/example-status.ts';
import { homeward, TerminalSession } from '../../test/support/command-line.ts';
import { stubControl } from '../../test/support/stub-control.ts';
import { serveApi } from '../api/server.ts';
import { parseConfig } from '../control/config/load.ts';
import type { ApiHandle, GatewayControl } from '../control/daemon.ts';
import { Overview } from '../control/overview.ts';
import type { TunnelTestRequest, TunnelTestResult } from '../control/tunnel-test/tunnel-tests.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-cli-'));
const gateway = {
  config: parseConfig(EXAMPLE_CONFIG, 'example.yaml'),
  status: async () => EXAMPLE_STATUS,
  ipsec: () => null,
};
let server: ApiHandle;
const edits: { text: string; by: string; confirmMs: number | undefined; dry: boolean | undefined }[] = [];
const tests: TunnelTestRequest[] = [];

const PASSED: TunnelTestResult = {
  tunnel: 'paris-gre',
  site: 'paris',
  target: '169.254.240.1',
  targetFrom: 'configuration',
  outcome: 'passed',
  reason: null,
  sent: 3,
  received: 3,
  elsewhere: {},
  rttMs: { min: 1, average: 2, max: 3 },
  ipsec: null,
};

before(async () => {
  const configuration = {
    edit: async (
      edit: (text: string) => string,
      request: { by: string; confirmMs?: number; validateOnly?: boolean },
    ) => {
      const { by, confirmMs, validateOnly: dry } = request;
      edits.push({ text: edit(EXAMPLE_CONFIG), by, confirmMs, dry });
      return {
        applied: dry !== true,
        revision: null,
        difference: { changes: [], lines: ['tunnels changed'], effect: null, refusal: null },
        pending: null,
        notices: [],
        unapplied: null,
        reevaluated: null,
      };
    },
  };
  const tunnelTests = {
    run: async (request: TunnelTestRequest) => {
      tests.push(request);
      return request.tunnels.map(
        (tunnel): TunnelTestResult =>
          tunnel === 'paris-gre'
            ? PASSED
            : { ...PASSED, tunnel, outcome: 'wrong_tunnel', received: 1, elsewhere: { 'lyon-ic': 2 } },
      );
    },
    mismatches: async () => ({
      unexpectedReplies: 7,
      foreignTunnelPackets: 1,
      mismatches: [
        {
          time: '2026-01-01T00:00:00.000Z',
          kind: 'foreign_tunnel' as const,
          tunnel: 'lyon-ic',
          expected: 'paris-gre',
          flow: 12,
          protocol: 6,
          source: '10.0.1.7',
          sourcePort: 5000,
          destination: 'fd00::1',
          destinationPort: 443,
        },
      ],
    }),
  };
  const given = {
    status: gateway.status,
    overview: new Overview(gateway),
    configuration,
    tunnelTests,
  } as unknown as Partial<GatewayControl>;
  server = await serveApi(stubControl(given), {
    socketPath: join(directory, 'api.sock'),
    checkAnswers: true,
  });
});
after(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

test('tunnels list and show', async () => {
  const list = await homeward(directory, 'tunnels', 'list');
  assert.equal(
    list.stdout,
    `TUNNEL     SITE   TYPE  PRIORITY  DEVICE  MTU   STATE  FLOWS  IN    OUT   DROPPED
paris-gre  paris  gre   100       eth0    1472  up     12     3000  2900  4
`,
  );
  const show = await homeward(directory, 'tunnels', 'show', 'paris-gre');
  assert.match(show.stdout, /^ends +192\.0\.2\.1 to 198\.51\.100\.10, key 7$/m);
  const missing = await homeward(directory, 'tunnels', 'show', 'berlin', '--json');
  assert.equal(missing.status, 2);
  assert.deepEqual(JSON.parse(missing.stdout), {
    error: { code: 'no_such_tunnel', message: 'there is no tunnel berlin; there is paris-gre' },
  });
});

test('sites', async () => {
  const sites = await homeward(directory, 'sites', 'list');
  assert.match(sites.stdout, /^paris +up +12 +10\.0\.1\.0\/24 +paris-gre$/m);
  const site = await homeward(directory, 'sites', 'show', 'datacenter');
  assert.match(site.stdout, /^routes +10\.60\.0\.0\/16, priority 100$/m);
});

test('tunnels test: one that passes, one that does not', async () => {
  const passed = await homeward(directory, 'tunnels', 'test');
  assert.deepEqual(passed, {
    status: 0,
    stderr: '',
    stdout: `TUNNEL     SITE   TARGET         RESULT  REPLIES  RTT
paris-gre  paris  169.254.240.1  passed  3/3      2.00 ms
`,
  });
  const args = [
    'tunnels',
    'test',
    'paris-gre',
    'other',
    '--target',
    '10.0.1.7',
    '--count',
    '5',
    '--wait',
    '1s',
  ];
  const failed = await homeward(directory, ...args);
  assert.equal(failed.status, 1);
  assert.match(failed.stdout, /^other .* wrong tunnel +1\/3/m);
  assert.match(failed.stdout, /^other: 2 of the replies came by lyon-ic: /m);
  assert.deepEqual(tests.at(-1), {
    tunnels: ['paris-gre', 'other'],
    target: '10.0.1.7',
    count: 5,
    timeoutMs: 1000,
  });
  const wrong = await homeward(directory, 'tunnels', 'test', '--target', 'nowhere');
  assert.equal(wrong.status, 2);
  assert.match(wrong.stderr, /body\.target/);
});

test('tunnels mismatches', async () => {
  const { stdout } = await homeward(directory, 'tunnels', 'mismatches');
  assert.match(stdout, /^7 replies that nothing expects; of the examined ones, 1 /);
  assert.match(stdout, /lyon-ic +tcp +10\.0\.1\.7:5000 +\[fd00::1\]:443 +looks like flow 12 of paris-gre$/m);
});

test('tunnels add, remove, enable, disable are edits of the configuration', async () => {
  const gre = ['--site', 'paris', '--type', 'gre', '--local', '192.0.2.1', '--remote', '198.51.100.12'];
  await homeward(directory, 'tunnels', 'add', 'paris-2', ...gre, '--key', '9', '--confirm', '10m');
  const added = edits.pop()!;
  assert.equal(added.confirmMs, 600_000);
  assert.deepEqual(parse(added.text).sites[0].tunnels.at(-1), {
    name: 'paris-2',
    type: 'gre',
    local: '192.0.2.1',
    remote: '198.51.100.12',
    key: 9,
  });
  await homeward(directory, 'tunnels', 'disable', 'paris-gre', '--dry-run');
  const disabled = edits.pop()!;
  assert.equal(disabled.dry, true);
  assert.equal(parse(disabled.text).sites[0].tunnels[0].enabled, false);
  const refused = await homeward(directory, 'tunnels', 'remove', 'paris-gre');
  assert.deepEqual([refused.status, edits.length], [1, 0]);
  assert.match(refused.stderr, /the only tunnel of site paris/);
  const removed = await homeward(directory, 'tunnels', 'remove', 'paris-gre', '--with-site');
  assert.equal(removed.stdout, 'tunnels changed\n');
  assert.equal(parse(edits.pop()!.text).sites[0].name, 'lyon');
});

test('tunnels add makes IPsec tunnels, by paths of secrets', async () => {
  const ends = ['--site', 'paris', '--type', 'ipsec', '--local', '192.0.2.1', '--remote', 'any'];
  const ids = ['--local-id', 'gw1.example', '--remote-id', 'paris.example'];
  const psk = ['--psk-file', '/etc/homeward/secrets/paris', '--ike-proposal', 'aes256-sha256-modp2048'];
  await homeward(directory, 'tunnels', 'add', 'paris-2', ...ends, ...ids, ...psk, '--dry-run');
  assert.deepEqual(parse(edits.pop()!.text).sites[0].tunnels.at(-1), {
    name: 'paris-2',
    type: 'ipsec',
    local: '192.0.2.1',
    remote: 'any',
    ike: {
      local_id: 'gw1.example',
      remote_id: 'paris.example',
      psk: { file: '/etc/homeward/secrets/paris' },
      proposals: 'aes256-sha256-modp2048',
    },
  });
  const files = ['--certificate', '/etc/homeward/gw.pem', '--certificate-key', '/etc/homeward/gw.key'];
  const half = await homeward(directory, 'tunnels', 'add', 'paris-2', ...ends, ...ids, ...files);
  assert.match(half.stderr, /^missing: --ca;/);
  const more = ['--ca', '/etc/homeward/ca.pem', '--esp-proposal', 'aes256gcm16', '--start', 'respond'];
  await homeward(directory, 'tunnels', 'add', 'paris-2', ...ends, ...ids, ...files, ...more, '--dry-run');
  const { ike, child } = parse(edits.pop()!.text).sites[0].tunnels.at(-1);
  assert.deepEqual(
    [ike.certificate, ike.start, child],
    [
      { file: '/etc/homeward/gw.pem', key: '/etc/homeward/gw.key', ca: '/etc/homeward/ca.pem' },
      'respond',
      { proposals: 'aes256gcm16' },
    ],
  );
  const none = await homeward(directory, 'tunnels', 'add', 'paris-2', ...ends, ...ids);
  assert.match(none.stderr, /^missing: --psk-file;/);
});

test('tunnels add: without a terminal it names what is missing, on one it asks', async () => {
  const missing = await homeward(directory, 'tunnels', 'add', '--type', 'gre');
  assert.equal(missing.status, 2);
  assert.match(missing.stderr, /^missing: --site, NAME, --local, --remote;/);

  const terminal = new TerminalSession(directory, ['tunnels', 'add', '--site', 'lyon']);
  try {
    await terminal.type('Name of the tunnel: ', 'lyon 2\r');
    await terminal.type('please', '');
    await terminal.type('Name of the tunnel: ', 'lyon-2\r');
    await terminal.type('Type (gre, ipsec, interconnect, device): ', 'interconnect\r');
    await terminal.type('Interface: ', 'eth1.30\r');
    await terminal.type('with prefix length: ', '172.20.1.1\r');
    await terminal.type('such as 172.20.0.1/30', '');
    await terminal.type('with prefix length: ', '172.20.1.1/30\r');
    await terminal.type('on link): ', '\r');
    assert.equal(await terminal.end(), 0);
  } finally {
    terminal.kill();
  }
  assert.deepEqual(parse(edits.pop()!.text).sites[1].tunnels.at(-1), {
    name: 'lyon-2',
    type: 'interconnect',
    device: 'eth1.30',
    interface_address: '172.20.1.1/30',
  });
});
