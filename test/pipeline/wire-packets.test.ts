/** Plugins that want packets as they were on the wire, and what becomes of the others. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import {
  PACKET_DONE,
  PACKET_DROP,
  PACKET_DROP_FLOW,
  PACKET_PASS,
  VERDICT_CONTINUE,
} from '../../src/plugin/contract.ts';
import { FRAME_PREFIX_BYTES } from '../../src/wire/frame.ts';
import {
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  type PacketView,
  TCP_ACK,
  TCP_CWR,
  TCP_FIN,
  TCP_PSH,
  TCP_SYN,
} from '../../src/wire/packet.ts';
import { MemoryGateway } from '../support/memory-gateway.ts';
import { tcp, udp } from '../support/packets.ts';
import { problemsOf } from '../support/plain-packets.ts';
import { pattern } from '../support/stream-gateway.ts';
import { superFrame } from '../support/super-frame.ts';

interface Seen {
  readonly length: number;
  readonly sequence: number;
  readonly flags: number;
  readonly gsoType: number;
}

class Watcher {
  readonly seen: Seen[] = [];
  answer: (seen: Seen) => number = () => PACKET_PASS;
  readonly gateway: MemoryGateway;

  constructor(wantsWirePackets: boolean) {
    const plugin: LoadedPlugin = {
      name: 'watcher',
      phase: 'policy',
      half: {
        flowSetup: (_packet, flow) => {
          flow.wantsPackets = true;
          flow.wantsWirePackets = wantsWirePackets;
          return VERDICT_CONTINUE;
        },
        packet: (view: PacketView) => {
          const { payloadLength: length, sequence, tcpFlags: flags, gsoType } = view;
          const seen = { length, sequence, flags, gsoType };
          this.seen.push(seen);
          return this.answer(seen);
        },
      },
    };
    this.gateway = new MemoryGateway({
      sites: [
        { name: 'paris', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
        { name: 'lyon', prefixes: ['10.0.2.0/24', 'fd00:2::/64'] },
      ],
      policyPlugins: [plugin],
    });
  }

  /** A connection from paris to lyon, whose client's first byte is number 100. */
  connect(from: string, to: string): void {
    this.gateway.send('paris', tcp(from, to, TCP_SYN, { sequence: 99, window: 65535 }));
    this.gateway.send('lyon', tcp(to, from, TCP_SYN | TCP_ACK, { acknowledgment: 100, window: 65535 }));
    this.seen.length = 0;
  }

  sendTcp(from: string, to: string, flags: number, bytes: number): Uint8Array[] {
    const spec = tcp(from, to, flags, { sequence: 100, acknowledgment: 1, payload: pattern(0, bytes) });
    return this.packets(superFrame(spec, from.includes(':') ? GSO_TCPV6 : GSO_TCPV4, 1000));
  }

  packets(frame: Uint8Array): Uint8Array[] {
    return this.gateway.sendFrame('paris', frame).map(({ frame: sent }) => {
      assert.deepEqual([...sent.subarray(0, 10)], new Array(10).fill(0), 'nothing is left to an offload');
      const packet = sent.slice(FRAME_PREFIX_BYTES);
      assert.deepEqual(problemsOf(packet), []);
      return packet;
    });
  }
}

describe('packets as they were on the wire', () => {
  for (const [from, to] of [
    ['10.0.1.9 5000', '10.0.2.1 80'],
    ['fd00:1::9 5000', 'fd00:2::9 80'],
  ] as const) {
    it(`of TCP from ${from}`, () => {
      const watcher = new Watcher(true);
      watcher.connect(from, to);
      const left = watcher.sendTcp(from, to, TCP_ACK | TCP_PSH | TCP_FIN | TCP_CWR, 3500);
      assert.deepEqual(watcher.seen, [
        { length: 1000, sequence: 100, flags: TCP_ACK | TCP_CWR, gsoType: GSO_NONE },
        { length: 1000, sequence: 1100, flags: TCP_ACK, gsoType: GSO_NONE },
        { length: 1000, sequence: 2100, flags: TCP_ACK, gsoType: GSO_NONE },
        { length: 500, sequence: 3100, flags: TCP_ACK | TCP_PSH | TCP_FIN, gsoType: GSO_NONE },
      ]);
      const headerBytes = from.includes(':') ? 60 : 40;
      const bytes = left.map((packet) => packet.subarray(headerBytes));
      assert.deepEqual(Buffer.concat(bytes), Buffer.from(pattern(0, 3500)));
    });
  }

  it('of UDP', () => {
    const watcher = new Watcher(true);
    const [from, to] = ['10.0.1.9 5000', '10.0.2.1 53'];
    watcher.gateway.send('paris', udp(from, to, 'first'));
    const left = watcher.packets(superFrame(udp(from, to, pattern(0, 2100)), GSO_UDP_L4, 1000));
    assert.deepEqual(
      watcher.seen.map(({ length }) => length),
      [1000, 1000, 100],
    );
    assert.equal(left.length, 3);
  });

  it('are judged each for itself', () => {
    const watcher = new Watcher(true);
    const [from, to] = ['10.0.1.9 5000', '10.0.2.1 80'];
    watcher.connect(from, to);
    watcher.answer = ({ sequence }) => (sequence === 1100 ? PACKET_DROP : PACKET_PASS);
    assert.equal(watcher.sendTcp(from, to, TCP_ACK, 3000).length, 2);
    assert.deepEqual(watcher.gateway.drops('paris'), { policy: 1 });
    watcher.answer = ({ sequence }) => (sequence === 1100 ? PACKET_DROP_FLOW : PACKET_PASS);
    assert.equal(watcher.sendTcp(from, to, TCP_ACK, 4000).length, 1);
    assert.deepEqual(watcher.gateway.drops('paris'), { policy: 2, no_flow: 2 });
    assert.equal(watcher.gateway.flows, 0);
  });

  it('come whole again when the plugin is done', () => {
    const watcher = new Watcher(true);
    const [from, to] = ['10.0.1.9 5000', '10.0.2.1 80'];
    watcher.connect(from, to);
    watcher.answer = () => PACKET_DONE;
    // The first of them is the last that is shown; all are cut already.
    assert.equal(watcher.sendTcp(from, to, TCP_ACK, 3000).length, 3);
    assert.equal(watcher.seen.length, 1);
    const spec = tcp(from, to, TCP_ACK, { sequence: 100, acknowledgment: 1, payload: pattern(0, 3000) });
    assert.equal(watcher.gateway.sendFrame('paris', superFrame(spec, GSO_TCPV4, 1000)).length, 1);
  });

  it('are not made for who does not ask', () => {
    const watcher = new Watcher(false);
    const [from, to] = ['10.0.1.9 5000', '10.0.2.1 80'];
    watcher.connect(from, to);
    const spec = tcp(from, to, TCP_ACK, { sequence: 100, acknowledgment: 1, payload: pattern(0, 3000) });
    assert.equal(watcher.gateway.sendFrame('paris', superFrame(spec, GSO_TCPV4, 1000)).length, 1);
    assert.deepEqual(
      watcher.seen.map(({ length, gsoType }) => [length, gsoType]),
      [[3000, GSO_TCPV4]],
    );
  });
});
