/** The classifier beside the linear interpreter: random rules, random packets, all rules that match, in their order. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { boxesOf } from './boxes.ts';
import { Classifier } from './classifier.ts';
import { compileRules, expandRules, RuleTooComplex } from './compile-rules.ts';
import {
  ALWAYS,
  addressTest,
  both,
  type Condition,
  DESTINATION_PORT,
  DIMENSIONS,
  either,
  LENGTH,
  LINES,
  not,
  numberTest,
  PROTOCOL,
  SOURCE,
  SOURCE_PORT,
  TTL,
} from './condition.ts';
import { meets } from './linear.ts';
import { PacketValues, sortablePart } from './packet-values.ts';
import { Random } from './random.fixture.ts';
import { IPV4_LINE, IPV6_LINE, rangesOf } from './ranges.ts';

/** Addresses of a corner of the space, so that rules and packets meet. */
function address4(random: Random): number {
  return random.number(20) === 0 ? random.number(2 ** 32) : 0x0a000000 + random.number(4096);
}

function address6(random: Random): bigint {
  const [a, b] = [random.number(3), random.number(4096)];
  return (0xfd00n << 112n) | (BigInt(a) << BigInt(random.pick([0, 40, 64, 90]))) | BigInt(b);
}

function randomTest(random: Random, ranges: number): Condition {
  const dimension = random.number(DIMENSIONS);
  const line = LINES[dimension];
  const count = 1 + random.number(ranges);
  if (line !== undefined) {
    const near = Math.min(line.max, 200);
    return numberTest(
      dimension,
      rangesOf(
        line,
        Array.from({ length: count }, () => {
          const low = random.number(near + 1);
          return [
            low,
            random.number(4) === 0 ? line.max : Math.min(line.max, low + random.number(40)),
          ] as const;
        }),
      ),
    );
  }
  const pairs4 = Array.from({ length: random.number(count + 1) }, () => {
    const low = address4(random);
    return [low, Math.min(0xffffffff, low + 2 ** random.number(13) - 1)] as const;
  });
  const pairs6 = Array.from({ length: random.number(count + 1) }, () => {
    const low = address6(random);
    return [low, low + (1n << BigInt(random.pick([0, 3, 10, 64, 100]))) - 1n] as const;
  });
  return addressTest(dimension, { ipv4: rangesOf(IPV4_LINE, pairs4), ipv6: rangesOf(IPV6_LINE, pairs6) });
}

function randomCondition(random: Random, depth: number): Condition {
  const kind = depth === 0 ? 0 : random.number(8);
  if (kind < 3) return randomTest(random, random.number(12) === 0 ? 60 : 3);
  if (kind === 3) return not(randomCondition(random, depth - 1));
  const parts = Array.from({ length: 1 + random.number(3) }, () => randomCondition(random, depth - 1));
  return kind === 4 ? either(...parts) : both(...parts);
}

/** Edges of the conditions, so that packets fall on both sides of them. */
function edgesOf(conditions: readonly Condition[]): { numbers: number[][]; ipv4: number[]; ipv6: bigint[] } {
  const edges = { numbers: Array.from({ length: DIMENSIONS }, () => [0]), ipv4: [0], ipv6: [0n] };
  const walk = (condition: Condition): void => {
    switch (condition.kind) {
      case 'not':
        walk(condition.of);
        break;
      case 'number':
        edges.numbers[condition.dimension]!.push(...condition.values);
        break;
      case 'address':
        edges.ipv4.push(...condition.values.ipv4);
        edges.ipv6.push(...condition.values.ipv6);
        break;
      default:
        condition.of.forEach(walk);
    }
  };
  conditions.forEach(walk);
  return edges;
}

function randomPacket(random: Random, edges: ReturnType<typeof edgesOf>, packet: PacketValues): void {
  packet.family = random.pick([4, 6]);
  for (let dimension = 0; dimension < DIMENSIONS; dimension++) {
    const line = LINES[dimension];
    if (line === undefined) {
      const at = dimension === SOURCE ? 0 : 4;
      const near4 = random.pick(edges.ipv4) + random.number(3) - 1;
      packet.addresses[at + 3] = sortablePart(Math.max(0, Math.min(0xffffffff, near4)));
      if (packet.family === 4) continue;
      const near6 = random.pick(edges.ipv6) + BigInt(random.number(3) - 1);
      const value = near6 < 0n ? 0n : near6 > IPV6_LINE.max ? IPV6_LINE.max : near6;
      for (let i = 0; i < 4; i++) {
        packet.addresses[at + i] = sortablePart(Number((value >> BigInt(96 - 32 * i)) & 0xffffffffn));
      }
    } else {
      const value = random.pick(edges.numbers[dimension]!) + random.number(3) - 1;
      packet.numbers[dimension] = Math.max(0, Math.min(line.max, value));
    }
  }
}

function all(classifier: Classifier): number[] {
  const rules: number[] = [];
  classifier.begin();
  for (let rule = classifier.next(); rule >= 0; rule = classifier.next()) rules.push(rule);
  return rules;
}

function compare(
  conditions: readonly Condition[],
  seed: number,
  packets: number,
  rowsBytes?: number,
): number {
  const random = new Random(seed);
  const packet = new PacketValues();
  const classifier = new Classifier(compileRules(expandRules(conditions), rowsBytes), packet);
  const edges = edgesOf(conditions);
  let matched = 0;
  for (let i = 0; i < packets; i++) {
    randomPacket(random, edges, packet);
    const expected = conditions.flatMap((condition, rule) => (meets(condition, packet) ? [rule] : []));
    assert.deepEqual(all(classifier), expected);
    matched += expected.length;
  }
  return matched;
}

/** Places of sets for which every third word of xorshift32, and so every word of theirs, cancels out. */
function cancellingSets(): number[] {
  let random = 0x2545f491;
  const next = (): number => {
    random ^= random << 13;
    random ^= random >>> 17;
    random ^= random << 5;
    return random >>> 0;
  };
  // Gauss: each word is freed of the highest bits of those before; one that becomes 0 is the sum of some of them.
  const basis = new Map<number, { readonly word: number; readonly sets: bigint }>();
  for (let set = 0; ; set++) {
    let word = next();
    next();
    next();
    let sets = 1n << BigInt(set);
    for (let row = basis.get(Math.clz32(word)); word !== 0 && row !== undefined; ) {
      word = (word ^ row.word) >>> 0;
      sets ^= row.sets;
      row = basis.get(Math.clz32(word));
    }
    if (word === 0)
      return Array.from({ length: set + 1 }, (_, at) => at).filter((at) => (sets >> BigInt(at)) & 1n);
    basis.set(Math.clz32(word), { word, sets });
  }
}

describe('classifier', () => {
  it('finds the rules that match, in their order, for random rules', () => {
    let matched = 0;
    for (let seed = 1; seed <= 60; seed++) {
      const random = new Random(seed * 7919);
      const conditions = Array.from({ length: 1 + random.number(40) }, () => randomCondition(random, 3));
      matched += compare(conditions, seed, 150);
    }
    assert.ok(matched > 20_000, String(matched));
  });

  it('finds them in rows of whole groups of values, where memory is short', () => {
    let matched = 0;
    for (let seed = 1; seed <= 3; seed++) {
      const random = new Random(seed * 104_729);
      const conditions = Array.from({ length: 900 }, () =>
        both(...Array.from({ length: 2 }, () => randomTest(random, 2))),
      );
      matched += compare(conditions, seed, 150, 1);
    }
    assert.ok(matched > 5000, String(matched));
  });

  it('tells rows apart whose sets cancel out in a linear generator', () => {
    // Sets have keys, and rows are known by the exclusive or of these. Taken one after the other from xorshift32, the keys
    // of these sets cancel out, and with them those of their complements and of whatever holds beside them.
    const cancelling = cancellingSets();
    const shared = 0x0a000001;
    const conditions = Array.from({ length: Math.max(...cancelling) + 1 }, (_, rule) => {
      const own = 0x0a010000 + 2 * rule;
      const ipv4 = cancelling.includes(rule) ? [shared, shared, own, own] : [own, own];
      return addressTest(SOURCE, { ipv4, ipv6: [] });
    });
    const packet = new PacketValues();
    packet.family = 4;
    packet.addresses[3] = sortablePart(shared);
    assert.deepEqual(all(new Classifier(compileRules(expandRules(conditions)), packet)), cancelling);
  });

  it('knows no rule, and rules that ask for nothing', () => {
    const packet = new PacketValues();
    packet.family = 4;
    assert.deepEqual(all(new Classifier(compileRules(expandRules([])), packet)), []);
    assert.deepEqual(
      all(new Classifier(compileRules(expandRules([ALWAYS, not(ALWAYS), ALWAYS])), packet)),
      [0, 2],
    );
    const many = Array.from({ length: 3000 }, (_, rule) => (rule % 1000 === 999 ? ALWAYS : not(ALWAYS)));
    assert.deepEqual(all(new Classifier(compileRules(expandRules(many)), packet)), [999, 1999, 2999]);
  });

  it('refuses a rule that stands for too many combinations, by its place', () => {
    const odd = (dimension: number): Condition =>
      numberTest(
        dimension,
        rangesOf(
          LINES[dimension]!,
          [1, 3, 5].map((value) => [value, value] as const),
        ),
      );
    const pairs = (first: number, second: number): Condition =>
      either(
        ...Array.from({ length: 17 }, (_, at) =>
          both(numberTest(first, [at, at]), numberTest(second, [at, at])),
        ),
      );
    const twice = both(pairs(SOURCE_PORT, DESTINATION_PORT), pairs(TTL, LENGTH));
    assert.throws(
      () => expandRules([odd(PROTOCOL), twice]),
      (error) =>
        error instanceof RuleTooComplex &&
        error.rule === 1 &&
        /more than 256 combinations/.test(error.message),
    );
  });

  it('keeps lists in one box', () => {
    const ports = Array.from({ length: 500 }, (_, at) => numberTest(DESTINATION_PORT, [at * 3, at * 3]));
    assert.equal(boxesOf(both(numberTest(PROTOCOL, [6, 6]), either(...ports))).length, 1);
  });
});
