/**
 * What compiling gives for a tunnel of whatever type, and what those who compile ports have in common.
 *
 * Neighbours: `tunnels.ts`, `gre.ts`, `ipsec.ts`, `egress.ts`.
 */
import { prefixContains, prefixOf } from '../../wire/address.ts';
import type { ConfigPath } from '../config/config.ts';
import { familyOf, knownAddress } from '../config/ip.ts';
import type { LinkFacts } from '../facts.ts';
import type { LinkDraft } from './drafts.ts';
import type { HostFindings } from './host-findings.ts';
import type { HostGreEndpoints } from './host-setup.ts';
import type { IpsecWish } from './ipsec-wish.ts';

/** Of a port that is down for want of its device. */
export const UNKNOWN_MTU = 1500;

/** Where a GRE tunnel's outer packets leave. */
export interface Underlay {
  readonly device: string;
  readonly endpoints: HostGreEndpoints;
}

/** What does a tunnel's work, and why that. */
export interface TunnelDriver {
  readonly name: 'kernel' | 'userspace' | 'xfrm' | 'libipsec';
  /** For people. */
  readonly why: string;
}

/** What is particular to one type of tunnel. */
export interface LinkedTunnel {
  readonly link: LinkDraft;
  readonly mtu: number;
  readonly fingerprint: string;
  /** GRE in user space that is not down. */
  readonly underlay?: Underlay;
  /** IPsec that can run here: the tunnel itself, or what protects it. */
  readonly ipsec?: IpsecWish;
  /** Where there is more than one that could do it. */
  readonly driver?: TunnelDriver;
}

/** An MTU that the device below can carry, which may change while the configuration stays: so no problem. */
export function limitMtu(
  wanted: number,
  most: number,
  why: string,
  path: ConfigPath,
  findings: HostFindings,
): number {
  if (wanted <= most) return wanted;
  findings.notice(path, `${wanted} is too large, ${why}; ${most} is used`);
  return most;
}

/**
 * Source addresses for asking for a neighbour: the device's own address in the neighbour's prefix; else any of
 * its family that the device has; else the tunnel's local.
 */
export function neighbourSources(link: LinkFacts, neighbour: string, fallback: string | undefined): string[] {
  const family = familyOf(neighbour);
  const own = link.addresses.filter(({ address }) => familyOf(address) === family);
  const near = own.find(({ address, prefixLength, transient }) => {
    if (transient) return false;
    return prefixContains(prefixOf(knownAddress(address), prefixLength), knownAddress(neighbour));
  });
  const chosen = near ?? own.find(({ scope, transient }) => scope === 'global' && !transient) ?? own[0];
  const address = chosen?.address ?? fallback;
  return address === undefined ? [] : [address];
}
