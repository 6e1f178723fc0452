import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { IPV4, IPV6 } from '../wire/packet.ts';
import { type AddressEntry, AddressMap } from './address-map.ts';

/** Few different words, so that keys are often equal or nearly so. */
const word = fc.constantFrom(0, 1, -1, 0x0a00000a, 0x01000000);
const key = fc.record({
  family: fc.constantFrom(IPV4, IPV6),
  words: fc.tuple(word, word, word, word),
  detail: fc.constantFrom(0, 1, (6 << 16) | 443, (17 << 16) | 443),
});
type Key = { family: number; words: [number, number, number, number]; detail: number };

const fit = ({ family, words, detail }: Key): Key => ({
  family,
  words: family === IPV4 ? [0, 0, 0, words[3]] : words,
  detail,
});

test('a map of addresses agrees with a plain one', () => {
  fc.assert(
    fc.property(fc.array(key, { maxLength: 60 }), fc.array(key, { maxLength: 60 }), (entries, asked) => {
      const model = new Map<string, number>();
      const given: AddressEntry[] = entries.map(fit).map(({ family, words, detail }, value) => {
        const name = JSON.stringify([family, words, detail]);
        if (!model.has(name)) model.set(name, value);
        return { address: { family, words: Int32Array.from(words) }, detail, value };
      });
      const map = new AddressMap(given);
      for (const { family, words, detail } of [...entries, ...asked].map(fit)) {
        const expected = model.get(JSON.stringify([family, words, detail])) ?? -1;
        assert.equal(map.get(family, ...words, detail), expected);
      }
    }),
    { seed: 20, numRuns: 300 },
  );
});

test('an empty map has nothing', () => {
  assert.equal(new AddressMap([]).get(IPV4, 0, 0, 0, 0, 0), -1);
});
