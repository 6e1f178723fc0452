/**
 * What somebody may do by hand to IPsec in the kernel while homeward runs: delete an XFRM interface, set it down, rename it, flush
 * SAs or policies. A site whose SAs live without their interface cannot forge another's GRE, and every tunnel comes back by itself.
 * Runs in the guest of `scripts/lab`.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { ipsecObstacle } from '../support/ipsec-peer.ts';
import { Experiment } from '../support/lab/experiment.ts';
import { labOptions } from '../support/lab/lab-test.ts';
import { Network } from '../support/lab/network.ts';
import {
  DATA_CENTER_ADDRESSES,
  greKey,
  outer,
  SITE_ADDRESSES,
  type SiteSpec,
  UPLINK_ADDRESSES,
} from '../support/lab/sites.ts';
import { identicalFlows, type Outcome, Run, runFlows } from '../support/lab/traffic.ts';
import { Lab } from '../support/lab.ts';
import { eventually, PATIENCE } from '../support/patience.ts';
import { packet } from '../support/raw-frames.ts';

const SITES: readonly SiteSpec[] = [
  // Its peer may send whatever it likes.
  { name: 'paris', attachment: 'ipsec-kernel', ipsec: { peer: { child: 'local_ts = 0.0.0.0/0, ::/0' } } },
  { name: 'lyon', attachment: 'gre-kernel' },
  { name: 'lille', attachment: 'ipsec-gre' },
];
const NAMES = SITES.map(({ name }) => name);
const IPSEC = ['paris', 'lille'];
const [GRE, UDP] = [47, 17];
const FORGED = 10;

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
      kinds: ['udp'],
      count: 1_000_000,
      intervalMs: 100 * PATIENCE,
      graceMs: 100_000,
      firstPort: 30_000,
    });
    talk = await Run.start(network, flows);
  });
  after(() => lab?.remove());

  async function deviceOf(site: string): Promise<string> {
    const tunnels = (await network.gateway.status())?.tunnels ?? [];
    return tunnels.find((tunnel) => tunnel.site === site)!.device;
  }

  /** How often it was captured on `NAME`. */
  async function captured(name: string, text: string): Promise<number> {
    await lab.agent(1).captured();
    return readFileSync(join(lab.directory, name), 'latin1').split(text).length - 1;
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
    await send('paris', 'eth0', 'inside');
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
      const device = await deviceOf('paris');
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
    const device = await deviceOf('paris');
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
    assert.equal(await deviceOf('paris'), device);
  });

  for (const what of ['state', 'policy']) {
    it(`comes back when somebody has flushed everything by "ip xfrm ${what} flush"`, async (t) => {
      const began = performance.now();
      await lab.exec('gw', 'ip', ['xfrm', what, 'flush']);
      for (const site of IPSEC) {
        await eventually(`${site} is made anew`, () =>
          network.gateway.output.includes('the kernel has lost its SAs') ? true : undefined,
        );
      }
      await assertGoesOn(t, `${what} flushed`);
      t.diagnostic(`${Math.round(performance.now() - began)} ms after the flush`);
    });
  }

  it('learns what a path carries', async (t) => {
    const at = NAMES.indexOf('paris');
    await lab.ip('net', [`link set s${at} mtu 1300`]);
    const sized = async (size: number): Promise<Outcome[]> =>
      runFlows(
        network,
        identicalFlows(network, experiment.tokens, {
          from: ['paris'],
          to: ['datacenter'],
          kinds: ['udp'],
          count: 5,
          graceMs: 500 * PATIENCE,
          firstPort: 40_000,
          size,
        }),
      );
    const outcomes = await sized(1350);
    t.diagnostic(
      `path of 1300: ${outcomes.map(({ flow, sent, received }) => `IPv${flow.family} ${received} of ${sent}`).join(', ')}`,
    );
    assert.ok(outcomes.every(({ sent, received }) => received === sent));
    await lab.ip('net', [`link set s${at} mtu 1500`]);
  });

  it('leaves nothing when it is taken down', async () => {
    await talk.stop();
    assert.equal(await network.gateway.end('SIGINT'), 0);
    assert.equal((await lab.exec('gw', 'nft', ['list', 'tables'])).trim(), '');
    assert.equal((await lab.exec('gw', 'ip', ['xfrm', 'state', 'list'])).trim(), '');
    assert.equal((await lab.exec('gw', 'ip', ['xfrm', 'policy', 'list'])).trim(), '');
  });
});
