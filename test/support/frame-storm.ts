/**
 * A program for tests: sends Ethernet frames from a device in its network namespace, at an even pace or slower.
 *
 *   node frame-storm.ts DEVICE CAPTURE COUNT FRAMES_A_SECOND SEED
 *
 * CAPTURE is a pcap file of Ethernet frames. SEED 0: as they are, again and again in their order, until COUNT are
 * sent; any other: picked and damaged at random (`hostile-frames.ts`). Frames too long for the device are cut.
 * Prints `{"sent":N,"refused":N}`, refused by the kernel, at the end.
 */
import { readFileSync } from 'node:fs';
import { readCapture } from '../../src/device/capture-file.ts';
import { NativeIo } from '../../src/device/native-io.ts';
import { LINK_HEADER_BYTES, VIRTIO_NET_HEADER_BYTES } from '../../src/wire/frame.ts';
import { damage } from './hostile-frames.ts';
import { Random } from './random.ts';

const SLOT_BYTES = 2048;
const LONGEST_FRAME = 1514;
const TICK_MS = 4;
/**
 * Most frames sent in one turn, also when this process got no processor for a while: the kernel's queue between
 * veth devices is short, and shared by all of them. What overflows there would be others' packets.
 */
const TURN_FRAMES = 150;
const DEVICE = 0;

const [device, path, ...numbers] = process.argv.slice(2);
const [count, perSecond, seed] = numbers.map(Number) as [number, number, number];
const frames = readCapture(readFileSync(path!)).packets.map(({ data }) => data);
const random = seed === 0 ? undefined : new Random(seed);
const io = new NativeIo({ scratchBytes: 1024 * SLOT_BYTES });
// A filter that takes nothing: this end only sends.
io.addPacket(DEVICE, device!, { kind: 'ethernet', filter: [[6, 0, 0, 0]] });

let sent = 0;
const startedAt = performance.now();

function put(): void {
  const slot = io.scratchOffset + io.tx.count * SLOT_BYTES;
  const at = slot + VIRTIO_NET_HEADER_BYTES;
  const frame = frames[random === undefined ? sent % frames.length : random.next(frames.length)]!;
  let length = Math.min(frame.length, LONGEST_FRAME);
  io.memory.bytes.fill(0, slot, at + LINK_HEADER_BYTES + 1);
  io.memory.bytes.set(frame.subarray(0, length), at);
  if (random !== undefined) length = damage(random, io.memory.bytes, at, length);
  // The kernel wants more than a header.
  io.tx.push(slot, VIRTIO_NET_HEADER_BYTES + Math.max(length, LINK_HEADER_BYTES + 1), DEVICE, 0);
  sent++;
}

function turn(): void {
  const due = Math.floor(((performance.now() - startedAt) / 1000) * perSecond);
  const end = Math.min(count, due, sent + TURN_FRAMES);
  while (sent < end) put();
  io.burst(0);
  if (sent < count) {
    setTimeout(turn, TICK_MS);
    return;
  }
  process.stdout.write(`${JSON.stringify({ sent, refused: io.txErrors[DEVICE] })}\n`);
  io.close();
}

turn();
