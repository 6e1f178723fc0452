/**
 * The contract of {@link BurstIo}, as tests: one suite for every implementation. A fixture is an I/O with one
 * device (two where it says so) and a far end that sends and receives IP packets.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { FRAME_HEADROOM_BYTES, FRAME_PREFIX_BYTES, type FrameMemory } from '../wire/frame.ts';
import type { BurstIo } from './io.ts';

export interface ContractFixture {
  readonly io: BurstIo;
  readonly device: number;
  /** The 14 bytes in front of every packet; undefined where the device has no link header. */
  readonly linkHeader?: Uint8Array;
  /** Frames that carry a virtio-net header with GSO fields pass with them. */
  readonly carriesOffloads: boolean;
  /** Sends packets towards the I/O. `virtio`: their virtio-net header; default empty. */
  sendFromFar(packets: readonly Uint8Array[], virtio?: Uint8Array): void;
  /** What the far end has received, once that is `count` packets or nothing comes any more. */
  receiveAtFar(count: number): { readonly packet: Uint8Array; readonly virtio: Uint8Array }[];
  /** Deletes the device under the I/O; absent where that cannot happen. */
  deleteDevice?(): void;
  close(): void;
}

/** How often a test looks for frames that must come; each look waits up to 20 ms. */
const MAX_LOOKS = 100;
const LOOK_MS = 20;

/** An IPv4 UDP packet whose number and length can be told from any part of it. Header checksum included. */
export function numberedPacket(number: number, length: number): Uint8Array {
  const packet = new Uint8Array(length);
  const view = new DataView(packet.buffer);
  packet.set([0x45, 0, length >> 8, length & 255, number >> 8, number & 255, 0x40, 0, 64, 17]);
  packet.set([10, 77, 0, 1, 10, 77, 0, 2], 12);
  packet.set([0x13, 0x88, 0x17, 0x70, (length - 20) >> 8, (length - 20) & 255], 20);
  for (let at = 28; at < length; at++) packet[at] = (number * 7 + at) & 255;
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += view.getUint16(at);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(10, ~((sum & 0xffff) + (sum >>> 16)));
  return packet;
}

/** A TCP super-packet of `payloadBytes` as a kernel hands it out: partial checksum, GSO fields beside. */
export function superPacket(
  payloadBytes: number,
  gsoSize: number,
  base: number,
): { packet: Uint8Array; virtio: Uint8Array } {
  const packet = numberedPacket(9, 40 + payloadBytes);
  const view = new DataView(packet.buffer);
  packet[9] = 6;
  packet.set([0x13, 0x88, 0x17, 0x70, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0], 20);
  view.setUint16(10, 0);
  view.setUint16(10, ~foldedSum(view, 0, 20, 0));
  view.setUint16(36, foldedSum(view, 12, 20, 6 + 20 + payloadBytes));
  const virtio = new Uint8Array(10);
  const header = new DataView(virtio.buffer);
  virtio[0] = 1;
  virtio[1] = 1;
  header.setUint16(2, base + 40, true);
  header.setUint16(4, gsoSize, true);
  header.setUint16(6, base + 20, true);
  header.setUint16(8, 16, true);
  return { packet, virtio };
}

function foldedSum(view: DataView, from: number, to: number, start: number): number {
  let sum = start;
  for (let at = from; at < to; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

interface ReceivedFrame {
  readonly device: number;
  readonly offset: number;
  readonly packet: Uint8Array;
  readonly virtio: Uint8Array;
}

/** Copies what the last burst received. */
export function copyReceived(io: BurstIo): ReceivedFrame[] {
  const frames: ReceivedFrame[] = [];
  for (let index = 0; index < io.rx.count; index++) {
    const offset = io.rx.offset(index);
    frames.push({
      device: io.rx.device(index),
      offset,
      packet: io.memory.bytes.slice(offset + FRAME_PREFIX_BYTES, offset + io.rx.lengthBytes(index)),
      virtio: io.memory.bytes.slice(offset, offset + 10),
    });
  }
  return frames;
}

/** Runs bursts until `count` frames have come; `each` sees the I/O after every one. */
export function receive(io: BurstIo, count: number, each: (frames: ReceivedFrame[]) => void = () => {}) {
  const frames: ReceivedFrame[] = [];
  for (let look = 0; look < MAX_LOOKS && frames.length < count; look++) {
    io.burst(LOOK_MS);
    const received = copyReceived(io);
    each(received);
    frames.push(...received);
  }
  return frames;
}

/** Puts a packet into scratch memory at `at`, prefix included; returns the frame's length. */
export function writeFrame(
  memory: FrameMemory,
  at: number,
  packet: Uint8Array,
  link?: Uint8Array,
  virtio?: Uint8Array,
): number {
  memory.bytes.fill(0, at, at + FRAME_PREFIX_BYTES);
  if (virtio !== undefined) memory.bytes.set(virtio, at);
  if (link !== undefined) memory.bytes.set(link, at + 10);
  memory.bytes.set(packet, at + FRAME_PREFIX_BYTES);
  return FRAME_PREFIX_BYTES + packet.length;
}

/** Sends packets from scratch memory, in as many bursts as needed. */
export function send(
  io: BurstIo,
  device: number,
  packets: readonly Uint8Array[],
  link?: Uint8Array,
  virtio?: Uint8Array,
): void {
  let at = io.scratchOffset;
  for (const packet of packets) {
    if (io.tx.count === io.tx.capacity || at + packet.length + 64 > io.scratchOffset + io.scratchBytes) {
      io.burst(0);
      at = io.scratchOffset;
    }
    const length = writeFrame(io.memory, at, packet, link, virtio);
    assert.ok(io.tx.push(at, length, device, 0));
    at = (at + length + 63) & ~63;
  }
  io.burst(0);
}

const LENGTHS = [28, 29, 60, 64, 576, 1000, 1499, 1500];

function packets(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, number) =>
    numberedPacket(number, LENGTHS[number % LENGTHS.length]!),
  );
}

/** Runs the contract for one kind of I/O. `make` gives a fresh fixture. */
export function burstIoContract(kind: string, make: () => ContractFixture): void {
  describe(`${kind} keeps the contract of burst I/O`, () => {
    const open: ContractFixture[] = [];
    const fixture = (): ContractFixture => {
      const made = make();
      open.push(made);
      return made;
    };
    after(() => {
      for (const made of open) made.close();
    });

    it('says nothing has come when nothing has', () => {
      const { io } = fixture();
      for (let look = 0; look < MAX_LOOKS && io.burst(0) > 0; look++);
      assert.equal(io.burst(0), 0);
      assert.equal(io.rx.count, 0);
      assert.equal(io.nowMs, io.nowMs | 0);
    });

    it('receives frames whole and in order, more than one burst holds', () => {
      const made = fixture();
      const sent = packets(made.io.rx.capacity * 2 + 3);
      made.sendFromFar(sent);
      const received = receive(made.io, sent.length);
      assert.equal(received.length, sent.length);
      received.forEach((frame, index) => {
        assert.deepEqual(frame.packet, sent[index]);
        assert.equal(frame.device, made.device);
      });
    });

    it('places frames 8 mod 16, with headroom in front, outside of scratch memory', () => {
      const made = fixture();
      made.sendFromFar(packets(100));
      const { io } = made;
      receive(io, 100, () => {
        const spans = Array.from({ length: io.rx.count }, (_, index) => ({
          from: io.rx.offset(index),
          to: io.rx.offset(index) + io.rx.lengthBytes(index),
        })).sort((a, b) => a.from - b.from);
        let free = io.scratchOffset + io.scratchBytes;
        for (const span of spans) {
          assert.equal(span.from % 16, 8);
          assert.ok(span.from - free >= FRAME_HEADROOM_BYTES, `${span.from} after ${free}`);
          free = span.to;
        }
        assert.ok(free <= io.memory.buffer.byteLength);
      });
    });

    it('sends frames whole and in order, and empties tx', () => {
      const made = fixture();
      const sent = packets(150);
      send(made.io, made.device, sent, made.linkHeader);
      assert.equal(made.io.tx.count, 0);
      const received = made.receiveAtFar(sent.length);
      assert.deepEqual(
        received.map(({ packet }) => packet),
        sent,
      );
      assert.equal(made.io.txErrors[made.device], 0);
    });

    it('keeps received frames until the next burst, which sends them before it receives more', () => {
      const made = fixture();
      const { io, device } = made;
      const sent = packets(200);
      made.sendFromFar(sent);
      let returned = 0;
      for (let look = 0; look < MAX_LOOKS && returned < sent.length; look++) {
        io.burst(LOOK_MS);
        const frames = copyReceived(io);
        // Scratch memory is the driver's: writing to it must not touch what was received.
        io.memory.bytes.fill(0xee, io.scratchOffset, io.scratchOffset + io.scratchBytes);
        for (const [index, frame] of frames.entries()) {
          const packetAt = frame.offset + FRAME_PREFIX_BYTES;
          assert.deepEqual(io.memory.bytes.slice(packetAt, packetAt + frame.packet.length), frame.packet);
          if (made.linkHeader !== undefined) io.memory.bytes.set(made.linkHeader, frame.offset + 10);
          assert.ok(io.tx.push(frame.offset, io.rx.lengthBytes(index), device, 0));
          returned++;
        }
      }
      io.burst(0);
      const received = made.receiveAtFar(sent.length);
      assert.deepEqual(
        received.map(({ packet }) => packet),
        sent,
      );
    });

    it('counts what is sent to a device that is not open, and goes on', () => {
      const made = fixture();
      const { io } = made;
      const length = writeFrame(io.memory, io.scratchOffset, numberedPacket(1, 100), made.linkHeader);
      io.tx.push(io.scratchOffset, length, made.device + 7, 0);
      io.tx.push(io.scratchOffset, length, made.device, 0);
      io.burst(0);
      assert.equal(io.txErrors[made.device + 7], 1);
      assert.equal(io.txErrors[made.device], 0);
      assert.equal(made.receiveAtFar(1).length, 1);
      assert.equal(io.deviceState(made.device), 'open');
      assert.equal(io.deviceState(made.device + 7), 'closed');
    });

    it('does not grow', () => {
      const made = fixture();
      const { io } = made;
      const before = [io.memory, io.memory.buffer, io.rx, io.tx, io.rx.words, io.tx.words, io.txErrors];
      const bytes = io.memory.buffer.byteLength;
      for (let round = 0; round < 20; round++) {
        made.sendFromFar(packets(10));
        assert.equal(receive(io, 10).length, 10);
        assert.ok(io.rx.count <= io.rx.capacity);
      }
      const now = [io.memory, io.memory.buffer, io.rx, io.tx, io.rx.words, io.tx.words, io.txErrors];
      now.forEach((value, index) => {
        assert.equal(value, before[index]);
      });
      assert.equal(io.memory.buffer.byteLength, bytes);
    });

    it('passes super-packets whole, with their offload fields, both ways', (context) => {
      const made = fixture();
      if (!made.carriesOffloads) {
        context.skip('carries no virtio-net headers');
        return;
      }
      const base = made.linkHeader === undefined ? 0 : 14;
      const { packet, virtio } = superPacket(64000, 1448, base);
      const small = numberedPacket(1, 80);
      made.sendFromFar([packet, packet], virtio);
      made.sendFromFar([small]);
      const received = receive(made.io, 3);
      assert.deepEqual(
        received.map((frame) => frame.packet.length),
        [packet.length, packet.length, small.length],
      );
      assert.deepEqual(received[1]!.packet, packet);
      // Offload fields as they were; hdr_len is the kernel's to choose.
      assert.deepEqual([...received[0]!.virtio.subarray(0, 2)], [1, 1]);
      assert.deepEqual(received[0]!.virtio.subarray(4), virtio.subarray(4));
      send(made.io, made.device, [packet, packet], made.linkHeader, virtio);
      const far = made.receiveAtFar(2);
      assert.equal(far.length, 2);
      assert.deepEqual(far[0]!.packet, packet);
      assert.deepEqual([...far[1]!.virtio.subarray(0, 2)], [1, 1]);
      assert.deepEqual(far[1]!.virtio.subarray(4), virtio.subarray(4));
    });

    it('reports a device that is gone, and does not send to it', (context) => {
      const made = fixture();
      if (made.deleteDevice === undefined) {
        context.skip('its devices cannot disappear');
        return;
      }
      const { io, device } = made;
      assert.equal(io.deviceState(device), 'open');
      made.deleteDevice();
      io.burst(LOOK_MS);
      send(io, device, [numberedPacket(1, 100)], made.linkHeader);
      io.burst(0);
      assert.equal(io.deviceState(device), 'gone');
      assert.equal(io.txErrors[device], 1);
      assert.equal(io.burst(0), 0);
    });
  });
}
