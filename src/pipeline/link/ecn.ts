/**
 * What a tunnel does to explicit congestion notification: RFC 6040, normal mode (section 4).
 *
 * On the way in, the outer header takes the inner one's field as it is. On the way out both are combined:
 *
 * ```
 *                    outer   Not-ECT   ECT(0)    ECT(1)    CE
 *  inner   Not-ECT           Not-ECT   Not-ECT   Not-ECT   drop
 *          ECT(0)            ECT(0)    ECT(0)    ECT(1)    CE
 *          ECT(1)            ECT(1)    ECT(1)    ECT(1)    CE
 *          CE                CE        CE        CE        CE
 * ```
 *
 * Neighbours: `gre-decapsulation.ts`. Nothing of the DSCP is taken over on the way out (RFC 2983, pipe model).
 */
import type { FrameMemory } from '../../wire/frame.ts';
import { IPV4 } from '../../wire/packet.ts';

export const NOT_ECT = 0;
export const ECT_1 = 1;
export const ECT_0 = 2;
export const CE = 3;

/** The packet must be dropped: the network marks congestion, and the sender would not understand the mark. */
export const ECN_DROP = -1;

/** The inner ECN field after decapsulation, or {@link ECN_DROP}. Only the lower two bits of both are looked at. */
export function combineEcn(inner: number, outer: number): number {
  const innerEcn = inner & 3;
  const outerEcn = outer & 3;
  if (outerEcn === CE) return innerEcn === NOT_ECT ? ECN_DROP : CE;
  if (outerEcn === ECT_1 && innerEcn === ECT_0) return ECT_1;
  return innerEcn;
}

/**
 * Writes an ECN field into the IP header at `offset` (a multiple of 4; the fixed header must be there) and
 * keeps the IPv4 header checksum right (RFC 1624).
 */
export function setEcn(memory: FrameMemory, offset: number, family: number, ecn: number): void {
  const bytes = memory.bytes;
  if (family !== IPV4) {
    bytes[offset + 1] = (bytes[offset + 1] & 0xcf) | (ecn << 4);
    return;
  }
  const before = bytes[offset + 1];
  const after = (before & 0xfc) | ecn;
  bytes[offset + 1] = after;
  // RFC 1624, equation 3, on the one 16-bit word that changed; its upper byte (version, IHL) stays.
  let sum = ~((bytes[offset + 10] << 8) | bytes[offset + 11]) & 0xffff;
  sum += (~before & 0xff) + 0xff00 + after;
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  bytes[offset + 10] = (~sum >>> 8) & 0xff;
  bytes[offset + 11] = ~sum & 0xff;
}
