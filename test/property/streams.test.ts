/**
 * What plugins were shown is what a receiver reads, whatever a sender does: segments of any borders, doubled, overtaken,
 * lost before or behind the gateway, with other bytes in a later copy, across the end of the sequence numbers; and
 * nothing that an honest sender repeats is lost.
 *
 * The oracle is plain: the first copy of every byte that was not refused, in an array.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FOLLOWS_MORE, STREAM_NEED_MORE, STREAM_PASS, STREAM_WHOLE } from '../../src/plugin/contract.ts';
import { TCP_FIN } from '../../src/wire/packet.ts';
import type { Delivered } from '../support/memory-gateway.ts';
import { problemsOf } from '../support/plain-packets.ts';
import { PlainReceiver } from '../support/plain-receiver.ts';
import { pattern, ReadingPlugin, StreamConnection, streamGateway } from '../support/stream-gateway.ts';

const SEED = 20260611;
const STREAM_BYTES = 4000;

interface Step {
  readonly start: number;
  readonly length: number;
  /** Of the bytes: 0 is what the sender means. */
  readonly salt: number;
  readonly fin: boolean;
  readonly lost: 'no' | 'before' | 'behind' | 'acknowledgment';
  readonly passMs: number;
}

interface Run {
  readonly first: number;
  readonly steps: readonly Step[];
  readonly needsMore: readonly boolean[];
  readonly keepsFirst: boolean;
  readonly limit: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  start: fc.integer({ min: 0, max: STREAM_BYTES - 1 }),
  length: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 1, max: 1400 })),
  salt: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constantFrom(1, 2) }),
  fin: fc.boolean(),
  lost: fc.constantFrom('no', 'no', 'no', 'before', 'behind', 'acknowledgment'),
  passMs: fc.constantFrom(0, 0, 0, 1, 100),
});

/** Steps that go on where the one before ended, more often than not. */
const walk: fc.Arbitrary<Step[]> = fc
  .array(fc.tuple(step, fc.constantFrom('next', 'next', 'next', 'skip', 'back', 'any')), {
    minLength: 1,
    maxLength: 40,
  })
  .map((pairs) => {
    let at = 0;
    return pairs.map(([one, how]) => {
      const shift = { next: 0, skip: 200, back: -300, any: 0 }[how];
      const start = how === 'any' ? one.start : Math.min(STREAM_BYTES - 1, Math.max(0, at + shift));
      if (how === 'next' || how === 'skip') at = Math.min(STREAM_BYTES - 1, start + one.length);
      return { ...one, start };
    });
  });

const run: fc.Arbitrary<Run> = fc.record({
  first: fc.oneof(fc.integer({ min: -5000, max: 10 }), fc.integer(), fc.constant(0x7fffff00)),
  steps: walk,
  needsMore: fc.array(fc.boolean(), { maxLength: 30 }),
  keepsFirst: fc.boolean(),
  limit: fc.oneof(fc.constant(STREAM_WHOLE), fc.integer({ min: 1, max: STREAM_BYTES })),
});

describe('streams that plugins read', () => {
  const reader = new ReadingPlugin();
  const gateway = streamGateway([reader.loaded()], { maxFlows: 4096 });
  let port = 1000;

  const dropped = (): number => Object.values(gateway.drops('paris')).reduce((sum, count) => sum + count, 0);

  function play({ first, steps, needsMore, keepsFirst, limit }: Run): void {
    reader.originator = limit;
    reader.reply = 0;
    reader.shown.length = 0;
    let asked = 0;
    reader.answer = ({ follows }) =>
      follows === FOLLOWS_MORE && needsMore[asked++] === true ? STREAM_NEED_MORE : STREAM_PASS;
    port = port === 60_000 ? 1000 : port + 1;
    const connection = new StreamConnection(gateway, [first, 77], port);
    assert.ok(connection.open());
    const receiver = new PlainReceiver(keepsFirst);
    /** The oracle: the first copy of every byte. */
    const firstCopy: (number | undefined)[] = [];
    let acknowledged = 0;
    let finAt = -1;
    let shown = 0;
    let passed: Uint8Array = new Uint8Array();
    const read = limit < 0 ? STREAM_BYTES : limit;

    const check = (delivered: Delivered, lost: boolean): void => {
      assert.deepEqual(problemsOf(delivered.packet), []);
      const offset = connection.offsetOf(0, delivered);
      if (shown !== reader.shown.length) {
        shown = reader.shown.length;
        passed = reader.passed(0);
      }
      delivered.payload.forEach((byte, i) => {
        if (offset + i >= read) return;
        // A flow that nobody reads any more is like any other; its receiver has this byte and knows it.
        if (offset + i < acknowledged && passed.length === read) return;
        assert.ok(offset + i < passed.length, `byte ${offset + i} was delivered before it was judged`);
        assert.equal(byte, passed[offset + i], `byte ${offset + i} is another one than was inspected`);
      });
      if (!lost) receiver.take(offset, delivered.payload, (delivered.view.tcpFlags & TCP_FIN) !== 0);
    };
    const acknowledge = (lost: boolean): void => {
      if (lost) return;
      acknowledged = Math.max(acknowledged, receiver.acknowledges);
      connection.send(1, 0, { acknowledges: receiver.acknowledges });
    };
    const send = ({ start, length, salt, fin, lost }: Omit<Step, 'passMs'>): void => {
      if (lost === 'before') return;
      const end = Math.min(STREAM_BYTES, start + length);
      const isFin = fin && end === STREAM_BYTES;
      const payload = pattern(start, end, salt);
      const before = dropped();
      const left = connection.send(0, start, { payload, fin: isFin });
      if (dropped() === before) {
        payload.forEach((byte, i) => {
          if (start + i >= acknowledged) firstCopy[start + i] ??= byte;
        });
        if (isFin) finAt = end;
      }
      for (const delivered of left) check(delivered, lost === 'behind');
      acknowledge(lost === 'acknowledgment' || lost === 'behind');
    };

    for (const one of steps) {
      if (one.passMs > 0) gateway.pass(one.passMs);
      send(one);
    }
    // From now on the sender is honest and nothing is lost.
    needsMore = [];
    for (let round = 0; round < 40 && !receiver.finished; round++) {
      const start = receiver.read.length;
      // A sender that gets no answer waits for longer than bytes are held back.
      if (round > 0 && start < 1000 * round) gateway.pass(7000);
      send({ start, length: 1000, salt: 0, fin: true, lost: 'no' });
    }
    assert.ok(receiver.finished, `the receiver has read ${receiver.read.length} bytes`);
    passed = reader.passed(0);
    assert.equal(passed.length, read);
    assert.deepEqual(receiver.read.slice(0, read), [...passed]);
    assert.deepEqual(receiver.read.slice(0, read), firstCopy.slice(0, read));
    assert.equal(finAt, STREAM_BYTES);
    acknowledge(false);
    connection.reset(0, STREAM_BYTES + 1);
    gateway.assembly.flush(() => true, gateway.nowMs);
    assert.equal(gateway.assembly.pipeline.streams.pagesUsed, 0);
    assert.equal(gateway.assembly.pipeline.streams.heldSegments, 0);
  }

  it('are delivered as they were read, and whole', () => {
    fc.assert(fc.property(run, play), { seed: SEED, numRuns: 2000 });
  });
});
