/** Live flows judged anew: who ends, who stays, and with what. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { COUNTER, PLUGIN_FAILURES_BY_CAUSE } from '../../src/flow/counters.ts';
import { FLOW_WIRE_PACKETS, RECORD_WORDS, SHARED_PLUGINS, SHARED_STATE } from '../../src/flow/layout.ts';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import { PluginStanding } from '../../src/pipeline/plugin-standing.ts';
import {
  type FailureAction,
  STREAM_DONE,
  STREAM_PASS,
  STREAM_WHOLE,
  VERDICT_CONTINUE,
  VERDICT_DROP,
  VERDICT_HOLD,
} from '../../src/plugin/contract.ts';
import { CAUSE_MIDSTREAM } from '../../src/plugin/failure-numbers.ts';
import { HOOK_FLOW_SETUP } from '../../src/plugin/running-plugin.ts';
import type { PacketSpec } from '../../src/wire/build.ts';
import { TCP_SYN } from '../../src/wire/packet.ts';
import { MemoryGateway, returnRouting } from '../support/memory-gateway.ts';
import { pattern, ReadingPlugin, StreamConnection, streamGateway } from '../support/stream-gateway.ts';

/** Judges by a function that may be another one later; keeps in each flow's state how often it was asked. */
class Bench {
  verdict: (port: number) => number = () => VERDICT_CONTINUE;
  readsStreams = false;
  readonly asked: [number, number, boolean][] = [];
  readonly gateway: MemoryGateway;

  constructor(midstream?: FailureAction) {
    const plugin: LoadedPlugin = {
      name: 'judge',
      phase: 'policy',
      standing: new PluginStanding(4),
      failurePolicy: midstream === undefined ? {} : { midstream },
      half: {
        flowSetup: ({ destinationPort }, flow) => {
          const times = ++flow.state[flow.stateAt]!;
          this.asked.push([destinationPort, times, flow.reevaluated]);
          flow.wantsPackets = true;
          if (this.readsStreams) flow.streamOriginator = STREAM_WHOLE;
          flow.holdDefault = VERDICT_DROP;
          return this.verdict(destinationPort);
        },
        packet: () => 0,
        ...(midstream === undefined ? {} : { stream: () => STREAM_PASS }),
      },
    };
    this.gateway = new MemoryGateway({
      sites: [
        { name: 'paris', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
        { name: 'lyon', prefixes: ['10.0.1.0/24'] },
      ],
      egress: [
        {
          name: 'internet',
          pools: [{ address: '198.51.100.1' }, { address: '2001:db8:100::1' }],
          portForwards: [
            {
              protocol: 'udp',
              address: '198.51.100.1',
              port: 900,
              to: { site: 'lyon', address: '10.0.1.20', port: 9000 },
            },
          ],
        },
      ],
      policyPlugins: [plugin],
      scratchBytes: (midstream === undefined ? 8 : 64) * 1024 * 1024,
    });
  }

  run(): { flows: number; ended: number } {
    return judgeAll(this.gateway);
  }
}

function judgeAll({ assembly, nowMs }: MemoryGateway): { flows: number; ended: number } {
  const { run, step } = assembly.reevaluation();
  while (!step(nowMs, 1));
  return { flows: run.flows, ended: run.ended };
}

function udp(source: string, destination: string, destinationPort: number): PacketSpec {
  return { source, destination, transport: { kind: 'udp', sourcePort: 5000, destinationPort } };
}

const HOST = '10.0.1.10';
const SERVER = '203.0.113.10';

describe('judging live flows anew', () => {
  it('ends those that would be refused, and leaves pin and translation of the others', () => {
    const bench = new Bench();
    const { gateway } = bench;
    const first = ['paris', 'lyon'].map((site) => gateway.send(site, udp(HOST, SERVER, 53))[0]!);
    for (const site of ['paris', 'lyon']) gateway.send(site, udp(HOST, SERVER, 123));
    gateway.send('paris', udp('fd00:1::10', '2001:db8:113::10', 53));
    gateway.send('internet', udp(SERVER, '198.51.100.1', 900));
    gateway.send('paris', {
      source: HOST,
      destination: SERVER,
      transport: { kind: 'tcp', sourcePort: 5000, destinationPort: 123, flags: TCP_SYN, sequence: 1 },
    });
    gateway.send('paris', {
      source: HOST,
      destination: SERVER,
      transport: { kind: 'icmp', type: 8, rest: (77 << 16) | 1 },
    });
    assert.equal(gateway.flows, 8);
    bench.asked.length = 0;
    bench.verdict = (port) => (port === 123 ? VERDICT_DROP : VERDICT_CONTINUE);
    assert.deepEqual(bench.run(), { flows: 8, ended: 3 });
    assert.equal(gateway.flows, 5);
    // With the state that it has, and as what began it.
    assert.deepEqual(bench.asked.map(([port]) => port).sort(), [0, 123, 123, 123, 53, 53, 53, 900].sort());
    assert.ok(bench.asked.every(([, times, reevaluated]) => times === 2 && reevaluated));
    first.forEach((sent, at) => {
      const [reply] = gateway.send('internet', {
        source: SERVER,
        destination: sent.source,
        transport: { kind: 'udp', sourcePort: 53, destinationPort: sent.sourcePort },
      });
      assert.equal(reply!.port, ['paris', 'lyon'][at]);
    });
  });

  it('takes a hold for its default: a live flow does not wait', () => {
    const bench = new Bench();
    bench.gateway.send('paris', udp(HOST, SERVER, 53));
    bench.verdict = () => VERDICT_HOLD;
    assert.deepEqual(bench.run(), { flows: 1, ended: 1 });
  });

  it('asks again who wants packets', () => {
    const bench = new Bench();
    const { words } = bench.gateway.assembly.state.table;
    bench.gateway.send('paris', udp(HOST, SERVER, 53));
    const record = bench.gateway.assembly.state.table.next(-1);
    words[record * RECORD_WORDS + SHARED_PLUGINS] = 0;
    assert.deepEqual(bench.run(), { flows: 1, ended: 0 });
    assert.equal(words[record * RECORD_WORDS + SHARED_PLUGINS], 1);
  });

  for (const [action, ended] of [
    ['drop-flow', 1],
    ['pass-flow', 0],
  ] as const) {
    it(`is midstream for a plugin that reads the stream from now on: ${action}`, () => {
      const bench = new Bench(action);
      bench.gateway.send('paris', {
        source: HOST,
        destination: SERVER,
        transport: { kind: 'tcp', sourcePort: 5000, destinationPort: 443, flags: TCP_SYN, sequence: 1 },
      });
      bench.readsStreams = true;
      assert.deepEqual(bench.run(), { flows: 1, ended });
      assert.equal(bench.gateway.assembly.counters.plugin(0, PLUGIN_FAILURES_BY_CAUSE + CAUSE_MIDSTREAM), 1);
    });
  }

  it('judges again the flow at which a plugin was ended: by its policy', () => {
    const bench = new Bench();
    const { gateway } = bench;
    for (const port of [53, 54, 55]) gateway.send('paris', udp(HOST, SERVER, port));
    // As the watchdog does it: nothing on the way catches that.
    gateway.failures.push = () => assert.fail('ended');
    bench.verdict = (port) => (port === 54 ? assert.fail() : VERDICT_CONTINUE);
    const { run, step } = gateway.assembly.reevaluation();
    assert.throws(() => step(gateway.nowMs, 1), { message: 'ended' });
    gateway.failures.push = () => 0;
    gateway.assembly.chain.stalled(0, HOOK_FLOW_SETUP, 200);
    while (!step(gateway.nowMs, 1));
    assert.deepEqual([run.flows, run.ended, gateway.flows], [3, 2, 1]);
  });

  it('is done in stretches', () => {
    const bench = new Bench();
    for (let port = 0; port < 100; port++) bench.gateway.send('paris', udp(HOST, SERVER, 1000 + port));
    const { run, step } = bench.gateway.assembly.reevaluation();
    let steps = 1;
    while (!step(bench.gateway.nowMs, 0)) steps++;
    assert.equal(run.flows, 100);
    assert.equal(steps, 7);
  });
});

describe('judging flows anew whose bytes plugins read', () => {
  const midstreams = ({ failures }: MemoryGateway): string[] =>
    failures.filter(({ cause }) => cause === CAUSE_MIDSTREAM).map(({ plugin }) => plugin);

  for (const [midstream, ended] of [
    ['drop-flow', 1],
    ['pass-flow', 0],
  ] as const) {
    it(`is midstream, once, for one that is added to those that read: ${midstream}`, () => {
      const [first, second] = [new ReadingPlugin(), new ReadingPlugin()];
      const [a, b] = [first.loaded('a'), second.loaded('b', { failurePolicy: { midstream } })];
      const gateway = streamGateway([a]);
      const connection = new StreamConnection(gateway);
      connection.open();
      gateway.assembly.apply(gateway.plan, [b, a, returnRouting()], gateway.nowMs);
      assert.deepEqual(judgeAll(gateway), { flows: 1, ended });
      assert.deepEqual(midstreams(gateway), ['b']);
      if (ended !== 0) return;
      assert.deepEqual(judgeAll(gateway), { flows: 1, ended });
      assert.deepEqual(midstreams(gateway), ['b']);
      connection.send(0, 0, { payload: pattern(0, 100) });
      assert.deepEqual([first.shown.length, second.shown.length], [1, 0]);
    });
  }

  it('is midstream for one that has read the other direction only', () => {
    const reader = new ReadingPlugin();
    reader.reply = 0;
    const gateway = streamGateway([reader.loaded()]);
    new StreamConnection(gateway).open();
    reader.reply = STREAM_WHOLE;
    assert.deepEqual(judgeAll(gateway), { flows: 1, ended: 1 });
  });

  it('is not for those that read them, or have read all that they need', () => {
    const reader = new ReadingPlugin();
    reader.answer = ({ position }) => (position === 0 ? STREAM_DONE : STREAM_PASS);
    const gateway = streamGateway([reader.loaded()]);
    const [read, reading] = [41_000, 42_000].map((port) => {
      const connection = new StreamConnection(gateway, [1000, 9000], port);
      connection.open();
      return connection;
    });
    for (const direction of [0, 1]) read!.send(direction, 0, { payload: pattern(0, 100) });
    read!.send(0, 100, {});
    gateway.pass(1);
    assert.equal(gateway.assembly.counters.global(COUNTER.stream_flows), 1);
    assert.deepEqual(judgeAll(gateway), { flows: 2, ended: 0 });
    assert.deepEqual(midstreams(gateway), []);
    assert.equal(read!.send(0, 200, { payload: pattern(200, 300) }).length, 1);
    const before = reader.shown.length;
    assert.equal(reading!.send(0, 0, { payload: pattern(0, 100) }).length, 1);
    assert.equal(reader.shown.length, before + 1);
  });

  it('is not for flows that are judged after one that is read', () => {
    const plugin = new ReadingPlugin().loaded();
    const { half } = plugin;
    const flowSetup: typeof half.flowSetup = (packet, flow) =>
      packet.sourcePort === 41_000 ? half.flowSetup(packet, flow) : VERDICT_CONTINUE;
    const gateway = streamGateway([{ ...plugin, half: { ...half, flowSetup } }]);
    for (const port of [41_000, 42_000, 43_000]) new StreamConnection(gateway, [1000, 9000], port).open();
    assert.deepEqual(judgeAll(gateway), { flows: 3, ended: 0 });
    assert.deepEqual(midstreams(gateway), []);
  });

  it('is for a flow in the place of one that was read', () => {
    const reader = new ReadingPlugin();
    const gateway = streamGateway([reader.loaded()], { maxFlows: 1 });
    new StreamConnection(gateway).open();
    gateway.assembly.flush(() => true, gateway.nowMs);
    reader.originator = 0;
    reader.reply = 0;
    new StreamConnection(gateway, [1000, 9000], 41_000).open();
    assert.equal(gateway.flows, 1);
    reader.originator = STREAM_WHOLE;
    assert.deepEqual(judgeAll(gateway), { flows: 1, ended: 1 });
  });

  it('says who wants packets as they were on the wire', () => {
    let wantsWirePackets = false;
    const gateway = streamGateway([
      {
        name: 'looks',
        phase: 'policy',
        half: {
          flowSetup: (_packet, flow) => {
            flow.wantsPackets = true;
            flow.wantsWirePackets = wantsWirePackets;
            return VERDICT_CONTINUE;
          },
          packet: () => 0,
        },
      },
    ]);
    new StreamConnection(gateway).open();
    const { table } = gateway.assembly.state;
    const at = table.next(-1) * RECORD_WORDS + SHARED_STATE;
    const before = table.words[at]!;
    wantsWirePackets = true;
    judgeAll(gateway);
    assert.equal(table.words[at], before | FLOW_WIRE_PACKETS);
    wantsWirePackets = false;
    judgeAll(gateway);
    assert.equal(table.words[at], before);
  });
});
