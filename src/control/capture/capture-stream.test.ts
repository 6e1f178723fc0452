/** A capture whose reader does not read; with a ring in memory. With a data plane: test/integration/captures.test.ts. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { eventually } from '../../../test/support/patience.ts';
import { readPcapng } from '../../device/pcapng-reader.ts';
import {
  CaptureRingReader,
  CaptureRingWriter,
  captureRingBytes,
  formatCaptureRing,
  RECORD_RECEIVED,
} from '../../pipeline/capture/capture-ring.ts';
import { FrameMemory } from '../../wire/frame.ts';
import { CaptureInterfaces } from './capture-interfaces.ts';
import { CaptureStream } from './capture-stream.ts';

const BLOCK_STATISTICS = 5;
const OPTION_COMMENT = 1;
const OPTION_DROPPED = 5;
const PACKET_BYTES = 1000;

/** A ring with room for half a megabyte, and the stream that reads it. */
class Bench {
  readonly #ring = new ArrayBuffer(captureRingBytes(512 * 1024));
  readonly #writer: CaptureRingWriter;
  readonly #memory = new FrameMemory(new ArrayBuffer(4096));
  readonly stream: CaptureStream;
  stops = 0;
  #number = 0;

  constructor(t: TestContext) {
    formatCaptureRing(this.#ring);
    this.#writer = new CaptureRingWriter(this.#ring);
    this.stream = new CaptureStream({
      reader: new CaptureRingReader(this.#ring),
      interfaces: new CaptureInterfaces(() => undefined, [1], 65535),
      limits: { packets: 1e6, bytes: 1e9, durationMs: 60_000 },
      comment: '',
      application: 'test',
      stop: () => this.stops++,
      stalledMs: 100,
    });
    t.after(() => this.stream.destroy());
  }

  /** As the data plane: what finds no room is counted. */
  packets(count: number): void {
    for (let i = 0; i < count; i++) {
      const at = this.#writer.append(RECORD_RECEIVED, this.#memory, 0, PACKET_BYTES, PACKET_BYTES);
      if (at < 0) this.#writer.countLost(1);
      else this.#writer.commit(1, ++this.#number, 0, 0);
    }
  }
}

async function everything(stream: CaptureStream): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** Comments of the statistics, and the packets that they call dropped. */
function statistics(file: Buffer): { comments: string[]; dropped: number } {
  const comments: string[] = [];
  let dropped = 0;
  for (let at = 0; at < file.length; at += file.readUInt32LE(at + 4)) {
    if (file.readUInt32LE(at) !== BLOCK_STATISTICS) continue;
    for (let option = at + 20; file.readUInt16LE(option) !== 0; ) {
      const length = file.readUInt16LE(option + 2);
      const value = file.subarray(option + 4, option + 4 + length);
      if (file.readUInt16LE(option) === OPTION_COMMENT) comments.push(value.toString());
      if (file.readUInt16LE(option) === OPTION_DROPPED) dropped += Number(value.readBigUInt64LE());
      option += 4 + ((length + 3) & ~3);
    }
  }
  return { comments, dropped };
}

test('gives up a reader that does not read, and tells it why and what it has missed', async (t) => {
  const bench = new Bench(t);
  bench.packets(100);
  bench.stream.read(0);
  bench.packets(900);
  await eventually('the data plane is told to stop', () => bench.stops === 1);
  const file = await everything(bench.stream);
  const { packets, error } = readPcapng(file);
  assert.equal(error, undefined);
  const { comments, dropped } = statistics(file);
  assert.deepEqual(comments, ['the capture has ended: its reader has read nothing for 0.1 s']);
  assert.ok(packets.length > 0 && packets.length < 1000, `${packets.length} packets`);
  assert.equal(packets.length + dropped, 1000);
  assert.equal(bench.stops, 1);
});

test('gives up one that has never read, and what ended before is said first', async (t) => {
  const bench = new Bench(t);
  bench.packets(10);
  bench.stream.finish('its time is up');
  await eventually(
    'nothing is waited for any more',
    () => bench.stream.readableEnded || bench.stream.readableLength > 0,
  );
  const { comments, dropped } = statistics(await everything(bench.stream));
  assert.deepEqual(comments, [
    'the capture has ended: its time is up, and its reader has read nothing for 0.1 s',
  ]);
  assert.equal(dropped, 10);
});

test('a reader that has read everything is not given up, however long nothing comes', async (t) => {
  const bench = new Bench(t);
  let bytes = 0;
  bench.stream.on('data', (part: Buffer) => {
    bytes += part.length;
  });
  bench.packets(10);
  await eventually('it has come', () => bytes > 10 * PACKET_BYTES);
  const before = bytes;
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.equal(bench.stops, 0);
  bench.packets(10);
  await eventually('it goes on', () => bytes > before);
});
