/**
 * Pools: the external addresses of the egresses, each with its range of ports and its quota per site.
 *
 * A set of pools is checked and built whole when the configuration changes, and only read afterwards. It finds
 * the pool of an external address, and the pools that a mapping towards an egress may use. A host prefers the
 * same address for all its mappings (RFC 4787 REQ-2, RFC 7857 section 4): every pool has a score for every
 * host, and the best wins. That needs no memory, survives restarts, and a pool that comes or goes moves only the hosts
 * whose best it is.
 *
 * Neighbours: `translation.ts`.
 */
import { finishHash, mixWord } from './hash.ts';
import { CHUNKS_PER_ADDRESS } from './translation-layout.ts';

/** Four words, wire order as a little-endian load gives them; IPv4 in the last, the others 0. */
export type AddressWords = readonly [number, number, number, number];

/** One external address of an egress. */
export interface TranslationPool {
  /** Address space of the egress, 1..65535. */
  readonly egress: number;
  readonly family: 4 | 6;
  readonly address: AddressWords;
  /** Inclusive range of external ports and ICMP identifiers, host order. */
  readonly portMin: number;
  readonly portMax: number;
  /** Most slots of this pool that a site may take from the others, per protocol class. */
  readonly quotaPerSite: number;
}

/** An external endpoint that is never allocated: a port forward, or a port the host needs. */
export interface ReservedPort {
  readonly egress: number;
  readonly family: 4 | 6;
  readonly address: AddressWords;
  /** IP protocol number: TCP, UDP, ICMP or ICMPv6. */
  readonly protocol: number;
  /** Host order. */
  readonly port: number;
}

/** A configured pool with its place in the section. */
export class PortPool {
  readonly index: number;
  readonly egress: number;
  readonly family: number;
  readonly a0: number;
  readonly a1: number;
  readonly a2: number;
  readonly a3: number;
  readonly portMin: number;
  readonly portMax: number;
  readonly quotaPerSite: number;
  /** Hash of egress and address. */
  readonly hash: number;
  /** Chunk of the section by port / 1024, or -1. */
  readonly chunks: Int32Array;

  constructor(index: number, pool: TranslationPool) {
    const [a0, a1, a2, a3] = pool.address;
    this.index = index;
    this.egress = pool.egress;
    this.family = pool.family;
    this.a0 = a0 | 0;
    this.a1 = a1 | 0;
    this.a2 = a2 | 0;
    this.a3 = a3 | 0;
    this.portMin = pool.portMin;
    this.portMax = pool.portMax;
    this.quotaPerSite = pool.quotaPerSite;
    this.hash = externalHash(pool.egress, pool.family, this.a0, this.a1, this.a2, this.a3);
    this.chunks = new Int32Array(CHUNKS_PER_ADDRESS).fill(-1);
  }
}

/** Multiplier of the hash of external addresses, which nobody but the configuration chooses. */
const EXTERNAL_MULTIPLIER = 0x9e3779b1;
/** Pools at most: their number and a protocol class share 15 bits of an account's key. */
const MAX_POOLS = 8192;

export class PoolSet {
  readonly pools: readonly PortPool[];
  /** Pools of an egress and family, by `egress << 4 | family`. */
  private readonly groups: Map<number, PortPool[]>;
  /** Open addressing by {@link PortPool.hash}: pool index, or -1. */
  private readonly table: Int32Array;

  /**
   * @throws RangeError if a pool is impossible or an address of an egress appears twice
   */
  constructor(pools: readonly TranslationPool[]) {
    if (pools.length > MAX_POOLS) throw new RangeError(`more than ${MAX_POOLS} external addresses`);
    let length = 16;
    while (length < pools.length * 2) length *= 2;
    const built: PortPool[] = [];
    this.pools = built;
    this.groups = new Map();
    this.table = new Int32Array(length).fill(-1);
    for (const given of pools) {
      checkPool(given);
      const pool = new PortPool(built.length, given);
      if (this.find(pool.egress, pool.family, pool.a0, pool.a1, pool.a2, pool.a3) >= 0) {
        throw new RangeError('an external address appears twice on one egress');
      }
      built.push(pool);
      const group = this.groups.get((pool.egress << 4) | pool.family);
      if (group === undefined) this.groups.set((pool.egress << 4) | pool.family, [pool]);
      else group.push(pool);
      let at = pool.hash & (length - 1);
      while (this.table[at]! >= 0) at = (at + 1) & (length - 1);
      this.table[at] = pool.index;
    }
  }

  /** Index of the pool of this external address, or -1. */
  find(egress: number, family: number, a0: number, a1: number, a2: number, a3: number): number {
    const mask = this.table.length - 1;
    let at = externalHash(egress, family, a0, a1, a2, a3) & mask;
    for (;;) {
      const index = this.table[at]!;
      if (index < 0) return -1;
      const pool = this.pools[index]!;
      if (
        pool.a3 === a3 &&
        pool.egress === egress &&
        pool.family === family &&
        pool.a2 === a2 &&
        pool.a1 === a1 &&
        pool.a0 === a0
      ) {
        return index;
      }
      at = (at + 1) & mask;
    }
  }

  /** The pools that a mapping of this family towards this egress may use, or undefined if there is none. */
  group(egress: number, family: number): readonly PortPool[] | undefined {
    return this.groups.get((egress << 4) | family);
  }
}

/** Place in the group of the pool that this host prefers; `hostHash` depends on site and address only. */
export function preferredPool(group: readonly PortPool[], hostHash: number): number {
  let best = 0;
  let bestScore = 0;
  for (let i = 0; i < group.length; i++) {
    const score = finishHash(hostHash ^ group[i]!.hash);
    if (i === 0 || score > bestScore) {
      best = i;
      bestScore = score;
    }
  }
  return best;
}

function externalHash(
  egress: number,
  family: number,
  a0: number,
  a1: number,
  a2: number,
  a3: number,
): number {
  let hash = mixWord(a3, (egress << 4) | family, EXTERNAL_MULTIPLIER);
  hash = mixWord(hash, a2, EXTERNAL_MULTIPLIER);
  hash = mixWord(hash, a1, EXTERNAL_MULTIPLIER);
  return finishHash(mixWord(hash, a0, EXTERNAL_MULTIPLIER));
}

function checkPool(pool: TranslationPool): void {
  const { egress, family, portMin, portMax, quotaPerSite } = pool;
  if (!Number.isInteger(egress) || egress < 1 || egress > 0xffff) {
    throw new RangeError(`egress space ${egress} is not within 1..65535`);
  }
  if (family !== 4 && family !== 6) throw new RangeError(`family ${family} is neither 4 nor 6`);
  if (!Number.isInteger(portMin) || !Number.isInteger(portMax) || portMin < 1 || portMin > portMax) {
    throw new RangeError(`port range ${portMin}-${portMax} is empty or not of whole numbers above 0`);
  }
  if (portMax > 0xffff) throw new RangeError(`port ${portMax} is above 65535`);
  if (!Number.isInteger(quotaPerSite) || quotaPerSite < 1) {
    throw new RangeError(`quota ${quotaPerSite} is not a whole number above 0`);
  }
}
