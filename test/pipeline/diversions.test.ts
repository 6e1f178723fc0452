/**
 * Flows that a plugin diverts, with packets in memory: to the proxy and back, the child flows that it begins, and everything
 * that must not get through.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import {
  type FlowSetup,
  VERDICT_ACCEPT,
  VERDICT_CONTINUE,
  VERDICT_DIVERT,
  VERDICT_DROP,
} from '../../src/plugin/contract.ts';
import { DIVERSION_PROXY, DIVERSION_ROUTER, siteSource } from '../../src/plugin/diversion-addresses.ts';
import type { PacketSpec } from '../../src/wire/build.ts';
import { type PacketView, TCP_ACK, TCP_RST, TCP_SYN } from '../../src/wire/packet.ts';
import { type Delivered, MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { echo, tcp, text, udp } from '../support/packets.ts';

const WEB = 'web/0';
const [PARIS, LYON] = [1, 2];

/** Diverts what goes to these ports. */
function diverter(name = 'web', ports: readonly number[] = [80, 53], place = 0): LoadedPlugin {
  return {
    name,
    phase: 'policy',
    half: {
      flowSetup: (packet: PacketView, flow: FlowSetup) => {
        flow.diversion = place;
        return ports.includes(packet.destinationPort) ? VERDICT_DIVERT : VERDICT_CONTINUE;
      },
    },
  };
}

function given(options: Partial<MemoryGatewayOptions> = {}): MemoryGatewayOptions {
  return {
    sites: [
      { name: 'paris', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
      { name: 'lyon', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
      { name: 'dc', prefixes: ['10.50.0.0/16', 'fd00:50::/64'] },
    ],
    egress: [{ name: 'internet', pools: [{ address: '192.0.2.1' }, { address: '2001:db8::1' }] }],
    diversions: [{ plugin: 'web', tcp: 8080, udp: 5353 }],
    policyPlugins: [diverter()],
    ...options,
  };
}

function gateway(options: Partial<MemoryGatewayOptions> = {}): MemoryGateway {
  return new MemoryGateway(given(options));
}

const CLIENT = '10.0.1.10 40000';
const SERVER = '203.0.113.9 80';
const SYN = tcp(CLIENT, SERVER, TCP_SYN, { sequence: 1000, window: 65535 });
const RESOLVER = '203.0.113.53 53';
const QUERY = udp(CLIENT, RESOLVER, 'question');

function only(delivered: readonly Delivered[]): Delivered {
  assert.equal(delivered.length, 1, JSON.stringify(delivered.map(({ port }) => port)));
  return delivered[0]!;
}

/** An answer to what a proxy got. */
function answerTo({ source, sourcePort, destination, destinationPort }: Delivered, body: string): PacketSpec {
  return udp(`${destination} ${destinationPort}`, `${source} ${sourcePort}`, body);
}

describe('a diverted flow', () => {
  it('goes to the proxy from a source of its own, and its answers come back as from the destination', () => {
    const hw = gateway();
    const paris = only(hw.send('paris', QUERY));
    const lyon = only(hw.send('lyon', QUERY));
    for (const got of [paris, lyon]) {
      assert.equal(got.port, WEB);
      assert.deepEqual([got.destination, got.destinationPort], [DIVERSION_PROXY.ipv4, 5353]);
      assert.match(got.source, /^198\.18\./);
    }
    assert.notDeepEqual([paris.source, paris.sourcePort], [lyon.source, lyon.sourcePort]);
    for (const [port, got] of [
      ['lyon', lyon],
      ['paris', paris],
    ] as const) {
      const back = only(hw.send(WEB, answerTo(got, port)));
      assert.equal(back.port, port);
      assert.deepEqual([back.source, back.sourcePort], ['203.0.113.53', 53]);
      assert.deepEqual([back.destination, back.destinationPort], ['10.0.1.10', 40_000]);
      assert.equal(text(back.payload), port);
    }
    // The next packets follow the record.
    assert.equal(only(hw.send('lyon', QUERY)).source, lyon.source);
  });

  it('does so over IPv6 and TCP', () => {
    const hw = gateway();
    const got = only(
      hw.send('paris', tcp('fd00:1::10 40000', '2001:db8:9::9 80', TCP_SYN, { sequence: 1000 })),
    );
    assert.deepEqual([got.port, got.destination, got.destinationPort], [WEB, DIVERSION_PROXY.ipv6, 8080]);
    assert.match(got.source, /^fd68:6f6d:6577:1:/);
    const to = `${got.source} ${got.sourcePort}`;
    const reset = tcp(`${DIVERSION_PROXY.ipv6} 8080`, to, TCP_RST | TCP_ACK, { acknowledgment: 1001 });
    const back = only(hw.send(WEB, reset));
    assert.deepEqual(
      [back.port, back.source, back.sourcePort, back.destination],
      ['paris', '2001:db8:9::9', 80, 'fd00:1::10'],
    );
  });

  it('is not begun for what the proxy does not take, nor for who comes from outside', () => {
    const forward = { protocol: 'udp' as const, address: '192.0.2.1', port: 53 };
    const hw = gateway({
      diversions: [{ plugin: 'web', udp: 5353 }],
      egress: [
        {
          name: 'internet',
          pools: [{ address: '192.0.2.1' }],
          portForwards: [{ ...forward, to: { site: 'lyon', address: '10.0.1.20', port: 53 } }],
        },
      ],
    });
    assert.deepEqual(hw.send('paris', SYN), []);
    assert.deepEqual(hw.drops('paris'), { diversion_refused: 1 });
    const inbound = udp('203.0.113.53 40000', '192.0.2.1 53', 'question');
    assert.deepEqual(hw.send('internet', inbound), []);
    assert.deepEqual(hw.drops('internet'), { diversion_refused: 1 });
    assert.equal(hw.flows, 0);
  });

  it('is dropped while the proxy is not ready, new or not, and goes on when it is again', () => {
    const hw = gateway();
    const got = only(hw.send('paris', QUERY));
    const change = (enabled: boolean): void =>
      hw.reconfigure(given({ diversions: [{ plugin: 'web', tcp: 8080, udp: 5353, enabled }] }));
    change(false);
    assert.deepEqual(hw.send('paris', QUERY), []);
    assert.deepEqual(hw.send('paris', udp('10.0.1.10 40001', RESOLVER, 'question')), []);
    assert.deepEqual(hw.drops('paris'), { diversion_down: 2 });
    assert.deepEqual(hw.send(WEB, answerTo(got, 'late')), []);
    change(true);
    assert.equal(only(hw.send('paris', QUERY)).source, got.source);
    assert.equal(only(hw.send(WEB, answerTo(got, 'in time'))).port, 'paris');
  });

  it('is judged by the plugins behind the one that diverts, too', () => {
    const refuses: LoadedPlugin = {
      name: 'wall',
      phase: 'policy',
      half: {
        flowSetup: (packet: PacketView) => (packet.sourcePort === 1 ? VERDICT_DROP : VERDICT_ACCEPT),
      },
    };
    const hw = gateway({ policyPlugins: [diverter(), refuses] });
    assert.deepEqual(hw.send('paris', udp('10.0.1.10 1', RESOLVER, 'question')), []);
    assert.deepEqual(hw.drops('paris'), { policy: 1 });
    assert.equal(only(hw.send('paris', QUERY)).port, WEB);
  });

  it('may begin anew at once when it has ended, and with another source', () => {
    const hw = gateway();
    const first = only(hw.send('paris', QUERY));
    hw.assembly.flush(() => true, hw.nowMs);
    assert.deepEqual(hw.send(WEB, answerTo(first, 'late')), []);
    const second = only(hw.send('paris', QUERY));
    assert.notDeepEqual([first.source, first.sourcePort], [second.source, second.sourcePort]);
  });

  it('ends when it should not be diverted any more, as one does that should be', () => {
    const plugin = diverter('web', [80]);
    const hw = gateway({ policyPlugins: [plugin] });
    only(hw.send('paris', SYN));
    assert.equal(only(hw.send('paris', QUERY)).port, 'internet');
    (plugin.half as { flowSetup: unknown }).flowSetup = (packet: PacketView) =>
      packet.destinationPort === 53 ? VERDICT_DIVERT : VERDICT_CONTINUE;
    const { run, step } = hw.assembly.reevaluation();
    while (!step(hw.nowMs, 100));
    assert.deepEqual([run.flows, run.ended], [2, 2]);
    assert.equal(only(hw.send('paris', QUERY)).port, WEB);
  });

  it('is none of a plugin that says where to in no number: what it says instead is not read', () => {
    for (const which of [{ toString: () => assert.fail('read') }, 'length', Symbol('first')]) {
      const plugin = diverter();
      (plugin.half as { flowSetup: unknown }).flowSetup = (_packet: PacketView, flow: FlowSetup) => {
        flow.diversion = which as unknown as number;
        return VERDICT_DIVERT;
      };
      const hw = gateway({ policyPlugins: [plugin] });
      assert.deepEqual(hw.send('paris', QUERY), []);
      assert.deepEqual(hw.drops('paris'), { plugin_failed: 1 });
    }
  });

  it('ends with its diversion', () => {
    const hw = gateway();
    only(hw.send('paris', QUERY));
    hw.reconfigure(given({ diversions: [] }));
    assert.equal(hw.flows, 0);
  });
});

describe('a child flow', () => {
  const child = (space: number, sourcePort = 50_000, to = SERVER): PacketSpec =>
    tcp(`${siteSource(space, 'ipv4')} ${sourcePort}`, to, TCP_SYN, { sequence: 1000, window: 65535 });

  it('belongs to the site that its source stands for', () => {
    const hw = gateway();
    const out = only(hw.send(WEB, child(PARIS)));
    assert.deepEqual([out.port, out.source, out.destination], ['internet', '192.0.2.1', '203.0.113.9']);
    const other = only(hw.send(WEB, child(LYON)));
    assert.equal(other.port, 'internet');
    assert.notEqual(out.sourcePort, other.sourcePort);
    const { table } = hw.assembly.state;
    const spaces = [];
    for (let record = table.next(-1); record >= 0; record = table.next(record))
      spaces.push(table.words[record * 48 + 9]! >>> 16);
    assert.deepEqual(spaces.sort(), [PARIS, LYON]);
    // Answers go to the diversion, each to its own address.
    const answer = (to: Delivered): PacketSpec =>
      tcp(SERVER, `192.0.2.1 ${to.sourcePort}`, TCP_SYN | TCP_ACK, { acknowledgment: 1001, window: 65535 });
    for (const [space, sent] of [
      [LYON, other],
      [PARIS, out],
    ] as const) {
      const back = only(hw.send('internet', answer(sent)));
      assert.deepEqual([back.port, back.destination], [WEB, siteSource(space, 'ipv4')]);
    }
  });

  it('reaches what its site may reach: other sites, not its own addresses', () => {
    const hw = gateway();
    const out = only(hw.send(WEB, child(PARIS, 50_000, '10.50.0.1 80')));
    assert.deepEqual([out.port, out.source], ['dc', siteSource(PARIS, 'ipv4')]);
    assert.deepEqual(hw.send(WEB, child(PARIS, 50_000, '10.0.1.9 80')), []);
    assert.deepEqual(hw.drops(WEB), { own_site_destination: 1 });
  });

  it('comes from no other address, and from no site that is not there', () => {
    const hw = gateway();
    for (const source of [
      DIVERSION_PROXY.ipv4,
      '10.0.1.10',
      siteSource(3000, 'ipv4'),
      siteSource(4, 'ipv4'),
      siteSource(5, 'ipv4'),
      '198.18.200.1',
    ])
      assert.deepEqual(hw.send(WEB, tcp(`${source} 40000`, SERVER, TCP_SYN)), [], source);
    assert.deepEqual(hw.drops(WEB), { diversion_source: 6 });
    assert.deepEqual(hw.send(WEB, tcp(`${DIVERSION_ROUTER.ipv4} 40000`, SERVER, TCP_SYN)), []);
    assert.equal(hw.flows, 0);
  });

  it('cannot be begun, nor taken over, by a site', () => {
    const hw = gateway();
    assert.deepEqual(hw.send('paris', child(PARIS)), []);
    only(hw.send(WEB, child(PARIS)));
    assert.deepEqual(hw.send('paris', child(PARIS)), []);
    assert.deepEqual(hw.drops('paris'), { bad_source: 2 });
    // Nor does a proxy take over what its site has begun.
    const own = udp(CLIENT, '203.0.113.53 99');
    only(hw.send('lyon', own));
    assert.deepEqual(hw.send(WEB, own), []);
  });

  it('is not diverted again by its plugin, but by one behind that', () => {
    const hw = gateway({
      policyPlugins: [diverter('web'), diverter('scan', [80])],
      diversions: [
        { plugin: 'web', tcp: 8080 },
        { plugin: 'scan', tcp: 8081 },
      ],
    });
    const first = only(hw.send('paris', SYN));
    assert.deepEqual([first.port, first.destinationPort], [WEB, 8080]);
    const second = only(hw.send(WEB, child(PARIS)));
    assert.deepEqual([second.port, second.destinationPort], ['scan/0', 8081]);
    assert.equal(only(hw.send('scan/0', child(PARIS, 50_001))).port, 'internet');
  });

  it('is judged by the plugins of its site only', () => {
    const wall: LoadedPlugin = {
      name: 'wall',
      phase: 'policy',
      ports: ['paris'],
      half: { flowSetup: () => VERDICT_DROP },
    };
    const hw = gateway({ policyPlugins: [wall] });
    assert.deepEqual(hw.send(WEB, child(PARIS)), []);
    assert.deepEqual(hw.drops(WEB), { policy: 1 });
    assert.equal(only(hw.send(WEB, child(LYON))).port, 'internet');
  });

  it('has no answers once it has ended: nothing leads to its address, and nothing past it', () => {
    const hw = gateway();
    // Its sender may be told.
    const others = (packet: PacketSpec) => hw.send('dc', packet).filter(({ port }) => port !== 'dc');
    for (const to of [siteSource(PARIS, 'ipv4'), '198.18.7.7', DIVERSION_PROXY.ipv4])
      assert.deepEqual(others(udp('10.50.0.1 53', `${to} 50000`, 'late')), []);
    assert.deepEqual(others(udp('fd00:50::1 53', `${siteSource(PARIS, 'ipv6')} 50000`, 'late')), []);
    assert.deepEqual(hw.drops('dc'), { private_destination: 4 });
  });

  it('may ping', () => {
    const hw = gateway();
    const ping = echo(siteSource(LYON, 'ipv4'), '203.0.113.9', 8, 7);
    assert.equal(only(hw.send(WEB, ping)).port, 'internet');
  });
});
