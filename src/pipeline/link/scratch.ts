/**
 * Room in packet memory for packets of our own: ARP and neighbour discovery, ICMP errors, fragments, resets.
 *
 * ```
 *  offset                          next             end                    offset + bytes
 *  | allocated since the last reset | free           | reserved for good    |
 * ```
 *
 * A bump allocator: what is allocated while one burst is processed stays valid until the next burst has sent
 * it, because `reset` is called only after that. Regions that must outlive a burst (packets that wait for a
 * neighbour, fragments) are cut off the far end once, at start.
 *
 * Neighbours: `wire/frame.ts` (the frame layout), everything in the pipeline that builds packets.
 */
import { FRAME_HEADROOM_BYTES, type FrameMemory } from '../../wire/frame.ts';

export class Scratch {
  readonly memory: FrameMemory;
  /** Where the region begins, bytes. */
  readonly offset: number;
  /** Counts resets, that is bursts, modulo 2^31. */
  bursts = 0;
  private next: number;
  private end: number;

  /** Takes `bytes` of packet memory from `offset` on; nobody else may write there. */
  constructor(memory: FrameMemory, offset: number, bytes: number) {
    this.memory = memory;
    this.offset = offset;
    this.next = offset;
    this.end = offset + bytes;
  }

  /**
   * Room for one frame of `frameBytes` (prefix included). Returns the frame's offset: 8 mod 16, as for received
   * frames, with {@link FRAME_HEADROOM_BYTES} free in front; -1 when there is no room. Not cleared.
   */
  allocate(frameBytes: number): number {
    const frame = ((this.next + FRAME_HEADROOM_BYTES + 7) & ~15) + 8;
    const next = frame + frameBytes;
    if (next > this.end) return -1;
    this.next = next;
    return frame;
  }

  /** Forgets every allocation. To be called at the start of a burst's processing, when all was sent. */
  reset(): void {
    this.next = this.offset;
    this.bursts = (this.bursts + 1) & 0x7fffffff;
  }

  /** Bytes that neither an allocation nor a reservation has. */
  get freeBytes(): number {
    return this.end - this.next;
  }

  /**
   * Cuts `bytes` off the region for good (at start, not per packet). Returns the offset, a multiple of 16, or
   * -1 when there is no room.
   */
  reserve(bytes: number): number {
    const start = (this.end - bytes) & ~15;
    if (start < this.next) return -1;
    this.end = start;
    return start;
  }
}
