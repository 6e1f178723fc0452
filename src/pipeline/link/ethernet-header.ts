/**
 * The Ethernet header in front of a packet, written as words (see `link-device.ts` for where they lie), and the
 * prefix of frames of our own.
 */
import { FRAME_PREFIX_BYTES } from '../../wire/frame.ts';
import type { LinkDevice } from './link-device.ts';

/** Writes no offloads at all into the virtio-net header of a frame. */
export function writeOwnPrefix(words: Int32Array, frame: number): void {
  words[frame >> 2] = 0;
  words[(frame + 4) >> 2] = 0;
  words[(frame + 8) >> 2] = 0;
}

/** Writes the Ethernet header: to the MAC `head`, `tail`, from the device's own. `type`: host order. */
export function writeLinkHeader(
  words: Int32Array,
  frame: number,
  head: number,
  tail: number,
  device: LinkDevice,
  type: number,
): void {
  writeDestination(words, frame, head, tail);
  words[(frame + 16) >> 2] = device.macFront;
  words[(frame + FRAME_PREFIX_BYTES - 4) >> 2] =
    device.macRear | ((type & 0xff) << 24) | ((type >>> 8) << 16);
}

/** Writes the destination MAC alone. */
export function writeDestination(words: Int32Array, frame: number, head: number, tail: number): void {
  const at = (frame + 8) >> 2;
  words[at] = (words[at] & 0xffff) | (head << 16);
  words[at + 1] = tail;
}
