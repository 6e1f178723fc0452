import assert from 'node:assert/strict';
import { test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import { Connection, established, FIRSTS, RECORD, type Step } from '../../test/support/tcp-connection.ts';
import { fillSegment } from '../../test/support/tcp-segments.ts';
import { ORIGINATOR, REPLY } from './layout.ts';
import {
  checkQuotedSequence,
  TCP_BAD_STATE,
  TCP_OK,
  TCP_OUT_OF_WINDOW,
  tcpTimeoutClass,
  trackTcp,
} from './tcp.ts';
import {
  TIMEOUT_TCP_CLOSED,
  TIMEOUT_TCP_CLOSING,
  TIMEOUT_TCP_ESTABLISHED,
  TIMEOUT_TCP_OPENING,
} from './timeouts.ts';

const OK = TCP_OK;
const STATE = TCP_BAD_STATE;
const WINDOW = TCP_OUT_OF_WINDOW;

test('a connection opens, carries data and closes, wherever its numbers wrap', () => {
  for (const first of FIRSTS) {
    const connection = new Connection(...first).start();
    assert.equal(connection.states, 'syn_sent none');
    assert.equal(connection.timeoutClass, TIMEOUT_TCP_OPENING);
    connection.run([['<', 'SA', 0, 1, 0, OK]]);
    assert.equal(connection.states, 'established syn_sent');
    assert.equal(connection.timeoutClass, TIMEOUT_TCP_OPENING);
    connection.run([['>', 'A', 1, 1, 0, OK]]);
    assert.equal(connection.states, 'established established');
    assert.equal(connection.timeoutClass, TIMEOUT_TCP_ESTABLISHED);
    connection.run([
      ['>', 'PA', 1, 1, 100, OK],
      ['<', 'A', 1, 101, 1400, OK],
      ['<', 'A', 1401, 101, 1400, OK],
      ['>', 'A', 101, 2801, 0, OK],
      ['>', 'FA', 101, 2801, 0, OK],
    ]);
    assert.equal(connection.states, 'fin_sent established');
    assert.equal(connection.timeoutClass, TIMEOUT_TCP_CLOSING);
    connection.run([['<', 'A', 2801, 102, 500, OK]]);
    assert.equal(connection.states, 'fin_acked established');
    connection.run([['<', 'FA', 3301, 102, 0, OK]]);
    assert.equal(connection.states, 'fin_acked fin_sent');
    assert.equal(connection.timeoutClass, TIMEOUT_TCP_CLOSING);
    connection.run([['>', 'A', 102, 3302, 0, OK]]);
    assert.equal(connection.states, 'fin_acked fin_acked');
    assert.equal(connection.timeoutClass, TIMEOUT_TCP_CLOSED);
    // A repeated FIN and its acknowledgment still pass.
    connection.run([
      ['<', 'FA', 3301, 102, 0, OK],
      ['>', 'A', 102, 3302, 0, OK],
    ]);
  }
});

test('both ends open at once', () => {
  for (const first of FIRSTS) {
    const connection = new Connection(...first).start({ scale: 3 });
    connection.run([['<', 'S', 0, 0, 0, OK, { scale: 2, acknowledgment: -first[0] }]]);
    assert.equal(connection.states, 'syn_sent syn_sent');
    connection.run([
      ['>', 'SA', 0, 1, 0, OK, { scale: 3 }],
      ['<', 'SA', 0, 1, 0, OK, { scale: 2 }],
    ]);
    assert.equal(connection.states, 'established established');
    connection.run([
      ['>', 'A', 1, 1, 10, OK],
      ['<', 'A', 1, 11, 10, OK],
      ['<', 'S', 0, 0, 0, STATE],
    ]);
  }
});

test('both ends close at once', () => {
  const connection = established().run([
    ['>', 'FA', 1, 1, 0, OK],
    ['<', 'FA', 1, 1, 0, OK],
  ]);
  assert.equal(connection.states, 'fin_sent fin_sent');
  connection.run([
    ['>', 'A', 2, 2, 0, OK],
    ['<', 'A', 2, 2, 0, OK],
  ]);
  assert.equal(connection.states, 'fin_acked fin_acked');
});

test('opening segments may be repeated', () => {
  const connection = new Connection(7, 9).start().run([
    ['>', 'S', 0, 0, 0, OK],
    ['<', 'SA', 0, 1, 0, OK],
    ['>', 'S', 0, 0, 0, OK],
    ['<', 'SA', 0, 1, 0, OK],
    ['>', 'A', 1, 1, 0, OK],
    ['<', 'SA', 0, 1, 0, OK],
    ['>', 'S', 0, 0, 0, OK],
    ['>', 'A', 1, 1, 0, OK],
  ]);
  assert.equal(connection.states, 'established established');
});

test('an originator that starts again before it was answered begins anew', () => {
  const connection = new Connection(7, 9).start().run([
    ['>', 'S', 90_000_000, 0, 0, OK],
    ['<', 'SA', 0, 90_000_001, 0, OK],
    ['>', 'A', 90_000_001, 1, 0, OK],
  ]);
  assert.equal(connection.states, 'established established');
});

test('a responder without state may answer again with another number', () => {
  const connection = new Connection(7, 9).start().run([
    ['<', 'SA', 0, 1, 0, OK],
    ['<', 'SA', 1_234_567_890, 1, 0, OK],
    ['>', 'A', 1, 1_234_567_891, 0, OK],
    ['<', 'A', 1_234_567_891, 1, 10, OK],
  ]);
  assert.equal(connection.states, 'established established');
});

test('a SYN may carry data (TCP Fast Open), acknowledged or not, and be answered with data at once', () => {
  for (const acknowledged of [1, 301]) {
    const connection = new Connection(7, 9).start({ lengthBytes: 300 }).run([
      ['<', 'SA', 0, acknowledged, 0, OK],
      ['<', 'A', 1, acknowledged, 1400, OK],
      ['>', 'A', acknowledged, 1401, 300, OK],
      ['<', 'A', 1401, acknowledged + 300, 0, OK],
    ]);
    assert.equal(connection.states, 'established established');
  }
});

test('only an acknowledgment of the SYN opens a connection', () => {
  const connection = new Connection(7, 9).start().run([
    ['<', 'SA', 0, 2, 10, WINDOW],
    ['<', 'SA', 0, 0, 10, WINDOW],
    ['<', 'A', 1, 1, 10, STATE],
    ['<', 'FA', 1, 1, 0, STATE],
    ['>', 'A', 1, 1, 0, STATE],
    ['>', 'PA', 1, 1, 10, STATE],
    ['>', 'SA', 0, 1, 0, STATE],
  ]);
  assert.equal(connection.states, 'syn_sent none');
});

test('segments outside the window are dropped', () => {
  for (const first of FIRSTS) {
    established(first).run([
      ['>', 'A', 1, 1, 100, OK],
      ['<', 'A', 1, 101, 0, OK, { window: 1000 }],
      // Acknowledged: 101. The responder's largest window was the SYN-ACK's 65535.
      ['>', 'A', 101 + 65535, 1, 1, OK],
      ['>', 'A', 101 + 65536, 1, 1, WINDOW],
      ['>', 'A', 101 - 65537, 1, 1, OK],
      ['>', 'A', 101 - 65538, 1, 1, WINDOW],
      ['>', 'A', 0x7fffffff, 1, 0, WINDOW],
      // Acknowledgments of what was never sent, and of long ago.
      ['>', 'A', 101, 2, 0, WINDOW],
      ['>', 'A', 101, 1 - 65536, 0, OK],
      ['>', 'A', 101, 1 - 65537, 0, WINDOW],
    ]);
  }
});

test('windows are scaled when both ends offered it, SYNs excepted', () => {
  const beyond: Step = ['>', 'A', 65537 + 1, 1, 0, WINDOW];
  for (const [originator, reply, allowed] of [
    [7, 2, 65535 * 4],
    [7, 0, 65535],
    [7, undefined, 65535],
    [undefined, 2, 65535],
    [0, 14, 65535 * 16384],
    [0, 255, 65535 * 16384],
  ] as const) {
    const offer = (scale: number | undefined) => (scale === undefined ? {} : { scale });
    const connection = new Connection(-40, 30)
      .start(offer(originator))
      .run([
        ['<', 'SA', 0, 1, 0, OK, offer(reply)],
        ['>', 'A', 1, 1, 0, OK],
        beyond,
        ['<', 'A', 1, 1, 0, OK],
        ['>', 'A', 1 + allowed + 1, 1, 0, WINDOW],
        ['>', 'A', 1 + allowed, 1, 0, OK],
      ]);
    assert.equal(connection.states, 'established established');
  }
});

test('windows of the other direction are scaled alike, and those of repeated SYNs are not', () => {
  for (const [scales, allowed] of [
    [[3, 2], 65535 * 8],
    [[3, undefined], 65535],
    [[undefined, 3], 65535],
  ] as const) {
    const [originator, reply] = scales.map((scale) => (scale === undefined ? {} : { scale }));
    new Connection(-40, 30).start(originator).run([
      ['<', 'SA', 0, 1, 0, OK, reply],
      ['>', 'A', 1, 1, 0, OK],
      ['<', 'A', 1 + allowed + 1, 1, 0, WINDOW],
      ['<', 'A', 1 + allowed, 1, 0, OK],
    ]);
  }
  new Connection(-40, 30).start({ scale: 3 }).run([
    ['<', 'SA', 0, 1, 0, OK, { scale: 2, window: 100 }],
    ['>', 'A', 1, 1, 0, OK],
    ['<', 'SA', 0, 1, 0, OK, { scale: 2, window: 100 }],
    ['>', 'A', 1 + 101, 1, 0, WINDOW],
    ['>', 'A', 1 + 100, 1, 0, OK],
  ]);
});

test('a scale offered in any of the SYNs counts; options that are cut off end the search', () => {
  const repeated = new Connection(1, 2).start({ scale: 5 }).run([
    ['>', 'S', 0, 0, 0, OK],
    ['<', 'SA', 0, 1, 0, OK, { scale: 1 }],
    ['>', 'A', 1, 1, 0, OK],
    ['<', 'A', 1, 1, 0, OK],
    ['>', 'A', 1 + 2 * 65535, 1, 0, OK],
  ]);
  assert.equal(repeated.states, 'established established');
  for (const options of [
    [3, 3],
    [3, 2, 9, 9],
    [3, 4, 9, 9],
    [8, 0, 3, 3, 9],
    [8, 40, 3, 3, 9],
    [0, 3, 3, 9],
    [1, 1, 1, 3],
  ]) {
    new Connection(1, 2).start({ options }).run([
      ['<', 'SA', 0, 1, 0, OK, { scale: 9 }],
      ['>', 'A', 1, 1, 0, OK],
      ['<', 'A', 1, 1, 0, OK],
      ['>', 'A', 1 + 65535 + 1, 1, 0, WINDOW],
    ]);
  }
});

test('a closed window takes probes and keep-alives', () => {
  for (const first of FIRSTS) {
    established(first).run([
      ['<', 'A', 1, 1, 0, OK, { window: 0 }],
      ['>', 'A', 1, 1, 1, OK],
      ['<', 'A', 1, 1, 0, OK, { window: 0 }],
      ['>', 'A', 0, 1, 0, OK],
      ['>', 'A', 0, 1, 1, OK],
      ['<', 'A', 0, 1, 0, OK],
      ['<', 'A', 0, 1, 1, OK],
    ]);
  }
  // The same when the window was never open.
  new Connection(1, 2).start({ window: 0 }).run([
    ['<', 'SA', 0, 1, 0, OK, { window: 0 }],
    ['>', 'A', 1, 1, 0, OK, { window: 0 }],
    ['>', 'A', 1, 1, 1, OK, { window: 0 }],
    ['<', 'A', 0, 1, 0, OK, { window: 0 }],
  ]);
});

test('GSO segments of 64 KiB and their repetitions pass', () => {
  const connection = new Connection(-70_000, 5).start({ scale: 8 }).run([
    ['<', 'SA', 0, 1, 0, OK, { scale: 8 }],
    ['>', 'A', 1, 1, 0, OK],
    ['<', 'A', 1, 1, 0, OK],
  ]);
  let sequence = 1;
  for (let segment = 0; segment < 40; segment++, sequence += 65160) {
    connection.run([['>', 'PA', sequence, 1, 65160, OK]]);
  }
  connection.run([
    ['>', 'A', 1, 1, 65160, OK],
    ['<', 'A', 1, sequence, 0, OK],
    ['>', 'A', 1, 1, 65160, OK],
  ]);
});

test('a quoted sequence number must be one that was sent recently', () => {
  for (const first of FIRSTS) {
    const connection = established(first).run([
      ['>', 'A', 1, 1, 10_000, OK],
      ['<', 'A', 1, 5001, 0, OK],
    ]);
    const check = (way: '>' | '<', sequence: number) => {
      connection.fill(way, { flags: 'A', sequence });
      return checkQuotedSequence(connection.words, RECORD, way === '>' ? ORIGINATOR : REPLY, connection.view);
    };
    assert.ok(check('>', 5001));
    assert.ok(check('>', 10_001));
    assert.ok(check('>', 1));
    assert.ok(!check('>', 10_002));
    assert.ok(!check('>', 5001 - 65537));
    assert.ok(!check('>', 0x7fffffff));
    assert.ok(check('<', 1));
    assert.ok(!check('<', 2));
  }
  const opening = new Connection(7, 9).start();
  opening.fill('>', { flags: 'S' });
  assert.ok(checkQuotedSequence(opening.words, RECORD, ORIGINATOR, opening.view));
  assert.ok(!checkQuotedSequence(opening.words, RECORD, REPLY, opening.view));
});

test('tracking allocates nothing', () => {
  v8.setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc') as () => void;
  const connection = established();
  const { words, view } = connection;
  fillSegment(view, { flags: 'A', window: 1000 });
  const run = (times: number) => {
    let refused = 0;
    for (let time = 0; time < times; time++) {
      view.sequence = (1001 + time * 100) | 0;
      view.acknowledgment = 500_001;
      view.payloadLength = 100;
      refused += trackTcp(words, RECORD, ORIGINATOR, view);
      view.acknowledgment = (1101 + time * 100) | 0;
      view.sequence = 500_001;
      view.payloadLength = 0;
      refused += trackTcp(words, RECORD, REPLY, view);
      refused += tcpTimeoutClass(words, RECORD) === TIMEOUT_TCP_ESTABLISHED ? 0 : 1;
      refused += checkQuotedSequence(words, RECORD, REPLY, view) ? 0 : 1;
    }
    return refused;
  };
  const start = words.slice();
  run(100_000);
  words.set(start);
  collect();
  const before = process.memoryUsage().heapUsed;
  const refused = run(100_000);
  const grown = process.memoryUsage().heapUsed - before;
  assert.equal(refused, 0);
  assert.ok(grown < 200_000, `${grown} bytes for 200 000 segments`);
});
