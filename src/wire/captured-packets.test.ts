/**
 * Packets as Linux sent them (between two veths, without offloads): what decode makes of them, checksums included.
 * 192.0.2.1 and 2001:db8::1 talk to 192.0.2.2 and 2001:db8::2.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddressWords } from './address.ts';
import { placePacket } from './build.ts';
import { verifyTransportChecksum } from './checksum.ts';
import { DECODE_OK, decode } from './decode.ts';
import { FrameMemory } from './frame.ts';
import {
  ICMP_ERROR,
  ICMP_NONE,
  ICMP_QUERY,
  PacketView,
  TCP_ACK,
  TCP_FIN,
  TCP_PSH,
  TCP_SYN,
} from './packet.ts';
import { parseTcpOptions, TcpOptions } from './tcp.ts';

const memory = new FrameMemory(new ArrayBuffer(4096));
const view = new PacketView(memory);

function decodeHex(hex: string, missingBytes = 0): PacketView {
  const packet = Buffer.from(hex, 'hex');
  assert.equal(decode(view, placePacket(memory, 8, packet), packet.length + missingBytes), DECODE_OK);
  return view;
}

function endpoints(packet: PacketView): string {
  const { family, src0, src1, src2, src3, dst0, dst1, dst2, dst3 } = packet;
  const source = formatAddressWords(family, src0, src1, src2, src3);
  const destination = formatAddressWords(family, dst0, dst1, dst2, dst3);
  return `${source} ${packet.sourcePort} > ${destination} ${packet.destinationPort}`;
}

test('TCP: handshake, data, close', () => {
  decodeHex(
    '4500003c2236400040069482c0000201c0000202920e1f90fb85965700000000a002faf0c0260000020405b40402080ade9ae6ca000000000103030a',
  );
  assert.equal(endpoints(view), '192.0.2.1 37390 > 192.0.2.2 8080');
  assert.equal(view.tcpFlags, TCP_SYN);
  assert.equal(view.sequence, 0xfb859657 | 0);
  assert.equal(view.window, 64240);
  assert.equal(view.payloadLength, 0);
  assert.equal(view.payloadOffset, view.offset + view.length);
  assert.equal(view.dontFragment, 1);
  assert.equal(view.identification, 0x2236);
  assert.ok(verifyTransportChecksum(view));
  const options = new TcpOptions();
  assert.ok(parseTcpOptions(memory.bytes, view.l4Offset, 40, options));
  assert.equal(options.mss, 1460);
  assert.equal(options.mssOffset, view.l4Offset + 22);
  assert.equal(options.windowScale, 10);
  assert.equal(options.sackPermitted, 1);
  assert.equal(options.timestampValue, 0xde9ae6ca | 0);
  assert.equal(options.timestampEcho, 0);

  decodeHex(
    '4500003c000040004006b6b8c0000202c00002011f90920e10331481fb859658a012fe88c7f80000020405b40402080aa91b26b5de9ae6ca0103030a',
  );
  assert.equal(endpoints(view), '192.0.2.2 8080 > 192.0.2.1 37390');
  assert.equal(view.tcpFlags, TCP_SYN | TCP_ACK);
  assert.equal(view.acknowledgment, 0xfb859658 | 0);
  assert.ok(verifyTransportChecksum(view));

  decodeHex(
    '45000039223840004006' +
      '9483c0000201c0000202920e1f90fb859658103314828018003fb13200000101080ade9ae6caa91b26b568656c6c6f',
  );
  assert.equal(view.tcpFlags, TCP_ACK | TCP_PSH);
  assert.equal(
    Buffer.from(memory.bytes.subarray(view.payloadOffset, view.payloadOffset + 5)).toString(),
    'hello',
  );
  assert.equal(view.payloadLength, 5);
  assert.equal(view.icmpKind, ICMP_NONE);
  assert.ok(verifyTransportChecksum(view));

  decodeHex(
    '4500003413d040004006a2f0c0000202c00002011f90920e10331482fb85965d80110040f3de00000101080aa91b27e1de9ae6ca',
  );
  assert.equal(view.tcpFlags, TCP_FIN | TCP_ACK);
  assert.ok(verifyTransportChecksum(view));
});

test('ping, both families', () => {
  decodeHex('4500002486eb400040012feac0000201c00002020800b93532b900010001020304050607');
  assert.equal(endpoints(view), `192.0.2.1 ${0x32b9} > 192.0.2.2 0`);
  assert.equal(view.icmpKind, ICMP_QUERY);
  assert.equal(view.ports, 0xb932);
  assert.ok(verifyTransportChecksum(view));
  decodeHex('450000248e7f000040016856c0000202c00002010000c13532b900010001020304050607');
  assert.equal(endpoints(view), `192.0.2.2 0 > 192.0.2.1 ${0x32b9}`);
  assert.equal(view.ports, 0xb9320000 | 0);
  assert.ok(verifyTransportChecksum(view));

  decodeHex(
    '6006555500103a4020010db800000000000000000000000120010db80000000000000000000000028000e57432ba00010001020304050607',
  );
  assert.equal(endpoints(view), `2001:db8::1 ${0x32ba} > 2001:db8::2 0`);
  assert.equal(view.icmpKind, ICMP_QUERY);
  assert.equal(view.payloadLength, 8);
  assert.ok(verifyTransportChecksum(view));
  decodeHex(
    '600e600300103a4020010db800000000000000000000000220010db80000000000000000000000018100e47432ba00010001020304050607',
  );
  assert.equal(endpoints(view), `2001:db8::2 0 > 2001:db8::1 ${0x32ba}`);
  assert.ok(verifyTransportChecksum(view));
});

test('port unreachable, both families, and the datagram it quotes', () => {
  const quoted = view.quoted as PacketView;
  decodeHex('45000021a75a400040110f6ec0000201c0000202a0520009000d95a26b6e6f636b');
  assert.equal(endpoints(view), '192.0.2.1 41042 > 192.0.2.2 9');
  assert.equal(view.payloadLength, 5);
  assert.ok(verifyTransportChecksum(view));
  decodeHex(
    '45c0003d8ea100004001675bc0000202c00002010303811f0000000045000021a75a400040110f6ec0000201c0000202a0520009000d95a26b6e6f636b',
  );
  assert.equal(endpoints(view), '192.0.2.2 0 > 192.0.2.1 0');
  assert.equal(view.trafficClass, 0xc0);
  assert.deepEqual([view.icmpKind, view.icmpType, view.icmpCode], [ICMP_ERROR, 3, 3]);
  assert.equal(endpoints(quoted), '192.0.2.1 41042 > 192.0.2.2 9');
  assert.equal(quoted.protocol, 17);
  assert.equal(quoted.length, 33);
  assert.equal(quoted.payloadLength, 5);
  assert.ok(verifyTransportChecksum(view));
  assert.ok(verifyTransportChecksum(quoted), 'whole, so its own checksum holds');

  decodeHex(
    '6001d92f003d3a4020010db800000000000000000000000220010db800000000000000000000000101042676000000006' +
      '00d0b5d000d114020010db800000000000000000000000120010db80000000000000000000000028a860009000dd3fd6b6e6f636b',
  );
  assert.deepEqual([view.icmpKind, view.icmpType, view.icmpCode], [ICMP_ERROR, 1, 4]);
  assert.equal(endpoints(quoted), '2001:db8::1 35462 > 2001:db8::2 9');
  assert.ok(verifyTransportChecksum(view));
});

test('a datagram in two fragments', () => {
  const filler = '78'.repeat(1472);
  decodeHex(`450005dca75b2000401129b2c0000201c0000202de8d000907d8f70c${filler}`);
  assert.deepEqual(
    [view.fragment, view.moreFragments, view.fragmentOffset, view.identification],
    [1, 1, 0, 0xa75b],
  );
  assert.equal(endpoints(view), '192.0.2.1 56973 > 192.0.2.2 9');
  assert.equal(view.payloadLength, 1472);
  decodeHex(`45000224a75b00b940114cb1c0000201c0000202${filler.slice(0, 528 * 2)}`);
  assert.deepEqual([view.fragment, view.moreFragments, view.fragmentOffset], [1, 0, 1480]);
  assert.equal(view.ports, 0);
  assert.equal(view.l4Offset, view.offset + 20);
  assert.equal(view.payloadLength, 528);
});

test('a quote whose total length says more than is there', () => {
  const quoted = view.quoted as PacketView;
  decodeHex(
    '45c002408ea2000040016557c0000202c00002010303c52600000000' +
      '450007eca75b0000401147a2c0000201c0000202de8d000907d8f70c' +
      '78'.repeat(520),
  );
  assert.equal(endpoints(quoted), '192.0.2.1 56973 > 192.0.2.2 9');
  assert.equal(quoted.length, 548);
  assert.equal(quoted.payloadLength, 520);
  assert.equal(quoted.fragment, 0);
  assert.ok(verifyTransportChecksum(view));
});

test('Ethernet padding behind the packet is ignored', () => {
  decodeHex('45000021a75a400040110f6ec0000201c0000202a0520009000d95a26b6e6f636b', 13);
  assert.equal(view.length, 33);
  assert.equal(view.payloadLength, 5);
});
