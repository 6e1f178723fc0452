/** The plans that the data plane gets in the lab: the same sites and egress over each kind of device. */
import { classify } from '../../src/control/host/classifier.ts';
import { socketFilter } from '../../src/control/host/socket-filter.ts';
import type { Plan, PlanDevice, PlanLink, PlanPort, PlanSpace } from '../../src/pipeline/plan.ts';
import { planPlugin } from '../support/plugins.ts';

/** The host in the site, the server, and what the gateway makes of the host's address. */
export const CLIENT_ADDRESS = '10.0.1.10';
export const SERVER_ADDRESS = '203.0.113.10';
export const EXTERNAL_ADDRESS = '198.51.100.1';
const SITE_PREFIX = '10.0.1.0/24';
const MTU = 1500;
/** What a plain GRE tunnel over a device of 1500 bytes carries. */
export const GRE_MTU = 1476;

/** One Ethernet device of the gateway: its name and MAC, its own address there, and its neighbour's. */
export interface EthernetEnd {
  readonly name: string;
  readonly mac: string;
  readonly address: string;
  readonly neighbour: string;
}

/** `site` and a second one with the same addresses, and an internet egress with source translation: TUN devices. */
export function tunPlan(site: string, other: string, internet: string): Plan {
  const devices = [site, other, internet].map(
    (name, at): PlanDevice => ({ index: at + 1, name, kind: 'tun', mtu: MTU }),
  );
  return internetPlan(
    devices,
    devices.map(({ index }) => ({ kind: 'ip', device: index })),
  );
}

/** The same over Ethernet devices. */
export function ethernetPlan(ends: readonly [EthernetEnd, EthernetEnd, EthernetEnd]): Plan {
  const devices = ends.map((end, at) => ethernetDevice(at + 1, end));
  return internetPlan(
    devices,
    ends.map((end, at) => ({
      kind: 'ethernet',
      device: at + 1,
      nextHop: { ipv4: end.neighbour },
      onLink: [],
      answers: [end.address],
      sourceAddresses: [end.address],
    })),
  );
}

/** One end of a GRE tunnel between two gateways: a TUN with `near` behind it, and `far` at the tunnel's other end. */
export function grePlan(tun: string, uplink: EthernetEnd, near: string, far: string): Plan {
  const spaces: PlanSpace[] = [
    { id: 1, name: 'near', kind: 'site', prefixes: [near] },
    { id: 2, name: 'far', kind: 'site', prefixes: [far] },
  ];
  const gre: PlanLink = {
    kind: 'gre',
    local: uplink.address,
    remote: uplink.neighbour,
    key: null,
    checksum: false,
    sequence: false,
    ttl: 64,
    device: 2,
    nextHop: uplink.neighbour,
    sourceAddresses: [uplink.address],
  };
  const ports: PlanPort[] = [
    { ...commonOf(1, 'near', { kind: 'ip', device: 1 }, GRE_MTU), ...tunnelOf('device') },
    { ...commonOf(2, 'far', gre, GRE_MTU), ...tunnelOf('gre') },
  ];
  const devices: PlanDevice[] = [
    { index: 1, name: tun, kind: 'tun', mtu: GRE_MTU },
    ethernetDevice(2, uplink),
  ];
  return planOf(spaces, devices, ports, []);
}

function internetPlan(devices: readonly PlanDevice[], links: readonly PlanLink[]): Plan {
  const names = ['paris', 'lyon', 'internet'];
  const spaces = names.map(
    (name, at): PlanSpace =>
      name === 'internet'
        ? { id: at + 1, name, kind: 'egress', prefixes: [] }
        : { id: at + 1, name, kind: 'site', prefixes: [SITE_PREFIX] },
  );
  const ports = names.map((name, at): PlanPort => {
    const common = commonOf(at + 1, name, links[at], MTU);
    if (name !== 'internet') return { ...common, ...tunnelOf('interconnect') };
    return {
      ...common,
      role: 'egress',
      translation: { ipv4: 'source', ipv6: 'source' },
      pools: [{ address: EXTERNAL_ADDRESS, portMin: 1024, portMax: 65535, quotaPerSite: 30_000 }],
      portForwards: [],
    };
  });
  return planOf(spaces, devices, ports, [{ prefix: '0.0.0.0/0', via: 3, priority: 100 }]);
}

function planOf(
  spaces: readonly PlanSpace[],
  devices: readonly PlanDevice[],
  ports: readonly PlanPort[],
  routes: Plan['routes'],
): Plan {
  return {
    generation: 1,
    gatewayName: 'bench',
    spaces,
    devices,
    ports,
    routes,
    gatewayAddresses: [],
    flowTable: {
      maxFlows: 262_144,
      perTunnel: 65_536,
      createRatePerTunnel: 20_000,
      createRatePerSource: 500,
      otherProtocols: [],
    },
    plugins: [planPlugin('plugins/return-routing/manifest.json')],
  };
}

function commonOf(number: number, name: string, link: PlanLink, mtu: number) {
  return { index: number, generation: 1, name, space: number, enabled: true, mtu, link, addresses: [] };
}

function tunnelOf(tunnelType: 'device' | 'gre' | 'interconnect') {
  return { role: 'tunnel' as const, tunnelType, priority: 100, automaticReturnRouting: true };
}

/** With the socket filter that control would give it. */
function ethernetDevice(index: number, end: EthernetEnd): PlanDevice {
  const classification = classify({
    role: 'exclusive',
    kind: 'ethernet',
    index,
    name: end.name,
    mtu: MTU,
    ifindex: 0,
    present: true,
    tunnel: end.name,
  });
  return {
    index,
    name: end.name,
    kind: 'ethernet',
    mtu: MTU,
    mac: end.mac,
    filter: socketFilter(classification!),
  };
}
