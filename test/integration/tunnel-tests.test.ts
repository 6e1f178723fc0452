/** Tests of tunnels through a real gateway, what goes astray, and the commands that change and watch tunnels. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { listMismatches, testTunnels } from '../../src/api/client/tunnel-tests.ts';
import { homeward, TerminalSession } from '../support/command-line.ts';
import { DaemonHost } from '../support/daemon-host.ts';
import { NetworkNamespace } from '../support/network-namespace.ts';
import { eventually } from '../support/patience.ts';

const CONFIG = `version: 1
gateway: { name: gw1 }
sites:
  - name: lyon
    prefixes: [10.0.1.0/24]
    tunnels:
      # the first line
      - { name: lyon-1, type: interconnect, device: ic0, interface_address: 172.20.0.1/30, next_hop: 172.20.0.2 }
      - { name: lyon-2, type: interconnect, device: ic2, interface_address: [172.20.4.1/30, "fd00:4::1/126"], next_hop: 172.20.4.2, priority: 200 }
      - { name: lyon-gre, type: gre, local: 192.0.2.1, remote: 192.0.2.9 }
egress:
  - { name: internet, type: internet, device: up0 }
flow_table: { max_flows: 4096 }
`;

/** An ICMP echo reply that nobody asked for. */
const STRAY = `
import socket, struct
head = struct.pack("!BBHHH", 0, 0, 0, 7, 7)
total = sum(struct.unpack("!4H", head))
packet = struct.pack("!BBHHH", 0, 0, 0xffff - (total & 0xffff) - (total >> 16), 7, 7)
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).sendto(packet, ("203.0.113.9", 0))
`;

/** A gateway with two lines to one site, whose router answers ping. */
async function gatewayWithSite(t: TestContext): Promise<{ host: DaemonHost; site: NetworkNamespace }> {
  const host = new DaemonHost(t);
  const site = new NetworkNamespace();
  t.after(() => site.remove());
  writeFileSync(host.configPath, CONFIG);
  host.namespace.ip(
    'link add ic2 type veth peer name ic3',
    `link set ic1 netns ${site.name}`,
    `link set ic3 netns ${site.name}`,
  );
  site.exec('sysctl', ['-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0']);
  site.ip(
    'link set lo up',
    'address add 172.20.0.2/30 dev ic1',
    'address add 172.20.4.2/30 dev ic3',
    'address add fd00:4::2/126 dev ic3 nodad',
    'address add 10.0.1.7/32 dev lo',
    'link set ic1 up',
    'link set ic3 up',
    'route add default via 172.20.0.1',
  );
  site.exec('sysctl', ['-qw', 'net.ipv4.conf.ic1.rp_filter=0', 'net.ipv4.conf.ic3.rp_filter=0']);
  host.start();
  await host.forwarding();
  return { host, site };
}

test('each tunnel is tested by itself, and a reply by another one is found out', async (t) => {
  const { host, site } = await gatewayWithSite(t);
  const outcomes = async (target?: string): Promise<string[]> => {
    const results = await testTunnels(host.api, { ...(target ? { target } : {}), count: 2, timeoutMs: 1000 });
    return results.map(({ tunnel, outcome, received, sent, elsewhere }) =>
      [tunnel, outcome, `${received}/${sent}`, ...Object.entries(elsewhere).flat()].join(' '),
    );
  };
  const reason = 'lyon-gre not_sent 0/0';
  assert.deepEqual(await outcomes(), ['lyon-1 passed 2/2', 'lyon-2 passed 2/2', reason]);
  assert.deepEqual(await outcomes('10.0.1.7'), ['lyon-1 passed 2/2', 'lyon-2 passed 2/2', reason]);
  assert.deepEqual(await outcomes('10.0.1.8'), ['lyon-1 no_reply 0/2', 'lyon-2 no_reply 0/2', reason]);
  assert.deepEqual(await outcomes('fd00:4::2'), ['lyon-1 not_sent 0/0', 'lyon-2 passed 2/2', reason]);
  // Nothing of this is a flow, and nothing was dropped for want of one.
  const status = await host.status();
  assert.equal(status.flows!.current, 0);
  assert.equal(status.tunnels[1]!.drops.no_flow, undefined);

  site.ip('route add 172.20.0.1/32 via 172.20.4.1 dev ic3');
  const seen = await homeward(host.runtimeDirectory, 'tunnels', 'test', 'lyon-1', 'lyon-2');
  assert.equal(seen.status, 1);
  assert.match(seen.stdout, /^lyon-1 +lyon +172\.20\.0\.2 +wrong tunnel +0\/3 +-$/m);
  assert.match(seen.stdout, /^lyon-2 +lyon +172\.20\.4\.2 +passed +3\/3 +\d+\.\d\d ms$/m);
  assert.match(seen.stdout, /^lyon-1: 3 of the replies came by lyon-2: /m);
  assert.match(host.output(), /"tunnel":"lyon-1".*"msg":"tunnel test: replies came by other ways"/);
});

test('without a target it asks who is known there, and of a tunnel that is down it says why', async (t) => {
  const host = new DaemonHost(t);
  const site = new NetworkNamespace();
  t.after(() => site.remove());
  writeFileSync(
    host.configPath,
    CONFIG.replace('interface_address: 172.20.0.1/30, next_hop: 172.20.0.2', 'interface_address: 10.0.1.1/24')
      .replace('remote: 192.0.2.9 }', 'remote: 192.0.2.9, interface_address: 172.20.9.1/24, enabled: false }')
      .replace('max_flows: 4096 }', 'max_flows: 4096 }\nroutes: [ { prefix: 0.0.0.0/0, via: internet } ]'),
  );
  host.namespace.ip(`link set ic1 netns ${site.name}`);
  site.ip(
    'link set lo up',
    'address add 10.0.1.20/24 dev ic1',
    'link set ic1 up',
    'route add default via 10.0.1.1',
  );
  host.start();
  await host.forwarding();
  const results = () => testTunnels(host.api, { tunnels: ['lyon-1'], count: 2, timeoutMs: 2000 });

  const [nobody] = await results();
  assert.deepEqual([nobody!.outcome, nobody!.target, nobody!.targetFrom], ['not_sent', null, null]);
  assert.match(nobody!.reason!, /nobody there was heard yet/);
  // A flow needs nobody to answer.
  site.exec('python3', [
    '-c',
    'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("203.0.113.9", 53))',
  ]);
  const found = await eventually('its host is asked', async () => {
    const [result] = await results();
    return result!.outcome === 'passed' ? result : undefined;
  });
  assert.equal(found.target, '10.0.1.20');
  assert.ok(['flow', 'neighbor'].includes(found.targetFrom!), found.targetFrom!);
  // It has answered now: it is a neighbour, and needs no flow any more.
  const [neighbor] = await results();
  assert.deepEqual([neighbor!.outcome, neighbor!.targetFrom], ['passed', 'neighbor']);
  const { min, average, max } = neighbor!.rttMs!;
  for (const ms of [min, average, max]) assert.match(String(ms), /^\d+(\.\d{1,3})?$/);

  // Nobody has to be guessed when the configuration names whom to ask.
  const health = 'interface_address: 10.0.1.1/24, health: { target: 10.0.1.99 }';
  writeFileSync(
    host.configPath,
    readFileSync(host.configPath, 'utf8').replace('interface_address: 10.0.1.1/24', health),
  );
  const applied = await homeward(host.runtimeDirectory, 'config', 'apply', host.configPath);
  assert.equal(applied.status, 0, applied.stderr);
  const [named] = await results();
  assert.deepEqual(
    [named!.outcome, named!.target, named!.targetFrom],
    ['no_reply', '10.0.1.99', 'configuration'],
  );

  const down = await homeward(host.runtimeDirectory, 'tunnels', 'test', '--target', '10.0.1.20');
  assert.equal(down.status, 1);
  assert.match(down.stdout, /^lyon-1 +lyon +10\.0\.1\.20 +passed +3\/3 /m);
  assert.match(down.stdout, /^lyon-2 +lyon +- +down +0\/0 +-$/m);
  assert.match(down.stdout, /^lyon-2: .*tunnels\.lyon-2\.device: ic2 does not exist\b/m);
  assert.match(down.stdout, /^lyon-gre: it is disabled: "homeward tunnels enable lyon-gre"$/m);

  // Whoever looks at it sees the same, and since when.
  const shown = await homeward(host.runtimeDirectory, 'tunnels', 'show', 'lyon-2');
  assert.match(shown.stdout, /^state +down since \S+Z: device: ic2 does not exist\b/m);
  assert.match(shown.stdout, /^health +172\.20\.4\.2 is not asked while the tunnel is down$/m);

  const { version, dataPlane, uptimeMs } = await host.status();
  assert.match(version, /^\d+\.\d+\.\d+/);
  assert.equal(dataPlane.version, version);
  assert.ok(uptimeMs > 0 && dataPlane.uptimeMs! > 0);
  for (const [args, status] of UNKNOWN_NAMES) {
    const { status: ended, stderr } = await homeward(host.runtimeDirectory, ...args.split(' '));
    assert.equal(ended, status, `${args}: ${stderr}`);
  }
});

/** What names something that is not there is wrong usage, wherever it is named. */
const UNKNOWN_NAMES: readonly (readonly [args: string, status: number])[] = [
  ['tunnels show berlin', 2],
  ['tunnels test berlin', 2],
  ['tunnels enable berlin', 2],
  ['tunnels remove berlin', 2],
  ['sites show berlin', 2],
  ['plugins show berlin', 2],
  ['flows list --tunnel berlin', 2],
  ['flows list --plugin berlin', 2],
  ['flows show 999999', 2],
  ['flows explain 999999', 2],
  ['flows flush --id 999999', 2],
  ['flows flush --id 999999 --dry-run', 2],
  ['flows explain --from-tunnel berlin --src 10.0.1.20 --dst 203.0.113.9', 2],
  ['routes test 10.0.1.20 --from-tunnel berlin', 2],
  ['capture --tunnel berlin -o /dev/null', 2],
  ['config show --revision 99', 2],
  ['config rollback 99', 2],
  ['tunnels remove lyon-2 --confirm 10m --dry-run', 0],
];

test('a reply that nothing expects is counted, logged and listed', async (t) => {
  const { host, site } = await gatewayWithSite(t);
  site.exec('python3', ['-c', STRAY]);
  const found = await eventually('it is listed', async () => {
    const { mismatches, ...counts } = await listMismatches(host.api);
    return mismatches.length > 0 ? { last: mismatches.at(-1)!, ...counts } : undefined;
  });
  assert.equal(found.unexpectedReplies, 1);
  const { kind, tunnel, protocol, source, destination } = found.last;
  assert.deepEqual(
    [kind, tunnel, protocol, source, destination],
    ['unexpected_reply', 'lyon-1', 1, '172.20.0.2', '203.0.113.9'],
  );
  await eventually('it is logged', () =>
    /"kind":"unexpected_reply".*a packet came by a tunnel where nothing expects it/.test(host.output()),
  );
});

test('tunnels come and go by commands, and top shows them live', async (t) => {
  const { host } = await gatewayWithSite(t);
  const run = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await homeward(host.runtimeDirectory, ...args);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const gre = ['--site', 'lyon', '--type', 'gre', '--local', '192.0.2.1', '--remote', '192.0.2.8'];
  const before = readFileSync(host.configPath, 'utf8');
  await run('tunnels', 'add', 'lyon-3', ...gre, '--dry-run');
  assert.equal(readFileSync(host.configPath, 'utf8'), before);
  await run('tunnels', 'add', 'lyon-3', ...gre);
  assert.match(readFileSync(host.configPath, 'utf8'), /# the first line/);
  assert.match(await run('tunnels', 'show', 'lyon-3'), /^ends +192\.0\.2\.1 to 192\.0\.2\.8$/m);
  await run('tunnels', 'disable', 'lyon-3');
  assert.match(await run('tunnels', 'list'), /^lyon-3 .* disabled /m);
  await run('tunnels', 'enable', 'lyon-3');
  const again = await homeward(host.runtimeDirectory, 'tunnels', 'add', 'lyon-3', ...gre);
  assert.deepEqual([again.status, again.stderr], [1, 'there is a tunnel lyon-3 already\n']);
  const wrong = await homeward(
    host.runtimeDirectory,
    'tunnels',
    'add',
    'lyon-4',
    ...gre.slice(0, 6),
    '--remote',
    'x',
    '--json',
  );
  assert.equal(wrong.status, 2);
  assert.equal(JSON.parse(wrong.stdout).error.code, 'config_invalid');

  assert.match(await run('top', '--interval', '200ms'), /^TUNNEL +SITE .*\n(.*\n)*lyon-3 +lyon /m);
  const terminal = new TerminalSession(host.runtimeDirectory, ['top', '--interval', '200ms']);
  try {
    await terminal.type('lyon-3', '');
    await run('tunnels', 'remove', 'lyon-3');
    await eventually(
      'the next picture is without it',
      () => !terminal.shown.split('\u001b[H').at(-2)!.includes('lyon-3'),
    );
    await terminal.type('q ends', 'q');
    assert.equal(await terminal.end(), 0);
  } finally {
    terminal.kill();
  }
  // The terminal is as it was: the other screen is left, the cursor is back.
  assert.ok(terminal.shown.startsWith('\u001b[?1049h\u001b[?25l'));
  assert.ok(terminal.shown.endsWith('\u001b[?25h\u001b[?1049l'));
});
