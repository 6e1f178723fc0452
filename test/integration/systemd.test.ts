/** The systemd units: that systemd understands them, that their commands exist, and that what they allow is enough. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { CONFIG, DaemonHost } from '../support/daemon-host.ts';
import { IpsecPeer, ipsecObstacle } from '../support/ipsec-peer.ts';
import { eventually } from '../support/patience.ts';

const ROOT = join(import.meta.dirname, '../..');
const UNITS = join(ROOT, 'appliance/systemd');
const PROGRAM = '/usr/bin/homeward';

function isMissing(program: string): false | string {
  return spawnSync(program, ['--version']).error === undefined ? false : `needs ${program}`;
}

function unit(name: string): string {
  return readFileSync(join(UNITS, name), 'utf8');
}

/** Values of a setting, one for each line that gives it. */
function settings(name: string, key: string): string[] {
  return [...unit(name).matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map((line) => line[1]!);
}

test('systemd finds nothing wrong', { skip: isMissing('systemd-analyze') }, (t: TestContext) => {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-units-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const names = readdirSync(UNITS).filter((name) => name.endsWith('.service'));
  assert.deepEqual(names.toSorted(), ['homeward-guard.service', 'homeward.service']);
  // The program is not installed where tests run.
  for (const name of names) {
    writeFileSync(join(directory, name), unit(name).replaceAll(PROGRAM, process.execPath));
  }
  mkdirSync(join(directory, 'homeward.service.d'));
  writeFileSync(join(directory, 'homeward.service.d', 'ipsec.conf'), unit('homeward-ipsec.conf'));
  const { status, stdout, stderr } = spawnSync(
    'systemd-analyze',
    ['verify', '--man=no', ...names.map((name) => join(directory, name))],
    { encoding: 'utf8', env: { ...process.env, SYSTEMD_UNIT_PATH: `${directory}:` } },
  );
  assert.equal(`${stdout}${stderr}`, '');
  assert.equal(status, 0);
});

test('their commands exist', () => {
  const commands = ['homeward.service', 'homeward-guard.service'].flatMap((name) => [
    ...settings(name, 'ExecStart'),
    ...settings(name, 'ExecReload'),
  ]);
  assert.equal(commands.length, 3);
  for (const command of commands) {
    const [program, ...words] = command.split(' ');
    assert.equal(program, PROGRAM);
    const names = words.filter((word) => /^[a-z]+$/.test(word));
    const { status, stdout } = spawnSync(process.execPath, [join(ROOT, 'src/main.ts'), ...names, '--help'], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, command);
    for (const flag of words.filter((word) => word.startsWith('--'))) {
      assert.match(stdout, new RegExp(`${flag}\\b`), command);
    }
  }
});

function capabilities(name: string): string[] {
  const [bounding] = settings(name, 'CapabilityBoundingSet');
  return bounding!.split(' ').map((capability) => capability.replace('CAP_', '+').toLowerCase());
}

test('the service may read which modules the kernel has, and cannot load one itself', () => {
  const [protectsModules] = settings('homeward.service', 'ProtectKernelModules');
  assert.equal(
    protectsModules,
    'no',
    'anything else hides /lib/modules: GRE and XFRM would seem to be missing',
  );
  for (const name of ['homeward.service', 'homeward-ipsec.conf']) {
    assert.ok(!capabilities(name).includes('+sys_module'), name);
    for (const list of settings(name, 'SystemCallFilter')) assert.doesNotMatch(list, /module|^~/, name);
  }
});

/** For setpriv. */
function privileges(names: readonly string[]): string[] {
  return [`--bounding-set=${['-all', ...names].join(',')}`, '--no-new-privs'];
}

test('the capabilities are enough for a whole life', { skip: isMissing('setpriv') }, async (t) => {
  const host = new DaemonHost(t);
  host.answer();
  const before = host.picture();
  const names = capabilities('homeward.service');
  assert.ok(names.includes('+net_admin') && !names.includes('+sys_admin'));
  const daemon = host.start(...privileges(names));
  await eventually('all tunnels are up', async () => {
    const { tunnels } = await host.forwarding();
    return tunnels.every(({ state }) => state === 'up');
  });
  const ended = new Promise((resolve) => daemon.once('close', resolve));
  await host.api.down();
  assert.equal(await ended, 0);
  assert.equal(host.picture(), before);
});

const IPSEC_TUNNEL = `
      - name: lyon-ipsec
        type: ipsec
        local: 192.0.2.1
        remote: 192.0.2.9
        ike: { local_id: gw1.example, remote_id: lyon.example, psk: { env: LYON_SECRET }, proposals: [aes256gcm16-prfsha384-ecp384] }
        driver: libipsec
  - name: dc`;

test('with the drop-in they are enough for IPsec, without it the tunnel is down and says what to do', {
  skip: isMissing('setpriv') || (ipsecObstacle() ?? false),
}, async (t) => {
  const host = new DaemonHost(t);
  Object.assign(host.environment, { LYON_SECRET: 'as long as it takes' });
  const far = host.answer();
  far.ip('link set lo up', 'address add 10.0.1.10/32 dev lo');
  const before = host.picture();
  writeFileSync(host.configPath, CONFIG.replace('\n  - name: dc', IPSEC_TUNNEL));
  const peer = new IpsecPeer({
    namespace: far.name,
    directory: join(host.directory, 'peer'),
    local: '192.0.2.9',
    remote: '192.0.2.1',
    localId: 'lyon.example',
    remoteId: 'gw1.example',
    authentication: { secret: 'as long as it takes' },
    networks: ['10.0.1.0/24'],
  });
  t.after(() => peer.kill());
  await peer.start();
  const tunnel = async () => (await host.status()).tunnels.find(({ name }) => name === 'lyon-ipsec')!;

  const without = host.start(...privileges(capabilities('homeward.service')));
  await host.forwarding();
  await eventually('it says why', async () => /CAP_SYS_ADMIN is missing/.test((await tunnel()).reason ?? ''));
  assert.match((await host.status()).problems.join('\n'), /install homeward-ipsec\.conf/);
  await host.end(without, 'SIGTERM');

  const names = ['homeward.service', 'homeward-ipsec.conf'].flatMap(capabilities);
  const daemon = host.start(...privileges(names));
  await host.forwarding();
  const isUp = eventually('the tunnel is up', async () => (await tunnel()).state === 'up');
  await isUp.catch((error: Error) => {
    throw new Error(`${error.message}:\n${host.output()}`);
  });
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
  assert.equal(host.picture(), before);
});
