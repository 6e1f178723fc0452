/**
 * The TCP header and its options (RFC 9293 3.1; RFC 7323 window scale and timestamps; RFC 2018 SACK).
 *
 * ```
 *   0                   1                   2                   3
 *  +-------------------------------+-------------------------------+
 *  |          source port          |       destination port        |  0
 *  |                        sequence number                        |  4
 *  |                     acknowledgment number                     |  8
 *  +-------+-------+---------------+-------------------------------+
 *  | off/4 |  res  |C E U A P R S F|            window             | 12
 *  +-------+-------+---------------+-------------------------------+
 *  |           checksum            |        urgent pointer         | 16
 *  |                            options                            | 20
 *  +---------------------------------------------------------------+
 * ```
 *
 * Numbers are in host order (int32 where 32 bits), the checksum in wire order (`wire/checksum.ts`). Getters
 * check nothing: `wire/decode.ts` does.
 */
import { readInt32, readUint16, writeInt32, writeUint16 } from './byte-order.ts';
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG } from './packet.ts';

export const TCP_HEADER_BYTES = 20;
export const TCP_MAX_HEADER_BYTES = 60;

/** Field offsets, bytes. */
export const TCP_SOURCE_PORT = 0;
export const TCP_DESTINATION_PORT = 2;
export const TCP_SEQUENCE = 4;
export const TCP_ACKNOWLEDGMENT = 8;
export const TCP_DATA_OFFSET = 12;
export const TCP_FLAGS = 13;
export const TCP_WINDOW = 14;
export const TCP_CHECKSUM = 16;
export const TCP_URGENT = 18;
export const TCP_OPTIONS = 20;

/** Option kinds. */
export const TCP_OPTION_END = 0;
export const TCP_OPTION_NOP = 1;
export const TCP_OPTION_MSS = 2;
export const TCP_OPTION_WINDOW_SCALE = 3;
export const TCP_OPTION_SACK_PERMITTED = 4;
export const TCP_OPTION_TIMESTAMPS = 8;

/** The largest shift that RFC 7323 (2.3) allows. */
export const TCP_MAX_WINDOW_SCALE = 14;

/** Length of the header, options included, bytes. */
export function tcpHeaderBytes(bytes: Uint8Array, offset: number): number {
  return (bytes[offset + TCP_DATA_OFFSET] >>> 4) << 2;
}

/** Flag sets that a segment may carry, whatever PSH, ECE and CWR say. See {@link tcpFlagsValid}. */
const VALID_FLAGS: readonly number[] = [
  TCP_SYN,
  TCP_SYN | TCP_URG,
  TCP_SYN | TCP_ACK,
  TCP_RST,
  TCP_RST | TCP_ACK,
  TCP_FIN | TCP_ACK,
  TCP_FIN | TCP_ACK | TCP_URG,
  TCP_ACK,
  TCP_ACK | TCP_URG,
];

function validFlagsMask(urgent: number): number {
  let mask = 0;
  for (const flags of VALID_FLAGS) {
    if ((flags & TCP_URG) !== urgent) continue;
    const index = flags & 0x1f;
    mask |= (1 << index) | (1 << (index | TCP_PSH));
  }
  return mask;
}

const VALID_WITHOUT_URGENT = validFlagsMask(0);
const VALID_WITH_URGENT = validFlagsMask(TCP_URG);

/**
 * Whether a set of flags can occur. Behind the handshake every segment carries ACK (RFC 9293, 3.10.7.4: without
 * it the segment is dropped), so FIN alone, URG alone and the empty set are refused, and so is every mixture of
 * SYN, FIN and RST. The same table as Linux connection tracking uses: what we forward a host's firewall takes.
 */
export function tcpFlagsValid(flags: number): boolean {
  const mask = (flags & TCP_URG) === 0 ? VALID_WITHOUT_URGENT : VALID_WITH_URGENT;
  return ((mask >>> (flags & 0x1f)) & 1) !== 0;
}

/** Writes a header with checksum 0 and urgent pointer 0; options (`headerBytes` - 20 of them) are the caller's. */
export function writeTcpHeader(
  bytes: Uint8Array,
  offset: number,
  sourcePort: number,
  destinationPort: number,
  sequence: number,
  acknowledgment: number,
  flags: number,
  window: number,
  headerBytes: number,
): void {
  writeUint16(bytes, offset + TCP_SOURCE_PORT, sourcePort);
  writeUint16(bytes, offset + TCP_DESTINATION_PORT, destinationPort);
  writeInt32(bytes, offset + TCP_SEQUENCE, sequence);
  writeInt32(bytes, offset + TCP_ACKNOWLEDGMENT, acknowledgment);
  bytes[offset + TCP_DATA_OFFSET] = (headerBytes >>> 2) << 4;
  bytes[offset + TCP_FLAGS] = flags;
  writeUint16(bytes, offset + TCP_WINDOW, window);
  writeInt32(bytes, offset + TCP_CHECKSUM, 0);
}

/** What the options of one segment say; reused. */
export class TcpOptions {
  /** Maximum segment size, bytes; 0: no such option. */
  mss = 0;
  /** Offset in `bytes` of the MSS option's value; 0: no such option. */
  mssOffset = 0;
  /** Shift count, at most 14; -1: no such option. */
  windowScale = -1;
  /** 1 or 0. */
  sackPermitted = 0;
  /** 1 or 0. */
  hasTimestamps = 0;
  /** TSval, int32. */
  timestampValue = 0;
  /** TSecr, int32. */
  timestampEcho = 0;
}

/**
 * Walks the options of the header at `offset`, which is `headerBytes` long (20..60), into `options`. Returns
 * false if an option runs beyond the header or has an impossible length; what was read before it stands. The
 * first option of a kind counts. Unknown kinds are passed over.
 */
export function parseTcpOptions(
  bytes: Uint8Array,
  offset: number,
  headerBytes: number,
  options: TcpOptions,
): boolean {
  options.mss = 0;
  options.mssOffset = 0;
  options.windowScale = -1;
  options.sackPermitted = 0;
  options.hasTimestamps = 0;
  options.timestampValue = 0;
  options.timestampEcho = 0;
  const end = (offset + headerBytes) | 0;
  let at = (offset + TCP_OPTIONS) | 0;
  while (at < end) {
    const kind = bytes[at];
    if (kind === TCP_OPTION_END) return true;
    if (kind === TCP_OPTION_NOP) {
      at = (at + 1) | 0;
      continue;
    }
    if (at + 2 > end) return false;
    const length = bytes[at + 1];
    if (length < 2 || at + length > end) return false;
    if (kind === TCP_OPTION_MSS) {
      if (length !== 4) return false;
      if (options.mssOffset === 0) {
        options.mss = readUint16(bytes, at + 2);
        options.mssOffset = (at + 2) | 0;
      }
    } else if (kind === TCP_OPTION_WINDOW_SCALE) {
      if (length !== 3) return false;
      if (options.windowScale < 0) {
        const shift = bytes[at + 2];
        options.windowScale = Math.min(shift, TCP_MAX_WINDOW_SCALE);
      }
    } else if (kind === TCP_OPTION_SACK_PERMITTED) {
      if (length !== 2) return false;
      options.sackPermitted = 1;
    } else if (kind === TCP_OPTION_TIMESTAMPS) {
      if (length !== 10) return false;
      if (options.hasTimestamps === 0) {
        options.hasTimestamps = 1;
        options.timestampValue = readInt32(bytes, at + 2);
        options.timestampEcho = readInt32(bytes, at + 6);
      }
    }
    at = (at + length) | 0;
  }
  return true;
}
