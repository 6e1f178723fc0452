/**
 * What stands around a daemon of the user-space driver: a network namespace of its own, the way of its IKE and ESP
 * packets to the uplink, and the move of its TUN device to us.
 *
 * ```
 *  uplink, UDP 500 and 4500 from the peer ──fwd──► wire ═══ out   local address, no other
 *  uplink ◄──fwd to the next hop── wire ═══ out                     │
 *                                                                 charon
 *  the tunnel's device  ◄──moved and renamed──── ipsec0 ────────────┘
 *        our namespace          │   the daemon's namespace
 * ```
 *
 * The packets are taken at the ingress hooks (nftables, `netdev`), in front of the host's stack: no translation, no
 * connection tracking, no forwarding by the host, and no address twice in one namespace. To the daemon it is as if it
 * had the host's address itself, so that an end without a translator is not taken for one.
 *
 * charon makes routes for its TUN device, by the name `ipsec0`: in its own namespace they harm nobody, but there must
 * be such a device. So another one takes the name when the first has been moved.
 *
 * Only the text of commands is made here, but by {@link UplinkSteering}, which keeps the one table up to date.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { nftState } from '../../device/native.ts';
import { fingerprintOfSet, type StandingRules, standingRules } from '../standing-rules.ts';
import type { RunTool } from './host-tools.ts';

/** Behind homeward's guard, in front of everything else. */
const PRIORITY = -440;
export const STEERING_TABLE = 'homeward_ipsec';
const CHARON_TUN = 'ipsec0';
/** Where `ip netns` keeps them. */
const NAMESPACES = '/run/netns';
/** Addresses in both families, for selectors that the local address is not in: reserved ones (RFC 7600, RFC 6666). */
const PLACEHOLDER_ADDRESSES = ['192.0.0.8/32', '100::1/128'];

/** How packets of a tunnel's daemon come in and leave. */
export interface UplinkPath {
  /** An Ethernet interface. */
  readonly device: string;
  readonly mtu: number;
  readonly local: string;
  /** null: whoever writes to the IKE ports of `local` and is no other tunnel's peer. */
  readonly remote: string | null;
  /** The neighbour that leads to the peer, or the peer. */
  readonly nextHop: string;
}

/** Begins the names of an instance's namespaces. */
function namespacePrefix(instance: string): string {
  return `homeward-${instance}-`;
}

/**
 * Takes away what a process left that was killed: namespaces, their wires and the table. Their daemons have ended with
 * that process.
 */
export async function removeLeftovers(instance: string, run: RunTool): Promise<void> {
  const names = existsSync(NAMESPACES) ? readdirSync(NAMESPACES) : [];
  const ours = names.filter((name) => name.startsWith(namespacePrefix(instance)));
  if (ours.length === 0) return;
  await run('nft', ['-f', '-'], { input: steeringRules([]), mayFail: true });
  const commands = ours.map((name) => `netns del ${name}`);
  await run('ip', ['-force', '-batch', '-'], { input: `${commands.join('\n')}\n`, mayFail: true });
}

/** Names of one tunnel's parts. */
export interface UserSpaceNames {
  readonly namespace: string;
  /** In our namespace. */
  readonly wire: string;
  /** In our namespace: the tunnel's device. */
  readonly device: string;
}

/** @param instance tells gateways on one host apart */
export function userSpaceNames(instance: string, tunnel: string): UserSpaceNames {
  const hash = createHash('sha256').update(tunnel).digest('hex').slice(0, 8);
  return { namespace: `${namespacePrefix(instance)}${hash}`, wire: `hwi-${hash}`, device: tunnel };
}

/** For `ip -batch`: the namespace and the wire to it. */
export function makeNamespace({ namespace, wire }: UserSpaceNames, { mtu }: UplinkPath): string[] {
  return [
    `netns add ${namespace}`,
    `link add ${wire} type veth peer name out netns ${namespace}`,
    `link set ${wire} addrgenmode none arp off mtu ${mtu} up`,
  ];
}

/** For `ip -n NAMESPACE -batch`. Every address is a neighbour: the next hop is chosen outside. */
export function furnishNamespace({ local, mtu }: UplinkPath): string[] {
  const isIpv6 = local.includes(':');
  return [
    'link set lo up',
    `link set out addrgenmode none arp off mtu ${mtu} up`,
    `address add ${local}/${isIpv6 ? '128' : '32'} dev out${isIpv6 ? ' nodad' : ''}`,
    `route add ${isIpv6 ? '::/0' : '0.0.0.0/0'} dev out`,
    ...PLACEHOLDER_ADDRESSES.map((address) => `address add ${address} dev lo`),
  ];
}

/** For `ip -n NAMESPACE -batch`: the TUN device goes to the namespace of `pid`, down and without addresses. */
export function moveDevice({ device }: UserSpaceNames, pid: number): string[] {
  return [
    `link set ${CHARON_TUN} addrgenmode none down`,
    `link set ${CHARON_TUN} netns ${pid} name ${device}`,
    `tuntap add dev ${CHARON_TUN} mode tun`,
    `link set ${CHARON_TUN} addrgenmode none up`,
  ];
}

/** A path with the device that its packets go into, and that device's other end. */
export interface SteeredPath extends UplinkPath {
  readonly wire: string;
  /** MAC of the wire's other end. */
  readonly mac: string;
}

/** The whole table as nftables text; without paths it is removed. */
export function steeringRules(paths: readonly SteeredPath[]): string {
  const reset = [`add table netdev ${STEERING_TABLE}`, `delete table netdev ${STEERING_TABLE}`];
  if (paths.length === 0) return `${reset.join('\n')}\n`;
  // Those that name their peer first.
  const ordered = [...paths].sort((a, b) => Number(a.remote === null) - Number(b.remote === null));
  const uplinks = [...new Set(paths.map(({ device }) => device))];
  const lines = [...reset, `table netdev ${STEERING_TABLE} {`];
  uplinks.forEach((uplink, at) => {
    const hook = `type filter hook ingress device "${uplink}" priority ${PRIORITY}; policy accept;`;
    const rules = ordered.filter(({ device }) => device === uplink).flatMap(inward);
    lines.push(`  chain uplink_${at} {`, `    ${hook}`, ...rules, '  }');
  });
  ordered.forEach((path, at) => {
    const hook = `type filter hook ingress device "${path.wire}" priority ${PRIORITY}; policy drop;`;
    lines.push(`  chain wire_${at} {`, `    ${hook}`, outward(path), '  }');
  });
  return `${[...lines, '}'].join('\n')}\n`;
}

/**
 * Also later fragments of UDP datagrams, which have no ports, where the peer is known. They may be of another datagram,
 * for the host: both get them, and who has no first fragment forgets the others.
 */
function inward({ local, remote, wire, mac }: SteeredPath): string[] {
  const ip = family(local);
  const ends = remote === null ? `${ip} daddr ${local}` : `${ip} saddr ${remote} ${ip} daddr ${local}`;
  const toDaemon = `ether daddr set ${mac}`;
  const fragments = ip === 'ip' ? 'ip protocol udp ip frag-off & 0x1fff != 0' : 'frag frag-off != 0';
  return [
    // Not a set of both: in new rules sets are empty for a moment (`control/host/guard-rules.ts`), and the host gets packets.
    `    ${ends} udp dport 500 ${toDaemon} fwd to "${wire}"`,
    `    ${ends} udp dport 4500 ${toDaemon} fwd to "${wire}"`,
    ...(remote === null ? [] : [`    ${ends} ${fragments} ${toDaemon} dup to "${wire}"`]),
  ];
}

function outward({ local, remote, nextHop, device }: SteeredPath): string {
  const ip = family(local);
  const to = remote === null ? '' : `${ip} daddr ${remote} `;
  return `    ${ip} saddr ${local} ${to}fwd ${ip} to ${nextHop} device "${device}"`;
}

function family(address: string): 'ip' | 'ip6' {
  return address.includes(':') ? 'ip6' : 'ip';
}

/** Whether our network namespace has such a device. */
export function isHere(device: string): boolean {
  return existsSync(`/proc/sys/net/ipv4/conf/${device}`);
}

/**
 * The one table, for all tunnels of the driver; changes are made in one transaction each. What stands is known by the
 * kernel's own numbers (`control/host/guard.ts`): `nft` runs only where that is not what was set.
 */
export class UplinkSteering {
  readonly #run: RunTool;
  readonly #ask: typeof nftState;
  readonly #paths = new Map<string, SteeredPath>();
  #work: Promise<void> = Promise.resolve();
  #applied = '';
  /** Of the table after it was set; undefined: not known. */
  #fingerprint: StandingRules['fingerprint'] | undefined;

  constructor(run: RunTool, ask = nftState) {
    this.#run = run;
    this.#ask = ask;
  }

  /** Rejects with what `nft` says; then the table is as before. */
  async set(tunnel: string, path: SteeredPath): Promise<void> {
    this.#paths.set(tunnel, path);
    await this.renew();
  }

  /** Its wire is about to go: its rules go with the next change. */
  forget(tunnel: string): void {
    this.#paths.delete(tunnel);
  }

  /** Sets it once more if need be: a device may have come back, or somebody have flushed the host's rules. */
  renew(): Promise<void> {
    const done = this.#work.then(() => this.#renew());
    this.#work = done.catch(() => {});
    return done;
  }

  async #renew(): Promise<void> {
    // A hook on a device that is gone would make the whole table fail.
    const paths = [...this.#paths.values()].filter(({ device, wire }) => isHere(device) && isHere(wire));
    const rules = steeringRules(paths);
    const before = await this.#look();
    if (rules === this.#applied && before.fingerprint === this.#fingerprint) return;
    this.#fingerprint = undefined;
    await this.#run('nft', ['-f', '-'], { input: rules });
    this.#applied = rules;
    this.#fingerprint = fingerprintOfSet(before, await this.#look(), 1);
  }

  #look(): Promise<StandingRules> {
    return standingRules(STEERING_TABLE, ['netdev'], this.#run, this.#ask);
  }
}
