/**
 * GRE between homeward and others: a raw-socket endpoint at the far end, tshark as the judge of every frame.
 *
 * ```
 *  site 0..6                     branch                  core                        gw
 *  10.0.1.10 ── tunN (moved) ── gre-raw ×7 ── eth0 ── core1 core0 ── up0 ─ homeward ── d0 ── dc 10.50.0.10
 *                                 198.51.100.N, 2001:db8:51::N       192.0.2.1
 * ```
 *
 * All sites have the same addresses, and a prefix of their own each. All tunnels have the same local ends.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { StatusBody } from '../../src/api/schemas/gateway.ts';
import { LINKTYPE_ETHERNET } from '../../src/device/capture.ts';
import { readCapture } from '../../src/device/capture-file.ts';
import { PcapWriter } from '../../src/device/pcap.ts';
import { buildPacket } from '../../src/wire/build.ts';
import { compileProgram } from '../bench/native-programs.ts';
import { dissect } from '../support/dissected.ts';
import { type GreShape, greFrom, toGateway } from '../support/hostile-frames.ts';
import type { FlowJob, FlowKind, FlowResult } from '../support/lab/agent.ts';
import { HomewardProcess } from '../support/lab/homeward-process.ts';
import { labOptions } from '../support/lab/lab-test.ts';
import { Lab } from '../support/lab.ts';
import { udp } from '../support/packets.ts';
import { eventually } from '../support/patience.ts';

const LOCAL = { 4: '192.0.2.1', 6: '2001:db8:2::1' } as const;
const DATA_CENTER = { 4: '10.50.0.10', 6: 'fd00:50::10' } as const;
const ECHO_PORT = 7;
const STORM = join(import.meta.dirname, '../support/frame-storm.ts');
const ETHERNET_BYTES = 14;
const UPLINK_MTU = 1500;
/** Of the line between core and branch, later. */
const NARROW_MTU = 1400;
/** The same, as narrow as an IPv6 network may be: less is left inside a tunnel. */
const IPV6_MINIMUM_MTU = 1280;
/** DSCP EF and ECT(0). */
const TRAFFIC_CLASS = 0xba;

interface Tunnel {
  readonly name: string;
  readonly outer: 4 | 6;
  /** Last part of the remote address. */
  readonly remote: number;
  readonly key?: number;
  readonly checksum?: boolean;
  readonly sequence?: boolean;
}

/** Every option, alone and together; `key-4` and `all-4` differ by their keys only. */
const TUNNELS: readonly Tunnel[] = [
  { name: 'plain-4', outer: 4, remote: 10 },
  { name: 'key-4', outer: 4, remote: 20, key: 7 },
  { name: 'all-4', outer: 4, remote: 20, key: 8, checksum: true, sequence: true },
  { name: 'checksum-4', outer: 4, remote: 30, checksum: true },
  { name: 'sequence-4', outer: 4, remote: 40, sequence: true },
  { name: 'plain-6', outer: 6, remote: 10 },
  { name: 'all-6', outer: 6, remote: 20, key: 4294967295, checksum: true, sequence: true },
];

const tunnelNamed = (name: string): Tunnel => TUNNELS.find((tunnel) => tunnel.name === name)!;
const remoteOf = ({ outer, remote }: Tunnel): string =>
  outer === 4 ? `198.51.100.${remote}` : `2001:db8:51::${remote}`;
const overhead = ({ outer, key, checksum, sequence }: Tunnel): number =>
  (outer === 4 ? 24 : 44) + [key !== undefined, checksum, sequence].filter(Boolean).length * 4;
/** Addresses that only this site has. */
const ownAddress = (site: number, family: 4 | 6): string =>
  family === 4 ? `10.10.${site}.10` : `fd00:10:${site}::10`;

const configuration = {
  version: 1,
  gateway: { name: 'gw' },
  sites: [
    ...TUNNELS.map((tunnel, site) => ({
      name: `site-${tunnel.name}`,
      prefixes: ['10.0.1.0/24', 'fd00:1::/64', `10.10.${site}.0/24`, `fd00:10:${site}::/64`],
      tunnels: [
        {
          name: tunnel.name,
          type: 'gre',
          local: LOCAL[tunnel.outer],
          remote: remoteOf(tunnel),
          ...(tunnel.key === undefined ? {} : { key: tunnel.key }),
          checksum: tunnel.checksum ?? false,
          sequence: tunnel.sequence ?? false,
          interface_address: ['169.254.240.0/31', 'fd00:a::/127'],
          // Every frame that the peer gets is looked at.
          health: { rate: 'none' },
        },
      ],
    })),
    {
      name: 'datacenter',
      prefixes: ['10.50.0.0/16', 'fd00:50::/48'],
      tunnels: [
        {
          name: 'dc-ic',
          type: 'interconnect',
          device: 'd0',
          interface_address: ['10.50.0.1/16', 'fd00:50::1/48'],
        },
      ],
    },
  ],
  egress: [{ name: 'internet', type: 'internet', device: 'up0' }],
  plugins: [{ name: 'return-routing' }],
};

describe('GRE with a foreign peer', labOptions(), () => {
  const lab = new Lab();
  const gateway = new HomewardProcess(lab, 'gw', configuration);
  after(() => lab.remove());

  before(async () => {
    await buildNetwork(lab);
    await gateway.start();
    await startPeers(lab);
    // Few packets wait for a neighbour: let all be known.
    await Promise.all(TUNNELS.flatMap((_, site) => [pingAll(lab, site, 4), pingAll(lab, site, 6)]));
  });

  it('carries equal addresses through every kind of tunnel, each frame as the RFCs want it', async () => {
    const captured = await capture(lab, 'kinds', async () => {
      const flows = TUNNELS.flatMap((_, site) =>
        ([4, 6] as const).flatMap((family) => [
          echoes(lab, 'udp', site, family, { count: 20, intervalMs: 5, size: 300 }),
          echoes(lab, 'tcp', site, family, { count: 5, size: 20_000 }),
        ]),
      );
      assertComplete(await runFlows(lab, flows));
      await Promise.all(TUNNELS.flatMap((_, site) => [pingAll(lab, site, 4), pingAll(lab, site, 6)]));
    });
    for (const tunnel of TUNNELS) assertFrames(`${captured.up}.in.pcap`, tunnel);
  });

  it('joins what arrives and cuts what leaves', async () => {
    for (const name of ['plain-4', 'key-4', 'all-4', 'plain-6', 'all-6']) {
      const tunnel = tunnelNamed(name);
      const site = TUNNELS.indexOf(tunnel);
      const captured = await capture(lab, `bulk-${name}`, async () => {
        const flows = ([4, 6] as const).map((family) =>
          echoes(lab, 'tcp', site, family, { count: 4, size: 400_000 }),
        );
        assertComplete(await runFlows(lab, flows));
      });
      const longest = (path: string): number =>
        Math.max(...readCapture(readFileSync(path)).packets.map(({ originalLength }) => originalLength));
      const onWire = longest(`${captured.up}.in.pcap`);
      assert.ok(onWire <= UPLINK_MTU + ETHERNET_BYTES, `${name}: a frame of ${onWire} bytes on the uplink`);
      const whole = longest(`${captured.dc}.out.pcap`);
      assert.ok(whole > 2 * UPLINK_MTU, `${name}: there is something to cut, the longest is ${whole} bytes`);
      // Packets with a checksum or a number of their own are not joined.
      const joined = longest(`${captured.dc}.in.pcap`);
      const isJoined = joined > 2 * UPLINK_MTU;
      assert.equal(
        isJoined,
        !tunnel.checksum && !tunnel.sequence,
        `${name}: the longest has ${joined} bytes`,
      );
      assertFrames(`${captured.up}.in.pcap`, tunnel);
    }
  });

  it('reassembles tunnel packets that the peer has sent in fragments', async () => {
    for (const name of ['plain-4', 'all-4', 'plain-6', 'all-6']) {
      const tunnel = tunnelNamed(name);
      const site = TUNNELS.indexOf(tunnel);
      await lab.ip(`site${site}`, ['link set tun0 mtu 1500']);
      const captured = await capture(lab, `fragments-${name}`, async () => {
        const flows = ([4, 6] as const).map((family) =>
          echoes(lab, 'udp', site, family, {
            count: 40,
            intervalMs: 5,
            size: 1500 - (family === 4 ? 28 : 48),
            graceMs: 500,
          }),
        );
        // The answers do not fit into the tunnel; the first ones tell the server so.
        for (const result of await runFlows(lab, flows)) {
          const { sent, received, wrong, duplicates } = result;
          const isRight = received >= sent - 5 && wrong === 0 && duplicates === 0;
          assert.ok(isRight, `${name}: ${JSON.stringify(result)}`);
        }
      });
      const filter =
        tunnel.outer === 4
          ? 'ip.flags.mf == 1 && ip.proto == 47'
          : 'ipv6.fraghdr.more == 1 && ipv6.fraghdr.nxt == 47';
      const fragments = dissect(`${captured.up}.out.pcap`, filter, ['frame.number']);
      assert.ok(fragments.length >= 80, `${name}: ${fragments.length} first fragments came`);
    }
  });

  it('answers keepalives, with what they carry', async () => {
    const tunnel = tunnelNamed('key-4');
    const [local, remote] = [LOCAL[4], remoteOf(tunnel)];
    // Key 7, protocol type 0, from our end to theirs.
    const payload = Uint8Array.from([0x20, 0, 0, 0, 0, 0, 0, 7]);
    const answer = buildPacket({
      source: local,
      destination: remote,
      transport: { kind: 'raw', protocol: 47, payload },
    });
    const captured = await capture(lab, 'keepalive', async () => {
      await inject(lab, [greFrom(remote, local, { key: 7 }, answer)], 5);
      await eventually('five answers', async () => {
        await lab.agent(1).captured();
        return readCapture(readFileSync(`${lab.directory}/keepalive-up.in.pcap`)).packets.length >= 5;
      });
    });
    const answers = dissect(`${captured.up}.in.pcap`, 'gre.proto == 0', ['ip.src', 'ip.dst', 'gre.key']);
    const expected = { 'ip.src': [local], 'ip.dst': [remote], 'gre.key': ['0x00000007'] };
    assert.deepEqual(answers, Array(5).fill(expected));
  });

  it('drops wrong checksums, old sequence numbers and unknown keys, by name', async () => {
    const packet = buildPacket(udp('10.0.1.10 5000', '10.50.0.10 9', 'never to arrive'));
    const wrong = (name: string, shape: GreShape): Uint8Array => {
      const tunnel = tunnelNamed(name);
      return greFrom(remoteOf(tunnel), LOCAL[tunnel.outer], shape, packet);
    };
    const spoilt = wrong('checksum-4', { checksum: true });
    spoilt[spoilt.length - 1]! ^= 1;
    // Newer numbers keep coming: after a silence any number is taken.
    const site = TUNNELS.indexOf(tunnelNamed('sequence-4'));
    const pace = { count: 100_000, intervalMs: 10, size: 100 };
    const before = await statusOf(gateway);
    const run = await startFlows(lab, [echoes(lab, 'udp', site, 4, pace)]);
    await inject(lab, [wrong('sequence-4', { sequence: 1 })], 10);
    await inject(lab, [wrong('sequence-4', {})], 11);
    await inject(lab, [spoilt], 12);
    await inject(lab, [wrong('checksum-4', {})], 13);
    await inject(lab, [wrong('key-4', { key: 9 }), wrong('key-4', {})], 14);
    await inject(lab, [wrong('plain-4', { key: 7 })], 15);
    await lab.agent().stop(run);
    assertComplete(await endOf(lab, run));
    const after = await statusOf(gateway);
    const dropped = (name: string): Record<string, number> => {
      const of = (status: StatusBody): Record<string, number> =>
        [...status.tunnels, ...status.egresses].find((port) => port.name === name)!.drops;
      const old = of(before);
      return Object.fromEntries(
        Object.entries(of(after)).flatMap(([reason, count]) => {
          const more = count - (old[reason] ?? 0);
          return more > 0 ? [[reason, more]] : [];
        }),
      );
    };
    assert.deepEqual(dropped('sequence-4'), { gre_sequence: 21 });
    assert.deepEqual(dropped('checksum-4'), { gre_checksum: 25 });
    assert.deepEqual(dropped('key-4'), {});
    assert.deepEqual(dropped('plain-4'), {});
    assert.deepEqual(dropped('internet'), { unknown_tunnel: 43 });
  });

  it('goes on with its sequence numbers when the data plane was killed', async () => {
    const tunnel = tunnelNamed('sequence-4');
    const site = TUNNELS.indexOf(tunnel);
    const captured = await capture(lab, 'restart', async () => {
      await pingAll(lab, site, 4);
      await gateway.kill('dataPlane');
      await gateway.forwarding();
      await pingAll(lab, site, 4);
    });
    const filter = `gre && ip.dst == ${remoteOf(tunnel)} && !gre.key`;
    const frames = dissect(`${captured.up}.in.pcap`, filter, ['gre.sequence_number']);
    const numbers = frames.map((frame) => Number(frame['gre.sequence_number'][0]));
    assert.ok(numbers.length >= 6 && numbers[0]! > 100, `${numbers}`);
    for (const [at, number] of numbers.entries()) {
      if (at > 0) assert.ok(number > numbers[at - 1]!, `${numbers}`);
    }
  });

  it('takes the word of routers on the way, and tells senders inside', async () => {
    const names = ['plain-4', 'all-4', 'plain-6', 'all-6'];
    await Promise.all([
      lab.ip('core', [`link set core1 mtu ${NARROW_MTU}`]),
      lab.ip('branch', [`link set eth0 mtu ${NARROW_MTU}`]),
    ]);
    for (const name of names) {
      const tunnel = tunnelNamed(name);
      const site = TUNNELS.indexOf(tunnel);
      const flows = ([4, 6] as const).map((family) => ({
        ...echoes(lab, 'tcp', site, family, { count: 6, intervalMs: 50, size: 100_000 }),
        source: ownAddress(site, family),
      }));
      const captured = await capture(lab, `narrow-${name}`, async () => {
        assertComplete(await runFlows(lab, flows));
      });
      const errors = dissect(
        `${captured.up}.out.pcap`,
        tunnel.outer === 4 ? 'icmp.type == 3 && icmp.code == 4' : 'icmpv6.type == 2',
        [tunnel.outer === 4 ? 'icmp.mtu' : 'icmpv6.mtu'],
      );
      assert.ok(errors.length > 0, `${name}: the router has complained`);
      for (const family of [4, 6] as const) {
        const route = await lab.exec('dc', 'ip', ['route', 'get', ownAddress(site, family)]);
        const expected = NARROW_MTU - overhead(tunnel);
        assert.match(route, new RegExp(`\\bmtu ${expected}\\b`), `${name}: the server knows the path's MTU`);
      }
    }
  });

  it('lets IPv6 packets of 1280 bytes pass where the path carries less', async () => {
    await Promise.all([
      lab.ip('core', [`link set core1 mtu ${IPV6_MINIMUM_MTU}`]),
      lab.ip('branch', [`link set eth0 mtu ${IPV6_MINIMUM_MTU}`]),
    ]);
    for (const name of ['plain-4', 'all-4', 'plain-6', 'all-6']) {
      const tunnel = tunnelNamed(name);
      const site = TUNNELS.indexOf(tunnel);
      const captured = await capture(lab, `minimum-${name}`, async () => {
        const pace = { count: 40, intervalMs: 5, size: IPV6_MINIMUM_MTU - 48, graceMs: 500 };
        const [result] = await runFlows(lab, [echoes(lab, 'udp', site, 6, pace)]);
        // The first answers are lost where the path becomes too narrow for them.
        const { sent, received, wrong, duplicates } = result!;
        const isRight = received >= sent - 5 && wrong === 0 && duplicates === 0;
        assert.ok(isRight, `${name}: ${JSON.stringify(result)}`);
      });
      const filter =
        tunnel.outer === 4
          ? 'ip.flags.mf == 1 && ip.flags.df == 0 && ip.proto == 47'
          : 'ipv6.fraghdr.more == 1 && ipv6.fraghdr.nxt == 47';
      const fragments = dissect(`${captured.up}.in.pcap`, filter, ['frame.len']);
      assert.ok(fragments.length >= 35, `${name}: ${fragments.length} first fragments were sent`);
      for (const fragment of fragments) {
        assert.ok(Number(fragment['frame.len'][0]) <= IPV6_MINIMUM_MTU + ETHERNET_BYTES);
      }
    }
  });
});

async function buildNetwork(lab: Lab): Promise<void> {
  await lab.addNamespaces(['gw', 'core', 'branch', 'dc', ...TUNNELS.map((_, site) => `site${site}`)]);
  await lab.agent().sysctl([lab.name('core')], {
    'net.ipv4.ip_forward': '1',
    'net.ipv6.conf.all.forwarding': '1',
  });
  await lab.addLinks([
    [
      { namespace: 'gw', device: 'up0' },
      { namespace: 'core', device: 'core0' },
    ],
    [
      { namespace: 'core', device: 'core1' },
      { namespace: 'branch', device: 'eth0' },
    ],
    [
      { namespace: 'gw', device: 'd0' },
      { namespace: 'dc', device: 'eth0' },
    ],
  ]);
  // As a wire has it: what leaves has its checksums. A raw socket does not complete those left to a device.
  await lab.exec('gw', 'ethtool', ['-K', 'up0', 'tx', 'off']);
  await lab.ip('gw', [
    'address add 192.0.2.1/24 dev up0',
    'address add 2001:db8:2::1/64 dev up0 nodad',
    'route add default via 192.0.2.254',
    'route add default via 2001:db8:2::fe',
  ]);
  await lab.ip('core', [
    'address add 192.0.2.254/24 dev core0',
    'address add 2001:db8:2::fe/64 dev core0 nodad',
    'address add 198.51.100.1/24 dev core1',
    'address add 2001:db8:51::1/64 dev core1 nodad',
  ]);
  await lab.ip('branch', [
    ...new Set(
      TUNNELS.map((tunnel) =>
        tunnel.outer === 4
          ? `address add ${remoteOf(tunnel)}/24 dev eth0`
          : `address add ${remoteOf(tunnel)}/64 dev eth0 nodad`,
      ),
    ),
    'route add default via 198.51.100.1',
    'route add default via 2001:db8:51::1',
  ]);
  await lab.ip('dc', [
    'address add 10.50.0.10/16 dev eth0',
    'address add fd00:50::10/48 dev eth0 nodad',
    'route add default via 10.50.0.1',
    'route add default via fd00:50::1',
  ]);
  for (const family of [4, 6] as const) {
    for (const kind of ['tcp', 'udp'] as const) {
      const address = DATA_CENTER[family];
      await lab.agent().serve({ kind, name: 'dc', namespace: lab.name('dc'), address, port: ECHO_PORT });
    }
  }
}

/** One endpoint for each tunnel, all in `branch`; their TUN devices are moved to the sites. */
async function startPeers(lab: Lab): Promise<void> {
  const program = compileProgram(lab.directory, 'gre-raw');
  for (const [site, tunnel] of TUNNELS.entries()) {
    const { key, checksum, sequence } = tunnel;
    const peer = lab.spawn('branch', program, [
      ...['--local', remoteOf(tunnel), '--remote', LOCAL[tunnel.outer], '--tun', `tun${site}`],
      ...(key === undefined ? [] : ['--key', String(key)]),
      ...(checksum ? ['--checksum'] : []),
      ...(sequence ? ['--sequence'] : []),
    ]);
    await new Promise((resolve, reject) => {
      peer.stdout!.once('data', resolve);
      peer.once('close', () => reject(new Error(`the peer of ${tunnel.name} has ended`)));
    });
    await lab.ip('branch', [`link set tun${site} netns ${lab.name(`site${site}`)} name tun0`]);
    await lab.ip(`site${site}`, [
      'address add 10.0.1.10/24 dev tun0',
      'address add fd00:1::10/64 dev tun0 nodad',
      `address add ${ownAddress(site, 4)}/32 dev tun0`,
      `address add ${ownAddress(site, 6)}/128 dev tun0 nodad`,
      `link set tun0 mtu ${UPLINK_MTU - overhead(tunnel)} up`,
      'route add default dev tun0',
      'route add ::/0 dev tun0',
    ]);
  }
}

let lastPort = 20_000;

/** A flow from a site to the data centre; from the same address and port in every site. */
function echoes(
  lab: Lab,
  kind: FlowKind,
  site: number,
  family: 4 | 6,
  pace: { count: number; size: number; intervalMs?: number; graceMs?: number },
): FlowJob {
  return {
    kind,
    family,
    namespace: lab.name(`site${site}`),
    source: family === 4 ? '10.0.1.10' : 'fd00:1::10',
    sourcePort: lastPort + (kind === 'tcp' ? 2 : 0) + (family === 4 ? 0 : 1),
    destination: DATA_CENTER[family],
    destinationPort: ECHO_PORT,
    token: `${TUNNELS[site]!.name}-${kind}-${family}-`.padEnd(32, '.'),
    intervalMs: 0,
    graceMs: 3000,
    ...pace,
  };
}

async function startFlows(lab: Lab, flows: readonly FlowJob[]): Promise<number> {
  lastPort += 10;
  return lab.agent().start(flows);
}

async function endOf(lab: Lab, run: number): Promise<FlowResult[]> {
  return eventually(
    'the flows end',
    async () => {
      const results = await lab.agent().results(run);
      return results.every(({ done }) => done) ? results : undefined;
    },
    30_000,
  );
}

async function runFlows(lab: Lab, flows: readonly FlowJob[]): Promise<FlowResult[]> {
  return endOf(lab, await startFlows(lab, flows));
}

function assertComplete(results: readonly FlowResult[]): void {
  for (const { sent, received, wrong, duplicates, error } of results) {
    const found = { received, wrong, duplicates, error };
    assert.deepEqual(found, { received: sent, wrong: 0, duplicates: 0, error: null });
  }
}

/** Pings whose answers carry the traffic class back. */
async function pingAll(lab: Lab, site: number, family: 4 | 6): Promise<void> {
  const source = family === 4 ? '10.0.1.10' : 'fd00:1::10';
  const options = ['-q', '-I', source, '-c', '3', '-i', '0.05', '-W', '3', '-Q', String(TRAFFIC_CLASS)];
  const output = await lab.exec(`site${site}`, 'ping', [...options, DATA_CENTER[family]]);
  assert.match(output, / 0% packet loss/);
}

/** Captures on both sides of the gateway while something runs. `.in` is what the gateway has sent. */
async function capture(
  lab: Lab,
  name: string,
  run: () => Promise<void>,
): Promise<{ readonly up: string; readonly dc: string }> {
  const paths = { up: join(lab.directory, `${name}-up`), dc: join(lab.directory, `${name}-dc`) };
  await lab.agent(1).capture([
    { path: paths.up, namespace: lab.name('core'), device: 'core0', link: 'ethernet' },
    { path: paths.dc, namespace: lab.name('dc'), device: 'eth0', link: 'ethernet' },
  ]);
  await run();
  await lab.agent(1).captured();
  await lab.agent(1).release();
  return paths;
}

/** What the gateway has sent through a tunnel, as tshark reads it. */
function assertFrames(path: string, tunnel: Tunnel): void {
  const { name, outer, key, checksum, sequence } = tunnel;
  const ends = outer === 4 ? `ip.dst == ${remoteOf(tunnel)}` : `ipv6.dst == ${remoteOf(tunnel)}`;
  const keyed = key === undefined ? '!gre.key' : `gre.key == ${key}`;
  const frames = dissect(path, `gre && ${ends} && ${keyed}`, [
    'ip.src',
    'ip.dst',
    'ipv6.src',
    'ipv6.dst',
    'ip.dsfield',
    'ipv6.tclass',
    'ip.flags.df',
    'ip.checksum.status',
    'gre.proto',
    'gre.key',
    'gre.checksum.status',
    'gre.sequence_number',
    'tcp.checksum',
    'tcp.checksum.status',
    'udp.checksum.status',
    'ip.ttl',
    '_ws.malformed',
  ]);
  assert.ok(frames.length > 30, `${name}: ${frames.length} frames`);
  const classes = new Set<number>();
  let last: number | undefined;
  for (const [at, frame] of frames.entries()) {
    const where = `${name}, frame ${at}: ${JSON.stringify(frame)}`;
    const inner = frame['gre.proto'][0] === '0x0800' ? 4 : 6;
    const sources = [...frame['ip.src'], ...frame['ipv6.src']];
    const destinations = [...frame['ip.dst'], ...frame['ipv6.dst']];
    assert.deepEqual([...sources].sort(), [LOCAL[outer], DATA_CENTER[inner]].sort(), where);
    assert.ok(destinations.includes(remoteOf(tunnel)), where);
    assert.ok(destinations.includes(inner === 4 ? '10.0.1.10' : 'fd00:1::10'), where);
    const classOf = [...frame['ip.dsfield'], ...frame['ipv6.tclass']].map(Number);
    assert.equal(classOf.length, 2, where);
    assert.equal(classOf[0], classOf[1], where);
    classes.add(classOf[0]!);
    if (outer === 4) assert.deepEqual([frame['ip.flags.df'][0], frame['ip.ttl'][0]], ['1', '64'], where);
    // Linux writes 0xffff where it computes 0, for TCP too: the same in ones' complement, and wrong to tshark.
    const tcpStates = frame['tcp.checksum'][0] === '0xffff' ? [] : frame['tcp.checksum.status'];
    const others = [frame['ip.checksum.status'], frame['udp.checksum.status'], frame['gre.checksum.status']];
    assert.ok(
      [...tcpStates, ...others.flat()].every((state) => state === '1'),
      where,
    );
    assert.equal(frame['gre.checksum.status'].length, checksum ? 1 : 0, where);
    assert.deepEqual(frame['_ws.malformed'], [], where);
    assert.equal(frame['gre.sequence_number'].length, sequence ? 1 : 0, where);
    if (!sequence) continue;
    const number = Number(frame['gre.sequence_number'][0]);
    if (last !== undefined) assert.equal(number, last + 1, where);
    last = number;
  }
  if (path.includes('kinds')) assert.ok(classes.has(TRAFFIC_CLASS), `${name}: ${[...classes]}`);
}

/** Sends packets from the branch's network, each so often. */
async function inject(lab: Lab, packets: readonly Uint8Array[], times: number): Promise<void> {
  const macOf = async (label: string, device: string): Promise<string> => {
    const text = await lab.exec(label, 'ip', ['-json', 'link', 'show', device]);
    return (JSON.parse(text) as [{ address: string }])[0].address;
  };
  const wire = { source: await macOf('branch', 'eth0'), destination: await macOf('core', 'core1') };
  const chunks: Uint8Array[] = [];
  const writer = new PcapWriter((bytes) => chunks.push(bytes), { linkType: LINKTYPE_ETHERNET });
  for (const packet of packets) writer.write({ timestampNs: 0n, data: toGateway(wire, packet) });
  const path = join(lab.directory, 'inject.pcap');
  writeFileSync(path, Buffer.concat(chunks));
  const count = String(packets.length * times);
  const answer = await lab.exec('branch', process.execPath, [STORM, 'eth0', path, count, '2000', '0']);
  assert.deepEqual(JSON.parse(answer), { sent: Number(count), refused: 0 });
}

async function statusOf(gateway: HomewardProcess): Promise<StatusBody> {
  const { status, stdout, stderr } = await gateway.command('status', '--json');
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as StatusBody;
}
