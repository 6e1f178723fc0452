/** Whom a tunnel's test asks, where the configuration tells who is at the other end. */
import { addressBits } from '../../wire/address.ts';
import type { TunnelConfig } from '../config/config.ts';
import { addressesOf, isNetworkOrBroadcast, knownAddress, knownPrefix } from '../config/ip.ts';

/** The next hop, or the only other host of an interface address's prefix; undefined: there is no telling. */
export function defaultTarget(tunnel: TunnelConfig): string | undefined {
  const nextHop = 'nextHop' in tunnel ? (tunnel.nextHop.ipv4 ?? tunnel.nextHop.ipv6) : undefined;
  if (nextHop !== undefined) return nextHop;
  for (const { address, prefix } of tunnel.interfaceAddresses) {
    const other = otherHost(address, prefix);
    if (other !== undefined) return other;
  }
  return undefined;
}

function otherHost(address: string, prefixText: string): string | undefined {
  const prefix = knownPrefix(prefixText);
  const hostBits = addressBits(prefix.family) - prefix.length;
  if (hostBits === 0 || hostBits > 2) return undefined;
  const others = addressesOf(prefix).filter((candidate, at) => {
    // The first of an IPv6 /126 is every router's (RFC 4291, 2.6.1), the last belongs to nobody by custom.
    if (hostBits === 2 && (at === 0 || at === 3)) return false;
    return candidate !== address && !isNetworkOrBroadcast(knownAddress(candidate), prefix);
  });
  return others.length === 1 ? others[0] : undefined;
}
