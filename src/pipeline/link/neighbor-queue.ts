/**
 * Frames that wait for a neighbour's MAC: copies in a region of packet memory of their own.
 *
 * Blocks of one size, a list for each neighbour, all bounded: {@link QUEUE_PER_NEIGHBOR} frames for a
 * neighbour, a share of the pool for a device. The last quarter of a share is for neighbours of whom nothing waits
 * yet, so that some that are silent do not keep the first packet to another from waiting. A frame that was handed
 * to the output list is sent by the next burst only, so its block rests until then (`Scratch` tells one burst from
 * the next by `bursts`).
 *
 * Longer frames than a block holds cannot wait: GSO packets, and what a device with jumbo frames carries. They come
 * first only where a sender begins with them.
 *
 * ```
 *          take            giveBack(sent)              next burst
 *  free ----------> waiting ------------> resting ----------------> free
 *    ^                 |  giveBack(dropped)
 *    +-----------------+
 * ```
 */
import { FRAME_PREFIX_BYTES } from '../../wire/frame.ts';
import type { Scratch } from './scratch.ts';

/**
 * Frames that wait for one neighbour; a newer one pushes out the oldest (RFC 4861, 7.2.2). Enough for the first packets
 * of a hundred sites towards one host.
 */
export const QUEUE_PER_NEIGHBOR = 256;
/** What a device may hold however many there are. */
const MIN_DEVICE_SHARE = 3;
/** The longest IP packet that can wait (the outer one of a tunnel packet), bytes. */
export const QUEUE_PACKET_BYTES = 2048;
const NONE = -1;
/** A multiple of 16; frames begin 8 bytes into their block. */
const BLOCK_BYTES = (8 + FRAME_PREFIX_BYTES + QUEUE_PACKET_BYTES + 15) & ~15;

export class NeighborQueue {
  /** Next block of the same neighbour, -1 at the end. */
  readonly next: Int32Array;
  readonly lengthBytes: Int32Array;
  /** Port the frame was sent by, and the generation the port had. */
  readonly port: Int32Array;
  readonly generation: Int32Array;
  /** Descriptor flags. */
  readonly flags: Int32Array;
  private readonly base: number;
  private readonly scratch: Scratch;
  private readonly bytes: Uint8Array;
  private readonly device: Int32Array;
  private counts = new Int32Array(0);
  private share = MIN_DEVICE_SHARE;
  private free: number;
  private resting = NONE;
  private restingSince = 0;

  /** Reserves room for `blocks` frames from the scratch memory; has none if there is too little. */
  constructor(scratch: Scratch, blocks: number) {
    const base = scratch.reserve(blocks * BLOCK_BYTES);
    const count = base < 0 ? 0 : blocks;
    this.base = base;
    this.scratch = scratch;
    this.bytes = scratch.memory.bytes;
    this.next = new Int32Array(count);
    this.lengthBytes = new Int32Array(count);
    this.port = new Int32Array(count);
    this.generation = new Int32Array(count);
    this.flags = new Int32Array(count);
    this.device = new Int32Array(count);
    for (let block = 0; block < count; block++) this.next[block] = block + 1 < count ? block + 1 : NONE;
    this.free = count > 0 ? 0 : NONE;
  }

  /** Control path: as `NeighborTable.setDevices`. */
  setDevices(devices: number, ethernetDevices: number): void {
    if (devices > this.counts.length) {
      const counts = new Int32Array(devices);
      counts.set(this.counts);
      this.counts = counts;
    }
    const share = Math.floor(this.next.length / Math.max(1, ethernetDevices));
    this.share = Math.max(MIN_DEVICE_SHARE, share);
  }

  /** Offset of the frame in a block. */
  frame(block: number): number {
    return this.base + block * BLOCK_BYTES + 8;
  }

  /** Whether a frame of this length can wait at all. */
  isTooLong(lengthBytes: number): boolean {
    return lengthBytes > FRAME_PREFIX_BYTES + QUEUE_PACKET_BYTES;
  }

  /** Whether what is left of the device's share is for neighbours of whom nothing waits. */
  isScarce(device: number): boolean {
    return this.share - this.counts[device] <= this.share >> 2;
  }

  /** Copies a frame, not too long, into a free block. Returns the block, or -1: no room, or the device's share is used up. */
  take(frame: number, lengthBytes: number, device: number): number {
    if (this.counts[device] >= this.share) return NONE;
    this.wake();
    const block = this.free;
    if (block === NONE) return NONE;
    this.free = this.next[block];
    this.next[block] = NONE;
    this.device[block] = device;
    this.lengthBytes[block] = lengthBytes;
    this.counts[device] = this.counts[device] + 1;
    this.bytes.copyWithin(this.frame(block), frame, frame + lengthBytes);
    return block;
  }

  /** Gives a block back; `sent`: its frame stands in the output list, so it rests until that was sent. */
  giveBack(block: number, sent: boolean): void {
    const device = this.device[block];
    this.counts[device] = this.counts[device] - 1;
    if (!sent) {
      this.next[block] = this.free;
      this.free = block;
      return;
    }
    this.wake();
    this.next[block] = this.resting;
    this.resting = block;
    this.restingSince = this.scratch.bursts;
  }

  /** Frees what rested since an earlier burst. */
  private wake(): void {
    if (this.restingSince === this.scratch.bursts) return;
    while (this.resting !== NONE) {
      const block = this.resting;
      this.resting = this.next[block];
      this.next[block] = this.free;
      this.free = block;
    }
  }
}
