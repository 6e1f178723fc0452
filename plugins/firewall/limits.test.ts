/** Limits of rules: rates and living flows, and how they go on when options, code or process are others. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type FlowHandle,
  VERDICT_CONTINUE,
  VERDICT_DROP,
  VERDICT_REJECT,
} from '../../src/plugin/contract.ts';
import { FLOWS, TOPOLOGY } from './firewall.fixture.ts';
import { FLOW_STATE_BYTES } from './firewall.ts';
import { dns, exported, Tested, web } from './tested-firewall.fixture.ts';

describe('limits', () => {
  it('bound the rate of new flows of each source, and give back what time earns', () => {
    const limit = { new_flows: '10/s', burst: 5, per: 'source', exceeded: 'reject' };
    const tested = new Tested({ rules: [{ name: 'web', action: 'accept', limit }] });
    const allowed = (source: string, tries: number): number => {
      let count = 0;
      for (let i = 0; i < tries; i++) if (tested.judge(web(source)) === VERDICT_CONTINUE) count++;
      return count;
    };
    assert.equal(allowed('10.0.1.5', 20), 5);
    assert.equal(tested.reason, 'rules[0] "web": more than 10 new flows in 1 s per source');
    assert.equal(tested.judge(web('10.0.1.5')), VERDICT_REJECT);
    assert.equal(allowed('10.0.1.6', 20), 5);
    tested.nowMs += 200;
    assert.equal(allowed('10.0.1.5', 20), 2);
    tested.nowMs += 3_600_000;
    assert.equal(allowed('10.0.1.5', 20), 5);
    // The same address in another site is somebody else.
    assert.equal(tested.judge(web('10.0.1.5'), FLOWS.internal), VERDICT_CONTINUE);
    assert.ok(tested.counters.limited! > 40);
  });

  it('bound what a rule lets through over an hour, through the wrap of the clock', () => {
    const tested = new Tested({ rules: [{ action: 'accept', limit: { new_flows: '20/h', burst: 3 } }] });
    tested.nowMs = 0x7fffffff - 60_000;
    let allowed = 0;
    for (let minute = 0; minute < 120; minute++) {
      if (tested.judge(web(`10.0.1.${minute}`)) === VERDICT_CONTINUE) allowed++;
      tested.nowMs = (tested.nowMs + 60_000) | 0;
    }
    // Three at once, and twenty an hour.
    assert.ok(allowed >= 42 && allowed <= 43, String(allowed));
  });

  it('bound how many flows live', () => {
    const limit = { concurrent: 3, per: 'source' };
    const tested = new Tested({ rules: [{ action: 'accept', limit }] });
    const judge = (source: string, begins = true): number =>
      tested.judge(web(source), FLOWS.outbound, {}, begins);
    // What something behind the firewall refuses does not live.
    for (let i = 0; i < 5; i++) assert.equal(judge('10.0.1.5', false), VERDICT_CONTINUE);
    for (let i = 0; i < 3; i++) assert.equal(judge('10.0.1.5'), VERDICT_CONTINUE);
    assert.equal(judge('10.0.1.5'), VERDICT_DROP);
    assert.equal(tested.reason, 'rules[0]: more than 3 flows at the same time per source');
    assert.equal(judge('10.0.1.6'), VERDICT_CONTINUE);
    tested.end();
    assert.equal(judge('10.0.1.5'), VERDICT_CONTINUE);
    assert.equal(judge('10.0.1.5'), VERDICT_DROP);
  });

  it('go on for rules of the same name when the options are others, and in another instance', () => {
    const limit = { concurrent: 2 };
    const rule = { name: 'few', action: 'accept', limit };
    const tested = new Tested({ rules: [rule] });
    tested.judge(web());
    tested.configure({
      rules: [
        { match: 'udp', action: 'drop' },
        { ...rule, match: 'tcp' },
      ],
    });
    assert.equal(tested.judge(web()), VERDICT_CONTINUE);
    assert.equal(tested.judge(web()), VERDICT_DROP);
    assert.deepEqual([...tested.firewall.policy!.rules.matches], [0, 3]);
    const next = new Tested({ rules: [rule] });
    next.firewall.importState(exported(tested), '1.0.0', true);
    assert.deepEqual([...next.firewall.policy!.rules.matches], [3]);
    assert.equal(next.judge(web()), VERDICT_DROP);
    // Flows that began before end here, and make room.
    tested.endIn(next);
    assert.equal(next.judge(web()), VERDICT_CONTINUE);
    assert.equal(next.judge(web()), VERDICT_DROP);
  });

  it('forget the flows of a process that was stopped, as these do not know who counted them', () => {
    const rule = { name: 'few', action: 'accept', limit: { concurrent: 2 } };
    const tested = new Tested({ rules: [rule] });
    for (let i = 0; i < 2; i++) assert.equal(tested.judge(web()), VERDICT_CONTINUE);
    const next = new Tested({ rules: [rule] });
    next.firewall.importState(exported(tested), '1.0.0', false);
    assert.deepEqual([...next.firewall.policy!.rules.matches], [2]);
    for (let i = 0; i < 2; i++) {
      next.firewall.flowEnd({ state: new Int32Array(FLOW_STATE_BYTES / 4), stateAt: 0 } as FlowHandle);
      assert.equal(next.judge(web()), VERDICT_CONTINUE);
    }
    assert.equal(next.judge(web()), VERDICT_DROP);
    next.end();
    assert.equal(next.judge(web()), VERDICT_CONTINUE);
  });

  it('leave no debts of a tunnel to the one that gets its number', () => {
    const limit = { new_flows: '1/h', concurrent: 1, per: 'tunnel' };
    const rules = [{ name: 'few', action: 'accept', limit }];
    const tested = new Tested({ rules });
    assert.deepEqual([tested.judge(web()), tested.judge(dns())], [VERDICT_CONTINUE, VERDICT_DROP]);
    const [first, ...others] = TOPOLOGY.ports;
    tested.configure({ rules }, { ...TOPOLOGY, ports: [{ ...first!, generation: 2 }, ...others] });
    assert.deepEqual([tested.judge(web()), tested.judge(dns())], [VERDICT_CONTINUE, VERDICT_DROP]);
    // Its flows end with it, and are not taken for the other one's.
    tested.end();
    assert.equal(tested.judge(dns()), VERDICT_DROP);
  });
});
