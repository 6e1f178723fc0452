import assert from 'node:assert/strict';
import test from 'node:test';
import { plainChecksum } from '../../../test/support/plain-packets.ts';
import { buildPacket } from '../../wire/build.ts';
import { FrameMemory } from '../../wire/frame.ts';
import { ipv6TrafficClass } from '../../wire/ipv6.ts';
import { IPV4, IPV6 } from '../../wire/packet.ts';
import { CE, combineEcn, ECN_DROP, ECT_0, ECT_1, NOT_ECT, setEcn } from './ecn.ts';

test('decapsulation combines both fields as the table of RFC 6040, figure 4', () => {
  const columns = [NOT_ECT, ECT_0, ECT_1, CE];
  const rows: [number, number[]][] = [
    [NOT_ECT, [NOT_ECT, NOT_ECT, NOT_ECT, ECN_DROP]],
    [ECT_0, [ECT_0, ECT_0, ECT_1, CE]],
    [ECT_1, [ECT_1, ECT_1, ECT_1, CE]],
    [CE, [CE, CE, CE, CE]],
  ];
  for (const [inner, expected] of rows) {
    columns.forEach((outer, index) => {
      assert.equal(combineEcn(inner, outer), expected[index], `inner ${inner}, outer ${outer}`);
      // The DSCP of neither matters.
      assert.equal(combineEcn(inner | 0xb8, outer | 0x28), expected[index]);
    });
  }
});

test('a new field leaves the IPv4 checksum right, for every traffic class', () => {
  const memory = new FrameMemory(new ArrayBuffer(64));
  for (let trafficClass = 0; trafficClass < 256; trafficClass++) {
    const packet = buildPacket({
      source: '10.0.0.1',
      destination: '10.0.0.2',
      trafficClass,
      identification: trafficClass * 251,
      transport: { kind: 'raw', protocol: 99, payload: new Uint8Array(0) },
    });
    for (let ecn = 0; ecn < 4; ecn++) {
      memory.bytes.set(packet);
      setEcn(memory, 0, IPV4, ecn);
      assert.equal(memory.bytes[1], (trafficClass & 0xfc) | ecn);
      assert.equal(plainChecksum(memory.bytes.slice(0, 20)), 0);
    }
  }
});

test('a new field leaves the rest of an IPv6 header alone', () => {
  const memory = new FrameMemory(new ArrayBuffer(64));
  const spec = { source: 'fd00::1', destination: 'fd00::2', trafficClass: 0xb9, flowLabel: 0xabcde };
  const packet = buildPacket({
    ...spec,
    transport: { kind: 'raw', protocol: 99, payload: new Uint8Array(0) },
  });
  memory.bytes.set(packet);
  setEcn(memory, 0, IPV6, CE);
  assert.equal(ipv6TrafficClass(memory.bytes, 0), 0xbb);
  packet[1] = memory.bytes[1] as number;
  assert.deepEqual(memory.bytes.slice(0, 40), packet);
});
