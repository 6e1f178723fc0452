/**
 * One experiment in a lab: capture everything, send, then judge every frame that was delivered to any site.
 */
import { PROTOCOL_UDP } from '../../../src/wire/packet.ts';
import type { CaptureJob } from './agent.ts';
import { describeSeen, readCapture, type SeenFrame, type SeenIp } from './captured-packets.ts';
import {
  type CheckedHost,
  type Delivered,
  type Leak,
  LeakCheck,
  type LeakCheckOptions,
} from './leak-check.ts';
import type { Host, Network } from './network.ts';
import { ipsecEnds, UPLINK_ADDRESSES, wireguardPort } from './sites.ts';
import { Tokens } from './tokens.ts';
import { identicalFlows, isComplete, runFlows } from './traffic.ts';

const PROTOCOL_ESP = 50;

export interface ExperimentReport {
  readonly leaks: readonly Leak[];
  /** By host. */
  readonly delivered: Readonly<Record<string, Delivered>>;
}

export class Experiment {
  readonly network: Network;
  readonly tokens = new Tokens();
  readonly #jobs: readonly CaptureJob[];

  constructor(network: Network) {
    this.network = network;
    this.#jobs = network.captureJobs();
  }

  /** Begins to capture on all hosts' devices and the gateway's. */
  async capture(): Promise<void> {
    await this.network.lab.agent(1).capture(this.#jobs);
  }

  /** Goes on capturing on devices that were made anew; what was captured before stays. */
  async resume(...names: readonly string[]): Promise<void> {
    const paths = names.map((name) => this.#path(name));
    await this.network.lab.agent(1).capture(this.#jobs.filter(({ path }) => paths.includes(path)));
  }

  /**
   * Sends echo requests from every site to every destination until all are answered once, and large datagrams: neighbours and path MTUs are then
   * known, so that nothing that is lost later was lost for want of them.
   */
  async warmUp(from: readonly string[], to: readonly string[] = ['datacenter', 'internet']): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const flows = identicalFlows(this.network, this.tokens, {
        from,
        to,
        kinds: ['icmp', 'fragments'],
        count: 1,
        graceMs: 1500,
        firstPort: 60_000 + attempt * 16,
      });
      const outcomes = await runFlows(this.network, flows);
      if (outcomes.every(isComplete)) return;
      if (attempt === 9) {
        const silent = outcomes.filter((outcome) => !isComplete(outcome));
        throw new Error(
          `no answer: ${silent.map(({ flow }) => `${flow.from}-${flow.to}-${flow.family}`).join(' ')}`,
        );
      }
    }
  }

  /** The frames of one capture, by its name (`host-paris`, `wan-paris`, `gw-up0`). */
  async frames(name: string, direction: 'in' | 'out'): Promise<SeenFrame[]> {
    await this.#flush();
    return readCapture(this.#path(name), direction);
  }

  /** Judges everything that was captured so far. Throws if the captures are not whole. */
  async report(options: LeakCheckOptions = {}): Promise<ExperimentReport> {
    await this.#flush();
    const leaks: Leak[] = [];
    const delivered: Record<string, Delivered> = {};
    for (const host of this.network.hosts.values()) {
      const check = new LeakCheck(this.#checked(host), this.tokens, options);
      check.noteSent(readCapture(this.#path(`host-${host.name}`), 'out'));
      check.judge(readCapture(this.#path(`host-${host.name}`), 'in'));
      const wan = this.#path(`wan-${host.name}`);
      if (this.#jobs.some(({ path }) => path === wan)) {
        const outer = readCapture(wan, 'in');
        leaks.push(...this.#judgeOuter(host, outer));
        check.judge(
          outer.filter(
            (frame) => frame.what === 'ip' && frame.tunnel !== undefined && !this.#isForSiteGateway(frame),
          ),
        );
      }
      const report = check.report();
      leaks.push(...report.leaks);
      delivered[host.name] = report.delivered;
    }
    return { leaks, delivered };
  }

  /** Frames on the outer device of a site behind the internet that carry no packet of its tunnel. */
  #judgeOuter(host: Host, frames: readonly SeenFrame[]): Leak[] {
    return frames.flatMap((frame) => {
      if (this.#isOfTunnel(host, frame)) return [];
      const packet = describeSeen(frame);
      return [{ host: host.name, why: 'not a packet of its tunnel', packet, timestampNs: frame.timestampNs }];
    });
  }

  #isOfTunnel({ name }: Host, frame: SeenFrame): boolean {
    if (frame.what !== 'ip') return frame.what === 'neighbor';
    const at = this.network.spec.sites.findIndex((site) => site.name === name);
    const key = this.network.greKeyOf(name);
    if (key !== undefined) return frame.tunnel?.key === key;
    // IKE, ESP and ESP in UDP (RFC 3948); or WireGuard. Nothing else from the gateway, and nothing in clear text.
    const site = this.network.spec.sites[at]!;
    const isIpsec = site.attachment.startsWith('ipsec');
    const gateway = isIpsec ? ipsecEnds(site, at).local : UPLINK_ADDRESSES[0];
    const ports = isIpsec ? [500, 4500] : [wireguardPort(at)];
    const { quoted } = frame;
    if (isIpsec && frame.protocol === PROTOCOL_ESP) return frame.source === gateway;
    if (quoted === undefined) return isUdpFrom(gateway, ports, frame);
    // Where nobody takes what came by the tunnel, the gateway says so to its other end, and quotes it.
    const isBack = frame.source === gateway && frame.destination === quoted.source;
    return isBack && isUdpTo(gateway, ports, quoted);
  }

  /** The site's own gateway answers for its end of the tunnel (neighbours, ping). */
  #isForSiteGateway(frame: SeenFrame): boolean {
    return frame.what === 'ip' && ['169.254.240.1', 'fd00:a::1'].includes(frame.destination);
  }

  #checked(host: Host): CheckedHost {
    const isSite = this.network.spec.sites.some(({ name }) => name === host.name);
    return {
      name: host.name,
      addresses: host.addresses,
      neighbors: host.gateway,
      servers: this.network.serversOf(host.name),
      ...(isSite || host.name === 'datacenter' ? {} : { isForbiddenSource: isPrivateText }),
    };
  }

  async #flush(): Promise<void> {
    const captured = await this.network.lab.agent(1).captured();
    const lost = Object.entries(captured).filter(([, counts]) => counts.lost > 0);
    if (lost.length > 0) throw new Error(`captures are not whole: ${JSON.stringify(lost)}`);
  }

  #path(name: string): string {
    return `${this.network.lab.directory}/${name}`;
  }
}

function isUdpFrom(
  address: string,
  ports: readonly number[],
  { source, sourcePort, protocol }: SeenIp,
): boolean {
  return source === address && protocol === PROTOCOL_UDP && ports.includes(sourcePort);
}

function isUdpTo(
  address: string,
  ports: readonly number[],
  { destination, destinationPort, protocol }: SeenIp,
): boolean {
  return destination === address && protocol === PROTOCOL_UDP && ports.includes(destinationPort);
}

/** Addresses that the lab's sites have; none of them may be seen on the internet. */
function isPrivateText(address: string): boolean {
  return /^(10\.|172\.|169\.254\.|fd)/.test(address);
}

/** The first leaks in words, for messages. */
export function describeLeaks(leaks: readonly Leak[]): string {
  const lines = leaks.slice(0, 12).map(({ host, why, packet }) => `${host}: ${why}: ${packet}`);
  if (leaks.length > lines.length) lines.push(`... and ${leaks.length - lines.length} more`);
  return lines.join('\n');
}
