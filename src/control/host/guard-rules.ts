/**
 * The host's half of a classification, and what else keeps host and data plane apart, as nftables text.
 *
 * ```
 *  device --> packet socket (a tap: sees all, its filter takes ours)
 *     |
 *     v
 *  netdev homeward / ingress      drops ours, before ARP, VLAN interfaces' parents and IP
 *     v
 *  inet homeward / prerouting     the same again, by name: holds while a device is made anew; outer packets of the
 *     v                           kernel's tunnels only from their uplink, and only while the tunnel takes them
 *  inet homeward / forward        nothing passes into or out of a device of ours
 *
 *  arp homeward / input, output   the host neither learns nor answers on a site's device, by name: older kernels
 *                                 (6.1) hook no device that is made anew until the guard is set again
 *
 *  inet homeward / output         the host sends nothing into a site, nothing from ports of ours (reject), and no
 *     |                           errors about what is sent by its tunnels
 *  inet homeward / postrouting    nor does its own address translation (drop)
 * ```
 *
 * Fields are matched raw (`@nh,72,8`): the same offsets and masks as in the socket's filter. TUN devices' far
 * end is ours; between their near end and the host's sockets packets pass untracked.
 *
 * No rule has a state of its own (`counter`, `limit`, named sets): `guard.ts` takes rules that change for damage.
 */
import type { ExclusiveDevice, HostSetup, SharedDevice } from '../compile/host-setup.ts';
import type { PortRange } from '../config/config.ts';
import { type Classification, classify } from './classifier.ts';
import {
  decryptedChain,
  kernelTunnelInput,
  kernelTunnelOutput,
  matchMark,
  passesInnerPackets,
  quoted,
} from './guard-kernel-tunnels.ts';
import { formatPortRanges, mergeRanges } from './reserved-ports.ts';
import type { BitsCondition, Condition, Rule } from './rules.ts';

/** Name of all three tables. */
export const GUARD_TABLE = 'homeward';
/** Name of the tables that stand in while those are replaced. */
const STAND_IN_TABLE = `${GUARD_TABLE}_stand_in`;

/** A table of each. `device/native/nft-state.c` knows them, too. */
/** Of its tables. */
export const FAMILIES = ['netdev', 'inet', 'arp'];

/** Before connection tracking's defragmentation (-400): a fragment of ours is never held. */
const INGRESS_PRIORITY = -450;
/** Behind source translation (100). */
const POSTROUTING_PRIORITY = 300;
/** `raw`: in front of connection tracking. */
const RAW_PRIORITY = -300;

/**
 * The changes that set the guard: each a transaction, in this order. One alone would do if the kernel exchanged all that a
 * transaction contains at the same moment. It does not: sets in new rules (of ports, of addresses) are empty for some
 * hundred microseconds in which the former rules hold no more, and the host resets connections that are ours (seen on 6.18).
 *
 * ```
 *  stand-in          |=================|
 *  former   =================|
 *  new                       |...=============     ...: its sets may be empty
 * ```
 *
 * @param present see {@link guardRules}
 */
export function guardChanges(setup: HostSetup, present: ReadonlySet<string>, mark: string): string[] {
  return [
    guardRules(setup, present, mark, STAND_IN_TABLE),
    guardRules(setup, present, mark),
    removeTables(STAND_IN_TABLE),
  ];
}

/**
 * The whole guard: replaces what there was in one transaction.
 *
 * @param present devices that exist now; nftables refuses hooks on others. They are covered by name only.
 * @param mark text that comes back from {@link guardMark}: whose guard this is.
 */
export function guardRules(
  setup: HostSetup,
  present: ReadonlySet<string>,
  mark: string,
  table = GUARD_TABLE,
): string {
  const classifications = setup.devices.flatMap((device) => {
    const classification = classify(device);
    return classification === undefined ? [] : [{ classification, index: device.index }];
  });
  const hooked = classifications.filter(({ classification }) => present.has(classification.device));
  return [
    removeTables(table),
    `table netdev ${table} {`,
    ...hooked.flatMap(({ classification, index }) => ingressChain(classification, index)),
    '}',
    `table inet ${table} {`,
    `  comment "${mark}"`,
    ...classifications.flatMap(({ classification, index }) => [
      `  chain device_${index} {`,
      ...lines(classification, 'inet'),
      '  }',
    ]),
    ...decryptedChain(exclusiveDevices(setup)),
    '  chain prerouting {',
    `    type filter hook prerouting priority ${INGRESS_PRIORITY}; policy accept;`,
    // In front of the devices' own chains, from which nothing comes back here.
    ...kernelTunnelInput(exclusiveDevices(setup)),
    ...classifications.map(
      ({ classification, index }) => `    iifname ${quoted(classification.device)} goto device_${index}`,
    ),
    // By number, too: one that gets another name still leads to its site.
    ...exclusiveDevices(setup).flatMap(({ ifindex, index }) =>
      ifindex === 0 ? [] : [`    iif ${ifindex} goto device_${index}`],
    ),
    '  }',
    ...hostChains(setup),
    '}',
    `table arp ${table} {`,
    ...arpChains(setup),
    '}',
    '',
  ].join('\n');
}

/** Removes the guard; succeeds also if there is none. */
export function removeGuardRules(): string {
  return [removeTables(GUARD_TABLE), removeTables(STAND_IN_TABLE)].join('\n');
}

function removeTables(table: string): string {
  return FAMILIES.flatMap((family) => [
    `add table ${family} ${table}`,
    `delete table ${family} ${table}`,
  ]).join('\n');
}

function ingressChain(classification: Classification, index: number): string[] {
  const policy = classification.otherwise === 'host' ? 'accept' : 'drop';
  return [
    `  chain device_${index} {`,
    `    type filter hook ingress device ${quoted(classification.device)} priority ${INGRESS_PRIORITY}; policy ${policy};`,
    ...lines(classification, 'netdev'),
    '  }',
  ];
}

/** The rules of one device; in `inet` what speaks of ARP or VLAN tags is left out: that never comes there. */
function lines(classification: Classification, table: 'netdev' | 'inet'): string[] {
  const rules = classification.rules.filter(
    (rule) =>
      table === 'netdev' ||
      (rule.family !== 'arp' && rule.conditions.every((condition) => condition.kind !== 'vlan')),
  );
  const otherwise = table === 'inet' && classification.otherwise === 'nobody' ? ['    drop'] : [];
  return [...rules.flatMap(ruleLines), ...otherwise];
}

function ruleLines(rule: Rule): string[] {
  const verdict = rule.taker === 'host' || rule.taker === 'both' ? 'accept' : 'drop';
  const protocol = { any: '', arp: 'meta protocol arp', ipv4: 'meta protocol ip', ipv6: 'meta protocol ip6' };
  return alternatives(rule).map((conditions) =>
    ['   ', protocol[rule.family], ...conditions, verdict, `comment "${rule.comment}"`]
      .filter((part) => part !== '')
      .join(' '),
  );
}

/**
 * nftables has no offset that depends on the length of a quoted header: a rule that looks behind one becomes
 * one rule for each length, 5 to 15 words.
 */
function alternatives(rule: Rule): string[][] {
  const looksBehind = rule.conditions.some(
    (condition) => condition.kind === 'bits' && condition.base === 'quoted-transport',
  );
  if (!looksBehind) return [rule.conditions.map((condition) => match(condition, 0))];
  return Array.from({ length: 11 }, (_, at) => at + 5).map((words) => {
    const firstLooking = rule.conditions.findIndex(
      (condition) => condition.kind === 'bits' && condition.base === 'quoted-transport',
    );
    const texts = rule.conditions.map((condition) => match(condition, words * 4));
    return [...texts.slice(0, firstLooking), `@th,64,8 & 0x0f ${words}`, ...texts.slice(firstLooking)];
  });
}

function match(condition: Condition, quotedHeaderBytes: number): string {
  switch (condition.kind) {
    case 'vlan':
      // Of either kind of tag (IEEE 802.1Q, 802.1ad); nftables puts one that the device took off back.
      return `@ll,96,16 { 0x8100, 0x88a8 } @ll,112,16 & 0x0fff ${condition.is === 'zero' ? '0' : '!= 0'}`;
    case 'receiver':
      return {
        unicast: 'meta pkttype host',
        'not-unicast': 'meta pkttype != host',
        group: 'meta pkttype { broadcast, multicast }',
      }[condition.is];
    case 'mark':
      return matchMark(condition);
    case 'address': {
      const header = condition.prefixes[0]?.version === 6 ? 'ip6' : 'ip';
      const field = condition.which === 'source' ? 'saddr' : 'daddr';
      return `${header} ${field} { ${condition.prefixes.map(({ text }) => text).join(', ')} }`;
    }
    case 'bits':
      return matchBits(condition, quotedHeaderBytes);
  }
}

function matchBits({ base, offset, bytes, mask, ranges }: BitsCondition, quotedHeaderBytes: number): string {
  const header = base === 'network' ? 'nh' : 'th';
  const at = base === 'quoted-transport' ? 8 + quotedHeaderBytes + offset : offset;
  const isMasked = mask !== 2 ** (8 * bytes) - 1;
  const field = `@${header},${at * 8},${bytes * 8}${isMasked ? ` & 0x${mask.toString(16)}` : ''}`;
  const values = formatPortRanges(mergeRanges(ranges));
  return values.includes(',') ? `${field} { ${values.replaceAll(',', ', ')} }` : `${field} ${values}`;
}

/** What the host may forward and send. */
function hostChains(setup: HostSetup): string[] {
  const own = setup.devices.filter((device) => device.role !== 'shared').map(({ name }) => quoted(name));
  const exclusive = setup.devices.filter(({ role }) => role === 'exclusive').map(({ name }) => quoted(name));
  const numbers = exclusiveDevices(setup).flatMap(({ ifindex }) => (ifindex === 0 ? [] : [String(ifindex)]));
  const tuns = setup.devices.filter(({ role }) => role === 'tun').map(({ name }) => quoted(name));
  const shared = setup.devices.filter((device) => device.role === 'shared');
  const any = (names: readonly string[], text: (set: string) => string[]): string[] =>
    names.length === 0 ? [] : text(`{ ${names.join(', ')} }`);
  return [
    '  chain forward {',
    `    type filter hook forward priority ${INGRESS_PRIORITY}; policy accept;`,
    ...any(own, (set) => [`    iifname ${set} drop`, `    oifname ${set} drop`]),
    '  }',
    '  chain output {',
    `    type filter hook output priority ${INGRESS_PRIORITY}; policy accept;`,
    ...any(exclusive, (set) => [`    oifname ${set} drop`]),
    ...any(numbers, (set) => [`    oif ${set} drop`]),
    ...kernelTunnelOutput(exclusiveDevices(setup)),
    ...shared.flatMap((device) => fromOwnPorts(device, 'reject')),
    '  }',
    '  chain postrouting {',
    `    type filter hook postrouting priority ${POSTROUTING_PRIORITY}; policy accept;`,
    ...shared.flatMap((device) => fromOwnPorts(device, 'drop', passesInnerPackets(exclusiveDevices(setup)))),
    '  }',
    ...any(tuns, (set) => [
      '  chain untracked_in {',
      `    type filter hook prerouting priority ${RAW_PRIORITY}; policy accept;`,
      `    iifname ${set} notrack`,
      '  }',
      '  chain untracked_out {',
      `    type filter hook output priority ${RAW_PRIORITY}; policy accept;`,
      `    oifname ${set} notrack`,
      '  }',
    ]),
  ];
}

/** ARP on Ethernet devices of ours; on an uplink it is the host's, too. */
function arpChains(setup: HostSetup): string[] {
  const devices = exclusiveDevices(setup).filter(({ kind }) => kind === 'ethernet');
  return (['input', 'output'] as const).flatMap((hook) => {
    const at = hook === 'input' ? 'i' : 'o';
    return [
      `  chain ${hook} {`,
      `    type filter hook ${hook} priority ${INGRESS_PRIORITY}; policy accept;`,
      ...devices.flatMap(({ name, ifindex }) => [
        `    ${at}ifname ${quoted(name)} drop`,
        ...(ifindex === 0 ? [] : [`    ${at}if ${ifindex} drop`]),
      ]),
      '  }',
    ];
  });
}

/**
 * The host's packets from ports and identifiers that are ours: their answers would never reach the host.
 *
 * @param inClearText whether what is on its way into an SA passes, too, and is let through: it may be ours
 */
function fromOwnPorts(device: SharedDevice, verdict: 'reject' | 'drop', inClearText = false): string[] {
  return device.sharedAddresses.flatMap(({ address, ports }) => {
    const header = address.includes(':') ? 'ip6' : 'ip';
    const from = `    oifname != "lo" ${inClearText ? 'rt ipsec missing ' : ''}${header} saddr ${address}`;
    const of = (protocol: 'tcp' | 'udp'): string => {
      const forwarded = device.portForwards
        .filter((forward) => forward.protocol === protocol && forward.address === address)
        .map(({ port }): PortRange => ({ min: port, max: port }));
      return `{ ${formatPortRanges(mergeRanges([ports, ...forwarded])).replaceAll(',', ', ')} }`;
    };
    // The identifier is matched raw: nftables' own `icmp id` goes with a single type only.
    const query =
      header === 'ip' ? 'icmp type { echo-request, timestamp-request }' : 'icmpv6 type echo-request';
    return [
      `${from} tcp sport ${of('tcp')} ${verdict === 'reject' ? 'reject with tcp reset' : verdict}`,
      `${from} udp sport ${of('udp')} ${verdict}`,
      `${from} ${query} @th,32,16 ${ports.min}-${ports.max} ${verdict}`,
    ];
  });
}

function exclusiveDevices(setup: HostSetup): ExclusiveDevice[] {
  return setup.devices.flatMap((device) => (device.role === 'exclusive' ? [device] : []));
}
