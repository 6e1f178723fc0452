/**
 * Where received frames are put, for the I/Os that fill memory by themselves (in memory, from captures). The
 * rules are those of `wire/frame.ts`: 8 mod 16, with headroom in front.
 */
import { FRAME_HEADROOM_BYTES, FRAME_PREFIX_BYTES, MAX_FRAME_BYTES } from '../wire/frame.ts';

/** What a byte string begins with: a whole frame, an Ethernet header, or an IP header. */
export type PacketLayout = 'frame' | 'ethernet' | 'ip';

const LINK_HEADER_OFFSET = 10;

/** Offset of the next frame when everything before `next` is taken. */
export function placeFrame(next: number): number {
  return ((next + FRAME_HEADROOM_BYTES + 7) & ~15) + 8;
}

/** Where bytes of this layout begin in a frame. */
export function layoutOffset(layout: PacketLayout): number {
  return layout === 'frame' ? 0 : layout === 'ethernet' ? LINK_HEADER_OFFSET : FRAME_PREFIX_BYTES;
}

/** Makes a frame of its own, with an empty virtio-net header. Throws RangeError if it would be too long. */
export function toFrame(bytes: Uint8Array, layout: PacketLayout): Uint8Array {
  const at = layoutOffset(layout);
  const length = at + bytes.length;
  if (length <= FRAME_PREFIX_BYTES || length > MAX_FRAME_BYTES) {
    throw new RangeError(
      `a frame of ${length} bytes is not in ${FRAME_PREFIX_BYTES + 1}..${MAX_FRAME_BYTES}`,
    );
  }
  const frame = new Uint8Array(length);
  frame.set(bytes, at);
  return frame;
}
