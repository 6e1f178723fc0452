/** Numbers of the pcapng format, for its reader and its writer (draft-ietf-opsawg-pcapng). Lengths in bytes. */

export const BLOCK_SECTION = 0x0a0d0d0a;
export const BLOCK_INTERFACE = 1;
export const BLOCK_SIMPLE_PACKET = 3;
export const BLOCK_INTERFACE_STATISTICS = 5;
export const BLOCK_ENHANCED_PACKET = 6;

/** In a section header; tells the byte order. */
export const BYTE_ORDER_MAGIC = 0x1a2b3c4d;

/** Type and both lengths. */
export const BLOCK_OVERHEAD_BYTES = 12;
/** Fixed parts of the bodies. */
export const SECTION_BYTES = 16;
export const INTERFACE_BYTES = 8;
export const ENHANCED_PACKET_BYTES = 20;
export const SIMPLE_PACKET_BYTES = 4;
export const INTERFACE_STATISTICS_BYTES = 12;

export const OPTION_END = 0;
export const OPTION_COMMENT = 1;
/** In a section header: who wrote it. */
export const OPTION_APPLICATION = 4;
/** In an interface description. */
export const OPTION_INTERFACE_NAME = 2;
export const OPTION_INTERFACE_DESCRIPTION = 3;
/** In an enhanced packet: uint32, the direction in its lowest two bits. */
export const OPTION_PACKET_FLAGS = 2;
export const FLAGS_INBOUND = 1;
export const FLAGS_OUTBOUND = 2;
/** In an enhanced packet: uint64, packets lost since the one before. */
export const OPTION_PACKET_DROPS = 4;
/** In interface statistics: uint64, packets received, and packets dropped for want of room. */
export const OPTION_STATISTICS_RECEIVED = 4;
export const OPTION_STATISTICS_DROPPED = 5;
/** In an interface description: one byte, a negative power of ten, or of two if its highest bit is set. */
export const OPTION_TIME_RESOLUTION = 9;
/** In an interface description: int64, seconds to add. */
export const OPTION_TIME_OFFSET = 14;

/** Length with the padding that follows. */
export function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}
