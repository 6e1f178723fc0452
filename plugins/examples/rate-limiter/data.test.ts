/** The rate limiter without a gateway. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { PluginFiles } from '../../../src/plugin/module-loader.ts';
import type { DataHalf, DataHalfFactory, FlowSetup, PacketView } from '../../../src/plugin/plugin-api.ts';
import { IPV4, IPV6, VERDICT_CONTINUE, VERDICT_REJECT } from '../../../src/plugin/plugin-api.ts';

/** As a gateway loads it. */
const { createDataHalf } = new PluginFiles(import.meta.dirname).load(
  join(import.meta.dirname, 'data.ts'),
) as {
  createDataHalf: DataHalfFactory;
};

class Rig {
  nowMs = 2 ** 31 - 500;
  refused = 0;
  readonly half: DataHalf;

  constructor(rate: number, burst: number) {
    this.half = createDataHalf({
      name: 'rate-limiter',
      log: () => {},
      counter: () => () => this.refused++,
      reason: () => {},
      nowMs: () => this.nowMs | 0,
      send: () => true,
    });
    this.limit(rate, burst);
  }

  limit(rate: number, burst: number): void {
    this.half.configure({ options: { rate, burst }, topology: { ports: [], spaces: [], maxFlows: 1024 } })();
  }

  /** How many of so many new flows of a source pass. */
  begin(count: number, space = 1, host = 7, rest: Partial<FlowSetup> = {}, family = IPV4): number {
    const packet = { family, src0: 0, src1: 0, src2: 0, src3: host } as PacketView;
    let passed = 0;
    for (let n = 0; n < count; n++) {
      const flow = {
        originatorSpace: space,
        nowMs: this.nowMs | 0,
        hypothetical: false,
        reevaluated: false,
        ...rest,
      } as FlowSetup;
      const verdict = this.half.flowSetup(packet, flow);
      assert.ok(verdict === VERDICT_CONTINUE || verdict === VERDICT_REJECT);
      if (verdict === VERDICT_CONTINUE) passed++;
    }
    return passed;
  }
}

test('a burst, then the rate, also where the clock turns over', () => {
  const rig = new Rig(10, 5);
  assert.equal(rig.begin(8), 5);
  assert.equal(rig.refused, 3);
  rig.nowMs += 300;
  assert.equal(rig.begin(8), 3);
  rig.nowMs += 400;
  assert.equal(rig.begin(8), 4);
  rig.nowMs += 60_000;
  assert.equal(rig.begin(8), 5, 'no more than the burst, however long it waited');
});

test('the same address of another site, or of another family, is another source', () => {
  const rig = new Rig(1, 2);
  assert.deepEqual([rig.begin(3, 1), rig.begin(3, 2), rig.begin(3, 1, 7, {}, IPV6)], [2, 2, 2]);
});

test('questions and flows that are judged anew use nothing up; the latter are never refused', () => {
  const rig = new Rig(1, 1);
  assert.equal(rig.begin(5, 1, 7, { hypothetical: true }), 5);
  assert.equal(rig.begin(5, 1, 7, { reevaluated: true }), 5);
  assert.equal(rig.begin(2), 1);
  assert.equal(rig.begin(5, 1, 7, { hypothetical: true }), 0);
  assert.equal(rig.begin(5, 1, 7, { reevaluated: true }), 5);
  assert.equal(rig.refused, 1);
});

test('questions and flows that are judged anew take no bucket from anybody', () => {
  const rig = new Rig(0.001, 1);
  assert.equal(rig.begin(1, 1, 99), 1);
  rig.nowMs++;
  for (let host = 100; host < 50_100; host++) {
    assert.equal(rig.begin(1, 1, host, { hypothetical: true }), 1);
    assert.equal(rig.begin(1, 1, host, { reevaluated: true }), 1);
  }
  assert.equal(rig.begin(1, 1, 99), 0);
});

test('other options hold from now on, for everybody', () => {
  const rig = new Rig(1, 4);
  assert.equal(rig.begin(9), 4);
  rig.limit(100, 50);
  assert.equal(rig.begin(9), 0, 'what was used up stays used up');
  rig.nowMs += 100;
  assert.equal(rig.begin(90), 10);
  assert.equal(rig.begin(90, 1, 8), 50);
});

test('many sources at once take no more room, and the busy ones keep their buckets', () => {
  const rig = new Rig(0.001, 1);
  assert.equal(rig.begin(2, 1, 99), 1);
  for (let host = 100; host < 200_100; host++) {
    rig.begin(1, 1, host);
    if (host % 1000 === 0) {
      rig.nowMs++;
      assert.equal(rig.begin(1, 1, 99), 0, `after ${host} sources`);
    }
  }
});

test('the view names the emptiest sources', () => {
  const rig = new Rig(1, 3);
  const address = (last: number): number => (last << 24) | 0x01000a;
  rig.begin(1, 1, address(7));
  rig.begin(2, 2, address(8));
  assert.deepEqual(rig.half.query?.('sources', { limit: 1 }), {
    sources: [{ address: '10.0.1.8', space: 2, left: 1 }],
    lines: ['10.0.1.8 in space 2: 1 left'],
  });
});
