/**
 * A plugin's call that is ended wherever it is: nothing of the pipeline's is left half done. Flows are counted as often as
 * they begin and end, plugins behind the one that was ended hear what they would have heard, and packets go on.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runInterruptible } from '../../src/dataplane/interruptible.ts';
import { COUNTER, PORT_FLOWS_CREATED, PORT_FLOWS_LIVE } from '../../src/flow/counters.ts';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import {
  PACKET_DONE,
  PACKET_PASS,
  STREAM_PASS,
  STREAM_WHOLE,
  VERDICT_CONTINUE,
} from '../../src/plugin/contract.ts';
import {
  HOOK_FLOW_END,
  HOOK_FLOW_SETUP,
  HOOK_FLOW_START,
  HOOK_INGRESS_CHANGED,
  HOOK_PACKET,
  HOOK_STREAM,
  hookName,
} from '../../src/plugin/running-plugin.ts';
import type { MemoryGateway } from '../support/memory-gateway.ts';
import { udp } from '../support/packets.ts';
import { StreamConnection, streamGateway } from '../support/stream-gateway.ts';

const HOOKS = [
  HOOK_FLOW_SETUP,
  HOOK_FLOW_START,
  HOOK_PACKET,
  HOOK_STREAM,
  HOOK_INGRESS_CHANGED,
  HOOK_FLOW_END,
] as const;
const PATTERN = Uint8Array.from({ length: 100 }, (_, at) => at);

/** Never returns from a call of one hook, once, until a SIGINT ends it there; and what it heard otherwise. */
class Hanging {
  readonly heard: string[] = [];
  private readonly name: string;
  private hangsIn = -1;
  private readonly isDone: boolean;

  constructor(name: string, isDone = false) {
    this.name = name;
    this.isDone = isDone;
  }

  hangIn(hook: number): void {
    this.hangsIn = hook;
  }

  private hear(hook: number): void {
    this.heard.push(hookName(hook));
    if (this.hangsIn !== hook) return;
    this.hangsIn = -1;
    process.kill(process.pid, 'SIGINT');
    for (;;);
  }

  loaded(): LoadedPlugin {
    return {
      name: this.name,
      phase: 'policy',
      failurePolicy: { exception: 'pass-flow', midstream: 'pass-flow' },
      half: {
        flowSetup: (_packet, flow) => {
          this.hear(HOOK_FLOW_SETUP);
          flow.wantsPackets = true;
          flow.streamOriginator = STREAM_WHOLE;
          return VERDICT_CONTINUE;
        },
        flowStart: () => this.hear(HOOK_FLOW_START),
        packet: () => {
          this.hear(HOOK_PACKET);
          return this.isDone ? PACKET_DONE : PACKET_PASS;
        },
        stream: () => {
          this.hear(HOOK_STREAM);
          return STREAM_PASS;
        },
        ingressChanged: () => this.hear(HOOK_INGRESS_CHANGED),
        flowEnd: () => this.hear(HOOK_FLOW_END),
      },
    };
  }
}

class Rig {
  readonly first = new Hanging('first', true);
  readonly hanging = new Hanging('hanging');
  readonly behind = new Hanging('behind');
  readonly gateway: MemoryGateway = streamGateway(
    [this.first, this.hanging, this.behind].map((plugin) => plugin.loaded()),
    {
      sites: [
        { name: 'paris', prefixes: ['10.0.1.0/24'], tunnels: [{ name: 'paris' }, { name: 'paris-b' }] },
      ],
    },
  );

  /** Does something in which the plugin is ended, and what a data plane does then. */
  interrupt(hook: number, body: () => void): void {
    this.hanging.hangIn(hook);
    assert.equal(runInterruptible(body), false, 'interrupted');
    const { pipeline, chain } = this.gateway.assembly;
    pipeline.abandon(hook);
    chain.stalled(1, hook, 200);
  }

  /** What was counted of flows adds up. */
  check(): void {
    const { counters, state, ports } = this.gateway.assembly;
    const ended = (['closed', 'timed_out', 'flushed', 'reopened'] as const).reduce(
      (sum, how) => sum + counters.global(COUNTER[`flows_${how}`]),
      0,
    );
    const { live } = state.table;
    assert.equal(counters.global(COUNTER.flows_created) - ended, live, 'created - ended = live');
    let [createdAtPorts, liveAtPorts] = [0, 0];
    for (let port = 0; port < ports.wordOf.length; port++) {
      createdAtPorts += counters.port(port, PORT_FLOWS_CREATED);
      liveAtPorts += counters.port(port, PORT_FLOWS_LIVE);
    }
    assert.equal(createdAtPorts, counters.global(COUNTER.flows_created));
    assert.equal(liveAtPorts, live);
  }

  send(port: string, sourcePort: number): void {
    this.gateway.send(port, udp(`10.0.1.10 ${sourcePort}`, '203.0.113.10 53', 'question'));
  }

  /** Makes the plugin hang in this hook, in the course of things. */
  hang(hook: number): void {
    const { gateway } = this;
    switch (hook) {
      case HOOK_PACKET:
        this.send('paris', 5000);
        this.interrupt(hook, () => this.send('paris', 5000));
        break;
      case HOOK_INGRESS_CHANGED:
        this.send('paris', 5000);
        this.interrupt(hook, () => this.send('paris-b', 5000));
        break;
      case HOOK_FLOW_END:
        this.send('paris', 5000);
        this.interrupt(hook, () => gateway.assembly.flush(() => true, gateway.nowMs));
        break;
      case HOOK_STREAM: {
        const connection = new StreamConnection(gateway);
        connection.open();
        this.interrupt(hook, () => connection.send(0, 0, { payload: PATTERN }));
        break;
      }
      default:
        this.interrupt(hook, () => this.send('paris', 5000));
    }
  }
}

describe('a call that is ended', () => {
  for (const hook of HOOKS) {
    it(`in ${hookName(hook)} leaves the counts of flows as they should be`, () => {
      const rig = new Rig();
      rig.send('paris', 4000);
      rig.hang(hook);
      rig.check();
      assert.equal(rig.gateway.failures.at(-1)?.plugin, 'hanging');
      // Others go on, the plugin is called no more.
      const heard = rig.hanging.heard.length;
      rig.send('paris', 6000);
      rig.check();
      rig.gateway.assembly.flush(() => true, rig.gateway.nowMs);
      rig.check();
      assert.equal(rig.gateway.flows, 0);
      assert.equal(rig.hanging.heard.length, heard);
    });
  }

  for (const hook of [HOOK_FLOW_START, HOOK_INGRESS_CHANGED, HOOK_FLOW_END]) {
    it(`in ${hookName(hook)} keeps no other plugin from hearing the same`, () => {
      const rig = new Rig();
      rig.hang(hook);
      for (const { heard } of [rig.first, rig.hanging, rig.behind])
        assert.equal(heard.filter((name) => name === hookName(hook)).length, 1);
    });
  }

  it('in packet shows no packet to a plugin that was done before', () => {
    const rig = new Rig();
    rig.hang(HOOK_PACKET);
    rig.send('paris', 5000);
    assert.equal(rig.first.heard.filter((name) => name === 'packet').length, 1);
    assert.equal(rig.behind.heard.filter((name) => name === 'packet').length, 1);
  });

  it('in flowStart leaves a connection whose bytes are read on', () => {
    const rig = new Rig();
    const connection = new StreamConnection(rig.gateway);
    rig.interrupt(HOOK_FLOW_START, () => connection.open());
    // Its sender tries again.
    connection.open();
    connection.send(0, 0, { payload: PATTERN });
    assert.deepEqual(rig.gateway.drops('paris'), { plugin_failed: 1 });
    assert.equal(rig.behind.heard.filter((name) => name === 'stream').length, 1);
    rig.check();
  });
});

describe('a plugin that throws or answers what is no answer', () => {
  const strange: readonly (readonly [string, unknown])[] = [
    ['nothing', undefined],
    ['null', null],
    ['an object without a prototype', Object.create(null)],
    [
      'an object whose text throws',
      {
        toString() {
          throw new Error('no');
        },
      },
    ],
    [
      'an error whose message throws',
      Object.defineProperty(new Error(), 'message', {
        get() {
          throw new Error('no');
        },
      }),
    ],
    ['a symbol', Symbol('no')],
    [
      'a proxy',
      new Proxy(
        {},
        {
          get() {
            throw new Error('no');
          },
          getPrototypeOf() {
            throw new Error('no');
          },
        },
      ),
    ],
    [
      'an object whose value throws',
      {
        valueOf() {
          throw new Error('no');
        },
      },
    ],
  ];
  for (const [what, value] of strange) {
    it(`${what}: it is counted, and nothing else`, () => {
      let deed: 'throw' | 'answer' | 'set' = 'throw';
      const act = (flow?: object): number => {
        if (deed === 'throw') throw value;
        if (deed === 'set')
          Object.assign(flow!, { streamOriginator: value, holdMs: value, returnRouting: value });
        return deed === 'answer' ? (value as number) : VERDICT_CONTINUE;
      };
      const gateway = streamGateway([
        {
          name: 'strange',
          phase: 'policy',
          half: {
            flowSetup: (packet, flow) => {
              flow.wantsPackets = true;
              return packet.destinationPort === 53 ? act(flow) : VERDICT_CONTINUE;
            },
            packet: () => act({}),
            flowEnd: () => void act({}),
          },
        },
      ]);
      const send = (sourcePort: number, port: number): number =>
        gateway.send('paris', udp(`10.0.1.10 ${sourcePort}`, `203.0.113.10 ${port}`, 'question')).length;
      for (const next of ['throw', 'answer', 'set'] as const) {
        deed = next;
        assert.equal(send(5000, 53), 0, next);
      }
      assert.equal(send(5001, 54), 1);
      deed = 'answer';
      assert.equal(send(5001, 54), 0);
      deed = 'throw';
      assert.equal(send(5001, 54), 0);
      assert.equal(typeof gateway.failures.at(-1)?.error, 'string');
      gateway.assembly.flush(() => true, gateway.nowMs);
      assert.equal(gateway.flows, 0);
    });
  }
});
