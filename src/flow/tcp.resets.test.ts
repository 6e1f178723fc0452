import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  Connection,
  closed,
  established,
  FIRSTS,
  HANDSHAKE,
  type Step,
  wasReset,
} from '../../test/support/tcp-connection.ts';
import { TCP_BAD_RESET, TCP_BAD_STATE, TCP_OK, TCP_OUT_OF_WINDOW, TCP_REOPEN } from './tcp.ts';
import { TIMEOUT_TCP_CLOSED, TIMEOUT_TCP_ESTABLISHED } from './timeouts.ts';

const OK = TCP_OK;
const STATE = TCP_BAD_STATE;
const WINDOW = TCP_OUT_OF_WINDOW;
const RESET = TCP_BAD_RESET;
const REOPEN = TCP_REOPEN;

test('flags that no segment has are refused in every state', () => {
  const opening = new Connection(7, 9).start();
  for (const connection of [opening, established(), closed(), wasReset()]) {
    connection.run([
      ['>', '', 1, 1, 0, STATE],
      ['>', 'F', 1, 1, 0, STATE],
      ['<', 'P', 1, 1, 10, STATE],
      ['<', 'SF', 1, 1, 0, STATE],
      ['<', 'SR', 1, 1, 0, STATE],
      ['>', 'SFA', 1, 1, 0, STATE],
      ['>', 'RFA', 1, 1, 0, STATE],
      ['>', 'SAFRP', 1, 1, 0, STATE],
    ]);
  }
});

test('an old connection at the responder is found out and reset by the originator', () => {
  const connection = new Connection(7, 9).start().run([
    ['<', 'A', 777_000_000, 888_000_000, 0, OK],
    ['>', 'R', 888_000_000, 0, 0, OK],
  ]);
  assert.equal(connection.states, 'syn_sent none');
  connection.run([['>', 'S', 0, 0, 0, OK], ...HANDSHAKE]);
  assert.equal(connection.states, 'established established');
});

test('a refused connection is closed by a reset that acknowledges its SYN, and by no other', () => {
  const connection = new Connection(7, 9).start().run([
    ['<', 'RA', 0, 2, 0, RESET],
    ['<', 'RA', 0, 0, 0, RESET],
    ['<', 'R', 0, 1, 0, RESET],
  ]);
  assert.equal(connection.states, 'syn_sent none');
  connection.run([['<', 'RA', -9, 1, 0, OK]]);
  assert.equal(connection.states, 'reset reset');
  assert.equal(connection.timeoutClass, TIMEOUT_TCP_CLOSED);
});

test('either end may give up while opening', () => {
  assert.equal(new Connection(7, 9).start().run([['>', 'R', 1, 0, 0, OK]]).states, 'reset reset');
  const answered: Step = ['<', 'SA', 0, 1, 0, OK];
  assert.equal(new Connection(7, 9).start().run([answered, ['>', 'R', 1, 0, 0, OK]]).states, 'reset reset');
  assert.equal(
    new Connection(7, 9).start().run([answered, ['<', 'R', 5, 0, 0, RESET], ['<', 'R', 1, 0, 0, OK]]).states,
    'reset reset',
  );
});

test('a blind reset in the window changes nothing, outside it goes nowhere', () => {
  for (const first of FIRSTS) {
    const connection = established(first).run([['<', 'A', 1, 1, 1000, OK]]);
    const before = connection.words.slice();
    // Acknowledged up to 1, sent up to 1001, window 65535.
    connection.run([
      ['<', 'R', 500, 0, 0, OK],
      ['<', 'R', 2, 0, 0, OK],
      ['<', 'RA', 65536, 1, 0, OK],
      ['<', 'R', 65537, 0, 0, RESET],
      ['<', 'R', 0, 0, 0, RESET],
      ['<', 'R', -70_000, 0, 0, RESET],
      ['<', 'R', 0x7fffffff, 0, 0, RESET],
      ['>', 'R', 0, 0, 0, RESET],
      ['>', 'R', 2, 0, 0, OK],
    ]);
    assert.deepEqual(connection.words, before);
    assert.equal(connection.timeoutClass, TIMEOUT_TCP_ESTABLISHED);
  }
});

test('a reset at the number that is expected ends the connection', () => {
  for (const sequence of [1, 1001]) {
    const connection = established().run([
      ['<', 'A', 1, 1, 1000, OK],
      ['<', 'R', sequence, 0, 0, OK],
    ]);
    assert.equal(connection.states, 'reset reset');
    assert.equal(connection.timeoutClass, TIMEOUT_TCP_CLOSED);
    // What was on its way still passes, and changes nothing.
    connection.run([
      ['<', 'A', 1, 1, 1000, OK],
      ['>', 'A', 1, 1001, 0, OK],
    ]);
    assert.equal(connection.states, 'reset reset');
  }
});

test('a blind SYN changes no connection', () => {
  const connection = established().run([['>', 'A', 1, 1, 100, OK]]);
  connection.run([
    ['>', 'S', 50, 0, 0, OK],
    ['>', 'S', 123_456_789, 0, 0, OK],
    ['<', 'S', 50, 0, 0, STATE],
    ['<', 'S', 123_456_789, 0, 0, STATE],
    ['<', 'A', 1, 101, 0, OK],
    ['>', 'A', 101, 1, 10, OK],
    // The challenge ACK has shown that the responder is alive: this is nobody's answer.
    ['<', 'SA', 123_456_789, 123_456_790, 0, WINDOW],
  ]);
  assert.equal(connection.states, 'established established');
});

test('an originator that restarted resets its old connection and opens a new one', () => {
  const connection = established().run([
    ['>', 'A', 1, 1, 100, OK],
    ['<', 'A', 1, 101, 0, OK],
    ['>', 'S', 123_456_789, 0, 0, OK],
    ['<', 'A', 1, 101, 0, OK],
    ['>', 'R', 101, 0, 0, OK],
    ['>', 'S', 123_456_789, 0, 0, REOPEN],
  ]);
  assert.equal(connection.states, 'reset reset');
});

test('when both ends have forgotten the connection, the second SYN reopens it', () => {
  const connection = established().run([
    ['>', 'S', 123_456_789, 0, 0, OK],
    ['<', 'SA', 987_654_321, 123_456_790, 0, WINDOW],
    ['>', 'S', 123_456_789, 0, 0, REOPEN],
  ]);
  assert.equal(connection.states, 'reset reset');
});

test('the same while opening: a responder that lost its half is reached by the next SYN', () => {
  new Connection(7, 9).start().run([
    ['<', 'SA', 0, 1, 0, OK],
    ['>', 'S', 123_456_789, 0, 0, OK],
    ['<', 'SA', 987_654_321, 123_456_790, 0, WINDOW],
    ['>', 'S', 123_456_789, 0, 0, REOPEN],
  ]);
});

test('TIME-WAIT: a SYN with a higher number reopens', () => {
  for (const replyFirst of [false, true]) {
    closed(replyFirst).run([
      ['>', 'S', 103, 0, 0, REOPEN],
      ['>', 'S', 1_000_000, 0, 0, REOPEN],
      ['<', 'S', 1_000_000, 0, 0, STATE],
    ]);
  }
});

test('TIME-WAIT: an old SYN does not reopen, nor does a lower one unless the originator closed first', () => {
  closed(false).run([
    ['>', 'S', 0, 0, 0, OK],
    ['>', 'S', 102, 0, 0, OK],
    ['>', 'S', -1_000_000, 0, 0, REOPEN],
  ]);
  const connection = closed(true).run([
    ['>', 'S', 0, 0, 0, OK],
    ['>', 'S', -1_000_000, 0, 0, OK],
  ]);
  assert.equal(connection.states, 'fin_acked fin_acked');
  // The responder in TIME-WAIT answers with its last ACK, and the originator's reset ends that.
  connection.run([
    ['<', 'A', 202, 102, 0, OK],
    ['>', 'R', 102, 0, 0, OK],
    ['>', 'S', -1_000_000, 0, 0, REOPEN],
  ]);
});

test('after a reset any SYN of the originator reopens', () => {
  wasReset().run([
    ['>', 'S', -1_000_000, 0, 0, REOPEN],
    ['>', 'S', 0, 0, 0, REOPEN],
    ['<', 'S', 0, 0, 0, STATE],
  ]);
});

test('nobody who does not know the numbers ends or moves an established connection', () => {
  const connection = established([123_456, -9]).run([
    ['>', 'A', 1, 1, 100, OK],
    ['<', 'A', 1, 101, 100, OK],
    ['>', 'A', 101, 101, 0, OK],
  ]);
  const reference = connection.words.slice();
  fc.assert(
    fc.property(
      fc.constantFrom('>', '<') as fc.Arbitrary<'>' | '<'>,
      fc.constantFrom('R', 'RA', 'S', 'SA', 'A', 'PA', 'FA', 'F', ''),
      // Further than a window from what is expected, on either side.
      fc.integer({ min: 70_000, max: 0x7fff0000 }),
      fc.boolean(),
      fc.integer(),
      fc.integer({ min: 0, max: 1400 }),
      (way, flags, distance, below, acknowledgment, lengthBytes) => {
        connection.words.set(reference);
        const sequence = 101 + (below ? -distance : distance);
        connection.track([way, flags, sequence, acknowledgment, lengthBytes, OK]);
        assert.equal(connection.states, 'established established');
        assert.equal(connection.timeoutClass, TIMEOUT_TCP_ESTABLISHED);
        const legitimate: Step = ['<', 'A', 101, 101, 10, OK];
        assert.equal(connection.track(legitimate), OK);
      },
    ),
    { seed: 5961, numRuns: 3000 },
  );
});
