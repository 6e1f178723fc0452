/** Ethernet and ARP: frames as Linux sent them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ARP_BYTES,
  ARP_REPLY,
  ARP_REQUEST,
  ARP_SENDER_MAC,
  ARP_TARGET_MAC,
  arpOperation,
  arpSenderAddress,
  arpTargetAddress,
  isValidArp,
  writeArp,
} from './arp.ts';
import {
  ETHERNET_SOURCE,
  ETHERTYPE_ARP,
  etherType,
  formatMac,
  isGroupMac,
  macEquals,
  parseMac,
  writeEthernetHeader,
} from './ethernet.ts';

const REQUEST = 'ffffffffffff02000000000108060001080006040001020000000001c0000201000000000000c0000202';
const REPLY = '02000000000102000000000208060001080006040002020000000002c0000202020000000001c0000201';
const FIRST = 0x010200c0;
const SECOND = 0x020200c0;

const mac = (text: string): Uint8Array => parseMac(text) as Uint8Array;

test('MAC addresses in text', () => {
  assert.equal(formatMac(mac('02:00:0A:ff:00:01')), '02:00:0a:ff:00:01');
  for (const text of [
    '',
    '02:00:00:00:00',
    '02:00:00:00:00:01:02',
    '2:0:0:0:0:1',
    '02-00-00-00-00-01',
    'g0:00:00:00:00:01',
  ]) {
    assert.equal(parseMac(text), undefined, text);
  }
});

test('a request, written and read', () => {
  const bytes = new Uint8Array(42);
  writeEthernetHeader(bytes, 0, mac('ff:ff:ff:ff:ff:ff'), 0, mac('02:00:00:00:00:01'), 0, ETHERTYPE_ARP);
  writeArp(bytes, 14, ARP_REQUEST, bytes, ETHERNET_SOURCE, FIRST, new Uint8Array(6), 0, SECOND);
  assert.equal(Buffer.from(bytes).toString('hex'), REQUEST);
  assert.equal(etherType(bytes, 0), ETHERTYPE_ARP);
  assert.ok(isGroupMac(bytes, 0));
  assert.equal(isGroupMac(bytes, ETHERNET_SOURCE), false);
  assert.ok(isValidArp(bytes, 14, ARP_BYTES));
  assert.equal(arpOperation(bytes, 14), ARP_REQUEST);
  assert.equal(arpSenderAddress(bytes, 14), FIRST);
  assert.equal(arpTargetAddress(bytes, 14), SECOND);
});

test('a reply, written in place over the request', () => {
  const bytes = Uint8Array.from(Buffer.from(REQUEST, 'hex'));
  const own = mac('02:00:00:00:00:02');
  writeEthernetHeader(bytes, 0, bytes, 14 + ARP_SENDER_MAC, own, 0, ETHERTYPE_ARP);
  const asker = Uint8Array.from(bytes.subarray(14 + ARP_SENDER_MAC, 14 + ARP_SENDER_MAC + 6));
  writeArp(bytes, 14, ARP_REPLY, own, 0, SECOND, asker, 0, FIRST);
  assert.equal(Buffer.from(bytes).toString('hex'), REPLY);
  assert.ok(macEquals(bytes, 14 + ARP_TARGET_MAC, asker, 0));
  for (let index = 0; index < 6; index++) {
    const other = Uint8Array.from(asker);
    other[index] = (other[index] as number) ^ 4;
    assert.equal(macEquals(bytes, 14 + ARP_TARGET_MAC, other, 0), false);
  }
});

test('ARP of other kinds is not read', () => {
  const valid = Uint8Array.from(Buffer.from(REPLY, 'hex')).subarray(14);
  for (let length = 0; length < ARP_BYTES; length++) assert.equal(isValidArp(valid, 0, length), false);
  for (const [at, value] of [
    [1, 6],
    [2, 0x86],
    [4, 8],
    [5, 16],
    [6, 1],
    [7, 3],
    [7, 0],
    [ARP_SENDER_MAC, 3],
  ] as const) {
    const bytes = Uint8Array.from(valid);
    bytes[at] = value;
    assert.equal(isValidArp(bytes, 0, ARP_BYTES), false, `byte ${at}`);
  }
});
