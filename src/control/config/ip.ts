/**
 * What the configuration asks about addresses and prefixes beyond `wire/address.ts`. Texts that come here have
 * been read once already: an unreadable one is a programming error and throws.
 */
import {
  type Address,
  addressBits,
  classifyAddress,
  formatAddress,
  type Prefix,
  parseAddress,
  parsePrefix,
  prefixContainsPrefix,
} from '../../wire/address.ts';
import { swap32 } from '../../wire/byte-order.ts';
import { IPV4 } from '../../wire/packet.ts';

/** The address of a text that is known to be one. */
export function knownAddress(text: string): Address {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`${text} is not an address`);
  return address;
}

/** The prefix of a text that is known to be one. */
export function knownPrefix(text: string): Prefix {
  const result = parsePrefix(text);
  if (!result.ok) throw new Error(result.message);
  return result.prefix;
}

/** 4 or 6. */
export function familyOf(text: string): 4 | 6 {
  return knownAddress(text).family === IPV4 ? 4 : 6;
}

/** Key of a family in the configuration and the plan. */
export function familyKey(text: string): 'ipv4' | 'ipv6' {
  return familyOf(text) === 4 ? 'ipv4' : 'ipv6';
}

/** Texts of all addresses of a prefix: for small ones. */
export function addressesOf(prefix: Prefix): string[] {
  const count = 2 ** (addressBits(prefix.family) - prefix.length);
  return Array.from({ length: count }, (_, at) => {
    const words = Int32Array.from(prefix.words);
    words[3] = swap32(swap32(prefix.words[3]!) + at);
    return formatAddress({ family: prefix.family, words });
  });
}

/** Whether it is IPv4's network or broadcast address, where a prefix has them (RFC 3021: not for /31 and /32). */
export function isNetworkOrBroadcast(address: Address, prefix: Prefix): boolean {
  if (address.family !== IPV4 || prefix.length >= 31) return false;
  const host = swap32(address.words[3]! ^ prefix.words[3]!) >>> 0;
  return host === 0 || host === 2 ** (32 - prefix.length) - 1;
}

export function isLinkLocal(address: Address): boolean {
  return classifyAddress(address) === 'link_local';
}

/** Whether a single host may have it, on whatever kind of link. */
export function isUnicast(address: Address): boolean {
  return ['link_local', 'private', 'documentation', 'global'].includes(classifyAddress(address));
}

/** No host of a site has an address in these (RFC 6890). */
const OUTSIDE_SITES = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/3',
  '::/96',
  '::ffff:0.0.0.0/96',
  'fe80::/10',
  'ff00::/8',
].map(knownPrefix);

/** RFC 1918, RFC 6598, RFC 4193. */
const PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'].map(
  knownPrefix,
);

/** Whether it has no address that could be a host of a site: link-local, loopback, multicast, reserved. */
export function isOutsideSites(prefix: Prefix): boolean {
  return OUTSIDE_SITES.some((special) => prefixContainsPrefix(special, prefix));
}

export function isPrivatePrefix(prefix: Prefix): boolean {
  return PRIVATE.some((known) => prefixContainsPrefix(known, prefix));
}
