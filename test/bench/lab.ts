/**
 * The lab: paths from a client to a server, each through another gateway, each in namespaces of its own.
 *
 * ```
 *            tun path                          ethernet path                             gre path
 *   client ─ TUN ─ gateway ─ TUN ─ server   client ─ veth ─ gateway ─ veth ─ server   client ─ TUN ─ end ─ veth ─ end ─ TUN ─ server
 * ```
 *
 * All paths of a run stand at the same time, so that variants can be measured in turn; those that are not measured
 * are idle. The gateway's processes: homeward's data plane, a C loop (`native/`), or none (the kernel forwards).
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Plan } from '../../src/pipeline/plan.ts';
import { linesOf, NetworkNamespace } from '../support/network-namespace.ts';
import { startDataPlane } from './data-plane-start.ts';
import {
  CLIENT_ADDRESS,
  type EthernetEnd,
  EXTERNAL_ADDRESS,
  ethernetPlan,
  GRE_MTU,
  grePlan,
  SERVER_ADDRESS,
  tunPlan,
} from './lab-plans.ts';

/** Two hosts with a gateway between them. The client reaches {@link SERVER_ADDRESS}. */
export interface Path {
  readonly client: NetworkNamespace;
  readonly server: NetworkNamespace;
}

/** Paths of compiled programs; those that the paths to be built use must be there. */
export type Programs = Readonly<Partial<Record<'tun-loop' | 'packet-loop' | 'gre-raw' | 'udp-load', string>>>;

/** In the gateway's namespaces of the ethernet paths: towards the site, its twin, and the internet. */
const SITE_END: EthernetEnd = {
  name: 'site',
  mac: '02:00:00:00:00:01',
  address: '172.20.0.1',
  neighbour: '172.20.0.2',
};
/** The second site with the same addresses. Idle, but everything is set up for it. */
const TWIN_END: EthernetEnd = { ...SITE_END, name: 'twin', mac: '02:00:00:00:00:02' };
const INTERNET_END: EthernetEnd = {
  name: 'internet',
  mac: '02:00:00:00:00:03',
  address: '192.0.2.1',
  neighbour: '192.0.2.2',
};
/** The two ends of a GRE tunnel: each is the other's neighbour. */
const NEAR_END: EthernetEnd = {
  name: 'uplink',
  mac: '02:00:00:00:02:01',
  address: '192.0.2.1',
  neighbour: '192.0.2.2',
};
const FAR_END: EthernetEnd = {
  name: 'uplink',
  mac: '02:00:00:00:02:02',
  address: NEAR_END.neighbour,
  neighbour: NEAR_END.address,
};
const CLIENT_MAC = '02:00:00:00:01:01';
const SERVER_MAC = '02:00:00:00:01:03';

/** Packets on the gateway's devices are for the program that reads them, not for the host's stack too. */
function guardOf(...devices: readonly string[]): string {
  return `table netdev guard {
  chain ingress {
    type filter hook ingress devices = { ${devices.join(', ')} } priority 0; policy drop;
    ether type arp accept
  }
}
`;
}

/** What homeward does, said to the kernel: a conntrack zone and a mark for each site, replies routed by the mark. */
const KERNEL_RULES = `table inet return_routing {
  chain zones {
    type filter hook prerouting priority raw;
    iifname "${SITE_END.name}" ct original zone set 1
    iifname "${TWIN_END.name}" ct original zone set 2
  }
  chain marks {
    type filter hook prerouting priority mangle;
    iifname "${SITE_END.name}" ct mark set 1
    iifname "${TWIN_END.name}" ct mark set 2
    iifname "${INTERNET_END.name}" meta mark set ct mark
  }
  chain translate {
    type nat hook postrouting priority srcnat;
    oifname "${INTERNET_END.name}" ip protocol { tcp, udp, icmp } snat ip to ${EXTERNAL_ADDRESS}
  }
}
`;

export class Lab {
  private readonly programs: Programs;
  private readonly namespaces: NetworkNamespace[] = [];
  /** For flow memories: they belong on tmpfs. */
  private readonly directory = mkdtempSync('/dev/shm/hw-bench-');
  private removed = false;

  constructor(programs: Programs) {
    this.programs = programs;
  }

  async homewardTun(): Promise<Path> {
    const gateway = this.namespace();
    await this.runDataPlane(gateway, tunPlan('t-site', 't-twin', 't-internet'));
    return this.tunPath(gateway, 't-site', gateway, 't-internet', EXTERNAL_ADDRESS, 1500);
  }

  async tunLoop(): Promise<Path> {
    const gateway = this.namespace();
    await this.runProgram(gateway, 'tun-loop', ['t-site', 't-internet']);
    return this.tunPath(gateway, 't-site', gateway, 't-internet', CLIENT_ADDRESS, 1500);
  }

  /** `change` says what its plan has beside the usual. */
  async homewardEthernet(change: (plan: Plan) => Plan = (plan) => plan): Promise<Path> {
    const { gateway, ...path } = this.ethernetPath();
    gateway.nft(guardOf(SITE_END.name, INTERNET_END.name));
    await this.runDataPlane(gateway, change(ethernetPlan([SITE_END, TWIN_END, INTERNET_END])));
    return path;
  }

  async packetLoop(): Promise<Path> {
    const { gateway, ...path } = this.ethernetPath();
    gateway.nft(guardOf(SITE_END.name, INTERNET_END.name));
    const ends = [SITE_END.name, CLIENT_MAC, INTERNET_END.name, SERVER_MAC];
    await this.runProgram(gateway, 'packet-loop', ends);
    return path;
  }

  kernel(): Path {
    return this.kernelWithRules().path;
  }

  /** Linux as the gateway, and a way to load more of its rules. */
  kernelWithRules(): { readonly path: Path; load(rules: string): void } {
    const { gateway, ...path } = this.ethernetPath();
    gateway.ip(
      `address add ${SITE_END.address}/30 dev ${SITE_END.name}`,
      `address add ${TWIN_END.address}/30 dev ${TWIN_END.name}`,
      `address add ${INTERNET_END.address}/30 dev ${INTERNET_END.name}`,
      `neighbour add ${SITE_END.neighbour} lladdr ${CLIENT_MAC} dev ${SITE_END.name}`,
      `neighbour add ${INTERNET_END.neighbour} lladdr ${SERVER_MAC} dev ${INTERNET_END.name}`,
      `route add default via ${INTERNET_END.neighbour} dev ${INTERNET_END.name}`,
      `route add default via ${SITE_END.neighbour} dev ${SITE_END.name} table 101`,
      `route add default via ${TWIN_END.neighbour} dev ${TWIN_END.name} table 102`,
      'rule add fwmark 1 lookup 101',
      'rule add fwmark 2 lookup 102',
    );
    gateway.nft(KERNEL_RULES);
    gateway.exec('sysctl', ['-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.conf.all.rp_filter=0']);
    return { path, load: (rules) => gateway.nft(rules) };
  }

  async homewardGre(): Promise<Path> {
    const [near, far] = this.greEnds();
    for (const end of [near, far]) end.nft(guardOf(NEAR_END.name));
    await this.runDataPlane(near, grePlan('t-site', NEAR_END, '10.0.1.0/24', `${SERVER_ADDRESS}/32`));
    await this.runDataPlane(far, grePlan('t-server', FAR_END, `${SERVER_ADDRESS}/32`, '10.0.1.0/24'));
    return this.tunPath(near, 't-site', far, 't-server', CLIENT_ADDRESS, GRE_MTU);
  }

  async rawGre(): Promise<Path> {
    const [near, far] = this.greEnds();
    const run = (gateway: NetworkNamespace, { address, neighbour }: EthernetEnd, tun: string) =>
      this.runProgram(gateway, 'gre-raw', ['--local', address, '--remote', neighbour, '--tun', tun]);
    await run(near, NEAR_END, 't-site');
    await run(far, FAR_END, 't-server');
    return this.tunPath(near, 't-site', far, 't-server', CLIENT_ADDRESS, GRE_MTU);
  }

  /** Ends every process and removes every namespace, also in the middle of setting up, which then fails. */
  async remove(): Promise<void> {
    this.removed = true;
    const removed = await Promise.allSettled(
      this.namespaces.splice(0).map((namespace) => namespace.remove()),
    );
    rmSync(this.directory, { recursive: true, force: true });
    for (const result of removed) if (result.status === 'rejected') throw result.reason;
  }

  private namespace(): NetworkNamespace {
    if (this.removed) throw new Error('the lab is being removed');
    const namespace = new NetworkNamespace();
    this.namespaces.push(namespace);
    namespace.exec('sysctl', ['-qw', 'net.ipv6.conf.default.disable_ipv6=1']);
    namespace.ip('link set lo up');
    return namespace;
  }

  private runDataPlane(gateway: NetworkNamespace, plan: Plan): Promise<void> {
    const directory = join(this.directory, gateway.name);
    mkdirSync(directory);
    return startDataPlane(gateway, directory, plan);
  }

  private async runProgram(
    gateway: NetworkNamespace,
    program: keyof Programs,
    args: readonly string[],
  ): Promise<void> {
    const child = gateway.spawn(this.programs[program]!, args);
    let problem = '';
    child.stderr.on('data', (chunk: Buffer) => {
      problem += chunk.toString();
    });
    const { value } = await linesOf(child).next();
    if (value !== 'ready') throw new Error(`${program} did not start: ${problem}`);
  }

  /** Gives the two TUN devices to a client and a server. */
  private tunPath(
    near: NetworkNamespace,
    nearTun: string,
    far: NetworkNamespace,
    farTun: string,
    peer: string,
    mtu: number,
  ): Path {
    const client = this.namespace();
    const server = this.namespace();
    near.ip(`link set ${nearTun} netns ${client.name}`);
    far.ip(`link set ${farTun} netns ${server.name}`);
    client.ip(
      `link set ${nearTun} mtu ${mtu} up`,
      `address add ${CLIENT_ADDRESS}/32 dev ${nearTun}`,
      `route add default dev ${nearTun}`,
    );
    server.ip(
      `link set ${farTun} mtu ${mtu} up`,
      `address add ${SERVER_ADDRESS}/32 dev ${farTun}`,
      `route add ${peer}/32 dev ${farTun}`,
    );
    return { client, server };
  }

  /** Client, gateway and server joined by veths; the gateway's ends have no addresses yet. */
  private ethernetPath(): Path & { readonly gateway: NetworkNamespace } {
    const [client, gateway, server] = [this.namespace(), this.namespace(), this.namespace()];
    const connect = (host: NetworkNamespace, hostMac: string, end: EthernetEnd) =>
      gateway.ip(
        `link add ${end.name} address ${end.mac} type veth peer name eth0 address ${hostMac} netns ${host.name}`,
        `link set ${end.name} up`,
      );
    connect(client, CLIENT_MAC, SITE_END);
    connect(server, SERVER_MAC, INTERNET_END);
    gateway.ip(
      `link add ${TWIN_END.name} address ${TWIN_END.mac} type veth peer name twin-host`,
      `link set ${TWIN_END.name} up`,
      'link set twin-host up',
    );
    const attach = (host: NetworkNamespace, own: string, end: EthernetEnd) =>
      host.ip(
        'link set eth0 up',
        `address add ${end.neighbour}/30 dev eth0`,
        `address add ${own}/32 dev lo`,
        `neighbour add ${end.address} lladdr ${end.mac} dev eth0`,
        `route add default via ${end.address} dev eth0 src ${own}`,
      );
    attach(client, CLIENT_ADDRESS, SITE_END);
    attach(server, SERVER_ADDRESS, INTERNET_END);
    return { client, gateway, server };
  }

  /** The two ends of a tunnel, joined by a veth. The hosts have the outer addresses and answer ARP, as on any uplink. */
  private greEnds(): [NetworkNamespace, NetworkNamespace] {
    const [near, far] = [this.namespace(), this.namespace()];
    near.ip(
      `link add ${NEAR_END.name} address ${NEAR_END.mac} type veth peer name ${FAR_END.name} address ${FAR_END.mac} netns ${far.name}`,
    );
    const attach = (gateway: NetworkNamespace, { name, address }: EthernetEnd) =>
      gateway.ip(`address add ${address}/30 dev ${name}`, `link set ${name} up`);
    attach(near, NEAR_END);
    attach(far, FAR_END);
    return [near, far];
  }
}
