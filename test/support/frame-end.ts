/**
 * A program for tests: holds the far or the own end of devices in its network namespace by real sockets.
 *
 *   node frame-end.ts '[{"name":"eth0","kind":"ethernet","filter":[[6,0,0,65536]]}]'
 *
 * Standard input: lines `{"device":0,"frames":["hex",...]}`, frames to send (Ethernet header in front, if the
 * device has one). Standard output: `{"ready":true}`, then `{"device":0,"frame":"hex"}` for each one received.
 */
import { createInterface } from 'node:readline';
import { NativeIo, type PacketOptions } from '../../src/device/native-io.ts';
import { FRAME_PREFIX_BYTES, LINK_HEADER_BYTES, VIRTIO_NET_HEADER_BYTES } from '../../src/wire/frame.ts';

export interface FrameEndDevice {
  readonly name: string;
  readonly kind: 'ethernet' | 'ip' | 'tun';
  readonly filter?: PacketOptions['filter'];
}

const POLL_MS = 2;
const SLOT_BYTES = 2048;
const BATCH = 32;

const devices = JSON.parse(process.argv[2]!) as FrameEndDevice[];
const io = new NativeIo();
devices.forEach(({ name, kind, filter }, index) => {
  if (kind === 'tun') io.addTun(index, name);
  else io.addPacket(index, name, { kind, ...(filter === undefined ? {} : { filter }) });
});

const queue: { readonly device: number; readonly frame: Buffer }[] = [];
const input = createInterface({ input: process.stdin });
input.on('line', (line) => {
  const { device, frames } = JSON.parse(line) as { device: number; frames: string[] };
  for (const hex of frames) queue.push({ device, frame: Buffer.from(hex, 'hex') });
});
input.on('close', () => process.exit(0));

function headerBytes(device: number): number {
  return devices[device]!.kind === 'ethernet' ? LINK_HEADER_BYTES : 0;
}

function turn(): void {
  queue.splice(0, BATCH).forEach(({ device, frame }, slot) => {
    const offset = io.scratchOffset + slot * SLOT_BYTES;
    const packetAt = offset + FRAME_PREFIX_BYTES;
    io.memory.bytes.fill(0, offset, packetAt);
    io.memory.bytes.set(frame, packetAt - headerBytes(device));
    io.tx.push(offset, FRAME_PREFIX_BYTES + frame.length - headerBytes(device), device, 0);
  });
  io.burst(0);
  for (let index = 0; index < io.rx.count; index++) {
    const device = io.rx.device(index);
    const start = io.rx.offset(index) + VIRTIO_NET_HEADER_BYTES + LINK_HEADER_BYTES - headerBytes(device);
    const end = io.rx.offset(index) + io.rx.lengthBytes(index);
    const frame = Buffer.from(io.memory.bytes.subarray(start, end)).toString('hex');
    process.stdout.write(`${JSON.stringify({ device, frame })}\n`);
  }
  setTimeout(turn, POLL_MS);
}

process.stdout.write('{"ready":true}\n');
turn();
