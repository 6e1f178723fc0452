/**
 * Burst I/O that replays captures and records what is sent: traffic that was seen once, through a pipeline of
 * today.
 *
 * Time is the capture's: `nowMs` follows the timestamps of the frames delivered, and the frames of one burst lie
 * within one millisecond, so that time-outs fall where they fell. Captured packets that were cut, and those that
 * no frame can be made of, are passed over and counted.
 */
import { FRAME_PREFIX_BYTES, FrameList, FrameMemory, MAX_FRAME_BYTES } from '../wire/frame.ts';
import { type CapturedPacket, capturedFrame, LINKTYPE_ETHERNET, LINKTYPE_RAW } from './capture.ts';
import { layoutOffset, type PacketLayout, placeFrame } from './frame-placement.ts';
import type { BurstIo } from './io.ts';
import type { PcapngWriter } from './pcapng-writer.ts';

const MAX_DEVICES = 1024;
const NS_PER_MS = 1_000_000n;

export interface PcapDevice {
  readonly index: number;
  readonly layout: 'ethernet' | 'ip';
  /** Interface of the capture whose packets this device receives; none: it only sends. */
  readonly interfaceIndex?: number;
  /** In the recording; default `device-INDEX`. */
  readonly name?: string;
}

export interface PcapIoOptions {
  readonly devices: readonly PcapDevice[];
  /** What to replay, in this order. */
  readonly packets?: readonly CapturedPacket[];
  /** Takes what is sent; gets an interface for every device. */
  readonly writer?: PcapngWriter;
  /** `nowMs` of the first packet; default 0. */
  readonly startMs?: number;
  /** Memory for the pipeline's own packets; default 8 MiB. */
  readonly scratchBytes?: number;
  readonly rxFrames?: number;
  readonly txFrames?: number;
}

export class PcapIo implements BurstIo {
  readonly memory: FrameMemory;
  readonly scratchOffset = 0;
  readonly scratchBytes: number;
  nowMs: number;
  readonly rx: FrameList;
  readonly tx: FrameList;
  readonly txErrors = new Float64Array(MAX_DEVICES);
  /** Packets of the capture that could not be delivered. */
  skipped = 0;

  readonly #devices = new Map<number, PcapDevice>();
  readonly #deviceOfInterface = new Map<number, PcapDevice>();
  readonly #recorded = new Map<number, number>();
  readonly #packets: readonly CapturedPacket[];
  readonly #writer: PcapngWriter | undefined;
  readonly #startMs: number;
  #next = 0;

  constructor(options: PcapIoOptions) {
    this.scratchBytes = ((options.scratchBytes ?? 8 * 1024 * 1024) + 63) & ~63;
    this.memory = new FrameMemory(new ArrayBuffer(this.scratchBytes + 16 * MAX_FRAME_BYTES));
    this.rx = new FrameList(options.rxFrames ?? 256);
    this.tx = new FrameList(options.txFrames ?? 1024);
    this.#packets = options.packets ?? [];
    this.#writer = options.writer;
    this.#startMs = options.startMs ?? 0;
    this.nowMs = this.#startMs | 0;
    for (const device of options.devices) {
      this.#devices.set(device.index, device);
      if (device.interfaceIndex !== undefined) this.#deviceOfInterface.set(device.interfaceIndex, device);
      if (this.#writer !== undefined) {
        const linkType = device.layout === 'ethernet' ? LINKTYPE_ETHERNET : LINKTYPE_RAW;
        const name = device.name ?? `device-${device.index}`;
        this.#recorded.set(device.index, this.#writer.addInterface({ linkType, name }));
      }
    }
  }

  /** Whether everything has been delivered. */
  get finished(): boolean {
    return this.#next >= this.#packets.length;
  }

  /** See {@link BurstIo.burst}. Never waits: time passes with the packets. */
  burst(_waitMs: number): number {
    this.#record();
    const rx = this.rx;
    rx.count = 0;
    let place = this.scratchBytes;
    for (; this.#next < this.#packets.length; this.#next++) {
      const packet = this.#packets[this.#next]!;
      const nowMs = this.#timeOf(packet);
      if (rx.count === rx.capacity || (rx.count > 0 && nowMs !== this.nowMs)) break;
      const device = this.#deviceOfInterface.get(packet.interfaceIndex);
      const captured = packet.data.length < packet.originalLength ? undefined : capturedFrame(packet);
      if (device === undefined || captured === undefined || captured.layout !== device.layout) {
        this.skipped++;
        continue;
      }
      const length = layoutOffset(captured.layout) + captured.bytes.length;
      if (length <= FRAME_PREFIX_BYTES || length > MAX_FRAME_BYTES) {
        this.skipped++;
        continue;
      }
      const offset = placeFrame(place);
      if (offset + length > this.memory.bytes.length) break;
      this.#deliver(offset, length, captured.layout, captured.bytes, device.index);
      this.nowMs = nowMs;
      place = offset + length;
    }
    return rx.count;
  }

  #timeOf(packet: CapturedPacket): number {
    const sinceFirst = packet.timestampNs - this.#packets[0]!.timestampNs;
    return Number(BigInt.asIntN(32, BigInt(this.#startMs) + sinceFirst / NS_PER_MS));
  }

  #deliver(offset: number, length: number, layout: PacketLayout, bytes: Uint8Array, device: number): void {
    this.memory.bytes.fill(0, offset, offset + FRAME_PREFIX_BYTES);
    this.memory.bytes.set(bytes, offset + layoutOffset(layout));
    this.rx.push(offset, length, device, 0);
  }

  #record(): void {
    const tx = this.tx;
    for (let index = 0; index < tx.count; index++) {
      const device = this.#devices.get(tx.device(index));
      if (device === undefined) {
        this.txErrors[tx.device(index)]!++;
        continue;
      }
      const offset = tx.offset(index);
      const from = offset + layoutOffset(device.layout);
      this.#writer?.write(this.#recorded.get(device.index)!, {
        timestampNs: BigInt(this.nowMs >>> 0) * NS_PER_MS,
        data: this.memory.bytes.subarray(from, offset + tx.lengthBytes(index)),
      });
    }
    tx.count = 0;
  }

  deviceState(index: number): 'open' | 'closed' | 'gone' {
    return this.#devices.has(index) ? 'open' : 'closed';
  }

  close(): void {
    this.#devices.clear();
    this.#deviceOfInterface.clear();
  }
}
