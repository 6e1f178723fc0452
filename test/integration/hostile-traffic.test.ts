/**
 * Hostile traffic at a running gateway: a million random and damaged frames from a site and from the uplink, and all
 * packets of tcpdump's test captures. The gateway lives, its memory stays, and the flows of others do not notice.
 *
 * ```
 *  paris (attacks)  p0 ┐                ┌ d0  datacenter 10.50.0.10
 *                      ├── homeward ────┤
 *  lyon (works)     l0 ┘                └ up0 net: internet 203.0.113.10, GRE ends of nice; attacks too
 * ```
 *
 * lyon and paris have the same addresses.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { it, type TestContext } from 'node:test';
import type { StatusBody } from '../../src/api/schemas/gateway.ts';
import { LINKTYPE_ETHERNET } from '../../src/device/capture.ts';
import { readCapture } from '../../src/device/capture-file.ts';
import { PcapWriter } from '../../src/device/pcap.ts';
import { corpusAttack, GRE_REMOTES, siteAttack, UPLINK, uplinkAttack } from '../support/attacks.ts';
import type { Wire } from '../support/hostile-frames.ts';
import type { FlowJob, FlowResult } from '../support/lab/agent.ts';
import { HomewardProcess } from '../support/lab/homeward-process.ts';
import { Lab, labObstacle } from '../support/lab.ts';
import { eventually } from '../support/patience.ts';
import { address } from '../support/raw-frames.ts';
import { tcpdumpPackets } from '../support/tcpdump-corpus.ts';

const STORM_FRAMES = 1_000_000;
/** Both senders together; more would measure the machine, not the gateway. */
const STORM_FRAMES_A_SECOND = 36_000;
const SEEDS = [0x5eed_0001, 0x5eed_0002] as const;
const REPLAY_FRAMES_A_SECOND = 6000;
/** What two runs of a JavaScript engine may differ by. */
const FLAT_BYTES = 16 << 20;
/**
 * Share of datagrams that must arrive: all but what a machine loses that runs other things meanwhile. Among a flood
 * on the same wire a moment without the processor costs a queue of them.
 */
const DELIVERED = 0.995;
const DELIVERED_BY_UPLINK = 0.98;
const ECHO_PORT = 7;
const IPV4 = 0x0800;
const IPV6 = 0x86dd;
const ARP = 0x0806;
const FRAGMENT = 44;
const ICMPV6 = 58;
/** Bytes of a message; those of kind `fragments` are cut by the sender, and their answers by the server. */
const SIZES = { tcp: 6000, udp: 400, fragments: 1800 } as const;
const STORM = join(import.meta.dirname, '../support/frame-storm.ts');

const configuration = {
  version: 1,
  gateway: { name: 'gw' },
  sites: [
    {
      name: 'paris',
      prefixes: ['10.0.1.0/24', 'fd00:1::/64'],
      tunnels: [
        {
          name: 'paris-ic',
          type: 'interconnect',
          device: 'p0',
          interface_address: ['10.0.1.1/24', 'fd00:1::1/64'],
        },
      ],
    },
    {
      name: 'lyon',
      prefixes: ['10.0.1.0/24', 'fd00:1::/64'],
      tunnels: [
        {
          name: 'lyon-ic',
          type: 'interconnect',
          device: 'l0',
          interface_address: ['10.0.1.1/24', 'fd00:1::1/64'],
        },
      ],
    },
    {
      name: 'nice',
      prefixes: ['10.0.1.0/24', 'fd00:1::/64'],
      tunnels: [
        { name: 'nice-4', type: 'gre', local: UPLINK[0], remote: GRE_REMOTES[0], key: 7 },
        { name: 'nice-6', type: 'gre', local: UPLINK[1], remote: GRE_REMOTES[1] },
      ],
    },
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
  routes: [
    { prefix: '0.0.0.0/0', via: 'internet' },
    { prefix: '::/0', via: 'internet' },
  ],
  // So that the table fills in the first seconds: what it takes is there when memory is looked at first.
  flow_table: { max_flows: 16384 },
  plugins: [{ name: 'return-routing' }],
};

async function buildLab(lab: Lab): Promise<void> {
  await lab.addNamespaces(['gw', 'paris', 'lyon', 'dc', 'net']);
  const link = (device: string, far: string) =>
    [
      { namespace: 'gw', device },
      { namespace: far, device: 'eth0' },
    ] as const;
  await lab.addLinks([link('p0', 'paris'), link('l0', 'lyon'), link('d0', 'dc'), link('up0', 'net')]);
  const host = (addresses: readonly string[], hops: readonly string[]): string[] => [
    ...addresses.map((each) => `address add ${each} dev eth0 ${each.includes(':') ? 'nodad' : ''}`),
    ...hops.map((hop) => `route add ${hop.includes(':') ? '::/0' : '0.0.0.0/0'} via ${hop}`),
  ];
  for (const site of ['paris', 'lyon']) {
    await lab.ip(site, host(['10.0.1.10/24', 'fd00:1::10/64'], ['10.0.1.1', 'fd00:1::1']));
  }
  await lab.ip('dc', host(['10.50.0.10/16', 'fd00:50::10/48'], ['10.50.0.1', 'fd00:50::1']));
  await lab.ip(
    'net',
    host(['192.0.2.254/24', '2001:db8:2::fe/64', '203.0.113.10/32', '2001:db8:113::10/128'], []),
  );
  // The captures contain router advertisements: a host that believes them has another default route, and the
  // egress follows it.
  await lab.agent().sysctl([lab.name('gw')], { 'net.ipv6.conf.up0.accept_ra': '0' });
  await lab.ip('gw', [
    'address add 192.0.2.1/24 dev up0',
    'address add 2001:db8:2::1/64 dev up0 nodad',
    'route add default via 192.0.2.254',
    'route add default via 2001:db8:2::fe',
  ]);
}

/** Echoes that run all the time: TCP, UDP and fragmented UDP to the other private site and to the internet. */
async function startWork(lab: Lab): Promise<{ run: number; jobs: readonly FlowJob[] }> {
  const servers = [
    ['dc', '10.50.0.10'],
    ['dc', 'fd00:50::10'],
    ['net', '203.0.113.10'],
    ['net', '2001:db8:113::10'],
  ] as const;
  const jobs: FlowJob[] = [];
  for (const [label, address] of servers) {
    for (const kind of ['tcp', 'udp'] as const) {
      await lab.agent().serve({ kind, name: label, namespace: lab.name(label), address, port: ECHO_PORT });
    }
    for (const kind of ['tcp', 'udp', 'fragments'] as const) {
      const family = address.includes(':') ? 6 : 4;
      jobs.push({
        kind,
        family,
        namespace: lab.name('lyon'),
        source: family === 4 ? '10.0.1.10' : 'fd00:1::10',
        sourcePort: 40_000 + jobs.length,
        destination: address,
        destinationPort: ECHO_PORT,
        token: `${kind}-${label}-${family}-`.padEnd(32, 'lyon'),
        count: 1_000_000,
        intervalMs: 20,
        size: SIZES[kind],
        graceMs: 3000,
        // Of an identification 0 the kernel would make one of its own for each fragment.
        identification: 1,
      });
    }
  }
  return { run: await lab.agent().start(jobs), jobs };
}

async function macOf(lab: Lab, label: string, device: string): Promise<string> {
  const [link] = JSON.parse(await lab.exec(label, 'ip', ['-json', 'link', 'show', device])) as [
    { address: string },
  ];
  return link.address;
}

async function wireOf(lab: Lab, far: string, device: string): Promise<Wire> {
  return { source: await macOf(lab, far, 'eth0'), destination: await macOf(lab, 'gw', device) };
}

interface StormOptions {
  readonly lab: Lab;
  readonly from: string;
  readonly name: string;
  readonly frames: readonly Uint8Array[];
  readonly count: number;
  readonly perSecond: number;
  /** 0: the frames as they are. */
  readonly seed: number;
}

/** Sends from a namespace's `eth0`; the number of frames that left. */
async function storm(options: StormOptions): Promise<number> {
  const { lab, from, name, frames, count, perSecond, seed } = options;
  const path = join(lab.directory, `${name}.pcap`);
  const chunks: Uint8Array[] = [];
  const writer = new PcapWriter((bytes) => chunks.push(bytes), { linkType: LINKTYPE_ETHERNET });
  for (const data of frames) writer.write({ timestampNs: 0n, data });
  writeFileSync(path, Buffer.concat(chunks));
  const numbers = [count, perSecond, seed].map(String);
  const child: ChildProcess = lab.spawn(from, process.execPath, [STORM, 'eth0', path, ...numbers]);
  const [stdout, stderr] = await Promise.all([text(child.stdout!), text(child.stderr!)]);
  if (stdout === '') throw new Error(`the storm from ${from} failed: ${stderr}`);
  const { sent, refused } = JSON.parse(stdout) as { sent: number; refused: number };
  return sent - refused;
}

/** Memory that a process has for itself, bytes; the flow memory, which is a file, is not in it. */
function ownMemoryBytes(pid: number): number {
  const line = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
  return Number(line?.[1]) * 1024;
}

/** All packets that came in or were dropped. */
function taken(status: StatusBody): number {
  return [...status.tunnels, ...status.egresses].reduce(
    (sum, port) => sum + port.rxPackets + Object.values(port.drops).reduce((all, count) => all + count, 0),
    0,
  );
}

/** Not a connection was cut, not a byte was another's or missing, and datagrams arrived. */
function assertUndisturbed(jobs: readonly FlowJob[], results: readonly FlowResult[]): void {
  for (const [at, { sent, received, wrong, duplicates, error }] of results.entries()) {
    const { kind, destination } = jobs[at]!;
    const flow = `${kind} to ${destination}: ${JSON.stringify(results[at])}`;
    assert.ok(sent > 500, flow);
    assert.deepEqual({ wrong, duplicates, error }, { wrong: 0, duplicates: 0, error: null }, flow);
    const isShared = destination.startsWith('203.') || destination.startsWith('2001:');
    const share = kind === 'tcp' ? 1 : isShared ? DELIVERED_BY_UPLINK : DELIVERED;
    assert.ok(received >= sent * share, flow);
  }
}

/** Whatever was delivered to lyon is an answer to lyon's own flows, or a neighbour's question. */
function assertOnlyOwnAnswers(path: string): void {
  const servers = ['10.50.0.10', '203.0.113.10', 'fd00:50::10', '2001:db8:113::10'];
  const known = new Set(servers.map((text) => address(text).toString('hex')));
  const { packets } = readCapture(readFileSync(path));
  let answers = 0;
  for (const { data } of packets) {
    const packet = data.subarray(14);
    const type = (data[12]! << 8) | data[13]!;
    const protocol = type === IPV4 ? packet[9]! : packet[6]!;
    if (type === ARP || (type === IPV6 && protocol === ICMPV6)) continue;
    const isIpv6Fragment = type === IPV6 && protocol === FRAGMENT;
    const offsetField = type === IPV4 ? packet[6]! * 256 + packet[7]! : packet[42]! * 256 + packet[43]!;
    const isLaterFragment =
      type === IPV4 ? (offsetField & 0x1fff) !== 0 : isIpv6Fragment && (offsetField & 0xfff8) !== 0;
    const transport = packet.subarray(type === IPV4 ? 20 : isIpv6Fragment ? 48 : 40);
    const content = Buffer.from(data).toString('latin1');
    const isOwn = isLaterFragment
      ? content.includes('lyonlyon')
      : transport[0] === 0 && transport[1] === ECHO_PORT;
    assert.ok(
      isOwn && known.has(sourceOf(packet)) && !content.includes('hostile'),
      `lyon got a foreign packet: ${Buffer.from(data).toString('hex')}`,
    );
    answers++;
  }
  assert.ok(answers > 1000, `${answers} answers were captured at lyon`);
}

/** The source address of a packet, as bytes. */
function sourceOf(packet: Uint8Array): string {
  const isIpv4 = packet[0]! >> 4 === 4;
  return Buffer.from(isIpv4 ? packet.subarray(12, 16) : packet.subarray(8, 24)).toString('hex');
}

const skip = labObstacle();

it('a million hostile frames and all of tcpdump’s captures disturb nobody', {
  ...(skip ? { skip } : {}),
}, async (t: TestContext) => {
  const lab = new Lab();
  t.after(() => lab.remove());
  // First, so that a machine without the package's source says so at once.
  assert.ok(tcpdumpPackets().length > 9000);
  await buildLab(lab);
  const gateway = new HomewardProcess(lab, 'gw', configuration);
  await gateway.start();
  const { run, jobs } = await startWork(lab);
  const lyonCapture = join(lab.directory, 'lyon');
  await lab
    .agent(1)
    .capture([{ path: lyonCapture, namespace: lab.name('lyon'), device: 'eth0', link: 'ethernet' }]);
  const before = (await gateway.status())!;
  const pids = [before.pid, before.dataPlane.pid!] as const;

  const fromParis = { lab, from: 'paris', frames: siteAttack(await wireOf(lab, 'paris', 'p0')) };
  const fromNet = { lab, from: 'net', frames: uplinkAttack(await wireOf(lab, 'net', 'up0')) };
  const replay = (from: string, wire: Wire): Promise<number> => {
    const frames = corpusAttack(wire);
    return storm({
      lab,
      from,
      name: `${from}-corpus`,
      frames,
      count: frames.length,
      perSecond: REPLAY_FRAMES_A_SECOND,
      seed: 0,
    });
  };
  const send = async (share: number, seedOffset: number): Promise<number> => {
    const count = (STORM_FRAMES * share) / 2;
    const perSecond = STORM_FRAMES_A_SECOND / 2;
    const counts = await Promise.all(
      [fromParis, fromNet].map((options, at) =>
        storm({ ...options, name: `${options.from}-storm`, count, perSecond, seed: SEEDS[at]! + seedOffset }),
      ),
    );
    return counts[0]! + counts[1]!;
  };

  let sent = await send(0.25, 0);
  for (const [from, device] of [
    ['paris', 'p0'],
    ['net', 'up0'],
  ] as const) {
    sent += await replay(from, await wireOf(lab, from, device));
  }
  const memoryBefore = pids.map(ownMemoryBytes);
  sent += await send(0.75, 2);
  const memoryAfter = pids.map(ownMemoryBytes);

  await lab.agent().stop(run);
  const results = await eventually('the flows end', async () => {
    const all = await lab.agent().results(run);
    return all.every(({ done }) => done) ? all : undefined;
  });
  const after = (await gateway.status())!;
  t.diagnostic(
    `${sent} frames sent, ${taken(after) - taken(before)} taken; memory ${memoryBefore} before, ${memoryAfter} after`,
  );

  for (const { name, drops } of after.tunnels) t.diagnostic(`${name}: ${JSON.stringify(drops)}`);
  assertUndisturbed(jobs, results);
  await lab.agent(1).captured();
  await lab.agent(1).release();
  assertOnlyOwnAnswers(`${lyonCapture}.in.pcap`);
  assert.equal(after.pid, before.pid);
  assert.deepEqual(
    after.dataPlane,
    { ...before.dataPlane, state: 'forwarding', uptimeMs: after.dataPlane.uptimeMs },
    'the data plane has not been started anew',
  );
  assert.deepEqual(
    after.plugins.map(({ failures }) => failures),
    [0],
  );
  assert.ok(
    taken(after) - taken(before) > sent * 0.6,
    `${taken(after) - taken(before)} of ${sent} frames were taken`,
  );
  for (const [at, name] of ['control', 'data plane'].entries()) {
    const grown = memoryAfter[at]! - memoryBefore[at]!;
    assert.ok(grown < FLAT_BYTES, `${name} has grown by ${grown} bytes`);
  }
  const errors = gateway.output.split('\n').filter((line) => /"level":[56]0/.test(line));
  assert.deepEqual(errors, []);
  assert.equal(await gateway.end('SIGINT'), 0);
});
