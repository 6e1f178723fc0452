/** What contradicts something else in the file. */
import { badConfigurations } from '../../../../test/support/bad-configurations.ts';

badConfigurations([
  [
    'plugin twice',
    '- name: return-routing',
    '- name: return-routing\n  - name: return-routing',
    ['44:11: plugins.return-routing.name: return-routing stands here twice; write each plugin once'],
  ],
  [
    'plugin options',
    '- name: return-routing',
    '- { name: return-routing, options: { sticky: true } }',
    [
      '43:40: plugins.return-routing.options: sticky is not a known option; leave it out, there are none here',
    ],
  ],
  [
    'name of a site and a tunnel',
    'name: dc-wg',
    'name: paris',
    [
      '25:17: sites.datacenter.tunnels.paris.name: paris is also the name of a site in line 4; give every site, tunnel and egress its own',
    ],
  ],
  [
    'two tunnels by one name',
    'name: dc-wg',
    'name: lyon-ic',
    [
      '25:17: sites.datacenter.tunnels.lyon-ic.name: lyon-ic is also the name of a tunnel in line 21; give every site, tunnel and egress its own',
    ],
  ],
  [
    'egress named like a site',
    '- name: internet',
    '- name: lyon',
    [
      '27:11: egress.lyon.name: lyon is also the name of a site in line 18; give every site, tunnel and egress its own',
      '36:31: routes[1].via: internet is neither a site nor an egress; there are paris, lyon, datacenter',
      '37:28: routes[2].via: internet is neither a site nor an egress; there are paris, lyon, datacenter',
    ],
  ],
  [
    'prefix twice',
    'prefixes: [10.50.0.0/16]',
    'prefixes: [10.50.0.0/16, 10.50.0.0/16]',
    ['23:30: sites.datacenter.prefixes[1]: 10.50.0.0/16 stands here twice; write each prefix once'],
  ],
  [
    'other family',
    'remote: 198.51.100.10',
    'remote: 2001:db8::10',
    [
      '10:17: sites.paris.tunnels.paris-gre.remote: 2001:db8::10 is not of the same family as local (192.0.2.1); write an IPv4 address',
    ],
  ],
  [
    'remote is local',
    'remote: 198.51.100.10',
    'remote: 192.0.2.1',
    [
      "10:17: sites.paris.tunnels.paris-gre.remote: 192.0.2.1 is local as well; write the other end's address",
    ],
  ],
  [
    'same endpoints and key',
    '- { name: dc-wg, type: device, device: wg0 }',
    '- { name: dc-gre, type: gre, local: 192.0.2.1, remote: 198.51.100.10, key: 7 }',
    [
      '25:82: sites.datacenter.tunnels.dc-gre.key: 7 does not tell this tunnel from paris-gre (same local, remote and key 7); write another key',
    ],
  ],
  [
    'mtu too small for ipv6',
    'mtu: 1476',
    'mtu: 1200',
    [
      '13:14: sites.paris.tunnels.paris-gre.mtu: 1200 is too small for IPv6 (fd00:a::/127); write at least 1280',
    ],
  ],
  [
    'interface address twice',
    '169.254.240.0/31,',
    '169.254.240.0/31, 169.254.240.0/31,',
    [
      '15:47: sites.paris.tunnels.paris-gre.interface_address[1]: 169.254.240.0 stands here twice; write each address once',
    ],
  ],
  [
    'next hop elsewhere',
    'next_hop: 172.20.0.2',
    'next_hop: 172.21.0.2',
    [
      '21:107: sites.lyon.tunnels.lyon-ic.next_hop: 172.21.0.2 is not a neighbour on this interface; write an address in 172.20.0.0/30',
    ],
  ],
  [
    'next hop is own',
    'next_hop: 172.20.0.2',
    'next_hop: 172.20.0.1',
    [
      "21:107: sites.lyon.tunnels.lyon-ic.next_hop: 172.20.0.1 is the gateway's own interface_address; write the neighbour's address",
    ],
  ],
  [
    'next hop of another family',
    'next_hop: 172.20.0.2',
    'next_hop: 2001:db8::2',
    [
      '21:107: sites.lyon.tunnels.lyon-ic.next_hop: 2001:db8::2 has no interface_address of its family beside it; add an IPv6 interface_address',
    ],
  ],
  [
    'two next hops of a family',
    'next_hop: 172.20.0.2',
    'next_hop: [172.20.0.2, 172.20.0.1]',
    [
      '21:120: sites.lyon.tunnels.lyon-ic.next_hop[1]: 172.20.0.1 is a second IPv4 next hop beside 172.20.0.2; write one a family',
    ],
  ],
  [
    'two interconnects on one device',
    '- { name: dc-wg, type: device, device: wg0 }',
    '- { name: dc-ic, type: interconnect, device: eth1.20, interface_address: 172.20.0.1/30 }',
    [
      '25:52: sites.datacenter.tunnels.dc-ic.device: eth1.20 already carries tunnel lyon-ic in line 21; give each its own interface (a VLAN is one)',
    ],
  ],
  [
    'interconnect on the uplink',
    'device: eth1.20',
    'device: eth0',
    [
      '29:13: egress.internet.device: eth0 already carries tunnel lyon-ic in line 21; give each its own interface (a VLAN is one)',
    ],
  ],
  [
    'egress next hops',
    'next_hop: auto',
    'next_hop: [192.0.2.254, 192.0.2.253]',
    [
      '30:29: egress.internet.next_hop[1]: 192.0.2.253 is a second IPv4 next hop beside 192.0.2.254; write one a family',
    ],
  ],
  [
    'pool of too many',
    'addresses: auto',
    'addresses: [198.51.100.0/28, 192.0.2.1]',
    ['31:16: egress.internet.addresses: 17 addresses are too many; write at most 16 for one egress'],
  ],
  [
    'pool address twice',
    'addresses: auto',
    'addresses: [198.51.100.0/30, 198.51.100.2]',
    [
      '31:34: egress.internet.addresses[1]: 198.51.100.2 already belongs to egress internet; write each address once',
    ],
  ],
  [
    'pool without translation',
    'addresses: auto\n    nat: { ipv4: source, ipv6: source }',
    'addresses: [198.51.100.1, "2001:db8::7"]\n    nat: { ipv6: none }',
    [
      '31:31: egress.internet.addresses[1]: 2001:db8::7 is not used, because nat.ipv6 is none; leave it out or write nat.ipv6: source',
    ],
  ],
  [
    'pool empty',
    'addresses: auto',
    'addresses: []',
    ['31:16: egress.internet.addresses: is empty; write auto or at least one address'],
  ],
  [
    'forward to nowhere',
    'site: lyon,',
    'site: lion,',
    ['33:63: egress.internet.port_forwards[0].to.site: lion is not a site; did you mean lyon?'],
  ],
  [
    'forward to an address outside',
    'address: 10.0.1.20',
    'address: 10.0.2.20',
    [
      '33:78: egress.internet.port_forwards[0].to.address: 10.0.2.20 is not an address of lyon; write one in 10.0.1.0/24',
    ],
  ],
  [
    'forward twice',
    'port_forwards: [ ',
    'port_forwards: [ { protocol: tcp, port: 8443, to: { site: datacenter, address: 10.50.0.1, port: 1 } },\n      ',
    [
      '34:30: egress.internet.port_forwards[1].port: 8443 is already forwarded in line 33; write each protocol, address and port once',
    ],
  ],
  [
    'forward without translation',
    'ipv4: source',
    'ipv4: none',
    [
      '33:22: egress.internet.port_forwards[0]: forwards IPv4, which this egress does not translate; write nat.ipv4: source or leave it out',
    ],
  ],
  [
    'forward of another family',
    'protocol: tcp,',
    'protocol: tcp, address: "2001:db8::1",',
    [
      '33:48: egress.internet.port_forwards[0].address: 2001:db8::1 is not of the same family as 10.0.1.20; write an IPv4 address',
    ],
  ],
  [
    'forward of a foreign address',
    'addresses: auto\n    nat: { ipv4: source, ipv6: source }\n    port_forwards: [ { protocol: tcp,',
    'addresses: 198.51.100.0/30\n    port_forwards: [ { protocol: tcp, address: 198.51.100.4,',
    [
      '32:48: egress.internet.port_forwards[0].address: 198.51.100.4 is not an address of internet; write one of its addresses',
    ],
  ],
  [
    'route via nobody',
    'via: datacenter,',
    'via: datacentre,',
    ['35:34: routes[0].via: datacentre is neither a site nor an egress; did you mean datacenter?'],
  ],
  [
    'route twice',
    '- { prefix: "::/0", via: internet }',
    '- { prefix: 0.0.0.0/0, via: internet, priority: 7 }',
    ['37:15: routes[2].prefix: 0.0.0.0/0 is already routed via internet in line 36; leave one of them out'],
  ],
  [
    'route to two sites',
    '- { prefix: "::/0", via: internet }',
    '- { prefix: 10.60.0.0/16, via: lyon, priority: 200 }',
    [
      '37:15: routes[2].prefix: 10.60.0.0/16 is already routed via datacenter in line 35, and routing never chooses between sites; leave one of them out',
    ],
  ],
  [
    'private to the internet',
    '- { prefix: "::/0", via: internet }',
    '- { prefix: 192.168.0.0/16, via: internet }',
    [
      '37:15: routes[2].prefix: 192.168.0.0/16 is private and never goes to the internet; write a site in via',
    ],
  ],
]);
