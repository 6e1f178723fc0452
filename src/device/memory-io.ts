/**
 * Burst I/O in memory: devices are queues. For tests of everything that stands on {@link BurstIo}, and for
 * benches without devices.
 *
 * Two ways to feed it: {@link MemoryIo.inject} queues copies that bursts deliver in order; after
 * {@link MemoryIo.preload} every burst delivers the same frames, without copying them. What is sent is kept in
 * `sent` (or only counted). The clock stands still unless it is set.
 */
import { FRAME_HEADROOM_BYTES, FrameList, FrameMemory, MAX_FRAME_BYTES } from '../wire/frame.ts';
import { layoutOffset, type PacketLayout, placeFrame, toFrame } from './frame-placement.ts';
import type { BurstIo } from './io.ts';

const MAX_DEVICES = 1024;

export interface MemoryIoOptions {
  /** Memory for the pipeline's own packets; default 8 MiB. */
  readonly scratchBytes?: number;
  /** Most frames received by one burst; default 256. */
  readonly rxFrames?: number;
  /** Most frames sent by one burst; default 1024. */
  readonly txFrames?: number;
  /** Memory for received frames; default 1 MiB. */
  readonly rxBytes?: number;
}

/** A frame that was sent: a copy. */
export interface SentFrame {
  readonly device: number;
  /** `FRAME_...` flags of the descriptor. */
  readonly flags: number;
  /** The whole frame, virtio-net header first. */
  readonly frame: Uint8Array;
}

/** A frame for {@link MemoryIo.preload}. */
export interface PreloadedFrame {
  readonly device: number;
  readonly bytes: Uint8Array;
  /** What `bytes` begins with; default `ip`. */
  readonly layout?: PacketLayout;
}

export class MemoryIo implements BurstIo {
  readonly memory: FrameMemory;
  readonly scratchOffset = 0;
  readonly scratchBytes: number;
  /** May be set at any time. */
  nowMs = 0;
  readonly rx: FrameList;
  readonly tx: FrameList;
  readonly txErrors = new Float64Array(MAX_DEVICES);
  /** What was sent, oldest first. Empty it with {@link takeSent}. */
  sent: SentFrame[] = [];
  /** False: frames sent are counted in {@link sentFrames} only. */
  recordSent = true;
  sentFrames = 0;

  readonly #waiting: { device: number; frame: Uint8Array }[] = [];
  readonly #states = new Map<number, 'open' | 'gone'>();
  #preloaded = 0;
  /** Descriptors of the preloaded frames, and where their untouched copies lie. */
  #preloadedWords: Int32Array = new Int32Array(0);
  #pristine = new Int32Array(0);
  #restoreBytes = 0;

  constructor(options: MemoryIoOptions = {}) {
    this.scratchBytes = ((options.scratchBytes ?? 8 * 1024 * 1024) + 63) & ~63;
    const rxBytes = Math.max(options.rxBytes ?? 1024 * 1024, 2 * MAX_FRAME_BYTES);
    this.memory = new FrameMemory(new ArrayBuffer(this.scratchBytes + ((rxBytes + 63) & ~63)));
    this.rx = new FrameList(options.rxFrames ?? 256);
    this.tx = new FrameList(options.txFrames ?? 1024);
  }

  /** Opens a device. Injecting for an index opens it too. */
  addDevice(index: number): void {
    this.#states.set(index, 'open');
  }

  /** Closes a device; `gone` as if it had been deleted under us. */
  removeDevice(index: number, state: 'closed' | 'gone' = 'closed'): void {
    if (state === 'gone') this.#states.set(index, 'gone');
    else this.#states.delete(index);
  }

  /** Queues a copy of a packet for `rx`. `layout` says what `bytes` begins with. */
  inject(device: number, bytes: Uint8Array, layout: PacketLayout = 'ip'): void {
    if (!this.#states.has(device)) this.addDevice(device);
    this.#waiting.push({ device, frame: toFrame(bytes, layout) });
  }

  /** Frames injected and not delivered yet. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** What was sent since the last call. */
  takeSent(): SentFrame[] {
    const sent = this.sent;
    this.sent = [];
    return sent;
  }

  /**
   * From now on every burst delivers exactly these frames, from the same memory. What the pipeline wrote into
   * them stays, but for their first `restoreBytes`, which every burst puts back. Throws RangeError if they do
   * not fit. An empty list ends it.
   */
  preload(frames: readonly PreloadedFrame[], restoreBytes = 0): void {
    if (frames.length > this.rx.capacity) throw new RangeError(`${frames.length} frames: rx has no room`);
    const words = new FrameList(frames.length);
    this.#pristine = new Int32Array(frames.length);
    let next = this.scratchBytes;
    frames.forEach((preloaded, index) => {
      const layout = preloaded.layout ?? 'ip';
      const frame = toFrame(preloaded.bytes, layout);
      const offset = placeFrame(next);
      const pristine = offset + frame.length + FRAME_HEADROOM_BYTES;
      next = pristine + Math.min(frame.length, restoreBytes);
      if (next > this.memory.bytes.length) throw new RangeError('preloaded frames do not fit into memory');
      this.memory.bytes.set(frame, offset);
      this.memory.bytes.set(frame.subarray(0, restoreBytes), pristine);
      this.#pristine[index] = pristine;
      words.push(offset, frame.length, preloaded.device, 0);
      this.addDevice(preloaded.device);
    });
    this.#preloadedWords = words.words;
    this.#preloaded = frames.length;
    this.#restoreBytes = restoreBytes;
  }

  /** See {@link BurstIo.burst}. Never waits: nothing can arrive meanwhile. */
  burst(_waitMs: number): number {
    const tx = this.tx;
    for (let index = 0; index < tx.count; index++) this.#send(index);
    tx.count = 0;
    if (this.#preloaded > 0) this.#deliverPreloaded();
    else this.#deliverWaiting();
    return this.rx.count;
  }

  #send(index: number): void {
    const device = this.tx.device(index);
    if (this.#states.get(device) !== 'open') {
      this.txErrors[device]!++;
      return;
    }
    this.sentFrames++;
    if (!this.recordSent) return;
    const offset = this.tx.offset(index);
    const frame = this.memory.bytes.slice(offset, offset + this.tx.lengthBytes(index));
    this.sent.push({ device, flags: this.tx.flags(index), frame });
  }

  #deliverPreloaded(): void {
    const words = this.rx.words;
    const preloaded = this.#preloadedWords;
    for (let at = 0; at < preloaded.length; at++) words[at] = preloaded[at]!;
    this.rx.count = this.#preloaded;
    if (this.#restoreBytes === 0) return;
    for (let index = 0; index < this.#preloaded; index++) {
      const pristine = this.#pristine[index]!;
      const length = Math.min(this.rx.lengthBytes(index), this.#restoreBytes);
      this.memory.bytes.copyWithin(this.rx.offset(index), pristine, pristine + length);
    }
  }

  #deliverWaiting(): void {
    const rx = this.rx;
    rx.count = 0;
    let next = this.scratchBytes;
    let taken = 0;
    for (const { device, frame } of this.#waiting) {
      const offset = placeFrame(next);
      if (rx.count === rx.capacity || offset + frame.length > this.memory.bytes.length) break;
      taken++;
      if (this.#states.get(device) !== 'open') continue;
      this.memory.bytes.set(frame, offset);
      rx.push(offset, frame.length, device, 0);
      next = offset + frame.length;
    }
    this.#waiting.splice(0, taken);
  }

  deviceState(index: number): 'open' | 'closed' | 'gone' {
    return this.#states.get(index) ?? 'closed';
  }

  close(): void {
    this.#states.clear();
    this.#waiting.length = 0;
  }
}

/** The part of a sent frame that begins at this layout's header. A view, not a copy. */
export function sentBytes(sent: SentFrame, layout: PacketLayout): Uint8Array {
  return sent.frame.subarray(layoutOffset(layout));
}
