import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { buildPacket } from '../wire/build.ts';
import { decode } from '../wire/decode.ts';
import { FrameMemory } from '../wire/frame.ts';
import { IPV4, PacketView, PROTOCOL_UDP } from '../wire/packet.ts';
import {
  END,
  EVENT_BYTES_REPLY,
  EVENT_DECIDER,
  EVENT_END,
  EVENT_FLOW,
  EVENT_INGRESS,
  EVENT_KIND,
  EVENT_ORIGINATOR_KEY,
  EVENT_PACKETS_ORIGINATOR,
  EVENT_REFUSED,
  EVENT_REPLY_KEY,
  EVENT_START,
  EVENT_SUPPRESSED,
  EVENT_TIME,
  EVENT_WORDS,
} from './flow-event-layout.ts';
import { FlowEventRing, flowEventRingBytes } from './flow-event-ring.ts';
import { FlowEventWriter } from './flow-event-writer.ts';
import {
  DIRECTION_BYTES,
  DIRECTION_PACKETS,
  DIRECTION_WORDS,
  FLOW_LIVE,
  KEY_META,
  KEY_PORTS,
  KEY_SRC0,
  keyMeta,
  RECORD_BYTES,
  RECORD_WORDS,
  SHARED_ID,
  SHARED_INGRESS,
  SHARED_PLUGINS,
  SHARED_STATE,
} from './layout.ts';

const BOOT = '00000000-0000-4000-8000-000000000001';
const OTHER_BOOT = '00000000-0000-4000-8000-000000000002';

function makeRing(capacity: number): FlowEventRing {
  return FlowEventRing.create(new ArrayBuffer(flowEventRingBytes(capacity)), capacity, BOOT);
}

function packet(): PacketView {
  const bytes = buildPacket({
    source: '10.0.1.5',
    destination: '198.51.100.7',
    transport: { kind: 'udp', sourcePort: 4000, destinationPort: 53 },
  });
  const memory = new FrameMemory(new ArrayBuffer((bytes.length + 7) & ~3));
  memory.bytes.set(bytes);
  const view = new PacketView(memory);
  assert.equal(decode(view, 0, bytes.length), 0);
  return view;
}

describe('the ring of flow events', () => {
  it('gives every event once and in order, and counts what found no room', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(12), { maxLength: 40 }), (steps) => {
        const ring = makeRing(8);
        let next = 0;
        let expected = 0;
        let lost = 0;
        for (const [turn, count] of steps.entries()) {
          if (turn % 2 === 0) {
            for (let i = 0; i < count; i++) {
              const at = ring.claim();
              if (at < 0) lost++;
              else {
                ring.words[at + EVENT_FLOW] = next++;
                ring.publish();
              }
            }
          } else {
            const taken = Math.min(count, ring.waiting);
            for (let i = 0; i < taken; i++) {
              const at = ((ring.read + i) & (ring.capacity - 1)) * EVENT_WORDS;
              assert.equal(ring.words[at + EVENT_FLOW], expected++);
            }
            ring.read = ring.read + taken;
          }
          assert.equal(ring.waiting, next - expected);
          assert.equal(ring.lost, lost);
        }
      }),
      { seed: 20260301, numRuns: 300 },
    );
  });

  it('goes on when its numbers wrap', () => {
    const buffer = new ArrayBuffer(flowEventRingBytes(4));
    const ring = FlowEventRing.create(buffer, 4, BOOT);
    new Int32Array(buffer)[16] = -2;
    ring.read = -2;
    for (let i = 0; i < 4; i++) {
      assert.ok(ring.claim() >= 0);
      ring.publish();
    }
    assert.equal(ring.claim(), -1);
    assert.equal(ring.waiting, 4);
    ring.read = ring.read + 4;
    assert.equal(ring.waiting, 0);
    assert.ok(ring.claim() >= 0);
  });

  it('is opened again as it was left, and by nobody after a boot or with another layout', () => {
    const buffer = new ArrayBuffer(flowEventRingBytes(16));
    const ring = FlowEventRing.create(buffer, 16, BOOT);
    ring.claim();
    ring.publish();
    const again = FlowEventRing.open(buffer, BOOT);
    assert.equal(again?.waiting, 1);
    assert.equal(FlowEventRing.open(buffer, OTHER_BOOT), undefined);
    assert.equal(FlowEventRing.open(buffer.slice(0, -1), BOOT), undefined);
    assert.equal(FlowEventRing.open(new ArrayBuffer(100), BOOT), undefined);
    for (const [word, value] of [
      [0, 0],
      [1, 2],
      [2, 12],
      [2, -1],
      [3, 8],
    ] as const) {
      const damaged = buffer.slice(0);
      new Int32Array(damaged)[word] = value;
      assert.equal(FlowEventRing.open(damaged, BOOT), undefined, `word ${word} is ${value}`);
    }
    assert.throws(() => flowEventRingBytes(1000), RangeError);
  });

  it('takes a nonsensical number of the reader for none', () => {
    const ring = makeRing(4);
    ring.read = 77;
    assert.equal(ring.waiting, 0);
    assert.equal(ring.claim(), -1);
    ring.read = ring.written;
    assert.ok(ring.claim() >= 0);
  });
});

describe('the writer of flow events', () => {
  it('copies what a record says of its flow', () => {
    const ring = makeRing(4);
    const writer = new FlowEventWriter(ring, [], 1);
    const memory = new ArrayBuffer(3 * RECORD_BYTES);
    const words = new Int32Array(memory);
    const floats = new Float64Array(memory);
    const base = 2 * RECORD_WORDS;
    for (let word = 0; word <= KEY_META; word++) {
      words[base + word] = 100 + word;
      words[base + DIRECTION_WORDS + word] = 200 + word;
    }
    words[base + SHARED_ID] = 17;
    words[base + SHARED_STATE] = FLOW_LIVE;
    words[base + SHARED_INGRESS] = (3 << 16) | 5;
    words[base + SHARED_PLUGINS] = (2 << 16) | 1;
    floats[(base + DIRECTION_PACKETS) / 2] = 2 ** 40;
    floats[(base + DIRECTION_WORDS + DIRECTION_BYTES) / 2] = 2 ** 50 + 1;
    writer.started(words, 2, -5);
    writer.ended(words, floats, 2, END.timed_out, 7);
    assert.equal(ring.waiting, 2);
    for (const at of [0, EVENT_WORDS]) {
      assert.equal(ring.words[at + EVENT_FLOW], 17);
      assert.equal(ring.words[at + EVENT_INGRESS], (3 << 16) | 5);
      assert.equal(ring.words[at + EVENT_DECIDER], 2);
      for (let word = 0; word <= KEY_META; word++) {
        assert.equal(ring.words[at + EVENT_ORIGINATOR_KEY + word], 100 + word);
        assert.equal(ring.words[at + EVENT_REPLY_KEY + word], 200 + word);
      }
    }
    assert.equal(ring.words[EVENT_KIND], EVENT_START);
    assert.equal(ring.words[EVENT_TIME], -5);
    assert.equal(ring.floats[EVENT_PACKETS_ORIGINATOR / 2], 0);
    assert.equal(ring.words[EVENT_WORDS + EVENT_KIND], EVENT_END | (END.timed_out << 8));
    assert.equal(ring.floats[(EVENT_WORDS + EVENT_PACKETS_ORIGINATOR) / 2], 2 ** 40);
    assert.equal(ring.floats[(EVENT_WORDS + EVENT_BYTES_REPLY) / 2], 2 ** 50 + 1);
  });

  it('writes the refusals that are asked for, each port at its rate, and tells of the others', () => {
    const ring = makeRing(64);
    const writer = new FlowEventWriter(ring, [36], 3);
    const view = packet();
    const refuse = (port: number, reason: number, nowMs: number) =>
      writer.refused(view, 9, (1 << 16) | port, reason, 4, 2, nowMs);
    for (let i = 0; i < 10; i++) refuse(1, 36, 1000);
    refuse(1, 35, 1000);
    refuse(2, 36, 1000);
    assert.equal(ring.waiting, 4);
    assert.equal(ring.suppressed, 7);
    refuse(1, 36, 1334);
    assert.equal(ring.waiting, 5);
    assert.equal(ring.words[4 * EVENT_WORDS + EVENT_SUPPRESSED], 7);
    assert.equal(ring.words[4 * EVENT_WORDS + EVENT_KIND], EVENT_REFUSED | (36 << 8));
    const key = EVENT_ORIGINATOR_KEY;
    assert.equal(ring.words[key + KEY_SRC0 + 3], view.src3);
    assert.equal(ring.words[key + KEY_PORTS], view.ports);
    assert.equal(ring.words[key + KEY_META], keyMeta(9, PROTOCOL_UDP, IPV4));
    // A second later the bucket is full again, and no fuller.
    for (let i = 0; i < 10; i++) refuse(1, 36, 60_000);
    assert.equal(ring.waiting, 8);
  });
});
