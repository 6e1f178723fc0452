/** Coalescing of GRE, against frames built by hand, and against segmentation: each undoes the other. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { buildGreFrame, type GreFrameShape, parseGreFrame } from '../../test/support/gre-frames.ts';
import { inOwnNamespace } from '../../test/support/own-namespace.ts';
import { FRAME_SEGMENT_GRE } from '../wire/frame.ts';
import {
  ACK,
  assertSame,
  completed,
  expectedSegments,
  FIN,
  PSH,
  pattern,
  settle,
  superFrame,
  Wire,
  type WireFrame,
  wireFrame,
} from './gre.contract.ts';

const SEED = 20250611;

const shapes = fc.record({
  outer: fc.constantFrom(4 as const, 6 as const),
  inner: fc.constantFrom(4 as const, 6 as const),
  key: fc.option(fc.nat(0xffffffff), { nil: undefined }),
  options: fc.constantFrom(new Uint8Array(0), Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8)),
  tcpSequence: fc.nat(0xffffffff),
  innerIdentification: fc.nat(0xffff),
  dontFragment: fc.boolean(),
  trafficClass: fc.nat(255),
});

type RandomShape = typeof shapes extends fc.Arbitrary<infer T> ? T : never;

function withoutUndefined(shape: RandomShape): Omit<GreFrameShape, 'payload'> {
  const { key, ...rest } = shape;
  return { ...rest, protocol: 'tcp', ...(key === undefined ? {} : { key }) };
}

if (inOwnNamespace(import.meta.url)) {
  const wire = new Wire();
  after(() => wire.close());

  describe('GRE coalescing', () => {
    const base = { outer: 4, inner: 4, protocol: 'tcp', payload: pattern(14000), key: 7 } as const;
    /** Segments of 1400 bytes as they would come from a wire. */
    const segments = (shape: GreFrameShape) =>
      expectedSegments(shape, 1400).map((bytes) => ({ bytes, virtio: new Uint8Array(10) }));

    it('joins the segments of a flow to what would be cut into them', () => {
      for (const outer of [4, 6] as const) {
        for (const inner of [4, 6] as const) {
          const shape = { ...base, outer, inner };
          const { joined, plain } = wire.pass(segments(shape));
          assert.equal(plain.length, 10);
          assert.equal(joined.length, 1);
          assert.deepEqual(joined[0], superFrame(shape, 1400));
        }
      }
    });

    it('places the joined frame like any other', () => {
      const io = wire.joining;
      wire.pass([]);
      for (const [index, { bytes }] of segments(base).entries()) {
        wire.sender.memory.bytes.fill(0, index * 2048, index * 2048 + 10);
        wire.sender.memory.bytes.set(bytes, index * 2048 + 10);
        wire.sender.tx.push(index * 2048, 10 + bytes.length, 0, 0);
      }
      wire.sender.burst(0);
      settle();
      assert.equal(io.burst(0), 1);
      assert.equal(io.rx.offset(0) % 16, 8);
      assert.ok(io.rx.offset(0) >= io.scratchOffset + io.scratchBytes + 104);
      assert.ok(io.rx.offset(0) + 65560 <= io.memory.buffer.byteLength);
      assert.equal(io.rx.device(0), 0);
    });

    it('stops at what does not fit, and leaves it as it was', () => {
      const [first, second, third] = segments({ ...base, payload: pattern(4200) });
      const changes: [string, GreFrameShape | Uint8Array][] = [
        [
          'another acknowledgment flag',
          { ...base, payload: pattern(1400), tcpSequence: 2400, flags: ACK | FIN },
        ],
        ['a gap', { ...base, payload: pattern(1400), tcpSequence: 2401 }],
        ['other options', { ...base, payload: pattern(1400), tcpSequence: 2400, options: pattern(4) }],
        ['another traffic class', { ...base, payload: pattern(1400), tcpSequence: 2400, trafficClass: 3 }],
        ['a longer segment', { ...base, payload: pattern(1401), tcpSequence: 2400 }],
        ['another source port', { ...base, payload: pattern(1400), tcpSequence: 2400, sourcePort: 1 }],
        ['another key', { ...base, key: 8, payload: pattern(1400), tcpSequence: 2400 }],
        ['a GRE checksum', { ...base, checksum: true, payload: pattern(1400), tcpSequence: 2400 }],
        ['a GRE sequence number', { ...base, sequence: 1, payload: pattern(1400), tcpSequence: 2400 }],
        ['no payload', { ...base, payload: pattern(0), tcpSequence: 2400 }],
      ];
      for (const at of [14 + 10, 38 + 4 + 10, 62 + 16, 62 + 20 + 700, 62 + 14]) {
        const damaged = second!.bytes.slice();
        damaged[at] = damaged[at]! ^ 1;
        changes.push([`damage at ${at}`, damaged]);
      }
      const fragment = second!.bytes.slice();
      fragment[14 + 6] = 0x20;
      changes.push(['an outer fragment', fragment]);
      for (const [name, change] of changes) {
        const bytes = change instanceof Uint8Array ? change : buildGreFrame(change);
        const { joined } = wire.pass([first!, { bytes, virtio: new Uint8Array(10) }]);
        assert.deepEqual(
          joined.map((frame) => frame.bytes),
          [first!.bytes, bytes],
          name,
        );
        assert.equal(joined[0]!.virtio[1], 0, name);
      }
      // The same without a change, so that the list above means something.
      assert.equal(wire.pass([first!, second!, third!]).joined.length, 1);
    });

    it('closes a packet at a short segment and at PSH', () => {
      const short = segments({ ...base, payload: pattern(2000) });
      const next = { ...base, payload: pattern(1400), tcpSequence: 3000, innerIdentification: 9 };
      assert.deepEqual(
        wire
          .pass([...short, wireFrame(next)])
          .joined.map(({ bytes }) => bytes.length - short[0]!.bytes.length),
        [600, 0],
      );
      const pushed = segments({ ...base, payload: pattern(2800), flags: ACK | PSH });
      const { joined } = wire.pass([...pushed, wireFrame({ ...next, tcpSequence: 3800 })]);
      assert.equal(joined.length, 2);
      assert.deepEqual(joined[0], superFrame({ ...base, payload: pattern(2800), flags: ACK | PSH }, 1400));
    });

    it('makes no packet longer than IP can say', () => {
      const { joined } = wire.pass(segments({ ...base, payload: pattern(1400 * 50) }));
      assert.equal(joined.length, 2);
      for (const { bytes } of joined) assert.ok(bytes.length - 14 <= 65535);
      assert.equal(
        joined.reduce((sum, { bytes }) => sum + bytes.length - 82, 0),
        1400 * 50,
      );
    });

    it('joins beyond Ethernet padding and small segments', () => {
      const tiny = { ...base, payload: pattern(8), outer: 4, inner: 4 } as const;
      const frames = expectedSegments({ ...tiny, payload: pattern(32) }, 8).map((bytes) => {
        const padded = new Uint8Array(bytes.length + 6).fill(0xaa);
        padded.set(bytes);
        return { bytes: padded, virtio: new Uint8Array(10) };
      });
      const { joined } = wire.pass(frames);
      assert.deepEqual(joined, [superFrame({ ...tiny, payload: pattern(32) }, 8)]);
    });
  });

  describe('segmentation and coalescing', () => {
    it('undo each other', () => {
      fc.assert(
        fc.property(
          shapes,
          fc.integer({ min: 100, max: 1900 }),
          fc.integer({ min: 2, max: 60_000 }),
          fc.boolean(),
          (random, gsoSize, length, isPushed) => {
            // More segments than a batch would come out as two packets.
            const payload = pattern(Math.min(length, gsoSize * 60), length);
            const shape = { ...withoutUndefined(random), payload, flags: isPushed ? ACK | PSH : ACK };
            const sent = superFrame(shape, gsoSize);
            const { joined, plain } = wire.pass([sent], FRAME_SEGMENT_GRE);
            const wirePackets = completed(plain);
            assertSame(wirePackets, expectedSegments(shape, gsoSize));
            const isCut = payload.length > gsoSize;
            assert.equal(joined.length, 1);
            if (isCut) assertSame([joined[0]!.bytes, joined[0]!.virtio], [sent.bytes, sent.virtio]);
            // And once more with checksums as from a wire, which have to be verified.
            const again = wire.pass(
              wirePackets.map((bytes) => ({ bytes, virtio: new Uint8Array(10) })),
            ).joined;
            assertSame(
              again.map(({ bytes }) => bytes),
              [isCut ? sent.bytes : wirePackets[0]!],
            );
          },
        ),
        { seed: SEED, numRuns: 60, endOnFailure: true },
      );
    });

    it('keep every packet of every flow, in its order, whatever comes between', () => {
      const event = fc.record({
        flow: fc.nat(3),
        what: fc.constantFrom(
          'segment',
          'segment',
          'segment',
          'segment',
          'short',
          'push',
          'ack',
          'damage',
          'skip',
          'opaque',
        ),
      });
      fc.assert(
        fc.property(shapes, fc.array(event, { minLength: 2, maxLength: 60 }), (random, events) => {
          const flows = [0, 1, 2, 3].map(() => ({ sequence: 0xfffff000, identification: 0xfff0 }));
          const sent = events.map(({ flow, what }) => {
            const state = flows[flow]!;
            if (what === 'skip') state.sequence += 5;
            const payload = pattern(what === 'short' ? 99 : what === 'ack' ? 0 : 200, state.sequence);
            const bytes = buildGreFrame({
              ...withoutUndefined(random),
              payload,
              sourcePort: flow + 1,
              tcpSequence: state.sequence >>> 0,
              innerIdentification: state.identification & 0xffff,
              flags: what === 'push' ? ACK | PSH : ACK,
              // Such a packet is not looked into; it must not be overtaken all the same.
              checksum: what === 'opaque',
            });
            if (what !== 'opaque') {
              state.sequence += payload.length;
              state.identification++;
            }
            if (what === 'damage') bytes[bytes.length - 1]! ^= 0x40;
            return { bytes, virtio: new Uint8Array(10) };
          });
          const { joined } = wire.pass(sent);
          assert.deepEqual(byFlow(joined.flatMap(cutAgain)), byFlow(sent.map(({ bytes }) => bytes)));
        }),
        { seed: SEED, numRuns: 150, endOnFailure: true },
      );
    });
  });
}

/** The inner packets of each flow, in order. */
function byFlow(frames: readonly Uint8Array[]): Map<number, Uint8Array[]> {
  const flows = new Map<number, Uint8Array[]>();
  for (const frame of frames) {
    const { inner, transport } = parseGreFrame(frame);
    const port = frame[transport + 1]!;
    flows.set(port, [...(flows.get(port) ?? []), frame.subarray(inner)]);
  }
  return new Map([...flows].sort(([a], [b]) => a - b));
}

/** Cuts a joined frame by its virtio-net header, in JavaScript; another one stays as it is. */
function cutAgain({ bytes, virtio }: WireFrame): Uint8Array[] {
  if (virtio[1] === 0) return [bytes];
  const gsoSize = virtio[4]! | (virtio[5]! << 8);
  const { inner, transport, payload } = parseGreFrame(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const isV4 = bytes[inner]! >> 4 === 4;
  const shape = {
    outer: (bytes[14]! >> 4) as 4 | 6,
    inner: (isV4 ? 4 : 6) as 4 | 6,
    protocol: 'tcp' as const,
    payload: bytes.slice(payload),
    tcpSequence: view.getUint32(transport + 4),
    sourcePort: view.getUint16(transport),
    options: bytes.slice(transport + 20, payload),
    flags: bytes[transport + 13]!,
    innerIdentification: isV4 ? view.getUint16(inner + 4) : 0,
    dontFragment: isV4 && (bytes[inner + 6]! & 0x40) !== 0,
    trafficClass: isV4 ? bytes[inner + 1]! : (view.getUint16(inner) >> 4) & 255,
  };
  return expectedSegments(shape, gsoSize);
}
