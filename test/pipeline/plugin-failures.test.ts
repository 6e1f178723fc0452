/** Every cause of failure with every action: what becomes of the packet, of its flow, and who counts it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { COUNTER, PLUGIN_FAILURES, PLUGIN_FAILURES_BY_CAUSE } from '../../src/flow/counters.ts';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import { PluginStanding, TRIP_FAILURES } from '../../src/pipeline/plugin-standing.ts';
import {
  FAILURE_ACTIONS,
  FAILURE_CAUSES,
  type FailureAction,
  type FailureCause,
  PACKET_MIDSTREAM,
  PACKET_PASS,
  PACKET_UNPARSABLE,
  VERDICT_CONTINUE,
  VERDICT_HOLD,
  VERDICT_UNPARSABLE,
} from '../../src/plugin/contract.ts';
import { MemoryGateway } from '../support/memory-gateway.ts';

/** A plugin that fails when it is told to. */
class Failing {
  failsAt: 'nowhere' | 'flowSetup' | 'packet' = 'nowhere';
  shown = 0;
  readonly standing = new PluginStanding(8);
  readonly gateway: MemoryGateway;
  private readonly cause: FailureCause;

  constructor(cause: FailureCause, action: FailureAction) {
    this.cause = cause;
    const plugin: LoadedPlugin = {
      name: 'failing',
      phase: 'policy',
      standing: this.standing,
      failurePolicy: { [cause]: action },
      half: {
        flowSetup: (_packet, flow) => {
          flow.wantsPackets = true;
          if (this.failsAt !== 'flowSetup') return VERDICT_CONTINUE;
          if (cause === 'timeout') {
            flow.holdDefault = VERDICT_CONTINUE;
            flow.holdMs = 1;
            return VERDICT_HOLD;
          }
          this.fail();
          return VERDICT_UNPARSABLE;
        },
        packet: () => {
          this.shown++;
          if (this.failsAt !== 'packet') return PACKET_PASS;
          this.fail();
          return cause === 'midstream' ? PACKET_MIDSTREAM : PACKET_UNPARSABLE;
        },
      },
    };
    this.gateway = new MemoryGateway({
      sites: [{ name: 'paris', prefixes: ['10.0.1.0/24'] }],
      egress: [{ name: 'internet', pools: [{ address: '198.51.100.1' }] }],
      policyPlugins: [plugin],
    });
  }

  private fail(): void {
    if (this.cause === 'exception') throw new Error('fails');
    if (this.cause === 'memory') new ArrayBuffer(2 ** 52);
  }

  count(): number {
    const { counters } = this.gateway.assembly;
    const byCause = FAILURE_CAUSES.map((_, at) => counters.plugin(0, PLUGIN_FAILURES_BY_CAUSE + at));
    assert.equal(
      byCause.reduce((sum, value) => sum + value, 0),
      byCause[FAILURE_CAUSES.indexOf(this.cause)],
      'no other cause was counted',
    );
    assert.equal(counters.plugin(0, PLUGIN_FAILURES), byCause[FAILURE_CAUSES.indexOf(this.cause)]);
    assert.equal(counters.global(COUNTER.plugin_failures), counters.plugin(0, PLUGIN_FAILURES));
    return counters.plugin(0, PLUGIN_FAILURES);
  }

  /** A packet of a flow: the first, or another. */
  send(sourcePort = 5000) {
    return this.gateway.send('paris', {
      source: '10.0.1.10',
      destination: '203.0.113.10',
      transport: { kind: 'udp', sourcePort, destinationPort: 53 },
    });
  }
}

const passes = (action: FailureAction): boolean => action.startsWith('pass');

describe('a failure in flowSetup', () => {
  for (const cause of ['exception', 'memory', 'unparsable'] as const) {
    for (const action of FAILURE_ACTIONS) {
      it(`by ${cause}: ${action}`, () => {
        const failing = new Failing(cause, action);
        failing.failsAt = 'flowSetup';
        const sent = failing.send();
        assert.equal(failing.count(), 1);
        assert.equal(failing.gateway.flows, passes(action) ? 1 : 0);
        const to = passes(action) ? ['internet'] : action === 'reject' ? ['paris'] : [];
        assert.deepEqual(
          sent.map(({ port }) => port),
          to,
        );
        assert.deepEqual(failing.gateway.drops('paris'), passes(action) ? {} : { plugin_failed: 1 });
        // The next one is judged anew where there is no flow.
        failing.failsAt = 'nowhere';
        if (!passes(action)) assert.equal(failing.send().length, 1);
        failing.shown = 0;
        failing.send();
        assert.equal(failing.shown, action === 'pass-flow' ? 0 : 1);
      });
    }
  }

  it('by timeout: the default that was given with the flow', () => {
    const failing = new Failing('timeout', 'drop-flow');
    failing.failsAt = 'flowSetup';
    failing.send();
    assert.equal(failing.gateway.flows, 0);
    failing.gateway.pass(20);
    assert.equal(failing.count(), 1);
    assert.equal(failing.gateway.flows, 1);
  });
});

describe('a failure in packet', () => {
  for (const cause of ['exception', 'memory', 'midstream', 'unparsable'] as const) {
    for (const action of FAILURE_ACTIONS) {
      it(`by ${cause}: ${action}`, () => {
        const failing = new Failing(cause, action);
        failing.send();
        failing.failsAt = 'packet';
        const sent = failing.send();
        assert.equal(failing.count(), 1);
        const to = passes(action) ? ['internet'] : action === 'reject' ? ['paris'] : [];
        assert.deepEqual(
          sent.map(({ port }) => port),
          to,
        );
        const lives = passes(action) || action === 'drop-packet';
        assert.equal(failing.gateway.flows, lives ? 1 : 0);
        assert.deepEqual(failing.gateway.drops('paris'), passes(action) ? {} : { plugin_failed: 1 });
        failing.failsAt = 'nowhere';
        failing.shown = 0;
        failing.send();
        assert.equal(failing.shown, lives && action !== 'pass-flow' ? 1 : 0);
      });
    }
  }
});

describe('a plugin that fails again and again', () => {
  it('is tripped, and its policy for exceptions acts in its place', () => {
    for (const action of ['pass-flow', 'drop-flow', 'reject'] as const) {
      const failing = new Failing('exception', action);
      failing.send();
      failing.failsAt = 'flowSetup';
      for (let port = 0; port < TRIP_FAILURES; port++) failing.send(6000 + port);
      assert.equal(failing.standing.isTripped, true);
      assert.deepEqual(failing.standing.trip, {
        cause: 'exception',
        message: `it failed ${TRIP_FAILURES} times in 1 s, at last: fails`,
      });
      assert.equal(failing.gateway.failures.at(-1)!.trips, true);
      failing.failsAt = 'nowhere';
      failing.shown = 0;
      assert.equal(failing.send(7000).length, action === 'drop-flow' ? 0 : 1);
      assert.equal(failing.send().length, action === 'drop-flow' ? 0 : 1);
      assert.equal(failing.shown, 0);
      // What it would have been shown is no failure of its.
      assert.equal(failing.count(), TRIP_FAILURES);
      failing.standing.reset();
      assert.equal(failing.send(8000)[0]!.port, 'internet');
    }
  });

  it('is not tripped by what says nothing about it, nor by failures that are far apart', () => {
    const unparsable = new Failing('unparsable', 'pass-packet');
    unparsable.failsAt = 'flowSetup';
    for (let port = 0; port < 50; port++) unparsable.send(6000 + port);
    assert.equal(unparsable.standing.isTripped, false);
    const rare = new Failing('exception', 'pass-packet');
    rare.failsAt = 'flowSetup';
    for (let port = 0; port < 50; port++) {
      rare.send(6000 + port);
      rare.gateway.pass(1200);
    }
    assert.equal(rare.standing.isTripped, false);
  });
});

it('asks a plugin only about flows that come in by its ports', () => {
  const asked: string[] = [];
  const plugin = (name: string, ports: LoadedPlugin['ports']): LoadedPlugin => ({
    name,
    phase: 'policy',
    ...(ports === undefined ? {} : { ports }),
    half: {
      flowSetup: () => {
        asked.push(name);
        return VERDICT_CONTINUE;
      },
    },
  });
  const gateway = new MemoryGateway({
    sites: ['paris', 'lyon'].map((name) => ({ name, prefixes: ['10.0.1.0/24'] })),
    egress: [{ name: 'internet', pools: [{ address: '198.51.100.1' }] }],
    policyPlugins: [plugin('all', 'all'), plugin('paris', ['paris']), plugin('none', [])],
  });
  for (const site of ['paris', 'lyon']) {
    const transport = { kind: 'udp', sourcePort: 5000, destinationPort: 53 } as const;
    const sent = gateway.send(site, { source: '10.0.1.10', destination: '203.0.113.10', transport });
    assert.equal(sent.length, 1);
  }
  assert.deepEqual(asked, ['all', 'paris', 'all']);
});

it('keeps the state that plugins have of flows, each its own, zeroed for the next flow', () => {
  const seen: [string, number, number][] = [];
  const plugin = (name: string, words: number): LoadedPlugin => ({
    name,
    phase: 'policy',
    standing: new PluginStanding(words * 4),
    half: {
      flowSetup: ({ sourcePort }, flow) => {
        assert.equal(flow.state[flow.stateAt], 0);
        flow.wantsPackets = true;
        flow.state[flow.stateAt] = sourcePort;
        flow.state[flow.stateAt + words - 1] = sourcePort + words;
        return VERDICT_CONTINUE;
      },
      packet: (_packet, { state, stateAt }) => {
        seen.push([name, state[stateAt]!, state[stateAt + words - 1]!]);
        return PACKET_PASS;
      },
      flowEnd: (flow) => {
        seen.push([`${name} end`, flow.state[flow.stateAt]!, 0]);
      },
    },
  });
  const gateway = new MemoryGateway({
    sites: [{ name: 'paris', prefixes: ['10.0.1.0/24'] }],
    egress: [{ name: 'internet', pools: [{ address: '198.51.100.1' }] }],
    policyPlugins: [plugin('two', 2), plugin('sixteen', 16)],
  });
  const send = (sourcePort: number): void => {
    const transport = { kind: 'udp', sourcePort, destinationPort: 53 } as const;
    gateway.send('paris', { source: '10.0.1.10', destination: '203.0.113.10', transport });
  };
  for (const port of [5000, 6000, 5000, 6000]) send(port);
  assert.deepEqual(seen.splice(0), [
    ['two', 5000, 5002],
    ['sixteen', 5000, 5016],
    ['two', 6000, 6002],
    ['sixteen', 6000, 6016],
  ]);
  gateway.assembly.flush(() => true, gateway.nowMs);
  assert.deepEqual(seen.map(([name, first]) => [name, first]).sort(), [
    ['sixteen end', 5000],
    ['sixteen end', 6000],
    ['two end', 5000],
    ['two end', 6000],
  ]);
});
