/** Flows that wait for a plugin's control half: what goes on, when, and as what. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PLUGIN_FAILURES_BY_CAUSE } from '../../src/flow/counters.ts';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import { PluginStanding } from '../../src/pipeline/plugin-standing.ts';
import {
  PACKET_PASS,
  VERDICT_ACCEPT,
  VERDICT_CONTINUE,
  VERDICT_DROP,
  VERDICT_HOLD,
  VERDICT_REJECT,
} from '../../src/plugin/contract.ts';
import { CAUSE_MEMORY, CAUSE_TIMEOUT } from '../../src/plugin/failure-numbers.ts';
import { buildFragments, buildPacket, type PacketSpec } from '../../src/wire/build.ts';
import { TCP_SYN } from '../../src/wire/packet.ts';
import {
  MemoryGateway,
  type MemoryGatewayOptions,
  memoryPlan,
  returnRouting,
} from '../support/memory-gateway.ts';

/** Holds everything, and remembers the tokens; before and behind it stand others that say what they see. */
class Bench {
  readonly tokens: number[] = [];
  readonly seen: string[] = [];
  readonly states: number[] = [];
  holdMs = 500;
  holdDefault = VERDICT_DROP;
  readonly gateway: MemoryGateway;
  readonly options: MemoryGatewayOptions;

  constructor(
    rest: Partial<MemoryGatewayOptions> = {},
    memoryAction: 'drop-flow' | 'pass-flow' = 'drop-flow',
  ) {
    const standing = new PluginStanding(4);
    const bystander = (name: string): LoadedPlugin => ({
      name,
      phase: 'policy',
      standing: new PluginStanding(),
      half: {
        flowSetup: ({ destinationPort }) => {
          this.seen.push(`${name} ${destinationPort}`);
          return VERDICT_CONTINUE;
        },
      },
    });
    const holder: LoadedPlugin = {
      name: 'holder',
      phase: 'policy',
      standing,
      failurePolicy: { memory: memoryAction },
      half: {
        flowSetup: (_packet, flow) => {
          flow.holdMs = this.holdMs;
          flow.holdDefault = this.holdDefault;
          flow.wantsPackets = true;
          flow.state[flow.stateAt] = 40 + this.tokens.length;
          this.tokens.push(flow.holdToken);
          return VERDICT_HOLD;
        },
        packet: (_packet, flow) => {
          this.states.push(flow.state[flow.stateAt]!);
          return PACKET_PASS;
        },
      },
    };
    this.options = {
      sites: [
        { name: 'paris', prefixes: ['10.0.1.0/24'] },
        { name: 'lyon', prefixes: ['10.0.1.0/24'] },
      ],
      egress: [{ name: 'internet', pools: [{ address: '198.51.100.1' }] }],
      policyPlugins: [bystander('before'), holder, bystander('behind')],
      maxFlows: 4096,
      ...rest,
    };
    this.gateway = new MemoryGateway(this.options);
  }

  decide(token: number, verdict: number, place = 1) {
    const { assembly, nowMs } = this.gateway;
    assembly.beginBurst();
    assembly.pipeline.held.decide(place, token, verdict, assembly.ports, nowMs);
    return this.gateway.run();
  }

  get held(): number {
    return this.gateway.assembly.pipeline.held.count;
  }

  failures(cause: number): number {
    return this.gateway.assembly.counters.plugin(1, PLUGIN_FAILURES_BY_CAUSE + cause);
  }
}

function udp(sourcePort: number, destinationPort = 53, payloadBytes?: number): PacketSpec {
  const question = new TextEncoder().encode('question');
  const payload = payloadBytes === undefined ? question : new Uint8Array(payloadBytes);
  return {
    source: '10.0.1.10',
    destination: '203.0.113.10',
    transport: { kind: 'udp', sourcePort, destinationPort, payload },
  };
}

describe('a flow that a plugin holds', () => {
  it('waits, and goes on behind that plugin with what was decided', () => {
    const bench = new Bench();
    const { gateway } = bench;
    for (const site of ['paris', 'lyon']) assert.deepEqual(gateway.send(site, udp(5000)), []);
    assert.equal(bench.held, 2);
    assert.deepEqual(bench.seen, ['before 53', 'before 53']);
    assert.deepEqual(gateway.drops('paris'), {});
    const [paris, lyon] = bench.tokens as [number, number];
    const [sent, ...more] = bench.decide(lyon, VERDICT_CONTINUE);
    assert.equal(more.length, 0);
    assert.equal(sent!.port, 'internet');
    assert.equal(new TextDecoder().decode(sent!.payload), 'question');
    assert.deepEqual(bench.seen, ['before 53', 'before 53', 'behind 53']);
    // Its reply goes where the flow came from, and the plugin knows it.
    const reply = gateway.send('internet', {
      source: '203.0.113.10',
      destination: sent!.source,
      transport: { kind: 'udp', sourcePort: 53, destinationPort: sent!.sourcePort },
    });
    assert.deepEqual(
      reply.map(({ port, destination }) => [port, destination]),
      [['lyon', '10.0.1.10']],
    );
    assert.deepEqual(bench.states, [41]);
    assert.equal(bench.held, 1);
    // Twice is once.
    assert.deepEqual(bench.decide(lyon, VERDICT_CONTINUE), []);
    assert.equal(bench.decide(paris, VERDICT_ACCEPT).length, 1);
    assert.deepEqual(bench.seen, ['before 53', 'before 53', 'behind 53']);
    assert.equal(gateway.flows, 2);
  });

  it('is dropped or rejected when that is decided', () => {
    const bench = new Bench();
    const { gateway } = bench;
    gateway.send('paris', udp(5000));
    assert.deepEqual(bench.decide(bench.tokens[0]!, VERDICT_DROP), []);
    assert.deepEqual(gateway.drops('paris'), { policy: 1 });
    gateway.send('paris', {
      source: '10.0.1.10',
      destination: '203.0.113.10',
      transport: { kind: 'tcp', sourcePort: 6000, destinationPort: 443, flags: TCP_SYN, sequence: 7 },
    });
    const [reset] = bench.decide(bench.tokens[1]!, VERDICT_REJECT);
    assert.equal(reset!.port, 'paris');
    assert.equal(gateway.flows, 0);
    assert.deepEqual(gateway.drops('paris'), { policy: 1, policy_reject: 1 });
  });

  it('has its other packets dropped meanwhile; those of another site with the same tuple are another flow', () => {
    const bench = new Bench();
    const { gateway } = bench;
    for (const site of ['paris', 'paris', 'paris', 'lyon']) gateway.send(site, udp(5000));
    assert.equal(bench.tokens.length, 2);
    assert.deepEqual(gateway.drops('paris'), { held: 2 });
    assert.deepEqual(gateway.drops('lyon'), {});
  });

  for (const [verdict, flows] of [
    [VERDICT_DROP, 0],
    [VERDICT_CONTINUE, 1],
    [VERDICT_HOLD, 0],
    [77, 0],
  ] as const) {
    it(`goes on by its default (${verdict}) when nobody has decided in time`, () => {
      const bench = new Bench();
      bench.holdDefault = verdict;
      bench.gateway.send('paris', udp(5000));
      bench.gateway.pass(400);
      assert.equal(bench.held, 1);
      bench.gateway.pass(200);
      assert.equal(bench.gateway.run().length, flows);
      assert.equal(bench.gateway.flows, flows);
      assert.equal(bench.held, 0);
      assert.equal(bench.failures(CAUSE_TIMEOUT), 1);
      assert.deepEqual(bench.decide(bench.tokens[0]!, VERDICT_CONTINUE), []);
    });
  }

  it('waits no longer than anything may', () => {
    const bench = new Bench();
    bench.holdMs = 1e9;
    bench.gateway.send('paris', udp(5000));
    bench.gateway.pass(4990);
    assert.equal(bench.held, 1);
    bench.gateway.pass(20);
    assert.equal(bench.held, 0);
  });

  it('is one of so many: what is beyond acts by the policy for memory', () => {
    for (const [action, passed] of [
      ['drop-flow', 0],
      ['pass-flow', 216],
    ] as const) {
      const bench = new Bench({}, action);
      let sent = 0;
      for (let port = 0; port < 600; port++) sent += bench.gateway.send('paris', udp(5000 + port)).length;
      // Of 512 a quarter is lyon's, whatever paris does.
      assert.equal(bench.held, 384);
      assert.equal(sent, passed);
      assert.equal(bench.failures(CAUSE_MEMORY), 216);
      for (let port = 0; port < 200; port++) bench.gateway.send('lyon', udp(5000 + port));
      assert.equal(bench.held, 512);
    }
  });

  it('takes more of what there is if its packet is long', () => {
    const bench = new Bench();
    const send = (site: string, port: number): void => {
      const packet = buildPacket(udp(port, 53, 65_000));
      for (const fragment of buildFragments(packet, 1400, port)) bench.gateway.sendBytes(site, fragment);
    };
    for (let port = 0; port < 40; port++) send('paris', 5000 + port);
    assert.equal(bench.held, 384 / 16);
    send('lyon', 5000);
    assert.equal(bench.held, 384 / 16 + 1);
  });

  it('cannot be decided on by another plugin', () => {
    const bench = new Bench();
    bench.gateway.send('paris', udp(5000));
    assert.deepEqual(bench.decide(bench.tokens[0]!, VERDICT_CONTINUE, 0), []);
    assert.equal(bench.held, 1);
  });

  it('has paid for its creation when it began to wait', () => {
    const bench = new Bench({ flowTable: { createRatePerTunnel: 2 } });
    for (const port of [5000, 5001]) bench.gateway.send('paris', udp(port));
    bench.gateway.send('paris', udp(5002));
    assert.deepEqual(bench.gateway.drops('paris'), { tunnel_rate: 1 });
    for (const token of bench.tokens) assert.equal(bench.decide(token, VERDICT_CONTINUE).length, 1);
  });

  it('is shown no more to a plugin that has no room for it and lets it pass', () => {
    const bench = new Bench({}, 'pass-flow');
    for (let port = 0; port < 513; port++) bench.gateway.send('paris', udp(5000 + port));
    assert.equal(bench.gateway.send('paris', udp(5512)).length, 1);
    assert.deepEqual(bench.states, []);
  });

  it('goes where it led when it was judged, or begins anew', () => {
    const bench = new Bench();
    const { gateway } = bench;
    const same = { ...returnRouting(), standing: new PluginStanding() };
    const plugins = [...bench.options.policyPlugins!, same];
    gateway.assembly.apply(gateway.plan, plugins, gateway.nowMs);
    for (const port of [5000, 5001]) gateway.send('paris', udp(port));
    gateway.assembly.apply(gateway.plan, plugins, gateway.nowMs);
    assert.equal(bench.held, 2);
    assert.equal(bench.decide(bench.tokens[0]!, VERDICT_CONTINUE)[0]?.port, 'internet');
    const routes = [{ prefix: '203.0.113.0/24', via: 'lyon' }];
    gateway.assembly.apply(memoryPlan({ ...bench.options, routes }, 3), plugins, gateway.nowMs);
    assert.deepEqual(bench.decide(bench.tokens[1]!, VERDICT_CONTINUE), []);
    assert.deepEqual(gateway.drops('paris'), { held: 1 });
    assert.equal(gateway.flows, 1);
  });

  it('survives a plan with the same plugins, and ends with one that has others', () => {
    const bench = new Bench();
    bench.gateway.send('paris', udp(5000));
    bench.gateway.reconfigure(bench.options);
    // A gateway makes another return routing for every plan: that is another plugin.
    assert.equal(bench.held, 0);
    assert.deepEqual(bench.gateway.drops('paris'), { held: 1 });
  });
});
