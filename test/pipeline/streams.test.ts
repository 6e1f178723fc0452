/** Streams in a whole gateway: several plugins, other plans, restarts, offloads, and a hundred thousand of them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SentFrame } from '../../src/device/memory-io.ts';
import { COUNTER } from '../../src/flow/counters.ts';
import { markUnseen } from '../../src/pipeline/plugin-bits.ts';
import { PluginStanding } from '../../src/pipeline/plugin-standing.ts';
import { PACKET_PASS, STREAM_NEED_MORE, STREAM_PASS } from '../../src/plugin/contract.ts';
import { buildPacket } from '../../src/wire/build.ts';
import { FRAME_PREFIX_BYTES } from '../../src/wire/frame.ts';
import { GSO_TCPV4, TCP_ACK, TCP_RST, TCP_SYN } from '../../src/wire/packet.ts';
import { MemoryGateway, returnRouting } from '../support/memory-gateway.ts';
import { tcp } from '../support/packets.ts';
import { problemsOf } from '../support/plain-packets.ts';
import { data } from '../support/stream-bench.ts';
import { pattern, ReadingPlugin, StreamConnection, streamGateway } from '../support/stream-gateway.ts';
import { superFrameOf } from '../support/super-frame.ts';

describe('plugins that read the same stream', () => {
  it('each get what they asked for, and the slowest decides', () => {
    const [quick, slow, brief] = [new ReadingPlugin(), new ReadingPlugin(), new ReadingPlugin()];
    slow.answer = ({ bytes }) => (bytes.length < 250 ? STREAM_NEED_MORE : STREAM_PASS);
    brief.originator = 150;
    const gateway = streamGateway([quick.loaded('quick'), slow.loaded('slow'), brief.loaded('brief')]);
    const connection = new StreamConnection(gateway);
    connection.open();
    for (const at of [0, 100]) {
      assert.deepEqual(connection.send(0, at, { payload: pattern(at, at + 100) }), []);
    }
    assert.equal(connection.send(0, 200, { payload: pattern(200, 300) }).length, 3);
    const lengths = ({ shown }: ReadingPlugin): number[] => shown.map(({ bytes }) => bytes.length);
    assert.deepEqual(
      [lengths(quick), lengths(slow), lengths(brief)],
      [
        [100, 100, 100],
        [100, 200, 300],
        [100, 50],
      ],
    );
  });

  it('may look at packets as well', () => {
    const reader = new ReadingPlugin();
    const plugin = reader.loaded();
    let packets = 0;
    const gateway = streamGateway([
      {
        ...plugin,
        half: {
          ...plugin.half,
          flowSetup: (packet, flow) => {
            flow.wantsPackets = true;
            return plugin.half.flowSetup(packet, flow);
          },
          packet: () => {
            packets++;
            return PACKET_PASS;
          },
        },
      },
    ]);
    const connection = new StreamConnection(gateway);
    connection.open();
    const before = packets;
    connection.send(0, 0, { payload: pattern(0, 100) });
    assert.equal(packets - before, 1);
    assert.deepEqual(reader.passed(0), pattern(0, 100));
  });

  it('go on when plugins change places, and without one that is taken out', () => {
    const [first, second] = [new ReadingPlugin(), new ReadingPlugin()];
    const [a, b] = [first.loaded('a'), second.loaded('b')];
    const gateway = streamGateway([a, b]);
    const connection = new StreamConnection(gateway);
    connection.open();
    connection.send(0, 0, { payload: pattern(0, 100) });
    const { assembly, plan } = gateway;
    assembly.apply(plan, [b, a, returnRouting()], gateway.nowMs);
    second.answer = () => STREAM_NEED_MORE;
    assert.deepEqual(connection.send(0, 100, { payload: pattern(100, 200) }), []);
    assembly.apply(plan, [a, returnRouting()], gateway.nowMs);
    const left = connection.send(0, 200, { payload: pattern(200, 300) });
    assert.deepEqual(data(left), [pattern(100, 200), pattern(200, 300)]);
    assert.deepEqual(first.passed(0), pattern(0, 300));
    assert.deepEqual(gateway.failures, []);
  });

  it('as another instance, which keeps state of flows: by its policy for flows from their middle', () => {
    const reader = new ReadingPlugin();
    const standing = new PluginStanding(4);
    const plugin = reader.loaded('reader', { standing, failurePolicy: { midstream: 'pass-flow' } });
    const gateway = streamGateway([plugin]);
    const connection = new StreamConnection(gateway);
    connection.open();
    connection.send(0, 0, { payload: pattern(0, 100) });
    const { state, chain, pipeline } = gateway.assembly;
    markUnseen(state.table, pipeline.streams, chain, 0);
    assert.equal(connection.send(0, 100, { payload: pattern(100, 200) }).length, 1);
    assert.equal(connection.send(0, 200, { payload: pattern(200, 300) }).length, 1);
    assert.equal(reader.shown.length, 1);
    const later = new StreamConnection(gateway, [1000, 9000], 41_000);
    later.open();
    later.send(0, 0, { payload: pattern(0, 100) });
    assert.equal(reader.shown.length, 2);
  });

  it('none of them: flows that were read go on', () => {
    const reader = new ReadingPlugin();
    const gateway = streamGateway([reader.loaded()]);
    const connection = new StreamConnection(gateway);
    connection.open();
    connection.send(0, 0, { payload: pattern(0, 100) });
    gateway.assembly.apply(gateway.plan, [returnRouting()], gateway.nowMs);
    assert.equal(connection.send(0, 100, { payload: pattern(100, 200) }).length, 1);
    assert.equal(connection.send(0, 300, { payload: pattern(300, 400) }).length, 1);
    assert.equal(reader.shown.length, 1);
  });
});

describe('streams after a restart', () => {
  for (const midstream of ['pass-flow', 'drop-flow'] as const) {
    it(`are not known: ${midstream}`, () => {
      const reader = new ReadingPlugin();
      const options = { failurePolicy: { midstream } };
      const gateway = streamGateway([reader.loaded('reader', options)]);
      const connection = new StreamConnection(gateway);
      connection.open();
      connection.send(0, 0, { payload: pattern(0, 100) });
      const after = streamGateway([reader.loaded('reader', options)], {
        memory: gateway.buffer,
        nowMs: gateway.nowMs + 10,
      });
      const packet = connection.packet(0, 100, { payload: pattern(100, 200) });
      const left = after.sendBytes('paris', packet);
      if (midstream === 'pass-flow') {
        assert.deepEqual(data(left), [pattern(100, 200)]);
        assert.equal(after.flows, 1);
      } else {
        assert.deepEqual(
          left.map(({ port, view, payload }) => [port, view.tcpFlags & TCP_RST, payload.length]),
          [
            ['paris', TCP_RST, 0],
            ['internet', TCP_RST, 0],
          ],
        );
        assert.deepEqual(after.drops('paris'), { stream_lost: 1 });
        assert.equal(after.flows, 0);
      }
    });
  }
});

describe('a process that ends while plugins are told of a new flow', () => {
  it('leaves none behind whose bytes nobody reads', () => {
    const plugin = new ReadingPlugin().loaded();
    let found = new ArrayBuffer();
    const gateway: MemoryGateway = streamGateway([
      {
        ...plugin,
        half: {
          ...plugin.half,
          flowStart: () => {
            found = gateway.buffer.slice(0);
          },
        },
      },
    ]);
    const connection = new StreamConnection(gateway);
    connection.open();
    const after = streamGateway([plugin], { memory: found, nowMs: gateway.nowMs + 10 });
    assert.equal(after.flows, 1);
    const syn = tcp(connection.client, connection.server, TCP_SYN, { sequence: 1000, window: 65535 });
    after.send('paris', syn);
    assert.deepEqual(after.drops('paris'), { stream_lost: 1 });
    assert.equal(after.flows, 0);
  });
});

describe('offloaded segments', () => {
  const GSO_SIZE = 1000;
  const gsoOf = ({ frame }: SentFrame): number[] => [frame[0]!, frame[1]!, frame[4]! | (frame[5]! << 8)];
  /** Not what the gateway answers to paris itself. */
  const toServer = (sent: readonly SentFrame[]): SentFrame[] => sent.filter(({ device }) => device !== 1);
  const payloadOf = ({ frame }: SentFrame): Uint8Array => frame.slice(FRAME_PREFIX_BYTES + 40);

  function opened(): { gateway: MemoryGateway; connection: StreamConnection; reader: ReadingPlugin } {
    const reader = new ReadingPlugin();
    const gateway = streamGateway([reader.loaded()]);
    const connection = new StreamConnection(gateway);
    connection.open();
    return { gateway, connection, reader };
  }

  const frameOf = (connection: StreamConnection, from: number, to: number): Uint8Array =>
    superFrameOf(connection.packet(0, from, { payload: pattern(from, to) }), GSO_TCPV4, GSO_SIZE);

  it('of 64 KiB pass whole, their checksums as partial as they were', () => {
    const { gateway, connection, reader } = opened();
    const [sent] = gateway.sendFrame('paris', frameOf(connection, 0, 64_000));
    assert.deepEqual(gsoOf(sent!), [1, GSO_TCPV4, GSO_SIZE]);
    assert.deepEqual(payloadOf(sent!), pattern(0, 64_000));
    assert.deepEqual(
      reader.shown.map(({ bytes }) => bytes.length),
      [64_000],
    );
  });

  it('that came early leave as they came, and one segment of them as a packet', () => {
    const { gateway, connection } = opened();
    assert.deepEqual(toServer(gateway.sendFrame('paris', frameOf(connection, 3000, 60_000))), []);
    // The first copy of these bytes is in front of them: what is left of it has one segment.
    assert.deepEqual(toServer(gateway.sendFrame('paris', frameOf(connection, 2500, 3500))), []);
    const sent = gateway.sendFrame('paris', frameOf(connection, 0, 2500));
    assert.deepEqual(sent.map(gsoOf), [
      [1, GSO_TCPV4, GSO_SIZE],
      [0, 0, 0],
      [1, GSO_TCPV4, GSO_SIZE],
    ]);
    assert.deepEqual(Buffer.concat(sent.map(payloadOf)), Buffer.from(pattern(0, 60_000)));
    assert.deepEqual(problemsOf(sent[1]!.frame.slice(FRAME_PREFIX_BYTES)), []);
  });
});

describe('a hundred thousand streams', () => {
  const FLOWS = 100_000;
  const BURST = 250;
  const SERVER = '10.200.0.10 443';

  it('stay in their bound, and what is in order goes on', { timeout: 600_000 }, () => {
    const reader = new ReadingPlugin();
    reader.reply = 0;
    const gateway = new MemoryGateway({
      sites: [
        { name: 'paris', prefixes: ['10.0.0.0/9'] },
        { name: 'lyon', prefixes: ['10.128.0.0/16'] },
        { name: 'datacenter', prefixes: ['10.200.0.0/16'] },
      ],
      policyPlugins: [reader.loaded()],
      maxFlows: 262_144,
      scratchBytes: 40 * 1024 * 1024,
    });
    const { counters, pipeline } = gateway.assembly;
    const client = (flow: number): string =>
      `10.${1 + (flow >>> 16)}.${(flow >>> 8) & 255}.${flow & 255} ${1024 + (flow % 60_000)}`;
    const all = (port: string, packetOf: (flow: number) => Uint8Array): void => {
      for (let flow = 0; flow < FLOWS; flow += BURST) {
        gateway.sendAll(
          port,
          Array.from({ length: BURST }, (_, i) => packetOf(flow + i)),
        );
      }
    };
    const segment = (from: string, sequence: number, payload: Uint8Array): Uint8Array =>
      buildPacket(tcp(from, SERVER, TCP_ACK, { sequence, acknowledgment: 1, window: 65535, payload }));

    all('paris', (flow) => buildPacket(tcp(client(flow), SERVER, TCP_SYN, { sequence: 0, window: 65535 })));
    gateway.pass(1);
    assert.equal(counters.global(COUNTER.stream_flows), FLOWS);
    assert.equal(pipeline.streams.pagesUsed, 0);
    all('datacenter', (flow) =>
      buildPacket(tcp(SERVER, client(flow), TCP_SYN | TCP_ACK, { acknowledgment: 1, window: 65535 })),
    );
    // Each with something missing in front of it, and never to come.
    all('paris', (flow) => segment(client(flow), 101, pattern(100, 200)));
    gateway.pass(1);
    const { pagesUsed, pagesCapacity, heldSegments } = pipeline.streams;
    assert.equal(pagesUsed, pagesCapacity >>> 2, 'a quarter of the pages, for what came early from one site');
    assert.equal(heldSegments, pagesUsed);
    assert.equal(gateway.drops('paris').stream_memory, FLOWS - heldSegments);
    assert.equal(reader.shown.length, 0);

    // Another site's stream, and one of those that were refused.
    const lyon = '10.128.0.9 5000';
    gateway.send('lyon', tcp(lyon, SERVER, TCP_SYN, { sequence: 0, window: 65535 }));
    gateway.send('datacenter', tcp(SERVER, lyon, TCP_SYN | TCP_ACK, { acknowledgment: 1, window: 65535 }));
    for (const [port, from] of [
      ['lyon', lyon],
      ['paris', client(FLOWS - 1)],
    ] as const) {
      for (let at = 0; at < 20_000; at += 1000) {
        const left = gateway.sendBytes(port, segment(from, 1 + at, pattern(at, at + 1000)));
        assert.deepEqual(data(left), [pattern(at, at + 1000)]);
      }
    }
    // What is missing does not come.
    for (let seconds = 0; seconds < 34; seconds++) gateway.pass(1000);
    assert.equal(pipeline.streams.heldSegments, 0);
    assert.equal(gateway.drops('paris').stream_gap, heldSegments);
    assert.ok(pipeline.streams.pagesUsed <= 22, `${pipeline.streams.pagesUsed} pages`);
  });
});
