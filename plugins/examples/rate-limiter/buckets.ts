/** Token buckets of sources, in typed arrays of a fixed size. */

/** Rows of buckets: a power of two. */
const ROWS = 2048;
/** Buckets that a source may have: those of its row. */
const ROW = 8;
const BUCKETS = ROWS * ROW;
/** Words of a bucket's key: space, family (0: IPv4), address. */
const KEY = 6;

/** A source for people. */
export type Source = {
  readonly address: string;
  readonly space: number;
  /** Whole tokens. */
  readonly left: number;
};

export class Buckets {
  readonly #keys = new Int32Array(BUCKETS * KEY);
  readonly #tokens = new Float64Array(BUCKETS);
  /** When tokens were last counted, milliseconds since boot as int32. */
  readonly #countedMs = new Int32Array(BUCKETS);
  #perMs = 0;
  #burst = 1;

  /** @param rate tokens a second */
  limit(rate: number, burst: number): void {
    this.#perMs = rate / 1000;
    this.#burst = burst;
  }

  /** The bucket of a source, -1 if it has none. Address words as packets have them. */
  known(space: number, family: number, a0: number, a1: number, a2: number, a3: number): number {
    const keys = this.#keys;
    const first = rowOf(space, a0, a1, a2, a3);
    for (let bucket = first; bucket < first + ROW; bucket++) {
      const at = bucket * KEY;
      if (
        keys[at] === space &&
        keys[at + 1] === family &&
        keys[at + 2] === a0 &&
        keys[at + 3] === a1 &&
        keys[at + 4] === a2 &&
        keys[at + 5] === a3
      ) {
        return bucket;
      }
    }
    return -1;
  }

  /** The same; a full one, if it has none. */
  find(space: number, family: number, a0: number, a1: number, a2: number, a3: number): number {
    const known = this.known(space, family, a0, a1, a2, a3);
    if (known >= 0) return known;
    const bucket = this.#idlest(rowOf(space, a0, a1, a2, a3));
    const keys = this.#keys;
    const at = bucket * KEY;
    keys[at] = space;
    keys[at + 1] = family;
    keys[at + 2] = a0;
    keys[at + 3] = a1;
    keys[at + 4] = a2;
    keys[at + 5] = a3;
    this.#tokens[bucket] = this.#burst;
    return bucket;
  }

  /** Of a row, the bucket that is nobody's, or has been left alone for longest. */
  #idlest(first: number): number {
    let idlest = first;
    for (let bucket = first; bucket < first + ROW; bucket++) {
      // Spaces begin at 1.
      if (this.#keys[bucket * KEY] === 0) return bucket;
      if (((this.#countedMs[bucket]! - this.#countedMs[idlest]!) | 0) < 0) idlest = bucket;
    }
    return idlest;
  }

  /** Adds what has come since the last time. */
  refill(bucket: number, nowMs: number): void {
    // Negative, or large: nobody has come for weeks.
    const elapsedMs = (nowMs - this.#countedMs[bucket]!) >>> 0;
    this.#tokens[bucket] = Math.min(this.#burst, this.#tokens[bucket]! + elapsedMs * this.#perMs);
    this.#countedMs[bucket] = nowMs;
  }

  hasToken(bucket: number): boolean {
    return this.#tokens[bucket]! >= 1;
  }

  take(bucket: number): void {
    this.#tokens[bucket]!--;
  }

  /** Sources with less than their burst, the emptiest first. */
  emptiest(limit: number, nowMs: number): Source[] {
    const used: number[] = [];
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      if (this.#keys[bucket * KEY] === 0) continue;
      this.refill(bucket, nowMs);
      if (this.#tokens[bucket]! < this.#burst) used.push(bucket);
    }
    return used
      .sort((one, other) => this.#tokens[one]! - this.#tokens[other]!)
      .slice(0, limit)
      .map((bucket) => ({
        address: this.#addressOf(bucket),
        space: this.#keys[bucket * KEY]!,
        left: Math.floor(this.#tokens[bucket]!),
      }));
  }

  /** Words have the bytes of an address in wire order, read as little-endian. */
  #addressOf(bucket: number): string {
    const words = this.#keys.slice(bucket * KEY + 2, bucket * KEY + KEY);
    const bytes = new Uint8Array(words.buffer);
    if (this.#keys[bucket * KEY + 1] === 0) return bytes.subarray(12).join('.');
    const groups = Array.from({ length: 8 }, (_, at) => (bytes[2 * at]! << 8) | bytes[2 * at + 1]!);
    return groups.map((group) => group.toString(16)).join(':');
  }
}

/** First bucket of a source's row. */
function rowOf(space: number, a0: number, a1: number, a2: number, a3: number): number {
  let hash = Math.imul(a0 ^ Math.imul(a1, 31) ^ Math.imul(a2, 17) ^ a3, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 15) ^ space, 0x85ebca6b);
  return ((hash ^ (hash >>> 13)) & (ROWS - 1)) * ROW;
}
