/**
 * The wire on which segmentation and coalescing of GRE (`native/gre-segment.c`, `native/gre-coalesce.c`) are
 * tested, and what should come over it. Needs root and a network namespace for itself.
 */
import assert from 'node:assert/strict';
import {
  buildGreFrame,
  completeChecksum,
  type GreFrameShape,
  superVirtio,
} from '../../test/support/gre-frames.ts';
import { ip, makeVeth } from './native-io.contract.ts';
import { NativeIo } from './native-io.ts';

export const FIN = 0x01;
export const PSH = 0x08;
export const ACK = 0x10;
export const ECE = 0x40;
export const CWR = 0x80;
/** Time for what was sent to reach the far socket, so that it is one receive batch. */
const SETTLE_MS = 5;

export interface WireFrame {
  readonly virtio: Uint8Array;
  /** From the Ethernet header on. */
  readonly bytes: Uint8Array;
}

export function pattern(length: number, from = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => (at * 13 + (at >> 8) + from) & 255);
}

/** Like deepEqual, without a difference of 65000 lines. */
export function assertSame(actual: readonly Uint8Array[], expected: readonly Uint8Array[]): void {
  assert.deepEqual(
    actual.map(({ length }) => length),
    expected.map(({ length }) => length),
  );
  for (const [index, bytes] of actual.entries()) {
    const at = bytes.findIndex((byte, position) => byte !== expected[index]![position]);
    assert.equal(at, -1, `packet ${index} differs at byte ${at}`);
  }
}

export function settle(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, SETTLE_MS);
}

/** One veth pair; three sockets: a sender, a receiver that joins, and one that does not. */
export class Wire {
  readonly sender = new NativeIo();
  readonly joining = new NativeIo();
  readonly plain = new NativeIo();
  readonly near: string;

  constructor() {
    const { near, far } = makeVeth();
    this.near = near;
    // Segments of up to 1900 bytes, with all headers.
    ip('link', 'set', near, 'mtu', '3000');
    ip('link', 'set', far, 'mtu', '3000');
    this.sender.addPacket(0, near, { kind: 'ethernet' });
    this.joining.addPacket(0, far, { kind: 'ethernet' });
    this.plain.addPacket(0, far, { kind: 'ethernet', coalesceGre: false });
  }

  /** Sends frames; gives back what either receiver saw. */
  pass(frames: readonly WireFrame[], flags = 0): { joined: WireFrame[]; plain: WireFrame[] } {
    const io = this.sender;
    let at = 0;
    for (const { virtio, bytes } of frames) {
      io.memory.bytes.set(virtio, at);
      io.memory.bytes.set(bytes, at + 10);
      assert.ok(io.tx.push(at, 10 + bytes.length, 0, flags));
      at = (at + 10 + bytes.length + 63) & ~63;
    }
    io.burst(0);
    settle();
    return { joined: this.#drain(this.joining), plain: this.#drain(this.plain) };
  }

  #drain(io: NativeIo): WireFrame[] {
    const frames: WireFrame[] = [];
    while (io.burst(0) > 0) {
      for (let index = 0; index < io.rx.count; index++) {
        const offset = io.rx.offset(index);
        const end = offset + io.rx.lengthBytes(index);
        frames.push({
          virtio: io.memory.bytes.slice(offset, offset + 10),
          bytes: io.memory.bytes.slice(offset + 10, end),
        });
      }
    }
    return frames;
  }

  close(): void {
    for (const io of [this.sender, this.joining, this.plain]) io.close();
    ip('link', 'del', this.near);
  }
}

/** A super-packet for FRAME_SEGMENT_GRE. */
export function superFrame(shape: GreFrameShape, gsoSize: number): WireFrame {
  const bytes = buildGreFrame(shape, true);
  return { bytes, virtio: superVirtio(bytes, gsoSize) };
}

export function wireFrame(shape: GreFrameShape): WireFrame {
  return { bytes: buildGreFrame(shape), virtio: new Uint8Array(10) };
}

/** The wire packets that a shape with a long payload should become. */
export function expectedSegments(shape: GreFrameShape, gsoSize: number): Uint8Array[] {
  const segments: Uint8Array[] = [];
  const flags = shape.flags ?? ACK;
  for (let at = 0, index = 0; at < shape.payload.length; at += gsoSize, index++) {
    const isLast = at + gsoSize >= shape.payload.length;
    segments.push(
      buildGreFrame({
        ...shape,
        payload: shape.payload.subarray(at, at + gsoSize),
        tcpSequence: (shape.tcpSequence ?? 1000) + at,
        innerIdentification: ((shape.innerIdentification ?? 7) + index) & 0xffff,
        outerIdentification: ((shape.outerIdentification ?? 7) + index) & 0xffff,
        flags: (flags & ~(isLast ? 0 : FIN | PSH) & ~(index === 0 ? 0 : CWR)) | 0,
        ...(shape.sequence === undefined ? {} : { sequence: (shape.sequence + index) >>> 0 }),
      }),
    );
  }
  return segments;
}

export function completed(frames: readonly WireFrame[]): Uint8Array[] {
  return frames.map(({ bytes, virtio }) => {
    completeChecksum(bytes, virtio);
    return bytes;
  });
}
