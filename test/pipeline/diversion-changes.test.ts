/**
 * Child flows while the gateway changes under them - sites that are taken out, diversions that go - and what one site's may cost
 * another's: they all come by one port.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Plan } from '../../src/pipeline/plan.ts';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import { PluginStanding } from '../../src/pipeline/plugin-standing.ts';
import {
  type FlowSetup,
  RETURN_ROUTED,
  VERDICT_CONTINUE,
  VERDICT_DIVERT,
  VERDICT_HOLD,
} from '../../src/plugin/contract.ts';
import { siteSource } from '../../src/plugin/diversion-addresses.ts';
import type { PacketSpec } from '../../src/wire/build.ts';
import { ICMP_ERROR } from '../../src/wire/packet.ts';
import { MemoryGateway, type MemoryGatewayOptions, returnRouting } from '../support/memory-gateway.ts';
import { icmpError, text, udp } from '../support/packets.ts';

const WEB = 'web/0';
const [PARIS, LYON] = [1, 2];
const SERVER = '203.0.113.9 99';

const web: LoadedPlugin = {
  name: 'web',
  phase: 'policy',
  standing: new PluginStanding(),
  half: { flowSetup: () => VERDICT_CONTINUE },
};

function given(options: Partial<MemoryGatewayOptions> = {}): MemoryGatewayOptions {
  return {
    sites: [
      { name: 'paris', prefixes: ['10.0.1.0/24'] },
      { name: 'lyon', prefixes: ['10.0.1.0/24'] },
    ],
    egress: [{ name: 'internet', pools: [{ address: '192.0.2.1' }] }],
    diversions: [{ plugin: 'web', tcp: 8080, udp: 5353 }],
    policyPlugins: [web],
    ...options,
  };
}

/** Takes names out, and leaves everything else its numbers. */
function without(...names: string[]): (plan: Plan) => Plan {
  return (plan) => ({
    ...plan,
    spaces: plan.spaces.filter(({ name }) => !names.includes(name)),
    ports: plan.ports.filter(({ name }) => !names.includes(name)),
  });
}

function child(space: number, sourcePort = 50_000, body = ''): PacketSpec {
  return udp(`${siteSource(space, 'ipv4')} ${sourcePort}`, SERVER, body);
}

describe('a child flow', () => {
  it('that a plugin holds does not begin for a site that is gone by then', () => {
    const tokens: number[] = [];
    const holder: LoadedPlugin = {
      name: 'holder',
      phase: 'policy',
      standing: new PluginStanding(),
      half: {
        flowSetup: (_packet: unknown, flow: FlowSetup) => {
          tokens.push(flow.holdToken);
          return VERDICT_HOLD;
        },
      },
    };
    const hw = new MemoryGateway(given());
    const plugins = [web, holder, { ...returnRouting(), standing: new PluginStanding() }];
    hw.assembly.apply(hw.plan, plugins, hw.nowMs);
    for (const space of [PARIS, LYON]) assert.deepEqual(hw.send(WEB, child(space)), []);
    const { held } = hw.assembly.pipeline;
    assert.equal(held.count, 2);
    hw.assembly.apply(without('paris')({ ...hw.plan, generation: 2 }), plugins, hw.nowMs);
    hw.assembly.beginBurst();
    for (const token of tokens) held.decide(1, token, VERDICT_CONTINUE, hw.assembly.ports, hw.nowMs);
    assert.equal(hw.run().length, 1);
    assert.equal(hw.flows, 1);
    assert.deepEqual(hw.drops(WEB), { held: 1 });
  });

  it('of a site that is gone is not said to begin', () => {
    const options = given();
    const hw = new MemoryGateway(options);
    hw.reconfigure(options, without('paris'));
    const port = hw.plan.ports.find(({ name }) => name === WEB)!.index;
    const asked = (space: number) =>
      hw.assembly.explain(
        {
          kind: 'packet',
          port,
          source: siteSource(space, 'ipv4'),
          destination: '203.0.113.9',
          protocol: 17,
          sourcePort: 50_000,
          destinationPort: 99,
        },
        hw.nowMs,
      );
    assert.equal(asked(PARIS)?.reason, 'diversion_source');
    assert.equal(asked(LYON)?.reason, null);
  });

  it('has its answers go to the diversion, whatever a plugin says of routing them', () => {
    const hw = new MemoryGateway(given());
    const router: LoadedPlugin = {
      name: 'router',
      phase: 'routing',
      half: {
        flowSetup: (_packet: unknown, flow: FlowSetup) => {
          flow.returnRouting = RETURN_ROUTED;
          return VERDICT_CONTINUE;
        },
      },
    };
    hw.assembly.apply(hw.plan, [web, router], hw.nowMs);
    const [out] = hw.send(WEB, child(PARIS));
    const answer = udp(SERVER, `192.0.2.1 ${out!.sourcePort}`, 'answer');
    assert.deepEqual(
      hw.send('internet', answer).map(({ port }) => port),
      [WEB],
    );
  });

  it('is told of errors by its proxy only, and tells nobody else of any', () => {
    const hw = new MemoryGateway(given());
    const [out] = hw.send(WEB, child(PARIS));
    const [answer] = hw.send('internet', udp(SERVER, `192.0.2.1 ${out!.sourcePort}`, 'answer'));
    const [own] = hw.send('paris', udp('10.0.1.10 40000', SERVER));
    const [other] = hw.send('internet', udp(SERVER, `192.0.2.1 ${own!.sourcePort}`, 'answer'));
    const proxy = siteSource(PARIS, 'ipv4');
    const unreachable = (from: string, quoted: Uint8Array): PacketSpec =>
      icmpError(from, '203.0.113.9', 3, 3, quoted);
    // Whoever says so in the site, by the site's own tunnel; and the proxy of what is none of its.
    assert.deepEqual(hw.send('paris', unreachable(proxy, answer!.packet)), []);
    assert.deepEqual(hw.send(WEB, unreachable(proxy, other!.packet)), []);
    assert.deepEqual([hw.drops('paris'), hw.drops(WEB)], [{ icmp_quote: 1 }, { icmp_quote: 1 }]);
    assert.equal(hw.send(WEB, unreachable(proxy, answer!.packet))[0]?.port, 'internet');
    assert.equal(hw.send('paris', unreachable('10.0.1.10', other!.packet))[0]?.port, 'internet');
  });

  it('ends with its diversion', () => {
    const options = given();
    const hw = new MemoryGateway(options);
    for (const space of [PARIS, LYON]) hw.send(WEB, child(space));
    hw.send('paris', udp('10.0.1.10 40000', SERVER));
    assert.equal(hw.flows, 3);
    hw.reconfigure(options, without(WEB));
    assert.equal(hw.flows, 1);
    // Without diversions its address is one like any other, until there is one again.
    assert.equal(hw.send('paris', child(PARIS)).length, 1);
    hw.reconfigure(options);
    assert.equal(hw.flows, 1);
    assert.equal(hw.send(WEB, child(PARIS)).length, 1);
  });

  it('takes nothing of what other sites may have', () => {
    const flowTable = { perTunnel: 16, createRatePerTunnel: 20, createRatePerSource: 0 };
    const hw = new MemoryGateway(given({ flowTable }));
    for (let port = 1; port <= 100; port++) hw.send(WEB, child(PARIS, port));
    const portsOf = (packet: PacketSpec) => hw.send(WEB, packet).map(({ port }) => port);
    assert.deepEqual(portsOf(child(LYON)), ['internet']);
    hw.pass(1000);
    for (let port = 101; port <= 200; port++) hw.send(WEB, child(PARIS, port));
    assert.deepEqual(portsOf(child(LYON, 50_001)), ['internet']);
  });

  it('may be made as often as flows by a tunnel: its source stands for many', () => {
    const hw = new MemoryGateway(given({ flowTable: { createRatePerTunnel: 20, createRatePerSource: 10 } }));
    let sent = 0;
    for (let port = 1; port <= 100; port++) sent += hw.send(WEB, child(PARIS, port)).length;
    assert.equal(sent, 20);
    assert.deepEqual(hw.drops(WEB), { tunnel_rate: 80 });
  });
});

describe('a diverted flow', () => {
  it('has its proxy told that its answer is too big, however many of another site had', () => {
    const all: LoadedPlugin = { ...web, half: { flowSetup: () => VERDICT_DIVERT } };
    const sites = ['paris', 'lyon'].map((name) => ({ name, prefixes: ['10.0.1.0/24'], mtu: 1300 }));
    const hw = new MemoryGateway(given({ sites, policyPlugins: [all] }));
    const isTold = (site: string, port: number): boolean => {
      const [got] = hw.send(site, udp(`10.0.1.10 ${port}`, SERVER));
      const to = `${got!.source} ${got!.sourcePort}`;
      const answer = udp(`${got!.destination} ${got!.destinationPort}`, to, 'x'.repeat(1350));
      return hw.send(WEB, { ...answer, dontFragment: true })[0]?.view.icmpKind === ICMP_ERROR;
    };
    for (let port = 1; port <= 50; port++) isTold('paris', port);
    assert.ok(isTold('lyon', 1));
  });
});

describe('the external port of a child flow', () => {
  it('is no way for its site to the address that stands for it', () => {
    const hw = new MemoryGateway(given());
    const [out] = hw.send(WEB, child(PARIS, 50_000, 'out'));
    const knock = udp('10.0.1.10 40000', `192.0.2.1 ${out!.sourcePort}`, 'knock');
    assert.deepEqual(
      hw.send('paris', knock).map(({ port, payload }) => [port, text(payload)]),
      [],
    );
    assert.deepEqual(hw.drops('paris'), { gateway_destination: 1 });
  });
});
