/** A TCP connection under test, driven by tables of segments. */
import assert from 'node:assert/strict';
import { ORIGINATOR, RECORD_WORDS, REPLY } from '../../src/flow/layout.ts';
import {
  startTcp,
  TCP_OK,
  TCP_OUT_OF_WINDOW,
  tcpEndpointState,
  tcpTimeoutClass,
  trackTcp,
} from '../../src/flow/tcp.ts';
import { TCP_STATE_NAMES } from '../../src/flow/tcp-endpoint.ts';
import { fillSegment, type Segment, segmentView } from './tcp-segments.ts';

/** `>` from the originator, `<` from the responder; sequence and acknowledgment relative to the first ones. */
export type Step = readonly [
  way: '>' | '<',
  flags: string,
  sequence: number,
  acknowledgment: number,
  lengthBytes: number,
  expected: number,
  more?: Partial<Segment>,
];

/** The record under test. */
export const RECORD = 2;

/** A connection under test: record 2 of 4, so that a wrong record shows. */
export class Connection {
  readonly words = new Int32Array(4 * RECORD_WORDS);
  readonly view = segmentView();
  readonly first: readonly [number, number];

  constructor(originatorFirst: number, replyFirst: number) {
    this.first = [originatorFirst, replyFirst];
  }

  fill(way: '>' | '<', segment: Segment): void {
    const [own, peer] = way === '>' ? this.first : [this.first[1], this.first[0]];
    fillSegment(this.view, {
      ...segment,
      sequence: own + (segment.sequence ?? 0),
      acknowledgment: peer + (segment.acknowledgment ?? 0),
    });
  }

  start(segment: Partial<Segment> = {}): this {
    this.fill('>', { flags: 'S', ...segment });
    startTcp(this.words, RECORD, this.view);
    return this;
  }

  track([way, flags, sequence, acknowledgment, lengthBytes, , more]: Step): number {
    this.fill(way, { flags, sequence, acknowledgment, lengthBytes, ...more });
    return trackTcp(this.words, RECORD, way === '>' ? ORIGINATOR : REPLY, this.view);
  }

  run(steps: readonly Step[]): this {
    for (const [number, step] of steps.entries()) {
      const before = this.words.slice();
      const answer = this.track(step);
      assert.equal(answer, step[5], `step ${number}: ${JSON.stringify(step)}`);
      if (answer !== TCP_OK && answer !== TCP_OUT_OF_WINDOW)
        assert.deepEqual(this.words, before, `step ${number}`);
    }
    return this;
  }

  get states(): string {
    const name = (direction: number) => TCP_STATE_NAMES[tcpEndpointState(this.words, RECORD, direction)]!;
    return `${name(ORIGINATOR)} ${name(REPLY)}`;
  }

  get timeoutClass(): number {
    return tcpTimeoutClass(this.words, RECORD);
  }
}

/** What follows the SYN. */
export const HANDSHAKE: readonly Step[] = [
  ['<', 'SA', 0, 1, 0, TCP_OK],
  ['>', 'A', 1, 1, 0, TCP_OK],
];

/** First sequence numbers: plain, and such that they wrap within the first bytes, in either meaning. */
export const FIRSTS: readonly (readonly [number, number])[] = [
  [1000, 500_000],
  [-50, -3],
  [0x7fffffff - 40, -0x80000000],
  [0, 0],
];

/** After the handshake. */
export function established(first: readonly [number, number] = [1000, 500_000]): Connection {
  return new Connection(...first).start().run(HANDSHAKE);
}

/** Closed by both FINs; the originator's or the reply's first. Ends: 102 and 202. */
export function closed(replyFirst = false): Connection {
  const connection = established().run([
    ['>', 'A', 1, 1, 100, TCP_OK],
    ['<', 'A', 1, 101, 200, TCP_OK],
  ]);
  connection.run(
    replyFirst
      ? [
          ['<', 'FA', 201, 101, 0, TCP_OK],
          ['>', 'FA', 101, 202, 0, TCP_OK],
          ['<', 'A', 202, 102, 0, TCP_OK],
        ]
      : [
          ['>', 'FA', 101, 201, 0, TCP_OK],
          ['<', 'FA', 201, 102, 0, TCP_OK],
          ['>', 'A', 102, 202, 0, TCP_OK],
        ],
  );
  assert.equal(connection.states, 'fin_acked fin_acked');
  return connection;
}

/** Reset by the originator. */
export function wasReset(): Connection {
  return established().run([['>', 'R', 1, 0, 0, TCP_OK]]);
}
