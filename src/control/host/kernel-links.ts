/**
 * Tunnel interfaces of the kernel that homeward makes: for each kind, what `ip link add` is told and what may stand
 * only once.
 *
 * An interface is never changed in place but made anew, and its name holds what its packets are told by
 * (`compile/kernel-link-name.ts`): one that was made for other ends has another name, so that a data plane which still
 * has the former plan cannot take it for the former tunnel.
 *
 * GRE (linux/if_tunnel.h). Outer packets:
 *
 * | field | value |
 * | --- | --- |
 * | DSCP, ECN | the inner packet's; combined on the way in (RFC 6040) |
 * | don't fragment (IPv4) | never set: a path that is too narrow gets fragments; the kernel could not tell the sender |
 * | encapsulation limit (IPv6) | none: no destination options in front of GRE |
 *
 * XFRM (linux/if_link.h): an interface names no uplink, whose end would be its own; the SAs know their ends.
 */
import type { GreLink, KernelLink } from '../compile/host-setup.ts';

/** What is said of a link behind `ip link add name NAME mtu MTU`. The same text: the same link. */
export function linkArguments(link: KernelLink): string {
  switch (link.kind) {
    case 'gre':
      return `${greArguments(link)} ttl ${link.ttl} tos inherit nopmtudisc ignore-df`;
    case 'ip6gre':
      return `${greArguments(link)} hoplimit ${link.ttl} tclass inherit encaplimit none`;
    case 'xfrm':
      return `type xfrm if_id ${link.interfaceId}`;
  }
}

/** What no two links of a namespace have in common: the kernel tells packets by it. */
export function linkEnds(link: KernelLink): string {
  if (link.kind === 'xfrm') return `xfrm ${link.interfaceId}`;
  const { kind, local, remote, key } = link;
  return `${kind} ${local} ${remote} ${key ?? 'none'}`;
}

function greArguments({ kind, local, remote, key, checksum, sequence }: GreLink): string {
  return [
    `type ${kind} local ${local} remote ${remote}`,
    ...(key === null ? [] : [`key ${key}`]),
    ...(checksum ? ['csum'] : []),
    ...(sequence ? ['seq'] : []),
  ].join(' ');
}
