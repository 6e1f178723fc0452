/**
 * The guard's rules about the kernel's own tunnels: what the kernel may take for one, what it may send, and that nobody
 * hears from the host of what passes there.
 *
 * ```
 *  GRE          prerouting  from its uplink only, while its interface is up
 *  GRE in ESP   prerouting  what none of its own SAs has decrypted is dropped   output  what none will encrypt is dropped
 *  ESP          prerouting  what has been decrypted (its mark tells) and is not such GRE is dropped
 *  XFRM         output      no ICMP errors about what could not be sent
 * ```
 *
 * That GRE passes within ESP only is said here once more, though it is the IKE daemon's policies that send it there: they
 * come with the first SA, and go with the daemon.
 *
 * What SAs of XFRM interfaces have decrypted is never the host's. While such an interface is away or down, by somebody's
 * hand, the kernel goes on decrypting, and what it has decrypted comes out of the uplink; so does whatever a peer sends in
 * tunnel mode by an SA that is GRE's. The mark, which SAs of ours give (`../../tunnel/ipsec/connection.ts`), tells it from what
 * has come by the uplink itself.
 *
 * Neighbour: `guard-rules.ts`, which puts them into its chains.
 */
import { GUARDED_NAME } from '../compile/devices.ts';
import type { ExclusiveDevice, GreLink, KernelTunnel } from '../compile/host-setup.ts';
import { DECRYPTED, type MarkCondition } from './rules.ts';

/** In the `inet` table. */
const DECRYPTED_CHAIN = 'decrypted';

/** An interface name in quotes. */
export function quoted(name: string): string {
  if (!GUARDED_NAME.test(name)) throw new Error(`the guard cannot name the interface ${name}`);
  return `"${name}"`;
}

/**
 * Outer packets that the host's stack gets. It takes GRE from any interface, and when a tunnel's own interface is not
 * there or not up, another one may take them that has no remote end: the host's.
 */
export function kernelTunnelInput(devices: readonly ExclusiveDevice[]): string[] {
  const rules = new Map<string, string[]>();
  for (const { link, underlay, isUp } of greTunnels(devices)) {
    const from = isUp && underlay !== null ? `iifname != ${quoted(underlay)} ` : '';
    const header = headerOf(link);
    const rule = `${from}${header} daddr ${link.local} meta l4proto gre ${header} saddr`;
    rules.set(rule, [...(rules.get(rule) ?? []), link.remote]);
  }
  return [
    ...[...rules].map(
      ([rule, remotes]) =>
        `    ${rule} { ${[...new Set(remotes)].join(', ')} } drop comment "GRE of the kernel's"`,
    ),
    // One address a rule: in new rules sets are empty for a moment.
    ...protectedTunnels(devices).flatMap((tunnel) => {
      const gre = `    ${greFromPeer(tunnel)}`;
      return [
        `${gre} meta secpath missing drop comment "GRE in clear text"`,
        `${gre} ipsec in reqid != ${tunnel.requestId} drop comment "GRE within another's ESP"`,
      ];
    }),
    ...(hasSas(devices) ? [`    ${matchMark(DECRYPTED)} goto ${DECRYPTED_CHAIN}`] : []),
  ];
}

/** What becomes of packets that have been decrypted; empty if there are no SAs. */
export function decryptedChain(devices: readonly ExclusiveDevice[]): string[] {
  if (!hasSas(devices)) return [];
  return [
    `  chain ${DECRYPTED_CHAIN} {`,
    ...protectedTunnels(devices).map(
      (tunnel) => `    ${greFromPeer(tunnel)} ipsec in reqid ${tunnel.requestId} accept`,
    ),
    '    drop comment "decrypted, and of no interface of the host"',
    '  }',
  ];
}

/** What the host may not send. */
export function kernelTunnelOutput(devices: readonly ExclusiveDevice[]): string[] {
  const kinds = new Set(devices.map(({ made }) => made?.link.kind));
  return [
    ...protectedTunnels(devices).flatMap(({ link, requestId }) => {
      const header = headerOf(link);
      const gre = `    ${header} saddr ${link.local} ${header} daddr ${link.remote} meta l4proto gre`;
      return [
        `${gre} rt ipsec missing drop comment "GRE in clear text"`,
        `${gre} ipsec out reqid != ${requestId} drop comment "GRE within another's ESP"`,
      ];
    }),
    // About an IPv6 packet that does not fit, GRE over IPv6 itself tells the sender, whom the host's routes find; and so
    // does an XFRM interface.
    ...(kinds.has('ip6gre') || kinds.has('xfrm') ? ['    icmpv6 type packet-too-big drop'] : []),
    // Also of one without an SA, or without a way to its other end. The host itself is told of its own by `lo`.
    ...(kinds.has('xfrm')
      ? [
          '    oifname != "lo" icmp type destination-unreachable icmp code host-unreachable drop',
          '    oifname != "lo" icmp type destination-unreachable icmp code frag-needed drop',
          '    oifname != "lo" icmpv6 type destination-unreachable icmpv6 code addr-unreachable drop',
        ]
      : []),
  ];
}

/** Whether the host's hooks see packets of sites on their way into an SA: they leave the uplink's way, encrypted. */
export function passesInnerPackets(devices: readonly ExclusiveDevice[]): boolean {
  return devices.some(({ made }) => made?.link.kind === 'xfrm');
}

/** Whether SAs of ours decrypt for any of them. */
function hasSas(devices: readonly ExclusiveDevice[]): boolean {
  return devices.some(({ made }) => made?.link.kind === 'xfrm' || typeof made?.requestId === 'number');
}

export function matchMark({ mask, is }: MarkCondition): string {
  const hexadecimal = (value: number): string => `0x${value.toString(16).padStart(8, '0')}`;
  return `meta mark & ${hexadecimal(mask)} == ${hexadecimal(is)}`;
}

interface GreTunnel extends KernelTunnel {
  readonly link: GreLink;
}

function greTunnels(devices: readonly ExclusiveDevice[]): GreTunnel[] {
  return devices.flatMap(({ made }) =>
    made === undefined || made.link.kind === 'xfrm' ? [] : [{ ...made, link: made.link }],
  );
}

interface ProtectedTunnel extends GreTunnel {
  readonly requestId: number;
}

function protectedTunnels(devices: readonly ExclusiveDevice[]): ProtectedTunnel[] {
  return greTunnels(devices).flatMap((tunnel) =>
    tunnel.requestId === null ? [] : [{ ...tunnel, requestId: tunnel.requestId }],
  );
}

function greFromPeer({ link }: GreTunnel): string {
  const header = headerOf(link);
  return `${header} saddr ${link.remote} ${header} daddr ${link.local} meta l4proto gre`;
}

function headerOf({ kind }: GreLink): 'ip' | 'ip6' {
  return kind === 'gre' ? 'ip' : 'ip6';
}
