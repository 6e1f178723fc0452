/**
 * Seeded 32-bit hashes of flow keys.
 *
 * Each word is mixed in by a secret odd multiplier and a shift that brings high bits down, so that which keys
 * share a slot depends on the seed; a finalizer spreads what is left over all 32 bits. This is not a
 * cryptographic function: it keeps senders who do not know the seed from choosing keys that collide, and the
 * budgets (`flow/budgets.ts`) bound those who try.
 *
 * Neighbours: `flow/table.ts` (index of flows), `flow/budgets.ts` (token buckets of sources). The seed lies in
 * the header of the flow memory.
 */

/** Mixes one more word into `state`. `multiplier` is odd. */
export function mixWord(state: number, word: number, multiplier: number): number {
  const product = Math.imul(state ^ word, multiplier);
  return product ^ (product >>> 15);
}

/** Spreads a mixed state over all 32 bits; an int32. */
export function finishHash(state: number): number {
  const first = Math.imul(state ^ (state >>> 16), 0x7feb352d);
  const second = Math.imul(first ^ (first >>> 15), 0x846ca68b);
  return second ^ (second >>> 16);
}

/** Hash of four words: an IPv4 key (source, destination, ports, meta). */
export function hash4(
  seed: number,
  multiplier: number,
  source: number,
  destination: number,
  ports: number,
  meta: number,
): number {
  let state = mixWord(seed, source, multiplier);
  state = mixWord(state, destination, multiplier);
  state = mixWord(state, ports, multiplier);
  return finishHash(mixWord(state, meta, multiplier));
}

/**
 * Hash of ten words: an IPv6 key (four of the source, four of the destination, ports, meta). That of the last words,
 * as for IPv4, with a seed that the others have been mixed into.
 */
export function hash10(
  seed: number,
  multiplier: number,
  src0: number,
  src1: number,
  src2: number,
  src3: number,
  dst0: number,
  dst1: number,
  dst2: number,
  dst3: number,
  ports: number,
  meta: number,
): number {
  let state = mixWord(seed, src0, multiplier);
  state = mixWord(state, src1, multiplier);
  state = mixWord(state, src2, multiplier);
  state = mixWord(state, dst0, multiplier);
  state = mixWord(state, dst1, multiplier);
  state = mixWord(state, dst2, multiplier);
  return hash4(state, multiplier, src3, dst3, ports, meta);
}
