/**
 * Who takes a packet that arrives on a device: one list of rules a device, from which both the socket's filter
 * (`socket-filter.ts`) and the host's guard (`guard-rules.ts`) are generated. The first rule that holds decides.
 *
 * ```
 *                       +-> socket filter (classic BPF)   takes what is `ours` or `both`
 *  HostDevice -> rules -+
 *                       +-> guard (nftables ingress)      drops what is `ours` or `nobody`
 * ```
 *
 * What an **exclusive** device gets is ours: untagged frames for its own MAC with IPv4 or IPv6, ARP, neighbour
 * solicitations and advertisements. The host gets nothing. A tagged frame belongs to the VLAN interface above
 * it and passes; one with VLAN 0 is taken by nobody.
 *
 * On a **shared** device (an uplink) everything is the host's, but for:
 *
 * | packet | taker |
 * | --- | --- |
 * | to a pool address or an untranslated prefix, whatever the protocol | ours |
 * | GRE from a configured remote to its local address, fragments too | ours |
 * | TCP, UDP to a shared address and a port of ours | ours |
 * | ICMP echo or timestamp reply to a shared address, identifier of ours | ours |
 * | ICMP error that quotes TCP, UDP or an ICMP query of ours from a shared address | ours |
 * | ICMP error that quotes our GRE | both: we lower the tunnel's MTU, the host its path MTU |
 * | later fragments of TCP, UDP, ICMP to a shared address | both: who has the first one completes the datagram |
 * | ARP, neighbour solicitation and advertisement (Ethernet) | both: the host answers, we only learn |
 * | a tagged frame (also VLAN 0), a frame for another MAC, multicast, broadcast (Ethernet) | the host |
 * | what an SA of a tunnel has decrypted, and no interface of the tunnel took (its mark) | the host, whose guard drops it |
 *
 * On a layer-3 uplink there are no link headers, so the two rows before the last are left out; the others are the same.
 *
 * IPv4 options and a quoted packet's IPv4 options are stepped over. IPv6 extension headers are not, but for one
 * fragment header: a packet with others to a shared address is the host's, who answers or drops it as it likes;
 * nothing that homeward sent is answered in that form. A first fragment is judged by its ports; the later ones
 * of a datagram that is not ours wait in our reassembly until they time out, bounded as everything there.
 * An error that quotes a later fragment has no ports to judge by: it is the host's, to whom it means nothing.
 *
 * RFC 791, 792, 826, 2784, 4443, 4861, 8200.
 */
import type { HostDevice, SharedDevice } from '../compile/host-setup.ts';
import type { PortRange } from '../config/config.ts';
import { hostPrefix, type IpPrefix, outermost, parsePrefix } from './prefix.ts';
import {
  anyOf,
  type BitsCondition,
  type Condition,
  DECRYPTED,
  destination,
  equals,
  familyOf,
  inRanges,
  type Rule,
  rule,
  source,
  type Taker,
} from './rules.ts';

/** Everything about one device's packets. */
export interface Classification {
  readonly device: string;
  /** Whether frames have an Ethernet header. */
  readonly link: 'ethernet' | 'ip';
  readonly rules: readonly Rule[];
  /** Where no rule holds. */
  readonly otherwise: 'host' | 'nobody';
}

const ICMP = 1;
const TCP = 6;
const UDP = 17;
const GRE = 47;
const IPV6_FRAGMENT = 44;
const ICMPV6 = 58;

/** The classification of a device; undefined for a TUN, whose far end we are: what it yields is all ours. */
export function classify(device: HostDevice): Classification | undefined {
  switch (device.role) {
    case 'exclusive':
      return {
        device: device.name,
        link: device.kind,
        rules: device.kind === 'ethernet' ? exclusiveEthernetRules() : exclusiveLayer3Rules(),
        otherwise: 'nobody',
      };
    case 'shared':
      return { device: device.name, link: device.kind, rules: sharedRules(device), otherwise: 'host' };
    case 'tun':
      return undefined;
  }
}

function exclusiveEthernetRules(): Rule[] {
  return [
    rule('host', 'any', [{ kind: 'vlan', is: 'other' }], 'frames of the VLAN interfaces above'),
    rule('nobody', 'any', [{ kind: 'vlan', is: 'zero' }], 'priority-tagged'),
    ...arpRules('ours'),
    ...neighborDiscoveryRules('ours'),
    rule('ours', 'ipv4', [{ kind: 'receiver', is: 'unicast' }], 'site'),
    rule('ours', 'ipv6', [{ kind: 'receiver', is: 'unicast' }], 'site'),
  ];
}

function exclusiveLayer3Rules(): Rule[] {
  return [rule('ours', 'ipv4', [], 'site'), rule('ours', 'ipv6', [], 'site')];
}

function sharedRules(device: SharedDevice): Rule[] {
  const prefixes = [
    ...device.poolAddresses.map(hostPrefix),
    ...device.untranslatedPrefixes.map((text) => parsePrefix(text)),
  ];
  return [
    ...(device.besideSas ? [rule('host', 'any', [DECRYPTED], 'decrypted, judged behind')] : []),
    ...(device.kind === 'ethernet' ? sharedEthernetRules() : []),
    ...([4, 6] as const).flatMap((version) => {
      const own = outermost(prefixes.filter((prefix) => prefix.version === version));
      return own.length === 0
        ? []
        : [rule('ours', familyOf(version), [destination(own)], 'addresses that are ours')];
    }),
    ...greRules(device),
    ...device.sharedAddresses.flatMap(({ address, ports }) => {
      const forwarded = (protocol: 'tcp' | 'udp'): PortRange[] =>
        device.portForwards
          .filter((forward) => forward.protocol === protocol && forward.address === address)
          .map(({ port }) => ({ min: port, max: port }));
      return sharedAddressRules(hostPrefix(address), {
        tcp: [ports, ...forwarded('tcp')],
        udp: [ports, ...forwarded('udp')],
        icmp: [ports],
      });
    }),
  ];
}

function sharedEthernetRules(): Rule[] {
  return [
    rule('host', 'any', [{ kind: 'vlan', is: 'other' }], 'frames of the VLAN interfaces above'),
    rule('host', 'any', [{ kind: 'vlan', is: 'zero' }], 'priority-tagged'),
    ...arpRules('both'),
    ...neighborDiscoveryRules('both'),
    rule('host', 'any', [{ kind: 'receiver', is: 'not-unicast' }], 'not for this MAC'),
  ];
}

function arpRules(taker: Taker): Rule[] {
  return [
    rule(taker, 'arp', [{ kind: 'receiver', is: 'unicast' }], 'ARP'),
    rule(taker, 'arp', [{ kind: 'receiver', is: 'group' }], 'ARP'),
  ];
}

/** Solicitations and advertisements, hop limit 255 (RFC 4861, 7.1). */
function neighborDiscoveryRules(taker: Taker): Rule[] {
  const message = [
    equals('network', 6, 1, ICMPV6),
    equals('network', 7, 1, 255),
    inRanges('network', 40, 1, [{ min: 135, max: 136 }]),
  ];
  return [
    rule(taker, 'ipv6', [{ kind: 'receiver', is: 'unicast' }, ...message], 'neighbour discovery'),
    rule(taker, 'ipv6', [{ kind: 'receiver', is: 'group' }, ...message], 'neighbour discovery'),
  ];
}

function greRules(device: SharedDevice): Rule[] {
  // Several tunnels may have the same endpoints and differ in their keys.
  const remotesOf = new Map<string, Set<string>>();
  for (const { local, remote } of device.gre) {
    remotesOf.set(local, (remotesOf.get(local) ?? new Set()).add(remote));
  }
  return [...remotesOf].flatMap(([localText, remoteTexts]) => {
    const local = hostPrefix(localText);
    const remotes = [...remoteTexts].map(hostPrefix);
    const endpoints = [destination([local]), source(remotes)];
    if (local.version === 4) {
      return [
        rule('ours', 'ipv4', [equals('network', 9, 1, GRE), ...endpoints], 'GRE tunnels'),
        rule(
          'both',
          'ipv4',
          [
            ...ipv4ErrorTo(local),
            equals('transport', 17, 1, GRE),
            ...quotedAddress('transport', 20, local),
            // Remotes as one field: all are /32.
            {
              kind: 'bits',
              base: 'transport',
              offset: 24,
              bytes: 4,
              mask: 0xffffffff,
              ranges: remotes.map(({ words }) => ({ min: words[0]!, max: words[0]! })),
            },
          ],
          'errors about GRE tunnels',
        ),
      ];
    }
    return [
      rule('ours', 'ipv6', [equals('network', 6, 1, GRE), ...endpoints], 'GRE tunnels'),
      rule(
        'ours',
        'ipv6',
        [equals('network', 6, 1, IPV6_FRAGMENT), ...endpoints, equals('network', 40, 1, GRE)],
        'fragments of GRE tunnels',
      ),
      ...remotes.map((remote) =>
        rule(
          'both',
          'ipv6',
          [
            ...ipv6ErrorTo(local),
            equals('network', 54, 1, GRE),
            ...quotedAddress('network', 56, local),
            ...quotedAddress('network', 72, remote),
          ],
          'errors about GRE tunnels',
        ),
      ),
    ];
  });
}

/** Ports and identifiers of one shared address that are ours. */
interface OwnPorts {
  readonly tcp: readonly PortRange[];
  readonly udp: readonly PortRange[];
  readonly icmp: readonly PortRange[];
}

function sharedAddressRules(address: IpPrefix, own: OwnPorts): Rule[] {
  return address.version === 4 ? sharedIpv4Rules(address, own) : sharedIpv6Rules(address, own);
}

function sharedIpv4Rules(address: IpPrefix, own: OwnPorts): Rule[] {
  const to = destination([address]);
  const protocol = (number: number): Condition => equals('network', 9, 1, number);
  const first = equals('network', 6, 2, 0, 0x1fff);
  const error = [...ipv4ErrorTo(address), ...quotedAddress('transport', 20, address)];
  const quotedFirst = equals('transport', 14, 2, 0, 0x1fff);
  const quotes = (number: number): Condition[] => [...error, equals('transport', 17, 1, number), quotedFirst];
  return [
    rule(
      'both',
      'ipv4',
      [
        to,
        anyOf('network', 9, [TCP, UDP, ICMP]),
        inRanges('network', 6, 2, [{ min: 1, max: 0x1fff }], 0x1fff),
      ],
      'later fragments',
    ),
    rule('ours', 'ipv4', [to, protocol(TCP), first, inRanges('transport', 2, 2, own.tcp)], 'TCP ports'),
    rule('ours', 'ipv4', [to, protocol(UDP), first, inRanges('transport', 2, 2, own.udp)], 'UDP ports'),
    rule(
      'ours',
      'ipv4',
      [to, protocol(ICMP), first, anyOf('transport', 0, [0, 14]), inRanges('transport', 4, 2, own.icmp)],
      'replies to our echo and timestamp requests',
    ),
    rule('ours', 'ipv4', [...quotes(TCP), inRanges('quoted-transport', 0, 2, own.tcp)], 'errors about TCP'),
    rule('ours', 'ipv4', [...quotes(UDP), inRanges('quoted-transport', 0, 2, own.udp)], 'errors about UDP'),
    rule(
      'ours',
      'ipv4',
      [...quotes(ICMP), anyOf('quoted-transport', 0, [8, 13]), inRanges('quoted-transport', 4, 2, own.icmp)],
      'errors about ICMP queries',
    ),
  ];
}

function sharedIpv6Rules(address: IpPrefix, own: OwnPorts): Rule[] {
  const to = destination([address]);
  const nextHeader = (number: number): Condition => equals('network', 6, 1, number);
  // Header of a fragment: next header at 40, offset in the upper 13 bits at 42, transport at 48.
  const firstFragmentOf = (number: number): Condition[] => [
    nextHeader(IPV6_FRAGMENT),
    equals('network', 40, 1, number),
    equals('network', 42, 2, 0, 0xfff8),
  ];
  const upper = [
    { ofProtocol: (number: number) => [nextHeader(number)], transport: 40, what: '' },
    { ofProtocol: firstFragmentOf, transport: 48, what: ' (first fragments)' },
  ];
  // The packet that an error quotes begins at 48; its next header at 54, its transport at 88 or, behind a
  // fragment header, at 96.
  const error = [...ipv6ErrorTo(address), ...quotedAddress('network', 56, address)];
  const quoted = [
    { ofProtocol: (number: number) => [equals('network', 54, 1, number)], transport: 88, what: '' },
    {
      ofProtocol: (number: number) => [
        equals('network', 54, 1, IPV6_FRAGMENT),
        equals('network', 88, 1, number),
        equals('network', 90, 2, 0, 0xfff8),
      ],
      transport: 96,
      what: ' (fragmented)',
    },
  ];
  return [
    rule(
      'both',
      'ipv6',
      [
        to,
        nextHeader(IPV6_FRAGMENT),
        anyOf('network', 40, [TCP, UDP, ICMPV6]),
        inRanges('network', 42, 2, [{ min: 8, max: 0xfff8 }], 0xfff8),
      ],
      'later fragments',
    ),
    ...upper.flatMap(({ ofProtocol, transport, what }) => [
      rule(
        'ours',
        'ipv6',
        [to, ...ofProtocol(TCP), inRanges('network', transport + 2, 2, own.tcp)],
        `TCP ports${what}`,
      ),
      rule(
        'ours',
        'ipv6',
        [to, ...ofProtocol(UDP), inRanges('network', transport + 2, 2, own.udp)],
        `UDP ports${what}`,
      ),
      rule(
        'ours',
        'ipv6',
        [
          to,
          ...ofProtocol(ICMPV6),
          equals('network', transport, 1, 129),
          inRanges('network', transport + 4, 2, own.icmp),
        ],
        `replies to our echo requests${what}`,
      ),
    ]),
    ...quoted.flatMap(({ ofProtocol, transport, what }) => [
      rule(
        'ours',
        'ipv6',
        [...error, ...ofProtocol(TCP), inRanges('network', transport, 2, own.tcp)],
        `errors about TCP${what}`,
      ),
      rule(
        'ours',
        'ipv6',
        [...error, ...ofProtocol(UDP), inRanges('network', transport, 2, own.udp)],
        `errors about UDP${what}`,
      ),
      rule(
        'ours',
        'ipv6',
        [
          ...error,
          ...ofProtocol(ICMPV6),
          equals('network', transport, 1, 128),
          inRanges('network', transport + 4, 2, own.icmp),
        ],
        `errors about echo requests${what}`,
      ),
    ]),
  ];
}

/** Destination unreachable, time exceeded, parameter problem; whole or a first fragment. */
function ipv4ErrorTo(address: IpPrefix): Condition[] {
  return [
    destination([address]),
    equals('network', 9, 1, ICMP),
    equals('network', 6, 2, 0, 0x1fff),
    anyOf('transport', 0, [3, 11, 12]),
  ];
}

/** Destination unreachable, packet too big, time exceeded, parameter problem. */
function ipv6ErrorTo(address: IpPrefix): Condition[] {
  return [
    destination([address]),
    equals('network', 6, 1, ICMPV6),
    inRanges('network', 40, 1, [{ min: 1, max: 4 }]),
  ];
}

/** The address at `offset` is this one, all its words. */
function quotedAddress(base: BitsCondition['base'], offset: number, address: IpPrefix): Condition[] {
  return address.words.map((word, at) => equals(base, offset + 4 * at, 4, word));
}
