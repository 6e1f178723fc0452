/**
 * Two correct endpoints talk through the tracker over a network that loses, doubles and reorders, on either
 * side of it. Nothing that its receiver could use may be refused, and the connection must open, carry every
 * byte and close.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TcpEndpoint, type WireSegment } from '../../test/support/tcp-endpoint-model.ts';
import { fillSegment, segmentView } from '../../test/support/tcp-segments.ts';
import { finishHash } from './hash.ts';
import { ORIGINATOR, RECORD_WORDS, REPLY } from './layout.ts';
import { startTcp, TCP_OK, tcpTimeoutClass, trackTcp } from './tcp.ts';
import { TIMEOUT_TCP_CLOSED } from './timeouts.ts';

interface Exchange {
  readonly seed: number;
  readonly first: readonly [number, number];
  readonly bytes: readonly [number, number];
  readonly buffers: readonly [number, number];
  readonly scales: readonly [number | undefined, number | undefined];
  /** Of 100 segments: lost, doubled, overtaken. */
  readonly trouble: number;
}

/** A leg of the network: what is on its way, with how often it was overtaken. */
type Leg = { segment: WireSegment; overtaken: number }[];

const MAX_OVERTAKEN = 3;
const QUIET_AFTER_STEPS = 4000;
const MAX_STEPS = 40_000;

/** The longest segment of a side: an eighth of the largest window that its peer can offer. */
function segmentOf(exchange: Exchange, side: number): number {
  const [one, other] = exchange.scales;
  const scale = one === undefined || other === undefined ? 0 : exchange.scales[side ^ 1]!;
  const window = Math.min(exchange.buffers[side ^ 1]!, 65535 * 2 ** scale);
  return Math.min(65160, window >> 3);
}

function run(exchange: Exchange): void {
  let state = exchange.seed;
  const random = (below: number) => {
    state = (state + 0x9e3779b9) | 0;
    return (finishHash(state) >>> 0) % below;
  };
  const ends = [ORIGINATOR, REPLY].map(
    (side) =>
      new TcpEndpoint({
        first: exchange.first[side]!,
        peerFirst: exchange.first[side ^ 1]!,
        bytes: exchange.bytes[side]!,
        bufferBytes: exchange.buffers[side]!,
        maxSegmentBytes: segmentOf(exchange, side),
        scale: exchange.scales[side],
        opens: side === ORIGINATOR,
        random,
      }),
  );
  const before: Leg[] = [[], []];
  const behind: Leg[] = [[], []];
  const words = new Int32Array(RECORD_WORDS);
  const view = segmentView();
  let tracked = false;
  let trouble = exchange.trouble;

  const send = (leg: Leg, segment: WireSegment) => {
    if (random(100) < trouble) return;
    leg.push({ segment, overtaken: 0 });
    if (random(100) < trouble) leg.push({ segment, overtaken: 0 });
  };
  const take = (leg: Leg): WireSegment => {
    let at = random(100) < trouble ? random(Math.min(leg.length, 4)) : 0;
    for (let front = 0; front < at; front++) if (leg[front]!.overtaken >= MAX_OVERTAKEN) at = front;
    for (let front = 0; front < at; front++) leg[front]!.overtaken++;
    return leg.splice(at, 1)[0]!.segment;
  };
  const gateway = (side: number) => {
    const segment = take(before[side]!);
    fillSegment(view, segment);
    if (!tracked) {
      startTcp(words, 0, view);
      tracked = true;
    } else if (trackTcp(words, 0, side, view) !== TCP_OK) {
      assert.ok(
        ends[side ^ 1]!.isOldDuplicate(segment),
        `${side === ORIGINATOR ? '>' : '<'} ${JSON.stringify(segment)} was refused`,
      );
      return;
    }
    send(behind[side]!, segment);
  };

  let steps = 0;
  for (; steps < MAX_STEPS; steps++) {
    if (steps === QUIET_AFTER_STEPS) trouble = 0;
    const side = random(2);
    const action = random(4);
    const end = ends[side]!;
    if (action === 0 && before[side]!.length > 0) gateway(side);
    else if (action === 1 && behind[side]!.length > 0) {
      const answer = ends[side ^ 1]!.receive(take(behind[side]!));
      if (answer !== undefined) send(before[side ^ 1]!, answer);
    } else if (action > 1 && before[side]!.length < 12) {
      const segment = end.next();
      if (segment !== undefined) send(before[side]!, segment);
    }
    const idle = [...before, ...behind].every((leg) => leg.length === 0);
    if (idle && ends.every((each) => each.done)) break;
  }
  assert.ok(steps < MAX_STEPS, `did not end: ${ends.map((end) => end.describe()).join('; ')}`);
  assert.equal(tcpTimeoutClass(words, 0), TIMEOUT_TCP_CLOSED);
}

test('what two correct endpoints send is never refused', () => {
  const buffer = fc.oneof(
    fc.integer({ min: 8, max: 3000 }),
    fc.integer({ min: 3000, max: 65535 }),
    fc.integer({ min: 65535, max: 4_000_000 }),
  );
  const first = fc.oneof(fc.integer(), fc.constantFrom(-1, 0x7fffffff - 1000, -20_000));
  const scale = fc.option(fc.integer({ min: 0, max: 14 }), { nil: undefined });
  fc.assert(
    fc.property(
      fc.record({
        seed: fc.integer(),
        first: fc.tuple(first, first),
        bytes: fc.tuple(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 200 })),
        buffers: fc.tuple(buffer, buffer),
        scales: fc.tuple(scale, scale),
        trouble: fc.constantFrom(0, 5, 20, 40),
      }),
      (exchange) => {
        // So many half segments, not bytes: a small window takes as many of them as a large one.
        const bytes = [0, 1].map((side) => (exchange.bytes[side]! * segmentOf(exchange, side)) >> 1);
        run({ ...exchange, bytes: [bytes[0]!, bytes[1]!] });
      },
    ),
    { seed: 9293, numRuns: 300 },
  );
});
