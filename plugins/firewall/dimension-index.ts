/**
 * For one dimension: from a packet's value to a row of bits, one bit for each box that the value may be in.
 *
 * ```
 *  number   table[value] ──────────────────────────────────────────► row
 *  IPv4     table[top bits] ─► binary search among the starts there ─► row
 *  IPv6     binary search among all starts ─────────────────────────► row
 *
 *  row      | summary: bit i says that word i is not 0 | a bit for each box |
 * ```
 *
 * Boxes that do not ask for this dimension are in every row. Where exact rows would take more than their share of
 * memory, groups of neighbours have one (`segments.ts`), and whether a box holds the value is asked of its set.
 * Nothing is allocated for a packet.
 * Neighbours: `compile-index.ts` (makes it), `classifier.ts` (puts the rows together).
 */
import { DESTINATION } from './condition.ts';
import type { PacketValues } from './packet-values.ts';
import { type CompiledSets, compare6, SetMembership } from './set-membership.ts';

/** An index as it was compiled. */
export interface CompiledIndex {
  readonly dimension: number;
  /** Whether a row may have boxes that do not hold the value. */
  readonly isRough: boolean;
  readonly sets: CompiledSets;
  /** Rough ones: set of each box, -1 for none. */
  readonly setOf: Int32Array;
  /** Numbers: row by value. IPv4: first start by top bits. */
  readonly table: Int32Array;
  readonly shift: number;
  readonly starts: Int32Array;
  readonly rows: Int32Array;
  readonly starts6: Int32Array;
  readonly rows6: Int32Array;
}

export class DimensionIndex {
  readonly isRough: boolean;
  private readonly dimension: number;
  private readonly membership: SetMembership;
  private readonly setOf: Int32Array;
  private readonly isAddress: boolean;
  private readonly table: Int32Array;
  private readonly shift: number;
  private readonly starts: Int32Array;
  private readonly rows: Int32Array;
  private readonly starts6: Int32Array;
  private readonly rows6: Int32Array;

  constructor(compiled: CompiledIndex) {
    this.isRough = compiled.isRough;
    this.dimension = compiled.dimension;
    this.membership = new SetMembership(compiled.sets);
    this.setOf = compiled.setOf;
    this.isAddress = compiled.dimension <= DESTINATION;
    this.table = compiled.table;
    this.shift = compiled.shift;
    this.starts = compiled.starts;
    this.rows = compiled.rows;
    this.starts6 = compiled.starts6;
    this.rows6 = compiled.rows6;
  }

  get bytes(): number {
    const { table, starts, rows, starts6, rows6, membership, setOf } = this;
    const tables = table.byteLength + starts.byteLength + rows.byteLength;
    return tables + starts6.byteLength + rows6.byteLength + setOf.byteLength + membership.bytes;
  }

  /** Where the row of the packet's value begins. */
  find(packet: PacketValues): number {
    if (!this.isAddress) return this.table[packet.numbers[this.dimension]!]!;
    const at = this.dimension << 2;
    return packet.family === 4 ? this.find4(packet.addresses[at + 3]!) : this.find6(packet.addresses, at);
  }

  /** Whether a box of the packet's row holds the packet's value; asked of rough ones only. */
  holds(box: number, packet: PacketValues): boolean {
    const set = this.setOf[box]!;
    return set < 0 || this.membership.has(set, packet);
  }

  private find4(address: number): number {
    const { starts, table } = this;
    // `>>> 32` would be `>>> 0`.
    const top = this.shift === 32 ? 0 : (address ^ (1 << 31)) >>> this.shift;
    // The last start that is not behind the address: among those of its top bits, or the one in front of them.
    let low = table[top]!;
    let high = table[top + 1]!;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (starts[middle]! <= address) low = middle + 1;
      else high = middle;
    }
    return this.rows[low - 1]!;
  }

  private find6(words: Int32Array, at: number): number {
    const { starts6 } = this;
    let low = 1;
    let high = this.rows6.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compare6(starts6, middle << 2, words, at) <= 0) low = middle + 1;
      else high = middle;
    }
    return this.rows6[low - 1]!;
  }
}
