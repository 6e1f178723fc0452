/** Keys and values that are wrong by themselves, or not built yet; those of tunnels: `schema.tunnels.test.ts`. */
import { badConfigurations } from '../../../test/support/bad-configurations.ts';

badConfigurations([
  ['version missing', 'version: 1\n', '', ['1:1: version: is missing; write 1']],
  [
    'version in quotes',
    'version: 1',
    'version: "1"',
    ['1:10: version: 1 is not a known version; write 1 without quotes'],
  ],
  ['version 2', 'version: 1', 'version: 2', ['1:10: version: 2 is not a known version; write 1']],
  ['unknown key at the top', 'routes:', 'rotues:', ['34:1: rotues is not a known key; did you mean routes?']],
  [
    'unknown key without a near one',
    'api: {',
    'banana: 1\napi: {',
    [
      '44:1: banana is not a known key; the keys here are version, gateway, sites, egress, routes, ipsec, flow_table, plugins, api, metrics, flow_log, log',
    ],
  ],
  [
    'sites is a map',
    'routes:\n  - { prefix: 10.60.0.0/16, via: datacenter, priority: 100 }\n  - { prefix: 0.0.0.0/0, via: internet }\n  - { prefix: "::/0", via: internet }',
    'routes: { prefix: 10.60.0.0/16 }',
    ['34:9: routes: a map is not a list; write a list of routes'],
  ],
  [
    'api.listen',
    'listen: null',
    'listen: 127.0.0.1:8080',
    [
      '44:48: api.listen: 127.0.0.1:8080 is not a map of network settings of the API; write a map with the keys address, port, certificate, key, tokens',
    ],
  ],
  [
    'api.listen without tokens',
    'listen: null',
    'listen: { address: 192.0.2.1, port: 9443, certificate: /c, key: /k, tokens: [] }',
    ['44:116: api.listen.tokens: is empty; write at least one token, nobody could use the API without'],
  ],
  [
    'relative socket',
    'socket: /run/homeward/api.sock',
    'socket: api.sock',
    ['44:16: api.socket: api.sock is not an absolute path; write one such as /run/homeward/api.sock'],
  ],
  [
    'state_dir',
    'name: gw1 }',
    'name: gw1, state_dir: state }',
    ['2:34: gateway.state_dir: state is not an absolute path; write one such as /var/lib/homeward'],
  ],
  [
    'timeouts',
    'max_flows: 262144',
    'timeouts: { tcp: 1h }',
    ['39:3: flow_table: timeouts are not built yet; leave it out'],
  ],
  [
    'plugin gateway',
    '- name: return-routing',
    '- name: gateway\n    options: { default: allow }\n  - name: return-routing',
    ['43:11: plugins.gateway.name: plugin gateway is not built yet; leave it out'],
  ],
  [
    'unknown plugin',
    '- name: return-routing',
    '- name: nat64',
    [
      "43:11: plugins.nat64.name: nat64 is no plugin of homeward's own; write one of firewall, return-routing, or say with from where it is",
    ],
  ],
  [
    'name with a space',
    'name: datacenter',
    'name: data center',
    [
      '22:11: sites[2].name: "data center" is not a name for a site; write letters, digits, - and _ (a letter or digit first), at most 63 characters',
    ],
  ],
  [
    'empty name',
    'name: datacenter',
    'name: ""',
    [
      '22:11: sites[2].name: "" is not a name for a site; write letters, digits, - and _ (a letter or digit first), at most 63 characters',
    ],
  ],
  [
    'name is a number',
    'name: datacenter',
    'name: 7',
    [
      '22:11: sites[2].name: 7 is not a name for a site; write letters, digits, - and _ (a letter or digit first), at most 63 characters',
    ],
  ],
  [
    'host bits',
    'prefixes: [10.50.0.0/16]',
    'prefixes: [10.50.1.0/16]',
    ['23:16: sites.datacenter.prefixes[0]: 10.50.1.0/16 has bits set behind its length; write 10.50.0.0/16'],
  ],
  [
    'host bits ipv6',
    'prefixes: [10.50.0.0/16]',
    'prefixes: ["2001:DB8:0:1::/32"]',
    [
      '23:16: sites.datacenter.prefixes[0]: 2001:DB8:0:1::/32 has bits set behind its length; write 2001:db8::/32',
    ],
  ],
  [
    'prefix without length',
    'prefixes: [10.50.0.0/16]',
    'prefixes: [10.50.0.0]',
    [
      '23:16: sites.datacenter.prefixes[0]: 10.50.0.0 is not a prefix; write an address and a length, such as 10.0.1.0/24 or 2001:db8:1::/48',
    ],
  ],
  [
    'prefix length out of range',
    'prefixes: [10.50.0.0/16]',
    'prefixes: [10.50.0.0/33]',
    [
      '23:16: sites.datacenter.prefixes[0]: 10.50.0.0/33 is not a prefix; write an address and a length, such as 10.0.1.0/24 or 2001:db8:1::/48',
    ],
  ],
  [
    'leading zeros',
    'prefixes: [10.50.0.0/16]',
    'prefixes: [10.050.0.0/16]',
    [
      '23:16: sites.datacenter.prefixes[0]: 10.050.0.0/16 is not a prefix; write an address and a length, such as 10.0.1.0/24 or 2001:db8:1::/48',
    ],
  ],
  [
    "everything as a site's prefix",
    'prefixes: [10.50.0.0/16]',
    'prefixes: [0.0.0.0/0]',
    [
      "23:16: sites.datacenter.prefixes[0]: 0.0.0.0/0 is every address, not a site's own; write the site's prefixes and use routes for the rest",
    ],
  ],
  [
    "multicast as a site's prefix",
    'prefixes: [10.50.0.0/16]',
    'prefixes: [239.1.0.0/16]',
    [
      '23:16: sites.datacenter.prefixes[0]: 239.1.0.0/16 is loopback, link-local, multicast or reserved; write prefixes that hosts of a site have',
    ],
  ],
  [
    'prefixes without value',
    'prefixes: [10.50.0.0/16]',
    'prefixes:',
    ['23:14: sites.datacenter.prefixes: has no value; write a prefix or a list of them'],
  ],
  [
    'egress type',
    'type: internet',
    'type: private',
    ['28:11: egress.internet.type: private is not known here; write internet'],
  ],
  [
    'egress without device',
    '    device: eth0\n',
    '',
    ['27:5: egress.internet.device: is missing; write a name as `ip link` shows it, such as eth0'],
  ],
  [
    'egress next hop',
    'next_hop: auto',
    'next_hop: gateway',
    [
      '30:15: egress.internet.next_hop: gateway is not an IP address; write one such as 192.0.2.1 or 2001:db8::1',
    ],
  ],
  [
    'pool too large',
    'addresses: auto',
    'addresses: 198.51.100.0/24',
    [
      '31:16: egress.internet.addresses: 198.51.100.0/24 has too many addresses; write at most 16 for one egress',
    ],
  ],
  [
    'pool with host bits',
    'addresses: auto',
    'addresses: [198.51.100.1/30]',
    [
      '31:17: egress.internet.addresses[0]: 198.51.100.1/30 has bits set behind its length; write 198.51.100.0/30',
    ],
  ],
  [
    'pool is loopback',
    'addresses: auto',
    'addresses: 127.0.0.1',
    [
      '31:16: egress.internet.addresses: 127.0.0.1 cannot be a sender on the internet; write an address that is routed to the gateway',
    ],
  ],
  [
    'nat',
    'ipv4: source',
    'ipv4: masquerade',
    ['32:18: egress.internet.nat.ipv4: masquerade is not known here; write one of source, none'],
  ],
  [
    'reserved ports reversed',
    'next_hop: auto',
    'reserved_ports: 65000-61000',
    [
      '30:21: egress.internet.reserved_ports: 65000-61000 is not usable; write at least 256 ports between 1024 and 65535',
    ],
  ],
  [
    'reserved ports too low',
    'next_hop: auto',
    'reserved_ports: 80-2000',
    [
      '30:21: egress.internet.reserved_ports: 80-2000 is not usable; write at least 256 ports between 1024 and 65535',
    ],
  ],
  [
    'reserved ports is a number',
    'next_hop: auto',
    'reserved_ports: 61000',
    [
      '30:21: egress.internet.reserved_ports: 61000 is not a range of ports; write first and last port, such as 61000-65535',
    ],
  ],
  [
    'quota',
    'next_hop: auto',
    'site_quota: 0%',
    [
      '30:17: egress.internet.site_quota: 0% is not a share; write a percentage above 0% up to 100%, such as 25%',
    ],
  ],
  [
    'forward of sctp',
    'protocol: tcp',
    'protocol: sctp',
    ['33:34: egress.internet.port_forwards[0].protocol: sctp is not known here; write one of tcp, udp'],
  ],
  [
    'forward of port 0',
    'port: 8443',
    'port: 0',
    ['33:45: egress.internet.port_forwards[0].port: 0 is not a whole number from 1 to 65535; write one'],
  ],
  [
    'route with host bits',
    'prefix: 10.60.0.0/16',
    'prefix: 10.60.0.1/16',
    ['35:15: routes[0].prefix: 10.60.0.1/16 has bits set behind its length; write 10.60.0.0/16'],
  ],
  [
    'max_flows',
    'max_flows: 262144',
    'max_flows: 100',
    ['39:14: flow_table.max_flows: 100 is not a whole number from 1024 to 4194304; write one'],
  ],
  [
    'share',
    'per_tunnel: 25%',
    'per_tunnel: 0.25',
    [
      '40:15: flow_table.per_tunnel: 0.25 is not a share; write a percentage above 0% up to 100%, such as 25%',
    ],
  ],
  [
    'share above all',
    'per_tunnel: 25%',
    'per_tunnel: 125%',
    [
      '40:15: flow_table.per_tunnel: 125% is not a share; write a percentage above 0% up to 100%, such as 25%',
    ],
  ],
  [
    'rate without unit',
    'per_source: 500/s',
    'per_source: 500',
    [
      '41:51: flow_table.create_rate.per_source: 500 is not a rate; write a whole number per second such as 500/s, or unlimited',
    ],
  ],
  [
    'rate per minute',
    'per_source: 500/s',
    'per_source: 500/m',
    [
      '41:51: flow_table.create_rate.per_source: 500/m is not a rate; write a whole number per second such as 500/s, or unlimited',
    ],
  ],
  [
    'protocol of tunnels',
    'max_flows: 262144',
    'other_protocols: [132, 47]',
    ['39:26: flow_table.other_protocols[1]: 47 is a tunnel protocol and never forwarded; leave it out'],
  ],
  [
    'protocol tcp',
    'max_flows: 262144',
    'other_protocols: 6',
    ['39:20: flow_table.other_protocols: 6 starts flows anyway; leave it out'],
  ],
]);
