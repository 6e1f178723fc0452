/**
 * The filter that a list of rules becomes decides every frame as the list does: sharing of tests, what X holds, far
 * jumps and reordering by family change nothing. The rules and the frames are random ones of few values, so that they
 * share beginnings and match.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type PacketNotes, runFilter } from '../../../test/support/bpf-interpreter.ts';
import { type IpPrefix, parsePrefix } from './prefix.ts';
import type { BitsCondition, Condition, Rule } from './rules.ts';
import { socketFilter } from './socket-filter.ts';

const SEED = 0x50c7;
const ETHERTYPES: Record<Rule['family'], number> = { any: -1, arp: 0x0806, ipv4: 0x0800, ipv6: 0x86dd };

const PREFIXES: Record<4 | 6, readonly string[]> = {
  4: ['1.2.3.4/32', '1.2.3.5/32', '1.2.3.0/24', '1.2.0.0/16', '0.0.0.0/0', '0.0.0.0/1'],
  6: ['::/0', '102:304::/32', '102:304:102:304:102:304:102:304/128', '102:304::/31', '102:304:100::/40'],
};

/** Bytes of few values: offsets, lengths and addresses coincide. */
const fewBytes = fc.constantFrom(0, 1, 2, 3, 4, 5, 0x45, 0x46, 0x4f, 6, 17, 47, 255);

const linkCondition: fc.Arbitrary<Condition> = fc.oneof(
  fc.record({ kind: fc.constant('vlan' as const), is: fc.constantFrom('other' as const, 'zero' as const) }),
  fc.record({
    kind: fc.constant('receiver' as const),
    is: fc.constantFrom('unicast' as const, 'not-unicast' as const, 'group' as const),
  }),
  fc.record({
    kind: fc.constant('mark' as const),
    mask: fc.constantFrom(0xff000000, 0xffffffff),
    is: fc.constantFrom(0x68000000, 0xff000000),
  }),
);

function addressCondition(version: 4 | 6): fc.Arbitrary<Condition> {
  return fc.record({
    kind: fc.constant('address' as const),
    which: fc.constantFrom('source' as const, 'destination' as const),
    prefixes: fc
      .array(fc.constantFrom(...PREFIXES[version]), { minLength: 1, maxLength: 4 })
      .map((texts): IpPrefix[] => texts.map((text) => parsePrefix(text))),
  });
}

function bitsCondition(bases: readonly BitsCondition['base'][]): fc.Arbitrary<Condition> {
  return fc
    .record({
      base: fc.constantFrom(...bases),
      offset: fc.constantFrom(0, 1, 2, 6, 9, 20, 23),
      bytes: fc.constantFrom(1 as const, 2 as const, 4 as const),
      mask: fc.constantFrom<number | undefined>(1, 2, 0x1f, undefined),
      values: fc.array(fc.tuple(fewBytes, fc.nat(300)), { minLength: 1, maxLength: 3 }),
    })
    .map(({ base, offset, bytes, mask, values }) => ({
      kind: 'bits',
      base,
      offset,
      bytes,
      mask: mask ?? 2 ** (8 * bytes) - 1,
      ranges: values.map(([value, more]) => {
        const min = mask === undefined ? value : value & mask;
        return { min, max: more > 150 ? min + more : min };
      }),
    }));
}

const rules: fc.Arbitrary<Rule[]> = fc
  .record({
    link: fc.array(linkCondition, { minLength: 1, maxLength: 2 }),
    ipv4: fc.array(
      fc.oneof(
        addressCondition(4),
        bitsCondition(['network', 'transport', 'transport', 'quoted-transport', 'quoted-transport']),
      ),
      { minLength: 1, maxLength: 5 },
    ),
    ipv6: fc.array(fc.oneof(addressCondition(6), bitsCondition(['network'])), {
      minLength: 1,
      maxLength: 4,
    }),
    // Conditions by number of the pools above: the same ones again and again.
    picks: fc.array(
      fc.record({
        family: fc.constantFrom<Rule['family']>('any', 'arp', 'ipv4', 'ipv4', 'ipv4', 'ipv6', 'ipv6'),
        taker: fc.constantFrom<Rule['taker']>('ours', 'both', 'host', 'nobody'),
        conditions: fc.array(fc.tuple(fc.boolean(), fc.nat(20)), { minLength: 2, maxLength: 4 }),
      }),
      { minLength: 6, maxLength: 14 },
    ),
  })
  .map(({ link, ipv4, ipv6, picks }) =>
    picks.map(({ family, taker, conditions }) => {
      const pool = family === 'ipv4' ? ipv4 : family === 'ipv6' ? ipv6 : link;
      return {
        family,
        taker,
        comment: '',
        conditions: conditions.map(([isLink, pick]) =>
          isLink && pick === 0 ? link[pick % link.length]! : pool[pick % pool.length]!,
        ),
      };
    }),
  );

interface Frame {
  readonly bytes: Uint8Array;
  readonly notes: PacketNotes;
}

const frame: fc.Arbitrary<Frame> = fc
  .record({
    fill: fc.array(fc.oneof(fewBytes, fc.nat(255)), { minLength: 8, maxLength: 48 }),
    length: fc.oneof({ arbitrary: fc.nat(110), weight: 1 }, { arbitrary: fc.constant(110), weight: 3 }),
    addresses: fc.boolean(),
    ethertype: fc.constantFrom(0x0800, 0x0800, 0x86dd, 0x0806, 0x1234),
    packetType: fc.nat(4),
    vlanTag: fc.constantFrom(undefined, 0, 0x2000, 5, 0x2005),
    mark: fc.constantFrom(0, 0x68000000, 0x68000007, 0xff000000),
  })
  .map(({ fill, length, addresses, ethertype, packetType, vlanTag, mark }) => {
    const bytes = Uint8Array.from({ length }, (_, at) => {
      const likely = addresses ? ((at + 2) % 4) + 1 : 0;
      const random = fill[at % fill.length]!;
      return addresses && fill[(at >> 2) % fill.length]! < 6 ? likely : random;
    });
    return {
      bytes,
      notes: { ethertype, packetType, mark, ...(vlanTag === undefined ? {} : { vlanTag }) },
    };
  });

/** A load behind the frame's end. */
class Truncated extends Error {}

/** The first rule that holds decides; who needs a byte that is not there, takes nothing. */
function decides(rules: readonly Rule[], { bytes, notes }: Frame, linkBytes: number): boolean {
  try {
    for (const { family, conditions, taker } of rules) {
      if (family !== 'any' && ETHERTYPES[family] !== notes.ethertype) continue;
      if (conditions.every((condition) => holds(condition, bytes, notes, linkBytes))) {
        return taker === 'ours' || taker === 'both';
      }
    }
    return false;
  } catch (error) {
    if (error instanceof Truncated) return false;
    throw error;
  }
}

function holds(condition: Condition, bytes: Uint8Array, notes: PacketNotes, linkBytes: number): boolean {
  switch (condition.kind) {
    case 'vlan':
      if (notes.vlanTag === undefined) return false;
      return ((notes.vlanTag & 0xfff) === 0) === (condition.is === 'zero');
    case 'receiver':
      if (condition.is === 'group') return notes.packetType === 1 || notes.packetType === 2;
      return (notes.packetType === 0) === (condition.is === 'unicast');
    case 'mark':
      return ((notes.mark ?? 0) & condition.mask) >>> 0 === condition.is;
    case 'address':
      return condition.prefixes.some((prefix) => contains(prefix, condition.which, bytes, linkBytes));
    case 'bits': {
      const { base, offset, bytes: size, mask, ranges } = condition;
      const transport = (): number => linkBytes + (number(bytes, linkBytes, 1) & 15) * 4;
      const quoted = (): number => transport() + 8 + (number(bytes, transport() + 8, 1) & 15) * 4;
      const from = base === 'network' ? linkBytes : base === 'transport' ? transport() : quoted();
      const value = (number(bytes, from + offset, size) & mask) >>> 0;
      return ranges.some(({ min, max }) => value >= min && value <= max);
    }
  }
}

function contains(prefix: IpPrefix, which: string, bytes: Uint8Array, linkBytes: number): boolean {
  const isSource = which === 'source';
  const at = linkBytes + (prefix.version === 4 ? (isSource ? 12 : 16) : isSource ? 8 : 24);
  return prefix.words.every((word, index) => {
    const mask = prefix.masks[index]!;
    return mask === 0 || (number(bytes, at + 4 * index, 4) & mask) >>> 0 === word;
  });
}

function number(bytes: Uint8Array, at: number, size: number): number {
  if (at + size > bytes.length) throw new Truncated();
  let value = 0;
  for (let index = 0; index < size; index++) value = value * 256 + bytes[at + index]!;
  return value;
}

for (const link of ['ethernet', 'ip'] as const) {
  test(`a filter decides every frame as its rules do (${link})`, () => {
    let taken = 0;
    let left = 0;
    fc.assert(
      fc.property(rules, fc.array(frame, { minLength: 20, maxLength: 20 }), (list, frames) => {
        const filter = socketFilter({ device: 'eth0', link, rules: list, otherwise: 'host' });
        for (const one of frames) {
          const expected = decides(list, one, link === 'ethernet' ? 14 : 0);
          assert.equal(runFilter(filter, one.bytes, one.notes) > 0, expected);
          if (expected) taken++;
          else left++;
        }
      }),
      { seed: SEED, numRuns: 1500 },
    );
    assert.ok(taken > 2000 && left > 2000, `${taken} taken, ${left} left: the frames tell nothing`);
  });
}
