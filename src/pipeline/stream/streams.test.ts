import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Delivered } from '../../../test/support/memory-gateway.ts';
import { problemsOf } from '../../../test/support/plain-packets.ts';
import { data, StreamBench } from '../../../test/support/stream-bench.ts';
import { pattern, type StreamConnection } from '../../../test/support/stream-gateway.ts';
import { COUNTER } from '../../flow/counters.ts';
import {
  FOLLOWS_END,
  FOLLOWS_MORE,
  FOLLOWS_NO_ROOM,
  FOLLOWS_NOTHING_WANTED,
  FOLLOWS_TOO_LATE,
  STREAM_DONE,
  STREAM_DROP_FLOW,
  STREAM_NEED_MORE,
  STREAM_PASS,
  STREAM_RESET_FLOW,
  STREAM_UNPARSABLE,
  STREAM_WHOLE,
} from '../../plugin/contract.ts';
import { TCP_FIN, TCP_RST } from '../../wire/packet.ts';
import { GAP_MS, HOLD_MS } from './stream-sweep.ts';

const bench = new StreamBench();
const { reader, gateway } = bench;
const seqOf = (connection: StreamConnection, left: readonly Delivered[]): number[] =>
  left.map((one) => connection.offsetOf(0, one));

describe('segments in order', () => {
  it('pass as they came, both ways, after the plugin has seen them', () => {
    const connection = bench.opened();
    assert.deepEqual(data(connection.send(0, 0, { payload: pattern(0, 100) })), [pattern(0, 100)]);
    assert.deepEqual(data(connection.send(1, 0, { payload: pattern(0, 50, 1) })), [pattern(0, 50, 1)]);
    assert.deepEqual(data(connection.send(0, 100, { payload: pattern(100, 150) })), [pattern(100, 150)]);
    assert.deepEqual(
      reader.shown.map(({ direction, position, bytes }) => [direction, position, bytes.length]),
      [
        [0, 0, 100],
        [1, 0, 50],
        [0, 100, 50],
      ],
    );
    assert.equal(bench.held(), 0);
    assert.deepEqual(bench.dropped(), {});
  });

  it('pass over the end of the sequence numbers', () => {
    const connection = bench.opened([0xffffffff - 150, 9000]);
    for (let at = 0; at < 1000; at += 100) connection.send(0, at, { payload: pattern(at, at + 100) });
    assert.deepEqual(reader.passed(0), pattern(0, 1000));
  });

  it('are remembered until they are acknowledged', () => {
    const connection = bench.opened();
    const { streams } = gateway.assembly.pipeline;
    for (let at = 0; at < 20_000; at += 1000) connection.send(0, at, { payload: pattern(at, at + 1000) });
    assert.ok(streams.pagesUsed >= 10, `${streams.pagesUsed} pages`);
    connection.send(1, 0, { acknowledges: 15_000 });
    assert.ok(streams.pagesUsed <= 4, `${streams.pagesUsed} pages`);
    connection.send(1, 0, {});
    assert.equal(streams.pagesUsed, 0);
  });

  it('end with the FIN, which is shown once', () => {
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 10) });
    const [fin] = connection.send(0, 10, { fin: true });
    assert.equal(fin.view.tcpFlags & TCP_FIN, TCP_FIN);
    assert.deepEqual(
      reader.shown.map(({ bytes, follows }) => [bytes.length, follows]),
      [
        [10, FOLLOWS_MORE],
        [0, FOLLOWS_END],
      ],
    );
    connection.send(0, 10, { fin: true });
    assert.equal(reader.shown.length, 2);
  });
});

describe('segments out of order', () => {
  it('are held back until what is missing comes, and leave in order', () => {
    const connection = bench.opened();
    assert.deepEqual(connection.send(0, 200, { payload: pattern(200, 300) }), []);
    assert.deepEqual(connection.send(0, 100, { payload: pattern(100, 200) }), []);
    assert.equal(bench.held(), 2);
    const left = connection.send(0, 0, { payload: pattern(0, 100) });
    assert.deepEqual(seqOf(connection, left), [0, 100, 200]);
    assert.deepEqual(data(left), [pattern(0, 100), pattern(100, 200), pattern(200, 300)]);
    assert.deepEqual(reader.passed(0), pattern(0, 300));
    assert.equal(bench.held(), 0);
    assert.deepEqual(bench.dropped(), {});
  });

  it('are answered in the name of the receiver, which does not see them: by what is held', () => {
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    connection.send(1, 0, { window: 500 });
    for (const at of [300, 500, 200, 600]) connection.send(0, at, { payload: pattern(at, at + 100) });
    const said = connection.answers.map(({ port, view, packet }) => {
      assert.deepEqual(problemsOf(packet), []);
      const words = new DataView(packet.buffer, packet.byteOffset + 40);
      assert.equal(words.getUint32(0), 0x0101050a);
      const block = [4, 8].map((at) => words.getUint32(at) - 1001);
      return [port, view.sequence, view.acknowledgment - 1001, view.window, block];
    });
    assert.deepEqual(said, [
      ['paris', 9001, 100, 500, [300, 400]],
      ['paris', 9001, 100, 500, [500, 600]],
      ['paris', 9001, 100, 500, [200, 400]],
      ['paris', 9001, 100, 500, [500, 700]],
    ]);
    assert.equal(connection.send(0, 100, { payload: pattern(100, 200) }).length, 3);
    assert.equal(connection.answers.length, 4);
  });

  it('with the FIN wait as well', () => {
    const connection = bench.opened();
    assert.deepEqual(connection.send(0, 100, { fin: true }), []);
    const left = connection.send(0, 0, { payload: pattern(0, 100) });
    assert.deepEqual(
      left.map(({ view }) => view.tcpFlags & TCP_FIN),
      [0, TCP_FIN],
    );
    assert.equal(reader.shown.at(-1)?.follows, FOLLOWS_END);
  });

  it('are dropped when what is missing does not come, and taken when they come again', () => {
    const connection = bench.opened();
    connection.send(0, 100, { payload: pattern(100, 200) });
    bench.wait(GAP_MS + 3000);
    assert.equal(bench.held(), 0);
    assert.deepEqual(bench.dropped(), { stream_gap: 1 });
    assert.deepEqual(data(connection.send(0, 0, { payload: pattern(0, 100) })), [pattern(0, 100)]);
    assert.deepEqual(data(connection.send(0, 100, { payload: pattern(100, 200) })), [pattern(100, 200)]);
  });

  it('are not held beyond the bound of a stream', () => {
    const connection = bench.opened();
    // The receiver offers more than the gateway passes on to the sender.
    connection.send(1, 0, { window: 65535 });
    let refused = 0;
    for (let i = 0; i < 300; i++) {
      connection.send(0, 1 + i * 2, { payload: pattern(0, 1) });
      refused = bench.dropped().stream_memory ?? 0;
    }
    assert.equal(bench.held(), 256);
    assert.equal(refused, 300 - 256);
  });
});

describe('overlaps', () => {
  it('bring the bytes that came first, in whatever segment', () => {
    const connection = bench.opened();
    const before = bench.conflicts();
    connection.send(0, 100, { payload: pattern(100, 200, 1) });
    connection.send(0, 150, { payload: pattern(150, 300, 2) });
    const left = connection.send(0, 0, { payload: pattern(0, 180, 3) });
    const bytes = Buffer.concat(data(left));
    const expected = Buffer.concat([pattern(0, 100, 3), pattern(100, 200, 1), pattern(200, 300, 2)]);
    assert.deepEqual(bytes, expected);
    assert.deepEqual(Buffer.from(reader.passed(0)), expected);
    assert.equal(bench.conflicts() - before, 2);
  });

  it('of equal bytes are no conflict', () => {
    const connection = bench.opened();
    const before = bench.conflicts();
    connection.send(0, 100, { payload: pattern(100, 200) });
    connection.send(0, 50, { payload: pattern(50, 250) });
    connection.send(0, 0, { payload: pattern(0, 120) });
    connection.send(0, 0, { payload: pattern(0, 250) });
    assert.deepEqual(reader.passed(0), pattern(0, 250));
    assert.equal(bench.conflicts(), before);
  });

  it('a retransmission with other bytes is made equal to what was inspected', () => {
    const connection = bench.opened();
    const before = bench.conflicts();
    connection.send(0, 0, { payload: pattern(0, 100) });
    const [again] = connection.send(0, 0, { payload: pattern(0, 100, 7) });
    assert.deepEqual(again.payload, pattern(0, 100));
    assert.equal(bench.conflicts() - before, 1);
    assert.equal(reader.shown.length, 1);
  });

  it('a retransmission with more behind it brings only that to the plugin', () => {
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    const [again] = connection.send(0, 50, { payload: pattern(50, 150) });
    assert.deepEqual([connection.offsetOf(0, again), again.payload], [50, pattern(50, 150)]);
    assert.deepEqual(reader.passed(0), pattern(0, 150));
  });

  it('what is acknowledged is cut off, so that no other bytes come in its place', () => {
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    connection.send(1, 0, { acknowledges: 60 });
    const [part] = connection.send(0, 0, { payload: pattern(0, 100, 9) });
    assert.deepEqual([connection.offsetOf(0, part), part.payload], [60, pattern(60, 100)]);
    const [none] = connection.send(0, 0, { payload: pattern(0, 50, 9) });
    assert.deepEqual([connection.offsetOf(0, none), none.payload.length], [0, 0]);
  });
});

describe('a plugin that needs more', () => {
  it('gets the bytes again with those that follow, and then all of them leave', () => {
    reader.answer = ({ bytes }) => (bytes.length < 250 ? STREAM_NEED_MORE : STREAM_PASS);
    const connection = bench.opened();
    assert.deepEqual(connection.send(0, 0, { payload: pattern(0, 100) }), []);
    assert.deepEqual(connection.send(0, 100, { payload: pattern(100, 200) }), []);
    const left = connection.send(0, 200, { payload: pattern(200, 300) });
    assert.deepEqual(data(left), [pattern(0, 100), pattern(100, 200), pattern(200, 300)]);
    assert.deepEqual(
      reader.shown.map(({ position, bytes }) => [position, bytes]),
      [
        [0, pattern(0, 100)],
        [0, pattern(0, 200)],
        [0, pattern(0, 300)],
      ],
    );
    assert.deepEqual(bench.dropped(), {});
  });

  it('holds nothing back twice: a retransmission of held bytes is not sent', () => {
    reader.answer = ({ bytes }) => (bytes.length < 150 ? STREAM_NEED_MORE : STREAM_PASS);
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    assert.deepEqual(connection.send(0, 0, { payload: pattern(0, 100) }), []);
    assert.equal(bench.held(), 1);
    assert.deepEqual(data(connection.send(0, 100, { payload: pattern(100, 200) })), [
      pattern(0, 100),
      pattern(100, 200),
    ]);
  });

  it('must decide at the end of the stream, of its own wish, of the room and of the time', () => {
    const follows = (run: (connection: StreamConnection) => void): number[] => {
      reader.shown.length = 0;
      reader.answer = (shown) => (shown.follows === FOLLOWS_MORE ? STREAM_NEED_MORE : STREAM_PASS);
      run(bench.opened());
      assert.equal(bench.held(), 0);
      return reader.shown.map((shown) => shown.follows);
    };
    assert.deepEqual(
      follows((connection) => {
        connection.send(0, 0, { payload: pattern(0, 10) });
        connection.send(0, 10, { payload: pattern(10, 20), fin: true });
      }),
      [FOLLOWS_MORE, FOLLOWS_END],
    );
    reader.originator = 15;
    assert.deepEqual(
      follows((connection) => {
        connection.send(0, 0, { payload: pattern(0, 10) });
        connection.send(0, 10, { payload: pattern(10, 20) });
      }),
      [FOLLOWS_MORE, FOLLOWS_NOTHING_WANTED],
    );
    assert.equal(reader.shown.at(-1)?.bytes.length, 15);
    reader.originator = STREAM_WHOLE;
    assert.deepEqual(
      follows((connection) => {
        for (let at = 0; at < 80_000; at += 20_000)
          connection.send(0, at, { payload: pattern(at, at + 20_000) });
      }),
      [FOLLOWS_MORE, FOLLOWS_MORE, FOLLOWS_MORE, FOLLOWS_NO_ROOM],
    );
    assert.deepEqual(
      follows((connection) => {
        connection.send(0, 0, { payload: pattern(0, 10) });
        bench.wait(HOLD_MS + 3000);
        assert.deepEqual(data(gateway.run()), [pattern(0, 10)]);
      }),
      [FOLLOWS_MORE, FOLLOWS_TOO_LATE],
    );
  });

  it('that does not decide then ends the flow by its policy', () => {
    reader.answer = () => STREAM_NEED_MORE;
    const connection = bench.opened();
    const flows = gateway.flows;
    connection.send(0, 0, { payload: pattern(0, 10) });
    connection.send(0, 10, { fin: true });
    assert.equal(gateway.flows, flows - 1);
    assert.deepEqual(bench.dropped(), { stream_undecided: 1 });
    assert.equal(bench.held(), 0);
    const late = bench.opened();
    late.send(0, 0, { payload: pattern(0, 10) });
    bench.wait(HOLD_MS + 3000);
    assert.deepEqual(bench.dropped(), { stream_undecided: 2 });
    assert.equal(gateway.flows, flows - 1);
  });
});

describe('what a plugin answers', () => {
  it('done: no more of this direction is shown or remembered, the other is', () => {
    reader.answer = ({ direction }) => (direction === 0 ? STREAM_DONE : STREAM_PASS);
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    connection.send(0, 100, { payload: pattern(100, 200) });
    assert.deepEqual(data(connection.send(0, 400, { payload: pattern(400, 500) })), [pattern(400, 500)]);
    connection.send(1, 0, { payload: pattern(0, 10) });
    assert.deepEqual(
      reader.shown.map(({ direction, bytes }) => [direction, bytes.length]),
      [
        [0, 100],
        [1, 10],
      ],
    );
  });

  it('done: what was inspected still comes as it was inspected', () => {
    reader.answer = () => STREAM_DONE;
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    const [again] = connection.send(0, 50, { payload: pattern(50, 150, 3) });
    assert.deepEqual(again.payload, Uint8Array.from([...pattern(50, 100), ...pattern(100, 150, 3)]));
  });

  it('done both ways: the flow is like any other once all is acknowledged', () => {
    reader.answer = () => STREAM_DONE;
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    connection.send(1, 0, { payload: pattern(0, 100) });
    gateway.pass(1);
    assert.equal(gateway.assembly.counters.global(COUNTER.stream_flows), 1);
    connection.send(0, 100, {});
    gateway.pass(1);
    assert.equal(gateway.assembly.counters.global(COUNTER.stream_flows), 0);
    assert.deepEqual(data(connection.send(0, 200, { payload: pattern(200, 300) })), [pattern(200, 300)]);
  });

  it('drop: the flow ends and nobody is told', () => {
    reader.answer = () => STREAM_DROP_FLOW;
    const connection = bench.opened();
    assert.deepEqual(connection.send(0, 0, { payload: pattern(0, 100) }), []);
    assert.deepEqual(connection.send(0, 0, { payload: pattern(0, 100) }), []);
    assert.deepEqual(bench.dropped(), { policy: 1, no_flow: 1 });
  });

  it('drop, when it has needed more for too long: nobody is told either', () => {
    for (const [answer, port] of [
      [STREAM_DROP_FLOW, []],
      [STREAM_RESET_FLOW, ['paris', 'internet']],
    ] as const) {
      reader.answer = ({ follows }) => (follows === FOLLOWS_MORE ? STREAM_NEED_MORE : answer);
      bench.opened().send(0, 0, { payload: pattern(0, 100) });
      bench.wait(HOLD_MS + 3000);
      assert.deepEqual(
        gateway.run().map((left) => left.port),
        port,
      );
    }
  });

  it('reset: both ends are told, by numbers that they expect', () => {
    reader.answer = ({ position }) => (position === 0 ? STREAM_PASS : STREAM_RESET_FLOW);
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    const left = connection.send(0, 100, { payload: pattern(100, 200) });
    assert.deepEqual(
      left.map(({ port: by, view, payload }) => [by, view.tcpFlags & TCP_RST, view.sequence, payload.length]),
      [
        ['paris', TCP_RST, 9001, 0],
        ['internet', TCP_RST, 1101, 0],
      ],
    );
    assert.deepEqual(bench.dropped(), { policy: 1 });
  });

  it('nothing of use: its policy for that', () => {
    for (const answer of [STREAM_UNPARSABLE, 77]) {
      reader.answer = () => answer;
      const connection = bench.opened();
      assert.deepEqual(connection.send(0, 0, { payload: pattern(0, 100) }), []);
    }
    assert.deepEqual(bench.dropped(), { plugin_failed: 1, verdict_unsupported: 1 });
  });
});
