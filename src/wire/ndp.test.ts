import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from './address.ts';
import { buildPacket } from './build.ts';
import { writeUint16 } from './byte-order.ts';
import { FrameMemory } from './frame.ts';
import {
  NDP_IGNORED,
  NDP_MALFORMED,
  NDP_OK,
  NDP_OTHER,
  NDP_OVERRIDE,
  NDP_PACKET_BYTES,
  NDP_ROUTER,
  NDP_SOLICITED,
  NdpMessage,
  parseNdp,
  solicitedNodeWord3,
  writeMulticastMac,
  writeNeighborAdvertisement,
  writeNeighborSolicitation,
} from './ndp.ts';

/** As Linux sent them, without Ethernet headers. */
const SOLICITATION =
  '6000000000203aff20010db8000000000000000000000001ff0200000000000000000001ff00000287001c27' +
  '0000000020010db80000000000000000000000020101020000000001';
const ADVERTISEMENT =
  '6000000000203aff20010db800000000000000000000000220010db80000000000000000000000018800' +
  '8a716000000020010db80000000000000000000000020201020000000002';

const memory = new FrameMemory(new ArrayBuffer(512));
const message = new NdpMessage();
const words = (text: string): Int32Array => parseAddress(text)?.words as Int32Array;
const MAC1 = Uint8Array.of(2, 0, 0, 0, 0, 1);
const MAC2 = Uint8Array.of(2, 0, 0, 0, 0, 2);
const OFFSET = 32;

function parse(packet: Uint8Array, availableBytes = packet.length): number {
  memory.bytes.fill(0xff);
  memory.bytes.set(packet, OFFSET);
  return parseNdp(memory, OFFSET, availableBytes, message);
}

const placed = (): string =>
  Buffer.from(memory.bytes.subarray(OFFSET, OFFSET + NDP_PACKET_BYTES)).toString('hex');

test('a solicitation and its answer, written as Linux writes them', () => {
  writeNeighborSolicitation(memory, OFFSET, words('2001:db8::1'), words('2001:db8::2'), MAC1, 0, false);
  assert.equal(placed(), SOLICITATION);
  assert.equal(parseNdp(memory, OFFSET, NDP_PACKET_BYTES, message), NDP_OK);
  assert.equal(message.type, 135);
  assert.deepEqual(
    Int32Array.of(message.target0, message.target1, message.target2, message.target3),
    words('2001:db8::2'),
  );
  assert.deepEqual(
    Int32Array.of(message.src0, message.src1, message.src2, message.src3),
    words('2001:db8::1'),
  );
  assert.deepEqual(memory.bytes.slice(message.macOffset, message.macOffset + 6), MAC1);

  // In place. A host that is no router would not set the router flag: the one difference.
  writeNeighborAdvertisement(memory, OFFSET, message, MAC2, 0);
  assert.equal(placed(), ADVERTISEMENT.replace('88008a7160', '88000a71e0'));
  assert.equal(parseNdp(memory, OFFSET, NDP_PACKET_BYTES, message), NDP_OK);
  assert.equal(message.flags, NDP_ROUTER | NDP_SOLICITED | NDP_OVERRIDE);

  assert.equal(parse(Buffer.from(ADVERTISEMENT, 'hex')), NDP_OK);
  assert.equal(message.flags, NDP_SOLICITED | NDP_OVERRIDE);
  assert.deepEqual(memory.bytes.slice(message.macOffset, message.macOffset + 6), MAC2);
});

test('a unicast solicitation asks the target itself', () => {
  writeNeighborSolicitation(memory, OFFSET, words('fe80::1'), words('fe80::2'), MAC1, 0, true);
  assert.equal(parseNdp(memory, OFFSET, NDP_PACKET_BYTES, message), NDP_OK);
  assert.deepEqual(Int32Array.of(message.dst0, message.dst1, message.dst2, message.dst3), words('fe80::2'));
});

test('group addresses', () => {
  const [, , , word3] = words('2001:db8::1234:5678') as unknown as number[];
  assert.equal(solicitedNodeWord3(word3 as number), words('ff02::1:ff34:5678')[3]);
  const mac = new Uint8Array(6);
  writeMulticastMac(mac, 0, words('ff02::1:ff34:5678')[3] as number);
  assert.deepEqual(mac, Uint8Array.of(0x33, 0x33, 0xff, 0x34, 0x56, 0x78));
});

interface Variant {
  readonly type?: number;
  readonly code?: number;
  readonly source?: string;
  readonly destination?: string;
  readonly ttl?: number;
  readonly flags?: number;
  readonly target?: string;
  readonly options?: number[];
}

function variant(change: Variant): Uint8Array {
  const payload = new Uint8Array(16 + (change.options?.length ?? 0));
  new Int32Array(payload.buffer, 0, 4).set(words(change.target ?? '2001:db8::2'));
  payload.set(change.options ?? [], 16);
  return buildPacket({
    source: change.source ?? '2001:db8::1',
    destination: change.destination ?? '2001:db8::2',
    ttl: change.ttl ?? 255,
    transport: {
      kind: 'icmp',
      type: change.type ?? 135,
      code: change.code ?? 0,
      rest: change.flags ?? 0,
      payload,
    },
  });
}

test('the checks of RFC 4861, 7.1', () => {
  const option = [1, 1, 2, 0, 0, 0, 0, 1];
  const cases: [string, Variant, number][] = [
    ['plain', {}, NDP_OK],
    ['hop limit 254', { ttl: 254 }, NDP_MALFORMED],
    ['code 1', { code: 1 }, NDP_MALFORMED],
    ['multicast target', { target: 'ff02::1' }, NDP_MALFORMED],
    ['multicast source', { source: 'ff02::1' }, NDP_MALFORMED],
    ['option of length 0', { options: [1, 0, 0, 0, 0, 0, 0, 0] }, NDP_MALFORMED],
    ['option beyond the end', { options: [1, 2, 0, 0, 0, 0, 0, 0] }, NDP_MALFORMED],
    ['half an option', { options: [1, 1, 0, 0] }, NDP_MALFORMED],
    ['unknown option first', { options: [14, 1, 9, 9, 9, 9, 9, 9, ...option] }, NDP_OK],
    ['duplicate address detection', { source: '::', destination: 'ff02::1:ff00:2' }, NDP_OK],
    ['the same, to one host', { source: '::' }, NDP_MALFORMED],
    [
      'the same, with an option',
      { source: '::', destination: 'ff02::1:ff00:2', options: option },
      NDP_MALFORMED,
    ],
    ['unsolicited, to all', { type: 136, destination: 'ff02::1', flags: NDP_OVERRIDE }, NDP_OK],
    ['solicited, to all', { type: 136, destination: 'ff02::1', flags: NDP_SOLICITED }, NDP_MALFORMED],
    ['router solicitation', { type: 133 }, NDP_IGNORED],
    ['redirect', { type: 137 }, NDP_IGNORED],
    ['echo', { type: 128 }, NDP_OTHER],
    ['type 138', { type: 138 }, NDP_OTHER],
  ];
  for (const [name, change, code] of cases) assert.equal(parse(variant(change)), code, name);

  assert.equal(parse(variant({})), NDP_OK);
  assert.equal(message.macOffset, 0);
  assert.equal(parse(variant({ options: [14, 1, 9, 9, 9, 9, 9, 9, ...option] })), NDP_OK);
  assert.equal(message.macOffset, OFFSET + 40 + 24 + 10);
  assert.equal(parse(variant({ type: 136, options: option })), NDP_OK);
  assert.equal(message.macOffset, 0, "a source's option says nothing in an advertisement");
});

test('wrong checksums, short packets, other packets', () => {
  const packet = variant({ options: [1, 1, 2, 0, 0, 0, 0, 1] });
  for (let at = 8; at < packet.length; at++) {
    // Not type and code, which have checks of their own.
    if (at === 40 || at === 41) continue;
    const wrong = Uint8Array.from(packet);
    wrong[at] = (wrong[at] as number) ^ 0x10;
    assert.equal(parse(wrong), NDP_MALFORMED, `byte ${at}`);
  }
  for (let length = 0; length < packet.length; length++) {
    assert.equal(
      parse(packet.subarray(0, length)),
      length < 48 ? NDP_OTHER : NDP_MALFORMED,
      `${length} bytes`,
    );
  }
  assert.equal(parse(packet, packet.length - 1), NDP_MALFORMED, 'all there, but not all ours');
  const short = Uint8Array.from(packet);
  writeUint16(short, 4, 23);
  assert.equal(parse(short), NDP_MALFORMED);
  const ipv4 = { source: '10.0.0.1', destination: '10.0.0.2' };
  const payload = new Uint8Array(60);
  assert.equal(parse(buildPacket({ ...ipv4, transport: { kind: 'raw', protocol: 58, payload } })), NDP_OTHER);
});
