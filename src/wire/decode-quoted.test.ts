import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildFragments, buildPacket, type PacketSpec, placePacket, type TransportSpec } from './build.ts';
import { writeUint16 } from './byte-order.ts';
import { DECODE_MALFORMED, DECODE_OK, decode } from './decode.ts';
import { FrameMemory } from './frame.ts';
import { ICMP_ERROR, ICMP_OTHER, ICMP_QUERY, PacketView, PROTOCOL_ESP, PROTOCOL_ROUTING } from './packet.ts';

const memory = new FrameMemory(new ArrayBuffer(4096));
const view = new PacketView(memory);
const quoted = view.quoted as PacketView;

const V4 = { source: '10.0.0.1', destination: '192.0.2.1' };
const V6 = { source: 'fd00::1', destination: '2001:db8::1' };
const TCP: TransportSpec = {
  kind: 'tcp',
  sourcePort: 1000,
  destinationPort: 443,
  flags: 0x18,
  sequence: 0x89abcdef | 0,
  acknowledgment: 0x01020304,
  window: 500,
  options: Uint8Array.of(1, 1, 1, 1),
  payload: new Uint8Array(30),
};

/** Decodes an error from the destination back to the source, which quotes the first `quoteBytes` of `packet`. */
function decodeError(
  addresses: { source: string; destination: string },
  packet: Uint8Array,
  quoteBytes = packet.length,
  rest = 0,
  tail = new Uint8Array(0),
): number {
  const isIpv4 = addresses === V4;
  const quote = packet.subarray(0, quoteBytes);
  const payload = new Uint8Array(quote.length + tail.length);
  payload.set(quote);
  payload.set(tail, quote.length);
  const error: PacketSpec = {
    source: addresses.destination,
    destination: addresses.source,
    transport: { kind: 'icmp', type: isIpv4 ? 3 : 1, code: 1, rest, payload },
  };
  const bytes = buildPacket(error);
  // What lies behind a packet must not be read.
  memory.bytes.fill(0xff, 32 + bytes.length);
  return decode(view, placePacket(memory, 8, bytes), bytes.length);
}

test('every length of a quote: from 8 bytes of transport on it has ports and a sequence number', () => {
  for (const [addresses, headerBytes] of [
    [V4, 20],
    [V6, 40],
  ] as const) {
    const packet = buildPacket({ ...addresses, transport: TCP });
    for (let bytes = 0; bytes <= packet.length; bytes++) {
      const code = decodeError(addresses, packet, bytes);
      assert.equal(code, bytes < headerBytes + 8 ? DECODE_MALFORMED : DECODE_OK, `${bytes} bytes`);
      if (code !== DECODE_OK) continue;
      assert.equal(view.icmpKind, ICMP_ERROR);
      assert.equal(quoted.length, bytes);
      assert.deepEqual([quoted.sourcePort, quoted.destinationPort], [1000, 443]);
      assert.equal(quoted.sequence, 0x89abcdef | 0);
      const isWholeHeader = bytes >= headerBytes + 20;
      assert.equal(quoted.acknowledgment, isWholeHeader ? 0x01020304 : 0);
      assert.equal(quoted.tcpFlags, isWholeHeader ? 0x18 : 0);
      assert.equal(quoted.window, isWholeHeader ? 500 : 0);
      assert.equal(quoted.payloadOffset + quoted.payloadLength, quoted.offset + bytes);
      assert.equal(quoted.payloadLength, Math.max(0, bytes - headerBytes - 24));
      assert.equal(view.payloadOffset, quoted.offset);
    }
  }
});

test('a header checksum that is wrong, and a length of more than is there, are no errors', () => {
  const packet = buildPacket({ ...V4, transport: TCP });
  packet[8] = 1;
  writeUint16(packet, 2, 1500);
  assert.equal(decodeError(V4, packet), DECODE_OK);
  assert.equal(quoted.length, packet.length);
  assert.equal(quoted.ttl, 1);
  writeUint16(packet, 2, 27);
  assert.equal(decodeError(V4, packet), DECODE_MALFORMED, 'no 8 bytes of transport');
  writeUint16(packet, 2, 19);
  assert.equal(decodeError(V4, packet), DECODE_MALFORMED);
  packet[0] = 0x44;
  writeUint16(packet, 2, 60);
  assert.equal(decodeError(V4, packet), DECODE_MALFORMED);
});

test('a quote of the other family is malformed', () => {
  assert.equal(decodeError(V4, buildPacket({ ...V6, transport: TCP })), DECODE_MALFORMED);
  assert.equal(decodeError(V6, buildPacket({ ...V4, transport: TCP })), DECODE_MALFORMED);
});

test('quoted queries give their identifier, quoted errors are marked', () => {
  for (const [addresses, request, reply, unreachable] of [
    [V4, 8, 0, 3],
    [V6, 128, 129, 1],
  ] as const) {
    const icmp = (type: number) =>
      buildPacket({ ...addresses, transport: { kind: 'icmp', type, rest: 0x12340001 } });
    assert.equal(decodeError(addresses, icmp(request)), DECODE_OK);
    assert.deepEqual([quoted.icmpKind, quoted.sourcePort, quoted.destinationPort], [ICMP_QUERY, 0x1234, 0]);
    assert.equal(quoted.ports, 0x3412);
    assert.equal(decodeError(addresses, icmp(reply)), DECODE_OK);
    assert.deepEqual([quoted.icmpKind, quoted.sourcePort, quoted.destinationPort], [ICMP_QUERY, 0, 0x1234]);
    assert.equal(decodeError(addresses, icmp(unreachable)), DECODE_OK);
    assert.deepEqual([quoted.icmpKind, quoted.ports], [ICMP_ERROR, 0]);
    assert.equal(decodeError(addresses, icmp(137)), DECODE_OK);
    assert.deepEqual([quoted.icmpKind, quoted.ports], [ICMP_OTHER, 0]);
  }
});

test('quoted fragments', () => {
  for (const addresses of [V4, V6]) {
    const fragments = buildFragments(
      buildPacket({ ...addresses, transport: TCP }),
      addresses === V4 ? 60 : 88,
      7,
    );
    assert.equal(decodeError(addresses, fragments[0] as Uint8Array), DECODE_OK);
    assert.deepEqual([quoted.fragment, quoted.fragmentOffset, quoted.destinationPort], [1, 0, 443]);
    const last = fragments[1] as Uint8Array;
    assert.equal(decodeError(addresses, last), DECODE_OK);
    assert.deepEqual([quoted.fragment, quoted.ports, quoted.identification], [1, 0, 7]);
    assert.notEqual(quoted.fragmentOffset, 0);
    assert.equal(quoted.payloadOffset, quoted.l4Offset);
  }
});

test('other protocols need no bytes of transport', () => {
  const payload = new Uint8Array(3);
  for (const addresses of [V4, V6]) {
    const packet = buildPacket({ ...addresses, transport: { kind: 'raw', protocol: PROTOCOL_ESP, payload } });
    assert.equal(decodeError(addresses, packet), DECODE_OK);
    assert.deepEqual([quoted.protocol, quoted.ports, quoted.payloadLength], [PROTOCOL_ESP, 0, 3]);
  }
});

test('a quote that ends within its options is malformed, whatever its protocol', () => {
  const transport: TransportSpec = { kind: 'raw', protocol: PROTOCOL_ESP, payload: new Uint8Array(3) };
  const packet = buildPacket({ ...V4, transport, options: new Uint8Array(40).fill(1) });
  assert.equal(decodeError(V4, packet, 60), DECODE_OK);
  assert.deepEqual([quoted.l4Offset, quoted.payloadLength], [quoted.offset + 60, 0]);
  assert.equal(decodeError(V4, packet, 59), DECODE_MALFORMED);
});

test('extensions behind the quote are not part of it (RFC 4884)', () => {
  const big: TransportSpec = { ...TCP, payload: new Uint8Array(200) } as TransportSpec;
  for (const [addresses, rest] of [
    [V4, (128 / 4) << 16],
    [V6, (128 / 8) << 24],
  ] as const) {
    const packet = buildPacket({ ...addresses, transport: big });
    assert.equal(decodeError(addresses, packet, 128, rest, new Uint8Array(20)), DECODE_OK);
    assert.equal(quoted.length, 128);
    // A length below the least that RFC 4884 allows, or beyond what is there, says nothing.
    assert.equal(decodeError(addresses, packet, 128, rest >> 2, new Uint8Array(20)), DECODE_OK);
    assert.equal(quoted.length, 148);
    assert.equal(decodeError(addresses, packet, 100, rest), DECODE_OK);
    assert.equal(quoted.length, 100);
  }
});

test('a quoted source route is malformed: we forward none', () => {
  const extensions = [{ protocol: PROTOCOL_ROUTING, body: new Uint8Array(6) }];
  assert.equal(decodeError(V6, buildPacket({ ...V6, transport: TCP, extensions })), DECODE_MALFORMED);
});
