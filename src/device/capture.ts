/**
 * What captures are to us, whichever the file format: packets with a time, an interface and a link type.
 *
 * `pcap.ts`, `pcapng-reader.ts` and `pcapng-writer.ts` read and write the formats, `capture-file.ts` tells them apart, `pcap-io.ts` replays
 * and records. All of it works on whole files in memory and is for tests and diagnosis, not for the packet's way.
 */

/** Link types (the numbers are those of both formats, not of libpcap's DLT_). */
export const LINKTYPE_ETHERNET = 1;
/** Begins with an IPv4 or IPv6 header. */
export const LINKTYPE_RAW = 101;
/** Linux "cooked" capture: 16 bytes, the EtherType in the last two. */
export const LINKTYPE_LINUX_SLL = 113;

const SLL_HEADER_BYTES = 16;
const SLL_PROTOCOL = 14;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;

export interface CaptureInterface {
  readonly linkType: number;
  /** Bytes of each packet kept at most; 0: no limit. */
  readonly snapLength: number;
  readonly name?: string;
}

export interface CapturedPacket {
  /** Index in {@link Capture.interfaces}. */
  readonly interfaceIndex: number;
  readonly linkType: number;
  /** Nanoseconds since 1970; 0 where the format keeps none. */
  readonly timestampNs: bigint;
  /** Length on the wire, bytes; more than `data` holds if the capture cut it. */
  readonly originalLength: number;
  /** A view into the file. */
  readonly data: Uint8Array;
  readonly comment?: string;
}

export type CaptureErrorCode = 'not_a_capture' | 'truncated' | 'malformed';

/** Where and why reading ended before the end of the file. */
export class CaptureError extends Error {
  override readonly name = 'CaptureError';
  readonly code: CaptureErrorCode;
  /** Offset in the file, bytes. */
  readonly offset: number;

  constructor(code: CaptureErrorCode, offset: number, what: string) {
    super(`${what}, at byte ${offset}`);
    this.code = code;
    this.offset = offset;
  }
}

/** A file that was read: everything before the error, if there is one. */
export interface Capture {
  readonly format: 'pcap' | 'pcapng' | 'unknown';
  readonly interfaces: readonly CaptureInterface[];
  readonly packets: readonly CapturedPacket[];
  readonly error: CaptureError | undefined;
}

/** Takes what a writer makes, in order. The bytes are the sink's to keep. */
export type CaptureSink = (bytes: Uint8Array) => void;

/** A packet to write. */
export interface PacketToWrite {
  readonly timestampNs: bigint;
  readonly data: Uint8Array;
  /** Length on the wire; default: that of `data`. */
  readonly originalLength?: number;
}

/**
 * The part of a captured packet that a frame is made of: Ethernet frames as they are, IP packets without a
 * cooked header. Undefined for other link types and for what is not IP.
 */
export function capturedFrame(
  packet: CapturedPacket,
): { readonly layout: 'ethernet' | 'ip'; readonly bytes: Uint8Array } | undefined {
  const { data, linkType } = packet;
  if (linkType === LINKTYPE_ETHERNET && data.length > 14) return { layout: 'ethernet', bytes: data };
  if (linkType === LINKTYPE_RAW && data.length > 0) return { layout: 'ip', bytes: data };
  if (linkType === LINKTYPE_LINUX_SLL && data.length > SLL_HEADER_BYTES) {
    const protocol = (data[SLL_PROTOCOL]! << 8) | data[SLL_PROTOCOL + 1]!;
    if (protocol === ETHERTYPE_IPV4 || protocol === ETHERTYPE_IPV6) {
      return { layout: 'ip', bytes: data.subarray(SLL_HEADER_BYTES) };
    }
  }
  return undefined;
}
