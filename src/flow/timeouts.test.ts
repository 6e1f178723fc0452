import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import { FLOW_ANSWERED, FLOW_LIVE, RECORD_WORDS, SHARED_STATE } from './layout.ts';
import {
  answeredTimeoutClass,
  ENDED_CLOSED,
  ENDED_CRASH,
  ENDED_FLUSH,
  ENDED_TIMEOUT,
  holdMs,
  idleTimeoutMs,
  setTimeoutClass,
  startTimeoutClass,
  TIMEOUT_CLASS_NAMES,
  TIMEOUT_CLASSES,
  TIMEOUT_ICMP,
  TIMEOUT_OTHER_ANSWERED,
  TIMEOUT_OTHER_NEW,
  TIMEOUT_TCP_CLOSED,
  TIMEOUT_TCP_CLOSING,
  TIMEOUT_TCP_ESTABLISHED,
  TIMEOUT_TCP_OPENING,
  TIMEOUT_UDP_ANSWERED,
  TIMEOUT_UDP_NEW,
  timeoutClassOf,
} from './timeouts.ts';

test('idle times are those of the RFCs while the table has room', () => {
  const seconds = (number: number) => idleTimeoutMs(number, 600) / 1000;
  assert.equal(seconds(TIMEOUT_TCP_OPENING), 240);
  assert.equal(seconds(TIMEOUT_TCP_ESTABLISHED), 7440);
  assert.equal(seconds(TIMEOUT_TCP_CLOSING), 240);
  assert.equal(seconds(TIMEOUT_TCP_CLOSED), 240);
  assert.equal(seconds(TIMEOUT_UDP_NEW), 120);
  assert.equal(seconds(TIMEOUT_UDP_ANSWERED), 300);
  assert.equal(seconds(TIMEOUT_ICMP), 60);
  assert.equal(seconds(TIMEOUT_OTHER_NEW), 120);
  assert.equal(seconds(TIMEOUT_OTHER_ANSWERED), 300);
  assert.equal(TIMEOUT_CLASS_NAMES.length, TIMEOUT_CLASSES);
});

test('idle times shrink with every step above 60 % and never grow', () => {
  for (let number = 0; number < TIMEOUT_CLASSES; number++) {
    for (let fill = 601; fill <= 1000; fill++) {
      assert.ok(idleTimeoutMs(number, fill) < idleTimeoutMs(number, fill - 1));
      assert.ok(idleTimeoutMs(number, fill) >= 5000);
    }
    assert.equal(idleTimeoutMs(number, 1000), idleTimeoutMs(number, 2000));
    assert.ok(idleTimeoutMs(number, 1000) <= 120_000);
  }
  const half = (idleTimeoutMs(TIMEOUT_ICMP, 600) + idleTimeoutMs(TIMEOUT_ICMP, 1000)) / 2;
  assert.ok(Math.abs(idleTimeoutMs(TIMEOUT_ICMP, 800) - half) < 1000);
});

test('a tuple is held for 240 s after a clean close, else for the idle time of its protocol', () => {
  for (const how of [ENDED_TIMEOUT, ENDED_FLUSH, ENDED_CRASH]) {
    assert.equal(holdMs(TIMEOUT_TCP_ESTABLISHED, how), 7_440_000);
    assert.equal(holdMs(TIMEOUT_TCP_OPENING, how), 240_000);
    assert.equal(holdMs(TIMEOUT_UDP_NEW, how), 300_000);
    assert.equal(holdMs(TIMEOUT_UDP_ANSWERED, how), 300_000);
    assert.equal(holdMs(TIMEOUT_ICMP, how), 60_000);
  }
  assert.equal(holdMs(TIMEOUT_TCP_ESTABLISHED, ENDED_CLOSED), 240_000);
  for (let number = 0; number < TIMEOUT_CLASSES; number++) {
    assert.ok(holdMs(number, ENDED_TIMEOUT) >= idleTimeoutMs(number, 0));
  }
});

test('a flow begins in the class of its protocol and changes it when it is answered', () => {
  assert.equal(startTimeoutClass(PROTOCOL_TCP), TIMEOUT_TCP_OPENING);
  assert.equal(startTimeoutClass(PROTOCOL_UDP), TIMEOUT_UDP_NEW);
  assert.equal(startTimeoutClass(PROTOCOL_ICMP), TIMEOUT_ICMP);
  assert.equal(startTimeoutClass(PROTOCOL_ICMPV6), TIMEOUT_ICMP);
  assert.equal(startTimeoutClass(132), TIMEOUT_OTHER_NEW);
  assert.equal(answeredTimeoutClass(TIMEOUT_UDP_NEW), TIMEOUT_UDP_ANSWERED);
  assert.equal(answeredTimeoutClass(TIMEOUT_OTHER_NEW), TIMEOUT_OTHER_ANSWERED);
  assert.equal(answeredTimeoutClass(TIMEOUT_ICMP), TIMEOUT_ICMP);
  assert.equal(answeredTimeoutClass(TIMEOUT_TCP_ESTABLISHED), TIMEOUT_TCP_ESTABLISHED);
});

test('changing the class leaves the rest of the state word alone', () => {
  const words = new Int32Array(2 * RECORD_WORDS);
  const at = RECORD_WORDS + SHARED_STATE;
  words[at] = FLOW_LIVE | (TIMEOUT_UDP_NEW << 8) | FLOW_ANSWERED | (1 << 31);
  setTimeoutClass(words, 1, TIMEOUT_UDP_ANSWERED);
  assert.equal(timeoutClassOf(words[at]!), TIMEOUT_UDP_ANSWERED);
  assert.equal(words[at], FLOW_LIVE | (TIMEOUT_UDP_ANSWERED << 8) | FLOW_ANSWERED | (1 << 31));
});
