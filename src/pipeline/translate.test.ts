import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { DIRECTION_DELTAS, FlowKey, keyMeta, RECORD_WORDS } from '../flow/layout.ts';
import { writeKey } from '../flow/record.ts';
import { formatAddressWords, parseAddress } from '../wire/address.ts';
import { buildPacket, type PacketSpec } from '../wire/build.ts';
import { completeChecksum, pseudoHeaderSum, verifyTransportChecksum } from '../wire/checksum.ts';
import { decode } from '../wire/decode.ts';
import { FrameMemory } from '../wire/frame.ts';
import { PacketView } from '../wire/packet.ts';
import {
  decrementTtl,
  lineOf,
  swapPorts,
  translatePacket,
  writeDeltas,
  writeIdentification,
} from './translate.ts';

const SEED = 20261121;
const memory = new FrameMemory(new ArrayBuffer(4096));
const view = new PacketView(memory);

function load(spec: PacketSpec): void {
  const packet = buildPacket(spec);
  memory.bytes.set(packet, 64);
  assert.equal(decode(view, 64, packet.length), 0);
}

const ports = (source: number, destination: number): number => {
  const swap = (port: number) => ((port & 0xff) << 8) | (port >>> 8);
  return swap(source) | (swap(destination) << 16);
};

function key(source: string, destination: string, portsWord: number, protocol: number): FlowKey {
  const result = new FlowKey();
  const from = parseAddress(source)!;
  const to = parseAddress(destination)!;
  [result.src0, result.src1, result.src2, result.src3] = from.words;
  [result.dst0, result.dst1, result.dst2, result.dst3] = to.words;
  result.ports = portsWord;
  result.meta = keyMeta(1, protocol, from.family);
  return result;
}

function record(originator: FlowKey, reply: FlowKey): Int32Array {
  const flows = new Int32Array(RECORD_WORDS);
  writeKey(flows, lineOf(0, 0), originator);
  writeKey(flows, lineOf(0, 1), reply);
  writeDeltas(flows, 0);
  return flows;
}

const ipv4 = fc
  .tuple(fc.integer({ min: 1, max: 223 }), fc.nat(255), fc.nat(255), fc.integer({ min: 1, max: 254 }))
  .map((parts) => parts.join('.'))
  .filter((text) => !/^(127|169\.254|0)\./.test(text));
const ipv6 = fc
  .array(fc.nat(0xffff), { minLength: 6, maxLength: 6 })
  .map((words) => `2001:db8:${words.map((word) => word.toString(16)).join(':')}`);
const port = fc.integer({ min: 1, max: 65535 });
const flow = fc.oneof(ipv4, ipv6).chain((client) => {
  const address = client.includes(':') ? ipv6 : ipv4;
  return fc
    .record({
      client: fc.constant(client),
      server: address,
      external: address,
      clientPort: port,
      serverPort: port,
      externalPort: port,
      protocol: fc.constantFrom(6, 17),
      payload: fc.uint8Array({ maxLength: 60 }),
    })
    .filter(({ server }) => server !== client);
});

const text = (side: 'src' | 'dst'): string =>
  formatAddressWords(view.family, view[`${side}0`], view[`${side}1`], view[`${side}2`], view[`${side}3`]);

describe('translation of a packet', () => {
  it('changes addresses and ports and keeps every checksum right, full and partial, both ways', () => {
    fc.assert(
      fc.property(flow, fc.boolean(), (f, partial) => {
        const flows = record(
          key(f.client, f.server, ports(f.clientPort, f.serverPort), f.protocol),
          key(f.server, f.external, ports(f.serverPort, f.externalPort), f.protocol),
        );
        const transport = (sourcePort: number, destinationPort: number) =>
          f.protocol === 6
            ? ({ kind: 'tcp', sourcePort, destinationPort, flags: 0x10, payload: f.payload } as const)
            : ({ kind: 'udp', sourcePort, destinationPort, payload: f.payload } as const);
        for (const [direction, spec, source, destination] of [
          [
            0,
            { source: f.client, destination: f.server, transport: transport(f.clientPort, f.serverPort) },
            [f.external, f.externalPort],
            [f.server, f.serverPort],
          ],
          [
            1,
            { source: f.server, destination: f.external, transport: transport(f.serverPort, f.externalPort) },
            [f.server, f.serverPort],
            [f.client, f.clientPort],
          ],
        ] as const) {
          load(spec);
          if (partial) {
            const offset = f.protocol === 6 ? 16 : 6;
            const sum = pseudoHeaderSum(view, view.length - (view.l4Offset - view.offset));
            memory.bytes[view.l4Offset + offset] = sum & 0xff;
            memory.bytes[view.l4Offset + offset + 1] = sum >>> 8;
            view.checksumStart = view.l4Offset;
            view.checksumOffset = offset;
          }
          translatePacket(view, flows, 0, direction);
          assert.deepEqual(
            [text('src'), text('dst')],
            [source[0], destination[0]].map((address) => formatted(address)),
          );
          const length = view.length;
          if (partial) completeChecksum(view);
          // Decoding verifies the IP header's checksum, and shows that view and memory agree.
          const ported = view.ports;
          assert.equal(decode(view, 64, length), 0);
          assert.equal(view.ports, ported);
          assert.equal(view.sourcePort, source[1]);
          assert.equal(view.destinationPort, destination[1]);
          assert.ok(verifyTransportChecksum(view));
        }
      }),
      { seed: SEED, numRuns: 500 },
    );
  });

  it('leaves a packet alone whose keys are each other reversed', () => {
    const originator = key('10.0.1.10', '10.50.0.1', ports(1, 2), 17);
    const reply = key('10.50.0.1', '10.0.1.10', swapPorts(ports(1, 2)), 17);
    const flows = record(originator, reply);
    assert.equal(flows[lineOf(0, 0) + DIRECTION_DELTAS], 0);
    load({
      source: '10.0.1.10',
      destination: '10.50.0.1',
      transport: { kind: 'udp', sourcePort: 1, destinationPort: 2 },
    });
    const before = memory.bytes.slice(0, 128);
    translatePacket(view, flows, 0, 0);
    assert.deepEqual(memory.bytes.slice(0, 128), before);
  });

  it('keeps a UDP checksum of 0, over IPv6 too', () => {
    for (const [host, server, outside, at] of [
      ['10.0.1.10', '203.0.113.1', '198.51.100.1', 20],
      ['fd00:1::10', '2001:db8:113::1', '2001:db8:100::1', 40],
    ] as const) {
      const flows = record(key(host, server, ports(1, 2), 17), key(server, outside, ports(2, 9), 17));
      const transport = { kind: 'udp', sourcePort: 1, destinationPort: 2, hasChecksum: false } as const;
      load({ source: host, destination: server, transport });
      translatePacket(view, flows, 0, 0);
      assert.deepEqual([...memory.bytes.slice(64 + at, 64 + at + 8)], [0, 9, 0, 2, 0, 8, 0, 0]);
    }
  });

  it('changes TTL and identification with the header checksum', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 255 }), fc.nat(0xffff), fc.nat(0xffff), (ttl, before, after) => {
        load({
          source: '10.0.1.10',
          destination: '203.0.113.1',
          ttl,
          identification: before,
          transport: { kind: 'udp', sourcePort: 1, destinationPort: 2 },
        });
        decrementTtl(view);
        writeIdentification(view, after);
        assert.equal(decode(view, 64, view.length), 0);
        assert.equal(view.ttl, ttl - 1);
        assert.equal(view.identification, after);
      }),
      { seed: SEED, numRuns: 300 },
    );
  });
});

function formatted(address: string): string {
  const { family, words } = parseAddress(address)!;
  return formatAddressWords(family, words[0], words[1], words[2], words[3]);
}
