/**
 * How much of a packet ESP leaves for what it protects (RFC 4303, section 2; RFC 3948 in UDP).
 *
 * ```
 *  outer IP  UDP  SPI, sequence  IV  | what is protected  padding  2 |  ICV
 *  20, 40    8    8              8-16  <------ a multiple of 4, 16 -->  12-32
 * ```
 *
 * The two bytes are the padding's length and the next header. UDP is counted always: whether the peer is behind a
 * translator is known when it answers, and may change.
 */
import type { Proposal } from './proposals.ts';

const IPV4_BYTES = 20;
const IPV6_BYTES = 40;
const UDP_BYTES = 8;
const SPI_AND_SEQUENCE_BYTES = 8;
const TRAILER_BYTES = 2;

/** What one algorithm needs, bytes. */
interface Needs {
  readonly iv: number;
  /** Also of what is protected with its trailer: at least 4. */
  readonly block: number;
  readonly icv: number;
}

/** By the daemon's names. */
const ENCRYPTION: Readonly<Record<string, Needs>> = {
  AES_GCM_16: { iv: 8, block: 4, icv: 16 },
  AES_CCM_16: { iv: 8, block: 4, icv: 16 },
  CHACHA20_POLY1305: { iv: 8, block: 4, icv: 16 },
  AES_CTR: { iv: 8, block: 4, icv: 0 },
  AES_CBC: { iv: 16, block: 16, icv: 0 },
  CAMELLIA_CBC: { iv: 16, block: 16, icv: 0 },
};
const ICV: Readonly<Record<string, number>> = {
  HMAC_SHA2_256_128: 16,
  HMAC_SHA2_384_192: 24,
  HMAC_SHA2_512_256: 32,
  HMAC_SHA1_96: 12,
  AES_XCBC_96: 12,
  AES_CMAC_96: 12,
};
/** Of an algorithm that is not known here: as much as any needs. */
const MOST: Needs = { iv: 16, block: 16, icv: 32 };

/**
 * The largest that ESP can protect, whichever of the proposals the peer takes: in tunnel mode an inner IP packet, in
 * transport mode what is behind the IP header.
 *
 * @param mtu bytes of the largest outer packet
 */
export function largestProtected(mtu: number, family: 4 | 6, proposals: readonly Proposal[]): number {
  const headers = (family === 4 ? IPV4_BYTES : IPV6_BYTES) + UDP_BYTES + SPI_AND_SEQUENCE_BYTES;
  const sizes = proposals.map((proposal) => {
    const { iv, block, icv } = needsOf(proposal);
    const room = mtu - headers - iv - icv;
    return room - (room % block) - TRAILER_BYTES;
  });
  return Math.min(...sizes);
}

/** A proposal has one of each at the most. */
function needsOf({ algorithms }: Proposal): Needs {
  const encryption = algorithms.find(({ kind }) => kind === 'aead' || kind === 'encryption');
  const integrity = algorithms.find(({ kind }) => kind === 'integrity');
  const needs = ENCRYPTION[encryption?.name ?? ''] ?? MOST;
  return integrity === undefined ? needs : { ...needs, icv: ICV[integrity.name] ?? MOST.icv };
}
