/**
 * Results of decoding. The numbers are those of the drop reasons of the same meaning
 * (`plugin/drop-reasons.ts`, which stands above this directory; a test there holds them together).
 */

export const DECODE_OK = 0;
/** Truncated, or header fields contradict each other. */
export const DECODE_MALFORMED = 1;
/** The IPv4 header checksum is wrong. */
export const DECODE_BAD_IP_CHECKSUM = 2;
/** A source route: IPv4 LSRR or SSRR, IPv6 routing header of type 0 or with segments left. */
export const DECODE_IP_OPTIONS = 3;
/** A source address that cannot be a sender's, or that equals the destination. */
export const DECODE_BAD_SOURCE = 4;
/** A destination that is never forwarded to. */
export const DECODE_BAD_DESTINATION = 5;
