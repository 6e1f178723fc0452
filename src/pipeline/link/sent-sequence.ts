/**
 * The sequence number that a GRE tunnel sends next, kept beyond the data plane's life (RFC 2890, 2.2).
 *
 * The other end takes a packet only if its number is above the last one, and the RFC has no way to tell it that the
 * sender began again; Linux then drops everything until the old numbers are reached. So the number lies in the flow
 * memory, beside the port's counters, and is written before a packet can have been sent: after a crash the next
 * data plane goes on with a number that was never used.
 *
 * ```
 *   float64 = mark * 2^32 + number      mark: 20 bits of a hash over addresses and key, never 0
 * ```
 *
 * The mark tells whose number it is, whatever stands in the port's slot by then: the number belongs to the two ends
 * and the key, as far as the other end can know, not to the site or to the tunnel's name.
 *
 * After a boot, or when the flow memory was removed, numbers begin at 0.
 *
 * Neighbours: `gre-tunnel.ts`, `flow/counters.ts` (the place).
 */
import { type Counters, PORT_SEQUENCE } from '../../flow/counters.ts';

const NUMBERS = 0x100000000;
const MARK_MASK = 0xfffff;

export class SentSequence {
  /** Next number, int32. */
  next: number;
  private readonly values: Float64Array;
  private readonly at: number;
  private readonly markValue: number;

  /**
   * The number of the tunnel with these ends at a port: `next` if it is given, else what was kept, else 0.
   * Without counters nothing is kept.
   */
  constructor(
    counters: Counters | undefined,
    port: number,
    ends: readonly number[],
    next: number | undefined,
  ) {
    this.values = counters?.values ?? new Float64Array(1);
    this.at = counters?.portSlot(port, PORT_SEQUENCE) ?? 0;
    this.markValue = markOf(ends) * NUMBERS;
    const kept = this.values[this.at] - this.markValue;
    this.next = next ?? (kept >= 0 && kept < NUMBERS ? kept | 0 : 0);
  }

  /** Moves on by the number of packets that are about to be sent. */
  advance(packets: number): void {
    this.next = (this.next + packets) | 0;
    this.keep();
  }

  /** Writes down the next number. */
  keep(): void {
    this.values[this.at] = this.markValue + (this.next >>> 0);
  }
}

function markOf(ends: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (const word of ends) {
    hash = Math.imul(hash ^ word, 0x85ebca6b);
    hash ^= hash >>> 15;
  }
  return (hash & MARK_MASK) | 1;
}
