/**
 * Fair shares: how sites divide one resource so that none can use up what another has not asked for yet.
 *
 * ```
 *  0                              half                               total
 *  +--------+--------+--------+----+----------------------------------+
 *  | site 1 | site 2 | site 3 | .. | whoever comes first              |
 *  +--------+--------+--------+----+----------------------------------+
 *   a guarantee each, equal
 * ```
 *
 * A site within its guarantee may always take more; beyond it only what no other site is still owed. So what is
 * free is never less than what is owed, whatever the sites do. Who is no site (an egress, a site that is gone) has no
 * guarantee, and can take only of the other half.
 *
 * Neighbours: `budgets.ts` (records), `held-tuples.ts` (holds), `site-accounts.ts` (external ports),
 * `pipeline/held-flows.ts` (flows that wait for a plugin).
 */

/** What each of so many sites is guaranteed. */
export function guaranteeOf(total: number, sites: number): number {
  return sites === 0 ? 0 : Math.floor(total / 2 / sites);
}

/** What a holder with this guarantee is still owed. */
export function owed(guarantee: number, used: number): number {
  return used < guarantee ? guarantee - used : 0;
}

/** Whether a holder may take `amount` more of `free`, when all holders together are owed so much. */
export function mayTake(
  guarantee: number,
  used: number,
  free: number,
  owedToAll: number,
  amount = 1,
): boolean {
  if (used + amount <= guarantee) return free >= amount;
  return free - amount >= owedToAll - owed(guarantee, used);
}

/** Address spaces there may be, 0 included. */
export const SPACES = 65536;

/** The shares of one resource, by address space. Fixed memory. */
export class SiteShares {
  private readonly used = new Int32Array(SPACES);
  private readonly isSite = new Uint8Array(SPACES);
  private total = 0;
  private guarantee = 0;
  private taken = 0;
  private owedToAll = 0;

  /** Divides `total` among these sites. What is taken stays taken. Not for the packet path. */
  configure(total: number, sites: readonly number[]): void {
    this.total = total;
    this.guarantee = guaranteeOf(total, sites.length);
    this.isSite.fill(0);
    this.owedToAll = 0;
    for (const space of sites) {
      this.isSite[space] = 1;
      this.owedToAll += owed(this.guarantee, this.used[space]!);
    }
  }

  /** Whether a space may take `amount` more. */
  mayTake(space: number, amount = 1): boolean {
    const free = this.total - this.taken;
    return mayTake(this.guaranteeOf(space), this.used[space]!, free, this.owedToAll, amount);
  }

  /** What a space uses. */
  usedBy(space: number): number {
    return this.used[space]!;
  }

  /** Counts what a space has taken, or (negative) given back; whether it might is not asked. */
  add(space: number, amount: number): void {
    const guarantee = this.guaranteeOf(space);
    const used = this.used[space]!;
    this.used[space] = used + amount;
    this.taken = (this.taken + amount) | 0;
    this.owedToAll = (this.owedToAll + owed(guarantee, used + amount) - owed(guarantee, used)) | 0;
  }

  /** Forgets what is taken: it is counted anew. Not for the packet path. */
  clear(): void {
    for (let space = 0; space < SPACES; space++)
      if (this.used[space] !== 0) this.add(space, -this.used[space]!);
  }

  private guaranteeOf(space: number): number {
    return this.isSite[space] === 0 ? 0 : this.guarantee;
  }
}
