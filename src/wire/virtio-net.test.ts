import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildPacket, placePacket, type TransportSpec } from './build.ts';
import { DECODE_MALFORMED, DECODE_OK, decode } from './decode.ts';
import { FrameMemory } from './frame.ts';
import { GSO_ECN, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, PacketView } from './packet.ts';
import { readVirtioNetHeader, writeVirtioNetHeader } from './virtio-net.ts';

const memory = new FrameMemory(new ArrayBuffer(8192));
const view = new PacketView(memory);
const FRAME = 104;
const TUN_BASE = FRAME + 24;
const ETHERNET_BASE = FRAME + 10;

const V4 = { source: '10.0.0.1', destination: '192.0.2.1' };
const V6 = { source: 'fd00::1', destination: '2001:db8::1' };
const payload = new Uint8Array(3000);
const TCP: TransportSpec = { kind: 'tcp', sourcePort: 1, destinationPort: 2, flags: 0x10, payload };
const UDP: TransportSpec = { kind: 'udp', sourcePort: 1, destinationPort: 2, payload };

interface Header {
  readonly flags?: number;
  readonly gsoType?: number;
  readonly headerBytes?: number;
  readonly gsoSize?: number;
  readonly start?: number;
  readonly offset?: number;
}

function setHeader(header: Header): void {
  const data = new DataView(memory.buffer, FRAME, 10);
  data.setUint8(0, header.flags ?? 0);
  data.setUint8(1, header.gsoType ?? 0);
  data.setUint16(2, header.headerBytes ?? 0, true);
  data.setUint16(4, header.gsoSize ?? 0, true);
  data.setUint16(6, header.start ?? 0, true);
  data.setUint16(8, header.offset ?? 0, true);
}

function read(addresses: typeof V4, transport: TransportSpec, header: Header, base = TUN_BASE): number {
  const packet = buildPacket({ ...addresses, transport });
  assert.equal(decode(view, placePacket(memory, FRAME, packet), packet.length), DECODE_OK);
  setHeader(header);
  return readVirtioNetHeader(view, FRAME, base);
}

const headerHex = (at = FRAME): string => Buffer.from(memory.bytes.subarray(at, at + 10)).toString('hex');

test('a packet without offloads', () => {
  assert.equal(read(V4, TCP, {}), DECODE_OK);
  assert.equal(read(V4, TCP, { flags: 2 }), DECODE_OK, 'DATA_VALID says nothing we keep');
  assert.deepEqual([view.gsoType, view.gsoSize, view.checksumStart, view.checksumOffset], [0, 0, 0, 0]);
  memory.bytes.fill(0xff, FRAME, FRAME + 12);
  writeVirtioNetHeader(memory, FRAME, view, TUN_BASE);
  assert.equal(headerHex(), '00'.repeat(10));
  assert.equal(memory.bytes[FRAME + 10], 0xff, 'nothing behind it is touched');
});

test('partial checksums', () => {
  assert.equal(read(V4, TCP, { flags: 1, start: 20, offset: 16 }), DECODE_OK);
  assert.deepEqual([view.checksumStart, view.checksumOffset], [view.l4Offset, 16]);
  assert.equal(read(V6, UDP, { flags: 1, start: 40, offset: 6 }), DECODE_OK);
  assert.deepEqual([view.checksumStart, view.checksumOffset], [view.l4Offset, 6]);
  assert.equal(read(V4, UDP, { flags: 3, start: 34, offset: 6 }, ETHERNET_BASE), DECODE_OK);
  assert.deepEqual([view.checksumStart, view.checksumOffset], [view.l4Offset, 6]);

  const wrong: [TransportSpec, Header][] = [
    [TCP, { flags: 1, start: 20, offset: 6 }],
    [UDP, { flags: 1, start: 20, offset: 16 }],
    [TCP, { flags: 1, start: 24, offset: 16 }],
    [TCP, { flags: 1, start: 34, offset: 16 }],
    [TCP, { flags: 1, start: 0xffff, offset: 16 }],
    [
      { kind: 'icmp', type: 8 },
      { flags: 1, start: 20, offset: 2 },
    ],
    [
      { kind: 'raw', protocol: 47, payload },
      { flags: 1, start: 20, offset: 16 },
    ],
  ];
  for (const [transport, header] of wrong) {
    assert.equal(read(V4, transport, header), DECODE_MALFORMED);
    assert.deepEqual([view.gsoType, view.gsoSize, view.checksumStart, view.checksumOffset], [0, 0, 0, 0]);
  }
});

test('GSO', () => {
  const tcp4 = { flags: 1, start: 20, offset: 16, gsoSize: 1000 };
  const tcp6 = { ...tcp4, start: 40 };
  const udp4 = { ...tcp4, offset: 6 };
  const cases: [typeof V4, TransportSpec, Header, number][] = [
    [V4, TCP, { ...tcp4, gsoType: GSO_TCPV4 }, DECODE_OK],
    [V4, TCP, { ...tcp4, gsoType: GSO_TCPV4 | GSO_ECN }, DECODE_OK],
    [V6, TCP, { ...tcp6, gsoType: GSO_TCPV6 }, DECODE_OK],
    [V4, UDP, { ...udp4, gsoType: GSO_UDP_L4 }, DECODE_OK],
    [V6, UDP, { ...udp4, start: 40, gsoType: GSO_UDP_L4 }, DECODE_OK],
    [V4, TCP, { gsoType: GSO_TCPV4, gsoSize: 1000 }, DECODE_OK],
    [V4, TCP, { ...tcp4, gsoType: GSO_TCPV4, gsoSize: 0 }, DECODE_MALFORMED],
    [V4, TCP, { ...tcp4, gsoType: GSO_TCPV6 }, DECODE_MALFORMED],
    [V6, TCP, { ...tcp6, gsoType: GSO_TCPV4 }, DECODE_MALFORMED],
    [V4, TCP, { ...tcp4, gsoType: GSO_UDP_L4 }, DECODE_MALFORMED],
    [V4, UDP, { ...udp4, gsoType: GSO_TCPV4 }, DECODE_MALFORMED],
    [V4, UDP, { ...udp4, gsoType: GSO_UDP_L4 | GSO_ECN }, DECODE_MALFORMED],
    [V4, UDP, { gsoType: GSO_UDP_L4, gsoSize: 1000 }, DECODE_MALFORMED],
    [V4, UDP, { ...udp4, gsoType: 3 }, DECODE_MALFORMED],
    [V4, TCP, { ...tcp4, gsoType: 2 }, DECODE_MALFORMED],
    [V4, TCP, { ...tcp4, gsoType: GSO_ECN }, DECODE_MALFORMED],
    [V4, { kind: 'icmp', type: 8 }, { gsoType: GSO_TCPV4, gsoSize: 9 }, DECODE_MALFORMED],
  ];
  for (const [addresses, transport, header, code] of cases) {
    assert.equal(read(addresses, transport, header), code, JSON.stringify(header));
    if (code === DECODE_OK) {
      assert.deepEqual([view.gsoType, view.gsoSize], [header.gsoType, header.gsoSize]);
    } else {
      assert.deepEqual([view.gsoType, view.gsoSize, view.checksumStart], [0, 0, 0]);
    }
  }
});

test('a fragment has neither', () => {
  const packet = buildPacket({ ...V4, transport: TCP });
  packet[6] = 0x20;
  packet[10] = (packet[10] as number) - 0x20;
  assert.equal(decode(view, placePacket(memory, FRAME, packet), packet.length), DECODE_OK);
  assert.equal(view.fragment, 1);
  setHeader({ flags: 1, start: 20, offset: 16 });
  assert.equal(readVirtioNetHeader(view, FRAME, TUN_BASE), DECODE_MALFORMED);
});

test('from TUN to a packet socket: the same packet, other numbers', () => {
  const header = { flags: 1, gsoType: GSO_TCPV4, gsoSize: 1448, start: 20, offset: 16 };
  assert.equal(read(V4, TCP, { ...header, headerBytes: 9999 }), DECODE_OK);
  writeVirtioNetHeader(memory, FRAME, view, TUN_BASE);
  assert.equal(headerHex(), '01012800a80514001000');
  writeVirtioNetHeader(memory, FRAME, view, ETHERNET_BASE);
  assert.equal(headerHex(), '01013600a80522001000');
  // Behind an outer header of 28 bytes, in front of which the frame now begins.
  writeVirtioNetHeader(memory, FRAME - 28, view, ETHERNET_BASE - 28);
  assert.equal(headerHex(FRAME - 28), '01015200a8053e001000');
  assert.equal(readVirtioNetHeader(view, FRAME - 28, ETHERNET_BASE - 28), DECODE_OK);
  assert.equal(view.checksumStart, view.l4Offset);
});
