import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  COUNTERS_BYTES,
  Counters,
  PLUGIN_CALLS,
  PLUGIN_FAILURES,
  PLUGIN_TIME_MS,
  PLUGIN_TIMED_CALLS,
} from '../flow/counters.ts';
import {
  type FlowSetup,
  PACKET_DONE,
  PACKET_DROP,
  PACKET_DROP_FLOW,
  PACKET_PASS,
  type PacketHooks,
  RETURN_PINNED,
  STREAM_PASS,
  STREAM_WHOLE,
  VERDICT_ACCEPT,
  VERDICT_CONTINUE,
  VERDICT_DIVERT,
  VERDICT_DROP,
  VERDICT_REJECT,
} from '../plugin/contract.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import {
  HOOK_FLOW_END,
  HOOK_FLOW_SETUP,
  HOOK_INGRESS_CHANGED,
  HOOK_PACKET,
  RunningPlugin,
  runningWord,
} from '../plugin/running-plugin.ts';
import { FrameMemory } from '../wire/frame.ts';
import { PacketView } from '../wire/packet.ts';
import { INSPECT_END, PluginChain } from './plugin-chain.ts';
import { FlowDraft, LiveFlow, type LoadedPlugin } from './plugin-link.ts';
import { PluginMeter } from './plugin-meter.ts';
import { TRIP_WINDOW_MS } from './plugin-standing.ts';

const view = new PacketView(new FrameMemory(new ArrayBuffer(64)));

function plugin(
  name: string,
  setUp: (flow: FlowSetup) => number,
  rest: Partial<PacketHooks> & Partial<LoadedPlugin> = {},
): LoadedPlugin {
  const { phase = 'policy', failurePolicy = {}, ...hooks } = rest;
  return {
    name,
    phase,
    failurePolicy,
    half: { flowSetup: (_view, flow) => setUp(flow), ...hooks },
  };
}

const routing = plugin(
  'routing',
  (flow) => {
    flow.returnRouting = RETURN_PINNED;
    return VERDICT_CONTINUE;
  },
  { phase: 'routing' },
);

interface TestedChain {
  readonly chain: PluginChain;
  readonly failures: string[];
  readonly counters: Counters;
  /** The word that says which plugin is running. */
  readonly running: Int32Array;
}

function chainOf(...plugins: LoadedPlugin[]): TestedChain {
  const failures: string[] = [];
  const counters = new Counters(new Float64Array(COUNTERS_BYTES / 8));
  const running = new RunningPlugin(new Int32Array(1), new Int32Array(1));
  const chain = new PluginChain(
    plugins,
    (failed) => failures.push(failed.name),
    new PluginMeter(counters, running),
  );
  return { chain, failures, counters, running: running.word };
}

const boom = (): never => {
  throw new Error('boom');
};

describe('plugin chain', () => {
  it('runs in order and lets routing run after an accept', () => {
    const order: string[] = [];
    const note = (name: string, verdict: number) =>
      plugin(name, () => {
        order.push(name);
        return verdict;
      });
    const { chain } = chainOf(
      note('a', VERDICT_CONTINUE),
      note('b', VERDICT_ACCEPT),
      note('c', VERDICT_DROP),
      routing,
    );
    const draft = new FlowDraft();
    assert.equal(chain.setUpFlow(view, draft), 0);
    assert.deepEqual(order, ['a', 'b']);
    assert.equal(draft.returnRouting, RETURN_PINNED);
    assert.equal(chain.decider, 2);
  });

  it('says which hook of which plugin is running, and nothing when it has returned or thrown', () => {
    const seen: number[] = [];
    const note = (): void => {
      seen.push(tested.running[0]);
    };
    const second = plugin(
      'b',
      () => {
        note();
        return boom();
      },
      {
        failurePolicy: { exception: 'pass-packet' },
        packet: () => {
          note();
          return PACKET_PASS;
        },
        ingressChanged: note,
        flowEnd: () => {
          note();
          boom();
        },
      },
    );
    const tested = chainOf(routing, second);
    const after: number[] = [];
    const statistics = { packetsOriginator: 0, bytesOriginator: 0, packetsReply: 0, bytesReply: 0 };
    for (const call of [
      () => tested.chain.setUpFlow(view, new FlowDraft()),
      () => tested.chain.inspect(view, new LiveFlow(), 2),
      () => tested.chain.ingressChanged(new LiveFlow()),
      () => tested.chain.flowEnd(new LiveFlow(), statistics),
    ]) {
      call();
      after.push(tested.running[0]);
    }
    const hooks = [HOOK_FLOW_SETUP, HOOK_PACKET, HOOK_INGRESS_CHANGED, HOOK_FLOW_END];
    assert.deepEqual(
      seen.map((word) => word & 0xffff),
      hooks.map((hook) => runningWord(1, hook)),
    );
    assert.deepEqual(after, [0, 0, 0, 0]);
  });

  it('tells of flows that begin only who asked, and a failure there ends nothing', () => {
    const begun: number[] = [];
    const asks = plugin('a', () => VERDICT_CONTINUE, { flowStart: (_view, flow) => begun.push(flow.record) });
    const fails = plugin('b', () => VERDICT_CONTINUE, { flowStart: boom });
    assert.equal(chainOf(routing).chain.watchesStart, false);
    const { chain, failures, running } = chainOf(fails, asks, routing);
    assert.equal(chain.watchesStart, true);
    const flow = new LiveFlow();
    flow.record = 7;
    assert.equal(chain.setUpFlow(view, new FlowDraft()), 0);
    chain.flowStart(view, flow);
    assert.deepEqual(begun, [7]);
    assert.deepEqual(failures, ['b']);
    assert.equal(running[0], 0);
  });

  it('takes more bytes than can be counted for all of them', () => {
    const wishes = plugin(
      'a',
      (flow) => {
        flow.streamOriginator = 2 ** 32;
        return VERDICT_CONTINUE;
      },
      { stream: () => STREAM_PASS },
    );
    const { chain } = chainOf(wishes, routing);
    assert.equal(chain.setUpFlow(view, new FlowDraft()), 0);
    assert.equal(chain.streamWishes.any, true);
    assert.equal(chain.streamWishes.limits[0], STREAM_WHOLE);
  });

  it('gives no flow without a decision on its replies', () => {
    const { chain } = chainOf(plugin('a', () => VERDICT_ACCEPT));
    assert.equal(chain.setUpFlow(view, new FlowDraft()), DROP.no_pin);
  });

  for (const [verdict, reason, told] of [
    [VERDICT_DROP, DROP.policy, false],
    [VERDICT_REJECT, DROP.policy_reject, true],
    [VERDICT_DIVERT, DROP.verdict_unsupported, false],
    [99, DROP.verdict_unsupported, false],
    [-1, DROP.verdict_unsupported, false],
    [null as never, DROP.verdict_unsupported, false],
    [false as never, DROP.verdict_unsupported, false],
    [undefined as never, DROP.verdict_unsupported, false],
  ] as const) {
    it(`verdict ${verdict} refuses`, () => {
      const { chain } = chainOf(
        plugin('a', () => verdict),
        routing,
      );
      assert.equal(chain.setUpFlow(view, new FlowDraft()), reason);
      assert.equal(chain.reject, told);
    });
  }

  it('fails closed, or open where the policy says so', () => {
    const closed = chainOf(plugin('a', boom), routing);
    assert.equal(closed.chain.setUpFlow(view, new FlowDraft()), DROP.plugin_failed);
    assert.deepEqual(closed.failures, ['a']);
    const open = chainOf(plugin('a', boom, { failurePolicy: { exception: 'pass-packet' } }), routing);
    assert.equal(open.chain.setUpFlow(view, new FlowDraft()), 0);
    assert.deepEqual(open.failures, ['a']);
  });

  it('shows packets to those who asked until they are done', () => {
    let answer = PACKET_PASS;
    let seen = 0;
    const wants = plugin(
      'a',
      (flow) => {
        flow.wantsPackets = true;
        return VERDICT_CONTINUE;
      },
      {
        packet: () => {
          seen++;
          return answer;
        },
      },
    );
    const { chain } = chainOf(
      plugin('b', () => VERDICT_CONTINUE),
      wants,
      routing,
    );
    assert.equal(chain.setUpFlow(view, new FlowDraft()), 0);
    assert.equal(chain.wanted, 0b10);
    const flow = new LiveFlow();
    assert.equal(chain.inspect(view, flow, 0b10), 0);
    assert.equal(chain.still, 0b10);
    answer = PACKET_DROP;
    assert.equal(chain.inspect(view, flow, 0b10), -1);
    answer = PACKET_DROP_FLOW;
    assert.equal(chain.inspect(view, flow, 0b10), -2);
    answer = PACKET_DONE;
    assert.equal(chain.inspect(view, flow, 0b10), 0);
    assert.equal(chain.still, 0);
    assert.equal(seen, 4);
  });

  it('drops the packet when a plugin throws on it', () => {
    const { chain, failures } = chainOf(
      plugin('a', () => VERDICT_CONTINUE, { packet: boom, flowEnd: boom }),
      routing,
    );
    assert.equal(chain.inspect(view, new LiveFlow(), 1), INSPECT_END);
    chain.flowEnd(new LiveFlow(), {
      packetsOriginator: 0,
      bytesOriginator: 0,
      packetsReply: 0,
      bytesReply: 0,
    });
    assert.deepEqual(failures, ['a', 'a']);
  });

  it('counts calls and failures by plugin, and the time of some of them', () => {
    const spin = plugin('spin', () => {
      const untilMs = performance.now() + 0.05;
      while (performance.now() < untilMs) {
        // Takes its time.
      }
      return VERDICT_CONTINUE;
    });
    const { chain, counters } = chainOf(
      spin,
      plugin('bad', boom, { failurePolicy: { exception: 'pass-packet' } }),
      routing,
    );
    for (let i = 0; i < PLUGIN_TIMED_CALLS; i++) {
      assert.equal(counters.plugin(0, PLUGIN_TIME_MS), 0);
      const draft = new FlowDraft();
      // So rarely that nothing is tripped.
      draft.nowMs = i * TRIP_WINDOW_MS;
      assert.equal(chain.setUpFlow(view, draft), 0);
    }
    for (const place of [0, 1, 2]) assert.equal(counters.plugin(place, PLUGIN_CALLS), PLUGIN_TIMED_CALLS);
    assert.deepEqual(
      [0, 1, 2].map((place) => counters.plugin(place, PLUGIN_FAILURES)),
      [0, PLUGIN_TIMED_CALLS, 0],
    );
    // One call stands for all of them.
    assert.ok(counters.plugin(0, PLUGIN_TIME_MS) >= 0.05 * PLUGIN_TIMED_CALLS);
  });
});
