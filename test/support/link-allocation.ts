/**
 * Run as a process of its own, with `--expose-gc`: sends packets through the link layer both ways and prints how
 * much the heap grew by it, at least.
 */
import { buildPacket } from '../../src/wire/build.ts';
import { decode } from '../../src/wire/decode.ts';
import { FRAME_PREFIX_BYTES } from '../../src/wire/frame.ts';
import {
  arpReply,
  ethernet,
  ethernetDevice,
  ethernetPort,
  gre,
  grePort,
  LinkBench,
  OWN_MAC,
  PEER_MAC,
  plan,
} from './link-bench.ts';

const FRAME_AT = 136;
const ROUNDS = 20_000;
const SPANS = 5;

const bench = new LinkBench(
  plan(
    [ethernetDevice(0)],
    [
      ethernetPort({ index: 0, device: 0 }),
      grePort({ index: 1, device: 0 }, { key: 7, checksum: true, sequence: true, nextHop: '10.0.1.2' }),
      // Received packets repeat, so they have no sequence number.
      grePort({ index: 2, device: 0 }, { key: 8, checksum: true, nextHop: '10.0.1.2' }),
    ],
  ),
);
const inner = buildPacket({
  source: '10.0.9.9',
  destination: '10.0.1.2',
  transport: { kind: 'udp', sourcePort: 1, destinationPort: 2, payload: new Uint8Array(64) },
});
const frames = [
  ethernet(OWN_MAC, PEER_MAC, inner),
  ethernet(
    OWN_MAC,
    PEER_MAC,
    buildPacket({
      source: '198.51.100.10',
      destination: '192.0.2.1',
      transport: { kind: 'raw', protocol: 47, payload: gre({ key: 8, checksum: true }, inner) },
    }),
  ),
];
bench.send(0, inner);
bench.receive(0, arpReply(PEER_MAC, '10.0.1.2'));
bench.takeSent();

const { link, memory, view, tx } = bench;
let passed = 0;

function round(nowMs: number): void {
  for (let index = 0; index < frames.length; index++) {
    const frame = frames[index] as Uint8Array;
    memory.bytes.fill(0, FRAME_AT, FRAME_AT + 10);
    memory.bytes.set(frame, FRAME_AT + 10);
    const port = link.receive(FRAME_AT, frame.length + 10, 0, nowMs);
    if (port >= 0 && decode(view, link.packetOffset, link.packetLength) === 0) {
      passed++;
      link.send(0, view, nowMs);
    }
    memory.bytes.set(inner, FRAME_AT + FRAME_PREFIX_BYTES);
    if (decode(view, FRAME_AT + FRAME_PREFIX_BYTES, inner.length) === 0) link.send(1, view, nowMs);
    tx.count = 0;
  }
  link.tick(nowMs);
}

function collect(): void {
  (globalThis as { gc?: () => void }).gc?.();
}

/** Bytes that the heap grew by in a span of rounds. */
function growth(): number {
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let count = 0; count < ROUNDS; count++) round(count & 0x3ff);
  return process.memoryUsage().heapUsed - before;
}

for (let count = 0; count < ROUNDS; count++) round(count & 0x3ff);
passed = 0;
// On a busy machine code is compiled late, which takes memory of the heap once: what packets take, every span has.
const bytes = Math.min(...Array.from({ length: SPANS }, growth));
if (passed !== ROUNDS * 2 * SPANS) throw new Error(`only ${passed} packets passed`);
process.stdout.write(JSON.stringify({ packets: ROUNDS * 4, bytes }));
