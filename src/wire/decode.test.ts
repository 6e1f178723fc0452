import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildFragments, buildPacket, type PacketSpec, placePacket, type TransportSpec } from './build.ts';
import { writeUint16 } from './byte-order.ts';
import {
  DECODE_BAD_DESTINATION,
  DECODE_BAD_IP_CHECKSUM,
  DECODE_BAD_SOURCE,
  DECODE_IP_OPTIONS,
  DECODE_MALFORMED,
  DECODE_OK,
  decode,
} from './decode.ts';
import { FrameMemory } from './frame.ts';
import { fillIpv4Checksum } from './ipv4.ts';
import {
  ICMP_ERROR,
  ICMP_NONE,
  ICMP_OTHER,
  ICMP_QUERY,
  PacketView,
  PROTOCOL_AH,
  PROTOCOL_DESTINATION_OPTIONS,
  PROTOCOL_ESP,
  PROTOCOL_FRAGMENT,
  PROTOCOL_GRE,
  PROTOCOL_HOPOPTS,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_NO_NEXT,
  PROTOCOL_ROUTING,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from './packet.ts';

const memory = new FrameMemory(new ArrayBuffer(1 << 17));
const view = new PacketView(memory);

const UDP: TransportSpec = {
  kind: 'udp',
  sourcePort: 1000,
  destinationPort: 53,
  payload: Uint8Array.of(1, 2, 3),
};
const V4 = { source: '10.0.0.1', destination: '192.0.2.1' };
const V6 = { source: 'fd00::1', destination: '2001:db8::1' };

function decodeBytes(packet: Uint8Array, availableBytes = packet.length): number {
  return decode(view, placePacket(memory, 8, packet), availableBytes);
}

function decodeSpec(spec: PacketSpec): number {
  return decodeBytes(buildPacket(spec));
}

/** A UDP packet over IPv4, changed, its header checksum made right again. */
function changed(change: (packet: Uint8Array) => void, spec: Partial<PacketSpec> = {}): Uint8Array {
  const packet = buildPacket({ ...V4, transport: UDP, ...spec });
  change(packet);
  fillIpv4Checksum(packet, 0);
  return packet;
}

test('IPv4: every field', () => {
  const options = Uint8Array.of(148, 4, 0, 0);
  const spec = { ...V4, ttl: 3, trafficClass: 0xb9, identification: 0xbeef, dontFragment: true, options };
  assert.equal(decodeSpec({ ...spec, transport: UDP }), DECODE_OK);
  const offset = 32;
  const expected = {
    offset,
    length: 35,
    family: 4,
    protocol: 17,
    l4Offset: offset + 24,
    ttl: 3,
    trafficClass: 0xb9,
    src0: 0,
    src1: 0,
    src2: 0,
    src3: 0x0100000a,
    dst0: 0,
    dst1: 0,
    dst2: 0,
    dst3: 0x010200c0,
    ports: 0x3500e803,
    sourcePort: 1000,
    destinationPort: 53,
    fragment: 0,
    fragmentOffset: 0,
    moreFragments: 0,
    identification: 0xbeef,
    fragmentHeaderOffset: 0,
    dontFragment: 1,
    tcpFlags: 0,
    sequence: 0,
    acknowledgment: 0,
    window: 0,
    payloadOffset: offset + 32,
    payloadLength: 3,
    icmpType: 0,
    icmpCode: 0,
    icmpKind: ICMP_NONE,
    gsoType: 0,
    gsoSize: 0,
    checksumStart: 0,
    checksumOffset: 0,
  };
  const { memory: _memory, bytes: _bytes, words: _words, quoted: _quoted, ...fields } = view;
  assert.deepEqual(fields, expected);
});

test('a view is filled anew: nothing of the packet before stays', () => {
  const fresh = new PacketView(memory);
  const transports: TransportSpec[] = [
    UDP,
    { kind: 'tcp', sourcePort: 1, destinationPort: 2, flags: 0x10, sequence: -5, acknowledgment: 7 },
    { kind: 'icmp', type: 8, rest: 0x00070001 },
    { kind: 'raw', protocol: PROTOCOL_ESP, payload: new Uint8Array(9) },
  ];
  const packets = transports.flatMap((transport) => [
    buildPacket({ ...V4, transport }),
    buildPacket({ ...V6, transport, trafficClass: 7 }),
    ...buildFragments(buildPacket({ ...V4, transport, options: new Uint8Array(4) }), 32, 99),
  ]);
  for (const before of packets) {
    for (const packet of packets) {
      decodeBytes(before);
      view.gsoType = 1;
      view.gsoSize = 1;
      view.checksumStart = 1;
      view.checksumOffset = 1;
      const code = decodeBytes(packet);
      if (code !== DECODE_OK) continue;
      assert.equal(decode(fresh, 32, packet.length), DECODE_OK);
      const { quoted: _a, ...fields } = view;
      const { quoted: _b, ...freshFields } = fresh;
      assert.deepEqual(fields, freshFields);
    }
  }
});

test('IPv4: lengths and version', () => {
  assert.equal(decodeBytes(changed((p) => writeUint16(p, 2, p.length - 1))), DECODE_MALFORMED, 'UDP cut');
  assert.equal(decodeBytes(changed((p) => writeUint16(p, 2, p.length + 1))), DECODE_MALFORMED);
  assert.equal(decodeBytes(changed((p) => writeUint16(p, 2, 19))), DECODE_MALFORMED);
  assert.equal(decodeBytes(changed((p) => writeUint16(p, 2, 0))), DECODE_MALFORMED);
  for (const first of [0x44, 0x4f, 0x05, 0x55, 0x75, 0xf5]) {
    assert.equal(decodeBytes(changed((p) => p.fill(first, 0, 1))), DECODE_MALFORMED, first.toString(16));
  }
  const padded = new Uint8Array(64);
  padded.set(changed(() => {}));
  assert.equal(decodeBytes(padded), DECODE_OK);
  assert.equal(view.length, 31);
});

test('IPv4: the header checksum covers every bit, options included', () => {
  const packet = buildPacket({ ...V4, transport: UDP, options: Uint8Array.of(1, 1, 1, 0) });
  for (let bit = 0; bit < 24 * 8; bit++) {
    const wrong = Uint8Array.from(packet);
    wrong[bit >> 3] = (wrong[bit >> 3] as number) ^ (1 << (bit & 7));
    const code = decodeBytes(wrong);
    assert.ok(code === DECODE_BAD_IP_CHECKSUM || code === DECODE_MALFORMED, `bit ${bit}: ${code}`);
    if (bit >= 32) assert.equal(code, DECODE_BAD_IP_CHECKSUM);
  }
});

test('IPv4: options', () => {
  const cases: [number[], number][] = [
    [[1, 1, 1, 0], DECODE_OK],
    [[0, 131, 255, 255], DECODE_OK],
    [[7, 4, 4, 0], DECODE_OK],
    [[148, 4, 0, 0], DECODE_OK],
    [[131, 7, 4, 10, 0, 0, 2, 0], DECODE_IP_OPTIONS],
    [[137, 3, 4, 0], DECODE_IP_OPTIONS],
    [[1, 1, 131, 3, 4, 0], DECODE_IP_OPTIONS],
    [[7, 5, 0, 0], DECODE_MALFORMED],
    [[7, 1, 0, 0], DECODE_MALFORMED],
    [[7, 0, 0, 0], DECODE_MALFORMED],
    [[1, 1, 1, 7], DECODE_MALFORMED],
  ];
  for (const [options, code] of cases) {
    const result = decodeSpec({ ...V4, transport: UDP, options: Uint8Array.from(options) });
    assert.equal(result, code, options.join());
  }
});

test('IPv4: fragments', () => {
  const datagram: TransportSpec = { ...UDP, payload: new Uint8Array(100) } as TransportSpec;
  const [first, second, third] = buildFragments(buildPacket({ ...V4, transport: datagram }), 68, 7);
  assert.equal(decodeBytes(first as Uint8Array), DECODE_OK);
  assert.deepEqual([view.fragment, view.moreFragments, view.fragmentOffset], [1, 1, 0]);
  assert.equal(view.destinationPort, 53);
  assert.equal(view.payloadLength, 40, 'what is there, not what UDP says');
  assert.equal(decodeBytes(second as Uint8Array), DECODE_OK);
  assert.deepEqual([view.fragment, view.moreFragments, view.fragmentOffset], [1, 1, 48]);
  assert.deepEqual([view.ports, view.payloadOffset, view.payloadLength], [0, view.l4Offset, 48]);
  assert.equal(decodeBytes(third as Uint8Array), DECODE_OK);
  assert.deepEqual([view.fragment, view.moreFragments, view.fragmentOffset], [1, 0, 96]);
  // A first fragment without its whole transport header.
  const tcp = buildPacket({ ...V4, transport: { kind: 'tcp', sourcePort: 1, destinationPort: 2, flags: 2 } });
  assert.equal(decodeBytes(buildFragments(tcp, 36, 7)[0] as Uint8Array), DECODE_MALFORMED);
});

test('addresses that no packet to be forwarded has', () => {
  const refused4 = [
    '0.0.0.0',
    '0.1.2.3',
    '127.0.0.1',
    '169.254.1.1',
    '224.0.0.5',
    '239.9.9.9',
    '255.255.255.255',
  ];
  const refused6 = ['::', '::1', '::2', '::ffff:10.0.0.1', 'fe80::1', 'febf::1', 'ff02::1', 'ff0e::1'];
  for (const [address, source, destination] of [
    ...refused4.map((address) => [address, V4.source, V4.destination] as const),
    ...refused6.map((address) => [address, V6.source, V6.destination] as const),
  ]) {
    assert.equal(decodeSpec({ source: address, destination, transport: UDP }), DECODE_BAD_SOURCE, address);
    assert.equal(
      decodeSpec({ source, destination: address, transport: UDP }),
      DECODE_BAD_DESTINATION,
      address,
    );
    assert.equal(view.destinationPort, 53, 'the view is filled all the same');
  }
  const passed = [
    '1.0.0.1',
    '126.1.1.1',
    '128.0.0.1',
    '169.253.0.1',
    '223.1.1.1',
    '240.0.0.1',
    '255.255.255.254',
  ];
  for (const address of passed) {
    assert.equal(
      decodeSpec({ source: address, destination: V4.destination, transport: UDP }),
      DECODE_OK,
      address,
    );
    assert.equal(decodeSpec({ source: V4.source, destination: address, transport: UDP }), DECODE_OK, address);
  }
  for (const address of ['::1:0:0:0:1', '64:ff9b::1', 'fe7f::1', 'fec0::1', 'fdff::1', '0:1::1']) {
    assert.equal(
      decodeSpec({ source: address, destination: V6.destination, transport: UDP }),
      DECODE_OK,
      address,
    );
  }
  assert.equal(
    decodeSpec({ source: '10.0.0.1', destination: '10.0.0.1', transport: UDP }),
    DECODE_BAD_SOURCE,
  );
  assert.equal(decodeSpec({ source: 'fd00::1', destination: 'fd00::1', transport: UDP }), DECODE_BAD_SOURCE);
});

test('IPv6: every field, lengths', () => {
  assert.equal(
    decodeSpec({ ...V6, transport: UDP, ttl: 9, trafficClass: 0xb9, flowLabel: 0xfffff }),
    DECODE_OK,
  );
  assert.deepEqual([view.family, view.length, view.ttl, view.trafficClass], [6, 51, 9, 0xb9]);
  assert.deepEqual([view.src0, view.src1, view.src2, view.src3], [0x000000fd, 0, 0, 0x01000000]);
  assert.deepEqual([view.dst0, view.dst1, view.dst2, view.dst3], [0xb80d0120 | 0, 0, 0, 0x01000000]);
  assert.deepEqual([view.dontFragment, view.fragment, view.fragmentHeaderOffset], [1, 0, 0]);
  assert.deepEqual([view.l4Offset - view.offset, view.payloadLength], [40, 3]);
  const packet = buildPacket({ ...V6, transport: UDP });
  assert.equal(decodeBytes(packet, packet.length - 1), DECODE_MALFORMED);
  assert.equal(decodeBytes(packet, 39), DECODE_MALFORMED);
  writeUint16(packet, 4, 0);
  assert.equal(decodeBytes(packet), DECODE_MALFORMED, 'no jumbograms');
  assert.equal(
    decodeSpec({ ...V6, transport: { kind: 'raw', protocol: PROTOCOL_NO_NEXT, payload: new Uint8Array(0) } }),
    DECODE_OK,
  );
});

test('IPv6: extension headers', () => {
  const hop = { protocol: PROTOCOL_HOPOPTS, body: Uint8Array.of(5, 2, 0, 0, 1, 0) };
  const options = { protocol: PROTOCOL_DESTINATION_OPTIONS, body: new Uint8Array(14) };
  const routing = (type: number, left: number) => ({
    protocol: PROTOCOL_ROUTING,
    body: Uint8Array.of(type, left, 0, 0, 0, 0),
  });
  const fragment = (field: number) => ({
    protocol: PROTOCOL_FRAGMENT,
    body: Uint8Array.of(field >> 8, field, 1, 2, 3, 4),
  });
  const cases: [string, PacketSpec['extensions'] & {}, number][] = [
    ['all', [hop, options, routing(2, 0), fragment(0), options], DECODE_OK],
    ['hop-by-hop twice', [hop, hop], DECODE_MALFORMED],
    ['hop-by-hop behind another', [options, hop], DECODE_MALFORMED],
    ['routing type 0', [routing(0, 0)], DECODE_IP_OPTIONS],
    ['routing type 4, segments left', [hop, routing(4, 1)], DECODE_IP_OPTIONS],
    ['two fragment headers', [fragment(0), fragment(0)], DECODE_MALFORMED],
    ['eight', new Array(8).fill(options), DECODE_OK],
    ['nine', new Array(9).fill(options), DECODE_MALFORMED],
  ];
  for (const [name, extensions, code] of cases) {
    assert.equal(decodeSpec({ ...V6, extensions, transport: UDP }), code, name);
    if (code === DECODE_OK) assert.deepEqual([view.protocol, view.destinationPort], [PROTOCOL_UDP, 53], name);
  }

  // An atomic fragment is a whole packet that has a fragment header (RFC 6946).
  assert.equal(decodeSpec({ ...V6, extensions: [options, fragment(0)], transport: UDP }), DECODE_OK);
  assert.deepEqual([view.fragment, view.fragmentHeaderOffset - view.offset], [0, 56]);
  assert.equal(view.identification, 0x01020304);
  assert.equal(view.l4Offset - view.offset, 64);

  assert.equal(decodeSpec({ ...V6, extensions: [fragment(1)], transport: UDP }), DECODE_OK);
  assert.deepEqual([view.fragment, view.moreFragments, view.fragmentOffset], [1, 1, 0]);
  assert.equal(view.destinationPort, 53);
  assert.equal(decodeSpec({ ...V6, extensions: [fragment(0x0011)], transport: UDP }), DECODE_OK);
  assert.deepEqual([view.fragment, view.moreFragments, view.fragmentOffset], [1, 1, 16]);
  assert.deepEqual([view.protocol, view.ports, view.payloadLength], [PROTOCOL_UDP, 0, 11]);
  // Behind a later fragment nothing is walked, whatever its next header says.
  assert.equal(decodeSpec({ ...V6, extensions: [fragment(0x0010), hop], transport: UDP }), DECODE_OK);
  assert.equal(view.protocol, PROTOCOL_HOPOPTS);
  // A first fragment without its whole header chain (RFC 7112).
  const cut = buildPacket({ ...V6, extensions: [fragment(1), options], transport: UDP });
  writeUint16(cut, 4, 16);
  assert.equal(decodeBytes(cut), DECODE_MALFORMED);
});

test('TCP: header length and flags', () => {
  const tcp = (flags: number, dataOffset = 5, payload = 8): number => {
    const transport = {
      kind: 'tcp',
      sourcePort: 1,
      destinationPort: 2,
      flags,
      payload: new Uint8Array(payload),
    };
    const packet = buildPacket({ ...V4, transport: transport as TransportSpec });
    packet[32] = dataOffset << 4;
    return decodeBytes(packet);
  };
  assert.equal(tcp(0x10, 4), DECODE_MALFORMED);
  assert.equal(tcp(0x10, 7), DECODE_OK);
  assert.equal(view.payloadLength, 0);
  assert.equal(tcp(0x10, 8), DECODE_MALFORMED);
  const valid = new Set([0x02, 0x22, 0x12, 0x04, 0x14, 0x11, 0x31, 0x10, 0x30]);
  for (let flags = 0; flags < 256; flags++) {
    const expected = valid.has(flags & 0x37) ? DECODE_OK : DECODE_MALFORMED;
    assert.equal(tcp(flags), expected, flags.toString(16));
    if (expected === DECODE_OK) assert.equal(view.tcpFlags, flags);
  }
  const short = buildPacket({
    ...V4,
    transport: { kind: 'raw', protocol: PROTOCOL_TCP, payload: new Uint8Array(19) },
  });
  assert.equal(decodeBytes(short), DECODE_MALFORMED);
});

test('UDP: the length field', () => {
  const udp = (length: number): number => decodeBytes(changed((p) => writeUint16(p, 24, length)));
  assert.equal(udp(0), DECODE_MALFORMED);
  assert.equal(udp(7), DECODE_MALFORMED);
  assert.equal(udp(8), DECODE_OK);
  assert.deepEqual([view.payloadLength, view.length], [0, 31]);
  assert.equal(udp(10), DECODE_OK);
  assert.equal(view.payloadLength, 2);
  assert.equal(udp(11), DECODE_OK);
  assert.equal(udp(12), DECODE_MALFORMED);
});

test('a GSO packet: the length fields hold the whole', () => {
  const payload = new Uint8Array(65535 - 28);
  assert.equal(decodeSpec({ ...V4, transport: { ...UDP, payload } as TransportSpec }), DECODE_OK);
  assert.deepEqual([view.length, view.payloadLength], [65535, payload.length]);
  const tcp = { kind: 'tcp', sourcePort: 1, destinationPort: 2, flags: 0x10 } as const;
  const most = new Uint8Array(65535 - 20);
  assert.equal(decodeSpec({ ...V6, transport: { ...tcp, payload: most } }), DECODE_OK);
  assert.deepEqual([view.length, view.payloadLength], [65575, most.length]);
});

test('ICMP: kinds', () => {
  const quote = buildPacket({ ...V4, transport: UDP });
  const quote6 = buildPacket({ ...V6, transport: UDP });
  for (let type = 0; type < 256; type++) {
    const query = [0, 8, 13, 14].includes(type);
    const error = [3, 11, 12].includes(type);
    assert.equal(decodeSpec({ ...V4, transport: { kind: 'icmp', type, payload: quote } }), DECODE_OK);
    assert.equal(view.icmpKind, query ? ICMP_QUERY : error ? ICMP_ERROR : ICMP_OTHER, `type ${type}`);
    assert.deepEqual([view.icmpType, view.icmpCode], [type, 0]);
    const query6 = type === 128 || type === 129;
    const error6 = type >= 1 && type <= 4;
    assert.equal(decodeSpec({ ...V6, transport: { kind: 'icmp', type, payload: quote6 } }), DECODE_OK);
    assert.equal(view.icmpKind, query6 ? ICMP_QUERY : error6 ? ICMP_ERROR : ICMP_OTHER, `type ${type}`);
  }
  decodeSpec({ ...V4, transport: { kind: 'icmp', type: 14, rest: 0x12340001 } });
  assert.deepEqual([view.sourcePort, view.destinationPort], [0, 0x1234]);
  decodeSpec({ ...V4, transport: { kind: 'icmp', type: 8, code: 1 } });
  assert.equal(view.icmpKind, ICMP_OTHER, 'a query has code 0');
  for (const [addresses, protocol] of [
    [V4, PROTOCOL_ICMPV6],
    [V6, PROTOCOL_ICMP],
  ] as const) {
    const payload = Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 0);
    assert.equal(
      decodeSpec({ ...addresses, transport: { kind: 'raw', protocol, payload } }),
      DECODE_MALFORMED,
    );
  }
  const short = { kind: 'raw', protocol: PROTOCOL_ICMP, payload: new Uint8Array(7) } as const;
  assert.equal(decodeSpec({ ...V4, transport: short }), DECODE_MALFORMED);
});

test('protocols without ports', () => {
  for (const protocol of [PROTOCOL_ESP, PROTOCOL_AH, PROTOCOL_GRE, PROTOCOL_SCTP, 4, 41, 255]) {
    for (const addresses of [V4, V6]) {
      const payload = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9);
      assert.equal(decodeSpec({ ...addresses, transport: { kind: 'raw', protocol, payload } }), DECODE_OK);
      assert.deepEqual([view.protocol, view.ports, view.sourcePort], [protocol, 0, 0]);
      assert.deepEqual([view.payloadOffset, view.payloadLength], [view.l4Offset, 9]);
    }
  }
});

test('decoding allocates nothing', () => {
  const packets = [V4, V6].flatMap((addresses) => [
    buildPacket({ ...addresses, transport: UDP }),
    buildPacket({
      ...addresses,
      transport: { kind: 'tcp', sourcePort: 1, destinationPort: 2, flags: 0x10, sequence: -1 },
    }),
    buildPacket({
      ...addresses,
      transport: { kind: 'icmp', type: 3, payload: buildPacket({ ...addresses, transport: UDP }) },
    }),
  ]);
  const offsets = packets.map((packet, index) => placePacket(memory, 8 + index * 256, packet));
  const lengths = packets.map((packet) => packet.length);
  let codes = 0;
  const run = (rounds: number): void => {
    for (let round = 0; round < rounds; round++) {
      for (let index = 0; index < offsets.length; index++) {
        codes += decode(view, offsets[index] as number, lengths[index] as number);
      }
    }
  };
  run(20000);
  const before = process.memoryUsage().heapUsed;
  run(20000);
  const grown = process.memoryUsage().heapUsed - before;
  assert.equal(codes, 0);
  // One 16-byte object a packet would be two million bytes.
  assert.ok(grown < 200_000, `${grown} bytes`);
});
