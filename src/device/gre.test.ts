/**
 * Segmentation and coalescing of GRE (`native/gre-segment.c`, `native/gre-coalesce.c`): against frames built by
 * hand, against tshark, and against each other.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import {
  assertRight,
  buildGreFrame,
  completeChecksum,
  type GreFrameShape,
  parseGreFrame,
  superVirtio,
} from '../../test/support/gre-frames.ts';
import { inOwnNamespace } from '../../test/support/own-namespace.ts';
import { FRAME_SEGMENT_GRE } from '../wire/frame.ts';
import { LINKTYPE_ETHERNET } from './capture.ts';
import { ip, makeVeth } from './native-io.contract.ts';
import { NativeIo } from './native-io.ts';
import { PcapWriter } from './pcap.ts';

const SEED = 20250611;
const FIN = 0x01;
const PSH = 0x08;
const ACK = 0x10;
const CWR = 0x80;
/** Time for what was sent to reach the far socket, so that it is one receive batch. */
const SETTLE_MS = 5;

interface WireFrame {
  readonly virtio: Uint8Array;
  /** From the Ethernet header on. */
  readonly bytes: Uint8Array;
}

function pattern(length: number, from = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => (at * 13 + (at >> 8) + from) & 255);
}

/** Like deepEqual, without a difference of 65000 lines. */
function assertSame(actual: readonly Uint8Array[], expected: readonly Uint8Array[]): void {
  assert.deepEqual(
    actual.map(({ length }) => length),
    expected.map(({ length }) => length),
  );
  for (const [index, bytes] of actual.entries()) {
    const at = bytes.findIndex((byte, position) => byte !== expected[index]![position]);
    assert.equal(at, -1, `packet ${index} differs at byte ${at}`);
  }
}

function settle(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, SETTLE_MS);
}

/** One veth pair; three sockets: a sender, a receiver that joins, and one that does not. */
class Wire {
  readonly sender = new NativeIo();
  readonly joining = new NativeIo();
  readonly plain = new NativeIo();
  readonly near: string;

  constructor() {
    const { near, far } = makeVeth();
    this.near = near;
    // Segments of up to 1900 bytes, with all headers.
    ip('link', 'set', near, 'mtu', '3000');
    ip('link', 'set', far, 'mtu', '3000');
    this.sender.addPacket(0, near, { kind: 'ethernet' });
    this.joining.addPacket(0, far, { kind: 'ethernet' });
    this.plain.addPacket(0, far, { kind: 'ethernet', coalesceGre: false });
  }

  /** Sends frames; gives back what either receiver saw. */
  pass(frames: readonly WireFrame[], flags = 0): { joined: WireFrame[]; plain: WireFrame[] } {
    const io = this.sender;
    let at = 0;
    for (const { virtio, bytes } of frames) {
      io.memory.bytes.set(virtio, at);
      io.memory.bytes.set(bytes, at + 10);
      assert.ok(io.tx.push(at, 10 + bytes.length, 0, flags));
      at = (at + 10 + bytes.length + 63) & ~63;
    }
    io.burst(0);
    settle();
    return { joined: this.#drain(this.joining), plain: this.#drain(this.plain) };
  }

  #drain(io: NativeIo): WireFrame[] {
    const frames: WireFrame[] = [];
    while (io.burst(0) > 0) {
      for (let index = 0; index < io.rx.count; index++) {
        const offset = io.rx.offset(index);
        const end = offset + io.rx.lengthBytes(index);
        frames.push({
          virtio: io.memory.bytes.slice(offset, offset + 10),
          bytes: io.memory.bytes.slice(offset + 10, end),
        });
      }
    }
    return frames;
  }

  close(): void {
    for (const io of [this.sender, this.joining, this.plain]) io.close();
    ip('link', 'del', this.near);
  }
}

/** A super-packet for FRAME_SEGMENT_GRE. */
function superFrame(shape: GreFrameShape, gsoSize: number): WireFrame {
  const bytes = buildGreFrame(shape, true);
  return { bytes, virtio: superVirtio(bytes, gsoSize) };
}

function wireFrame(shape: GreFrameShape): WireFrame {
  return { bytes: buildGreFrame(shape), virtio: new Uint8Array(10) };
}

/** The wire packets that a shape with a long payload should become. */
function expectedSegments(shape: GreFrameShape, gsoSize: number): Uint8Array[] {
  const segments: Uint8Array[] = [];
  const flags = shape.flags ?? ACK;
  for (let at = 0, index = 0; at < shape.payload.length; at += gsoSize, index++) {
    const isLast = at + gsoSize >= shape.payload.length;
    segments.push(
      buildGreFrame({
        ...shape,
        payload: shape.payload.subarray(at, at + gsoSize),
        tcpSequence: (shape.tcpSequence ?? 1000) + at,
        innerIdentification: ((shape.innerIdentification ?? 7) + index) & 0xffff,
        outerIdentification: ((shape.outerIdentification ?? 7) + index) & 0xffff,
        flags: (flags & ~(isLast ? 0 : FIN | PSH) & ~(index === 0 ? 0 : CWR)) | 0,
        ...(shape.sequence === undefined ? {} : { sequence: (shape.sequence + index) >>> 0 }),
      }),
    );
  }
  return segments;
}

function completed(frames: readonly WireFrame[]): Uint8Array[] {
  return frames.map(({ bytes, virtio }) => {
    completeChecksum(bytes, virtio);
    return bytes;
  });
}

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

  describe('GRE segmentation', () => {
    it('cuts TCP and UDP, in all versions, as built by hand', () => {
      const payload = pattern(5000);
      for (const outer of [4, 6] as const) {
        for (const inner of [4, 6] as const) {
          for (const protocol of ['tcp', 'udp'] as const) {
            for (const extra of [
              {},
              { key: 7 },
              { key: 7, sequence: 0xfffffffe, checksum: true },
              { checksum: true },
              { sequence: 9 },
            ]) {
              const shape = {
                outer,
                inner,
                protocol,
                payload,
                tcpSequence: 0xfffff000,
                innerIdentification: 0xfffe,
                flags: ACK | PSH | FIN | CWR,
                ...extra,
              };
              const { plain } = wire.pass([superFrame(shape, 1400)], FRAME_SEGMENT_GRE);
              const name = JSON.stringify({ outer, inner, protocol, ...extra });
              assert.equal(plain.length, 4, name);
              const packets = completed(plain);
              for (const packet of packets) assertRight(packet);
              assert.deepEqual(packets, expectedSegments(shape, 1400), name);
            }
          }
        }
      }
      assert.equal(wire.sender.txErrors[0], 0);
    });

    it('cuts the longest packet into more segments than a batch holds', () => {
      const shape = { outer: 4, inner: 4, protocol: 'tcp', payload: pattern(65000) } as const;
      const { plain } = wire.pass([superFrame(shape, 500)], FRAME_SEGMENT_GRE);
      assert.deepEqual(completed(plain), expectedSegments(shape, 500));
    });

    it('leaves the transport checksum to the device, unless the GRE checksum covers it', () => {
      const shape = { outer: 4, inner: 4, protocol: 'tcp', payload: pattern(2000) } as const;
      const partial = wire.pass([superFrame(shape, 1000)], FRAME_SEGMENT_GRE).plain;
      for (const { virtio } of partial) {
        assert.deepEqual([virtio[0], virtio[1]], [1, 0]);
        assert.deepEqual([...virtio.subarray(6)], [14 + 20 + 4 + 20, 0, 16, 0]);
      }
      const full = wire.pass([superFrame({ ...shape, checksum: true }, 1000)], FRAME_SEGMENT_GRE).plain;
      for (const { virtio, bytes } of full) {
        assert.equal(virtio[0]! & 1, 0);
        assertRight(bytes);
      }
    });

    it('sends a packet without GSO fields as one', () => {
      const shape = { outer: 4, inner: 4, protocol: 'udp', payload: pattern(300), checksum: true } as const;
      const bytes = buildGreFrame(shape, true);
      const virtio = superVirtio(bytes, 0);
      virtio[1] = 0;
      const { plain } = wire.pass([{ bytes, virtio }], FRAME_SEGMENT_GRE);
      assert.deepEqual(
        plain.map((frame) => frame.bytes),
        [buildGreFrame(shape)],
      );
    });

    it('keeps the order among frames that are cut and frames that are not', () => {
      const shape = { outer: 4, inner: 4, protocol: 'tcp', payload: pattern(3000) } as const;
      const io = wire.sender;
      const cut = superFrame(shape, 1000);
      const whole = wireFrame({ ...shape, payload: pattern(10), sourcePort: 9 });
      io.memory.bytes.set(cut.virtio, 0);
      io.memory.bytes.set(cut.bytes, 10);
      io.memory.bytes.set(whole.virtio, 8192);
      io.memory.bytes.set(whole.bytes, 8202);
      for (let round = 0; round < 20; round++) {
        io.tx.push(0, 10 + cut.bytes.length, 0, FRAME_SEGMENT_GRE);
        io.tx.push(8192, 10 + whole.bytes.length, 0, 0);
      }
      const { plain } = wire.pass([]);
      const ports = plain.map(
        ({ bytes }) =>
          bytes[parseGreFrame(bytes).transport]! * 256 + bytes[parseGreFrame(bytes).transport + 1]!,
      );
      assert.deepEqual(ports, Array.from({ length: 20 }, () => [5000, 5000, 5000, 9]).flat());
    });

    it('refuses what is not GRE with offload fields, and counts it', () => {
      const shape = { outer: 4, inner: 4, protocol: 'tcp', payload: pattern(3000) } as const;
      const good = superFrame(shape, 1000);
      const change = (edit: (frame: WireFrame) => void): WireFrame => {
        const copy = { bytes: good.bytes.slice(), virtio: good.virtio.slice() };
        edit(copy);
        return copy;
      };
      const wrong = [
        change(({ bytes }) => bytes.fill(17, 23, 24)),
        change(({ bytes }) => bytes.fill(0x55, 14, 15)),
        change(({ bytes }) => bytes.fill(0x40, 14, 15)),
        change(({ bytes }) => bytes.fill(1, 35, 36)),
        change(({ virtio }) => virtio.fill(0, 0, 1)),
        change(({ virtio }) => virtio.fill(255, 6, 8)),
        change(({ virtio }) => virtio.fill(20, 6, 7)),
        change(({ virtio }) => virtio.fill(99, 8, 9)),
        change(({ bytes }) => bytes.fill(0x10, 58 + 12, 58 + 13)),
        { bytes: good.bytes.slice(0, 60), virtio: good.virtio },
      ];
      const before = wire.sender.txErrors[0]!;
      const { plain } = wire.pass([...wrong, good], FRAME_SEGMENT_GRE);
      // Options that are not there (0x55) are read as such, and the packet is then no GRE.
      assert.equal(wire.sender.txErrors[0]! - before, wrong.length);
      assert.equal(plain.length, 3);
    });

    it('satisfies tshark', { timeout: 60_000 }, (context) => {
      if (spawnSync('tshark', ['--version']).error !== undefined) {
        context.skip('needs tshark');
        return;
      }
      const folder = mkdtempSync(join(tmpdir(), 'homeward-gre-'));
      try {
        const chunks: Uint8Array[] = [];
        const writer = new PcapWriter((bytes) => chunks.push(bytes), { linkType: LINKTYPE_ETHERNET });
        let count = 0;
        for (const protocol of ['tcp', 'udp'] as const) {
          for (const inner of [4, 6] as const) {
            const shape = {
              outer: 4,
              inner,
              protocol,
              payload: pattern(4000),
              key: 5,
              checksum: true,
            } as const;
            for (const data of completed(wire.pass([superFrame(shape, 1300)], FRAME_SEGMENT_GRE).plain)) {
              writer.write({ timestampNs: 0n, data });
              count++;
            }
          }
        }
        const path = join(folder, 'gre.pcap');
        writeFileSync(path, Buffer.concat(chunks));
        const checks = ['ip', 'tcp', 'udp'].flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]);
        const wrong = 'ip.checksum.status != 1 or tcp.checksum.status != 1 or udp.checksum.status != 1';
        const list = (filter: string) =>
          spawnSync('tshark', ['-r', path, ...checks, '-Y', filter], { encoding: 'utf8' })
            .stdout.split('\n')
            .filter((line) => line !== '');
        assert.deepEqual(list(`${wrong} or gre.checksum.status != 1 or _ws.malformed`), []);
        assert.equal(list('gre.key == 5 and gre.checksum.status == 1').length, count);
        assert.equal(count, 16);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  });

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
