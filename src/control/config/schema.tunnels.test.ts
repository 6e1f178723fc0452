/** Keys and values of tunnels that are wrong by themselves, or not built yet. */
import { badConfigurations } from '../../../test/support/bad-configurations.ts';

badConfigurations([
  [
    'unknown key in a tunnel',
    'ttl: 64',
    'tll: 64',
    ['14:9: sites.paris.tunnels.paris-gre: tll is not a known key; did you mean ttl?'],
  ],
  [
    'key of another type of tunnel',
    'device: wg0 }',
    'device: wg0, key: 7 }',
    [
      '25:51: sites.datacenter.tunnels.dc-wg: key is not a known key; the keys here are name, enabled, priority, automatic_return_routing, mtu, health, type, device, driver, interface_address',
    ],
  ],
  [
    'a tunnel is text',
    '- { name: dc-wg, type: device, device: wg0 }',
    '- dc-wg',
    [
      '25:9: sites.datacenter.tunnels[0]: dc-wg is not a tunnel; write a map with name, type and what the type needs',
    ],
  ],
  [
    'site without tunnels',
    '\n      - { name: dc-wg, type: device, device: wg0 }',
    ' []',
    ['24:14: sites.datacenter.tunnels: is empty; write at least one tunnel'],
  ],
  [
    'tunnel without type',
    'type: device, ',
    '',
    ['25:9: sites.datacenter.tunnels.dc-wg.type: is missing; write one of gre, ipsec, interconnect, device'],
  ],
  [
    'unknown type',
    'type: device, ',
    'type: wireguard, ',
    [
      '25:30: sites.datacenter.tunnels.dc-wg.type: wireguard is not a type of tunnel; write one of gre, ipsec, interconnect, device',
    ],
  ],
  [
    'unknown gre driver',
    'driver: auto',
    'driver: fast',
    [
      '12:17: sites.paris.tunnels.paris-gre.driver: fast is not known here; write one of auto, kernel, userspace',
    ],
  ],
  [
    'unknown device driver',
    'device: wg0 }',
    'device: wg0, driver: tap }',
    ['25:59: sites.datacenter.tunnels.dc-wg.driver: tap is not known here; write one of packet, tun'],
  ],
  [
    'rate of health checks',
    'device: wg0 }',
    'device: wg0, health: { rate: fast } }',
    [
      '25:67: sites.datacenter.tunnels.dc-wg.health.rate: fast is not known here; write one of none, low, mid, high',
    ],
  ],
  [
    'target of health checks, and nothing to ask from',
    'device: wg0 }',
    'device: wg0, health: { target: 10.50.0.1 } }',
    [
      '25:69: sites.datacenter.tunnels.dc-wg.health.target: 10.50.0.1 cannot be asked without an address to ask from; add an IPv4 interface_address',
    ],
  ],
  [
    'tunnel name too long',
    'name: paris-gre',
    'name: paris-gre-tunnel-1',
    [
      '7:15: sites.paris.tunnels.paris-gre-tunnel-1.name: paris-gre-tunnel-1 has 18 characters; write at most 15',
    ],
  ],
  [
    'local is no address',
    'local: 192.0.2.1',
    'local: gw1.example',
    [
      '9:16: sites.paris.tunnels.paris-gre.local: gw1.example is not an IP address; write one such as 192.0.2.1 or 2001:db8::1',
    ],
  ],
  [
    'local is multicast',
    'local: 192.0.2.1',
    'local: 224.0.0.1',
    [
      "9:16: sites.paris.tunnels.paris-gre.local: 224.0.0.1 is no single host's address; write one such as 192.0.2.1 or 2001:db8::1",
    ],
  ],
  [
    'local is link-local',
    'local: 192.0.2.1',
    'local: 169.254.1.1',
    [
      '9:16: sites.paris.tunnels.paris-gre.local: 169.254.1.1 is link-local and cannot be routed; write one such as 192.0.2.1 or 2001:db8::1',
    ],
  ],
  [
    'local missing',
    '        local: 192.0.2.1\n',
    '',
    ['7:9: sites.paris.tunnels.paris-gre.local: is missing; write one such as 192.0.2.1 or 2001:db8::1'],
  ],
  [
    'key too large',
    'key: 7',
    'key: 4294967296',
    [
      '11:14: sites.paris.tunnels.paris-gre.key: 4294967296 is not a whole number from 0 to 4294967295; write one',
    ],
  ],
  [
    'key negative',
    'key: 7',
    'key: -1',
    ['11:14: sites.paris.tunnels.paris-gre.key: -1 is not a whole number from 0 to 4294967295; write one'],
  ],
  [
    'key is text',
    'key: 7',
    'key: seven',
    ['11:14: sites.paris.tunnels.paris-gre.key: seven is not a whole number from 0 to 4294967295; write one'],
  ],
  [
    'mtu too small',
    'mtu: 1476',
    'mtu: 500',
    ['13:14: sites.paris.tunnels.paris-gre.mtu: 500 is not a whole number from 576 to 65535; write one'],
  ],
  [
    'mtu a fraction',
    'mtu: 1476',
    'mtu: 1476.5',
    ['13:14: sites.paris.tunnels.paris-gre.mtu: 1476.5 is not a whole number from 576 to 65535; write one'],
  ],
  [
    'mtu without value',
    'mtu: 1476',
    'mtu:',
    ['13:13: sites.paris.tunnels.paris-gre.mtu: has no value; write a whole number from 576 to 65535'],
  ],
  [
    'ttl 0',
    'ttl: 64',
    'ttl: 0',
    ['14:14: sites.paris.tunnels.paris-gre.ttl: 0 is not a whole number from 1 to 255; write one'],
  ],
  [
    'checksum is text',
    'key: 7',
    'checksum: maybe',
    ['11:19: sites.paris.tunnels.paris-gre.checksum: maybe is not true or false; write one'],
  ],
  [
    'interface address without length',
    '169.254.240.0/31',
    '169.254.240.0',
    [
      '15:29: sites.paris.tunnels.paris-gre.interface_address[0]: 169.254.240.0 is not an address with its prefix length; write one such as 172.20.0.1/30 or fd00:a::/127',
    ],
  ],
  [
    'interface address is the network',
    'interface_address: 172.20.0.1/30',
    'interface_address: 172.20.0.0/30',
    [
      "21:82: sites.lyon.tunnels.lyon-ic.interface_address: 172.20.0.0/30 is the network or broadcast address of 172.20.0.0/30; write a host's address in it",
    ],
  ],
  [
    'interface address is the broadcast',
    'interface_address: 172.20.0.1/30',
    'interface_address: 172.20.0.3/30',
    [
      "21:82: sites.lyon.tunnels.lyon-ic.interface_address: 172.20.0.3/30 is the network or broadcast address of 172.20.0.0/30; write a host's address in it",
    ],
  ],
  [
    'interconnect without address',
    'interface_address: 172.20.0.1/30, ',
    '',
    [
      '21:9: sites.lyon.tunnels.lyon-ic.interface_address: is missing; write an address with its prefix length or a list of them',
    ],
  ],
  [
    'device name too long',
    'device: wg0',
    'device: wireguard-tunnel-0',
    [
      '25:46: sites.datacenter.tunnels.dc-wg.device: wireguard-tunnel-0 is not an interface name; write a name as `ip link` shows it, such as eth0',
    ],
  ],
]);
