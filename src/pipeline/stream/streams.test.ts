import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { Delivered } from '../../../test/support/memory-gateway.ts';
import { problemsOf } from '../../../test/support/plain-packets.ts';
import {
  pattern,
  ReadingPlugin,
  StreamConnection,
  streamGateway,
} from '../../../test/support/stream-gateway.ts';
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
import { readUint16 } from '../../wire/byte-order.ts';
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG } from '../../wire/packet.ts';
import { GAP_MS, HOLD_MS } from './stream-sweep.ts';
import { STREAM_BOUND_BYTES } from './streams.ts';

const reader = new ReadingPlugin();
const gateway = streamGateway([reader.loaded()], { sites: [{ name: 'paris', prefixes: ['10.0.1.0/24'] }] });
let port = 2000;
let drops: Record<string, number> = {};

beforeEach(() => {
  gateway.assembly.flush(() => true, gateway.nowMs);
  gateway.run();
  reader.shown.length = 0;
  reader.answer = () => STREAM_PASS;
  reader.originator = STREAM_WHOLE;
  reader.reply = STREAM_WHOLE;
  drops = gateway.drops('paris');
});

function opened(first: [number, number] = [1000, 9000]): StreamConnection {
  const connection = new StreamConnection(gateway, first, port++);
  connection.open();
  return connection;
}

/** Drops since the test began. */
function dropped(): Record<string, number> {
  const now = Object.entries(gateway.drops('paris'));
  return Object.fromEntries(
    now.flatMap(([name, count]) => (count > (drops[name] ?? 0) ? [[name, count - (drops[name] ?? 0)]] : [])),
  );
}

const data = (left: readonly Delivered[]): Uint8Array[] => left.map(({ payload }) => payload);
const conflicts = (): number => gateway.assembly.counters.global(COUNTER.stream_conflicts);
const held = (): number => gateway.assembly.pipeline.streams.heldSegments;
const seqOf = (connection: StreamConnection, left: readonly Delivered[]): number[] =>
  left.map((one) => connection.offsetOf(0, one));

describe('segments in order', () => {
  it('pass as they came, both ways, after the plugin has seen them', () => {
    const connection = opened();
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
    assert.equal(held(), 0);
    assert.deepEqual(dropped(), {});
  });

  it('pass over the end of the sequence numbers', () => {
    const connection = opened([0xffffffff - 150, 9000]);
    for (let at = 0; at < 1000; at += 100) connection.send(0, at, { payload: pattern(at, at + 100) });
    assert.deepEqual(reader.passed(0), pattern(0, 1000));
  });

  it('are remembered until they are acknowledged', () => {
    const connection = opened();
    const { streams } = gateway.assembly.pipeline;
    for (let at = 0; at < 20_000; at += 1000) connection.send(0, at, { payload: pattern(at, at + 1000) });
    assert.ok(streams.pagesUsed >= 10, `${streams.pagesUsed} pages`);
    connection.send(1, 0, {});
    assert.ok(streams.pagesUsed <= 1, `${streams.pagesUsed} pages`);
  });

  it('end with the FIN, which is shown once', () => {
    const connection = opened();
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
    const connection = opened();
    assert.deepEqual(connection.send(0, 200, { payload: pattern(200, 300) }), []);
    assert.deepEqual(connection.send(0, 100, { payload: pattern(100, 200) }), []);
    assert.equal(held(), 2);
    const left = connection.send(0, 0, { payload: pattern(0, 100) });
    assert.deepEqual(seqOf(connection, left), [0, 100, 200]);
    assert.deepEqual(data(left), [pattern(0, 100), pattern(100, 200), pattern(200, 300)]);
    assert.deepEqual(reader.passed(0), pattern(0, 300));
    assert.equal(held(), 0);
    assert.deepEqual(dropped(), {});
  });

  it('with the FIN wait as well', () => {
    const connection = opened();
    assert.deepEqual(connection.send(0, 100, { fin: true }), []);
    const left = connection.send(0, 0, { payload: pattern(0, 100) });
    assert.deepEqual(
      left.map(({ view }) => view.tcpFlags & TCP_FIN),
      [0, TCP_FIN],
    );
    assert.equal(reader.shown.at(-1)?.follows, FOLLOWS_END);
  });

  it('are dropped when what is missing does not come, and taken when they come again', () => {
    const connection = opened();
    connection.send(0, 100, { payload: pattern(100, 200) });
    for (let ms = 0; ms <= GAP_MS + 3000; ms += 1000) gateway.pass(1000);
    assert.equal(held(), 0);
    assert.deepEqual(dropped(), { stream_gap: 1 });
    assert.deepEqual(data(connection.send(0, 0, { payload: pattern(0, 100) })), [pattern(0, 100)]);
    assert.deepEqual(data(connection.send(0, 100, { payload: pattern(100, 200) })), [pattern(100, 200)]);
  });

  it('are not held beyond the bound of a stream', () => {
    const connection = opened();
    // The receiver offers more than the gateway passes on to the sender.
    connection.send(1, 0, { window: 65535 });
    let refused = 0;
    for (let i = 0; i < 300; i++) {
      connection.send(0, 1 + i * 2, { payload: pattern(0, 1) });
      refused = dropped().stream_memory ?? 0;
    }
    assert.equal(held(), 256);
    assert.equal(refused, 300 - 256);
  });
});

describe('overlaps', () => {
  it('bring the bytes that came first, in whatever segment', () => {
    const connection = opened();
    const before = conflicts();
    connection.send(0, 100, { payload: pattern(100, 200, 1) });
    connection.send(0, 150, { payload: pattern(150, 300, 2) });
    const left = connection.send(0, 0, { payload: pattern(0, 180, 3) });
    const bytes = Buffer.concat(data(left));
    const expected = Buffer.concat([pattern(0, 100, 3), pattern(100, 200, 1), pattern(200, 300, 2)]);
    assert.deepEqual(bytes, expected);
    assert.deepEqual(Buffer.from(reader.passed(0)), expected);
    assert.equal(conflicts() - before, 2);
  });

  it('of equal bytes are no conflict', () => {
    const connection = opened();
    const before = conflicts();
    connection.send(0, 100, { payload: pattern(100, 200) });
    connection.send(0, 50, { payload: pattern(50, 250) });
    connection.send(0, 0, { payload: pattern(0, 120) });
    connection.send(0, 0, { payload: pattern(0, 250) });
    assert.deepEqual(reader.passed(0), pattern(0, 250));
    assert.equal(conflicts(), before);
  });

  it('a retransmission with other bytes is made equal to what was inspected', () => {
    const connection = opened();
    const before = conflicts();
    connection.send(0, 0, { payload: pattern(0, 100) });
    const [again] = connection.send(0, 0, { payload: pattern(0, 100, 7) });
    assert.deepEqual(again.payload, pattern(0, 100));
    assert.equal(conflicts() - before, 1);
    assert.equal(reader.shown.length, 1);
  });

  it('a retransmission with more behind it brings only that to the plugin', () => {
    const connection = opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    const [again] = connection.send(0, 50, { payload: pattern(50, 150) });
    assert.deepEqual([connection.offsetOf(0, again), again.payload], [50, pattern(50, 150)]);
    assert.deepEqual(reader.passed(0), pattern(0, 150));
  });

  it('what is acknowledged is cut off, so that no other bytes come in its place', () => {
    const connection = opened();
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
    const connection = opened();
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
    assert.deepEqual(dropped(), {});
  });

  it('holds nothing back twice: a retransmission of held bytes is not sent', () => {
    reader.answer = ({ bytes }) => (bytes.length < 150 ? STREAM_NEED_MORE : STREAM_PASS);
    const connection = opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    assert.deepEqual(connection.send(0, 0, { payload: pattern(0, 100) }), []);
    assert.equal(held(), 1);
    assert.deepEqual(data(connection.send(0, 100, { payload: pattern(100, 200) })), [
      pattern(0, 100),
      pattern(100, 200),
    ]);
  });

  it('must decide at the end of the stream, of its own wish, of the room and of the time', () => {
    const follows = (run: (connection: StreamConnection) => void): number[] => {
      reader.shown.length = 0;
      reader.answer = (shown) => (shown.follows === FOLLOWS_MORE ? STREAM_NEED_MORE : STREAM_PASS);
      run(opened());
      assert.equal(held(), 0);
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
        connection.send(0, 80_000, { payload: pattern(80_000, 80_001) });
      }),
      [FOLLOWS_MORE, FOLLOWS_MORE, FOLLOWS_MORE, FOLLOWS_MORE, FOLLOWS_NO_ROOM],
    );
    assert.deepEqual(
      follows((connection) => {
        connection.send(0, 0, { payload: pattern(0, 10) });
        for (let ms = 0; ms <= HOLD_MS + 3000; ms += 1000) gateway.pass(1000);
        assert.deepEqual(data(gateway.run()), [pattern(0, 10)]);
      }),
      [FOLLOWS_MORE, FOLLOWS_TOO_LATE],
    );
  });

  it('that does not decide then ends the flow by its policy', () => {
    reader.answer = () => STREAM_NEED_MORE;
    const connection = opened();
    const flows = gateway.flows;
    connection.send(0, 0, { payload: pattern(0, 10) });
    connection.send(0, 10, { fin: true });
    assert.equal(gateway.flows, flows - 1);
    assert.deepEqual(dropped(), { stream_undecided: 1 });
    assert.equal(held(), 0);
    const late = opened();
    late.send(0, 0, { payload: pattern(0, 10) });
    for (let ms = 0; ms <= HOLD_MS + 3000; ms += 1000) gateway.pass(1000);
    assert.deepEqual(dropped(), { stream_undecided: 2 });
    assert.equal(gateway.flows, flows - 1);
  });
});

describe('what a plugin answers', () => {
  it('done: no more of this direction is shown or remembered, the other is', () => {
    reader.answer = ({ direction }) => (direction === 0 ? STREAM_DONE : STREAM_PASS);
    const connection = opened();
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
    const connection = opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    const [again] = connection.send(0, 50, { payload: pattern(50, 150, 3) });
    assert.deepEqual(again.payload, Uint8Array.from([...pattern(50, 100), ...pattern(100, 150, 3)]));
  });

  it('done both ways: the flow is like any other once all is acknowledged', () => {
    reader.answer = () => STREAM_DONE;
    const connection = opened();
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
    const connection = opened();
    assert.deepEqual(connection.send(0, 0, { payload: pattern(0, 100) }), []);
    assert.deepEqual(connection.send(0, 0, { payload: pattern(0, 100) }), []);
    assert.deepEqual(dropped(), { policy: 1, no_flow: 1 });
  });

  it('reset: both ends are told, by numbers that they expect', () => {
    reader.answer = ({ position }) => (position === 0 ? STREAM_PASS : STREAM_RESET_FLOW);
    const connection = opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    const left = connection.send(0, 100, { payload: pattern(100, 200) });
    assert.deepEqual(
      left.map(({ port: by, view, payload }) => [by, view.tcpFlags & TCP_RST, view.sequence, payload.length]),
      [
        ['paris', TCP_RST, 9001, 0],
        ['internet', TCP_RST, 1101, 0],
      ],
    );
    assert.deepEqual(dropped(), { policy: 1 });
  });

  it('nothing of use: its policy for that', () => {
    for (const answer of [STREAM_UNPARSABLE, 77]) {
      reader.answer = () => answer;
      const connection = opened();
      assert.deepEqual(connection.send(0, 0, { payload: pattern(0, 100) }), []);
    }
    assert.deepEqual(dropped(), { plugin_failed: 1, verdict_unsupported: 1 });
  });
});

describe('what else TCP has', () => {
  it('data on a SYN is taken off, and read when it comes again', () => {
    const connection = new StreamConnection(gateway, [1000, 9000], port++);
    const syn = connection.open(pattern(0, 20));
    assert.equal(syn?.payload.length, 0);
    assert.deepEqual(data(connection.send(0, 0, { payload: pattern(0, 20) })), [pattern(0, 20)]);
    assert.deepEqual(reader.passed(0), pattern(0, 20));
  });

  it('urgent data are data like any other', () => {
    const connection = opened();
    const [left] = connection.send(0, 0, { payload: pattern(0, 10), flags: TCP_ACK | TCP_PSH | TCP_URG });
    assert.equal(left.view.tcpFlags & TCP_URG, 0);
    assert.equal(readUint16(left.packet, 20 + 18), 0);
    assert.deepEqual(left.payload, pattern(0, 10));
  });

  it('a wrong checksum is dropped before anybody reads', () => {
    const connection = opened();
    const packet = connection.packet(0, 0, { payload: pattern(0, 10) });
    packet[packet.length - 1] ^= 1;
    assert.deepEqual(gateway.sendBytes('paris', packet), []);
    assert.deepEqual(dropped(), { tcp_checksum: 1 });
    assert.equal(reader.shown.length, 0);
  });

  it('data behind the FIN are cut off, and so is another FIN', () => {
    const connection = opened();
    const before = conflicts();
    connection.send(0, 50, { payload: pattern(50, 100), fin: true });
    assert.deepEqual(connection.send(0, 80, { payload: pattern(80, 150) }), []);
    const left = connection.send(0, 0, { payload: pattern(0, 60), fin: true });
    assert.deepEqual(Buffer.concat(data(left)), Buffer.from(pattern(0, 100)));
    assert.deepEqual(
      left.map(({ view }) => view.tcpFlags & TCP_FIN),
      [0, TCP_FIN],
    );
    assert.equal(conflicts() - before, 2);
  });

  it('a FIN in front of data that have come is no FIN', () => {
    const connection = opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    const left = connection.send(0, 0, { payload: pattern(0, 50), fin: true });
    assert.deepEqual(
      left.map(({ view }) => view.tcpFlags & TCP_FIN),
      [0],
    );
  });

  it('a keep-alive passes without its byte', () => {
    const connection = opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    connection.send(1, 0, {});
    for (const payload of [new Uint8Array(), new Uint8Array([0])]) {
      const [probe] = connection.send(0, 99, { payload });
      assert.deepEqual([connection.offsetOf(0, probe), probe.payload.length], [99, 0]);
    }
    assert.equal(reader.shown.length, 1);
  });

  it('a window probe is read once, and comes as it was read when it comes again', () => {
    const connection = opened();
    connection.send(1, 0, { window: 0 });
    const [probe] = connection.send(0, 0, { payload: pattern(0, 1) });
    assert.deepEqual(probe.payload, pattern(0, 1));
    const [later] = connection.send(0, 0, { payload: Uint8Array.from([99, ...pattern(1, 100)]) });
    assert.deepEqual(later.payload, pattern(0, 100));
    assert.deepEqual(reader.passed(0), pattern(0, 100));
  });

  it('a reset ends everything: what is held is gone, and no data pass', () => {
    const connection = opened();
    connection.send(0, 100, { payload: pattern(100, 200) });
    assert.equal(held(), 1);
    assert.equal(connection.reset(0, 200).length, 1);
    assert.equal(held(), 0);
    assert.deepEqual(connection.send(0, 0, { payload: pattern(0, 100) }), []);
    assert.deepEqual(dropped(), { tcp_state: 1 });
  });

  it('a reset that ends nothing changes nothing', () => {
    const connection = opened();
    connection.send(0, 100, { payload: pattern(100, 200) });
    connection.reset(0, 50);
    assert.equal(held(), 1);
    const left = connection.send(0, 0, { payload: pattern(0, 100) });
    assert.deepEqual(data(left), [pattern(0, 100), pattern(100, 200)]);
  });

  it('a SYN in the connection does not move its beginning', () => {
    const connection = opened();
    connection.send(0, 500, { flags: TCP_SYN });
    assert.deepEqual(data(connection.send(0, 0, { payload: pattern(0, 100) })), [pattern(0, 100)]);
  });

  it('what is acknowledged before it was delivered is not delivered unseen', () => {
    reader.answer = ({ bytes }) => (bytes.length < 150 ? STREAM_NEED_MORE : STREAM_PASS);
    const connection = opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    connection.send(1, 0, { acknowledges: 100 });
    assert.deepEqual(data(connection.send(0, 100, { payload: pattern(100, 200) })), [
      pattern(0, 100),
      pattern(100, 200),
    ]);
  });

  it('the window that a sender is offered is no larger than what can be remembered', () => {
    const connection = opened();
    const [left] = connection.send(1, 0, { window: 65535 });
    assert.equal(left.view.window * 128, STREAM_BOUND_BYTES);
    assert.deepEqual(problemsOf(left.packet), []);
    const [small] = connection.send(1, 0, { window: 100 });
    assert.equal(small.view.window, 100);
  });

  it('the end of a flow frees what it held', () => {
    const connection = opened();
    connection.send(0, 100, { payload: pattern(100, 200) });
    assert.equal(gateway.assembly.pipeline.streams.pagesUsed, 1);
    gateway.assembly.flush(() => true, gateway.nowMs);
    assert.equal(held(), 0);
    assert.equal(gateway.assembly.pipeline.streams.pagesUsed, 0);
  });
});
