import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type ControlMessage,
  type DataPlaneMessage,
  encodeMessage,
  formatDataPlaneArguments,
  MessageDecoder,
  parseDataPlaneArguments,
} from './messages.ts';

const messages: DataPlaneMessage[] = [
  { type: 'ready', pid: 4711, generation: 0 },
  { type: 'heartbeat' },
  { type: 'plan-refused', generation: 3, error: 'device zürich0 is gone' },
  { type: 'log', level: 'warn', msg: 'x'.repeat(9000), fields: { port: 3 } },
  { type: 'flushed', flows: 12 },
];

function drain<M extends ControlMessage | DataPlaneMessage>(decoder: MessageDecoder<M>): M[] {
  const out: M[] = [];
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) out.push(message);
  return out;
}

test('messages come out as they went in, byte by byte', () => {
  const decoder = MessageDecoder.ofDataPlane();
  const out: DataPlaneMessage[] = [];
  for (const byte of Buffer.concat(messages.map(encodeMessage))) {
    decoder.push(Uint8Array.of(byte));
    out.push(...drain(decoder));
  }
  assert.deepEqual(out, messages);
  assert.equal(decoder.error, '');
});

test('messages come out as they went in, however the stream is cut', () => {
  const stream = Buffer.concat(messages.map(encodeMessage));
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 6000 }), { maxLength: 40 }), (lengths) => {
      const decoder = MessageDecoder.ofDataPlane();
      const out: DataPlaneMessage[] = [];
      let at = 0;
      for (const length of [...lengths, stream.length]) {
        decoder.push(stream.subarray(at, at + length));
        at += length;
        out.push(...drain(decoder));
      }
      assert.deepEqual(out, messages);
    }),
    { seed: 7121, numRuns: 100 },
  );
});

test('the length is four bytes, big endian, without itself', () => {
  const framed = Buffer.from(encodeMessage({ type: 'stop' }));
  assert.equal(framed.toString('latin1'), '\0\0\0\x0f{"type":"stop"}');
});

for (const [name, bytes, expected] of [
  ['an empty message', Buffer.from([0, 0, 0, 0]), /0 bytes is outside/],
  ['a message that is too long', Buffer.from([0, 0, 1, 1]), /257 bytes is outside 1\.\.256/],
  ['a length with the highest bit', Buffer.from([0xff, 0xff, 0xff, 0xff]), /4294967295 bytes/],
  ['text that is not JSON', Buffer.from('\0\0\0\x03{"a', 'latin1'), /not JSON/],
  ['JSON that is no object', Buffer.from('\0\0\0\x04null', 'latin1'), /unknown type/],
  ['an unknown type', Buffer.from('\0\0\0\x0e{"type":"bye"}', 'latin1'), /unknown type/],
  ["the other side's type", Buffer.from(encodeMessage({ type: 'heartbeat' })), /unknown type/],
] as const) {
  test(`${name} ends the stream`, () => {
    const decoder = MessageDecoder.ofControl(256);
    decoder.push(encodeMessage({ type: 'stop' }));
    decoder.push(bytes);
    assert.deepEqual(drain(decoder), [{ type: 'stop' }]);
    assert.match(decoder.error, expected);
    decoder.push(encodeMessage({ type: 'stop' }));
    assert.equal(decoder.next(), undefined);
  });
}

test('a message at the limit passes', () => {
  const framed = encodeMessage({ type: 'stop' });
  const decoder = MessageDecoder.ofControl(framed.length - 4);
  decoder.push(framed);
  assert.deepEqual(drain(decoder), [{ type: 'stop' }]);
});

test('a message that nobody would take is not made', () => {
  const msg = 'x'.repeat(16 * 1024 * 1024);
  assert.throws(() => encodeMessage({ type: 'log', level: 'info', msg }), RangeError);
});

test('the command line of the data plane', () => {
  const values = {
    runtimeDirectory: '/run/homeward/1',
    socketPath: '/run/a b.sock',
    flowMemoryPath: '/dev/shm/f',
  };
  assert.deepEqual(parseDataPlaneArguments(formatDataPlaneArguments(values)), values);
  assert.throws(() => parseDataPlaneArguments(['--socket']), /--socket has no value/);
  assert.throws(() => parseDataPlaneArguments(['--sock', 'x']), /unknown argument --sock/);
  assert.throws(() => parseDataPlaneArguments(['--socket', 'x']), /--runtime-directory is missing/);
});
