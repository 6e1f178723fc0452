/**
 * Counts what a segment in order allocates in a stream that a plugin reads, in a process of its own: see
 * `allocation-child.ts`. Prints bytes a segment, and nanoseconds.
 *
 *     node --expose-gc --min-semi-space-size=64 --max-semi-space-size=64 stream-allocation-child.ts BYTES
 */
import { getHeapStatistics } from 'node:v8';
import { raiseInliningBudgets } from '../../src/dataplane/inlining.ts';
import { FLOW_LIVE, KEY_META, RECORD_WORDS, SHARED_STATE, SHARED_TCP } from '../../src/flow/layout.ts';
import { STATE_ESTABLISHED } from '../../src/flow/tcp-endpoint.ts';
import { LiveFlow } from '../../src/pipeline/plugin-link.ts';
import { GATHER_BYTES, StreamShow } from '../../src/pipeline/stream/stream-readers.ts';
import { MIN_STREAM_BYTES, StreamTable } from '../../src/pipeline/stream/stream-table.ts';
import { Streams, TAKEN_LEAVES } from '../../src/pipeline/stream/streams.ts';
import { STREAM_PASS } from '../../src/plugin/contract.ts';
import { buildPacket } from '../../src/wire/build.ts';
import { writeInt32 } from '../../src/wire/byte-order.ts';
import { fillTransportChecksum } from '../../src/wire/checksum.ts';
import { decode } from '../../src/wire/decode.ts';
import { FrameMemory } from '../../src/wire/frame.ts';
import { PacketView, TCP_ACK, TCP_SYN } from '../../src/wire/packet.ts';
import { TCP_ACKNOWLEDGMENT, TCP_SEQUENCE } from '../../src/wire/tcp.ts';
import { tcp } from '../support/packets.ts';

const PAYLOAD_BYTES = Number(process.argv[2] ?? 100);
const WARM_UP = 400_000;
const MEASURED = 2_000_000;
const PACKET_OFFSET = 128;
const ANSWER_OFFSET = 96 * 1024;
const POOL_OFFSET = 128 * 1024;
const POOL_BYTES = 4 * MIN_STREAM_BYTES;

declare const gc: () => void;

raiseInliningBudgets();
const memory = new FrameMemory(new ArrayBuffer(POOL_OFFSET + POOL_BYTES + GATHER_BYTES));
const flows = new Int32Array(RECORD_WORDS);
const table = new StreamTable(memory, 1, POOL_OFFSET, POOL_BYTES);
let read = 0;
const shows = new StreamShow(memory, table, POOL_OFFSET + POOL_BYTES, {
  read: (_plugin, _flow, bytes, offset, length) => {
    read = (read + bytes[offset] + length) | 0;
    return STREAM_PASS;
  },
  failed: () => 0,
});
const streams = new Streams(table, shows, flows);
const view = new PacketView(memory);
const answer = new PacketView(memory);
const flow = new LiveFlow();

flows[SHARED_STATE] = FLOW_LIVE;
flows[KEY_META] = 1 << 16;
put(view, PACKET_OFFSET, TCP_SYN, 0, 0);
const limits = new Int32Array(32);
limits[0] = -1;
if (streams.open(0, 1, limits, view, 0) !== 0) throw new Error('no room for one stream');
flows[SHARED_TCP] = STATE_ESTABLISHED | (STATE_ESTABLISHED << 8);
put(view, PACKET_OFFSET, TCP_ACK, 1, PAYLOAD_BYTES);
put(answer, ANSWER_OFFSET, TCP_ACK, 0, 0);

let sequence = 1;
run(WARM_UP);
gc();
const before = getHeapStatistics().used_heap_size;
const began = performance.now();
const passed = run(MEASURED);
const tookMs = performance.now() - began;
const after = getHeapStatistics().used_heap_size;
if (passed !== MEASURED) throw new Error(`only ${passed} segments were passed on`);
if (read === 0) throw new Error('nothing was read');
process.stdout.write(`${(after - before) / MEASURED} ${Math.round((tookMs * 1e6) / MEASURED)}\n`);

/** Takes so many segments, each acknowledged before the next one but three. Returns how many may leave. */
function run(count: number): number {
  let leave = 0;
  for (let i = 0; i < count; i++) {
    flow.direction = 1;
    answer.acknowledgment = (sequence - 3 * PAYLOAD_BYTES) | 0;
    writeInt32(memory.bytes, answer.l4Offset + TCP_ACKNOWLEDGMENT, answer.acknowledgment);
    fillTransportChecksum(answer);
    streams.take(answer, 0, flow, 1, 0, i);
    flow.direction = 0;
    view.sequence = sequence;
    writeInt32(memory.bytes, view.l4Offset + TCP_SEQUENCE, sequence);
    fillTransportChecksum(view);
    if (streams.take(view, 0, flow, 1, 0, i) === TAKEN_LEAVES) leave++;
    sequence = (sequence + PAYLOAD_BYTES) | 0;
  }
  return leave;
}

function put(into: PacketView, offset: number, flags: number, sequence: number, payloadBytes: number): void {
  const payload = new Uint8Array(payloadBytes).fill(7);
  const packet = buildPacket(
    tcp('10.0.0.1 1000', '10.0.0.2 80', flags, { sequence, window: 65535, payload }),
  );
  memory.bytes.set(packet, offset);
  if (decode(into, offset, packet.length) !== 0) throw new Error('the packet does not decode');
}
