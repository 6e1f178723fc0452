/**
 * What somebody may do by hand to IPsec in the kernel while homeward runs: delete an XFRM interface, set it down, rename it, flush
 * SAs or policies. A site whose SAs live without their interface cannot forge another's GRE, and every tunnel comes back by itself.
 * And what becomes of large packets where the path carries less than the uplink. Runs in the guest of `scripts/lab`.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { ipsecObstacle } from '../support/ipsec-peer.ts';
import type { SeenIp } from '../support/lab/captured-packets.ts';
import { Experiment } from '../support/lab/experiment.ts';
import { labOptions } from '../support/lab/lab-test.ts';
import { Network } from '../support/lab/network.ts';
import {
  DATA_CENTER_ADDRESSES,
  greKey,
  outer,
  outerEnds,
  SITE_ADDRESSES,
  type SiteSpec,
  UPLINK_ADDRESSES,
} from '../support/lab/sites.ts';
import { failuresOf, identicalFlows, LASTING, type Outcome, Run, runFlows } from '../support/lab/traffic.ts';
import { Lab } from '../support/lab.ts';
import { eventually } from '../support/patience.ts';
import { packet } from '../support/raw-frames.ts';

const SITES: readonly SiteSpec[] = [
  // Its peer may send whatever it likes.
  { name: 'paris', attachment: 'ipsec-kernel', ipsec: { peer: { child: 'local_ts = 0.0.0.0/0, ::/0' } } },
  { name: 'nice', attachment: 'ipsec-kernel', outer: 6 },
  { name: 'lyon', attachment: 'gre-kernel' },
  { name: 'lille', attachment: 'ipsec-gre' },
];
const NAMES = SITES.map(({ name }) => name);
const IPSEC = ['paris', 'nice', 'lille'];
const [GRE, UDP, ESP] = [47, 17, 50];
const FORGED = 10;
const UPLINK_HOP_IPV6 = '2001:db8:100::ff';
const NARROW_MTU = 1400;
/** What the default proposals leave over IPv6 of 1500 and of that: the longest block is 16 bytes. */
const [INNER_MTU, NARROW_INNER_MTU] = [1406, 1310];

/** `device HEX...`: IPv4 packets into an interface; `raw`: by the host's routes. */
const SEND = `
import socket, sys
how, packets = sys.argv[1], [bytes.fromhex(text) for text in sys.argv[2:]]
if how == 'raw':
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for data in packets: sender.sendto(data, (socket.inet_ntoa(data[16:20]), 0))
else:
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    for data in packets: sender.sendto(data, (how, 0x0800))
`;

/** Outer address of a site. */
function remoteOf(site: string): string {
  const at = NAMES.indexOf(site);
  return outerEnds(SITES[at]!, at).remote;
}

/** GRE of lyon's tunnel, with a datagram for the data centre inside. */
function greOfLyon(text: string): string {
  const at = NAMES.indexOf('lyon');
  const datagram = Buffer.concat([Buffer.alloc(8), Buffer.from(text)]);
  datagram.writeUInt16BE(5555, 0);
  datagram.writeUInt16BE(9, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  const inner = { source: SITE_ADDRESSES[0], destination: DATA_CENTER_ADDRESSES[0], protocol: UDP };
  const header = Buffer.from([0x20, 0, 8, 0, 0, 0, 0, 0]);
  header.writeUInt32BE(greKey(at), 4);
  const ends = { source: outer(at, 2), destination: UPLINK_ADDRESSES[0], protocol: GRE };
  return packet(ends, Buffer.concat([header, packet(inner, datagram)])).toString('hex');
}

const skip = ipsecObstacle();
describe('IPsec by the kernel, changed by hand', skip === undefined ? labOptions() : { skip }, () => {
  let lab: Lab;
  let network: Network;
  let experiment: Experiment;
  let talk: Run;

  before(async () => {
    lab = new Lab();
    network = await Network.create(lab, { sites: SITES, gre: { driver: 'userspace' } });
    experiment = new Experiment(network);
    await experiment.capture();
    await network.start();
    await experiment.warmUp(NAMES);
    const flows = identicalFlows(network, experiment.tokens, {
      from: NAMES,
      to: ['datacenter'],
      ...LASTING,
    });
    talk = await Run.start(network, flows);
  });
  after(() => lab?.remove());

  async function tunnelOf(site: string) {
    const tunnels = (await network.gateway.status())?.tunnels ?? [];
    return tunnels.find((tunnel) => tunnel.site === site)!;
  }

  /** How often it came in where `NAME` captures. */
  async function captured(name: string, text: string): Promise<number> {
    await lab.agent(1).captured();
    return readFileSync(join(lab.directory, `${name}.in.pcap`), 'latin1').split(text).length - 1;
  }

  function texts(what: string): string[] {
    return Array.from({ length: FORGED }, (_, at) => `${what}-${at}-end`);
  }

  async function send(from: string, how: string, what: string): Promise<void> {
    await lab.exec(from, 'python3', ['-c', SEND, how, ...texts(what).map(greOfLyon)]);
  }

  /** All flows go on; how long it took. */
  async function assertGoesOn(t: TestContext, what: string): Promise<void> {
    const began = performance.now();
    await talk.progressed(await talk.outcomes(), 5);
    t.diagnostic(`${what}: 5 answers to everybody after ${Math.round(performance.now() - began)} ms`);
    assert.ok((await talk.outcomes()).every(({ wrong }: Outcome) => wrong === 0));
  }

  /** While control cannot follow. */
  async function whileStopped(work: () => Promise<void>): Promise<void> {
    const { controlPid } = network.gateway;
    process.kill(controlPid, 'SIGSTOP');
    try {
      await work();
    } finally {
      process.kill(controlPid, 'SIGCONT');
    }
  }

  it("delivers what lyon sends, and nothing of lyon's that paris sends in its tunnel", async () => {
    await send('lyon', 'raw', 'genuine');
    await eventually(
      'it is delivered',
      async () => (await captured('host-datacenter', 'genuine-')) === FORGED,
    );
    const { device } = await tunnelOf('paris');
    const path = join(lab.directory, 'gw-paris');
    await lab.agent(1).capture([{ path, namespace: lab.name('gw'), device, link: 'ip' }]);
    await send('paris', 'eth0', 'inside');
    await eventually(
      'it comes out of the tunnel',
      async () => (await captured('gw-paris', 'inside-')) === FORGED,
    );
    await send('lyon', 'raw', 'later');
    await eventually('it is delivered', async () => (await captured('host-datacenter', 'later-')) === FORGED);
    assert.equal(await captured('gw-up0', 'inside-'), 0);
    assert.equal(await captured('host-datacenter', 'inside-'), 0);
  });

  for (const [what, command] of [
    ['deleted', (name: string) => `link del ${name}`],
    ['down', (name: string) => `link set ${name} down`],
  ] as const) {
    it(`takes nothing of paris for lyon's while its interface is ${what}`, async (t) => {
      const { device } = await tunnelOf('paris');
      await whileStopped(async () => {
        await lab.ip('gw', [command(device)]);
        await send('paris', 'eth0', `forged-${what}`);
        // It comes out of the uplink, where the data plane reads: or this shows nothing.
        await eventually(
          'it is decrypted',
          async () => (await captured('gw-up0', `forged-${what}-`)) === FORGED,
        );
        await send('lyon', 'raw', `fence-${what}`);
        await eventually(
          'what came later is delivered',
          async () => (await captured('host-datacenter', `fence-${what}-`)) === FORGED,
        );
      });
      assert.equal(await captured('host-datacenter', `forged-${what}-`), 0);
      t.diagnostic(`${FORGED} decrypted packets on the uplink, none delivered`);
      await assertGoesOn(t, what);
    });
  }

  it('makes a renamed interface as it was', async (t) => {
    const { device } = await tunnelOf('paris');
    await lab.ip('gw', [
      `link set ${device} down`,
      `link set ${device} name renamed0`,
      'link set renamed0 up',
    ]);
    await eventually(
      'it is as it was',
      async () => !(await lab.exec('gw', 'ip', ['-brief', 'link'])).includes('renamed0'),
    );
    await assertGoesOn(t, 'renamed');
    assert.equal((await tunnelOf('paris')).device, device);
  });

  for (const what of ['state', 'policy']) {
    it(`comes back when somebody has flushed everything by "ip xfrm ${what} flush"`, async (t) => {
      const began = performance.now();
      const logged = network.gateway.output.length;
      await lab.exec('gw', 'ip', ['xfrm', what, 'flush']);
      for (const tunnel of IPSEC.map((site) => network.tunnelName(site))) {
        const isSaid = (line: string) =>
          line.includes(tunnel) && line.includes('the kernel has lost its SAs, and it connects anew');
        await eventually(`${tunnel} is made anew`, () =>
          network.gateway.output.slice(logged).split('\n').some(isSaid),
        );
      }
      await assertGoesOn(t, `${what} flushed`);
      t.diagnostic(`${Math.round(performance.now() - began)} ms after the flush`);
    });
  }

  /** Datagrams that fit the tunnel, and as ESP the uplink, but not a path of 1400. */
  async function large(from: string): Promise<Outcome[]> {
    const flows = identicalFlows(network, experiment.tokens, {
      from: [from],
      to: ['datacenter'],
      kinds: ['udp'],
      count: 5,
      graceMs: 500,
      firstPort: 40_000,
      size: 1350,
    });
    return runFlows(network, flows);
  }

  /** The way to a site, and not the way back, is narrower than the uplink. */
  async function narrow(site: string): Promise<void> {
    const device = `s${NAMES.indexOf(site)}`;
    await lab.ip('net', [`route add ${remoteOf(site)} dev ${device} mtu ${NARROW_MTU}`]);
  }

  it('reaches a peer over IPv4 in fragments where the path carries less', async (t) => {
    assert.deepEqual(failuresOf(await large('paris')), []);
    assert.deepEqual(await fragments('paris'), []);
    await narrow('paris');
    assert.deepEqual(failuresOf(await large('paris')), []);
    const seen = await fragments('paris');
    t.diagnostic(`${seen.length} fragments of ESP`);
    // Of ten datagrams.
    assert.ok(seen.length >= 20 && seen.every(({ protocol }) => protocol === ESP));
  });

  async function fragments(site: string): Promise<SeenIp[]> {
    const frames = await experiment.frames(`wan-${site}`, 'in');
    return frames.filter((frame) => frame.what === 'ip').filter(({ fragment }) => fragment > 0);
  }

  it('heeds the MTU of the route to a peer over IPv6, and cannot know of a narrower path without', async (t) => {
    assert.deepEqual(failuresOf(await large('nice')), []);
    assert.equal((await tunnelOf('nice')).mtu, INNER_MTU);
    await narrow('nice');
    const lost = await large('nice');
    assert.deepEqual(
      lost.map(({ received }) => received),
      [0, 0],
    );
    await lab.ip('gw', [`route add ${remoteOf('nice')} via ${UPLINK_HOP_IPV6} dev up0 mtu ${NARROW_MTU}`]);
    await eventually('the tunnel is narrower', async () => (await tunnelOf('nice')).mtu === NARROW_INNER_MTU);
    // The sender is told, by the first of them that is lost.
    let attempts = 0;
    await eventually('all are answered', async () => {
      attempts += 1;
      return failuresOf(await large('nice')).length === 0;
    });
    t.diagnostic(`all lost; told of ${NARROW_INNER_MTU} bytes, all answered at attempt ${attempts}`);
  });

  it('leaves nothing when it is taken down', async () => {
    await talk.stop();
    assert.equal(await network.gateway.end('SIGINT'), 0);
    assert.equal((await lab.exec('gw', 'nft', ['list', 'tables'])).trim(), '');
    assert.equal((await lab.exec('gw', 'ip', ['xfrm', 'state', 'list'])).trim(), '');
    assert.equal((await lab.exec('gw', 'ip', ['xfrm', 'policy', 'list'])).trim(), '');
  });
});
