/**
 * Frames in packet memory.
 *
 * Every packet the data plane holds lies in one `ArrayBuffer`, contiguous, behind a fixed prefix:
 *
 * ```
 *  frame offset (multiple of 4; 8 mod 16 for received frames)
 *  |
 *  v        +10                  +24
 *  +---------+--------------------+-----------------------------
 *  | virtio  | link header        | network header (IPv4 / IPv6)
 *  | net hdr | (Ethernet, or gap) |
 *  +---------+--------------------+-----------------------------
 * ```
 *
 * The same prefix for TUN devices (`TUNSETVNETHDRSZ` = 24: the 14 bytes are a gap) and for packet sockets
 * (`PACKET_VNET_HDR`: virtio header, then the Ethernet header) means that a packet crosses from any device to
 * any other in place: only the prefix is written anew. A received network header is 16-byte aligned, so header
 * fields are read as 32-bit words. In front of a received frame there are {@link FRAME_HEADROOM_BYTES} bytes
 * free, enough for any encapsulation we add.
 *
 * Neighbours: `wire/packet.ts` (the view of one packet), `device/io.ts` (who fills and empties frame lists).
 */

/** Bytes of the virtio-net header in front of every frame (`struct virtio_net_hdr`, little endian). */
export const VIRTIO_NET_HEADER_BYTES = 10;
/** Bytes between the virtio-net header and the network header: an Ethernet header, or a gap on TUN. */
export const LINK_HEADER_BYTES = 14;
/** Offset of the network header in a frame. */
export const FRAME_PREFIX_BYTES = VIRTIO_NET_HEADER_BYTES + LINK_HEADER_BYTES;
/** Free bytes in front of every received frame: an outer IPv6 header, GRE with all options, and to spare. */
export const FRAME_HEADROOM_BYTES = 104;
/** The longest frame: a 64 KiB GSO packet and its prefix. */
export const MAX_FRAME_BYTES = FRAME_PREFIX_BYTES + 65536;

/** Packet memory: one buffer and its views. Words are little endian, as the host is (checked at start). */
export class FrameMemory {
  readonly buffer: ArrayBuffer;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;

  constructor(buffer: ArrayBuffer) {
    this.buffer = buffer;
    this.bytes = new Uint8Array(buffer);
    this.words = new Int32Array(buffer, 0, buffer.byteLength >>> 2);
  }
}

/** Words of one descriptor in a {@link FrameList}. */
export const DESCRIPTOR_WORDS = 4;
/** Descriptor word: offset of the frame (its virtio-net header) in packet memory, bytes. */
export const DESCRIPTOR_OFFSET = 0;
/** Descriptor word: length of the frame, prefix included, bytes. */
export const DESCRIPTOR_LENGTH = 1;
/** Descriptor word: index of the device it came from or goes to. */
export const DESCRIPTOR_DEVICE = 2;
/** Descriptor word: flags, `FRAME_...`. */
export const DESCRIPTOR_FLAGS = 3;

/**
 * To send: the frame is IP > GRE > IP > TCP or UDP with GSO fields in its virtio-net header (which speak of the
 * inner transport header). No device segments that for us: the device layer does, before it sends.
 */
export const FRAME_SEGMENT_GRE = 1;

/** A bounded list of frame descriptors, filled by one side and emptied by the other. Never grows. */
export class FrameList {
  readonly capacity: number;
  readonly words: Int32Array;
  count = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.words = new Int32Array(capacity * DESCRIPTOR_WORDS);
  }

  /** Appends a descriptor. Returns false, and appends nothing, when the list is full. */
  push(offset: number, lengthBytes: number, device: number, flags: number): boolean {
    if (this.count >= this.capacity) return false;
    const at = this.count * DESCRIPTOR_WORDS;
    const words = this.words;
    words[at] = offset;
    words[at + 1] = lengthBytes;
    words[at + 2] = device;
    words[at + 3] = flags;
    this.count++;
    return true;
  }

  /** Takes out all frames of a device; the others keep their order. Returns how many those were. */
  discard(device: number): number {
    const words = this.words;
    let kept = 0;
    for (let index = 0; index < this.count; index++) {
      if (this.device(index) === device) continue;
      words.copyWithin(kept * DESCRIPTOR_WORDS, index * DESCRIPTOR_WORDS, (index + 1) * DESCRIPTOR_WORDS);
      kept++;
    }
    const discarded = this.count - kept;
    this.count = kept;
    return discarded;
  }

  offset(index: number): number {
    return this.words[index * DESCRIPTOR_WORDS]!;
  }

  lengthBytes(index: number): number {
    return this.words[index * DESCRIPTOR_WORDS + 1]!;
  }

  device(index: number): number {
    return this.words[index * DESCRIPTOR_WORDS + 2]!;
  }

  flags(index: number): number {
    return this.words[index * DESCRIPTOR_WORDS + 3]!;
  }
}
