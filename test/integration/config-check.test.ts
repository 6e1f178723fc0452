/**
 * What `config check` says of a configuration on a host, and what a start there does: the same. What would be refused is
 * refused by both with the same lines; what would only be down is down then, for the same reasons.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type TestContext, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { CONFIG, DaemonHost } from '../support/daemon-host.ts';
import { eventually } from '../support/patience.ts';

const MAIN = resolve(import.meta.dirname, '../../src/main.ts');

interface Checked {
  readonly status: number | null;
  /** Of a file that is right. */
  readonly down?: readonly string[];
  /** Of one that is not. */
  readonly error?: { readonly code: string; readonly message: string };
}

async function check(host: DaemonHost, ...flags: string[]): Promise<Checked> {
  const args = [MAIN, 'config', 'check', host.configPath, '--json', ...flags];
  const { status, stdout } = await host.namespace.attempt(process.execPath, args);
  return { status, ...JSON.parse(stdout) };
}

/** Both refuse, for the same reasons; the check with this status. */
async function bothRefuse(
  host: DaemonHost,
  lines: readonly RegExp[],
  status: number,
  ...flags: string[]
): Promise<void> {
  const checked = await check(host, ...flags);
  const { code, message } = await host.run('run', host.configPath, ...flags);
  assert.deepEqual([checked.status, checked.error?.code], [status, code], String(message));
  assert.equal(checked.error!.message, message);
  const told = String(message).split('\n');
  assert.equal(told.length, lines.length, String(message));
  for (const [at, line] of lines.entries()) assert.match(told[at]!, line);
}

/** Neither refuses; these are the reasons for what is down, in the one's answer and in the other's status. */
async function bothTell(host: DaemonHost, lines: readonly RegExp[], ...flags: string[]): Promise<void> {
  const checked = await check(host, ...flags);
  assert.deepEqual([checked.status, checked.error], [0, undefined]);
  assert.equal(checked.down!.length, lines.length, checked.down!.join('\n'));
  for (const [at, line] of lines.entries()) assert.match(checked.down![at]!, line);
  const daemon = host.start();
  await host.forwarding();
  let told: readonly string[] = [];
  await eventually('the same is down', async () => {
    told = reasons((await host.status()).problems);
    return isDeepStrictEqual(told, reasons(checked.down!));
  }).catch(() => assert.deepEqual(told, reasons(checked.down!)));
  // Nor does the answer change because it runs.
  const again = await check(host, ...flags);
  assert.deepEqual([again.status, reasons(again.down!)], [0, told]);
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
}

/** Without the remedies: homeward's own devices are among the interfaces that they name. */
function reasons(lines: readonly string[]): readonly string[] {
  return lines.map((line) => line.split(';')[0]!);
}

/** Each on a host of its own, changed so. */
const CASES: readonly (readonly [
  name: string,
  prepare: (host: DaemonHost) => void,
  expect: (host: DaemonHost) => Promise<void>,
])[] = [
  ['all is there', () => {}, (host) => bothTell(host, [])],
  [
    'a device and a route are missing',
    (host) => host.namespace.ip('link del ic0', 'route del default'),
    async (host) => {
      const lines = [
        /lyon-ic\.device: ic0 does not exist/,
        /internet\.next_hop: auto finds no default route/,
      ];
      await bothRefuse(host, lines, 2, '--strict');
      await bothTell(host, lines);
    },
  ],
  [
    'a device has no carrier',
    (host) => host.namespace.ip('link set ic1 down', 'link set ic0 up'),
    async (host) => {
      const lines = [/lyon-ic\.device: ic0 has no carrier/];
      await bothTell(host, lines, '--strict');
    },
  ],
  [
    'the host has an address on an interconnect, and lacks a route besides',
    (host) => host.namespace.ip('address add 172.20.0.1/30 dev ic0', 'route del default'),
    async (host) => {
      const mistake = /lyon-ic\.device: the host has the address 172\.20\.0\.1\/30 on ic0/;
      await bothRefuse(host, [mistake], 2);
      await bothRefuse(host, [mistake, /auto finds no default route/], 2, '--strict');
    },
  ],
  [
    'an interconnect is a port of a bridge',
    (host) => host.namespace.ip('link add br0 type bridge', 'link set ic0 master br0'),
    (host) => bothRefuse(host, [/lyon-ic\.device: ic0 is a port of bridge br0/], 2),
  ],
  [
    'the name of a TUN device is taken',
    (host) => host.namespace.ip('link add tun-dc type veth peer name other'),
    (host) => bothRefuse(host, [/dc-tun\.device: tun-dc exists and is no TUN device/], 2),
  ],
  [
    'no ports can be reserved',
    (host) => host.namespace.exec('sysctl', ['-qw', 'net.ipv4.ip_local_port_range=1024 65535']),
    (host) => bothRefuse(host, [/internet\.reserved_ports: auto finds no room/], 2),
  ],
  [
    "the API's certificate is missing",
    (host) => {
      const listen = `{ address: 192.0.2.1, port: 8443, certificate: ${host.directory}/none.pem, key: ${host.directory}/key.pem, tokens: [ { name: a, role: read, file: ${host.directory}/token } ] }`;
      writeFileSync(host.configPath, `${CONFIG}api: { listen: ${listen} }\n`);
    },
    (host) => bothRefuse(host, [/api\.listen: the certificate: .*none\.pem cannot be read/], 1),
  ],
];

for (const [name, prepare, expect] of CASES) {
  test(`config check and run agree: ${name}`, async (t: TestContext) => {
    const host = new DaemonHost(t);
    prepare(host);
    await expect(host);
  });
}
