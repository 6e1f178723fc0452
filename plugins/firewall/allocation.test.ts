/** Judging a flow allocates nothing: the heap stays as it is over hundreds of thousands of them. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { tcp } from '../../test/support/packets.ts';
import { NO_HOST } from '../../test/support/plugins.ts';
import { FLOWS, TOPOLOGY, viewOf } from './firewall.fixture.ts';
import { Firewall, FLOW_STATE_BYTES } from './firewall.ts';

const FLOWS_JUDGED = 200_000;
/** What the measuring itself takes, and the compiler beside it. */
const MOST_BYTES_EACH = 4;

it('judging allocates nothing', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const firewall = new Firewall(NO_HOST, {
    wallClockMs: Date.now,
    random: (words) => new Int32Array(words).fill(7),
  });
  const rules = Array.from({ length: 500 }, (_, at) => ({
    match: `ip.src == 10.0.${at & 255}.0/24 and tcp.dstport in {${at}..${at + 5000}} and time in {00:00..23:59}`,
    action: at % 7 === 0 ? 'count' : 'accept',
    ...(at % 7 === 1 ? { limit: { new_flows: '1000000/s', concurrent: 1_000_000, per: 'source' } } : {}),
  }));
  firewall.configure({ options: { default: 'accept', rules }, topology: TOPOLOGY })();
  const views = Array.from({ length: 64 }, (_, at) =>
    viewOf(tcp(`10.0.1.${at} ${1000 + at}`, `192.0.2.${at} ${at * 90 + 1}`, 0x02)),
  );
  const state = new Int32Array(FLOW_STATE_BYTES / 4);
  const flow = { ...FLOWS.outbound, state, stateAt: 0, nowMs: 0 };
  const judge = (count: number): void => {
    for (let at = 0; at < count; at++) {
      flow.nowMs = at >> 4;
      firewall.flowSetup(views[at & 63]!, flow);
    }
  };
  judge(100_000);
  collect();
  const before = process.memoryUsage().heapUsed;
  judge(FLOWS_JUDGED);
  const each = (process.memoryUsage().heapUsed - before) / FLOWS_JUDGED;
  assert.ok(each < MOST_BYTES_EACH, `${each} bytes for each flow`);
  assert.ok(firewall.policy!.rules.matches.some((count) => count > 0));
});
