/**
 * IPsec by the kernel: XFRM interfaces over IPv4 and IPv6, and GRE within IPsec, beside GRE in clear text and WireGuard, for
 * sites with the same addresses. They speak all the time, also while the daemon or a process is dead; those of XFRM interfaces
 * also before the start and while everything is taken down. Every frame on the wire is captured. Runs in the guest of `scripts/lab`.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { isOwnId } from '../../src/tunnel/ipsec/kernel-host.ts';
import { PROTOCOL_UDP } from '../../src/wire/packet.ts';
import { ipsecObstacle } from '../support/ipsec-peer.ts';
import type { SeenIp } from '../support/lab/captured-packets.ts';
import { Experiment } from '../support/lab/experiment.ts';
import { assertComplete, assertNoLeak, labOptions } from '../support/lab/lab-test.ts';
import { Network } from '../support/lab/network.ts';
import type { SiteSpec } from '../support/lab/sites.ts';
import { identicalFlows, LASTING, Run, runFlows } from '../support/lab/traffic.ts';
import { Lab } from '../support/lab.ts';
import { eventually, PATIENCE } from '../support/patience.ts';

/** While control is dead there is no IKE: other ends that look for it end their SAs, here long before a slow guest has gone on. */
const PATIENT = { peer: { connection: 'dpd_delay = 1h' } };
const SITES: readonly SiteSpec[] = [
  { name: 'paris', attachment: 'ipsec-kernel', ipsec: PATIENT },
  { name: 'nice', attachment: 'ipsec-kernel', outer: 6, ipsec: PATIENT },
  { name: 'lille', attachment: 'ipsec-gre', ipsec: PATIENT },
  { name: 'lyon', attachment: 'gre-kernel' },
  { name: 'caen', attachment: 'wireguard' },
];
const NAMES = SITES.map(({ name }) => name);
const IPSEC = SITES.flatMap(({ name, attachment }) => (attachment.startsWith('ipsec') ? [name] : []));
/** Whose packets are the host's while homeward does not run: it answers them, or forwards them. */
const HOSTED = SITES.flatMap(({ name, attachment }) => (attachment === 'ipsec-kernel' ? [] : [name]));
const DESTINATIONS = ['datacenter', 'internet'];
const EXCHANGES = 5;
const PROTOCOL_ESP = 50;

const skip = ipsecObstacle();
describe('IPsec by the kernel', skip === undefined ? labOptions() : { skip }, () => {
  let lab: Lab;
  let network: Network;
  let experiment: Experiment;
  let linksBefore: string[];
  let talk: Run;
  let hostedTalk: Run;

  before(async () => {
    lab = new Lab();
    network = await Network.create(lab, { sites: SITES, gre: { driver: 'kernel' } });
    experiment = new Experiment(network);
    linksBefore = await links();
    await experiment.capture();
    const speak = (from: readonly string[]): Promise<Run> => {
      const flows = identicalFlows(network, experiment.tokens, {
        from,
        to: DESTINATIONS,
        ...LASTING,
      });
      return Run.start(network, flows);
    };
    talk = await speak(NAMES.filter((name) => !HOSTED.includes(name)));
    await network.start();
    await experiment.warmUp(NAMES);
    hostedTalk = await speak(HOSTED);
  });
  after(() => lab?.remove());

  async function links(): Promise<string[]> {
    const shown = await lab.exec('gw', 'ip', ['-json', 'link', 'show']);
    return (JSON.parse(shown) as { ifname: string }[]).map(({ ifname }) => ifname);
  }

  /** Bytes that the gateway's kernel has encrypted and decrypted, by `reqid`. */
  async function encrypted(): Promise<Map<number, number>> {
    const shown = await lab.exec('gw', 'ip', ['-stats', 'xfrm', 'state', 'list', 'nokeys']);
    const bytes = new Map<number, number>();
    for (const entry of shown.split(/\n(?=src )/)) {
      const requestId = Number(/ reqid (\d+)/.exec(entry)?.[1]);
      const carried = Number(/lifetime current:\s*(\d+)\(bytes\)/.exec(entry)?.[1]);
      bytes.set(requestId, (bytes.get(requestId) ?? 0) + carried);
    }
    return bytes;
  }

  async function states(): Promise<string[]> {
    const tunnels = (await network.gateway.status())?.tunnels ?? [];
    return IPSEC.map((site) => tunnels.find((tunnel) => tunnel.site === site)?.state ?? 'unknown');
  }

  async function untilAll(state: string): Promise<number> {
    const started = performance.now();
    await eventually(`all are ${state}`, async () => (await states()).every((one) => one === state), 30_000);
    return Math.round(performance.now() - started);
  }

  /** Pid of the gateway's daemon, by the configuration that it was started with. */
  function daemon(): number {
    const directory = join(network.gateway.runtimeDirectory, 'ipsec');
    const pid = readdirSync('/proc').find((entry) => {
      try {
        return (
          /^[1-9]\d*$/.test(entry) &&
          readFileSync(`/proc/${entry}/comm`, 'latin1').startsWith('charon') &&
          readFileSync(`/proc/${entry}/environ`, 'latin1').includes(`${directory}/`)
        );
      } catch {
        return false;
      }
    });
    assert.ok(pid !== undefined, 'no daemon runs');
    return Number(pid);
  }

  /** All flows go on by the same sockets. */
  async function assertGoesOn(t: TestContext): Promise<void> {
    const began = performance.now();
    for (const run of [talk, hostedTalk]) await run.progressed(await run.outcomes(), EXCHANGES);
    t.diagnostic(`${EXCHANGES} answers to everybody after ${Math.round(performance.now() - began)} ms`);
    for (const run of [talk, hostedTalk]) assert.ok((await run.outcomes()).every(({ wrong }) => wrong === 0));
  }

  it('says which driver does it, and has an interface for each tunnel', async () => {
    const tunnels = (await network.gateway.status())?.tunnels ?? [];
    const of = (site: string) => tunnels.find((tunnel) => tunnel.site === site)!;
    assert.deepEqual(of('paris').driver, { name: 'xfrm', why: 'the configuration says so' });
    assert.deepEqual(of('lille').driver, { name: 'kernel', why: 'it is the kernel that encrypts it' });
    assert.equal(of('paris').mtu, 1422);
    assert.equal(of('nice').mtu, 1406);
    assert.equal(of('lille').mtu, 1414);
    const made = (await links()).filter((name) => !linksBefore.includes(name));
    assert.equal(made.length, 4);
    assert.equal(new Set(IPSEC.map((site) => of(site).device)).size, IPSEC.length);
    assert.ok(IPSEC.every((site) => made.includes(of(site).device)));
  });

  it('answers TCP, UDP, ICMP and fragments, and it is ESP that carries them', async (t) => {
    const before = await encrypted();
    assert.ok([...before.keys()].every(isOwnId));
    assert.equal(before.size, IPSEC.length);
    const flows = identicalFlows(network, experiment.tokens, {
      from: NAMES,
      to: DESTINATIONS,
      count: EXCHANGES,
    });
    await assertComplete(network, await runFlows(network, flows));
    const carried = [...(await encrypted())].map(([id, bytes]) => bytes - before.get(id)!);
    t.diagnostic(`bytes by tunnel: ${carried.join(', ')}`);
    assert.ok(carried.every((bytes) => bytes > 10_000));
  });

  it('comes back by itself when the daemon was killed', async (t) => {
    process.kill(daemon(), 'SIGKILL');
    t.diagnostic(`all down after ${await untilAll('down')} ms`);
    t.diagnostic(`all up again after ${await untilAll('up')} ms`);
    await assertGoesOn(t);
  });

  it('goes on while control is dead, encrypted, and with the next one', async (t) => {
    await network.gateway.kill('control');
    await assertGoesOn(t);
    await network.gateway.start();
    t.diagnostic(`all up after ${await untilAll('up')} ms`);
    await assertGoesOn(t);
  });

  it('sends nothing in clear text when SAs and policies are gone, and comes back', async (t) => {
    process.kill(daemon(), 'SIGSTOP');
    await lab.exec('gw', 'ip', ['xfrm', 'state', 'flush']);
    await new Promise((resolve) => setTimeout(resolve, 200 * PATIENCE));
    await lab.exec('gw', 'ip', ['xfrm', 'policy', 'flush']);
    await new Promise((resolve) => setTimeout(resolve, 200 * PATIENCE));
    process.kill(daemon(), 'SIGKILL');
    await untilAll('down');
    await untilAll('up');
    await assertGoesOn(t);
  });

  it('leaves nothing when it is taken down', async () => {
    await hostedTalk.stop();
    assert.equal(await network.gateway.end('SIGINT'), 0);
    assert.deepEqual(await links(), linksBefore);
    assert.equal((await lab.exec('gw', 'nft', ['list', 'tables'])).trim(), '');
    assert.equal((await lab.exec('gw', 'ip', ['xfrm', 'state', 'list'])).trim(), '');
    assert.equal((await lab.exec('gw', 'ip', ['xfrm', 'policy', 'list'])).trim(), '');
    assert.doesNotMatch(await lab.exec('gw', 'ip', ['-6', 'rule', 'show']), /oif/);
    await talk.stop();
  });

  it('delivers nothing to anybody that is not theirs', async () => {
    const { delivered } = await assertNoLeak(experiment);
    for (const site of NAMES) {
      for (const kind of ['tcp', 'udp', 'icmp', 'fragments'] as const) {
        assert.ok(delivered[site]![kind] > 0, `${site} was sent no ${kind}`);
      }
    }
  });

  it('has nothing of these sites in clear text on the wire', async (t) => {
    for (const site of IPSEC) {
      for (const direction of ['in', 'out'] as const) {
        const frames = (await experiment.frames(`wan-${site}`, direction)).filter(
          (frame) => frame.what !== 'neighbor',
        );
        t.diagnostic(`${site} ${direction}: ${frames.length} frames`);
        assert.ok(frames.length > 50, `${frames.length} frames`);
        const clear = frames.filter(
          (frame) =>
            frame.what !== 'ip' || !isIpsec(frame.quoted ?? frame) || experiment.tokens.areIn(frame.payload),
        );
        assert.deepEqual(clear, [], `${site} ${direction}`);
      }
    }
  });
});

/** IKE, ESP, or ESP in UDP. */
function isIpsec({ protocol, sourcePort }: SeenIp): boolean {
  return protocol === PROTOCOL_ESP || (protocol === PROTOCOL_UDP && [500, 4500].includes(sourcePort));
}
