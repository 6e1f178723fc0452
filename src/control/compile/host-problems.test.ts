/**
 * What is wrong with a configuration only on this host, one line each: mistakes are refused, and then no number is
 * used up; for what the host lacks the port is in the plan, down, and nothing but strictness refuses it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXAMPLE_CONFIG, EXAMPLE_FACTS, EXAMPLE_FILE } from '../../../test/fixtures/example-gateway.ts';
import {
  type Change,
  compile,
  example,
  withLink,
  withoutLink,
} from '../../../test/support/compile-example.ts';
import { formatProblem } from '../config/errors.ts';
import type { HostFacts } from '../facts.ts';
import { Identities } from '../identities.ts';

const HERE = 'interfaces here: eth0, eth1.20, wg0';

const MISTAKES: [name: string, facts: HostFacts, changes: Change[], lines: string[]][] = [
  [
    'an interconnect on layer 3',
    withLink('eth1.20', { kind: 'layer3' }),
    [],
    ['21:54: sites.lyon.tunnels.lyon-ic.device: eth1.20 is not an Ethernet interface; write type: device'],
  ],
  [
    'a device tunnel on Ethernet',
    withLink('wg0', { kind: 'ethernet', mac: '02:00:00:00:00:07' }),
    [],
    ['25:46: sites.datacenter.tunnels.dc-wg.device: wg0 is an Ethernet interface; write type: interconnect'],
  ],
  [
    'a device tunnel on the loopback',
    EXAMPLE_FACTS,
    [['device: wg0', 'device: lo']],
    ['25:46: sites.datacenter.tunnels.dc-wg.device: lo is the loopback interface; write a layer-3 interface'],
  ],
  [
    'a TUN device that is something else',
    EXAMPLE_FACTS,
    [['device: wg0', 'driver: tun, device: wg0']],
    [
      '25:59: sites.datacenter.tunnels.dc-wg.device: wg0 exists and is no TUN device; write another name or driver: packet',
    ],
  ],
  [
    'the loopback as uplink',
    EXAMPLE_FACTS,
    [['device: eth0', 'device: lo']],
    ['29:13: egress.internet.device: lo is the loopback interface; write the one that leads to the internet'],
  ],
  [
    'a next hop on layer 3',
    withLink('ppp0', { addresses: EXAMPLE_FACTS.links.eth0!.addresses }),
    [
      ['device: eth0', 'device: ppp0'],
      ['next_hop: auto', 'next_hop: 192.0.2.254'],
    ],
    [
      '30:15: egress.internet.next_hop: 192.0.2.254 cannot be a next hop: ppp0 is a layer-3 interface and has no neighbours; write auto',
    ],
  ],
  [
    'external addresses that others have',
    EXAMPLE_FACTS,
    [['addresses: auto', 'addresses: [192.0.2.254, 192.0.2.77, 198.51.100.10]']],
    [
      '31:16: egress.internet.addresses: 192.0.2.254 is the next hop; write addresses that nobody else has',
      "31:16: egress.internet.addresses: 198.51.100.10 is a tunnel's remote end; write addresses that nobody else has",
    ],
  ],
  [
    'no room for reserved ports',
    { ...EXAMPLE_FACTS, localPortRange: { min: 1024, max: 65535 } },
    [],
    [
      "27:5: egress.internet.reserved_ports: auto finds no room above the host's own ports (net.ipv4.ip_local_port_range 1024-65535); write a range or make the host's smaller",
    ],
  ],
  [
    'no ports left for the host',
    EXAMPLE_FACTS,
    [['next_hop: auto', 'reserved_ports: 20000-65000']],
    [
      '30:21: egress.internet.reserved_ports: 20000-65000 leaves the host too few of its own ports (net.ipv4.ip_local_port_range 32768-60999); write a range that leaves it at least 1024',
    ],
  ],
  [
    'a forward without an address of its family',
    EXAMPLE_FACTS,
    [['addresses: auto', 'addresses: "2001:db8::1"']],
    [
      '33:22: egress.internet.port_forwards[0]: has no external IPv4 address to listen on; add one to internet',
    ],
  ],
  [
    'a forward that is the same as one without address',
    EXAMPLE_FACTS,
    [
      [
        'port_forwards: [ ',
        'port_forwards: [ { protocol: tcp, address: 192.0.2.1, port: 8443, to: { site: lyon, address: 10.0.1.9, port: 1 } },\n      ',
      ],
    ],
    [
      '34:30: egress.internet.port_forwards[1].port: 8443 is already forwarded from 192.0.2.1; write each protocol, address and port once',
    ],
  ],
  [
    'a name that would match other interfaces, too',
    EXAMPLE_FACTS,
    [['device: wg0', 'device: wg*']],
    [
      '25:46: sites.datacenter.tunnels.dc-wg.device: wg* is a name that guard rules cannot hold; rename the interface (letters, digits and . _ + ~ @ -)',
    ],
  ],
  [
    'a port of a bridge',
    withLink('eth1.20', { partOf: { kind: 'bridge', name: 'br0' } }),
    [],
    [
      '21:54: sites.lyon.tunnels.lyon-ic.device: eth1.20 is a port of bridge br0; write br0, or take eth1.20 out of it',
    ],
  ],
  [
    'an interconnect on which the host has an address',
    withLink('eth1.20', {
      addresses: [{ address: '172.20.0.1', prefixLength: 30, scope: 'global', transient: false }],
    }),
    [],
    [
      '21:54: sites.lyon.tunnels.lyon-ic.device: the host has the address 172.20.0.1/30 on eth1.20, where homeward answers itself; remove it (ip address del 172.20.0.1/30 dev eth1.20) and write it as interface_address',
    ],
  ],
];

/** `down`: the ports that are. */
const LACKS: [name: string, facts: HostFacts, changes: Change[], lines: string[], down: string[]][] = [
  [
    'no interconnect device',
    withoutLink('eth1.20'),
    [],
    ['21:54: sites.lyon.tunnels.lyon-ic.device: eth1.20 does not exist; interfaces here: eth0, wg0'],
    ['lyon-ic'],
  ],
  [
    'a mistyped device',
    EXAMPLE_FACTS,
    [['device: wg0', 'device: wg9']],
    [`25:46: sites.datacenter.tunnels.dc-wg.device: wg9 does not exist; did you mean wg0? (${HERE})`],
    ['dc-wg'],
  ],
  [
    'a device named like an object property',
    EXAMPLE_FACTS,
    [['device: wg0', 'device: constructor']],
    [`25:46: sites.datacenter.tunnels.dc-wg.device: constructor does not exist; ${HERE}`],
    ['dc-wg'],
  ],
  [
    'no uplink',
    withoutLink('eth0'),
    [],
    [
      '9:16: sites.paris.tunnels.paris-gre.local: 192.0.2.1 is not an address of this host; there is no IPv4 address here',
      '29:13: egress.internet.device: eth0 does not exist; interfaces here: eth1.20, wg0',
    ],
    ['paris-gre', 'internet'],
  ],
  [
    'a local address of another host',
    EXAMPLE_FACTS,
    [['local: 192.0.2.1', 'local: 192.0.2.9']],
    [
      '9:16: sites.paris.tunnels.paris-gre.local: 192.0.2.9 is not an address of this host; addresses here: 192.0.2.1',
    ],
    ['paris-gre'],
  ],
  [
    'no route to the remote',
    { ...EXAMPLE_FACTS, routes: [] },
    [],
    [
      '10:17: sites.paris.tunnels.paris-gre.remote: 198.51.100.10 is not reachable from 192.0.2.1; add a route to it on the host',
    ],
    ['paris-gre'],
  ],
  [
    'the remote on this host',
    { ...EXAMPLE_FACTS, routes: [{ ...EXAMPLE_FACTS.routes[0]!, device: 'lo' }] },
    [],
    [
      "10:17: sites.paris.tunnels.paris-gre.remote: 198.51.100.10 is reached by lo, which is no Ethernet or layer-3 interface; change the host's route to it",
    ],
    ['paris-gre'],
  ],
  [
    'the remote behind a device tunnel',
    { ...EXAMPLE_FACTS, routes: [{ ...EXAMPLE_FACTS.routes[0]!, device: 'wg0' }] },
    [],
    [
      "10:17: sites.paris.tunnels.paris-gre.remote: 198.51.100.10 is reached by wg0, which tunnel dc-wg owns; change the host's route to it",
    ],
    ['paris-gre'],
  ],
  [
    'the remote behind an interconnect',
    { ...EXAMPLE_FACTS, routes: [{ ...EXAMPLE_FACTS.routes[0]!, device: 'eth1.20' }] },
    [],
    [
      "10:17: sites.paris.tunnels.paris-gre.remote: 198.51.100.10 is reached by eth1.20, which tunnel lyon-ic owns; change the host's route to it",
    ],
    ['paris-gre'],
  ],
  [
    'an uplink too small for GRE',
    withLink('eth0', { mtu: 600 }),
    [],
    [
      '10:17: sites.paris.tunnels.paris-gre.remote: 198.51.100.10 is reached by eth0, whose mtu 600 is too small; write at least 604 there',
    ],
    ['paris-gre'],
  ],
  [
    'no default route',
    { ...EXAMPLE_FACTS, defaultRoutes: [{ family: 4, device: 'eth9', nextHop: '10.0.0.1', metric: 0 }] },
    [],
    [
      "30:15: egress.internet.next_hop: auto finds no default route by eth0; add one on the host or write the next hop's address",
    ],
    ['internet'],
  ],
  [
    'a next hop that is no neighbour',
    EXAMPLE_FACTS,
    [['next_hop: auto', 'next_hop: 203.0.113.1']],
    [
      '30:15: egress.internet.next_hop: 203.0.113.1 is not a neighbour on eth0; write an address in 192.0.2.0/24',
    ],
    ['internet'],
  ],
  [
    'an uplink without address',
    withLink('eth0', {
      addresses: [{ address: 'fe80::2', prefixLength: 64, scope: 'link', transient: false }],
    }),
    [
      ['local: 192.0.2.1', 'local: 192.0.2.1'],
      [
        '    port_forwards: [ { protocol: tcp, port: 8443, to: { site: lyon, address: 10.0.1.20, port: 443 } } ]\n',
        '',
      ],
    ],
    [
      '9:16: sites.paris.tunnels.paris-gre.local: 192.0.2.1 is not an address of this host; there is no IPv4 address here',
      '31:16: egress.internet.addresses: auto finds no address on eth0; add one there or write the addresses that are routed to it',
    ],
    ['paris-gre', 'internet'],
  ],
  [
    'a forward from an address that auto did not choose',
    EXAMPLE_FACTS,
    [['protocol: tcp,', 'protocol: tcp, address: 192.0.2.9,']],
    [
      '33:48: egress.internet.port_forwards[0].address: 192.0.2.9 is not an address of internet; write one of 192.0.2.1, 2001:db8::1',
    ],
    [],
  ],
  [
    'a forward to a family that the uplink has no address of',
    withLink('eth0', { addresses: EXAMPLE_FACTS.links.eth0!.addresses.slice(1) }),
    [['local: 192.0.2.1', 'local: 192.0.2.1']],
    [
      '9:16: sites.paris.tunnels.paris-gre.local: 192.0.2.1 is not an address of this host; there is no IPv4 address here',
      '33:22: egress.internet.port_forwards[0]: has no external IPv4 address to listen on; add one to internet',
    ],
    ['paris-gre'],
  ],
];

function refused(error: unknown, lines: readonly string[]): true {
  assert.deepEqual(
    (error as Error).message.split('\n'),
    lines.map((line) => `${EXAMPLE_FILE}:${line}`),
  );
  assert.equal((error as { code?: unknown }).code, 'config_invalid');
  return true;
}

for (const [name, facts, changes, lines] of MISTAKES) {
  test(`a mistake: ${name}`, () => {
    const identities = new Identities();
    assert.throws(
      () => compile(example(...changes), facts, identities),
      (error) => refused(error, lines),
    );
    assert.equal(compile(EXAMPLE_CONFIG, EXAMPLE_FACTS, identities).plan.generation, 1);
  });
}

for (const [name, facts, changes, lines, down] of LACKS) {
  test(`a lack: ${name}`, () => {
    const identities = new Identities();
    assert.throws(
      () => compile(example(...changes), facts, identities, { tolerate: 'nothing' }),
      (error) => refused(error, lines),
    );
    const { plan, problems } = compile(example(...changes), facts, identities);
    assert.equal(plan.generation, 1);
    assert.deepEqual(
      problems.map(formatProblem),
      lines.map((line) => `${EXAMPLE_FILE}:${line}`),
    );
    const without = plan.ports.filter(({ link }) => link.device === -1);
    assert.deepEqual(
      without.map((port) => port.name),
      down,
    );
    assert.equal(plan.ports.length, 4);
  });
}
