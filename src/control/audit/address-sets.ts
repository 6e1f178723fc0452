/**
 * Sets of addresses as prefixes: the canonical form of a set, how two sets relate, and how a prefix divides along
 * others. For the control path.
 */
import {
  formatPrefix,
  type Prefix,
  prefixContainsPrefix,
  prefixesOverlap,
  prefixOf,
} from '../../wire/address.ts';
import { swap32 } from '../../wire/byte-order.ts';
import { IPV4 } from '../../wire/packet.ts';

/** `contains`: the first set has all of the second, and more. */
export type SetRelation = 'equal' | 'contains' | 'contained' | 'partial' | 'disjoint';

/** The fewest prefixes with the same addresses: none inside another, no two halves of a third. In a fixed order. */
export function canonicalSet(prefixes: readonly Prefix[]): Prefix[] {
  const longestFirst = [...prefixes].sort((a, b) => b.length - a.length);
  const kept = new Map<string, Prefix>();
  // Both halves make their parent, which may be the half of another: it goes to the end of what is looked at.
  for (let at = 0; at < longestFirst.length; at++) {
    const prefix = longestFirst[at]!;
    kept.set(formatPrefix(prefix), prefix);
    if (prefix.length === 0 || !kept.has(formatPrefix(sibling(prefix)))) continue;
    const parent = prefixOf(prefix, prefix.length - 1);
    if (!kept.has(formatPrefix(parent))) longestFirst.push(parent);
  }
  const all = [...kept.values()];
  return all
    .filter((prefix) => !all.some((other) => other !== prefix && prefixContainsPrefix(other, prefix)))
    .sort(comparePrefixes);
}

/** How two canonical sets relate. */
export function relationOf(one: readonly Prefix[], other: readonly Prefix[]): SetRelation {
  const covers = (outer: readonly Prefix[], inner: readonly Prefix[]): boolean =>
    inner.every((prefix) => outer.some((candidate) => prefixContainsPrefix(candidate, prefix)));
  const contains = covers(one, other);
  const contained = covers(other, one);
  if (contains && contained) return 'equal';
  if (contains) return 'contains';
  if (contained) return 'contained';
  return one.some((a) => other.some((b) => prefixesOverlap(a, b))) ? 'partial' : 'disjoint';
}

/** What two sets share: of each two that overlap, the smaller. */
export function sharedPrefixes(one: readonly Prefix[], other: readonly Prefix[]): Prefix[] {
  const shared = one.flatMap((a) =>
    other.filter((b) => prefixesOverlap(a, b)).map((b) => (a.length >= b.length ? a : b)),
  );
  return canonicalSet(shared);
}

/** The parts of `prefix` that no prefix in `borders` divides any further. */
export function divide(prefix: Prefix, borders: readonly Prefix[]): Prefix[] {
  const inside = borders.filter(
    (border) => border.length > prefix.length && prefixContainsPrefix(prefix, border),
  );
  if (inside.length === 0) return [prefix];
  const lower = prefixOf(prefix, prefix.length + 1);
  return [lower, sibling(lower)].flatMap((half) => divide(half, inside));
}

/** Parts of `prefix` that no longer prefix in `borders` has; the first `most`. */
export function uncovered(prefix: Prefix, borders: readonly Prefix[], most: number): Prefix[] {
  const inside = borders.filter(
    (border) => border.length > prefix.length && prefixContainsPrefix(prefix, border),
  );
  if (inside.length === 0) return most > 0 ? [prefix] : [];
  const lower = prefixOf(prefix, prefix.length + 1);
  const parts: Prefix[] = [];
  for (const half of [lower, sibling(lower)]) {
    const isCovered = inside.some((border) => prefixContainsPrefix(border, half));
    if (!isCovered && parts.length < most) parts.push(...uncovered(half, inside, most - parts.length));
  }
  return parts;
}

/** The other half of the prefix that is one bit shorter. */
function sibling(prefix: Prefix): Prefix {
  const words = Int32Array.from(prefix.words);
  const bit = prefix.length - 1;
  const word = prefix.family === IPV4 ? 3 : bit >> 5;
  words[word] = swap32(swap32(words[word]!) ^ (1 << (31 - (bit & 31))));
  return { family: prefix.family, words, length: prefix.length };
}

/** Order: IPv4 first, then by address, then the shorter one. */
export function comparePrefixes(a: Prefix, b: Prefix): number {
  if (a.family !== b.family) return a.family - b.family;
  for (let word = 0; word < 4; word++) {
    const difference = (swap32(a.words[word]!) >>> 0) - (swap32(b.words[word]!) >>> 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
