import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { ViciError } from './errors.ts';
import { decodeMessage, encodeMessage, type ViciInput, type ViciSection, type ViciValue } from './message.ts';

const SEED = 20_241_107;

/** Every element once, by hand from the format's description. */
const EXAMPLE = Buffer.concat([
  Buffer.from('\x03\x04key1\x00\x06value1', 'latin1'),
  Buffer.from('\x01\x08section1', 'latin1'),
  Buffer.from('\x01\x0bsub-section', 'latin1'),
  Buffer.from('\x03\x04key2\x00\x06value2', 'latin1'),
  Buffer.from('\x02', 'latin1'),
  Buffer.from('\x04\x05list1\x05\x00\x05item1\x05\x00\x05item2\x06', 'latin1'),
  Buffer.from('\x02', 'latin1'),
]);
const EXAMPLE_INPUT: ViciInput = {
  key1: 'value1',
  section1: { 'sub-section': { key2: 'value2' }, list1: ['item1', 'item2'] },
};

/** A section as plain values, bytes as latin1 text. */
function plain(section: ViciSection): unknown {
  const read = (value: ViciValue): unknown => {
    if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
    if (value instanceof Map) return plain(value);
    return (value as readonly Uint8Array[]).map(read);
  };
  return [...section].map(([name, value]) => [name, read(value)]);
}

function isCode(code: ViciError['code'], message?: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ViciError, String(error));
    assert.equal(error.code, code);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  };
}

describe('VICI messages', () => {
  it('have the bytes of the description', () => {
    assert.deepEqual(Buffer.from(encodeMessage(EXAMPLE_INPUT)), EXAMPLE);
    assert.deepEqual(plain(decodeMessage(EXAMPLE)), [
      ['key1', 'value1'],
      [
        'section1',
        [
          ['sub-section', [['key2', 'value2']]],
          ['list1', ['item1', 'item2']],
        ],
      ],
    ]);
  });

  it('come back as they were sent', () => {
    const name = fc.stringMatching(/^[\x20-\x7e]{1,40}$/).filter((text) => text !== '__proto__');
    const bytes = fc.uint8Array({ maxLength: 300 });
    const { section } = fc.letrec((tie) => ({
      section: fc.dictionary(name, fc.oneof({ depthSize: 'small' }, bytes, fc.array(bytes), tie('section')), {
        maxKeys: 5,
      }),
    }));
    const asPlain = (input: unknown): unknown => {
      if (input instanceof Uint8Array) return Buffer.from(input).toString('latin1');
      if (Array.isArray(input)) return input.map(asPlain);
      return Object.entries(input as object).map(([key, value]) => [key, asPlain(value)]);
    };
    fc.assert(
      fc.property(section, (input) => {
        assert.deepEqual(plain(decodeMessage(encodeMessage(input as ViciInput))), asPlain(input));
      }),
      { seed: SEED, numRuns: 500 },
    );
  });

  it('whatever is received: a section or a protocol error', () => {
    const damage = fc.record({ at: fc.nat(), to: fc.nat(255), length: fc.nat() });
    const decode = (bytes: Uint8Array): void => {
      try {
        decodeMessage(bytes);
      } catch (error) {
        isCode('protocol')(error);
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), decode), { seed: SEED, numRuns: 3000 });
    fc.assert(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 4 }), (damages) => {
        const bytes = Buffer.from(EXAMPLE);
        for (const { at, to } of damages) bytes[at % bytes.length] = to;
        decode(bytes.subarray(0, damages[0]!.length % (bytes.length + 1)));
      }),
      { seed: SEED, numRuns: 3000 },
    );
  });

  const wrong: [what: string, bytes: string, message: RegExp][] = [
    ['a name twice', '\x03\x01a\x00\x00\x03\x01a\x00\x00', /a is there twice/],
    ['a section twice', '\x01\x01a\x02\x01\x01a\x02', /a is there twice/],
    ['a section without an end', '\x01\x01a', /no end/],
    ['an end too many', '\x02', /element 2 cannot stand here/],
    ['a list without an end', '\x04\x01a\x05\x00\x00', /cut off/],
    ['a section in a list', '\x04\x01a\x01\x01b\x02\x06', /element 1 cannot stand in a list/],
    ['an item outside of a list', '\x05\x00\x00', /element 5/],
    ['an empty name', '\x03\x00\x00\x00', /name is empty/],
    ['a name that cannot be printed', '\x03\x01\x07\x00\x00', /printable/],
    ['a value that is cut off', '\x03\x01a\x00\x05abc', /cut off/],
    ['an unknown element', '\x09', /element 9/],
    ['a thousand sections in each other', '\x01\x01a'.repeat(1000), /deeper than 32/],
  ];
  for (const [what, text, message] of wrong) {
    it(`refuses ${what}`, () => {
      assert.throws(() => decodeMessage(Buffer.from(text, 'latin1')), isCode('protocol', message));
    });
  }

  it('are not sent if they cannot be', () => {
    const deep = JSON.parse(`${'{"a":'.repeat(50)}{}${'}'.repeat(50)}`) as ViciInput;
    const inputs: [ViciInput, RegExp][] = [
      [{ a: { b: 'x'.repeat(65_536) } }, /a\.b has 65536 bytes; VICI takes 65535/],
      [{ ['n'.repeat(256)]: '' }, /cannot be sent/],
      [{ näme: '' }, /näme cannot be sent/],
      [{ '': '' }, /an empty name/],
      [deep, /nested deeper/],
    ];
    for (const [input, message] of inputs) {
      assert.throws(() => encodeMessage(input), isCode('unsendable', message));
    }
  });

  it('know yes, no, numbers, and what is left out', () => {
    const encoded = encodeMessage({ a: true, b: false, c: 7, d: undefined, e: [1, 'x'] });
    assert.deepEqual(plain(decodeMessage(encoded)), [
      ['a', 'yes'],
      ['b', 'no'],
      ['c', '7'],
      ['e', ['1', 'x']],
    ]);
  });

  it('keep no part of the receive buffer', () => {
    const bytes = Buffer.from(EXAMPLE);
    const section = decodeMessage(bytes);
    bytes.fill(0);
    assert.equal(Buffer.from(section.get('key1') as Uint8Array).toString(), 'value1');
  });
});
