import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { problemsOf } from '../../../test/support/plain-packets.ts';
import { data, StreamBench } from '../../../test/support/stream-bench.ts';
import { pattern } from '../../../test/support/stream-gateway.ts';
import { STREAM_NEED_MORE, STREAM_PASS } from '../../plugin/contract.ts';
import { readUint16 } from '../../wire/byte-order.ts';
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_SYN, TCP_URG } from '../../wire/packet.ts';
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
});
