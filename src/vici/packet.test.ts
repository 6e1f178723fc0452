import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { ViciError } from './errors.ts';
import {
  CMD_REQUEST,
  CMD_RESPONSE,
  CMD_UNKNOWN,
  EVENT,
  EVENT_CONFIRM,
  encodePacket,
  MAX_PACKET_BYTES,
  PacketReader,
  type ViciPacket,
} from './packet.ts';

const SEED = 20_241_107;

function framed(...bytes: readonly number[]): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, Buffer.from(bytes)]);
}

function read(reader: PacketReader, ...chunks: readonly Uint8Array[]): ViciPacket[] {
  return chunks.flatMap((chunk) =>
    [...reader.push(chunk)].map((packet) => ({ ...packet, message: Buffer.from(packet.message) })),
  );
}

const STREAM: [Buffer, ViciPacket][] = [
  [framed(CMD_RESPONSE, 1, 2, 3), { type: CMD_RESPONSE, name: '', message: Buffer.of(1, 2, 3) }],
  [framed(CMD_RESPONSE), { type: CMD_RESPONSE, name: '', message: Buffer.of() }],
  [framed(EVENT, 2, 0x75, 0x70, 9), { type: EVENT, name: 'up', message: Buffer.of(9) }],
  [framed(EVENT_CONFIRM), { type: EVENT_CONFIRM, name: '', message: Buffer.of() }],
  [framed(CMD_UNKNOWN), { type: CMD_UNKNOWN, name: '', message: Buffer.of() }],
];

describe('VICI packets', () => {
  it('to the daemon: length, type, name, message', () => {
    assert.deepEqual(
      Buffer.from(encodePacket(CMD_REQUEST, 'version', Buffer.of(7))),
      framed(CMD_REQUEST, 7, ...Buffer.from('version'), 7),
    );
    assert.throws(
      () => encodePacket(CMD_REQUEST, 'load-cert', Buffer.alloc(MAX_PACKET_BYTES)),
      (error: ViciError) => error.code === 'unsendable' && /load-cert has 524299 bytes/.test(error.message),
    );
  });

  it('from the daemon, however the stream is cut', () => {
    const bytes = Buffer.concat(STREAM.map(([packet]) => packet));
    const expected = STREAM.map(([, packet]) => packet);
    assert.deepEqual(read(new PacketReader(), bytes), expected);
    assert.deepEqual(read(new PacketReader(), ...[...bytes].map((byte) => Buffer.of(byte))), expected);
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length)), (cuts) => {
        const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
        const chunks = places.slice(1).map((end, at) => bytes.subarray(places[at], end));
        assert.deepEqual(read(new PacketReader(), ...chunks), expected);
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  it('of the greatest length', () => {
    const message = Buffer.alloc(MAX_PACKET_BYTES - 1, 5);
    const packet = Buffer.concat([Buffer.alloc(4), Buffer.of(CMD_RESPONSE), message]);
    packet.writeUInt32BE(MAX_PACKET_BYTES);
    const [received] = read(new PacketReader(), packet);
    assert.equal(received!.message.length, message.length);
  });

  const wrong: [what: string, bytes: Buffer, message: RegExp][] = [
    ['one byte too long', Buffer.from([0, 8, 0, 1]), /a packet of 524289 bytes/],
    ['endless', Buffer.from([255, 255, 255, 255]), /a packet of 4294967295 bytes/],
    ['empty', Buffer.alloc(4), /a packet of 0 bytes/],
    ['of a type that only we send', framed(CMD_REQUEST, 1, 65), /type 0, which a daemon does not send/],
    ['of no type', framed(8), /type 8/],
    ['confirming with more than it may', framed(EVENT_CONFIRM, 1), /1 bytes too many/],
    ['an event without a name', framed(EVENT), /an event without a name/],
    ['an event whose name is cut off', framed(EVENT, 5, 65), /an event without a name/],
  ];
  for (const [what, bytes, message] of wrong) {
    it(`refuses one ${what}, and all that comes behind`, () => {
      const reader = new PacketReader();
      const check = (error: unknown): boolean =>
        error instanceof ViciError && error.code === 'protocol' && message.test(error.message);
      assert.throws(() => read(reader, bytes), check);
      assert.throws(() => read(reader, STREAM[0]![0]), check);
    });
  }

  it('random bytes: packets or one protocol error', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), (chunks) => {
        try {
          read(new PacketReader(), ...chunks);
        } catch (error) {
          assert.ok(error instanceof ViciError && error.code === 'protocol', String(error));
        }
      }),
      { seed: SEED, numRuns: 2000 },
    );
  });
});
