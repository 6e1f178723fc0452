import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addFlow, makeKey, makeMemory } from '../../test/support/table-flows.ts';
import { FrameMemory } from '../wire/frame.ts';
import { IPV4, IPV6, PacketView } from '../wire/packet.ts';
import {
  BUDGET_OK,
  BUDGET_PORT_RATE,
  BUDGET_SHARE,
  BUDGET_SITE_SHARE,
  BUDGET_SOURCE_RATE,
  type BudgetLimits,
  Budgets,
} from './budgets.ts';
import { COUNTERS_BYTES, Counters, PORT_FLOWS_CREATED } from './counters.ts';
import { RECORD_WORDS, SHARED_INGRESS } from './layout.ts';
import { FlowTable } from './table.ts';

const NO_LIMITS: BudgetLimits = {
  flowsPerPort: 0,
  ratePerPort: 0,
  ratePerSource: 0,
  flows: 1_000_000,
  sites: [1, 2],
  sharedPorts: [],
};

function make(limits: Partial<BudgetLimits>): Budgets {
  const budgets = new Budgets(new Counters(new Float64Array(COUNTERS_BYTES / 8)), 11, 12);
  budgets.configure({ ...NO_LIMITS, ...limits });
  return budgets;
}

function from(host: number, family = IPV4): PacketView {
  const view = new PacketView(new FrameMemory(new ArrayBuffer(64)));
  view.family = family;
  view.src3 = host;
  return view;
}

/** Asks, and charges the rates if the answer is yes. */
function create(budgets: Budgets, port: number, space: number, view: PacketView, nowMs: number): number {
  const answer = budgets.mayCreate(port, space, view, nowMs);
  if (answer === BUDGET_OK) budgets.charge(port, space, view);
  return answer;
}

/** How many of `asked` flows are allowed at one moment. */
function allowed(budgets: Budgets, port: number, view: PacketView, nowMs: number, asked: number): number {
  let count = 0;
  for (let flow = 0; flow < asked; flow++) {
    if (create(budgets, port, 1, view, nowMs) === BUDGET_OK) count++;
  }
  return count;
}

test('at a port that all sites share each has the rate of a port, whatever its source, and no more', () => {
  const budgets = make({ flowsPerPort: 5, ratePerPort: 10, ratePerSource: 1, sharedPorts: [7] });
  for (let flow = 0; flow < 20; flow++) budgets.flowCreated(7, 1);
  const count = (space: number, nowMs: number): number => {
    let answers = 0;
    for (let flow = 0; flow < 50; flow++)
      if (create(budgets, 7, space, from(1), nowMs) === BUDGET_OK) answers++;
    return answers;
  };
  assert.deepEqual([count(1, 0), count(2, 0), count(1, 500), count(2, 1000)], [10, 10, 5, 10]);
  assert.equal(create(budgets, 7, 1, from(2), 500), BUDGET_PORT_RATE);
  // The port itself has spent nothing.
  budgets.configure({ ...NO_LIMITS, ratePerPort: 10 });
  assert.equal(allowed(budgets, 7, from(3), 1000, 50), 10);
});

test('without limits everything is allowed', () => {
  assert.equal(allowed(make({}), 1, from(1), 0, 10_000), 10_000);
});

test('a port may have its share of flows, and again when they end or move', () => {
  const budgets = make({ flowsPerPort: 3 });
  for (let flow = 0; flow < 3; flow++) {
    assert.equal(create(budgets, 1, 1, from(1), 0), BUDGET_OK);
    budgets.flowCreated(1, 1);
  }
  assert.equal(create(budgets, 1, 1, from(1), 0), BUDGET_SHARE);
  assert.equal(create(budgets, 2, 1, from(1), 0), BUDGET_OK);
  budgets.flowEnded(1, 1);
  assert.equal(create(budgets, 1, 1, from(1), 0), BUDGET_OK);
  budgets.flowCreated(1, 1);
  budgets.flowMoved(1, 2);
  assert.equal(budgets.liveFlows(1), 2);
  assert.equal(budgets.liveFlows(2), 1);
});

test('a rate allows one second at once, then as much as time earns', () => {
  for (const nowMs of [0, 5000, 0x7fffffff - 20, -0x80000000]) {
    const budgets = make({ ratePerPort: 100 });
    assert.equal(allowed(budgets, 1, from(1), nowMs, 1000), 100);
    assert.equal(create(budgets, 1, 1, from(1), nowMs), BUDGET_PORT_RATE);
    assert.equal(allowed(budgets, 1, from(1), (nowMs + 9) | 0, 10), 0);
    assert.equal(allowed(budgets, 1, from(1), (nowMs + 10) | 0, 10), 1);
    assert.equal(allowed(budgets, 1, from(1), (nowMs + 110) | 0, 100), 10);
    assert.equal(allowed(budgets, 2, from(1), nowMs, 1000), 100);
    assert.equal(allowed(budgets, 1, from(1), (nowMs + 100_000) | 0, 1000), 100);
  }
});

test('a bucket that was left alone for weeks is full', () => {
  const budgets = make({ ratePerPort: 5 });
  assert.equal(allowed(budgets, 1, from(1), 0, 10), 5);
  assert.equal(allowed(budgets, 1, from(1), -0x80000000 + 5, 10), 5);
});

test('sources are told apart by space and whole address, in both families', () => {
  const budgets = make({ ratePerSource: 2 });
  const take = (space: number, view: PacketView) => {
    let count = 0;
    while (count < 5 && create(budgets, 1, space, view, 0) === BUDGET_OK) count++;
    return count;
  };
  assert.equal(take(1, from(1)), 2);
  assert.equal(create(budgets, 1, 1, from(1), 0), BUDGET_SOURCE_RATE);
  assert.equal(create(budgets, 7, 1, from(1), 0), BUDGET_SOURCE_RATE);
  assert.equal(take(2, from(1)), 2);
  assert.equal(take(1, from(2)), 2);
  assert.equal(take(1, from(1, IPV6)), 2);
  const high = from(1, IPV6);
  high.src0 = 1;
  assert.equal(take(1, high), 2);
});

test('a refused flow is charged to nobody', () => {
  const budgets = make({ ratePerPort: 10, ratePerSource: 4 });
  assert.equal(allowed(budgets, 1, from(1), 0, 1000), 4);
  assert.equal(allowed(budgets, 1, from(2), 0, 1000), 4);
  assert.equal(allowed(budgets, 1, from(3), 0, 1000), 2);
  // The third was refused by its port: what it has not used it may still use at another one.
  assert.equal(allowed(budgets, 2, from(3), 0, 1000), 2);
});

test('new limits take effect at once', () => {
  const budgets = make({ ratePerPort: 1000 });
  assert.equal(allowed(budgets, 1, from(1), 0, 2000), 1000);
  budgets.configure({ ...NO_LIMITS, ratePerPort: 10 });
  assert.equal(allowed(budgets, 1, from(1), 0, 100), 0);
  assert.equal(allowed(budgets, 1, from(1), 1000, 100), 10);
  budgets.configure(NO_LIMITS);
  assert.equal(allowed(budgets, 1, from(1), 1000, 100), 100);
  assert.throws(() => budgets.configure({ ...NO_LIMITS, ratePerPort: -1 }), RangeError);
  assert.throws(() => budgets.configure({ ...NO_LIMITS, flowsPerPort: Number.NaN }), RangeError);
});

test('no rate lets more through than a burst and what time earns; none is starved', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.integer({ min: 1, max: 300 }), fc.constantFrom(20_000, 1_000_000, 50_000_000)),
      fc.integer(),
      fc.array(
        fc.record({ waitMs: fc.integer({ min: 0, max: 1500 }), ask: fc.integer({ min: 0, max: 400 }) }),
        {
          maxLength: 20,
        },
      ),
      (rate, start, steps) => {
        const budgets = make({ ratePerSource: rate });
        const held = Math.min(rate, 1_000_000);
        let nowMs = start;
        let credit = held * 1000;
        for (const step of steps) {
          nowMs = (nowMs + step.waitMs) | 0;
          credit = Math.min(held * 1000, credit + step.waitMs * held);
          const count = allowed(budgets, 1, from(9), nowMs, step.ask);
          assert.equal(count, Math.min(step.ask, Math.floor(credit / 1000)));
          credit -= count * 1000;
        }
      },
    ),
    { seed: 42, numRuns: 300 },
  );
});

test('live flows are counted anew from the table', () => {
  const memory = makeMemory(8);
  const table = new FlowTable(memory);
  const counters = new Counters(memory.counters);
  const budgets = new Budgets(counters, 1, 2);
  const ports = [1, 1, 700, 1023];
  for (const [host, port] of ports.entries()) {
    const record = addFlow(table, makeKey(1, IPV4, host, 1));
    table.words[record * RECORD_WORDS + SHARED_INGRESS] = (0xffff << 16) | port;
  }
  for (let times = 0; times < 9; times++) budgets.flowCreated(5, 1);
  budgets.rebuild(table);
  assert.deepEqual(
    [0, 1, 5, 700, 1023].map((port) => budgets.liveFlows(port)),
    [0, 2, 0, 1, 1],
  );
  assert.equal(counters.port(5, PORT_FLOWS_CREATED), 9);
});

test('a site with many tunnels leaves the others what they are owed of the table', () => {
  const budgets = make({ flows: 100, sites: [1, 2, 3, 4] });
  let made = 0;
  for (; create(budgets, 1 + (made % 8), 1, from(1), 0) === BUDGET_OK; made++) {
    budgets.flowCreated(1 + (made % 8), 1);
  }
  assert.equal(made, 100 - 3 * 12);
  assert.equal(budgets.mayCreate(9, 1, from(1), 0), BUDGET_SITE_SHARE);
  assert.equal(budgets.mayCreate(9, 77, from(1), 0), BUDGET_SITE_SHARE, 'who is no site is owed nothing');
  for (let flow = 0; flow < 12; flow++) {
    assert.equal(create(budgets, 10, 2, from(2), 0), BUDGET_OK);
    budgets.flowCreated(10, 2);
  }
  assert.equal(budgets.mayCreate(10, 2, from(2), 0), BUDGET_SITE_SHARE);
  budgets.flowEnded(1, 1);
  assert.equal(budgets.mayCreate(10, 2, from(2), 0), BUDGET_OK);
});
