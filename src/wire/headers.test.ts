/** Header files of one test or two each: IPv4, IPv6, UDP, TCP options, ICMP. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildTcpOptions } from './build.ts';
import { readHalf, swap16 } from './byte-order.ts';
import { checksumDelta } from './checksum.ts';
import { icmpNextHopMtu, writeIcmpHeader } from './icmp.ts';
import { icmpv6Mtu } from './icmpv6.ts';
import {
  adjustIpv4Checksum,
  checkIpv4Options,
  fillIpv4Checksum,
  IPV4_CHECKSUM,
  IPV4_OPTIONS_MALFORMED,
  IPV4_OPTIONS_OK,
  IPV4_OPTIONS_SOURCE_ROUTE,
  ipv4Destination,
  ipv4Flags,
  ipv4HeaderBytes,
  ipv4Identification,
  ipv4Protocol,
  ipv4Source,
  ipv4TotalLength,
  verifyIpv4Checksum,
  writeIpv4Header,
} from './ipv4.ts';
import {
  ipv6ExtensionBytes,
  ipv6HopLimit,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6TrafficClass,
  setIpv6TrafficClass,
  writeIpv6Address,
  writeIpv6FragmentHeader,
  writeIpv6Start,
} from './ipv6.ts';
import { parseTcpOptions, TcpOptions, tcpHeaderBytes, writeTcpHeader } from './tcp.ts';
import { udpLength, writeUdpHeader } from './udp.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('IPv4: a header as Linux sent it', () => {
  const bytes = new Uint8Array(24);
  writeIpv4Header(bytes, 4, 0x3d, 1, 0x020200c0, 0x010200c0, 64, 0xc0, 0x8ea1, 0);
  assert.equal(hex(bytes.subarray(4)), '45c0003d8ea100004001675bc0000202c0000201');
  assert.ok(verifyIpv4Checksum(bytes, 4));
  assert.equal(ipv4HeaderBytes(bytes, 4), 20);
  assert.equal(ipv4TotalLength(bytes, 4), 61);
  assert.equal(ipv4Identification(bytes, 4), 0x8ea1);
  assert.equal(ipv4Protocol(bytes, 4), 1);
  assert.equal(ipv4Source(bytes, 4), 0x020200c0);
  assert.equal(ipv4Destination(bytes, 4), 0x010200c0);
  writeIpv4Header(bytes, 0, 0x5dc, 17, 1, 2, 64, 0, 0xa75b, 0x2000 | 185);
  assert.equal(ipv4Flags(bytes, 0), 0x20b9);

  const before = readHalf(bytes, 8);
  bytes[8] = 63;
  assert.equal(verifyIpv4Checksum(bytes, 0), false);
  adjustIpv4Checksum(bytes, 0, checksumDelta(before, readHalf(bytes, 8)));
  assert.ok(verifyIpv4Checksum(bytes, 0));
  const adjusted = swap16(readHalf(bytes, IPV4_CHECKSUM));
  fillIpv4Checksum(bytes, 0);
  assert.equal(swap16(readHalf(bytes, IPV4_CHECKSUM)), adjusted);
});

test('IPv4: the walk over options ends with the header', () => {
  const bytes = new Uint8Array(64).fill(131);
  bytes.set([1, 1, 7, 2], 20);
  assert.equal(checkIpv4Options(bytes, 0, 24), IPV4_OPTIONS_OK);
  bytes.set([1, 1, 1, 7], 20);
  assert.equal(checkIpv4Options(bytes, 0, 24), IPV4_OPTIONS_MALFORMED);
  assert.equal(checkIpv4Options(bytes, 0, 20), IPV4_OPTIONS_OK);
  bytes.set([1, 137, 3, 4], 20);
  assert.equal(checkIpv4Options(bytes, 0, 24), IPV4_OPTIONS_SOURCE_ROUTE);
});

test('IPv6: header, fragment header, extension length', () => {
  const bytes = new Uint8Array(48);
  writeIpv6Start(bytes, 0, 0x103, 44, 64, 0xb9, 0xabcde);
  writeIpv6Address(bytes, 8, 0xb80d0120, 0, 0, 0x01000000);
  assert.equal(hex(bytes.subarray(0, 24)), '6b9abcde01032c4020010db8000000000000000000000001');
  assert.equal(ipv6TrafficClass(bytes, 0), 0xb9);
  assert.equal(ipv6PayloadLength(bytes, 0), 0x103);
  assert.equal(ipv6NextHeader(bytes, 0), 44);
  assert.equal(ipv6HopLimit(bytes, 0), 64);
  setIpv6TrafficClass(bytes, 0, 0x46);
  assert.equal(hex(bytes.subarray(0, 4)), '646abcde', 'the flow label stays');
  writeIpv6FragmentHeader(bytes, 40, 17, 1448, 1, 0x89abcdef);
  assert.equal(hex(bytes.subarray(40)), '110005a989abcdef');
  assert.equal(ipv6ExtensionBytes(Uint8Array.of(6, 0), 0), 8);
  assert.equal(ipv6ExtensionBytes(Uint8Array.of(6, 255), 0), 2048);
});

test('UDP and ICMP headers', () => {
  const bytes = new Uint8Array(10).fill(0xff);
  writeUdpHeader(bytes, 1, 0xa052, 9, 13);
  assert.equal(hex(bytes), 'ffa0520009000d0000ff');
  assert.equal(udpLength(bytes, 1), 13);
  writeIcmpHeader(bytes, 1, 3, 4, 1476);
  assert.equal(hex(bytes), 'ff03040000000005c4ff');
  assert.equal(icmpNextHopMtu(bytes, 1), 1476);
  assert.equal(icmpv6Mtu(bytes, 1), 1476);
});

test('TCP: the header of a SYN and its options', () => {
  const bytes = new Uint8Array(44);
  writeTcpHeader(bytes, 4, 0x920e, 8080, 0xfb859657, 0, 2, 64240, 40);
  assert.equal(hex(bytes.subarray(4, 24)), '920e1f90fb85965700000000a002faf000000000');
  assert.equal(tcpHeaderBytes(bytes, 4), 40);
  const built = buildTcpOptions({ mss: 1460, sackPermitted: true, timestamps: [7, -1], windowScale: 10 });
  bytes.set(built, 24);
  const options = new TcpOptions();
  assert.ok(parseTcpOptions(bytes, 4, 40, options));
  assert.deepEqual(
    { ...options },
    {
      mss: 1460,
      mssOffset: 26,
      windowScale: 10,
      sackPermitted: 1,
      hasTimestamps: 1,
      timestampValue: 7,
      timestampEcho: -1,
    },
  );
});

test('TCP options: what is wrong, and what is passed over', () => {
  const options = new TcpOptions();
  const parse = (...body: number[]): boolean => {
    const bytes = new Uint8Array(20 + body.length);
    bytes.set(body, 20);
    return parseTcpOptions(bytes, 0, bytes.length, options);
  };
  assert.ok(parse());
  assert.deepEqual([options.mss, options.windowScale], [0, -1]);
  assert.ok(parse(1, 1, 254, 4, 0, 0, 3, 3, 7, 0, 2, 9), 'unknown kinds; nothing behind the end counts');
  assert.deepEqual([options.mss, options.windowScale], [0, 7]);
  assert.ok(parse(3, 3, 200, 1));
  assert.equal(options.windowScale, 14, 'RFC 7323, 2.3');
  assert.ok(parse(2, 4, 5, 0, 2, 4, 9, 9));
  assert.deepEqual([options.mss, options.mssOffset], [0x500, 22], 'the first one counts');
  assert.equal(parse(2, 3, 1, 1), false);
  assert.equal(parse(3, 4, 1, 1), false);
  assert.equal(parse(4, 3, 0, 1), false);
  assert.equal(parse(8, 8, 0, 0, 0, 0, 0, 0), false);
  assert.equal(parse(254, 1, 0, 0), false);
  assert.equal(parse(254, 0, 0, 0), false);
  assert.equal(parse(254, 5, 0, 0), false);
  assert.equal(parse(1, 1, 1, 2), false);
});
