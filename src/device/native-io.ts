/**
 * Burst I/O over TUN devices and packet sockets: one native loop, one call a burst.
 *
 * Memory is one arena: scratch (for packets of the pipeline's own) first, the receive area behind it. Received
 * frames lie back to back as far as the kernel lets them (`native/homeward.h` draws the area). Where
 * `csum_start` of a received virtio-net header counts from: the Ethernet header for frames of `ethernet`
 * devices, the IP header for frames of `tun` and `ip` devices. The same is expected of frames to send. Whoever
 * moves a frame from one kind of device to the other adds or takes 14.
 *
 * Besides devices the loop waits for descriptors of the caller ({@link NativeIo.watch}): command sockets.
 */
import { FrameList, FrameMemory } from '../wire/frame.ts';
import type { BurstIo } from './io.ts';
import type { NativeBinding, NativeLoop } from './native.ts';
import { allocate, checked, native } from './native.ts';

/** Device indices are smaller than this. */
export const MAX_DEVICES = 1024;

const STATUS_NOW_MS = 0;
const STATUS_READY_COUNT = 1;
const STATUS_WAITED_US = 2;
const STATUS_WORDS = 3;
const STATE_OPEN = 1;
const STATE_GONE = 2;
const KIND_ETHERNET = 1;
const KIND_IP = 2;
const MAX_READY = 64;
const FILTER_INSTRUCTION_BYTES = 8;

/** Most of it is for the byte streams that plugins read, and takes no memory until there are some. */
const DEFAULT_SCRATCH_BYTES = 48 * 1024 * 1024;

export interface NativeIoOptions {
  /** Memory for the pipeline's own packets and for what it holds back; default {@link DEFAULT_SCRATCH_BYTES}. */
  readonly scratchBytes?: number;
  /** Most frames received by one burst; default 256. */
  readonly rxFrames?: number;
  /** Most frames sent by one burst; default 1024. */
  readonly txFrames?: number;
  /**
   * Received bytes after which a burst ends; default 48 KiB. The last batch may exceed it. A frame as large as
   * offloads make them ends a burst, so that it is still in the processor's cache when it is sent: over TUN a quota of
   * 256 KiB took 20 % more processor time for each gigabit.
   */
  readonly rxByteQuota?: number;
}

export interface TunOptions {
  /** Sets the device's MTU, bytes; default: left as it is. */
  readonly mtu?: number;
  /** Length of the queue of frames that wait for us (`txqueuelen`); default 1000, 0 leaves it as it is. */
  readonly txQueueFrames?: number;
  /** Whether the device outlives this process; default: left as it is (new devices do not). */
  readonly persist?: boolean;
}

export interface PacketOptions {
  /** `ethernet`: Ethernet, VLAN, loopback; `ip`: a device without link header (WireGuard, TUN, GRE, PPP). */
  readonly kind: 'ethernet' | 'ip';
  /**
   * Classic BPF (`code, jt, jf, k`); default: everything the device receives. The socket
   * sees frames of VLAN sub-interfaces without their tag, and frames for other hosts: the filter must refuse
   * them (ancillary data VLAN_TAG_PRESENT, PKTTYPE).
   */
  readonly filter?: readonly (readonly [number, number, number, number])[];
  /** Send past the queueing discipline; default false. */
  readonly qdiscBypass?: boolean;
  /**
   * Join GRE-encapsulated TCP segments of one receive batch to GSO packets, in the shape in which
   * the kernel's own receive offload delivers them; default true.
   */
  readonly coalesceGre?: boolean;
}

function encodeFilter(filter: PacketOptions['filter']): Uint8Array {
  const instructions = filter ?? [];
  const bytes = new Uint8Array(instructions.length * FILTER_INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  instructions.forEach(([code, jt, jf, k], index) => {
    const at = index * FILTER_INSTRUCTION_BYTES;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, jt);
    view.setUint8(at + 3, jf);
    view.setUint32(at + 4, k, true);
  });
  return bytes;
}

export class NativeIo implements BurstIo {
  readonly memory: FrameMemory;
  readonly scratchOffset = 0;
  readonly scratchBytes: number;
  readonly rx: FrameList;
  readonly tx: FrameList;
  readonly txErrors = new Float64Array(MAX_DEVICES);
  /**
   * Frames that could not be received whole, or came while the kernel's buffer was full, since the start, by device
   * index. The latter are known after {@link checkDevice}.
   */
  readonly rxErrors = new Float64Array(MAX_DEVICES);
  nowMs = 0;
  /** Time that bursts have spent waiting for input since the start, microseconds as int32: it wraps. */
  waitedUs = 0;
  /** Ids of the watched descriptors that were ready in the last burst; the first `readyCount` are valid. */
  readonly readyIds = new Int32Array(MAX_READY);
  readyCount = 0;

  readonly #binding: NativeBinding;
  readonly #loop: NativeLoop;
  readonly #status = new Int32Array(STATUS_WORDS);
  readonly #states = new Uint8Array(MAX_DEVICES);

  constructor(options: NativeIoOptions = {}) {
    const rxFrames = options.rxFrames ?? 256;
    const rxByteQuota = options.rxByteQuota ?? 48 * 1024;
    this.#binding = native();
    this.scratchBytes = ((options.scratchBytes ?? DEFAULT_SCRATCH_BYTES) + 63) & ~63;
    this.memory = new FrameMemory(
      allocate(this.scratchBytes + this.#binding.rxAreaBytes(rxFrames, rxByteQuota)),
    );
    this.rx = new FrameList(rxFrames);
    this.tx = new FrameList(options.txFrames ?? 1024);
    const loop = this.#binding.loopCreate(
      this.memory.bytes,
      this.scratchBytes,
      rxByteQuota,
      [this.rx.words, this.tx.words, this.#status, this.readyIds],
      [this.txErrors, this.rxErrors],
      this.#states,
    );
    this.#loop = checked(loop, 'create the loop') as NativeLoop;
    this.burst(0);
  }

  /**
   * Makes a TUN device, or attaches to an existing one (made with `vnet_hdr`), in the namespace of this
   * process. It may be moved to another namespace afterwards. Returns its interface index. Throws
   * {@link NativeError}: `EBUSY` if another process is attached, `EINVAL` for another kind of device.
   */
  addTun(index: number, name: string, options: TunOptions = {}): number {
    this.#mustBeFree(index, name);
    const persist = options.persist === undefined ? -1 : options.persist ? 1 : 0;
    const queue = options.txQueueFrames ?? 1000;
    return checked(
      this.#binding.addTun(this.#loop, index, name, options.mtu ?? 0, queue, persist),
      `open TUN device ${name}`,
    );
  }

  /**
   * Opens a packet socket on a device. Returns the interface index. Throws {@link NativeError}: `ENODEV`;
   * `EINVAL` if the device is not of this kind or the filter is refused.
   */
  addPacket(index: number, name: string, options: PacketOptions): number {
    this.#mustBeFree(index, name);
    const kind = options.kind === 'ethernet' ? KIND_ETHERNET : KIND_IP;
    const filter = encodeFilter(options.filter);
    const bypass = options.qdiscBypass ? 1 : 0;
    const coalesce = (options.coalesceGre ?? true) ? 1 : 0;
    return checked(
      this.#binding.addPacket(this.#loop, index, name, kind, filter, bypass, coalesce),
      `open a packet socket on ${name}`,
    );
  }

  /**
   * Puts another filter in place of the one that a packet socket has. No frame is lost; what was received before
   * has passed the former one. Throws {@link NativeError}: `ENODEV` if no packet socket is open at this index,
   * `EINVAL` if the filter is refused; the former one stays then.
   */
  setFilter(index: number, filter: NonNullable<PacketOptions['filter']>): void {
    checked(this.#binding.setFilter(this.#loop, index, encodeFilter(filter)), 'change a socket filter');
  }

  #mustBeFree(index: number, name: string): void {
    if (!Number.isInteger(index) || index < 0 || index >= MAX_DEVICES) {
      throw Object.assign(new Error(`${name}: device index ${index} is not in 0..${MAX_DEVICES - 1}`), {
        code: 'ERANGE',
      });
    }
    if (this.#states[index] === STATE_OPEN) {
      throw Object.assign(new Error(`${name}: device index ${index} is in use`), { code: 'EEXIST' });
    }
  }

  /** Closes the device at this index, if there is one. A TUN device that is not persistent disappears. */
  removeDevice(index: number): void {
    this.#binding.removeDevice(this.#loop, index);
  }

  /**
   * Looks whether the device at this index is still there. A burst notices what it sends to or receives from;
   * one that was deleted while it was idle may go unnoticed without this. Returns whether packets can pass: it is up
   * and has a carrier. Some system calls: not for every burst.
   */
  checkDevice(index: number): boolean {
    return this.#binding.checkDevice(this.#loop, index) === 1;
  }

  /**
   * Ends bursts when a descriptor becomes readable (or writable, if asked for): `id` is then in
   * {@link readyIds}, in every burst until it was read. Calling again changes `id` and `writable`. The caller
   * keeps owning the descriptor, and unwatches it before closing.
   */
  watch(fd: number, id: number, writable = false): void {
    checked(this.#binding.watch(this.#loop, fd, id, writable ? 1 : 0), `watch descriptor ${fd}`);
  }

  unwatch(fd: number): void {
    checked(this.#binding.unwatch(this.#loop, fd), `unwatch descriptor ${fd}`);
  }

  /** Makes the next burst (or one that waits in another thread) end without waiting. */
  wake(): void {
    checked(this.#binding.wake(this.#loop), 'wake the loop');
  }

  /** See {@link BurstIo.burst}. Also ends early, with 0 frames, when a signal arrives. */
  burst(waitMs: number): number {
    const received = this.#binding.burst(this.#loop, this.tx.count, waitMs);
    this.tx.count = 0;
    this.rx.count = received;
    this.nowMs = this.#status[STATUS_NOW_MS]!;
    this.readyCount = this.#status[STATUS_READY_COUNT]!;
    this.waitedUs = this.#status[STATUS_WAITED_US]!;
    return received;
  }

  deviceState(index: number): 'open' | 'closed' | 'gone' {
    const state = this.#states[index];
    return state === STATE_OPEN ? 'open' : state === STATE_GONE ? 'gone' : 'closed';
  }

  /** Closes everything. The memory stays valid; bursts after that do nothing. */
  close(): void {
    this.#binding.loopClose(this.#loop);
  }
}
