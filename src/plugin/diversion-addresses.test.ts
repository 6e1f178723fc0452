import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { formatAddressWords, parseAddress, parsePrefix, prefixContainsWords } from '../wire/address.ts';
import { swap16 } from '../wire/byte-order.ts';
import { IPV4, IPV6 } from '../wire/packet.ts';
import {
  DIVERSION_PREFIXES,
  DIVERSION_PROXY,
  DIVERSION_ROUTER,
  DIVERSION_SITES,
  isInDiversion,
  isProxy,
  nextSource,
  siteSource,
  spaceOfSource,
  writeSource,
} from './diversion-addresses.ts';

const seed = 20260731;
const families = [
  ['ipv4', IPV4],
  ['ipv6', IPV6],
] as const;

function wordsOf(text: string): [number, number, number, number] {
  const address = parseAddress(text);
  assert.ok(address !== undefined, text);
  return [...address.words] as [number, number, number, number];
}

function isInside(prefix: string, family: number, words: readonly number[]): boolean {
  const parsed = parsePrefix(prefix);
  assert.ok(parsed.ok);
  return prefixContainsWords(parsed.prefix, family, words[0]!, words[1]!, words[2]!, words[3]!);
}

describe('addresses inside a diversion', () => {
  it('knows the proxy from everybody else', () => {
    for (const [name, family] of families) {
      assert.equal(isProxy(family, ...wordsOf(DIVERSION_PROXY[name])), true);
      assert.equal(isProxy(family, ...wordsOf(DIVERSION_ROUTER[name])), false);
      assert.equal(isProxy(family, ...wordsOf(siteSource(2, name))), false);
    }
  });

  it('reads the address space back from what a proxy connects from', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 65535 }), (space) => {
        for (const [name, family] of families) {
          const words = wordsOf(siteSource(space, name));
          assert.equal(spaceOfSource(family, ...words), space);
          assert.ok(isInside(DIVERSION_SITES[name], family, words));
        }
      }),
      { seed },
    );
  });

  it('numbers sources so that none is twice there, and none is the proxy, the router or a site', () => {
    const source = { word0: 0, word1: 0, word2: 0, word3: 0, portWire: 0 };
    fc.assert(
      fc.property(fc.integer(), (from) => {
        for (const [index, [, family]] of families.entries()) {
          const seen = new Set<string>();
          const addresses = new Set<string>();
          for (let number = from, count = 0; count < 5; count++) {
            number = nextSource(number);
            writeSource(number, family, source);
            const { word0, word1, word2, word3 } = source;
            const address = formatAddressWords(family, word0, word1, word2, word3);
            addresses.add(address);
            seen.add(`${address} ${swap16(source.portWire)}`);
            assert.notEqual(source.portWire, 0);
            assert.equal(isProxy(family, word0, word1, word2, word3), false);
            assert.equal(spaceOfSource(family, word0, word1, word2, word3), 0);
            assert.ok(isInside(DIVERSION_PREFIXES[index]!, family, [word0, word1, word2, word3]));
            number = (number + 1) | 0;
          }
          assert.equal(seen.size, 5);
          assert.equal(addresses.size, 5, 'flows that begin one after the other have nothing in common');
        }
      }),
      { seed },
    );
  });

  it('knows its prefixes', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer(), fc.integer(), fc.integer(), (word0, word1, word2, word3) => {
        // Half of them inside.
        const at4 = word0 & 1 ? word3 : (word3 & 0xffff0000) | (word1 & 1 ? 0x12c6 : 0x13c6);
        const [at60, at61] = word2 & 1 ? [word0, word1] : [0x6d6f68fd, (word1 & 0xffff0000) | 0x7765];
        assert.equal(isInDiversion(IPV4, 0, 0, at4), isInside(DIVERSION_PREFIXES[0], IPV4, [0, 0, 0, at4]));
        const inside6 = isInside(DIVERSION_PREFIXES[1], IPV6, [at60, at61, word2, word3]);
        assert.equal(isInDiversion(IPV6, at60, at61, word3), inside6);
      }),
      { seed },
    );
  });

  it('finds nobody in other addresses', () => {
    for (const text of ['10.0.0.2', '198.18.0.1', '198.20.0.1', '0.0.0.0'])
      assert.equal(spaceOfSource(IPV4, ...wordsOf(text)), 0);
    for (const text of [
      'fd00::1',
      'fd68:6f6d:6577:1::5',
      'fd68:6f6d:6577:2::1:5',
      'fd68:6f6d:6577:2:0:1:0:5',
    ])
      assert.equal(spaceOfSource(IPV6, ...wordsOf(text)), 0);
  });
});
