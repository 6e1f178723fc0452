/**
 * Two plugins that read both directions of a connection at once, each as much as it likes, and one of them done when it likes:
 * each is shown every byte once and in order, nothing is delivered that one of them has yet to pass, and both ends
 * finish.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import {
  FOLLOWS_MORE,
  STREAM_DONE,
  STREAM_NEED_MORE,
  STREAM_PASS,
  STREAM_WHOLE,
} from '../../src/plugin/contract.ts';
import { TCP_FIN } from '../../src/wire/packet.ts';
import type { Delivered } from '../support/memory-gateway.ts';
import { problemsOf } from '../support/plain-packets.ts';
import { PlainReceiver } from '../support/plain-receiver.ts';
import { pattern, ReadingPlugin, StreamConnection, streamGateway } from '../support/stream-gateway.ts';

const SEED = 20260708;
const STREAM_BYTES = 3000;
const DIRECTIONS = [0, 1] as const;

const wish = fc.oneof(fc.constant(STREAM_WHOLE), fc.constant(0), fc.integer({ min: 1, max: STREAM_BYTES }));
const answer = fc.constantFrom(STREAM_PASS, STREAM_PASS, STREAM_PASS, STREAM_NEED_MORE, STREAM_DONE);
const step = fc.record({
  direction: fc.constantFrom(...DIRECTIONS),
  how: fc.constantFrom('next', 'next', 'next', 'skip', 'back'),
  by: fc.nat({ max: 400 }),
  length: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 700 })),
  salt: fc.constantFrom(0, 0, 0, 9),
  fin: fc.boolean(),
  isLost: fc.constantFrom(false, false, false, true),
  passMs: fc.constantFrom(0, 0, 0, 0, 2500),
});
const run = fc.record({
  first: fc.tuple(fc.integer(), fc.oneof(fc.integer(), fc.constant(-1000))),
  wishes: fc.array(fc.tuple(wish, wish), { minLength: 2, maxLength: 2 }),
  answers: fc.array(fc.array(answer, { maxLength: 30 }), { minLength: 2, maxLength: 2 }),
  steps: fc.array(step, { maxLength: 40 }),
});
type Run = typeof run extends fc.Arbitrary<infer T> ? T : never;

const readers = [new ReadingPlugin(), new ReadingPlugin()];
const gateway = streamGateway(
  readers.map((reader, i) => reader.loaded(`reader-${i}`)),
  { maxFlows: 4096 },
);
let port = 1000;

/** What a plugin has passed of a direction, and how much of it that will be in the end. */
interface Passed {
  readonly bytes: number[];
  most: number;
}

function play({ first, wishes, answers, steps }: Run): void {
  let isHonest = false;
  const passed = readers.map((reader, i): Passed[] => {
    const mine = wishes[i]!.map((asked) => ({
      bytes: [],
      most: asked < 0 ? STREAM_BYTES : asked,
    })) as Passed[];
    let asked = 0;
    [reader.originator, reader.reply] = wishes[i]!;
    reader.shown.length = 0;
    reader.answer = ({ direction, position, bytes, follows }) => {
      const { [direction]: of } = mine as [Passed, Passed];
      assert.equal(position, of.bytes.length, 'each byte once, and in order');
      const says = isHonest ? STREAM_PASS : (answers[i]![asked++] ?? STREAM_PASS);
      if (says === STREAM_NEED_MORE && follows === FOLLOWS_MORE) return says;
      of.bytes.push(...bytes);
      if (says === STREAM_DONE) of.most = of.bytes.length;
      return says === STREAM_DONE ? says : STREAM_PASS;
    };
    return mine;
  });
  port = port === 60_000 ? 1000 : port + 1;
  const connection = new StreamConnection(gateway, first, port);
  assert.ok(connection.open());
  const receivers = DIRECTIONS.map(() => new PlainReceiver(true));

  const take = (left: readonly Delivered[], isLost: boolean): void => {
    for (const delivered of left) {
      assert.deepEqual(problemsOf(delivered.packet), []);
      const direction = delivered.port === 'internet' ? 0 : 1;
      const receiver = receivers[direction]!;
      const offset = connection.offsetOf(direction, delivered);
      delivered.payload.forEach((byte, i) => {
        const at = offset + i;
        // What its receiver has, it takes no second time.
        if (at < receiver.acknowledges) return;
        for (const { [direction]: of } of passed) {
          if (at >= of!.most) continue;
          assert.ok(at < of!.bytes.length, `byte ${at} of ${direction} was delivered before it was judged`);
          assert.equal(byte, of!.bytes[at]);
        }
      });
      if (!isLost) receiver.take(offset, delivered.payload, (delivered.view.tcpFlags & TCP_FIN) !== 0);
    }
  };
  const send = (direction: number, start: number, end: number, salt: number, fin: boolean): Delivered[] => {
    const acknowledges = receivers[direction ^ 1]!.acknowledges;
    const payload = pattern(start, end, salt + direction);
    return connection.send(direction, start, { payload, fin: fin && end === STREAM_BYTES, acknowledges });
  };

  const at = [0, 0];
  for (const { direction, how, by, length, salt, fin, isLost, passMs } of steps) {
    const shift = { next: 0, skip: by, back: -by }[how];
    const start = Math.min(STREAM_BYTES - 1, Math.max(0, at[direction]! + shift));
    const end = Math.min(STREAM_BYTES, start + length);
    if (how !== 'back') at[direction] = end;
    take(send(direction, start, end, salt, fin), isLost);
    if (passMs === 0) continue;
    gateway.pass(passMs);
    take(gateway.run(), false);
  }
  // From now on both ends are honest and nothing is lost.
  isHonest = true;
  for (let round = 0; round < 40 && !receivers.every(({ finished }) => finished); round++) {
    for (const direction of DIRECTIONS) {
      const start = receivers[direction]!.read.length;
      take(send(direction, start, Math.min(STREAM_BYTES, start + 1000), 0, true), false);
      take(
        connection.send(direction ^ 1, at[direction ^ 1]!, {
          acknowledges: receivers[direction]!.acknowledges,
        }),
        false,
      );
    }
    if (round < 3) continue;
    gateway.pass(3500);
    take(gateway.run(), false);
  }
  for (const direction of DIRECTIONS) {
    const { read, finished } = receivers[direction]!;
    assert.ok(finished, `the receiver of ${direction} has read ${read.length} bytes`);
    for (const { [direction]: of } of passed) assert.deepEqual(of!.bytes, read.slice(0, of!.most));
  }
  gateway.assembly.flush(() => true, gateway.nowMs);
  const { pagesUsed, heldSegments } = gateway.assembly.pipeline.streams;
  assert.deepEqual([pagesUsed, heldSegments], [0, 0]);
}

it('two plugins read both directions, each for itself', () => {
  fc.assert(fc.property(run, play), { seed: SEED, numRuns: 400 });
});
