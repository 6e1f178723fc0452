/**
 * The addresses inside a diversion: a network namespace in which a plugin's proxy runs (`docs/divert.md`).
 *
 * ```
 *               IPv4                            IPv6
 *  router       198.18.0.1                      fd68:6f6d:6577::1           the pipeline's end of the link
 *  proxy        198.18.0.2                      fd68:6f6d:6577::2           where the proxy listens
 *  sources      198.18.1.0 - 198.18.255.255     fd68:6f6d:6577:1::/64       who connects: another one for every flow
 *  sites        198.19.0.0/16                   fd68:6f6d:6577:2::/64       what the proxy connects from: the low 16
 *                                                                           bits are the site's address space
 * ```
 *
 * The namespace contains nothing else, and no route of a site leads there. So sources can be no host's: they stand behind
 * packets to the proxy and nowhere else. What the proxy sends on may be seen in a site that it is routed to; therefore
 * these are addresses that no network uses: of the block for measurements (RFC 2544), and a unique local prefix
 * (RFC 4193) of homeward's own.
 *
 * Neighbours: `pipeline/diversions.ts` (packets), `control/host/namespaces.ts` (the namespace).
 */
import { swap16 } from '../wire/byte-order.ts';
import { IPV4 } from '../wire/packet.ts';

/** The pipeline's end. */
export const DIVERSION_ROUTER = { ipv4: '198.18.0.1', ipv6: 'fd68:6f6d:6577::1' } as const;
/** Where proxies listen. */
export const DIVERSION_PROXY = { ipv4: '198.18.0.2', ipv6: 'fd68:6f6d:6577::2' } as const;
/** What proxies connect from. */
export const DIVERSION_SITES = { ipv4: '198.19.0.0/16', ipv6: 'fd68:6f6d:6577:2::/64' } as const;
/** Everything: no site may declare any of it while there is a diversion. */
export const DIVERSION_PREFIXES = ['198.18.0.0/15', 'fd68:6f6d:6577::/48'] as const;

/** The address that a proxy connects from for the site of this address space. */
export function siteSource(space: number, family: 'ipv4' | 'ipv6'): string {
  if (family === 'ipv6') return `fd68:6f6d:6577:2::${space.toString(16)}`;
  return `198.19.${space >>> 8}.${space & 0xff}`;
}

// Words in wire order.
const IPV4_SOURCES = 0x12c6;
const IPV4_SITES = 0x13c6;
const IPV6_FIRST = 0x6d6f68fd;
const IPV6_LINK = 0x00007765;
const IPV6_SOURCES = 0x01007765;
const IPV6_SITES = 0x02007765;
/** 0.1 and ::1, 0.2 and ::2 in the upper half of the last word. */
const PROXY = 0x0200;

/** Sources of flows have addresses from here: above those of router and proxy. The lower 16 bits of their numbers. */
const FIRST_ADDRESS = 0x0100;
/** Numbers of the sources with the next port. */
const NEXT_PORT = 0x10000;

/** Whether an address (wire-order words; IPv4 in `word3`) is the proxy's. */
export function isProxy(family: number, word0: number, word1: number, word2: number, word3: number): boolean {
  if (word3 >>> 16 !== PROXY) return false;
  if (family === IPV4) return (word3 & 0xffff) === IPV4_SOURCES;
  return word0 === IPV6_FIRST && word1 === IPV6_LINK && word2 === 0 && (word3 & 0xffff) === 0;
}

/** The address space whose site's source an address is (wire-order words; IPv4 in `word3`); 0: none's. */
export function spaceOfSource(
  family: number,
  word0: number,
  word1: number,
  word2: number,
  word3: number,
): number {
  const isSite =
    family === IPV4
      ? (word3 & 0xffff) === IPV4_SITES
      : word0 === IPV6_FIRST && word1 === IPV6_SITES && word2 === 0 && (word3 & 0xffff) === 0;
  return isSite ? swap16(word3 >>> 16) : 0;
}

/** Whether an address (wire-order words; IPv4 in `word3`) is any of {@link DIVERSION_PREFIXES}. */
export function isInDiversion(family: number, word0: number, word1: number, word3: number): boolean {
  if (family === IPV4) return (word3 & 0xfeff) === IPV4_SOURCES;
  return word0 === IPV6_FIRST && (word1 & 0xffff) === IPV6_LINK;
}

/** An end of a flow, as its address stands in keys of flows. */
export interface SyntheticSource {
  word0: number;
  word1: number;
  word2: number;
  word3: number;
  /** As in the low half of a ports word. */
  portWire: number;
}

/**
 * Numbers of sources that stand for an address and a port: the next one that does, from `number` on. Addresses come first:
 * the proxy's kernel remembers by address what path to it is like (MTU, round trips), which must not be another site's.
 */
export function nextSource(number: number): number {
  let next = number | 0;
  if ((next & 0xffff) < FIRST_ADDRESS) next = (next & ~0xffff) | FIRST_ADDRESS;
  return next >>> 16 === 0 ? next + NEXT_PORT : next;
}

/** Writes the source of this number (one of {@link nextSource}). */
export function writeSource(number: number, family: number, to: SyntheticSource): void {
  const high = swap16(number & 0xffff) << 16;
  to.portWire = swap16(number >>> 16);
  if (family === IPV4) {
    to.word0 = 0;
    to.word1 = 0;
    to.word2 = 0;
    to.word3 = high | IPV4_SOURCES;
    return;
  }
  to.word0 = IPV6_FIRST;
  to.word1 = IPV6_SOURCES;
  to.word2 = 0;
  to.word3 = high;
}
