/** Segments that are held back for a plugin while other things change: by which port, in which pieces, in whose place. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HeldSegments } from '../../src/pipeline/stream/held-segments.ts';
import { FIRST_HELD, STREAM_WORDS } from '../../src/pipeline/stream/stream-layout.ts';
import { HOLD_MS } from '../../src/pipeline/stream/stream-sweep.ts';
import {
  FOLLOWS_TOO_LATE,
  STREAM_NEED_MORE,
  STREAM_PASS,
  STREAM_RESET_FLOW,
} from '../../src/plugin/contract.ts';
import { buildFragments } from '../../src/wire/build.ts';
import { FrameMemory } from '../../src/wire/frame.ts';
import { PacketView } from '../../src/wire/packet.ts';
import { MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { pattern, ReadingPlugin, StreamConnection, streamGateway } from '../support/stream-gateway.ts';

const OPTIONS: MemoryGatewayOptions = {
  sites: [
    {
      name: 'paris',
      prefixes: ['10.0.1.0/24'],
      tunnels: [{ name: 'paris' }, { name: 'paris-b' }],
    },
    { name: 'lyon', prefixes: ['10.0.1.0/24'] },
  ],
  egress: [{ name: 'internet', pools: [{ address: '192.0.2.1' }] }],
  scratchBytes: 16 * 1024 * 1024,
};

describe('a segment that came in by a tunnel in whose slot another site stands when it leaves', () => {
  /** Ports of what leaves when a plugin has answered so at last, and there is room for 500 bytes only. */
  function leftFor(answer: number): string[] {
    const reader = new ReadingPlugin();
    reader.answer = ({ follows }) => (follows === FOLLOWS_TOO_LATE ? answer : STREAM_NEED_MORE);
    const options = { ...OPTIONS, policyPlugins: [reader.loaded()] };
    const gateway = new MemoryGateway(options);
    const connection = new StreamConnection(gateway, [1000, 9000], 40_000, { dontFragment: true });
    connection.open();
    connection.send(0, 0, { payload: pattern(0, 1000) });
    gateway.sendBytes('paris-b', connection.packet(0, 1000, { payload: pattern(1000, 1010) }));
    gateway.reconfigure(options, (plan) => ({
      ...plan,
      ports: plan.ports.flatMap((port) => {
        if (port.name === 'paris') return [];
        if (port.name === 'lyon') return [{ ...port, index: 1, generation: 2 }];
        return [port.name === 'internet' ? { ...port, mtu: 500 } : port];
      }),
    }));
    assert.equal(gateway.flows, 1);
    for (let ms = 0; ms < HOLD_MS + 3000; ms += 1000) gateway.pass(1000);
    return gateway.run().map(({ port }) => port);
  }

  it('is told to nobody there that it does not fit', () => {
    assert.deepEqual(leftFor(STREAM_PASS), ['internet']);
  });

  it('is told to nobody there that its flow has ended', () => {
    assert.deepEqual(leftFor(STREAM_RESET_FLOW), ['internet']);
  });
});

it('a segment that came in fragments leaves in pieces no larger', () => {
  const reader = new ReadingPlugin();
  reader.answer = ({ bytes }) => (bytes.length < 1300 ? STREAM_NEED_MORE : STREAM_PASS);
  const gateway = streamGateway([reader.loaded()]);
  const connection = new StreamConnection(gateway);
  connection.open();
  const packet = connection.packet(0, 0, { payload: pattern(0, 1200) });
  for (const fragment of buildFragments(packet, 600, 7))
    assert.deepEqual(gateway.sendBytes('paris', fragment), []);
  const lengths = connection
    .send(0, 1200, { payload: pattern(1200, 1300) })
    .map((left) => left.packet.length);
  assert.deepEqual(lengths, [596, 596, 88, 140]);
});

it('no space takes more than half of the places, or of those for what came early', () => {
  const memory = new FrameMemory(new ArrayBuffer(64 * 1024));
  const words = new Int32Array(STREAM_WORDS * 4);
  for (let at = 0; at < words.length; at += STREAM_WORDS) words[at + FIRST_HELD] = -1;
  const held = new HeldSegments(memory, words, 32 * 1024, 200);
  const view = new PacketView(memory);
  view.payloadOffset = 40;
  const fill = (stream: number, space: number, isEarly: boolean): number => {
    let count = 0;
    for (; held.hasRoom(stream * STREAM_WORDS, space, view, isEarly); count++)
      held.insert(stream * STREAM_WORDS, space, count, count + 1, view, 1, 0);
    return count;
  };
  assert.equal(fill(0, 1, true), 50);
  assert.equal(fill(1, 1, false), 50);
  assert.equal(fill(2, 2, true), 0, 'the early ones have their half');
  assert.equal(fill(3, 2, false), 100);
  for (let count = 0; count < 60; count++) held.shift(count < 50 ? 0 : STREAM_WORDS);
  assert.equal(fill(0, 1, false), 60);
});
