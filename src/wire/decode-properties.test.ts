/**
 * Decoding of anything at all: it never throws, everything a filled view points to lies within the packet, and what
 * lies behind the packet never matters. Seeds are fixed, so that a failure is the same tomorrow.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAddress } from './address.ts';
import {
  buildFragments,
  buildPacket,
  buildTcpOptions,
  type ExtensionSpec,
  type PacketSpec,
  placePacket,
  type TransportSpec,
} from './build.ts';
import { verifyTransportChecksum } from './checksum.ts';
import { DECODE_BAD_DESTINATION, DECODE_BAD_SOURCE, DECODE_OK, decode } from './decode.ts';
import { FrameMemory } from './frame.ts';
import { fillIpv4Checksum, verifyIpv4Checksum } from './ipv4.ts';
import { ICMP_ERROR, IPV4, IPV6, PacketView } from './packet.ts';
import { parseTcpOptions, TcpOptions } from './tcp.ts';

const SEED = { seed: 20240613 };
const FRAME = 104;
const OFFSET = FRAME + 24;

const memory = new FrameMemory(new ArrayBuffer(8192));
const view = new PacketView(memory);
const otherMemory = new FrameMemory(new ArrayBuffer(8192));
const otherView = new PacketView(otherMemory);

/** Every number of a view. */
function numbersOf(from: PacketView): Record<string, number> {
  return Object.fromEntries(Object.entries(from).filter(([, value]) => typeof value === 'number'));
}

function checkBounds(inner: PacketView, start: number, end: number): void {
  assert.equal(inner.offset, start);
  assert.ok(inner.length > 0 && inner.offset + inner.length <= end, 'length');
  const innerEnd = inner.offset + inner.length;
  assert.ok(inner.l4Offset >= start + 20 && inner.l4Offset <= innerEnd, 'l4Offset');
  assert.equal(inner.l4Offset & 3, 0, 'words');
  assert.ok(inner.payloadOffset >= inner.l4Offset, 'payloadOffset');
  assert.ok(inner.payloadLength >= 0 && inner.payloadOffset + inner.payloadLength <= innerEnd, 'payload');
  assert.ok(inner.family === IPV4 || inner.family === IPV6);
  if (inner.fragmentHeaderOffset !== 0) {
    assert.ok(inner.fragmentHeaderOffset >= start + 40 && inner.fragmentHeaderOffset + 8 <= inner.l4Offset);
  }
  for (const [name, value] of Object.entries(numbersOf(inner))) {
    assert.equal(value, value | 0, `${name} is an int32`);
  }
}

/** Decodes twice, with different bytes around the packet: both must say the same. Returns the code. */
function decodeGuarded(packet: Uint8Array): number {
  memory.bytes.fill(0xff);
  otherMemory.bytes.fill(0x45);
  placePacket(memory, FRAME, packet);
  placePacket(otherMemory, FRAME, packet);
  const code = decode(view, OFFSET, packet.length);
  assert.equal(decode(otherView, OFFSET, packet.length), code);
  assert.ok(code >= DECODE_OK && code <= DECODE_BAD_DESTINATION);
  if (code !== DECODE_OK && code !== DECODE_BAD_SOURCE && code !== DECODE_BAD_DESTINATION) return code;
  checkBounds(view, OFFSET, OFFSET + packet.length);
  assert.deepEqual(numbersOf(otherView), numbersOf(view));
  if (view.icmpKind === ICMP_ERROR) {
    const quoted = view.quoted as PacketView;
    checkBounds(quoted, view.payloadOffset, view.payloadOffset + view.payloadLength);
    assert.deepEqual(numbersOf(otherView.quoted as PacketView), numbersOf(quoted));
  }
  return code;
}

const port = fc.nat(0xffff);
const payload = fc.uint8Array({ maxLength: 40 });

const tcp: fc.Arbitrary<TransportSpec> = fc.record({
  kind: fc.constant('tcp' as const),
  sourcePort: port,
  destinationPort: port,
  sequence: fc.integer(),
  acknowledgment: fc.integer(),
  flags: fc.constantFrom(0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0xc2, 0x30),
  window: port,
  options: fc.oneof(
    fc.constant(new Uint8Array(0)),
    fc
      .record({ mss: port, windowScale: fc.nat(14), sackPermitted: fc.boolean() })
      .map((options) => buildTcpOptions(options)),
  ),
  payload,
});
const udp: fc.Arbitrary<TransportSpec> = fc.record({
  kind: fc.constant('udp' as const),
  sourcePort: port,
  destinationPort: port,
  payload,
});
const raw: fc.Arbitrary<TransportSpec> = fc.record({
  kind: fc.constant('raw' as const),
  protocol: fc.constantFrom(47, 50, 51, 132, 4, 41),
  payload,
});
const query = (family: number): fc.Arbitrary<TransportSpec> =>
  fc.record({
    kind: fc.constant('icmp' as const),
    type: family === IPV4 ? fc.constantFrom(0, 8, 13, 14) : fc.constantFrom(128, 129),
    rest: fc.integer(),
    payload,
  });

/** Unicast addresses that pass. */
const address = (family: number): fc.Arbitrary<string> =>
  family === IPV4
    ? fc
        .tuple(fc.integer({ min: 1, max: 126 }), fc.nat(255), fc.nat(255), fc.nat(255))
        .map((a) => a.join('.'))
    : fc
        .tuple(fc.integer({ min: 0x20, max: 0x3f }), fc.integer(), fc.integer(), fc.integer())
        .map(([first, ...rest]) => formatAddress({ family: IPV6, words: Int32Array.of(first, ...rest) }));

const extensions: fc.Arbitrary<ExtensionSpec[]> = fc.array(
  fc.record({ protocol: fc.constant(60), body: fc.uint8Array({ maxLength: 22 }) }),
  { maxLength: 3 },
);

function packetSpec(family: number, transport: fc.Arbitrary<TransportSpec>): fc.Arbitrary<PacketSpec> {
  return fc
    .record({
      source: address(family),
      destination: address(family),
      transport,
      ttl: fc.nat(255),
      trafficClass: fc.nat(255),
      identification: port,
      dontFragment: fc.boolean(),
      options: fc.nat(10).map((words) => new Uint8Array(words * 4).fill(1)),
      flowLabel: fc.nat(0xfffff),
      extensions,
    })
    .filter((spec) => spec.source !== spec.destination);
}

const anyFamily = fc.constantFrom(IPV4, IPV6);
const plainSpec = anyFamily.chain((family) =>
  packetSpec(family, fc.oneof(tcp, udp, raw, query(family))).map((spec) => ({ family, spec })),
);
/** ICMP errors that quote a plain packet, cut somewhere behind the first 8 bytes of its transport header. */
const errorPacket = fc.tuple(plainSpec, fc.nat(200)).map(([{ family, spec }, cut]) => {
  const packet = buildPacket(spec);
  assert.ok(decode(view, placePacket(memory, FRAME, packet), packet.length) === DECODE_OK);
  const quote = packet.subarray(0, view.l4Offset - OFFSET + 8 + cut);
  const type = family === IPV4 ? 11 : 3;
  const transport: TransportSpec = { kind: 'icmp', type, payload: quote };
  return buildPacket({ source: spec.destination, destination: spec.source, transport });
});
const anyPacket: fc.Arbitrary<Uint8Array> = fc.oneof(
  plainSpec.map(({ spec }) => buildPacket(spec)),
  errorPacket,
);

test('what was built is what is decoded', () => {
  fc.assert(
    fc.property(plainSpec, ({ family, spec }) => {
      const packet = buildPacket(spec);
      assert.equal(decodeGuarded(packet), DECODE_OK);
      assert.equal(view.family, family);
      assert.equal(view.length, packet.length);
      assert.equal(view.ttl, spec.ttl);
      assert.equal(view.trafficClass, spec.trafficClass);
      const { src0, src1, src2, src3, dst0, dst1, dst2, dst3 } = view;
      assert.equal(formatAddress({ family, words: Int32Array.of(src0, src1, src2, src3) }), spec.source);
      assert.equal(formatAddress({ family, words: Int32Array.of(dst0, dst1, dst2, dst3) }), spec.destination);
      assert.ok(verifyTransportChecksum(view));
      if (family === IPV4) {
        assert.ok(verifyIpv4Checksum(view.bytes, view.offset));
        assert.equal(view.identification, spec.identification);
        assert.equal(view.dontFragment, spec.dontFragment === true ? 1 : 0);
      }
      const transport = spec.transport;
      const data = view.bytes.slice(view.payloadOffset, view.payloadOffset + view.payloadLength);
      assert.deepEqual(data, transport.payload);
      if (transport.kind === 'tcp') {
        assert.deepEqual(
          [view.sourcePort, view.destinationPort, view.sequence, view.acknowledgment],
          [transport.sourcePort, transport.destinationPort, transport.sequence, transport.acknowledgment],
        );
        assert.deepEqual([view.tcpFlags, view.window], [transport.flags, transport.window]);
      } else if (transport.kind === 'udp') {
        assert.equal(view.sourcePort, transport.sourcePort);
        assert.equal(view.destinationPort, transport.destinationPort);
      } else if (transport.kind === 'icmp') {
        assert.equal(view.sourcePort | view.destinationPort, (transport.rest as number) >>> 16);
      } else {
        assert.equal(view.protocol, transport.protocol);
        assert.equal(view.ports, 0);
      }
    }),
    { ...SEED, numRuns: 1500 },
  );
});

test('random bytes', () => {
  let accepted = 0;
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 120, size: 'max' }),
      fc.constantFrom(0x45, 0x46, 0x4f, 0x60, 0),
      fc.constantFrom(0, 1, 6, 17, 43, 44, 58, 60),
      (bytes, first, protocol) => {
        // Most random bytes fail at once; some are helped over the first checks.
        if (first !== 0) bytes[0] = first;
        if (first === 0x60 && bytes.length >= 40) {
          bytes.set([0, bytes.length - 40, protocol], 4);
        } else if (first !== 0 && bytes.length >= 60) {
          bytes.set([0, bytes.length], 2);
          bytes[9] = protocol;
          fillIpv4Checksum(bytes, 0);
        }
        if (decodeGuarded(bytes) === DECODE_OK) accepted++;
      },
    ),
    { ...SEED, numRuns: 6000 },
  );
  assert.ok(accepted > 100, `only ${accepted} packets came through`);
});

test('valid packets, cut at every length', () => {
  fc.assert(
    fc.property(anyPacket, (packet) => {
      assert.equal(decodeGuarded(packet), DECODE_OK);
      for (let length = 0; length < packet.length; length++) {
        assert.notEqual(decodeGuarded(packet.subarray(0, length)), DECODE_OK, `${length} bytes`);
      }
    }),
    { ...SEED, numRuns: 200 },
  );
});

test('valid packets with flipped bits, their header checksum made right again', () => {
  let accepted = 0;
  fc.assert(
    fc.property(
      anyPacket,
      fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      (packet, bits, isMended) => {
        for (const any of bits) {
          const bit = any % (packet.length * 8);
          packet[bit >> 3] = (packet[bit >> 3] as number) ^ (1 << (bit & 7));
        }
        if (isMended && packet[0] >>> 4 === 4 && (packet[0] & 15) * 4 <= packet.length) {
          fillIpv4Checksum(packet, 0);
        }
        if (decodeGuarded(packet) === DECODE_OK) accepted++;
      },
    ),
    { ...SEED, numRuns: 5000 },
  );
  assert.ok(accepted > 100, `only ${accepted} packets came through`);
});

test('fragments carry the datagram, each byte once', () => {
  const spec = anyFamily.chain((family) => packetSpec(family, fc.oneof(tcp, udp)));
  let pieces = 0;
  fc.assert(
    fc.property(
      spec,
      fc.uint8Array({ minLength: 300, maxLength: 1000 }),
      fc.integer({ min: 160, max: 200 }),
      fc.nat(0xffff),
      (one, data, mtu, identification) => {
        const transport = { ...one.transport, payload: data };
        const packet = buildPacket({ ...one, extensions: [], transport });
        assert.equal(decodeGuarded(packet), DECODE_OK);
        const datagram = packet.slice(view.l4Offset - OFFSET);
        const whole = new Uint8Array(datagram.length);
        let next = 0;
        for (const fragment of buildFragments(packet, mtu, identification)) {
          assert.ok(fragment.length <= mtu);
          assert.equal(decodeGuarded(fragment), DECODE_OK);
          assert.equal(view.fragmentOffset, next);
          const piece = view.bytes.slice(view.l4Offset, view.offset + view.length);
          whole.set(piece, next);
          next += piece.length;
          pieces++;
          assert.equal(view.moreFragments, next < datagram.length ? 1 : 0);
          if (view.fragment !== 0) assert.equal(view.identification, identification);
        }
        assert.deepEqual(whole, datagram);
      },
    ),
    { ...SEED, numRuns: 300 },
  );
  assert.ok(pieces > 600, `only ${pieces} fragments`);
});

test('TCP options of any bytes: never beyond the header', () => {
  const options = new TcpOptions();
  const bytes = new Uint8Array(80);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(255), (body, guard) => {
      bytes.fill(guard);
      bytes.set(body, 24);
      const isRight = parseTcpOptions(bytes, 4, 20 + body.length, options);
      const before = { ...options };
      bytes.fill(~guard, 24 + body.length);
      assert.equal(parseTcpOptions(bytes, 4, 20 + body.length, options), isRight);
      assert.deepEqual({ ...options }, before);
      if (options.mssOffset !== 0) assert.ok(options.mssOffset + 2 <= 24 + body.length);
    }),
    { ...SEED, numRuns: 3000 },
  );
});
