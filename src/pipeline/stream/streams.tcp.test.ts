import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { tcp } from '../../../test/support/packets.ts';
import { problemsOf } from '../../../test/support/plain-packets.ts';
import { data, StreamBench } from '../../../test/support/stream-bench.ts';
import { pattern } from '../../../test/support/stream-gateway.ts';
import { FOLLOWS_TOO_LATE, STREAM_NEED_MORE, STREAM_PASS } from '../../plugin/contract.ts';
import { buildTcpOptions } from '../../wire/build.ts';
import { readUint16 } from '../../wire/byte-order.ts';
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG } from '../../wire/packet.ts';
import { GAP_MS, HOLD_MS } from './stream-sweep.ts';
import { STREAM_BOUND_BYTES } from './streams.ts';

const bench = new StreamBench();
const { reader, gateway } = bench;

describe('what else TCP has', () => {
  it('data on a SYN is taken off, and read when it comes again', () => {
    const connection = bench.connection();
    const syn = connection.open(pattern(0, 20));
    assert.equal(syn?.payload.length, 0);
    assert.deepEqual(data(connection.send(0, 0, { payload: pattern(0, 20) })), [pattern(0, 20)]);
    assert.deepEqual(reader.passed(0), pattern(0, 20));
  });

  it('urgent data are data like any other', () => {
    const connection = bench.opened();
    const [left] = connection.send(0, 0, { payload: pattern(0, 10), flags: TCP_ACK | TCP_PSH | TCP_URG });
    assert.equal(left.view.tcpFlags & TCP_URG, 0);
    assert.equal(readUint16(left.packet, 20 + 18), 0);
    assert.deepEqual(left.payload, pattern(0, 10));
  });

  it('a wrong checksum is dropped before anybody reads', () => {
    const connection = bench.opened();
    const packet = connection.packet(0, 0, { payload: pattern(0, 10) });
    packet[packet.length - 1] ^= 1;
    assert.deepEqual(gateway.sendBytes('paris', packet), []);
    assert.deepEqual(bench.dropped(), { tcp_checksum: 1 });
    assert.equal(reader.shown.length, 0);
  });

  it('an acknowledgment or a reset with a wrong checksum says nothing', () => {
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    for (const flags of [TCP_ACK, TCP_ACK | TCP_RST]) {
      const packet = connection.packet(1, 0, { flags, acknowledges: 100 });
      packet[20 + 16] ^= 1;
      assert.deepEqual(gateway.sendBytes('internet', packet), []);
    }
    assert.equal(gateway.drops('internet').tcp_checksum, 2);
    assert.deepEqual(data(connection.send(0, 0, { payload: pattern(0, 100) })), [pattern(0, 100)]);
    connection.send(0, 200, { payload: pattern(200, 300) });
    assert.equal(connection.answers[0]?.view.acknowledgment, 1001);
  });

  it('data behind the FIN are cut off, and so is another FIN', () => {
    const connection = bench.opened();
    const before = bench.conflicts();
    connection.send(0, 50, { payload: pattern(50, 100), fin: true });
    assert.deepEqual(connection.send(0, 80, { payload: pattern(80, 150) }), []);
    const left = connection.send(0, 0, { payload: pattern(0, 60), fin: true });
    assert.deepEqual(Buffer.concat(data(left)), Buffer.from(pattern(0, 100)));
    assert.deepEqual(
      left.map(({ view }) => view.tcpFlags & TCP_FIN),
      [0, TCP_FIN],
    );
    assert.equal(bench.conflicts() - before, 2);
  });

  it('a FIN that was dropped, for what is before it has not come, may come elsewhere', () => {
    const connection = bench.opened();
    connection.send(0, 100, { fin: true });
    bench.wait(GAP_MS + 3000);
    assert.deepEqual(bench.dropped(), { stream_gap: 1 });
    assert.deepEqual(data(connection.send(0, 0, { payload: pattern(0, 200) })), [pattern(0, 200)]);
    const [fin] = connection.send(0, 200, { fin: true });
    assert.equal(fin?.view.tcpFlags, TCP_ACK | TCP_FIN);
  });

  it('a FIN in front of data that have come is no FIN', () => {
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    const left = connection.send(0, 0, { payload: pattern(0, 50), fin: true });
    assert.deepEqual(
      left.map(({ view }) => view.tcpFlags & TCP_FIN),
      [0],
    );
  });

  it('a keep-alive passes without its byte', () => {
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    connection.send(1, 0, {});
    for (const payload of [new Uint8Array(), new Uint8Array([0])]) {
      const [probe] = connection.send(0, 99, { payload });
      assert.deepEqual([connection.offsetOf(0, probe), probe.payload.length], [99, 0]);
    }
    assert.equal(reader.shown.length, 1);
  });

  it('a window probe is read once, and comes as it was read when it comes again', () => {
    const connection = bench.opened();
    connection.send(1, 0, { window: 0 });
    const [probe] = connection.send(0, 0, { payload: pattern(0, 1) });
    assert.deepEqual(probe.payload, pattern(0, 1));
    const [later] = connection.send(0, 0, { payload: Uint8Array.from([99, ...pattern(1, 100)]) });
    assert.deepEqual(later.payload, pattern(0, 100));
    assert.deepEqual(reader.passed(0), pattern(0, 100));
  });

  it('a reset ends everything: what is held is gone, and no data pass', () => {
    const connection = bench.opened();
    connection.send(0, 100, { payload: pattern(100, 200) });
    assert.equal(bench.held(), 1);
    assert.equal(connection.reset(0, 200).length, 1);
    assert.equal(bench.held(), 0);
    assert.deepEqual(connection.send(0, 0, { payload: pattern(0, 100) }), []);
    assert.deepEqual(bench.dropped(), { tcp_state: 1 });
  });

  it('a reset that ends nothing changes nothing', () => {
    const connection = bench.opened();
    connection.send(0, 100, { payload: pattern(100, 200) });
    connection.reset(0, 50);
    assert.equal(bench.held(), 1);
    const left = connection.send(0, 0, { payload: pattern(0, 100) });
    assert.deepEqual(data(left), [pattern(0, 100), pattern(100, 200)]);
  });

  it('a SYN in the connection does not move its beginning', () => {
    const connection = bench.opened();
    connection.send(0, 500, { flags: TCP_SYN });
    assert.deepEqual(data(connection.send(0, 0, { payload: pattern(0, 100) })), [pattern(0, 100)]);
  });

  it('what is acknowledged before it was delivered is not delivered unseen', () => {
    reader.answer = ({ bytes }) => (bytes.length < 150 ? STREAM_NEED_MORE : STREAM_PASS);
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 100) });
    connection.send(1, 0, { acknowledges: 100 });
    assert.deepEqual(data(connection.send(0, 100, { payload: pattern(100, 200) })), [
      pattern(0, 100),
      pattern(100, 200),
    ]);
  });

  it('the window that a sender is offered is no larger than what can be remembered', () => {
    const connection = bench.opened();
    const [left] = connection.send(1, 0, { window: 65535 });
    assert.equal(left.view.window * 128, STREAM_BOUND_BYTES);
    assert.deepEqual(problemsOf(left.packet), []);
    const [small] = connection.send(1, 0, { window: 100 });
    assert.equal(small.view.window, 100);
  });

  it('the end of a flow frees what it held', () => {
    const connection = bench.opened();
    connection.send(0, 100, { payload: pattern(100, 200) });
    assert.equal(gateway.assembly.pipeline.streams.pagesUsed, 1);
    gateway.assembly.flush(() => true, gateway.nowMs);
    assert.equal(bench.held(), 0);
    assert.equal(gateway.assembly.pipeline.streams.pagesUsed, 0);
  });

  it('segments early in the first flight are answered by the window of the SYN-ACK, and with time stamps', () => {
    const [client, server] = ['10.0.1.7 1999', '198.51.100.80 443'];
    const stamped = (value: number, echo: number, windowScale = 0): Uint8Array =>
      buildTcpOptions({ timestamps: [value, echo], windowScale });
    const [syn] = gateway.send(
      'paris',
      tcp(client, server, TCP_SYN, { sequence: 1000, options: stamped(70, 0, 2) }),
    );
    gateway.send(
      'internet',
      tcp(server, `${syn!.source} ${syn!.sourcePort}`, TCP_SYN | TCP_ACK, {
        sequence: 9000,
        acknowledgment: 1001,
        window: 40_000,
        options: stamped(500, 70, 3),
      }),
    );
    const [answer] = gateway.send(
      'paris',
      tcp(client, server, TCP_ACK, {
        sequence: 1101,
        acknowledgment: 9001,
        options: stamped(71, 500),
        payload: pattern(100, 200),
      }),
    );
    assert.deepEqual([answer?.port, answer?.view.window], ['paris', 40_000 >> 3]);
    const words = new DataView(answer!.packet.buffer, answer!.packet.byteOffset + 40);
    assert.deepEqual([words.getUint32(4), words.getUint32(8)], [500, 70]);
  });
});

describe('a direction of which only the beginning is read', () => {
  it('brings what is sent, however much that is', () => {
    reader.originator = 100;
    const connection = bench.opened();
    connection.send(0, 0, { payload: pattern(0, 200) });
    // As much as a window with its scale allows, at once: all but the last byte were lost behind the gateway's back.
    for (let at = 8_000_000; at < 2 ** 32; at += 8_000_000) {
      const bytes = pattern(at, at + 10);
      assert.deepEqual(data(connection.send(0, at, { payload: bytes })), [bytes], `at ${at}`);
      connection.send(1, 0, {});
    }
    assert.deepEqual(reader.passed(0), pattern(0, 100));
  });
});

describe('a plugin that is ended while it is shown bytes', () => {
  it('is shown them again within 5 s, if it still runs', () => {
    const { failures } = gateway;
    // As the watchdog does it: nothing on the way catches that.
    failures.push = () => assert.fail('ended');
    for (const isEarly of [false, true]) {
      const connection = bench.opened();
      reader.answer = ({ position }) => (position === 0 && isEarly ? STREAM_PASS : assert.fail());
      if (isEarly) connection.send(0, 10, { payload: pattern(10, 20) });
      assert.throws(() => connection.send(0, 0, { payload: pattern(0, 10) }), { message: 'ended' });
      gateway.run();
      reader.shown.length = 0;
      reader.answer = () => STREAM_PASS;
      bench.wait(HOLD_MS - 3000);
      assert.deepEqual(reader.shown, []);
      bench.wait(6000);
      assert.deepEqual(
        reader.shown.map(({ position, follows }) => [position, follows]),
        [[isEarly ? 10 : 0, FOLLOWS_TOO_LATE]],
      );
      gateway.run();
      assert.deepEqual(data(connection.send(0, 0, { payload: pattern(0, 10) })), [pattern(0, 10)]);
    }
    Reflect.deleteProperty(failures, 'push');
  });
});
