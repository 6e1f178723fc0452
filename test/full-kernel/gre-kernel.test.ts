/**
 * GRE by the kernel at both ends: interfaces that homeward makes, over IPv4 and IPv6, for sites with the same addresses.
 * The sites speak all the time, also while nobody runs, while interfaces are made, after a crash and while everything is
 * taken down: whatever the gateway's host makes of that is captured. Runs in the guest of `scripts/lab`.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { stringify } from 'yaml';
import { applyConfig } from '../../src/api/client/config.ts';
import { ApiClient } from '../../src/api/client.ts';
import { PROTOCOL_GRE, PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from '../../src/wire/packet.ts';
import { Experiment } from '../support/lab/experiment.ts';
import { assertComplete, labOptions } from '../support/lab/lab-test.ts';
import { Network } from '../support/lab/network.ts';
import { gatewayConfiguration, greKey, type SiteSpec, UPLINK_ADDRESSES } from '../support/lab/sites.ts';
import { identicalFlows, LASTING, Run, runFlows } from '../support/lab/traffic.ts';
import { Lab } from '../support/lab.ts';
import { eventually, PATIENCE } from '../support/patience.ts';

const SITES: readonly SiteSpec[] = [
  { name: 'paris', attachment: 'gre-kernel' },
  { name: 'lyon', attachment: 'gre-kernel', gre: { checksum: true, sequence: true } },
  { name: 'nice', attachment: 'gre-kernel', outer: 6 },
  { name: 'lille', attachment: 'gre-kernel', outer: 6, gre: { checksum: true, sequence: true } },
];
const NAMES = SITES.map(({ name }) => name);
const WITH_SEQUENCE = new Set(SITES.flatMap(({ name, gre }) => (gre?.sequence ? [name] : [])));
const DESTINATIONS = ['datacenter', 'internet'];
const EXCHANGES = 5;
const GRE = { driver: 'kernel' } as const;

interface ShownLink {
  readonly ifname: string;
  readonly ifindex: number;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly linkinfo?: { readonly info_kind?: string; readonly info_data?: Readonly<Record<string, unknown>> };
}

describe('GRE by the kernel', labOptions(), () => {
  let lab: Lab;
  let network: Network;
  let experiment: Experiment;
  let linksBefore: string[];
  let talk: Run;

  before(async () => {
    lab = new Lab();
    network = await Network.create(lab, { sites: SITES, gre: GRE });
    experiment = new Experiment(network);
    linksBefore = (await links()).map(({ ifname }) => ifname);
    await experiment.capture();
    const flows = identicalFlows(network, experiment.tokens, {
      from: NAMES,
      to: DESTINATIONS,
      ...LASTING,
    });
    talk = await Run.start(network, flows);
    await network.start();
    await experiment.warmUp(NAMES);
  });
  after(() => lab?.remove());

  async function links(): Promise<ShownLink[]> {
    return JSON.parse(await lab.exec('gw', 'ip', ['-json', '-details', 'link', 'show'])) as ShownLink[];
  }

  async function made(): Promise<ShownLink[]> {
    return (await links()).filter(({ ifname }) => !linksBefore.includes(ifname));
  }

  it('makes an interface for each tunnel, and says which driver does it', async () => {
    const status = await network.gateway.status();
    const shown = await made();
    assert.equal(shown.length, SITES.length);
    for (const [at, { name, outer = 4, gre }] of SITES.entries()) {
      const tunnel = status?.tunnels.find(({ site }) => site === name);
      assert.deepEqual(tunnel?.driver, { name: 'kernel', why: 'the configuration says so' });
      assert.equal(tunnel.state, 'up');
      const link = shown.find(({ ifname }) => ifname === tunnel.device);
      assert.equal(link?.linkinfo?.info_kind, outer === 4 ? 'gre' : 'ip6gre');
      assert.ok(link.flags.includes('UP'));
      // 1500 bytes less the outer header, GRE's, and its options.
      assert.equal(link.mtu, 1500 - (outer === 4 ? 20 : 40) - 4 - 4 * (gre === undefined ? 1 : 3));
      const data = link.linkinfo.info_data ?? {};
      assert.equal(data.local, UPLINK_ADDRESSES[outer === 4 ? 0 : 1]);
      assert.equal(data.ikey, `0.0.${greKey(at) >> 8}.${greKey(at) & 255}`);
      for (const option of ['icsum', 'ocsum', 'iseq', 'oseq'])
        assert.equal(data[option] ?? false, gre !== undefined, option);
    }
  });

  it('answers TCP, UDP, ICMP and fragments, to the internet and to the data centre', async () => {
    const flows = identicalFlows(network, experiment.tokens, {
      from: NAMES,
      to: DESTINATIONS,
      count: EXCHANGES,
    });
    await assertComplete(network, await runFlows(network, flows));
  });

  it('goes on after both processes were killed, with the same interfaces', async () => {
    const interfaces = (await made()).map(({ ifindex }) => ifindex);
    await network.gateway.kill('both');
    const dead = await talk.outcomes();
    await network.gateway.start();
    await talk.progressed(dead, EXCHANGES);
    assert.deepEqual(
      (await made()).map(({ ifindex }) => ifindex),
      interfaces,
    );
  });

  it('tells nobody outside of a packet that the path of a tunnel over IPv6 does not carry', async () => {
    const from = ['nice'];
    await lab.ip('net', [`link set s${NAMES.indexOf('nice')} mtu 1300`]);
    const flows = identicalFlows(network, experiment.tokens, {
      from,
      to: DESTINATIONS,
      families: [6],
      kinds: ['udp'],
      count: 20,
      graceMs: 200,
      firstPort: 40_000,
      size: 1400,
    });
    const outcomes = await runFlows(network, flows);
    // The kernel has learnt of it, or all would have been answered.
    assert.ok(outcomes.every(({ received, sent }) => received < sent));
    await lab.ip('net', [`link set s${NAMES.indexOf('nice')} mtu 1500`]);
  });

  it('changes to the other driver and back while it runs, and flows go on', async () => {
    const api = new ApiClient(join(network.gateway.runtimeDirectory, 'api.sock'), 10_000 * PATIENCE);
    for (const [driver, interfaces] of [
      ['userspace', 0],
      ['kernel', SITES.length],
    ] as const) {
      const before = await talk.outcomes();
      const gre = { ...GRE, driver };
      await applyConfig(api, {
        text: stringify(gatewayConfiguration({ ...network.spec, gre }, lab.directory)),
      });
      // Sequence numbers begin anew with another driver, and Linux takes them for late ones.
      await eventually('flows go on', async () =>
        (await talk.outcomes()).every(
          ({ received, flow }, at) =>
            WITH_SEQUENCE.has(flow.from) || received >= before[at]!.received + EXCHANGES,
        ),
      );
      assert.equal((await made()).length, interfaces);
    }
    assert.ok((await talk.outcomes()).every(({ wrong, duplicates }) => wrong === 0 && duplicates === 0));
  });

  it('leaves nothing when it is taken down', async () => {
    assert.equal(await network.gateway.end('SIGINT'), 0);
    const left = await links();
    assert.deepEqual(
      left.map(({ ifname }) => ifname),
      linksBefore,
    );
    assert.equal((await lab.exec('gw', 'nft', ['list', 'tables'])).trim(), '');
    await talk.stop();
  });

  it('delivers nothing to anybody that is not theirs', async () => {
    const frames = await Promise.all(NAMES.map((name) => experiment.frames(`wan-${name}`, 'in')));
    for (const [at, seen] of frames.entries()) {
      // While nobody runs, GRE is the host's: it says that it has none.
      const others = seen.filter(
        (frame) => frame.what === 'ip' && frame.tunnel === undefined && !isUnreachable(frame),
      );
      assert.deepEqual(others, [], NAMES[at]);
    }
    const { leaks, delivered } = await experiment.report();
    // Interfaces that are the host's again say which groups it listens to.
    const foreign = leaks.filter(
      ({ why, packet }) =>
        why !== 'not a packet of its tunnel' && !/^ICMP +143\/0 fe80::.* > ff02::16\./.test(packet),
    );
    assert.deepEqual(foreign, []);
    for (const site of NAMES) {
      for (const kind of ['tcp', 'udp', 'icmp', 'fragments'] as const) {
        assert.ok(delivered[site]![kind] > 0, `${site} was sent no ${kind}`);
      }
    }
  });

  it('sends nothing of a site by the uplink but in its tunnel or translated', async () => {
    const frames = await experiment.frames('gw-up0', 'out');
    const own = new Set<string>(UPLINK_ADDRESSES);
    const strange = frames.filter(
      (frame) =>
        frame.what === 'other' ||
        (frame.what === 'ip' &&
          frame.tunnel === undefined &&
          (!own.has(frame.source) || isPrivate(frame.quoted?.destination))),
    );
    assert.deepEqual(strange, []);
    const tunnelled = frames.filter((frame) => frame.what === 'ip' && frame.tunnel !== undefined);
    assert.ok(tunnelled.length > 0);
  });

  function isPrivate(address = ''): boolean {
    return /^(10\.|fd)/.test(address);
  }

  function isUnreachable({
    protocol,
    source,
    quoted,
  }: {
    readonly protocol: number;
    readonly source: string;
    readonly quoted: { readonly protocol: number } | undefined;
  }): boolean {
    return (
      (protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6) &&
      UPLINK_ADDRESSES.some((address) => address === source) &&
      quoted?.protocol === PROTOCOL_GRE
    );
  }
});
