/** What is known of next hops without a packet that goes to them: that they are asked for, again and again, and answer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  arpReply,
  ethernetDevice,
  ethernetPort,
  LinkBench,
  PEER_MAC,
  plan,
} from '../../../test/support/link-bench.ts';
import { NEXT_HOP_ASKED, NEXT_HOP_BITS, NEXT_HOP_SILENT } from '../../flow/counters.ts';

const NEXT_HOP = '10.0.1.2';

function benchWith(nextHop: { ipv4?: string; ipv6?: string }): LinkBench {
  return new LinkBench(plan([ethernetDevice(0)], [ethernetPort({ index: 0, device: 0 }, { nextHop })]));
}

/** Once a second for so long: what was said the last time, and how many frames were sent. */
function watch(bench: LinkBench, seconds: number, answers: boolean): { bits: number; asked: number } {
  let asked = 0;
  let bits = -1;
  for (let second = 0; second < seconds; second++) {
    const sent = [...bench.wait(1000)];
    bits = bench.link.watchNextHops(0, bench.nowMs);
    sent.push(...bench.takeSent());
    asked += sent.length;
    if (answers && sent.length > 0) bench.receive(0, arpReply(PEER_MAC, NEXT_HOP));
    bench.takeSent();
  }
  return { bits, asked };
}

test('a next hop that answers is asked again only now and then', () => {
  const bench = benchWith({ ipv4: NEXT_HOP });
  assert.equal(bench.link.watchNextHops(0, bench.nowMs), NEXT_HOP_ASKED);
  const { bits, asked } = watch(bench, 120, true);
  assert.equal(bits, 0);
  assert.ok(asked >= 2 && asked <= 8, `asked ${asked} times in two minutes`);
});

test('one that does not answer is silent, and one that stops to answer becomes it', () => {
  const bench = benchWith({ ipv4: NEXT_HOP });
  const silent = (): boolean => (bench.link.watchNextHops(0, bench.nowMs) & NEXT_HOP_SILENT) !== 0;
  watch(bench, 4, false);
  assert.ok(silent());
  watch(bench, 10, true);
  assert.equal(bench.link.watchNextHops(0, bench.nowMs), 0);
  // Confirmed for 30 s, used 5 s more, then asked three times, forgotten, and asked three times anew.
  let seconds = 0;
  for (; seconds < 60 && !silent(); seconds++) watch(bench, 1, false);
  assert.ok(seconds >= 30 && seconds <= 45, `silent after ${seconds} s`);
});

test('each family has its own bits, and where there is no next hop nothing is wrong', () => {
  const bench = benchWith({ ipv4: NEXT_HOP, ipv6: 'fd00::2' });
  watch(bench, 1, true);
  bench.receive(0, arpReply(PEER_MAC, NEXT_HOP));
  const { bits } = watch(bench, 3, true);
  assert.equal(bits, NEXT_HOP_SILENT << NEXT_HOP_BITS);
  assert.equal(benchWith({}).link.watchNextHops(0, 0), 0);
  assert.equal(bench.link.watchNextHops(7, 0), 0);
});
