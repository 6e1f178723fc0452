/**
 * The lab's network: sites that all have the same addresses, a data centre, an internet, and the gateway.
 *
 * ```
 *  on link    host ──────────────────────── icN ┐
 *  next hop   host ── router (172.20.0.2) ── icN ┤                ┌ dc0 ── dc    10.50.0.10, fd00:50::10
 *  device     host ── TUN ─ wire ─ TUN ──── tnN ┼─ gw (gateway) ─┤
 *  vlan       host ── switch ──── trunk0, icN ┤                └ up0 ── net ── server
 *  gre        host ── homeward ──┐               │                         203.0.113.10, 2001:db8:113::10
 *  gre peer   host with peer ────┤               │
 *  wireguard  host with wg ──────┤
 *  ipsec...   host with charon ──┴─ net ── up0 ──┘   198.51.100.1
 *
 *  host: 10.0.1.10/24 and fd00:1::10/64, gateway 10.0.1.1 and fd00:1::1, in every site
 * ```
 *
 * `gre`: the site's own gateway is homeward too. `gre-peer`: the host itself has the tunnel's end, by another
 * program ({@link NetworkSpec.grePeer}), which shares no code with homeward; `gre-kernel`: by its kernel. WireGuard is
 * the kernel's at both ends. All VLANs come by one trunk.
 */
import { once } from 'node:events';
import type { IpsecPeer } from '../ipsec-peer.ts';
import type { Lab, LinkEnd } from '../lab.ts';
import { LIBRESWAN_DEVICE } from '../libreswan-peer.ts';
import { eventually } from '../patience.ts';
import type { CaptureJob, FlowJob, SeenClient, ServerJob } from './agent.ts';
import { HomewardProcess } from './homeward-process.ts';
import { IpsecSites } from './ipsec-sites.ts';
import {
  type Attachment,
  DATA_CENTER_ADDRESSES,
  gatewayConfiguration,
  greKey,
  type NetworkSpec,
  outer,
  outerEnds,
  outerIpv6,
  SERVER_ADDRESSES,
  SITE_ADDRESSES,
  SITE_GATEWAY,
  SITE_PREFIXED,
  type SiteSpec,
  siteConfiguration,
  siteDevice,
  TRANSLATED,
  tunnelName,
  UPLINK_ADDRESSES,
  vlanId,
  wireguardPort,
} from './sites.ts';

/** A host that traffic comes from or goes to. */
export interface Host {
  readonly name: string;
  /** Label of its namespace. */
  readonly label: string;
  readonly device: string;
  readonly addresses: readonly [ipv4: string, ipv6: string];
  readonly link: 'ethernet' | 'ip';
  /** Its gateway's addresses. */
  readonly gateway: readonly string[];
}

/** Where the echo servers listen, on all hosts with servers. */
export const ECHO_PORT = 7;
const HTTP_PORT = 80;

export class Network {
  readonly lab: Lab;
  readonly spec: NetworkSpec;
  readonly gateway: HomewardProcess;
  /** homeward at the sites' ends of GRE tunnels, by site. */
  readonly siteGateways: ReadonlyMap<string, HomewardProcess>;
  readonly hosts: ReadonlyMap<string, Host>;
  readonly ipsec: IpsecSites;
  readonly #serverNumbers = new Map<string, number>();

  private constructor(lab: Lab, spec: NetworkSpec) {
    this.lab = lab;
    this.spec = spec;
    this.ipsec = new IpsecSites(lab, spec);
    const options = spec.project === undefined ? {} : { project: spec.project };
    this.gateway = new HomewardProcess(lab, 'gw', gatewayConfiguration(spec, lab.directory), options);
    this.siteGateways = new Map(
      spec.sites.flatMap((site, at) =>
        site.attachment === 'gre'
          ? [[site.name, new HomewardProcess(lab, `${site.name}-gw`, siteConfiguration(spec, at), options)]]
          : [],
      ),
    );
    const host = (
      name: string,
      addresses: Host['addresses'],
      gateway: readonly string[],
      link: Host['link'] = 'ethernet',
      device = 'eth0',
    ): [string, Host] => [name, { name, label: name, device, addresses, link, gateway }];
    this.hosts = new Map([
      ...spec.sites.map(({ name, attachment, ipsec }) => {
        const link = isLayer3(attachment) ? 'ip' : 'ethernet';
        const device = ipsec?.libreswan ? LIBRESWAN_DEVICE : attachment === 'ipsec' ? 'ipsec0' : 'eth0';
        return host(name, SITE_ADDRESSES, SITE_GATEWAY, link, device);
      }),
      host('datacenter', DATA_CENTER_ADDRESSES, ['10.50.0.1', 'fd00:50::1']),
      host('internet', SERVER_ADDRESSES, ['203.0.113.1', '2001:db8:113::1']),
    ]);
  }

  /** strongSwan at the sites' ends of IPsec tunnels, by site. */
  get ipsecPeers(): ReadonlyMap<string, IpsecPeer> {
    return this.ipsec.peers;
  }

  /** Makes namespaces, links, addresses and servers; starts nothing of homeward. */
  static async create(lab: Lab, spec: NetworkSpec): Promise<Network> {
    const network = new Network(lab, spec);
    await network.#build();
    return network;
  }

  /** Starts the gateway and the sites' own ones. */
  async start(): Promise<void> {
    await Promise.all([this.gateway, ...this.siteGateways.values()].map((homeward) => homeward.start()));
    await this.ipsecIsUp();
  }

  /** Resolves when all IPsec tunnels are up. */
  async ipsecIsUp(): Promise<void> {
    if (!this.spec.sites.some(({ attachment }) => attachment.startsWith('ipsec'))) return;
    for (const peer of this.ipsec.libreswanPeers.values()) peer.begin();
    let states = '';
    const wait = eventually(
      'all IPsec tunnels are up',
      async () => {
        const sites = [...this.ipsecPeers.keys(), ...this.ipsec.libreswanPeers.keys()];
        const names = sites.map((site) => this.tunnelName(site));
        const tunnels =
          (await this.gateway.status())?.tunnels.filter(({ name }) => names.includes(name)) ?? [];
        states = tunnels.map(({ name, state }) => `${name}: ${state}`).join(', ');
        return tunnels.length > 0 && tunnels.every(({ state }) => state === 'up');
      },
      30_000,
    );
    await wait.catch((error: Error) => {
      throw new Error(`${error.message} (${states}):\n${this.gateway.output}\n${this.ipsec.libreswanLogs}`);
    });
    await this.ipsec.libreswanIsConnected();
  }

  host(name: string): Host {
    const host = this.hosts.get(name);
    if (!host) throw new Error(`no host ${name}`);
    return host;
  }

  /** `tcp ADDRESS PORT` of the TCP servers that run on a host. */
  serversOf(host: string): ReadonlySet<string> {
    return new Set(
      [...this.#serverNumbers.keys()]
        .map((key) => key.split(' '))
        .filter(([name, kind]) => name === host && kind !== 'udp')
        .map(([, , address, port]) => `tcp ${address} ${port}`),
    );
  }

  /** Whom a server has seen. */
  async seen(host: string, kind: ServerJob['kind'], address: string, port: number): Promise<SeenClient[]> {
    const number = this.#serverNumbers.get(`${host} ${kind} ${address} ${port}`);
    if (number === undefined) throw new Error(`no ${kind} server on ${host} at ${address} port ${port}`);
    return this.lab.agent().seen(number);
  }

  /** The key of a GRE site's tunnel; undefined for other sites. */
  greKeyOf(site: string): number | undefined {
    const at = this.spec.sites.findIndex(({ name }) => name === site);
    return this.spec.sites[at]?.attachment.startsWith('gre') ? greKey(at) : undefined;
  }

  /** Name of a site's tunnel. */
  tunnelName(site: string): string {
    const attachment = this.spec.sites.find(({ name }) => name === site)?.attachment;
    if (attachment === undefined) throw new Error(`no site ${site}`);
    return tunnelName(site, attachment);
  }

  /** The ends of a flow from one host to another, as {@link FlowJob} wants them. */
  ends(
    from: string,
    to: string,
    family: 4 | 6,
  ): Pick<FlowJob, 'namespace' | 'source' | 'destination' | 'family'> {
    const at = family === 4 ? 0 : 1;
    const source = this.host(from);
    return {
      namespace: this.lab.name(source.label),
      source: source.addresses[at],
      destination: this.host(to).addresses[at],
      family,
    };
  }

  /** Starts a server on a host, on both its addresses. */
  async serve(host: string, kind: ServerJob['kind'], port: number): Promise<void> {
    const { name, label, addresses } = this.host(host);
    for (const address of addresses) {
      const number = await this.lab
        .agent()
        .serve({ kind, name, namespace: this.lab.name(label), address, port });
      this.#serverNumbers.set(`${host} ${kind} ${address} ${port}`, number);
    }
  }

  /** Captures of what hosts' devices receive and send, and of the gateway's devices. */
  captureJobs(): CaptureJob[] {
    const job = (name: string, label: string, device: string, link: CaptureJob['link']): CaptureJob => ({
      path: `${this.lab.directory}/${name}`,
      namespace: this.lab.name(label),
      device,
      link,
    });
    return [
      ...[...this.hosts.values()].map(({ name, label, device, link }) =>
        job(`host-${name}`, label, device, link),
      ),
      ...this.spec.sites.flatMap(({ name, attachment }) =>
        hasWan(attachment)
          ? [job(`wan-${name}`, attachment === 'gre' ? `${name}-gw` : name, 'wan', 'ethernet')]
          : [],
      ),
      ...this.gatewayDevices().map(({ device, link }) => job(`gw-${device}`, 'gw', device, link)),
    ];
  }

  /** The gateway's devices, and whose they are. */
  gatewayDevices(): { device: string; link: 'ethernet' | 'ip'; owner: string }[] {
    return [
      ...this.spec.sites.flatMap((site, at) => {
        const device = siteDevice(site, at);
        return device === undefined
          ? []
          : [
              {
                device,
                link: isLayer3(site.attachment) ? ('ip' as const) : ('ethernet' as const),
                owner: site.name,
              },
            ];
      }),
      { device: 'dc0', link: 'ethernet', owner: 'datacenter' },
      { device: 'up0', link: 'ethernet', owner: 'internet' },
    ];
  }

  async #build(): Promise<void> {
    const { lab, spec } = this;
    const labels = ['gw', 'net', 'datacenter', 'internet'];
    const links: [LinkEnd, LinkEnd][] = [
      [end('gw', 'up0'), end('net', 'gw')],
      [end('net', 'srv'), end('internet', 'eth0')],
      [end('gw', 'dc0'), end('datacenter', 'eth0')],
    ];
    const commands = new Map<string, string[]>();
    const add = (label: string, lines: readonly string[]): void => {
      commands.set(label, [...(commands.get(label) ?? []), ...lines]);
    };
    add('gw', [
      ...addresses('up0', ['198.51.100.1/24', '2001:db8:100::1/64']),
      ...defaults('up0', ['198.51.100.254', '2001:db8:100::ff']),
    ]);
    add('net', [
      ...addresses('gw', ['198.51.100.254/24', '2001:db8:100::ff/64']),
      ...addresses('srv', ['203.0.113.1/24', '2001:db8:113::1/64']),
    ]);
    add('internet', [
      ...addresses('eth0', ['203.0.113.10/24', '2001:db8:113::10/64']),
      ...defaults('eth0', ['203.0.113.1', '2001:db8:113::1']),
    ]);
    add('datacenter', [
      ...addresses('eth0', ['10.50.0.10/16', 'fd00:50::10/48']),
      ...defaults('eth0', ['10.50.0.1', 'fd00:50::1']),
    ]);
    const routers = ['net'];
    spec.sites.forEach((site, at) => {
      const { name } = site;
      labels.push(name);
      const far = end('gw', siteDevice(site, at) ?? '');
      switch (site.attachment) {
        case 'on-link':
          links.push([far, end(name, 'eth0')]);
          break;
        case 'next-hop':
          labels.push(`${name}-rt`);
          routers.push(`${name}-rt`);
          links.push([far, end(`${name}-rt`, 'wan')], [end(`${name}-rt`, 'lan'), end(name, 'eth0')]);
          add(`${name}-rt`, [
            ...addresses('wan', ['172.20.0.2/30', 'fd00:172:20::2/64']),
            ...addresses('lan', ['10.0.1.1/24', 'fd00:1::1/64']),
            ...defaults('wan', ['172.20.0.1', 'fd00:172:20::1']),
          ]);
          break;
        case 'device':
          break;
        case 'vlan':
          if (!labels.includes('switch')) {
            labels.push('switch');
            links.push([end('gw', 'trunk0'), end('switch', 'port')]);
          }
          break;
        case 'gre-peer':
        case 'gre-kernel':
        case 'wireguard':
        case 'ipsec':
        case 'ipsec-kernel':
        case 'ipsec-gre':
          if (site.ipsec?.translated) {
            labels.push(`${name}-nat`);
            routers.push(`${name}-nat`);
            links.push(
              [end('net', `s${at}`), end(`${name}-nat`, 'wan')],
              [end(`${name}-nat`, 'lan'), end(name, 'wan')],
            );
            add('net', addresses(`s${at}`, [`${outer(at, 1)}/30`, `${outer(at + 100, 1)}/30`]));
            add(`${name}-nat`, [
              ...addresses('wan', [`${outer(at, 2)}/30`]),
              ...addresses('lan', [`${TRANSLATED[1]}/24`]),
              `route add 0.0.0.0/0 via ${outer(at, 1)} dev wan`,
            ]);
            add(name, [
              ...addresses('wan', [`${TRANSLATED[0]}/24`]),
              `route add ${UPLINK_ADDRESSES[0]} via ${TRANSLATED[1]} dev wan`,
            ]);
            break;
          }
          links.push([end('net', `s${at}`), end(name, 'wan')]);
          add('net', addresses(`s${at}`, [`${outer(at, 1)}/30`, `${outerIpv6(at, 1)}/64`]));
          add(name, [
            ...addresses('wan', [`${outer(at, 2)}/30`, `${outerIpv6(at, 2)}/64`]),
            `route add ${UPLINK_ADDRESSES[0]} via ${outer(at, 1)} dev wan`,
            `route add ${UPLINK_ADDRESSES[1]} via ${outerIpv6(at, 1)} dev wan`,
          ]);
          break;
        case 'gre':
          labels.push(`${name}-gw`);
          links.push(
            [end('net', `s${at}`), end(`${name}-gw`, 'wan')],
            [end(`${name}-gw`, 'lan'), end(name, 'eth0')],
          );
          add('net', addresses(`s${at}`, [`${outer(at, 1)}/30`]));
          add(`${name}-gw`, [
            ...addresses('wan', [`${outer(at, 2)}/30`]),
            `route add 0.0.0.0/0 via ${outer(at, 1)} dev wan`,
          ]);
          break;
      }
      if (!isLayer3(site.attachment)) {
        add(name, [...addresses('eth0', SITE_PREFIXED), ...defaults('eth0', SITE_GATEWAY)]);
      }
    });
    await lab.addNamespaces(labels);
    if (spec.hostForwards ?? true) routers.push('gw');
    await lab.agent().sysctl(
      routers.map((label) => lab.name(label)),
      { 'net.ipv4.ip_forward': '1', 'net.ipv6.conf.all.forwarding': '1' },
    );
    await lab.addLinks(links);
    for (const [at, site] of spec.sites.entries())
      if (site.attachment === 'vlan') await this.#addVlan(site, at);
    await Promise.all([...commands].map(([label, lines]) => lab.ip(label, lines)));
    await Promise.all(spec.sites.map((site, at) => this.#addLayer3(site, at)));
    for (const host of ['datacenter', 'internet']) {
      await this.serve(host, 'tcp', ECHO_PORT);
      await this.serve(host, 'udp', ECHO_PORT);
      await this.serve(host, 'http', HTTP_PORT);
    }
  }

  async #addVlan({ name }: SiteSpec, at: number): Promise<void> {
    const { lab } = this;
    const vlan = `type vlan id ${vlanId(at)}`;
    await lab.ip('gw', [`link add link trunk0 name ic${at} ${vlan}`, `link set ic${at} up`]);
    await lab.ip('switch', [`link add link port name eth0 netns ${lab.name(name)} ${vlan}`]);
    await lab.ip(name, ['link set eth0 up']);
  }

  /** Keys that each end knows of the other, and the devices. */
  async #addWireguard(name: string, at: number): Promise<void> {
    const { lab } = this;
    const device = `tn${at}`;
    const ends = [
      { label: 'gw', device, port: wireguardPort(at), peer: `${outer(at, 2)}:51820` },
      { label: name, device: 'eth0', port: 51820, peer: `${UPLINK_ADDRESSES[0]}:${wireguardPort(at)}` },
    ];
    const keys = await Promise.all(
      ends.map(async (one) => {
        const path = `${lab.directory}/${one.label}-${device}.key`;
        const publicKey = await lab.exec(one.label, 'sh', [
          '-c',
          `umask 077; wg genkey > ${path}; wg pubkey < ${path}`,
        ]);
        await lab.ip(one.label, [`link add ${one.device} type wireguard`]);
        return { path, publicKey: publicKey.trim() };
      }),
    );
    for (const [side, one] of ends.entries()) {
      await lab.exec(one.label, 'wg', [
        'set',
        one.device,
        ...['listen-port', String(one.port), 'private-key', keys[side]!.path],
        ...['peer', keys[1 - side]!.publicKey, 'endpoint', one.peer, 'allowed-ips', '0.0.0.0/0,::/0'],
      ]);
      await lab.ip(one.label, [`link set ${one.device} up`]);
    }
  }

  /** Devices that a program holds open: a wire of two TUN devices, or the far end of a GRE tunnel; and the kernel's. */
  async #addLayer3(site: SiteSpec, at: number): Promise<void> {
    const { lab, spec } = this;
    const { name, attachment } = site;
    if (!isLayer3(attachment)) return;
    if (attachment === 'device') {
      const device = `tn${at}`;
      await lab.agent(1).wire([
        { namespace: lab.name('gw'), device },
        { namespace: lab.name(name), device: 'eth0' },
      ]);
      await lab.ip('gw', [`link set ${device} up`]);
    } else if (attachment === 'wireguard') {
      await this.#addWireguard(name, at);
    } else if (attachment === 'ipsec') {
      await this.ipsec.add(site, at);
      return;
    } else if (attachment === 'ipsec-kernel') {
      await this.ipsec.add(site, at);
      if (site.ipsec?.libreswan) return;
    } else if (attachment === 'gre-kernel' || attachment === 'ipsec-gre') {
      if (attachment === 'ipsec-gre') await this.ipsec.add(site, at);
      const { checksum = false, sequence = false } = { ...spec.gre, ...site.gre };
      const options = `key ${greKey(at)} ${checksum ? 'csum' : ''} ${sequence ? 'seq' : ''}`;
      const { local, remote } = outerEnds(site, at);
      const kind = site.outer === 6 ? 'ip6gre' : 'gre';
      const more = kind === 'gre' ? 'ttl 64' : 'hoplimit 64 encaplimit none';
      // What ESP leaves of it is known to the peer's kernel only with the first packet.
      const mtu = attachment === 'ipsec-gre' ? 'mtu 1400' : '';
      await lab.ip(name, [
        `link add eth0 ${mtu} type ${kind} local ${remote} remote ${local} ${options} ${more}`,
      ]);
    } else {
      if (spec.grePeer === undefined) throw new Error('gre-peer sites need a program');
      // As on a real wire, checksums are complete where the peer's raw socket reads: it cannot complete them.
      await lab.exec('net', 'ethtool', ['-K', `s${at}`, 'tx', 'off']);
      const { checksum = false, sequence = false } = spec.gre ?? {};
      const peer = lab.spawn(name, spec.grePeer, [
        ...[
          '--local',
          outer(at, 2),
          '--remote',
          UPLINK_ADDRESSES[0],
          '--tun',
          'eth0',
          '--key',
          String(greKey(at)),
        ],
        ...(checksum ? ['--checksum'] : []),
        ...(sequence ? ['--sequence'] : []),
      ]);
      await once(peer.stdout!, 'data');
      await lab.ip(name, ['link set eth0 mtu 1460']);
    }
    await lab.ip(name, [
      ...addresses('eth0', SITE_PREFIXED),
      'link set eth0 up',
      'route add 0.0.0.0/0 dev eth0',
      'route add ::/0 dev eth0',
    ]);
  }
}

/** Whether the host's device is no Ethernet. */
function isLayer3(attachment: Attachment): boolean {
  return (
    ['device', 'gre-peer', 'gre-kernel', 'wireguard'].includes(attachment) || attachment.startsWith('ipsec')
  );
}

/** Whether the site is behind the internet, by a device `wan` of its host or of its own gateway. */
function hasWan(attachment: Attachment): boolean {
  return attachment.startsWith('gre') || attachment === 'wireguard' || attachment.startsWith('ipsec');
}

function end(namespace: string, device: string): LinkEnd {
  return { namespace, device };
}

function addresses(device: string, prefixes: readonly string[]): string[] {
  return prefixes.map((prefix) => `addr add ${prefix} dev ${device}${prefix.includes(':') ? ' nodad' : ''}`);
}

function defaults(device: string, hops: readonly string[]): string[] {
  return hops.map((hop) => `route add ${hop.includes(':') ? '::/0' : '0.0.0.0/0'} via ${hop} dev ${device}`);
}
