/** Random choices that are the same in every run. */

/** Xorshift; the seed is not 0. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed;
  }

  /** From 0 to `below` - 1. */
  number(below: number): number {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return (this.state >>> 0) % below;
  }

  /** Once in so many times. */
  one(times: number): boolean {
    return this.number(times) === 0;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.number(values.length)]!;
  }

  list<T>(most: number, make: () => T): T[] {
    return Array.from({ length: 1 + this.number(most) }, make);
  }
}
