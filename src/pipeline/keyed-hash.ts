/**
 * A keyed hash of a few 32-bit words, for tables that strangers can fill: whoever does not know the key can
 * neither aim at a slot nor predict a value. The construction is HalfSipHash-1-3 (32-bit output), chosen because
 * it needs nothing but 32-bit additions, rotations and exclusive or; the values never leave the gateway whole, so
 * the smaller number of rounds is enough.
 *
 * ```
 *  begin()      add(word) ... add(word)      finish() -> int32
 *  v0..v3 <- key     one round each               three rounds
 * ```
 *
 * Neighbours: `fragment-store.ts`, `identification.ts` and `icmp-errors.ts` hash addresses with it.
 */
export class KeyedHash {
  private readonly key0: number;
  private readonly key1: number;
  private v0 = 0;
  private v1 = 0;
  private v2 = 0;
  private v3 = 0;
  private count = 0;

  /** The key: two random int32 words, secret, drawn anew at every start. */
  constructor(key0: number, key1: number) {
    this.key0 = key0 | 0;
    this.key1 = key1 | 0;
  }

  /** Starts a new hash; forgets what was added before. */
  begin(): void {
    this.v0 = this.key0;
    this.v1 = this.key1;
    this.v2 = 0x6c796765 ^ this.key0;
    this.v3 = 0x74656462 ^ this.key1;
    this.count = 0;
  }

  /** Adds one word. */
  add(word: number): void {
    this.v3 ^= word;
    this.round();
    this.v0 ^= word;
    this.count = (this.count + 1) | 0;
  }

  /** The hash of what was added since `begin`, an int32. */
  finish(): number {
    this.add(this.count << 26);
    this.v2 ^= 0xff;
    this.round();
    this.round();
    this.round();
    return this.v1 ^ this.v3;
  }

  private round(): void {
    let v0 = this.v0;
    let v1 = this.v1;
    let v2 = this.v2;
    let v3 = this.v3;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    this.v0 = v0;
    this.v1 = v1;
    this.v2 = v2;
    this.v3 = v3;
  }
}
