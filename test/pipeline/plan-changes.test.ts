/** What a new plan changes for flows that exist, and what it must not. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runInterruptible } from '../../src/dataplane/interruptible.ts';
import { PORT_FLOWS_LIVE, PORT_PACKETS_IN, PORT_PACKETS_OUT } from '../../src/flow/counters.ts';
import { FlowMemory } from '../../src/flow/flow-memory.ts';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import { PACKET_DONE, PACKET_DROP, PACKET_PASS, VERDICT_CONTINUE } from '../../src/plugin/contract.ts';
import { HOOK_FLOW_END } from '../../src/plugin/running-plugin.ts';
import { buildPacket } from '../../src/wire/build.ts';
import { MemoryGateway, type MemoryGatewayOptions, returnRouting } from '../support/memory-gateway.ts';
import { udp } from '../support/packets.ts';

const lab: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24'] },
    { name: 'datacenter', prefixes: ['10.50.0.0/16'] },
  ],
};
const REQUEST = udp('10.0.1.10 1', '10.50.0.10 53');

/** A plugin that looks at packets, and answers what it is told to. */
function inspector(name: string, answer: number): LoadedPlugin & { seen: number } {
  const plugin = {
    name,
    phase: 'policy' as const,
    seen: 0,
    half: {
      flowSetup: (_packet: unknown, flow: { wantsPackets: boolean }) => {
        flow.wantsPackets = true;
        return VERDICT_CONTINUE;
      },
      packet: () => {
        plugin.seen++;
        return answer;
      },
    },
  };
  return plugin;
}

/** A plugin that has nothing to do with packets. */
function bystander(name: string, verdict = VERDICT_CONTINUE): LoadedPlugin {
  return { name, phase: 'policy', half: { flowSetup: () => verdict } };
}

/** A plugin that never returns from the first end of a flow that it is told, until a SIGINT ends it there. */
function hangsAtAnEnd(): LoadedPlugin {
  let ends = 0;
  return {
    name: 'hangs',
    phase: 'policy',
    half: {
      flowSetup: () => VERDICT_CONTINUE,
      flowEnd: () => {
        if (++ends > 1) return;
        process.kill(process.pid, 'SIGINT');
        for (;;);
      },
    },
  };
}

/** Gives the gateway a plan in which the plugin hangs, and then the same again, as a data plane does. */
function applyTwice(gateway: MemoryGateway, apply: () => void): void {
  assert.equal(runInterruptible(apply), false, 'interrupted');
  gateway.assembly.chain.stalled(0, HOOK_FLOW_END, 200);
  assert.equal(runInterruptible(apply), true);
}

/** One half of a datagram for the data centre. */
function fragment(offset: number, more: boolean): Uint8Array {
  const payload = new Uint8Array(64).fill(0x41);
  const whole = buildPacket(udp('10.0.1.10 1', '10.50.0.10 53', payload));
  const header = whole.slice(0, 20);
  const part = whole.slice(20 + offset, more ? 20 + offset + 32 : undefined);
  const packet = Uint8Array.from([...header, ...part]);
  const view = new DataView(packet.buffer);
  view.setUint16(2, packet.length);
  view.setUint16(4, 0x1234);
  view.setUint16(6, (more ? 0x2000 : 0) | (offset >> 3));
  view.setUint16(10, 0);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += view.getUint16(at);
  view.setUint16(10, ~((sum & 0xffff) + (sum >>> 16)));
  return packet;
}

describe('plugins of a flow, when the list of plugins changes', () => {
  it('stay those that it was set up with, by name', () => {
    const watched = inspector('dlp', PACKET_PASS);
    const gateway = new MemoryGateway({ ...lab, policyPlugins: [bystander('gateway'), watched] });
    gateway.send('paris', REQUEST);
    assert.equal(gateway.send('paris', REQUEST).length, 1);
    assert.equal(watched.seen, 1);
    // It was the second and is the first; in its old place stands one without a packet hook.
    const { assembly, plan } = gateway;
    assembly.apply(plan, [watched, bystander('gateway'), returnRouting()], gateway.nowMs);
    assert.equal(gateway.send('paris', REQUEST).length, 1);
    assert.equal(watched.seen, 2);
    assert.deepEqual(gateway.failures, []);
  });

  it('that are gone look at nothing any more', () => {
    const watched = inspector('dlp', PACKET_DROP);
    const gateway = new MemoryGateway({ ...lab, policyPlugins: [watched] });
    gateway.send('paris', REQUEST);
    assert.equal(gateway.send('paris', REQUEST).length, 0);
    gateway.assembly.apply(gateway.plan, [bystander('other'), returnRouting()], gateway.nowMs);
    assert.equal(gateway.send('paris', REQUEST).length, 1);
    assert.equal(watched.seen, 1);
  });
});

describe('a tunnel that becomes another one', () => {
  const changed: MemoryGatewayOptions = {
    sites: [
      { name: 'paris', prefixes: ['10.0.1.0/24'], tunnels: [{ name: 'paris', generation: 2 }] },
      { name: 'datacenter', prefixes: ['10.50.0.0/16'] },
    ],
  };

  it('counts anew, and the others go on', () => {
    const gateway = new MemoryGateway(lab);
    gateway.send('paris', REQUEST);
    const { counters } = gateway.assembly;
    assert.deepEqual([counters.port(1, PORT_PACKETS_IN), counters.port(2, PORT_PACKETS_OUT)], [1, 1]);
    gateway.reconfigure(changed);
    assert.deepEqual([counters.port(1, PORT_PACKETS_IN), counters.port(2, PORT_PACKETS_OUT)], [0, 1]);
  });

  it('counts anew if it became so while no data plane ran', () => {
    const first = new MemoryGateway(lab);
    first.send('paris', REQUEST);
    const again = new MemoryGateway({ ...lab, memory: first.buffer, nowMs: first.nowMs + 500 });
    assert.equal(again.assembly.counters.port(1, PORT_PACKETS_IN), 1, 'the same tunnel');
    const other = new MemoryGateway({ ...changed, memory: first.buffer, nowMs: first.nowMs + 1000 });
    const { counters } = other.assembly;
    assert.deepEqual([counters.port(1, PORT_PACKETS_IN), counters.port(2, PORT_PACKETS_OUT)], [0, 1]);
    assert.equal(counters.port(1, PORT_FLOWS_LIVE), 0);
  });
});

describe('a slot that was free for a while', () => {
  it('counts anew for the tunnel that gets it', () => {
    const gateway = new MemoryGateway(lab);
    gateway.send('paris', REQUEST);
    const { counters } = gateway.assembly;
    assert.equal(counters.port(1, PORT_PACKETS_IN), 1);
    gateway.reconfigure(lab, (plan) => ({ ...plan, ports: plan.ports.filter(({ index }) => index !== 1) }));
    assert.equal(counters.port(1, PORT_PACKETS_IN), 1, 'nobody else has it yet');
    gateway.reconfigure(lab, (plan) => ({
      ...plan,
      ports: plan.ports.map((port) => (port.index === 1 ? { ...port, generation: 2 } : port)),
    }));
    assert.equal(counters.port(1, PORT_PACKETS_IN), 0);
  });
});

describe('plugins of a flow, over a restart', () => {
  const restart = (
    before: MemoryGateway,
    policyPlugins: MemoryGatewayOptions['policyPlugins'],
  ): MemoryGateway =>
    new MemoryGateway({ ...lab, memory: before.buffer, nowMs: before.nowMs, policyPlugins: policyPlugins! });

  it('stay the same, wherever they stand now', () => {
    const before = new MemoryGateway({
      ...lab,
      policyPlugins: [bystander('gateway'), inspector('dlp', PACKET_PASS)],
    });
    before.send('paris', REQUEST);
    before.pass(0);
    const watched = inspector('dlp', PACKET_PASS);
    const after = restart(before, [watched, bystander('gateway')]);
    assert.equal(after.send('paris', REQUEST).length, 1);
    assert.equal(watched.seen, 1);
    assert.equal(after.flows, 1);
  });

  it('end with the flow if nobody knows who wanted its packets', () => {
    const before = new MemoryGateway({ ...lab, policyPlugins: [inspector('dlp', PACKET_PASS)] });
    before.send('paris', REQUEST);
    before.pass(0);
    const opened = FlowMemory.open(before.buffer);
    assert.ok(opened.usable);
    assert.deepEqual(opened.memory.plugins, ['dlp', 'return-routing']);
    opened.memory.plugins = undefined;
    assert.equal(restart(before, [inspector('dlp', PACKET_PASS)]).flows, 0);
  });
});

describe('a plugin that is done with a flow', () => {
  it('is not asked again, even if another one dropped that packet', () => {
    const done = inspector('first', PACKET_DONE);
    const dropping = inspector('second', PACKET_DROP);
    const gateway = new MemoryGateway({ ...lab, policyPlugins: [done, dropping] });
    for (let i = 0; i < 3; i++) gateway.send('paris', REQUEST);
    assert.equal(dropping.seen, 2);
    assert.equal(done.seen, 1);
  });
});

describe('fragments that wait, when another tunnel takes the place of theirs', () => {
  it('complete no datagram of the tunnel that stands there now', () => {
    const gateway = new MemoryGateway(lab);
    assert.equal(gateway.sendBytes('paris', fragment(0, true)).length, 0);
    gateway.reconfigure(lab);
    assert.equal(gateway.sendBytes('paris', fragment(32, false)).length, 2, 'cut again');
    assert.equal(gateway.sendBytes('paris', fragment(0, true)).length, 0);
    gateway.reconfigure(lab, (plan) => ({
      ...plan,
      ports: plan.ports.map((port) => (port.name === 'paris' ? { ...port, generation: 2 } : port)),
    }));
    assert.equal(gateway.sendBytes('paris', fragment(32, false)).length, 0);
  });
});

describe('a plan that a plugin interrupts at the end of a flow', () => {
  it('ends the other flows of an address that is gone when it is applied again', () => {
    const withPool = (address: string): MemoryGatewayOptions => ({
      ...lab,
      egress: [{ name: 'internet', pools: [{ address }] }],
    });
    const gateway = new MemoryGateway({ ...withPool('198.51.100.1'), policyPlugins: [hangsAtAnEnd()] });
    for (const port of [1, 2, 3]) gateway.send('paris', udp(`10.0.1.10 ${port}`, '203.0.113.10 53'));
    assert.equal(gateway.flows, 3);
    applyTwice(gateway, () => gateway.reconfigure(withPool('198.51.100.2')));
    assert.equal(gateway.flows, 0);
  });

  it('ends the other flow of ports that it gives to port forwards', () => {
    const egress = { name: 'internet', pools: [{ address: '198.51.100.1', portMin: 5000, portMax: 5001 }] };
    const gateway = new MemoryGateway({ ...lab, egress: [egress], policyPlugins: [hangsAtAnEnd()] });
    for (const port of [1, 2]) gateway.send('paris', udp(`10.0.1.10 ${port}`, '203.0.113.10 53'));
    assert.equal(gateway.flows, 2);
    const to = { site: 'datacenter', address: '10.50.0.10', port: 53 };
    const portForwards = [5000, 5001].map((port) => ({
      protocol: 'udp' as const,
      address: '198.51.100.1',
      port,
      to,
    }));
    applyTwice(gateway, () => gateway.reconfigure({ ...lab, egress: [{ ...egress, portForwards }] }));
    assert.equal(gateway.flows, 0);
  });

  it('forgets the fragments of a tunnel that is another one now', () => {
    const gateway = new MemoryGateway({ ...lab, policyPlugins: [hangsAtAnEnd()] });
    gateway.send('paris', REQUEST);
    assert.equal(gateway.sendBytes('paris', fragment(0, true)).length, 0);
    applyTwice(gateway, () =>
      gateway.reconfigure(lab, (plan) => ({
        ...plan,
        ports: plan.ports.map((port) => (port.name === 'paris' ? { ...port, generation: 2 } : port)),
      })),
    );
    assert.equal(gateway.sendBytes('paris', fragment(32, false)).length, 0);
  });
});
