/** A host and a configuration for tests: the gateway of docs/configuration.md. */
import type { HostFacts, LinkFacts } from '../facts.ts';

export const EXAMPLE_FILE = 'homeward.yaml';

export const EXAMPLE_CONFIG = `version: 1
gateway: { name: gw1 }
sites:
  - name: paris
    prefixes: [10.0.1.0/24]
    tunnels:
      - name: paris-gre
        type: gre
        local: 192.0.2.1
        remote: 198.51.100.10
        key: 7
        driver: auto
        mtu: 1476
        ttl: 64
        interface_address: [169.254.240.0/31, "fd00:a::/127"]
        priority: 100
        automatic_return_routing: true
  - name: lyon
    prefixes: [10.0.1.0/24]
    tunnels:
      - { name: lyon-ic, type: interconnect, device: eth1.20, interface_address: 172.20.0.1/30, next_hop: 172.20.0.2 }
  - name: datacenter
    prefixes: [10.50.0.0/16]
    tunnels:
      - { name: dc-wg, type: device, device: wg0 }
egress:
  - name: internet
    type: internet
    device: eth0
    next_hop: auto
    addresses: auto
    nat: { ipv4: source, ipv6: source }
    port_forwards: [ { protocol: tcp, port: 8443, to: { site: lyon, address: 10.0.1.20, port: 443 } } ]
routes:
  - { prefix: 10.60.0.0/16, via: datacenter, priority: 100 }
  - { prefix: 0.0.0.0/0, via: internet }
  - { prefix: "::/0", via: internet }
flow_table:
  max_flows: 262144
  per_tunnel: 25%
  create_rate: { per_tunnel: 20000/s, per_source: 500/s }
plugins:
  - name: return-routing
api: { socket: /run/homeward/api.sock, listen: null }
`;

const LOOPBACK: LinkFacts = {
  ifindex: 1,
  kind: 'loopback',
  mtu: 65536,
  up: true,
  addresses: [{ address: '127.0.0.1', prefixLength: 8, scope: 'host', transient: false }],
};

export const EXAMPLE_FACTS: HostFacts = {
  links: {
    lo: LOOPBACK,
    eth0: {
      ifindex: 2,
      kind: 'ethernet',
      mac: '02:00:00:00:00:02',
      mtu: 1500,
      up: true,
      addresses: [
        { address: '192.0.2.1', prefixLength: 24, scope: 'global', transient: false },
        { address: '2001:db8::9999', prefixLength: 64, scope: 'global', transient: true },
        { address: '2001:db8::1', prefixLength: 64, scope: 'global', transient: false },
        { address: 'fe80::ff:fe00:2', prefixLength: 64, scope: 'link', transient: false },
      ],
    },
    'eth1.20': {
      ifindex: 5,
      kind: 'ethernet',
      mac: '02:00:00:00:00:05',
      mtu: 1496,
      up: true,
      addresses: [],
    },
    wg0: { ifindex: 7, kind: 'layer3', mtu: 1420, up: true, addresses: [] },
  },
  defaultRoutes: [
    { family: 4, device: 'eth0', nextHop: '192.0.2.253', metric: 200 },
    { family: 4, device: 'eth0', nextHop: '192.0.2.254', metric: 100 },
    { family: 6, device: 'eth0', nextHop: 'fe80::1', metric: 1024 },
  ],
  routes: [{ local: '192.0.2.1', remote: '198.51.100.10', device: 'eth0', nextHop: '192.0.2.254' }],
  localPortRange: { min: 32768, max: 60999 },
};
